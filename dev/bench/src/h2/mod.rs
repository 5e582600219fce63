//! As much of HTTP/2 (RFC 9113) as clients of a bench need: whole frames in, prepared frames out.

pub mod client;
pub mod connection;
pub mod frames;
pub mod requests;
