//! Settings of the whole process.

use std::time::Duration;

use ipnet::IpNet;

use crate::Spanned;
use crate::words::words;

/// How many workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One for each core.
    Auto,
    /// This many, 1 to 256.
    Fixed(u16),
}

/// How many client connections may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Derived from the limit on open files.
    Auto,
    /// This many, over all workers.
    Fixed(u32),
}

/// Settings of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Workers; default auto.
    pub workers: Workers,
    /// Client connections; default auto.
    pub connections: Connections,
    /// How long running requests may take after a stop was asked for; default 30 s.
    pub drain_timeout: Duration,
    /// The same for tunnels; default that of requests.
    pub drain_timeout_tunnels: Duration,
    /// How long a new program may take to be ready in an upgrade; default 30 s.
    pub upgrade_timeout: Duration,
    /// User that the process becomes after it has bound its addresses; `None` = it stays who it is.
    pub user: Option<Spanned<String>>,
    /// Group that goes with it; `None` = the user's own.
    pub group: Option<Spanned<String>>,
    /// Whether a change of a configuration file is a reload; default false.
    pub watch: bool,
}

words! {
    /// A request header that may name the client's address.
    ClientHeader {
        /// The list that proxies append to; read from the right, past trusted proxies.
        XForwardedFor = "X-Forwarded-For",
        /// One address, as set by nginx.
        XRealIp = "X-Real-IP",
        /// One address, as set by Cloudflare.
        CfConnectingIp = "CF-Connecting-IP",
        /// One address, as set by some balancers.
        XClientIp = "X-Client-IP",
        /// RFC 7239; its `for=` entries are read from the right, past trusted proxies.
        Forwarded = "Forwarded",
    }
}

/// How the client's address is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress {
    /// Networks whose forwarding headers are believed; default none.
    pub trusted_proxies: Vec<Spanned<IpNet>>,
    /// Headers to look at, in this order. May be empty: then the peer's address always counts.
    pub headers: Vec<ClientHeader>,
}

words! {
    /// Whose request id is kept.
    KeepId {
        /// The id of a trusted proxy is kept; anybody else's is replaced.
        Trusted = "trusted",
        /// An id that came with the request is kept, whoever sent it.
        Always = "always",
        /// Every request gets a new id.
        Never = "never",
    }
}

/// The request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// Header that carries it; default `X-Request-ID`.
    pub header: Spanned<String>,
    /// Whose id is kept; default trusted.
    pub keep: KeepId,
}
