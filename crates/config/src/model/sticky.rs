//! Persistence: requests of one client that stay with one server.

use std::time::Duration;

use crate::Spanned;
use crate::words::words;

words! {
    /// When the cookie has `Secure`.
    CookieSecure {
        /// When the request came over TLS.
        Auto = "auto",
        /// Always.
        Always = "always",
        /// Never.
        Never = "never",
    }
}

words! {
    /// `SameSite` of the cookie.
    SameSite {
        /// Sent with links from other sites, not with their forms and frames.
        Lax = "lax",
        /// Sent within the site only.
        Strict = "strict",
        /// Sent always; browsers want `Secure` with it.
        None = "none",
    }
}

/// The cookie that we set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// Name, a token; default `evenkeel`.
    pub name: Spanned<String>,
    /// How long the browser keeps it (`Max-Age`); `None` = until it is closed, the default.
    pub expires: Option<Duration>,
    /// `Domain`; `None` = the host alone, the default.
    pub domain: Option<Spanned<String>>,
    /// `Path`; default `/`.
    pub path: String,
    /// `Secure`; default auto.
    pub secure: CookieSecure,
    /// `SameSite`; default lax.
    pub same_site: SameSite,
    /// `HttpOnly`; default true.
    pub http_only: bool,
}

/// The application's own mark of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnFrom {
    /// A cookie that answers set.
    Cookie(Spanned<String>),
    /// A header that answers and requests carry.
    Header(Spanned<String>),
}

/// What a client is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StickyBy {
    /// A cookie of ours.
    Cookie(StickyCookie),
    /// What an answer of the application sets.
    Learn(LearnFrom),
    /// The client's address.
    ClientAddress,
    /// The id of the client's TLS session.
    TlsSession,
    /// A request header.
    Header(Spanned<String>),
}

/// Persistence of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// What a client is known by.
    pub by: Spanned<StickyBy>,
    /// Clients that are remembered (not for cookies of ours, which need no memory); default 100,000.
    pub size: u32,
    /// How long a client is remembered after its last request; default 30 min.
    pub idle: Duration,
}
