//! Servers that are found by name.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Spanned;
use crate::words::words;

words! {
    /// How many servers a name stands for.
    Resolve {
        /// One, reached at whichever of its addresses answers.
        One = "one",
        /// Each address is a server of its own.
        All = "all",
    }
}

/// What an entry of `servers` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discover {
    /// One server.
    One,
    /// A server for each A and AAAA record of the name.
    Addresses,
    /// A server for each SRV record of the name; the entry's port is 0.
    Srv,
}

/// How names of servers are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// DNS servers; empty = the system's way, the default.
    pub servers: Vec<Spanned<SocketAddr>>,
    /// A shorter TTL counts as this; default 1 s.
    pub ttl_min: Duration,
    /// A longer TTL counts as this; default 1 h.
    pub ttl_max: Duration,
    /// How long an answer may take; default 5 s.
    pub timeout: Duration,
}
