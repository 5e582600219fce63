//! `host [":" port]`, as in Host and in an absolute target.
//!
//! Stricter than RFC 3986: no userinfo, no percent-encoding, no comma (a list of hosts), no empty label, no empty
//! port, no zone id, no IPvFuture. Each of these is read differently by servers in the field.

use std::net::Ipv6Addr;

use crate::fault::HeadFault;
use crate::syntax::is_reg_name_byte;

/// The longest host, in bytes: a DNS name has at most 253, and a dot.
const HOST_BYTES_MAX: usize = 255;

/// What an authority consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Length of the host at the start, without a trailing dot.
    pub(crate) host_len: usize,
    /// The port if one was given.
    pub(crate) port: Option<u16>,
    /// Whether the host has upper-case letters.
    pub(crate) upper_case: bool,
}

/// Reads an authority, all of it.
#[inline]
pub(crate) fn parse_authority(bytes: &[u8]) -> Result<Authority, HeadFault> {
    if bytes.first() == Some(&b'[') {
        return parse_ipv6(bytes);
    }
    let mut upper_case = false;
    let mut before = b'.';
    let mut end = bytes.len();
    for (at, &b) in bytes.iter().enumerate() {
        if b == b':' {
            end = at;
            break;
        }
        if !is_reg_name_byte(b) || (b == b'.' && before == b'.') {
            return Err(HeadFault::HostInvalid);
        }
        upper_case |= b.is_ascii_uppercase();
        before = b;
    }
    let host_len = if before == b'.' {
        end.saturating_sub(1)
    } else {
        end
    };
    if host_len == 0 || host_len > HOST_BYTES_MAX {
        return Err(HeadFault::HostInvalid);
    }
    let port = parse_port(bytes.get(end..).unwrap_or_default())?;
    Ok(Authority {
        host_len,
        port,
        upper_case,
    })
}

#[cold]
fn parse_ipv6(bytes: &[u8]) -> Result<Authority, HeadFault> {
    let close = memchr::memchr(b']', bytes).ok_or(HeadFault::HostInvalid)?;
    let address = bytes.get(1..close).unwrap_or_default();
    std::str::from_utf8(address)
        .ok()
        .and_then(|text| text.parse::<Ipv6Addr>().ok())
        .ok_or(HeadFault::HostInvalid)?;
    let port = parse_port(bytes.get(close + 1..).unwrap_or_default())?;
    let upper_case = address.iter().any(u8::is_ascii_uppercase);
    Ok(Authority {
        host_len: close + 1,
        port,
        upper_case,
    })
}

/// Nothing, or a colon and one to five digits up to 65535.
#[inline]
fn parse_port(bytes: &[u8]) -> Result<Option<u16>, HeadFault> {
    let digits = match bytes {
        [] => return Ok(None),
        [b':', digits @ ..] if (1..=5).contains(&digits.len()) => digits,
        _ => return Err(HeadFault::HostInvalid),
    };
    let mut port = 0u32;
    for &b in digits {
        if !b.is_ascii_digit() {
            return Err(HeadFault::HostInvalid);
        }
        port = port * 10 + u32::from(b - b'0');
    }
    u16::try_from(port)
        .map(Some)
        .map_err(|_| HeadFault::HostInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_authorities() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("example.com:8080", "example.com", Some(8080)),
            ("example.com.:80", "example.com", Some(80)),
            ("EXAMPLE.com.", "EXAMPLE.com", None),
            ("0.0.0.0=5000", "0.0.0.0=5000", None),
            ("a_b-c~d", "a_b-c~d", None),
            ("[::1]:443", "[::1]", Some(443)),
            ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]", None),
            ("x:00080", "x", Some(80)),
            ("x:0", "x", Some(0)),
        ] {
            let found = parse_authority(text.as_bytes()).unwrap();
            assert_eq!(&text[..found.host_len], host);
            assert_eq!(found.port, port, "{text}");
            assert_eq!(found.upper_case, text.starts_with('E'));
        }
        assert!(parse_authority("x".repeat(255).as_bytes()).is_ok());
    }

    #[test]
    fn unsound_authorities() {
        for text in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            ":80",
            "a:",
            "a:x",
            "a:80x",
            "a:65536",
            "a:123456",
            "a:-1",
            "a:+1",
            "a:1:2",
            "u@a",
            "u:p@a",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a,b",
            "a, b",
            "a b",
            "a%41",
            "a\"b",
            "<a>",
            "caf\u{e9}",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "[::1]:",
            "[::1]:x",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "a[::1]",
            "a\0b",
            "a\tb",
            "a|b",
            "a^b",
            "a`b",
            "{a}",
        ] {
            assert_eq!(
                parse_authority(text.as_bytes()),
                Err(HeadFault::HostInvalid),
                "{text}"
            );
        }
        assert!(parse_authority("x".repeat(256).as_bytes()).is_err());
    }
}
