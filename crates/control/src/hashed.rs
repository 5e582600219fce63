//! What pools and splits hash of a request that is explained: as the data plane does, without a connection.

use keel_balance::{hash_address, hash_key};
use keel_http::RequestHead;
use keel_l7::HashKey;
use keel_route::RequestView;

/// A request that is explained.
pub(crate) struct Asked<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) view: RequestView<'a>,
    /// Path and query as sent.
    pub(crate) target: &'a [u8],
}

impl Asked<'_> {
    /// The hash of what a key names, of the client's address where the request has no such thing;
    /// `None` when it is left to chance.
    pub(crate) fn hash(&self, key: &HashKey) -> Option<u64> {
        let fields = &self.head.fields;
        let found = match key {
            HashKey::Random => return None,
            // No connection is explained.
            HashKey::ClientAddress | HashKey::TlsSession | HashKey::Ja4 => None,
            HashKey::Header(name) => fields.first_named(name.as_bytes(), self.bytes),
            HashKey::Cookie(name) => fields.cookie(name.as_bytes(), self.bytes),
            HashKey::Path => Some(self.view.path),
            HashKey::Uri => Some(self.target),
            HashKey::Query(name) => argument(self.view.query, name),
        };
        Some(found.map_or_else(|| hash_address(self.view.client), hash_key))
    }
}

/// The value of the first parameter of this name.
fn argument<'a>(query: Option<&'a [u8]>, name: &str) -> Option<&'a [u8]> {
    query?.split(|byte| *byte == b'&').find_map(|pair| {
        let rest = pair.strip_prefix(name.as_bytes())?;
        match rest {
            [] => Some(rest),
            _ => rest.strip_prefix(b"="),
        }
    })
}

/// What is hashed, in words.
pub(crate) fn in_words(key: &HashKey) -> String {
    match key {
        HashKey::ClientAddress => "the client's address".to_owned(),
        HashKey::Header(name) => format!("the header {name}"),
        HashKey::Cookie(name) => format!("the cookie {name}"),
        HashKey::Path => "the path".to_owned(),
        HashKey::Uri => "path and query".to_owned(),
        HashKey::Query(name) => format!("the query parameter {name}"),
        HashKey::TlsSession => "the TLS session".to_owned(),
        HashKey::Ja4 => "the JA4 fingerprint".to_owned(),
        HashKey::Random => "chance".to_owned(),
    }
}
