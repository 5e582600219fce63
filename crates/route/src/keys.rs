//! The keys under which the index keeps a route.
//!
//! A key is a place in the space of listener, host, path, method and scheme, and perhaps one exact header, cookie or query
//! value. For every condition holds: a request that meets it hits at least one of its keys. When a key is `whole`, hitting
//! it is also enough. Hosts and paths of keys are nested or disjoint, never partly overlapping, so joining two keys gives
//! the narrower one or nothing.

use crate::condition::{Condition, host_is_under};
use crate::value::{Field, Test};

/// Most keys that one `All` may give by combining its parts; beyond it the less selective part is left to evaluation.
const KEYS_COMBINED_MAX: usize = 1024;
/// Most keys of one route; a route with more is tried for every request.
const KEYS_MAX: usize = 1 << 17;

/// Bits of methods and schemes. A request has one of each kind.
pub(crate) type Mask = u16;
pub(crate) const MASK_ALL: Mask = METHODS | SCHEMES;
const METHODS: Mask = 0x03ff;
const METHOD_OTHER: Mask = 0x0200;
const SCHEMES: Mask = 0x1c00;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) listener: Option<u16>,
    pub(crate) host: HostKey<'a>,
    pub(crate) path: PathKey<'a>,
    pub(crate) value: Option<(&'a Field, &'a [u8])>,
    pub(crate) mask: Mask,
    /// Hitting the key is enough to meet the condition.
    pub(crate) whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostKey<'a> {
    Any,
    Exact(&'a [u8]),
    /// The suffix with its leading dot.
    Under(&'a [u8]),
}

/// Paths that are, or begin with, some bytes (and a slash after them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathKey<'a> {
    bytes: &'a [u8],
    slash: bool,
    pub(crate) exact: bool,
}

/// Bit of a method; all but the standard ones share one.
pub(crate) fn method_bit(method: &[u8]) -> Mask {
    match method {
        b"GET" => 0x0001,
        b"HEAD" => 0x0002,
        b"POST" => 0x0004,
        b"PUT" => 0x0008,
        b"DELETE" => 0x0010,
        b"OPTIONS" => 0x0020,
        b"PATCH" => 0x0040,
        b"TRACE" => 0x0080,
        b"CONNECT" => 0x0100,
        _ => METHOD_OTHER,
    }
}

/// Bit of a scheme; all but the two share one.
pub(crate) fn scheme_bit(scheme: &str) -> Mask {
    match scheme {
        "http" => 0x0400,
        "https" => 0x0800,
        _ => 0x1000,
    }
}

/// Keys of a condition; none when no request can meet it.
pub(crate) fn keys(condition: &Condition) -> Vec<Key<'_>> {
    match condition {
        Condition::All(parts) => parts
            .iter()
            .fold(vec![Key::ANY], |so_far, part| combine(so_far, keys(part))),
        Condition::Any(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(keys(part));
                if all.len() > KEYS_MAX {
                    return vec![Key::OPEN];
                }
            }
            all
        }
        Condition::Listener(listeners) => {
            let key = |&listener| Key::with(|key| key.listener = Some(listener));
            listeners.iter().map(key).collect()
        }
        Condition::HostExact(host) => vec![Key::with(|key| key.host = HostKey::Exact(host))],
        Condition::HostUnder(suffix) => vec![Key::with(|key| key.host = HostKey::Under(suffix))],
        Condition::Method(methods) => {
            let bits = methods.iter().fold(0, |bits, name| bits | method_bit(name));
            vec![Key::with(|key| {
                key.mask = bits | SCHEMES;
                key.whole = bits & METHOD_OTHER == 0;
            })]
        }
        Condition::Scheme(scheme) => vec![Key::with(|key| key.mask = scheme_bit(scheme) | METHODS)],
        Condition::Value { field, test, .. } => match test {
            Test::Exact(text) => vec![Key::with(|key| key.value = Some((field, text)))],
            _ => vec![Key::OPEN],
        },
        Condition::Always => vec![Key::ANY],
        Condition::Client(_) | Condition::Not(_) => vec![Key::OPEN],
        path => path_keys(path),
    }
}

fn path_keys(condition: &Condition) -> Vec<Key<'_>> {
    let at = |path, whole| {
        Key::with(|key| {
            key.path = path;
            key.whole = whole;
        })
    };
    match condition {
        Condition::PathExact(path) => vec![at(PathKey::exact(path), true)],
        Condition::PathPrefix(prefix) => vec![at(PathKey::prefix(prefix), true)],
        Condition::PathSegments(prefix) => {
            vec![
                at(PathKey::exact(prefix), true),
                at(PathKey::below(prefix), true),
            ]
        }
        Condition::PathGlob(glob) => vec![at(PathKey::prefix(&glob.literal), false)],
        Condition::PathPattern(pattern) => {
            let starts = pattern.beginnings.iter();
            starts
                .map(|start| at(PathKey::prefix(start), false))
                .collect()
        }
        _ => vec![Key::OPEN],
    }
}

/// Keys of requests that meet two conditions.
fn combine<'a>(left: Vec<Key<'a>>, right: Vec<Key<'a>>) -> Vec<Key<'a>> {
    if left.len().saturating_mul(right.len()) > KEYS_COMBINED_MAX.max(left.len()).max(right.len()) {
        let says_nothing = |keys: &[Key<'_>]| keys.iter().any(Key::is_everywhere);
        let keep_left = match (says_nothing(&left), says_nothing(&right)) {
            (false, true) => true,
            (true, false) => false,
            _ => left.len() >= right.len(),
        };
        let mut kept = if keep_left { left } else { right };
        kept.iter_mut().for_each(|key| key.whole = false);
        return kept;
    }
    left.iter()
        .flat_map(|left| right.iter().filter_map(|right| left.join(right)))
        .collect()
}

impl<'a> Key<'a> {
    /// Every request.
    const ANY: Self = Self {
        listener: None,
        host: HostKey::Any,
        path: PathKey {
            bytes: b"",
            slash: false,
            exact: false,
        },
        value: None,
        mask: MASK_ALL,
        whole: true,
    };
    /// Every request, with all still to be evaluated.
    const OPEN: Self = Self {
        whole: false,
        ..Self::ANY
    };

    fn with(set: impl FnOnce(&mut Self)) -> Self {
        let mut key = Self::ANY;
        set(&mut key);
        key
    }

    fn is_everywhere(&self) -> bool {
        self.listener.is_none()
            && self.host == HostKey::Any
            && self.path == Self::ANY.path
            && self.value.is_none()
    }

    /// The key of requests that hit both; none when no request can.
    fn join(&self, other: &Self) -> Option<Self> {
        let listener = match (self.listener, other.listener) {
            (Some(left), Some(right)) if left != right => return None,
            (left, right) => left.or(right),
        };
        let host = narrower(self.host, other.host, HostKey::covers)?;
        let path = narrower(self.path, other.path, PathKey::covers)?;
        let mask = self.mask & other.mask;
        if mask & METHODS == 0 || mask & SCHEMES == 0 {
            return None;
        }
        // Two values may both be required; the index looks for one and evaluation checks the other.
        let both_values =
            self.value.is_some() && other.value.is_some() && self.value != other.value;
        Some(Self {
            listener,
            host,
            path,
            value: self.value.or(other.value),
            mask,
            whole: self.whole && other.whole && !both_values,
        })
    }
}

fn narrower<T: Copy>(left: T, right: T, covers: fn(&T, &T) -> bool) -> Option<T> {
    if covers(&left, &right) {
        Some(right)
    } else if covers(&right, &left) {
        Some(left)
    } else {
        None
    }
}

impl HostKey<'_> {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Under(suffix), Self::Exact(host)) => host_is_under(host, suffix),
            (Self::Under(suffix), Self::Under(longer)) => longer.ends_with(suffix),
            _ => self == other,
        }
    }
}

impl<'a> PathKey<'a> {
    pub(crate) fn exact(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            slash: false,
            exact: true,
        }
    }

    pub(crate) fn prefix(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            slash: false,
            exact: false,
        }
    }

    /// Continues the bytes with a slash.
    pub(crate) fn below(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            slash: true,
            exact: false,
        }
    }

    /// The bytes, with the slash.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        if self.slash {
            bytes.push(b'/');
        }
        bytes
    }

    fn covers(&self, other: &Self) -> bool {
        let mine = || self.bytes.iter().chain(self.slash.then_some(&b'/'));
        let mut theirs = other.bytes.iter().chain(other.slash.then_some(&b'/'));
        let begins = mine().all(|byte| theirs.next() == Some(byte));
        begins && (!self.exact || other.exact && theirs.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_nest_or_are_apart() {
        let slash = PathKey::below;
        assert!(PathKey::prefix(b"").covers(&PathKey::exact(b"/a")));
        assert!(PathKey::prefix(b"/a").covers(&slash(b"/a")));
        assert!(!slash(b"/a").covers(&PathKey::prefix(b"/a")));
        assert!(slash(b"/a").covers(&PathKey::exact(b"/a/")));
        assert!(!PathKey::exact(b"/a").covers(&PathKey::prefix(b"/a")));
        assert!(PathKey::exact(b"/a").covers(&PathKey::exact(b"/a")));
        assert!(!PathKey::exact(b"/a").covers(&PathKey::exact(b"/ab")));
    }

    #[test]
    fn parts_join_into_narrow_keys() {
        let host = |name: &str| Condition::HostExact(name.as_bytes().into());
        let path = |path: &str| Condition::PathSegments(path.as_bytes().into());
        let condition = Condition::All(Box::new([
            Condition::Any(Box::new([host("a"), host("b")])),
            path("/x"),
            Condition::Method(Box::new([b"GET"[..].into()])),
        ]));
        let found = keys(&condition);
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|key| key.whole && key.mask & METHODS == 1));
        let never = Condition::All(Box::new([host("a"), host("b")]));
        assert!(keys(&never).is_empty());
    }

    #[test]
    fn too_many_combinations_keep_one_side() {
        let hosts: Vec<_> = (0..100)
            .map(|at| Condition::HostExact(format!("h{at}").into_bytes().into_boxed_slice()))
            .collect();
        let paths: Vec<_> = (0..50)
            .map(|at| Condition::PathExact(format!("/{at}").into_bytes().into_boxed_slice()))
            .collect();
        let condition = Condition::All(Box::new([
            Condition::Any(hosts.into_boxed_slice()),
            Condition::Any(paths.into_boxed_slice()),
        ]));
        let found = keys(&condition);
        assert_eq!(found.len(), 100);
        assert!(found.iter().all(|key| !key.whole));
    }
}
