//! Active checks: servers are asked whether they are well, and the balancer is told.
//!
//! A [`CheckPlan`] says how the servers of a pool are asked; [`CheckPlan::run`] does it once, over a
//! connection of its own, because a check tells whether a new connection works. The [`Checker`] runs
//! the checks of all pools on the control plane's runtime: when each is due is decided by
//! [`keel_balance::Check`], in virtual time; here are the clock, the sockets, and the limit of checks
//! at a time. What a check found is published for each server ([`ServerCheck`]).
//!
//! Answers are read as strictly as in the data plane, and never more than [`BODY_MAX`] of them.

mod app;
mod checker;
mod exchange;
mod expect;
mod grpc;
mod http1;
mod http2;
mod plan;
mod probe;
mod report;
mod table;

pub use app::AppHealth;
pub use checker::{CHECKS_MAX, CheckLoop, Checker, PoolChecks};
pub use expect::{Expect, JsonTest};
pub use plan::{CheckPlan, CheckProtocol, Exchange, HttpProbe, Probe};
pub use probe::{Finding, Target};
pub use report::{CheckReport, LastCheck, ServerCheck};

/// Most bytes of an answer's body that are read.
pub const BODY_MAX: usize = 64 * 1024;
