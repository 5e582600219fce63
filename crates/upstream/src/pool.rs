//! A pool of servers: the balancer over them, their addresses and the timeouts towards them.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use keel_balance::Balancer;
use keel_types::PoolId;

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

/// One server of a pool. Its position is the same here and in the pool's balancer.
#[derive(Debug)]
pub struct Server {
    /// Name, unique in the pool; the label of its metrics.
    pub name: String,
    /// As the configuration has it.
    pub address: ServerAddress,
    /// `host:port` as text, for the log and for a `Host` that names the server.
    pub address_text: String,
    /// What the name stands for now; empty while it does not resolve.
    pub resolved: ArcSwap<Vec<SocketAddr>>,
}

impl Server {
    /// A server; an address that is an IP needs no resolving, a name is empty until it was.
    pub fn new(name: String, address: ServerAddress) -> Server {
        let known = address
            .host
            .parse()
            .ok()
            .map(|ip| SocketAddr::new(ip, address.port));
        Server {
            name,
            address_text: address.to_string(),
            address,
            resolved: ArcSwap::from_pointee(known.into_iter().collect()),
        }
    }

    /// Whether the address is a name that has to be resolved.
    pub fn is_name(&self) -> bool {
        self.address.host.parse::<std::net::IpAddr>().is_err()
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
    /// Number of this pool's first server among all servers of the snapshot.
    pub first_server: usize,
    /// How connections are kept.
    pub keep_alive: KeepAlive,
    /// How long a connect may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a server may stay silent while we wait for its answer, in milliseconds.
    pub read_timeout_ms: u64,
    /// How long a server may take nothing of what we send, in milliseconds.
    pub send_timeout_ms: u64,
    /// How many servers are tried for one request.
    pub tries_max: u32,
}
