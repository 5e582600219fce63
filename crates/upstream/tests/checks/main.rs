//! Active checks against real servers on loopback: each kind of check with answers of every sort, and
//! the engine with its times.
// Helpers of tests count as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod engine;
mod grpc;
mod http;
mod plain;
mod tools;
