//! TLS on both sides: certificates chosen by name, handshakes, resumption, stapling, and connections to servers.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod hello;
pub mod ja4;
