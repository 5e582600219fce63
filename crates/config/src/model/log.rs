//! Access logs.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::Spanned;
use crate::words::words;

/// Position of an access log in [`super::Model::access_logs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u16);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file that lines are appended to; relative paths were joined to the configuration file's folder.
    File(PathBuf),
    /// Syslog over a unix datagram socket, RFC 3164.
    SyslogUnix(PathBuf),
    /// Syslog over UDP, RFC 3164. The port defaults to 514.
    SyslogUdp(SocketAddr),
}

words! {
    /// A format that is known by name.
    NamedFormat {
        /// nginx's and Apache's combined format.
        Combined = "combined",
        /// The common log format of Apache.
        Common = "common",
        /// Combined, then the times of the request and of the backend, the backend's address and the cache's answer.
        Timed = "timed",
        /// Combined, then X-Forwarded-For, the backend's address and its response time.
        Main = "main",
        /// One JSON object a line.
        Json = "json",
    }
}

/// How a line looks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// A known format.
    Named(NamedFormat),
    /// A template with `$variables`; checked by the later stage.
    Template(String),
}

words! {
    /// Syslog facility.
    Facility {
        /// Facility 0.
        Kern = "kern",
        /// Facility 1.
        User = "user",
        /// Facility 2.
        Mail = "mail",
        /// Facility 3.
        Daemon = "daemon",
        /// Facility 4.
        Auth = "auth",
        /// Facility 5.
        Syslog = "syslog",
        /// Facility 6.
        Lpr = "lpr",
        /// Facility 7.
        News = "news",
        /// Facility 8.
        Uucp = "uucp",
        /// Facility 9.
        Cron = "cron",
        /// Facility 10.
        Authpriv = "authpriv",
        /// Facility 11.
        Ftp = "ftp",
        /// Facility 16.
        Local0 = "local0",
        /// Facility 17.
        Local1 = "local1",
        /// Facility 18.
        Local2 = "local2",
        /// Facility 19.
        Local3 = "local3",
        /// Facility 20.
        Local4 = "local4",
        /// Facility 21.
        Local5 = "local5",
        /// Facility 22.
        Local6 = "local6",
        /// Facility 23.
        Local7 = "local7",
    }
}

impl Facility {
    /// The number in a syslog priority.
    pub const fn number(self) -> u8 {
        let at = self as u8;
        // 12 to 15 have no word: the local facilities start at 16.
        if at > 11 { at + 4 } else { at }
    }
}

/// An access log.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Name; an inline one is named after the place where it stands, such as `routes.api`.
    pub name: Spanned<String>,
    /// Where lines go; default stdout.
    pub target: Spanned<LogTarget>,
    /// How a line looks; default combined.
    pub format: Spanned<LogFormat>,
    /// Syslog facility; default local7.
    pub facility: Facility,
    /// Syslog tag; default `evenkeel`.
    pub tag: String,
}
