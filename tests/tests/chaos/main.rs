//! Chaos: the real binary under steady load while its servers are killed, stopped, slowed and restarted, its configuration
//! is changed and it is itself replaced. Nothing may be lost that could have been served.
//!
//! `cargo test -p keel-tests --test chaos` runs what CI runs. `EVENKEEL_CHAOS_SECONDS` makes it longer, `EVENKEEL_CHAOS_SEED`
//! chooses the plan of actions (it is printed; the same seed gives the same plan), and `EVENKEEL_CHAOS_HARMS` (`kill,stop`)
//! puts these in the place of all others, to find out which one a loss comes from.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

mod account;
mod contract;
mod dice;
mod fleet;
mod journal;
mod judge;
#[allow(dead_code, reason = "the part of it that is needed here")]
#[path = "../e2e/lineage.rs"]
mod lineage;
mod load;
mod origin;
mod plan;
mod report;
mod run;
mod site;
mod websockets;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The tests of this binary need both cores for themselves.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Not a test: the body of the servers that [`fleet`] starts. Without its variable it does nothing.
#[test]
#[ignore = "it is the server that the other tests start"]
fn server_process() {
    origin::run_if_asked();
}
