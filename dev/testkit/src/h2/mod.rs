//! HTTP/2 at the level of frames, written from RFC 9113 and RFC 7541 for tests.
//!
//! [`H2Wire`] is a client that can send anything, and [`H2Origin`] a server that can answer anything. Both judge
//! strictly what they get: frames, states, windows, header compression, and the rules for fields; a breach fails the
//! test. No code is shared with the proxy, nor with the library that the proxy uses.

mod answer;
mod client;
mod connection;
mod fields;
pub mod frame;
mod hpack;
mod huffman;
mod judge;
mod origin;
mod reply;
mod serve;
#[cfg(test)]
mod tests;

pub use answer::{H2Answer, H2Lost};
pub use client::{GoAway, H2Wire};
pub use connection::{Auto, Connection, Event};
pub use frame::Frame;
pub use hpack::{Decoder, encode, integer};
pub use origin::{H2Origin, H2Stage};
pub use reply::{H2Reply, H2Seen};
