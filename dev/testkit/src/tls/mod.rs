//! TLS for tests: a small authority, clients and servers, all blocking.
//!
//! The engine is rustls as in the proxy, for there is one TLS stack in the tree; `openssl` is run beside it where an
//! independent judgement is wanted. A [`TlsClient`] gives a [`Wire`](crate::Wire) like any other.

mod certificates;
mod client;
mod link;
mod server;
#[cfg(test)]
mod tests;

pub use certificates::{Ca, Leaf, LeafSpec};
pub use client::{TlsClient, TlsSession};
pub use link::Link;
pub use server::{Handshake, TlsServer};

/// The one crypto provider.
fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// As `openssl` and nginx write it.
fn version_name(version: Option<rustls::ProtocolVersion>) -> &'static str {
    match version {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    }
}
