//! Origins, clients and a harness for tests that run the real binary.
//!
//! All of it is blocking and on threads: a test reads from top to bottom, and no runtime of the harness can be taken for
//! one of the proxy. Ports are given by the system, waits end with an event or a deadline, and everything that
//! is started is stopped on drop. The [`strict`] reader is the judge of what reaches a backend; every
//! [`origin::Origin`] that speaks HTTP runs it on all that it receives and fails the test on drop.
#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness fails a test by panicking"
)]

pub mod binary;
pub mod client;
pub mod dns;
pub mod h2;
pub mod origin;
pub mod peers;
pub mod process;
pub mod proxy;
mod said;
pub mod scratch;
pub mod strict;
pub mod terminal;
pub mod tls;
pub mod wait;

pub use client::{Answer, Ask, Load, LoadReport, Wire, get};
pub use dns::{DnsServer, Mood, Record};
pub use h2::{H2Origin, H2Reply, H2Wire};
pub use origin::{Origin, Reply, Seen};
pub use proxy::{Exit, Proxy};
pub use tls::{Ca, LeafSpec, TlsClient, TlsServer};
