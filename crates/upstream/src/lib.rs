//! Connections to backends: names resolved, sockets connected, idle connections kept and reused,
//! servers checked.
//!
//! A [`Pool`] is shared by all workers; the idle connections of [`IdleConnections`] belong to one
//! worker. What is forwarded over a connection is not known here.
#![forbid(unsafe_code)]

pub mod check;
mod connect;
mod discover;
mod idle;
mod pool;
mod resolve;

pub use connect::{Connection, start_connect};
pub use discover::{
    AllOf, Counts, Discovery, Found, FoundServer, Known, Place, SERVERS_MAX, Service, Target,
};
pub use idle::IdleConnections;
pub use pool::{Failure, KeepAlive, Pool, Server, ServerAddress, ServerKey, ServerKeys};
pub use resolve::{Dns, HostAnswer, ResolveFault, ResolverSettings, ServiceAnswer, ServiceRecord};
