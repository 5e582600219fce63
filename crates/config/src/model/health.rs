//! Active checks of servers.

use std::time::Duration;

use super::{ServerProtocol, ServerTls, Statuses};
use crate::Spanned;
use crate::words::words;

words! {
    /// What holds of a server before its first check.
    CheckStart {
        /// It gets traffic until checks say otherwise.
        Optimistic = "optimistic",
        /// It gets none until one check has passed.
        Checked = "checked",
    }
}

/// What an answer must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// These bytes, anywhere. Never empty.
    Bytes(Spanned<Vec<u8>>),
    /// A match of this regex, anywhere; checked by the later stage.
    Regex(Spanned<String>),
}

/// A field of a JSON answer and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonTest {
    /// Names that lead to the field from the outermost object inwards (`data.status` is two). Never empty.
    pub path: Vec<String>,
    /// Its value: of a text the text, of a number or boolean as it is written in JSON.
    pub value: String,
}

/// A check by an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// Path with query, begins with `/`; default `/`.
    pub path: String,
    /// A token; default GET.
    pub method: String,
    /// Host; `None` = the server's address.
    pub host: Option<Spanned<String>>,
    /// More fields, as they are (no templates).
    pub headers: Vec<(Spanned<String>, Spanned<String>)>,
    /// Statuses that pass; default 200 to 399. Never empty.
    pub statuses: Statuses,
    /// What the body must hold; `None` = anything.
    pub body: Option<Expected>,
    /// Fields that the body must have, all of them; empty = it need not be JSON.
    pub json: Vec<JsonTest>,
}

/// How a server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// By an HTTP request.
    Http(HttpProbe),
    /// By connecting (and the TLS handshake, with TLS).
    Tcp,
    /// By `grpc.health.v1.Health/Check`, over HTTP/2.
    Grpc {
        /// Name of the service; empty = the server as a whole.
        service: String,
    },
    /// By a text that is sent and one that must come back.
    Exchange {
        /// What is sent once connected; may be empty (the server speaks first).
        send: Vec<u8>,
        /// What must come back.
        expect: Expected,
    },
}

impl Probe {
    /// Name of the kind, as it is written in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Probe::Http(_) => "http",
            Probe::Tcp => "tcp",
            Probe::Grpc { .. } => "grpc",
            Probe::Exchange { .. } => "exchange",
        }
    }
}

/// TLS of checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckTls {
    /// As the pool's own traffic.
    Pool,
    /// None, whatever the pool has.
    Off,
    /// Its own; the span is that of `tls`.
    Own(Box<Spanned<ServerTls>>),
}

/// How the servers of a pool are checked.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// How a server is asked.
    pub probe: Probe,
    /// From one check to the next; default 5 s.
    pub every: Duration,
    /// The same while the server is down; default 1 s, never more than `every`.
    pub every_down: Duration,
    /// How long a check may take; default 2 s.
    pub timeout: Duration,
    /// Passes in a row that bring a server up; default 2.
    pub rise: u32,
    /// Failures in a row that take a server down; default 3.
    pub fall: u32,
    /// Share by which each interval is longer or shorter, 0.0 to 0.5; default 0.1.
    pub jitter: f64,
    /// What holds before the first check; default optimistic.
    pub start: CheckStart,
    /// Port that is asked; `None` = the server's.
    pub port: Option<u16>,
    /// What is spoken; the pool's when the file says nothing, always HTTP/2 with gRPC.
    pub protocol: ServerProtocol,
    /// TLS; default the pool's.
    pub tls: CheckTls,
}
