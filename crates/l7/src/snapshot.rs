//! All that comes from configuration, compiled: what the data plane reads and never changes.
//!
//! A snapshot is built whole by the control plane and swapped whole; a request keeps the one that it
//! began with.

mod edits;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use keel_balance::{Breaker, FailureSet, Hedger, Limiter, RetryBudget, Split};
use keel_http::template::Template;
use keel_http::{HeadLimits, HeaderId};
use keel_http2::H2GuardLimits;
use keel_observe::AccessLog;
use keel_route::Router;
use keel_tls::{Acceptor, Connector};
use keel_types::{PoolId, RouteId};
use keel_upstream::Pool;

pub use edits::{Edits, KeepRequestId, RequestIdPlan};

use crate::limits::{PoolLimits, Shed};
use crate::queue::Queue;
use crate::retry::RetryPlan;
use crate::sticky::StickyPlan;

/// Everything that workers need to serve.
#[derive(Debug)]
pub struct Snapshot {
    /// Listeners, by `ListenerId`.
    pub listeners: Vec<ListenerPlan>,
    /// Finds a route.
    pub router: Router,
    /// Routes in file order, by `RouteId`; the last one stands for "no route matched".
    pub routes: Vec<RoutePlan>,
    /// Pools, by `PoolId`.
    pub pools: Vec<PoolPlan>,
    /// Access logs, by position; routes name them.
    pub logs: Vec<AccessLog>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Headers that may name the client, in order, when the peer is trusted.
    pub client_address_headers: Vec<HeaderId>,
    /// How `X-Request-ID` is made.
    pub request_id: RequestIdPlan,
    /// Refuses requests before the process has too many of them.
    pub shed: Option<Arc<Shed>>,
}

impl Snapshot {
    /// The plan for requests that no route matches.
    pub fn no_route(&self) -> RouteId {
        RouteId(self.routes.len().saturating_sub(1) as u32)
    }

    /// Whether forwarding headers from this peer are believed.
    #[inline]
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// A listener's limits and times, in bytes and milliseconds.
#[derive(Debug, Clone)]
pub struct ListenerPlan {
    /// Name from the configuration.
    pub name: String,
    /// It is not in the configuration any more: nothing is taken in, its connections end after the
    /// request that runs. It keeps its place, because ids of listeners are positions.
    pub gone: bool,
    /// `http` or `https`: what the client spoke.
    pub scheme: &'static str,
    /// TLS, when the listener has it.
    pub tls: Option<TlsPlan>,
    /// HTTP/2, unless the listener has none of it.
    pub http2: Option<Http2Plan>,
    /// Limits of heads.
    pub head_limits: HeadLimits,
    /// Time to read a head, from its first byte or from the accept.
    pub head_timeout_ms: u64,
    /// Time between requests.
    pub idle_timeout_ms: u64,
    /// Time in which a body must make progress.
    pub body_timeout_ms: u64,
    /// Time in which the client must take something of an answer.
    pub send_timeout_ms: u64,
    /// Bytes per second that a body must reach on average after [`MIN_RATE_GRACE_MS`]; 0 for none.
    pub body_rate_min: u64,
    /// Requests that one connection may carry.
    pub requests_max: u32,
    /// Largest request body, in bytes, where the route says nothing.
    pub body_bytes_max: u64,
    /// Positions of the access logs to write, where the route says nothing.
    pub logs: Vec<usize>,
    /// Outermost edits of requests.
    pub request_edits: Edits,
    /// Outermost edits of answers.
    pub response_edits: Edits,
}

/// TLS of a listener.
#[derive(Debug, Clone)]
pub struct TlsPlan {
    /// Certificates and settings.
    pub acceptor: Arc<Acceptor>,
    /// Time for a handshake, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Handshakes at a time on one worker; more connections than that are closed at once.
    pub handshakes_max: usize,
    /// Handshakes a second that one client may begin on one worker.
    pub per_client: Option<u32>,
}

/// HTTP/2 with clients: what we announce, and where abuse begins.
#[derive(Debug, Clone)]
pub struct Http2Plan {
    /// Streams that a client may have open at a time.
    pub streams_max: u32,
    /// Bytes of a body that a stream may send ahead of us.
    pub stream_window_bytes: u32,
    /// Bytes of bodies that a connection may send ahead of us.
    pub connection_window_bytes: u32,
    /// Bytes of a header list, as RFC 9113, 6.5.2 counts them.
    pub header_list_bytes_max: u32,
    /// Bytes that wait for the client on a connection, from which on its streams wait.
    pub out_bytes_max: usize,
    /// How long a client may take nothing of an answer on a stream, in milliseconds.
    pub stall_timeout_ms: u64,
    /// Limits of what else a client may send.
    pub guard: H2GuardLimits,
}

/// HTTP/2 with servers.
#[derive(Debug, Clone)]
pub struct ServerHttp2Plan {
    /// Streams on one connection at a time; fewer when the server says so.
    pub streams_max: usize,
    /// Connections of each worker to each server.
    pub connections_max: usize,
    /// Between two pings on a connection in use, in milliseconds; `u64::MAX` for none.
    pub ping_every_ms: u64,
    /// How long the answer to a ping may take, in milliseconds.
    pub ping_timeout_ms: u64,
    /// Bytes of an answer that a stream may send ahead of us.
    pub stream_window_bytes: u32,
    /// Bytes of answers that a connection may send ahead of us.
    pub connection_window_bytes: u32,
    /// Bytes that wait for the server on a connection, from which on its streams wait.
    pub out_bytes_max: usize,
}

impl Default for ServerHttp2Plan {
    fn default() -> ServerHttp2Plan {
        ServerHttp2Plan {
            streams_max: 100,
            connections_max: 8,
            ping_every_ms: 30_000,
            ping_timeout_ms: 10_000,
            stream_window_bytes: 256 << 10,
            connection_window_bytes: 4 << 20,
            out_bytes_max: 64 << 10,
        }
    }
}

/// What is spoken with the servers of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServerProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, by prior knowledge or over TLS.
    Http2,
    /// What the server chooses by ALPN.
    Auto,
}

/// Time before a body's rate is judged, in milliseconds.
pub const MIN_RATE_GRACE_MS: u64 = 10_000;

/// A pool and what the data plane does with it.
#[derive(Debug)]
pub struct PoolPlan {
    /// Servers, balancer, timeouts.
    pub pool: Arc<Pool>,
    /// What is spoken with the servers.
    pub protocol: ServerProtocol,
    /// HTTP/2, where it is spoken.
    pub http2: ServerHttp2Plan,
    /// TLS with the servers.
    pub tls: Option<Arc<Connector>>,
    /// What is tried again, unless the route says otherwise.
    pub retry: RetryPlan,
    /// What retries and hedges may add to the traffic; `None` is no limit.
    pub budget: Option<Arc<RetryBudget>>,
    /// Which failures are held against a server, by `max_fails` or as an outlier.
    pub failures: FailureSet,
    /// The circuit breaker of the pool.
    pub breaker: Option<Arc<Breaker>>,
    /// Those of the servers, by position; empty for none.
    pub server_breakers: Vec<Arc<Breaker>>,
    /// Adaptive concurrency.
    pub limiter: Option<Arc<Limiter>>,
    /// Limits of requests and connections.
    pub limits: Option<Arc<PoolLimits>>,
    /// Where requests wait while all is full; `None` refuses them at once.
    pub queue: Option<Arc<Queue>>,
    /// Whose requests stay with one server; `None` for nobody's.
    pub sticky: Option<StickyPlan>,
    /// When a second server is asked because the first is slow.
    pub hedger: Option<Arc<Hedger>>,
    /// Lower-case name of the header of answers that tells how busy a server is.
    pub load_report: Option<String>,
    /// What a hash algorithm hashes.
    pub hash_key: Option<HashKey>,
    /// Edits of requests that go to this pool, after those of the route.
    pub request_edits: Edits,
    /// `Host` for this pool, unless the route says one.
    pub host: Option<HostPlan>,
    /// Without a byte either way in a tunnel, unless the route says otherwise.
    pub tunnel_timeout_ms: u64,
}

/// Where a hash comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    ClientAddress,
    /// The first value of a header (lower-case name).
    Header(String),
    /// A cookie's value.
    Cookie(String),
    /// The normalised path.
    Path,
    /// Path and query as sent.
    Uri,
    /// A query parameter's value.
    Query(String),
    /// The id of the client's TLS session.
    TlsSession,
    /// The JA4 fingerprint of the client's TLS.
    Ja4,
    /// Nothing: a random number for every request.
    Random,
}

/// What happens to the requests of a route.
#[derive(Debug)]
pub struct RoutePlan {
    /// Name from the configuration, `-` for the plan of unmatched requests.
    pub name: String,
    /// Where they go.
    pub target: Target,
    /// Largest request body, in bytes; the listener's when unset.
    pub body_bytes_max: Option<u64>,
    /// What is tried again, merged with the pool's; the pool's when unset.
    pub retry: Option<RetryPlan>,
    /// Times that differ from the pool's and the listener's.
    pub timeouts: RouteTimeouts,
    /// Edits of requests, after the listener's.
    pub request_edits: Edits,
    /// Edits of answers, after the listener's.
    pub response_edits: Edits,
    /// Forwarding headers.
    pub forwarded: ForwardedPlan,
    /// `Host` for the server; the pool's when unset.
    pub host: Option<HostPlan>,
    /// Whether gRPC-Web is bridged to gRPC.
    pub grpc_web: bool,
    /// Whether answers name the server and the times.
    pub show_backend: bool,
    /// Positions of the access logs to write; the listener's when unset.
    pub logs: Option<Vec<usize>>,
    /// Answers for errors.
    pub error_pages: Arc<[ErrorPage]>,
}

/// Times of a route in milliseconds; `None` leaves the pool's or the listener's.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteTimeouts {
    /// To connect.
    pub connect_ms: Option<u64>,
    /// To answer, and between two reads of an answer.
    pub read_ms: Option<u64>,
    /// In which the server must take something of the request.
    pub send_ms: Option<u64>,
    /// In which the client's body must make progress.
    pub body_ms: Option<u64>,
    /// Without a byte either way in a tunnel.
    pub tunnel_ms: Option<u64>,
}

/// Where the requests of a route go.
pub enum Target {
    /// To a pool.
    Pool(PoolId),
    /// To one of several pools by weight.
    Split {
        /// Chooses a position in `pools`.
        split: Split,
        /// The pools.
        pools: Vec<PoolId>,
        /// What makes the choice stick.
        by: HashKey,
    },
    /// Elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The `Location`.
        location: Template,
    },
    /// To an answer from the configuration.
    Respond(FixedAnswer),
    /// To a page of our own, made for each request.
    Produce(Arc<dyn Produce>),
    /// Nowhere: no route matched.
    NoRoute,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Target::Pool(_) => "Pool",
            Target::Split { .. } => "Split",
            Target::Redirect { .. } => "Redirect",
            Target::Respond(_) => "Respond",
            Target::Produce(_) => "Produce",
            Target::NoRoute => "NoRoute",
        })
    }
}

/// Makes a page, such as the statistics, when a route exposes it.
pub trait Produce: Send + Sync {
    /// The page.
    fn produce(&self) -> FixedAnswer;
}

/// An answer from the configuration.
#[derive(Debug, Clone, Default)]
pub struct FixedAnswer {
    /// The status.
    pub status: u16,
    /// Value of `Content-Type`; none when empty.
    pub content_type: String,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Arc<[u8]>,
}

/// An answer to send in place of an error of some statuses.
#[derive(Debug, Clone)]
pub struct ErrorPage {
    /// First and last status that it stands for.
    pub statuses: (u16, u16),
    /// Value of `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: Arc<[u8]>,
}

/// What is sent as `Host` to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPlan {
    /// What the client sent.
    Keep,
    /// The server's own address.
    Server,
    /// This.
    Literal(String),
}

/// How the client's address is told to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardedPlan {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: XForwarded,
    /// `X-Real-IP`.
    pub x_real_ip: bool,
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
}

/// What happens to `X-Forwarded-For`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XForwarded {
    /// The peer is added behind what a trusted peer sent; from others it replaces what they sent.
    Append,
    /// Only the client's address, whatever came.
    Replace,
    /// None of these headers is sent or taken away.
    Off,
}
