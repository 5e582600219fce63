//! A pool of servers: the balancer over them, their addresses and the timeouts towards them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use keel_balance::Balancer;
use keel_types::PoolId;

use crate::check::ServerCheck;

/// Where a server is: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// A host name, or the text of an IP address (IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Identity of a server over all snapshots: what is kept for a server on a worker (idle connections,
/// HTTP/2 connections) is kept under its key.
///
/// Slots are reused, so that they can be positions in a table; ids never are. A server whose address,
/// TLS or protocol changed is another server, with a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerKey {
    /// Position in the tables of the workers.
    pub slot: u32,
    /// Tells the servers apart that had the same slot one after the other; from 1.
    pub id: u64,
}

/// Gives keys to servers and takes them back.
#[derive(Debug, Default)]
pub struct ServerKeys {
    /// By slot: the id in it, 0 for none.
    slots: Vec<u64>,
    free: Vec<u32>,
    last_id: u64,
}

impl ServerKeys {
    /// No keys given out.
    pub fn new() -> ServerKeys {
        ServerKeys::default()
    }

    /// A key that no server has or had.
    pub fn give(&mut self) -> ServerKey {
        self.last_id += 1;
        let id = self.last_id;
        if let Some(slot) = self.free.pop()
            && let Some(free) = self.slots.get_mut(slot as usize)
        {
            *free = id;
            return ServerKey { slot, id };
        }
        self.slots.push(id);
        let slot = u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX);
        ServerKey { slot, id }
    }

    /// The server is gone: its slot may be given to another one. Old snapshots may still name the
    /// key, since the next one in the slot has another id. A key that is not out any more is ignored.
    pub fn take_back(&mut self, key: ServerKey) {
        if let Some(id) = self.slots.get_mut(key.slot as usize)
            && *id == key.id
        {
            *id = 0;
            self.free.push(key.slot);
        }
    }
}

/// One server of a pool. Its position is the same here and in the pool's balancer.
#[derive(Debug)]
pub struct Server {
    /// What is kept for it is kept under this key.
    pub key: ServerKey,
    /// Name, unique in the pool; the label of its metrics.
    pub name: String,
    /// As the configuration has it.
    pub address: ServerAddress,
    /// `host:port` as text, for the log and for a `Host` that names the server.
    pub address_text: String,
    /// What the name stands for now; empty while it does not resolve.
    pub resolved: ArcSwap<Vec<SocketAddr>>,
    /// What active checks say of it; `None` when it is not checked. [`crate::check::Checker`] sets it.
    pub check: ArcSwapOption<ServerCheck>,
    /// The latest failure that traffic has seen.
    pub failed: ArcSwapOption<Failure>,
    /// It was found by its name, and stays where it is.
    is_found: bool,
}

/// A failure that traffic has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened, in words.
    pub what: String,
    /// When, in milliseconds of the process.
    pub at_ms: u64,
}

impl Server {
    /// A server that was found by a name: it is at this address, and the name is what it is called
    /// by (`Host`, the certificate), and is not resolved.
    pub fn found(key: ServerKey, name: String, address: ServerAddress, at: IpAddr) -> Server {
        let resolved = ArcSwap::from_pointee(vec![SocketAddr::new(at, address.port)]);
        Server {
            resolved,
            is_found: true,
            ..Server::new(key, name, address)
        }
    }

    /// A server; an address that is an IP needs no resolving, a name is empty until it was.
    pub fn new(key: ServerKey, name: String, address: ServerAddress) -> Server {
        let known = address
            .host
            .parse()
            .ok()
            .map(|ip| SocketAddr::new(ip, address.port));
        Server {
            key,
            name,
            address_text: address.to_string(),
            address,
            resolved: ArcSwap::from_pointee(known.into_iter().collect()),
            check: ArcSwapOption::empty(),
            failed: ArcSwapOption::empty(),
            is_found: false,
        }
    }

    /// Traffic has seen a failure: a check, if there are any, comes sooner. Costs next to nothing.
    pub fn hasten_check(&self) {
        if let Some(check) = &*self.check.load() {
            check.hasten();
        }
    }

    /// Whether the address is a name that has to be resolved.
    pub fn is_name(&self) -> bool {
        !self.is_found && self.address.host.parse::<IpAddr>().is_err()
    }
}

/// How connections to the servers of a pool are kept.
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    /// Idle connections that each worker keeps for each server; 0 keeps none.
    pub connections_max: usize,
    /// How long one may idle, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How many requests one may carry.
    pub requests_max: u32,
}

/// A pool, shared by all workers.
#[derive(Debug)]
pub struct Pool {
    /// Position in the snapshot.
    pub id: PoolId,
    /// Name from the configuration.
    pub name: String,
    /// Chooses a server.
    pub balancer: Balancer,
    /// The servers, in the order of the balancer's endpoints.
    pub servers: Vec<Arc<Server>>,
    /// How connections are kept.
    pub keep_alive: KeepAlive,
    /// How long a connect may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a server may stay silent while we wait for its answer, in milliseconds.
    pub read_timeout_ms: u64,
    /// How long a server may take nothing of what we send, in milliseconds.
    pub send_timeout_ms: u64,
}

impl Pool {
    /// The key of the server at this position.
    #[inline]
    pub fn key(&self, server: usize) -> Option<ServerKey> {
        self.servers.get(server).map(|server| server.key)
    }

    /// The keys of all servers.
    pub fn keys(&self) -> impl Iterator<Item = ServerKey> {
        self.servers.iter().map(|server| server.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_and_ids_are_not() {
        let mut keys = ServerKeys::new();
        let (first, second) = (keys.give(), keys.give());
        assert_ne!(first.slot, second.slot);
        keys.take_back(first);
        let third = keys.give();
        assert_eq!(third.slot, first.slot);
        assert!(third.id > second.id);
    }

    #[test]
    fn a_key_that_is_back_already_frees_nobodys_slot() {
        let mut keys = ServerKeys::new();
        let first = keys.give();
        keys.take_back(first);
        keys.take_back(first);
        let second = keys.give();
        keys.take_back(first);
        let third = keys.give();
        assert_ne!(second.slot, third.slot);
    }
}
