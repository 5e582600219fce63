//! The validated model: everything that a configuration says, typed, with every default filled in.
//!
//! Invariants that hold for every [`Model`] that the loader returns:
//! - names are unique in their table and every id ([`PoolId`], [`ListenerId`], [`LogId`]) is in range;
//! - every pool has a server, every split a part with a weight above 0, every listener a bind;
//! - a listener's TLS has certificates or makes its own, and `min_version` is not above `max_version`;
//! - numbers, sizes and durations are inside the ranges of the reference page.
//!
//! Not checked here, because only the core that uses them can: regexes, globs, templates, files of
//! certificates and names of cipher suites, whether a
//! name resolves, whether an address can be bound. Those values carry a [`crate::Spanned`], so that the stage
//! which finds the fault reports it at the right place through [`Model::sources`].

mod admin;
mod discover;
mod forward;
mod headers;
mod health;
mod http2;
mod listener;
mod log;
mod matcher;
mod pages;
mod pool;
mod process;
mod protect;
mod retry;
mod route;
mod statuses;
mod sticky;
mod tls;

pub use admin::{Admin, Dependency, DependencyCheck, DiskFree, OwnHealth, Secret};
pub use discover::{Discover, Resolve, Resolver};
pub use forward::{Forwarded, HostHeader, XForwarded};
pub use headers::{HeaderEdits, HeaderRules, HeaderValue};
pub use health::{CheckStart, CheckTls, Expected, HealthCheck, HttpProbe, JsonTest, Probe};
pub use http2::{Http2, Ping, ServerHttp2, ServerProtocol};
pub use listener::{BindAddress, ClientLimits, ClientTimeouts, Endpoint, EndpointHost, Listener};
pub use log::{AccessLog, Facility, LogFormat, LogId, LogTarget, NamedFormat};
pub use matcher::{
    Condition, FieldTest, HostPattern, PathPattern, Scheme, TlsFact, TlsTest, ValueTest,
};
pub use pages::{ErrorPage, ErrorPages};
pub use pool::{
    Balance, GrpcStatus, HashKey, HashScheme, IpHashMode, KeepAlive, Pool, Server, ServerTimeouts,
    Tie,
};
pub use process::{ClientAddress, ClientHeader, Connections, KeepId, Process, RequestId, Workers};
pub use protect::{
    Breaker, Concurrency, Failures, MemoryLimit, Outlier, Panic, PanicAction, PoolLimits, Queue,
    Shed, SlowCalls, SlowStart, SuccessRate,
};
pub use retry::{Backoff, Hedge, HedgeAfter, Retry, RetryBudget, RetryOn, RouteRetry};
pub use route::{
    Expose, PoolRef, Redirect, RedirectStatus, Respond, Route, RouteTimeouts, Split, SplitBy,
    SplitPart, Target,
};

pub use statuses::Statuses;
pub use sticky::{CookieSecure, LearnFrom, SameSite, Sticky, StickyBy, StickyCookie};
pub use tls::{
    CertificateSource, Certificates, ClientCertificates, Handshakes, Hsts, ListenerTls, Roots,
    SelfSigned, ServerName, ServerTls, Sessions, Tickets, TlsVersion, UnknownName, VerifyClient,
    VerifyServer,
};

pub use keel_types::{ListenerId, PoolId};

use std::path::PathBuf;

use crate::{Sources, Spanned};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Workers, connections, drain.
    pub process: Process,
    /// Folder for what outlives a restart. Nothing of it was looked at.
    pub state: Spanned<PathBuf>,
    /// How the client's address is found.
    pub client_address: ClientAddress,
    /// The request id.
    pub request_id: RequestId,
    /// Whether answers name the backend and its times (`X-Served-By` and the like). Default false.
    pub show_backend: bool,
    /// Logs of a request whose listener and route say nothing. Empty = not logged.
    pub access_log: Vec<LogId>,
    /// Every access log, named ones first, then the inline ones. [`LogId`] is the position.
    pub access_logs: Vec<AccessLog>,
    /// Error pages of requests that reach no route. A route's own pages have these merged in already.
    pub error_pages: ErrorPages,
    /// Outermost header edits; listener, route and pool edits apply after them, in that order.
    pub headers: HeaderRules,
    /// Listeners in file order. [`ListenerId`] is the position. Never empty.
    pub listeners: Vec<Listener>,
    /// Routes in the order in which they are tried.
    pub routes: Vec<Route>,
    /// Pools in file order. [`PoolId`] is the position.
    pub pools: Vec<Pool>,
    /// The admin API; `None` = off.
    pub admin: Option<Admin>,
    /// Our own /health.
    pub health: OwnHealth,
    /// When the process refuses requests.
    pub shed: Shed,
    /// How names of servers are looked up.
    pub resolver: Resolver,
    /// Key of the values of our own cookies, shared by nodes; `None` = one of our own making, kept in the state folder.
    pub secret: Option<Spanned<Secret>>,
    /// The text of every file that was read, for reports of later stages.
    pub sources: Sources,
}

impl Model {
    /// The pool of an id of this model.
    pub fn pool(&self, id: PoolId) -> &Pool {
        &self.pools[usize::from(id.0)]
    }

    /// The access log of an id of this model.
    pub fn log(&self, id: LogId) -> &AccessLog {
        &self.access_logs[usize::from(id.0)]
    }
}
