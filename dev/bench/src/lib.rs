//! Load scenarios against other proxies, growth curves, memory and stalls, and instruction counts.
//!
//! The measure is CPU time of the proxy per request as a ratio to the best peer doing the same work in the same run. The
//! proxy has one core; load generator, origins and this driver have another. See `README.md` beside the manifest.
#![forbid(unsafe_code)]

pub mod bed;
pub mod callgrind;
pub mod client;
pub mod compare;
pub mod connection;
pub mod cores;
pub mod cpu;
pub mod document;
pub mod floor;
pub mod growth;
pub mod h2;
pub mod histogram;
pub mod hold;
pub mod job;
pub mod load;
pub mod memory;
pub mod ops;
pub mod origin;
pub mod process;
pub mod profile;
pub mod protocol;
pub mod proxy;
pub mod ratio;
pub mod record;
pub mod scenario;
pub mod sockets;
pub mod stalls;
pub mod table;
pub mod tls;
pub mod transport;
pub mod whole;
pub mod wire;
