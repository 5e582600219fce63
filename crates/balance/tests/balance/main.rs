//! The balancer from outside: worked examples, fairness, movement, limits, health, time, threads.
// Helpers of tests count as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod contract;
mod examples;
mod fairness;
mod health;
mod hour;
mod limits;
mod movement;
mod permits;
mod pool;
