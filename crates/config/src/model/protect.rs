//! What keeps a pool and its servers from harm: judgement of real traffic, breakers, limits, queues.

use std::time::Duration;

use super::Statuses;
use crate::Spanned;
use crate::words::words;

/// Which outcomes of requests count as a server's failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    /// No connection, one that broke, an answer that is no HTTP.
    pub error: bool,
    /// Connecting, sending or answering took too long.
    pub timeout: bool,
    /// Answers with these statuses.
    pub statuses: Statuses,
}

/// Comparison with the other servers of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct SuccessRate {
    /// Standard deviations below the mean; default 1.9.
    pub deviations: f64,
    /// Least distance to the mean, 0.0 to 1.0; default 0.05.
    pub gap: f64,
    /// Fewest servers to compare; default 5.
    pub servers: u32,
    /// Fewest requests of a server in the window for taking part; default 100.
    pub volume: u32,
}

/// When a server is ejected for what its real traffic shows. Replaces `max_fails`.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlier {
    /// Failures in a row; 0 = never for that; default 5.
    pub consecutive: u32,
    /// Share of failures, above 0.0 to 1.0; `None` = never for that; default 0.5.
    pub error_rate: Option<f64>,
    /// Fewest requests in the window for a verdict by `error_rate`; default 20.
    pub error_volume: u32,
    /// `None` = never for that; default on.
    pub success_rate: Option<SuccessRate>,
    /// Window of both rates; default 10 s.
    pub window: Duration,
    /// The first ejection; the n-th lasts n times as long; default 30 s.
    pub ejection: Duration,
    /// The longest ejection; default 5 min.
    pub ejection_max: Duration,
    /// Largest share of the pool's servers that may be out, 0.0 to 1.0; default 0.5.
    pub ejected_max: f64,
    /// What counts as a failure; default errors, timeouts, 5xx.
    pub on: Failures,
}

words! {
    /// What is done when too few servers are healthy.
    PanicAction {
        /// Requests are spread over all servers, healthy or not.
        Spread = "spread",
        /// Requests are answered with 503.
        Refuse = "refuse",
    }
}

/// When too few servers are healthy, and what then.
#[derive(Debug, Clone, PartialEq)]
pub struct Panic {
    /// Share of healthy servers below which a tier does not serve, 0.0 to 1.0; default 0.0: one is enough.
    pub threshold: f64,
    /// Default spread.
    pub action: PanicAction,
}

/// How a server that came back gets its traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowStart {
    /// Until it has its full share.
    pub time: Duration,
    /// Exponent of the curve, above 0.0; default 1.0, a straight line.
    pub curve: f64,
    /// Share at the beginning, 0.0 to 1.0; default 0.1.
    pub from: f64,
}

/// Slow answers as a reason to open a breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowCalls {
    /// An answer that takes longer is slow.
    pub over: Duration,
    /// Share of slow answers, above 0.0 to 1.0; default 0.5.
    pub share: f64,
}

/// A circuit breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    /// Share of failed requests at which it opens, above 0.0 to 1.0; `None` = never for that; default 0.5.
    pub errors: Option<f64>,
    /// `None` = never for that, the default.
    pub slow: Option<SlowCalls>,
    /// Fewest requests in the window for a verdict; default 20.
    pub volume: u32,
    /// Window; default 10 s.
    pub window: Duration,
    /// How long it is open the first time, doubled each time; default 5 s.
    pub open: Duration,
    /// Longest time it is open; default 60 s.
    pub open_max: Duration,
    /// Requests that are let through while half-open, all of which must go well; default 3.
    pub probes: u32,
}

/// Limits of a pool, over all workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolLimits {
    /// Requests at a time, waiting ones not counted; 0 = no limit, the default.
    pub requests: u32,
    /// Connections to the pool's servers, idle ones included; 0 = no limit, the default.
    pub connections: u32,
}

/// The queue of requests that wait because every server is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Requests that may wait; default 1000.
    pub length: u32,
    /// How long one may wait; default 5 s.
    pub wait: Duration,
    /// Request header with its priority, 0 (first) to 255; `None` = all are equal.
    pub priority: Option<Spanned<String>>,
}

/// A limit of concurrent requests that follows response times.
#[derive(Debug, Clone, PartialEq)]
pub struct Concurrency {
    /// Lowest limit; default 10.
    pub min: u32,
    /// Highest limit; default 1000.
    pub max: u32,
    /// By how much an answer may be slower than on an idle server, as a share; default 0.25.
    pub tolerance: f64,
}

/// Memory, as a share or in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MemoryLimit {
    /// Share of what the process may have: of its cgroup's limit, or of the machine's memory. Above 0.0 to 1.0.
    Share(f64),
    /// Bytes.
    Bytes(u64),
}

/// When the whole process refuses requests, with 503 and Retry-After.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shed {
    /// Memory of the process; `None` = no limit.
    pub memory: Option<MemoryLimit>,
    /// Requests in flight over all workers; `None` = no limit.
    pub requests: Option<u32>,
}
