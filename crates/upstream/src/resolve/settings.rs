//! How names are looked up.

use std::net::SocketAddr;
use std::time::Duration;

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverSettings {
    /// Name servers; none = those of `/etc/resolv.conf`, with its search list.
    pub servers: Vec<SocketAddr>,
    /// An answer is used at least so long, whatever its TTL; default 1 s.
    pub ttl_min: Duration,
    /// An answer is used at most so long; default 1 h.
    pub ttl_max: Duration,
    /// How long one look-up may take; default 5 s.
    pub timeout: Duration,
}

impl Default for ResolverSettings {
    fn default() -> ResolverSettings {
        ResolverSettings {
            servers: Vec::new(),
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(3600),
            timeout: Duration::from_secs(5),
        }
    }
}
