//! Further attempts: retries and hedges.

use std::time::Duration;

use super::{GrpcStatus, Statuses};

/// After what a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection was made, or it broke.
    pub error: bool,
    /// Connecting took too long, or sending: the server took nothing.
    pub connect_timeout: bool,
    /// The answer took too long, by the pool's timeouts or `per_try`.
    pub answer_timeout: bool,
    /// The answer broke the protocol.
    pub invalid: bool,
    /// The server said that it did not act on it (REFUSED_STREAM, GOAWAY).
    pub refused: bool,
    /// The answer has one of these statuses.
    pub statuses: Statuses,
}

/// Waits between attempts: evenly from nothing to a ceiling that doubles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first wait.
    pub first: Duration,
    /// Highest ceiling; default ten times `first`.
    pub max: Duration,
}

/// How much retries and hedges may add to a pool's traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryBudget {
    /// Further attempts per request over ten seconds, 0.0 to 1.0; default 0.2.
    pub share: f64,
    /// Further attempts a second that are always allowed; default 3.
    pub min: f64,
}

/// Retries of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// After what; default errors, timeouts of connecting, refusals.
    pub on: RetryOn,
    /// Attempts in all, 1 = never another; default 3.
    pub tries: u32,
    /// No further attempt begins later than this after the first; `None` = no limit, the default.
    pub within: Option<Duration>,
    /// How long an attempt may take to the answer's head, when another may follow; `None` = as long as `timeouts`
    /// say, the default.
    pub per_try: Option<Duration>,
    /// `None` = at once, the default.
    pub backoff: Option<Backoff>,
    /// `None` = as many as `tries` says.
    pub budget: Option<RetryBudget>,
    /// Whether methods that may change something are tried again though the server may have acted; default false.
    pub unsafe_methods: bool,
    /// Bytes of a request's body that are kept for a further attempt; 0 = none; default 64 KiB.
    pub body: u64,
    /// Statuses of gRPC after which a call is tried again; default none.
    pub grpc: Vec<GrpcStatus>,
}

/// A route's own settings of retries; `None` = the pool's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteRetry {
    /// After what.
    pub on: Option<RetryOn>,
    /// Attempts in all.
    pub tries: Option<u32>,
    /// No further attempt begins later.
    pub within: Option<Duration>,
    /// How long an attempt may take.
    pub per_try: Option<Duration>,
    /// Waits; `Some(None)` = at once.
    pub backoff: Option<Option<Backoff>>,
    /// Whether methods that may change something are tried again.
    pub unsafe_methods: Option<bool>,
    /// Bytes of a body that are kept.
    pub body: Option<u64>,
    /// Statuses of gRPC.
    pub grpc: Option<Vec<GrpcStatus>>,
}

impl RouteRetry {
    /// The settings of a pool with these in their place.
    pub fn over(&self, pool: &Retry) -> Retry {
        Retry {
            on: self.on.clone().unwrap_or_else(|| pool.on.clone()),
            tries: self.tries.unwrap_or(pool.tries),
            within: self.within.or(pool.within),
            per_try: self.per_try.or(pool.per_try),
            backoff: self.backoff.clone().unwrap_or_else(|| pool.backoff.clone()),
            budget: pool.budget.clone(),
            unsafe_methods: self.unsafe_methods.unwrap_or(pool.unsafe_methods),
            body: self.body.unwrap_or(pool.body),
            grpc: self.grpc.clone().unwrap_or_else(|| pool.grpc.clone()),
        }
    }
}

/// When a second server is asked because the first is slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HedgeAfter {
    /// When this share of the pool's requests would have been answered, above 0.0, below 1.0.
    Percentile(f64),
    /// After this time.
    Time(Duration),
}

/// Hedged requests. Only safe methods without a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Hedge {
    /// When; default 95 %.
    pub after: HedgeAfter,
    /// Least wait with a percentile; default 5 ms.
    pub min: Duration,
    /// Longest wait with a percentile; default 5 s.
    pub max: Duration,
    /// Most extra requests for one; default 1.
    pub extra: u32,
}
