//! What protects a pool, in virtual time and against models: checks, outliers, breakers, budgets,
//! hedging, queues, limits, slow start, reported loads, sticky tables, panic, tiers. Every run has a seed; a failure names it.
// Helpers of tests count as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../balance/pool.rs"]
#[allow(dead_code)]
mod pool;

mod breaker;
mod budget;
mod chaos;
mod checks;
mod concurrency;
mod hedge;
mod load;
mod outlier;
mod queue;
mod rules;
mod slow_start;
mod sticky;
mod tiers;
