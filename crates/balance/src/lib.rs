//! Endpoint sets and balancing algorithms; pure.
//!
//! A [`Balancer`] is built from endpoints and an [`Algorithm`]; `select` answers which server takes
//! a request, `report` tells how it went. Time, randomness and the hash of a request's key are
//! arguments ([`Ask`]); nothing here reads a clock, a socket or a file. Neither allocates nor
//! looks at the whole pool: a choice costs the same at 1 and at 1,000 servers, within a few dozen
//! nanoseconds (`examples/select_cost.rs` prints the table).
//!
//! What takes a server out and brings it back is [`PoolRules`]: passive health ([`Passive`]), the
//! panic threshold ([`Panic`]), slow start ([`SlowStart`]) and tiers. Active checks ([`Check`]) tell
//! the balancer their verdict with [`Balancer::checked`]. [`StickyTable`] remembers who is bound to
//! which server, and [`Balancer::select_bound`] tells whether that server still takes them.
//!
//! Beside the balancer stand units of their own, each a decision without its deed, in the order in
//! which a request meets them:
//!
//! | unit | decides | costs a request |
//! |---|---|---|
//! | [`Limiter`] | whether the pool takes one more, from how slow it has become | 27 ns |
//! | [`WaitQueue`] | who is next when every server is full | nothing unless full |
//! | [`Breaker`] | whether a pool or a server is asked at all | 6 ns |
//! | [`Hedger`] | when a second server is asked because the first is slow | 5 ns |
//! | [`RetryBudget`] | whether there may be one more attempt, retry or hedge | 5 ns |
//! | [`Backoff`] | how long to wait before it | nothing unless retried |
//!
//! `examples/recovery_curves.rs` prints what they do in an outage, in virtual time.
//!
//! What is shared by whom: a [`Balancer`] belongs to one configuration and is shared by all
//! workers; an [`EndpointState`] is the live side of one server of one pool and goes on over
//! reloads; a [`Permit`] is one request's place at a server.
//!
//! ```
//! use std::sync::Arc;
//! use keel_balance::{Algorithm, Ask, Balancer, EndpointSpec, EndpointState, Outcome, Tie};
//!
//! let servers = ["a", "b"].map(|name| (EndpointSpec::new(name), Arc::new(EndpointState::new())));
//! let algorithm = Algorithm::LeastConn { tie: Tie::First };
//! let balancer = Balancer::new(algorithm, servers.into())?;
//!
//! let (now_ms, random) = (1_000, 42);
//! let first = balancer.select(&Ask::at(now_ms, random))?;
//! let second = balancer.select(&Ask::at(now_ms, random))?;
//! assert_eq!((first.index, second.index), (0, 1));
//! balancer.state(first.index).record_response(850, now_ms);
//! balancer.report(first.index, Outcome::Success, now_ms);
//! drop(first.permit);
//! assert_eq!(balancer.state(0).active(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod ask;
mod average;
mod backoff;
mod balancer;
mod bits;
mod board;
mod bounded_load;
mod breaker;
mod budget;
mod cell;
mod choose;
mod concurrency;
mod failure;
mod hash;
mod health;
mod hedge;
mod ip_hash;
mod keyed;
mod least_conn;
mod least_time;
mod load;
mod maglev;
mod members;
mod outlier;
mod panic;
mod power_of_two;
mod queue;
mod random;
mod rendezvous;
mod ring;
mod round_robin;
mod rules;
#[cfg(test)]
mod scheduler;
mod slow_start;
mod spec;
mod split;
mod state;
mod sticky;
mod view;
mod weighted_random;
mod weighted_round_robin;
mod window;

pub use ask::{Ask, BoundFault, Outcome, SelectFault, Selected, Transition};
pub use backoff::Backoff;
pub use balancer::Balancer;
pub use breaker::{
    Breaker, BreakerChange, BreakerSettings, BreakerState, Pass, Refused, SlowCalls, Tripped,
};
pub use budget::{BudgetSettings, RetryBudget};
pub use concurrency::{ConcurrencySettings, InFlight, LimitChange, Limiter};
pub use failure::{FailureClass, FailureSet, StatusSet};
pub use hash::{hash_address, hash_key, md5_first8_mod};
pub use health::{Check, CheckFailure, CheckFault, CheckSettings, Health, HealthChange, Start};
pub use hedge::{HedgeSettings, Hedger};
pub use load::{load_share, parse_load};
pub use outlier::{ErrorRate, OutlierSettings, SuccessRate, Suspicion, Tally};
pub use panic::{Panic, PanicAction};
pub use queue::{Leave, Left, Priority, QueueSettings, Ticket, WaitQueue};
pub use rules::{Passive, PoolRules};
pub use slow_start::SlowStart;
pub use spec::{
    Algorithm, BOUNDED_LOAD_DEFAULT, BalanceFault, ENDPOINTS_MAX, EndpointSpec, HashScheme,
    IpHashMode, LEAST_TIME_PROBE_ONE_IN_DEFAULT, MAGLEV_TABLE_DEFAULT, MAGLEV_TABLE_MAX,
    RING_POINTS_DEFAULT, RING_POINTS_MAX, Tie, TimeFormula, WEIGHT_MAX,
};
pub use split::{Split, canary_percent};
pub use state::{EndpointState, Permit};
pub use sticky::{Binding, StickySettings, StickyTable};
pub use window::Counts;
