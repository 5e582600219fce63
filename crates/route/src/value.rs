//! Tests of header, cookie and query values, over all occurrences.

use std::sync::Arc;

use memchr::memmem::Finder;

use crate::normal::hex_value;
use crate::pattern::Pattern;
use crate::view::{RequestView, TlsFact};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Header,
    Cookie,
    Query,
    Tls(TlsFact),
}

/// A named header, cookie, query parameter or fact of TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Field {
    pub(crate) source: Source,
    /// Lowercase for a header.
    pub(crate) name: Box<[u8]>,
}

/// A compiled value test.
#[derive(Debug)]
pub(crate) enum Test {
    Present,
    Absent,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    Pattern(Arc<Pattern>),
}

impl Test {
    /// One value passes. Never asked of `Absent`.
    pub(crate) fn passes(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Absent => false,
            Self::Exact(text) => value == &**text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Suffix(text) => value.ends_with(text),
            Self::Contains(finder) => finder.find(value).is_some(),
            Self::Pattern(pattern) => pattern.is_match(value),
        }
    }
}

impl Field {
    /// The test holds for the values in this request.
    pub(crate) fn holds(&self, test: &Test, view: &RequestView<'_>) -> bool {
        match test {
            Test::Absent => !self.any(view, &mut |_| true),
            test => self.any(view, &mut |value| test.passes(value)),
        }
    }

    /// Calls `f` with each value until it returns true; says whether it did.
    pub(crate) fn any(&self, view: &RequestView<'_>, f: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        match self.source {
            Source::Header => {
                let mut found = false;
                view.headers.each(&self.name, &mut |value| {
                    found = f(value);
                    found
                });
                found
            }
            Source::Cookie => {
                let mut found = false;
                view.headers.each(b"cookie", &mut |line| {
                    found = cookies(line).any(|(name, value)| name == &*self.name && f(value));
                    found
                });
                found
            }
            Source::Tls(fact) => view.headers.tls(fact).is_some_and(f),
            Source::Query => view.query.is_some_and(|query| {
                parameters(query)
                    .any(|(name, value)| equals_decoded(name, &self.name) && with_decoded(value, f))
            }),
        }
    }
}

/// Pairs of a `Cookie` field (RFC 6265 4.2.1). A piece without `=` has no name and is skipped.
pub(crate) fn cookies(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|&byte| byte == b';').filter_map(|pair| {
        let (name, value) = split_at_byte(pair, b'=')?;
        Some((name.trim_ascii(), value.trim_ascii()))
    })
}

/// Pairs of a query, still encoded. Empty pieces are skipped.
pub(crate) fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query
        .split(|&byte| byte == b'&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| split_at_byte(piece, b'=').unwrap_or((piece, b"")))
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, text)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Bytes of a form-encoded text. A `%` without two digits stands for itself.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        Some(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => byte,
        })
    })
}

fn is_clean(text: &[u8]) -> bool {
    memchr::memchr2(b'%', b'+', text).is_none()
}

fn equals_decoded(encoded: &[u8], plain: &[u8]) -> bool {
    encoded == plain && is_clean(encoded)
        || encoded.len() > plain.len() && decoded(encoded).eq(plain.iter().copied())
        || encoded.len() == plain.len()
            && !is_clean(encoded)
            && decoded(encoded).eq(plain.iter().copied())
}

/// Calls `f` with the decoded text: in place when nothing is encoded, from the stack when it is short, else from a
/// vector (only for an encoded value longer than the buffer).
fn with_decoded(encoded: &[u8], f: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    const STACK_BYTES: usize = 256;
    if is_clean(encoded) {
        return f(encoded);
    }
    if encoded.len() > STACK_BYTES {
        return f(&decoded(encoded).collect::<Vec<u8>>());
    }
    let mut buffer = [0; STACK_BYTES];
    let mut len = 0;
    for (slot, byte) in buffer.iter_mut().zip(decoded(encoded)) {
        *slot = byte;
        len += 1;
    }
    f(&buffer[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_split() {
        let pairs: Vec<_> = cookies(b"a=1; b = x=y ;novalue; c=\"q\";d=").collect();
        assert_eq!(
            pairs,
            [
                (&b"a"[..], &b"1"[..]),
                (b"b", b"x=y"),
                (b"c", b"\"q\""),
                (b"d", b"")
            ]
        );
    }

    #[test]
    fn parameters_are_decoded() {
        for (query, name, values) in [
            ("a=1&b=2&a=3", "a", &["1", "3"][..]),
            ("a", "a", &[""]),
            ("a=", "a", &[""]),
            ("&&a=x&", "a", &["x"]),
            ("a=b+c%20d", "a", &["b c d"]),
            ("%61=%zz%4", "a", &["%zz%4"]),
            ("a+b=1", "a b", &["1"]),
            ("a+b=1", "a+b", &[]),
            ("a%2Bb=1", "a+b", &["1"]),
            ("a=1=2", "a", &["1=2"]),
            ("ab=1", "a", &[]),
            ("A=1", "a", &[]),
        ] {
            let found: Vec<String> = {
                let mut found = Vec::new();
                for (key, value) in parameters(query.as_bytes()) {
                    if equals_decoded(key, name.as_bytes()) {
                        with_decoded(value, &mut |value| {
                            found.push(String::from_utf8(value.to_vec()).unwrap());
                            false
                        });
                    }
                }
                found
            };
            assert_eq!(found, values, "{query} {name}");
        }
    }

    #[test]
    fn long_encoded_values_decode_too() {
        for len in [84, 85, 86, 87, 1000] {
            let encoded = "%41".repeat(len) + "b";
            let expected = "A".repeat(len) + "b";
            assert!(
                with_decoded(encoded.as_bytes(), &mut |value| value
                    == expected.as_bytes()),
                "{len}"
            );
        }
    }
}
