//! Pools and their servers.

use std::net::IpAddr;
use std::time::Duration;

use super::{
    Breaker, Concurrency, Discover, Endpoint, HeaderEdits, HealthCheck, Hedge, HostHeader, Outlier,
    Panic, PoolLimits, Queue, Retry, ServerHttp2, ServerProtocol, ServerTls, SlowStart, Sticky,
};
use crate::Spanned;
use crate::words::words;

words! {
    /// How ip_hash turns an address into a server.
    IpHashMode {
        /// Consistent hashing: when a server goes, only its clients move.
        Consistent = "consistent",
        /// The first 8 hex digits of the address' MD5, modulo the number of servers.
        Modulo = "modulo",
    }
}

words! {
    /// How a hash is turned into a server.
    HashScheme {
        /// A ring of points (ketama): little memory, good with few changes.
        Ring = "ring",
        /// Highest random weight: the smallest movement, cost grows with servers.
        Rendezvous = "rendezvous",
        /// Maglev's table: the most even, quickest to look up.
        Maglev = "maglev",
    }
}

words! {
    /// Which of several servers with as few connections is taken.
    Tie {
        /// The first in file order.
        First = "first",
        /// Each in turn.
        Rotate = "rotate",
    }
}

/// What a hash is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    ClientAddress,
    /// The normalised path.
    Path,
    /// The path with the query.
    Uri,
    /// A request header; the client's address when it is missing.
    Header(Spanned<String>),
    /// A cookie; the client's address when it is missing.
    Cookie(Spanned<String>),
    /// A query parameter; the client's address when it is missing.
    Query(Spanned<String>),
    /// The id of the client's TLS session; the client's address without TLS.
    TlsSession,
    /// The JA4 fingerprint of the client's TLS; the client's address without TLS.
    Ja4,
}

words! {
    /// A status of gRPC, by its name in lower case.
    GrpcStatus {
        /// The call was cancelled.
        Cancelled = "cancelled",
        /// The server does not know what went wrong.
        Unknown = "unknown",
        /// The deadline passed.
        DeadlineExceeded = "deadline_exceeded",
        /// A quota is used up.
        ResourceExhausted = "resource_exhausted",
        /// The call was given up, because of a conflict for example.
        Aborted = "aborted",
        /// Something broke in the server.
        Internal = "internal",
        /// The server cannot take the call now.
        Unavailable = "unavailable",
    }
}

/// How a server is chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Balance {
    /// Each in turn; when weights differ, smoothly by weight (as nginx does).
    RoundRobin,
    /// By weight.
    Weighted {
        /// All turns of a server one after the other instead of spread out.
        burst: bool,
    },
    /// By chance; weights are not used.
    Random,
    /// By chance, by weight.
    WeightedRandom,
    /// Fewest active requests for its weight.
    LeastConn {
        /// Which of several; default first.
        tie: Tie,
    },
    /// Smallest decaying average of response time, times active requests plus one.
    LeastTime {
        /// Share of requests, 0.0 to 1.0, that go to a server by turn so that a slow one is tried again; default 0.02.
        probe: f64,
    },
    /// The less busy of two taken by chance.
    PowerOfTwo,
    /// By the client's address.
    IpHash {
        /// Default consistent.
        mode: IpHashMode,
    },
    /// By a hash of a key.
    Hash {
        /// What is hashed; default the client's address.
        key: HashKey,
        /// Default ring.
        scheme: HashScheme,
        /// A server gets at most this many times the average load (above 1.0); `None` = no bound.
        bounded_load: Option<f64>,
    },
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name, unique in the pool; the address when the file gives none.
    pub name: Spanned<String>,
    /// Where it listens; the port is 0 with [`Discover::Srv`] only.
    pub address: Spanned<Endpoint>,
    /// 0 to 65535; 0 = no traffic; default 1.
    pub weight: u32,
    /// The lowest tier that has servers to use is used; `backup: true` is tier 1; default 0.
    pub tier: u8,
    /// How many servers this entry stands for.
    pub discover: Discover,
    /// Where it is, when it was found by the name in `address`; `None` in all that a file says.
    pub found_at: Option<IpAddr>,
    /// Gets no new traffic.
    pub down: bool,
    /// Requests at a time over all workers; 0 = no limit.
    pub max_connections: u32,
    /// Failures within `fail_timeout` after which it rests; 0 = never rests. Default the pool's.
    pub max_fails: u32,
    /// Time in which failures are counted, and for which it rests. Default the pool's.
    pub fail_timeout: Duration,
}

/// Idle connections to servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle connections that each worker keeps for each server; 0 = none is kept. Default 64.
    pub connections: u32,
    /// How long one may be idle; default 60 s.
    pub idle: Duration,
    /// Requests on one before it is closed; default 1000.
    pub requests: u32,
}

/// How long a server may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTimeouts {
    /// Connecting; default 5 s.
    pub connect: Duration,
    /// Waiting for the answer's head and between its bytes; default 60 s.
    pub read: Duration,
    /// Without progress in sending the request; default 60 s.
    pub send: Duration,
    /// Without a byte either way after an upgrade; default 1 h.
    pub tunnel: Duration,
}

/// A pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Name, unique.
    pub name: Spanned<String>,
    /// How a server is chosen; default round_robin.
    pub balance: Spanned<Balance>,
    /// Servers in file order; never empty.
    pub servers: Vec<Server>,
    /// What is spoken; default http1. `Auto` only with TLS.
    pub protocol: ServerProtocol,
    /// TLS; the span is that of `tls`. `None` = plain.
    pub tls: Option<Spanned<ServerTls>>,
    /// HTTP/2, when it is spoken.
    pub http2: ServerHttp2,
    /// Idle connections.
    pub keepalive: KeepAlive,
    /// Timeouts; a route may override them.
    pub timeouts: ServerTimeouts,
    /// Further attempts of a request; a route may override them.
    pub retry: Retry,
    /// Hedged requests; `None` = off, the default.
    pub hedge: Option<Hedge>,
    /// Active checks; the span is that of `health`. `None` = off, the default.
    pub health: Option<Spanned<HealthCheck>>,
    /// Ejection by comparison; the span is that of `outlier`. `None` = by `max_fails` of each server, the default.
    pub outlier: Option<Spanned<Outlier>>,
    /// When too few servers are healthy.
    pub panic: Panic,
    /// `None` = a server that came back has its full share at once, the default.
    pub slow_start: Option<SlowStart>,
    /// Header of answers that tells how busy the server is, 0 to 1 or in percent; `None` = none, the default.
    pub load_report: Option<Spanned<String>>,
    /// Breaker of the whole pool; `None` = off, the default.
    pub breaker: Option<Breaker>,
    /// Breaker of each server; `None` = off, the default.
    pub server_breaker: Option<Breaker>,
    /// Limits over all workers.
    pub limits: PoolLimits,
    /// `None` = off, the default: when all servers are full, requests are answered with 503.
    pub queue: Option<Queue>,
    /// `None` = off, the default.
    pub concurrency: Option<Concurrency>,
    /// Persistence; `None` = off, the default.
    pub sticky: Option<Sticky>,
    /// Host sent to the server; default keep. A route may override it.
    pub host: HostHeader,
    /// Edits of requests, after those of the route.
    pub request_headers: HeaderEdits,
}
