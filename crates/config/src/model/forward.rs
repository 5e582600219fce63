//! What is said to the server about the client.

use crate::Spanned;
use crate::words::words;

/// The Host that is sent to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's.
    Keep,
    /// The server's address as it is configured, without a default port.
    Server,
    /// This one.
    Literal(Spanned<String>),
}

words! {
    /// What happens to the `X-Forwarded-*` fields.
    XForwarded {
        /// The peer's address is appended to the list of a trusted proxy; anybody else's list is replaced.
        Append = "append",
        /// The list is replaced by the client's address, whoever sent it.
        Replace = "replace",
        /// The fields are removed and none is added.
        Off = "off",
    }
}

/// What is said to the server about the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// X-Forwarded-For, -Proto, -Host; default append.
    pub x_forwarded: XForwarded,
    /// Whether X-Real-IP is sent; default true.
    pub x_real_ip: bool,
    /// Whether RFC 7239 Forwarded is sent; default false.
    pub forwarded: bool,
}
