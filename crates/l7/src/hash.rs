//! What a pool or a split hashes of a request.

use keel_balance::hash_key;

use crate::snapshot::HashKey;
use crate::vars::argument;
use crate::walk::Walk;

/// The hash of what a pool or a split hashes; of the client's address where the request has no such
/// thing.
pub fn hash_of(walk: &Walk<'_>, key: &HashKey) -> u64 {
    let ex = &*walk.ex;
    let buf = ex.bytes();
    let tls = walk.client.tls.as_deref();
    let found = match key {
        HashKey::ClientAddress => None,
        HashKey::Header(name) => ex
            .head
            .fields
            .first_named(name.as_bytes(), buf)
            .map(hash_key),
        HashKey::Cookie(name) => ex.head.fields.cookie(name.as_bytes(), buf).map(hash_key),
        HashKey::Path => Some(hash_key(ex.normal.path(buf))),
        HashKey::Uri => Some(hash_key(ex.normal.target(buf))),
        HashKey::Query(name) => argument(ex.normal.query(buf), name).map(hash_key),
        HashKey::TlsSession => tls.map(|tls| hash_key(tls.session_id.as_bytes())),
        HashKey::Ja4 => tls.map(|tls| hash_key(tls.ja4.as_bytes())),
        HashKey::Random => Some(walk.worker.random()),
    };
    found.unwrap_or_else(|| keel_balance::hash_address(ex.record.client_ip))
}
