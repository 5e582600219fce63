//! The one definition of every key.
//!
//! From these tables come the check for unknown keys, types, units and ranges ([`crate::decode`]), the
//! defaults that lowering uses, the JSON Schema and the reference page. A test sets every key to its
//! example and fails when the model does not change.

/// A configuration with one pool, and this in it.
macro_rules! pool_sample {
    ($inside:literal) => {
        concat!(
            "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [\"127.0.0.1:9001\"], ",
            $inside,
            " } } }"
        )
    };
}

mod form;
mod headers;
mod health;
mod http2;
mod kind;
mod listener;
mod log;
mod matcher;
mod operate;
mod pool;
mod process;
mod protect;
mod retry;
mod route;
mod sticky;
pub(crate) mod synonyms;
mod tls;

pub(crate) use form::{Form, NAME_CHARS_MAX, Refs, forms};
pub(crate) use headers::*;
pub(crate) use health::*;
pub(crate) use http2::*;
pub(crate) use kind::{Kind, Words, show_duration, show_size};
pub(crate) use listener::*;
pub(crate) use log::*;
pub(crate) use matcher::*;
pub(crate) use operate::*;
pub(crate) use pool::*;
pub(crate) use process::*;
pub(crate) use protect::*;
pub(crate) use retry::*;
pub(crate) use route::*;
pub(crate) use sticky::*;
pub(crate) use tls::*;

/// What holds when a key is absent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Default {
    /// The key must be there.
    Required,
    /// Nothing is set; the text says what that means.
    Absent(&'static str),
    /// This value, as it would be written.
    Value(&'static str),
}

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Name in the file.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds when it is absent.
    pub default: Default,
    /// Why that is the default.
    pub reason: &'static str,
    /// What it does.
    pub about: &'static str,
    /// A value, as it would be written; differs from the default.
    pub example: &'static str,
    /// Keys beside it that the example needs; an empty value takes one away from the table's base.
    pub with: &'static [(&'static str, &'static str)],
    /// Version in which it came.
    pub since: &'static str,
}

impl Key {
    pub const fn new(name: &'static str, kind: Kind) -> Key {
        Key {
            name,
            kind,
            default: Default::Required,
            reason: "",
            about: "",
            example: "",
            with: &[],
            since: "0.1.0",
        }
    }

    pub const fn about(mut self, about: &'static str) -> Key {
        self.about = about;
        self
    }

    pub const fn default(mut self, value: &'static str, reason: &'static str) -> Key {
        self.default = Default::Value(value);
        self.reason = reason;
        self
    }

    pub const fn absent(mut self, meaning: &'static str, reason: &'static str) -> Key {
        self.default = Default::Absent(meaning);
        self.reason = reason;
        self
    }

    pub const fn example(mut self, value: &'static str) -> Key {
        self.example = value;
        self
    }

    pub const fn with(mut self, with: &'static [(&'static str, &'static str)]) -> Key {
        self.with = with;
        self
    }
}

/// The keys of one kind of section.
#[derive(Debug)]
pub(crate) struct Table {
    /// Name in the schema.
    pub id: &'static str,
    /// Heading in the reference: `a listener`.
    pub title: &'static str,
    /// Where it stands: `listeners.NAME`. Several places are separated by `, `.
    pub places: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [&'static Key],
    /// Keys of which exactly one must be there.
    pub one_of: &'static [&'static str],
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the test that every key changes the model")
    )]
    /// A configuration with `@` where `key: value, …` goes; `base` fills it.
    pub sample: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the test that every key changes the model")
    )]
    /// The keys that the sample needs.
    pub base: &'static [(&'static str, &'static str)],
}

impl Table {
    /// The key of this name.
    pub fn find(&self, name: &str) -> Option<(usize, &'static Key)> {
        self.keys
            .iter()
            .enumerate()
            .find(|(_, key)| key.name == name)
            .map(|(at, key)| (at, *key))
    }

    /// The position of a key of this table.
    pub fn position(&self, key: &Key) -> Option<usize> {
        self.keys.iter().position(|other| std::ptr::eq(*other, key))
    }
}

/// Every table, in the order of the reference.
pub(crate) static TABLES: &[&Table] = &[
    &TOP,
    &CLIENT_ADDRESS,
    &REQUEST_ID,
    &GLOBAL_TIMEOUTS,
    &GLOBAL_LIMITS,
    &LISTENER,
    &LISTENER_TIMEOUTS,
    &LISTENER_LIMITS,
    &LISTENER_TLS,
    &CERTIFICATE,
    &SELF_SIGNED,
    &TICKETS,
    &SESSIONS,
    &CLIENT_CERTIFICATES,
    &HSTS,
    &HANDSHAKES,
    &HTTP2,
    &ROUTE,
    &MATCH,
    &PATH_TEST,
    &VALUE_TEST,
    &TLS_TEST,
    &SPLIT_BY,
    &REDIRECT,
    &RESPOND,
    &ROUTE_LIMITS,
    &ROUTE_TIMEOUTS,
    &ROUTE_RETRY,
    &FORWARDED,
    &POOL,
    &SERVER,
    &BALANCE,
    &HASH_KEY,
    &KEEPALIVE,
    &SERVER_TIMEOUTS,
    &SERVER_TLS,
    &SERVER_HTTP2,
    &PING,
    &HEALTH,
    &HTTP_PROBE,
    &GRPC_PROBE,
    &EXCHANGE,
    &EXPECTED,
    &OUTLIER,
    &SUCCESS_RATE,
    &PANIC,
    &SLOW_START,
    &RETRY,
    &BACKOFF,
    &BUDGET,
    &HEDGE,
    &BREAKER,
    &SLOW_CALLS,
    &POOL_LIMITS_TABLE,
    &QUEUE,
    &PRIORITY,
    &CONCURRENCY,
    &STICKY,
    &STICKY_COOKIE_TABLE,
    &LEARN,
    &HEADERS,
    &POOL_HEADERS,
    &HEADER_EDITS,
    &ACCESS_LOG,
    &ERROR_PAGE,
    &ADMIN,
    &OWN_HEALTH,
    &DEPENDENCY,
    &SHED,
    &RELOAD,
    &RESOLVER,
];

/// Keys at the top that start so are ignored: a place for anchors.
pub(crate) const EXTENSION_PREFIX: &str = "x-";

#[cfg(test)]
mod tests;
