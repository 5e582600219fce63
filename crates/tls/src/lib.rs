//! TLS on both sides: certificates chosen by name, handshakes, resumption, stapling, and connections to servers.
//!
//! - A listener has an [`Acceptor`]: it loads and watches certificates, and makes a [`Stream`] of a TCP connection.
//! - A pool has a [`Connector`]: the same towards servers.
//! - [`suites`] has the one crypto provider of the process.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod acceptor;
mod certificate;
mod client_auth;
mod connector;
pub mod crl;
mod der;
mod event;
mod facts;
mod fault;
pub mod hello;
pub mod ja4;
mod kept;
mod mac;
pub mod ocsp;
mod peer;
pub mod rates;
mod resumption;
mod selfsigned;
mod session;
pub mod sessions;
mod settings;
mod stapling;
mod store;
mod stream;
pub mod suites;
pub mod tickets;
mod verify;
mod watch;

pub use acceptor::Acceptor;
pub use connector::Connector;
pub use event::{CertificateInfo, Event};
pub use facts::{Alpn, TlsFacts};
pub use fault::{FaultClass, HandshakeFault, Notice, Setting, SettingsFault};
pub use mac::MacKey;
pub use peer::PeerCertificate;
pub use session::Session;
pub use settings::{
    CertificateSource, ClientCertificates, ClientSettings, Roots, SelfSigned, ServerName,
    ServerSettings, SessionSettings, TicketSettings, UnknownName, Verify, Version,
};
pub use stream::Stream;
