//! What clients speak to a proxy.

use serde::{Deserialize, Serialize};

/// What clients speak to a proxy. Towards the origins it is always HTTP/1.1 in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http1,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
    /// HTTP/2 over TLS 1.3.
    Http2,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Http1, Protocol::Tls, Protocol::Http2];

    /// Over TLS.
    pub const fn is_tls(self) -> bool {
        !matches!(self, Protocol::Http1)
    }

    /// The name that clients offer in the handshake (RFC 7301); empty without TLS.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Http1 => b"",
            Protocol::Tls => b"http/1.1",
            Protocol::Http2 => b"h2",
        }
    }

    /// In words.
    pub const fn about(self) -> &'static str {
        match self {
            Protocol::Http1 => "h1",
            Protocol::Tls => "h1 over TLS",
            Protocol::Http2 => "h2 over TLS",
        }
    }
}
