//! Servers that are found by name: what is looked up, and what was found.
//!
//! A [`Target`] is one entry of a pool's `servers` that names a host or a service. [`Discovery`] asks
//! for each name as often as its TTL says, keeps the last good answer when a look-up fails, and tells
//! a changed set as [`Found`], at most once a second. It knows no snapshot: whoever gets the sets
//! builds the pools anew.

mod derive;
mod keep;
mod table;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::pool::{Server, ServerAddress};
use crate::resolve::ServiceRecord;

pub use keep::{Counts, Discovery};

/// Servers that one name may become; what is more is left out, the same ones each time.
pub const SERVERS_MAX: usize = 1000;

/// Something to keep resolved.
#[derive(Debug, Clone)]
pub enum Target {
    /// One server with as many addresses as its name has; they are stored in it.
    One(Arc<Server>),
    /// Each address of a name is a server of its own.
    All(AllOf),
    /// Each target of a service (SRV, RFC 2782) is a server of its own.
    Service(Service),
}

/// An entry with `resolve: all`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllOf {
    /// Where the servers belong.
    pub place: Place,
    /// The name and the port.
    pub address: ServerAddress,
    /// The weight that each of them has.
    pub weight: u32,
    /// The tier that each of them is in.
    pub tier: u8,
}

/// An entry with `srv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where the servers belong.
    pub place: Place,
    /// The name that is asked for, `_app._tcp.example.com`.
    pub name: String,
    /// The tier of the records with the lowest priority number; the next ones follow.
    pub tier: u8,
}

/// Which entry of which pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The pool's name.
    pub pool: String,
    /// Position of the entry among the pool's `servers`.
    pub entry: usize,
    /// The entry's name, for the log.
    pub name: String,
}

/// The servers that an entry stands for now; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which entry of which pool.
    pub place: Place,
    /// Sorted by name, each once, [`SERVERS_MAX`] at most.
    pub servers: Vec<FoundServer>,
}

/// What is known of a name: for the process that takes over from this one, so that it need not begin
/// without servers while names cannot be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The addresses of a host.
    Host(String, Vec<IpAddr>),
    /// The records of a service.
    Service(String, Vec<ServiceRecord>),
}

/// A server that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundServer {
    /// Its address as text: live state is kept, and hashing is stable, as long as the address is.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// The host that the address was found for; certificates are for that.
    pub host: String,
    /// 1 to 65535.
    pub weight: u32,
    /// 0 is used first.
    pub tier: u8,
}

#[cfg(test)]
mod tests;
