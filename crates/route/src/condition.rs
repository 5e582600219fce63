//! Compiled conditions and their evaluation. This is the one place that says whether a request matches.

use std::sync::Arc;

use crate::glob::Glob;
use crate::networks::Networks;
use crate::pattern::Pattern;
use crate::value::{Field, Test};
use crate::view::RequestView;

/// A compiled matcher. At most [`MATCHER_DEPTH_MAX`](crate::MATCHER_DEPTH_MAX) levels deep.
#[derive(Debug)]
pub(crate) enum Condition {
    Always,
    All(Box<[Condition]>),
    Any(Box<[Condition]>),
    Not(Box<Condition>),
    Listener(Box<[u16]>),
    HostExact(Box<[u8]>),
    /// The suffix with its leading dot.
    HostUnder(Box<[u8]>),
    PathExact(Box<[u8]>),
    /// Plain prefix, or one that ends in a slash.
    PathPrefix(Box<[u8]>),
    /// Prefix up to a segment border; does not end in a slash.
    PathSegments(Box<[u8]>),
    PathGlob(Box<Glob>),
    PathPattern(Arc<Pattern>),
    Method(Box<[Box<[u8]>]>),
    Value {
        field: Field,
        test: Test,
        /// The name as the user wrote it, for messages.
        shown: Box<str>,
    },
    Client(Networks),
    Scheme(Box<str>),
}

impl Condition {
    /// The request meets the condition.
    pub(crate) fn holds(&self, view: &RequestView<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::All(parts) => parts.iter().all(|part| part.holds(view)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(view)),
            Self::Not(part) => !part.holds(view),
            Self::Listener(listeners) => listeners.contains(&view.listener),
            Self::HostExact(host) => view.host == &**host,
            Self::HostUnder(suffix) => host_is_under(view.host, suffix),
            Self::PathExact(path) => view.path == &**path,
            Self::PathPrefix(prefix) => view.path.starts_with(prefix),
            Self::PathSegments(prefix) => path_is_under(view.path, prefix),
            Self::PathGlob(glob) => glob.is_match(view.path),
            Self::PathPattern(pattern) => pattern.is_match(view.path),
            Self::Method(methods) => methods.iter().any(|method| view.method == &**method),
            Self::Value { field, test, .. } => field.holds(test, view),
            Self::Client(networks) => networks.contains(view.client),
            Self::Scheme(scheme) => view.scheme == &**scheme,
        }
    }
}

/// One or more labels stand before the suffix, which begins with a dot.
pub(crate) fn host_is_under(host: &[u8], suffix: &[u8]) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

/// The path is the prefix or continues it with a slash.
pub(crate) fn path_is_under(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}
