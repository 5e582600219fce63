//! Where an access log goes, as the configuration writes it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where lines go. Two logs with equal destinations share one open file or socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, opened in append mode and made (mode 0640) when it is missing. FIFOs and devices work
    /// too; a FIFO needs a reader when it is opened.
    File(PathBuf),
    /// A syslog daemon, RFC 3164 messages, one datagram a line.
    Syslog(SyslogTarget),
}

/// How a syslog daemon is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SyslogTarget {
    /// A unix datagram socket, usually `/dev/log`.
    Unix(PathBuf),
    /// A UDP address, usually port 514.
    Udp(SocketAddr),
}

/// A destination that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationFault {
    /// Nothing was given.
    #[error(
        "a log needs a destination: stdout, stderr, file:PATH, syslog:/dev/log or syslog:udp:ADDRESS:PORT"
    )]
    Empty,
    /// `file:` without a path.
    #[error("`file:` needs a path, such as file:/var/log/evenkeel/access.log")]
    NoPath,
    /// Neither a socket path nor a UDP address.
    #[error(
        "`{0}` is not a syslog target: write syslog:/dev/log for a local socket or syslog:udp:ADDRESS:PORT, with a numeric address, for a remote one"
    )]
    SyslogTarget(String),
}

impl FromStr for Destination {
    type Err = DestinationFault;

    /// Reads `stdout`, `stderr`, `file:PATH`, a bare path, `syslog:PATH` or `syslog:udp:ADDR:PORT`
    /// (`syslog:udp:ADDR` means port 514).
    fn from_str(text: &str) -> Result<Destination, DestinationFault> {
        let text = text.trim();
        match text {
            "" => return Err(DestinationFault::Empty),
            "stdout" | "-" => return Ok(Destination::Stdout),
            "stderr" => return Ok(Destination::Stderr),
            _ => {}
        }
        if let Some(path) = text.strip_prefix("file:") {
            return match path.trim() {
                "" => Err(DestinationFault::NoPath),
                path => Ok(Destination::File(PathBuf::from(path))),
            };
        }
        match text.strip_prefix("syslog:") {
            Some(target) => target.parse().map(Destination::Syslog),
            None => Ok(Destination::File(PathBuf::from(text))),
        }
    }
}

impl FromStr for SyslogTarget {
    type Err = DestinationFault;

    fn from_str(text: &str) -> Result<SyslogTarget, DestinationFault> {
        let fault = || DestinationFault::SyslogTarget(text.to_owned());
        if let Some(address) = text.strip_prefix("udp:") {
            let address = address.strip_prefix("//").unwrap_or(address);
            let parsed = address.parse::<SocketAddr>().ok().or_else(|| {
                let ip = address
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .parse()
                    .ok()?;
                Some(SocketAddr::new(ip, SYSLOG_UDP_PORT))
            });
            return parsed.map(SyslogTarget::Udp).ok_or_else(fault);
        }
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') || path.starts_with('.') {
            return Ok(SyslogTarget::Unix(PathBuf::from(path)));
        }
        Err(fault())
    }
}

/// The port of syslog over UDP (RFC 5426, 3.3).
const SYSLOG_UDP_PORT: u16 = 514;

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Stdout => f.write_str("stdout"),
            Destination::Stderr => f.write_str("stderr"),
            Destination::File(path) => write!(f, "file:{}", path.display()),
            Destination::Syslog(SyslogTarget::Unix(path)) => {
                write!(f, "syslog:{}", path.display())
            }
            Destination::Syslog(SyslogTarget::Udp(address)) => write!(f, "syslog:udp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_forms_are_read() {
        let udp = |text: &str| Destination::Syslog(SyslogTarget::Udp(text.parse().unwrap()));
        let unix = |text: &str| Destination::Syslog(SyslogTarget::Unix(PathBuf::from(text)));
        let file = |text: &str| Destination::File(PathBuf::from(text));
        let rows = [
            ("stdout", Destination::Stdout),
            (" stderr ", Destination::Stderr),
            ("file:/var/log/a.log", file("/var/log/a.log")),
            ("/var/log/a.log", file("/var/log/a.log")),
            ("logs/a.log", file("logs/a.log")),
            ("syslog:/dev/log", unix("/dev/log")),
            ("syslog:unix:/run/log", unix("/run/log")),
            ("syslog:udp:127.0.0.1:514", udp("127.0.0.1:514")),
            ("syslog:udp:127.0.0.1", udp("127.0.0.1:514")),
            ("syslog:udp:[::1]:5514", udp("[::1]:5514")),
            ("syslog:udp:[::1]", udp("[::1]:514")),
            ("syslog:udp:::1", udp("[::1]:514")),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_displayed_is_read_back() {
        for text in [
            "stdout",
            "stderr",
            "file:/a b",
            "syslog:/dev/log",
            "syslog:udp:[::1]:514",
        ] {
            let destination: Destination = text.parse().unwrap();
            assert_eq!(destination.to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!("".parse::<Destination>(), Err(DestinationFault::Empty));
        assert_eq!(
            "file:".parse::<Destination>(),
            Err(DestinationFault::NoPath)
        );
        for text in [
            "syslog:",
            "syslog:tcp:1.2.3.4:514",
            "syslog:udp:loghost:514",
            "syslog:udp:",
        ] {
            let fault = text.parse::<Destination>().unwrap_err();
            assert!(
                matches!(fault, DestinationFault::SyslogTarget(_)),
                "{text}: {fault}"
            );
        }
    }
}
