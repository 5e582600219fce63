//! The header of a syslog message (RFC 3164, 4.1): priority, time, host, tag.
//!
//! Messages to a local socket leave the host out, as the C library's `syslog` does, because daemons
//! that read local sockets expect it so. The time is the time of the request in the log's offset.

use std::str::FromStr;

/// The facility of syslog messages; the severity is always informational (6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facility(u8);

/// The names of RFC 3164 (4.1.1) as nginx and the C library write them, by number.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// Severity "informational".
const SEVERITY_INFO: u8 = 6;

/// Longest tag (RFC 3164, 4.1.3).
const TAG_BYTES_MAX: usize = 32;

/// A syslog setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyslogFault {
    /// No such facility.
    #[error(
        "`{0}` is not a syslog facility: use user, daemon, auth, local0 to local7 or another name of RFC 3164"
    )]
    Facility(String),
    /// A tag with other characters, or of the wrong length.
    #[error("`{0}` cannot be a syslog tag: use 1 to 32 letters, digits, `-`, `_` or `.`")]
    Tag(String),
}

impl Default for Facility {
    /// `local7`, as nginx has it.
    fn default() -> Facility {
        Facility(23)
    }
}

impl FromStr for Facility {
    type Err = SyslogFault;

    fn from_str(name: &str) -> Result<Facility, SyslogFault> {
        match FACILITIES
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))
        {
            Some(number) => Ok(Facility(number as u8)),
            None => Err(SyslogFault::Facility(name.to_owned())),
        }
    }
}

impl Facility {
    /// The facility's name.
    pub fn name(self) -> &'static str {
        FACILITIES[usize::from(self.0)]
    }

    /// The priority value of an informational message of this facility.
    pub fn priority(self) -> u8 {
        self.0 * 8 + SEVERITY_INFO
    }
}

/// The tag of syslog messages: the program's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SyslogTag(String);

impl Default for SyslogTag {
    /// `evenkeel`.
    fn default() -> SyslogTag {
        SyslogTag("evenkeel".to_owned())
    }
}

impl FromStr for SyslogTag {
    type Err = SyslogFault;

    fn from_str(tag: &str) -> Result<SyslogTag, SyslogFault> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX || !tag.bytes().all(allowed) {
            return Err(SyslogFault::Tag(tag.to_owned()));
        }
        Ok(SyslogTag(tag.to_owned()))
    }
}

/// The parts of a message's header that do not change: what stands before and after the time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyslogHeader {
    /// `<190>`.
    pub(crate) before_time: Vec<u8>,
    /// ` host tag: `, or ` tag: ` without a host.
    pub(crate) after_time: Vec<u8>,
}

impl SyslogHeader {
    pub(crate) fn new(facility: Facility, host: Option<&str>, tag: &SyslogTag) -> SyslogHeader {
        let mut after_time = String::from(" ");
        if let Some(host) = host {
            // RFC 3164, 4.1.2: the host name without its domain and without spaces.
            let short = host.split('.').next().unwrap_or(host);
            let plain: String = short.chars().filter(char::is_ascii_graphic).collect();
            after_time.push_str(if plain.is_empty() {
                "localhost"
            } else {
                &plain
            });
            after_time.push(' ');
        }
        after_time.push_str(&tag.0);
        after_time.push_str(": ");
        SyslogHeader {
            before_time: format!("<{}>", facility.priority()).into_bytes(),
            after_time: after_time.into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_the_rfc_has_it() {
        let tag: SyslogTag = "keel-1".parse().unwrap();
        let facility: Facility = "local7".parse().unwrap();
        let header = SyslogHeader::new(facility, Some("lb1.example.com"), &tag);
        assert_eq!(header.before_time, b"<190>");
        assert_eq!(header.after_time, b" lb1 keel-1: ");
        let nameless = SyslogHeader::new(facility, Some(""), &tag);
        assert_eq!(nameless.after_time, b" localhost keel-1: ");
        let local = SyslogHeader::new("user".parse().unwrap(), None, &SyslogTag::default());
        assert_eq!(local.before_time, b"<14>");
        assert_eq!(local.after_time, b" evenkeel: ");
    }

    #[test]
    fn every_facility_is_read_back() {
        for (number, name) in FACILITIES.iter().enumerate() {
            let facility: Facility = name.parse().unwrap();
            assert_eq!(facility.name(), *name);
            assert_eq!(usize::from(facility.priority()), number * 8 + 6);
        }
        assert!("local8".parse::<Facility>().is_err());
    }

    #[test]
    fn tags_with_other_characters_are_refused() {
        let long = "x".repeat(33);
        for tag in ["", "two words", "a:b", "a\nb", "é", long.as_str()] {
            assert!(tag.parse::<SyslogTag>().is_err(), "{tag:?}");
        }
    }
}
