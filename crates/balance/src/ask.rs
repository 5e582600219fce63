//! The question put to a balancer, and the answers.

use std::fmt;
use std::net::IpAddr;

use crate::outlier::Suspicion;
use crate::state::Permit;

/// What a balancer may look at to choose.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Monotonic time in milliseconds, of the same origin as in `report`.
    pub now_ms: u64,
    /// Fresh random bits for this request.
    pub random: u64,
    /// Hash of the request's key, from [`crate::hash_key`]. Without one, hashing pools choose at
    /// random.
    pub hash: Option<u64>,
    /// Client address, for `ip_hash`. Without one, `hash` and then `random` stand in.
    pub client: Option<IpAddr>,
    /// Positions that this request has tried already; not chosen again.
    pub tried: &'a [usize],
}

impl Ask<'_> {
    /// A question with time and random bits only.
    pub fn at(now_ms: u64, random: u64) -> Ask<'static> {
        Ask {
            now_ms,
            random,
            hash: None,
            client: None,
            tried: &[],
        }
    }
}

/// A chosen endpoint. Its active count is up already and goes down when the permit is dropped.
#[derive(Debug)]
pub struct Selected {
    /// Position in the pool, in the order given to [`crate::Balancer::new`].
    pub index: usize,
    /// The place taken at the endpoint.
    pub permit: Permit,
}

/// Why nothing could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectFault {
    /// The pool has no servers.
    #[error("the pool has no servers")]
    NoServers,
    /// Every server is down by configuration or has weight 0. (A server that rests is used when
    /// no other is left, so rests alone never lead here.)
    #[error("every server of the pool is down or drained")]
    AllDown,
    /// Every server that could take the request is at its `max_connections`.
    #[error("every server of the pool has all the connections it may have")]
    AllFull,
    /// Every server that could take the request is in the list of those tried.
    #[error("every server of the pool was tried")]
    AllTried,
    /// Fewer servers are healthy than the panic threshold asks for, and the pool fails closed.
    #[error("too few servers of the pool are healthy")]
    TooFewHealthy,
}

/// Why the server that a session is bound to does not take its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BoundFault {
    /// It is at its `max_connections`. The session stays bound; this request goes elsewhere.
    #[error("the server has all the connections it may have")]
    Full,
    /// It is gone, down, drained, rests, was tried, or its checks fail. The session is handed on.
    #[error("the server takes no requests")]
    Unusable,
}

/// How a request went, as far as the health of the server goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered.
    Success,
    /// It could not be reached, timed out, or answered with what counts as a failure.
    Failure,
}

/// A change of an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It failed too often and rests for its `fail_timeout_ms`.
    Rested,
    /// It is out as an outlier, for this reason.
    Ejected(Suspicion),
    /// It answered again after a rest or an ejection.
    Recovered,
    /// Its checks fail.
    Down,
    /// Its checks pass again.
    Up,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transition::Rested => f.write_str("too many failures"),
            Transition::Ejected(why) => why.fmt(f),
            Transition::Recovered => f.write_str("it answers again"),
            Transition::Down => f.write_str("its checks fail"),
            Transition::Up => f.write_str("its checks pass"),
        }
    }
}
