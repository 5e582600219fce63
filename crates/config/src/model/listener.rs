//! Listeners: where clients connect, and what one client may take.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::{HeaderRules, Http2, ListenerTls, LogId, Redirect};
use crate::Spanned;

/// The host part of an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointHost {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name, lower case, without a trailing dot.
    Name(String),
}

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host.
    pub host: EndpointHost,
    /// Port; 0 (a free port) only where something is bound.
    pub port: u16,
}

/// An address to bind. `:80` became `0.0.0.0:80`. IPv6 binds take IPv6 only, so that `:80` and `[::]:80` can
/// stand side by side.
pub type BindAddress = Endpoint;

impl fmt::Display for EndpointHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointHost::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            EndpointHost::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            EndpointHost::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How long a client may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// A TLS handshake, from accept to its end, then the connection is closed; default 10 s.
    pub handshake: Duration,
    /// From the first byte of a head (or from accept) to its end, then 408; default 10 s.
    pub head: Duration,
    /// Idle keep-alive between requests; default 65 s.
    pub idle: Duration,
    /// Without progress in the request's body; default 60 s. A route may override it.
    pub body: Duration,
    /// Without progress in sending the answer; default 60 s.
    pub send: Duration,
}

/// How much a client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// Bytes of a request's head, then 431; at most 128 KiB, default 64 KiB.
    pub head: u64,
    /// Header fields of a request, then 431; default 128.
    pub fields: u32,
    /// Bytes of the request target, then 414; default 16 KiB.
    pub target: u64,
    /// Bytes of a request's body, then 413; default 100 MiB. A route may override it.
    pub body: u64,
    /// Bytes per second that a request's body must reach on average after its first 10 s, then 408; `None` = any.
    /// Default 64.
    pub body_rate: Option<u64>,
    /// Requests on one connection before it is closed; default 1000.
    pub requests: u32,
}

/// A listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Name, unique.
    pub name: Spanned<String>,
    /// Addresses; never empty.
    pub binds: Vec<Spanned<BindAddress>>,
    /// TLS; the span is that of `tls`. `None` = plain.
    pub tls: Option<Spanned<ListenerTls>>,
    /// Limits of HTTP/2; `None` = HTTP/1.1 only.
    pub http2: Option<Http2>,
    /// Answers every request with this redirect instead of routing it.
    pub redirect: Option<Spanned<Redirect>>,
    /// Queue of connections that the kernel has accepted; default 1024.
    pub backlog: u32,
    /// Client timeouts, complete (global ones and defaults are filled in).
    pub timeouts: ClientTimeouts,
    /// Client limits, complete (global ones and defaults are filled in).
    pub limits: ClientLimits,
    /// Logs of this listener's requests; `None` = as the global setting says, empty = not logged.
    pub access_log: Option<Vec<LogId>>,
    /// Header edits, after the global ones.
    pub headers: HeaderRules,
}
