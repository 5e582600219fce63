//! Ids of the header fields that the proxy knows, and sets of them.
//!
//! The look-up is a perfect hash over length and three bytes (checked at compile time), then one
//! comparison, so that an unknown name costs a few operations whatever its length.

macro_rules! header_ids {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)+) => {
        /// A field name that the proxy knows. Fewer than 64, so that a [`HeaderSet`] is one word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(u8)]
        pub enum HeaderId {
            /// A name that is not in this list.
            #[default]
            Other,
            /// Not a name of its own: a name with `_` that servers of the CGI family (WSGI, PHP, Rack) read as one of
            /// the framing, hop-by-hop or forwarding fields, such as `Content_Length` or `X_Forwarded_For`. Never forwarded.
            LookAlike,
            $($(#[$meta])* #[doc = concat!("`", $name, "`")] $variant,)+
        }

        const NAMES: &[(&str, HeaderId)] = &[$(($name, HeaderId::$variant),)+];
    };
}

header_ids! {
    Host = "host",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Connection = "connection",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Expect = "expect",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XRealIp = "x-real-ip",
    CfConnectingIp = "cf-connecting-ip",
    XClientIp = "x-client-ip",
    Forwarded = "forwarded",
    XRequestId = "x-request-id",
    UserAgent = "user-agent",
    Referer = "referer",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    ContentRange = "content-range",
    Date = "date",
    Server = "server",
    Location = "location",
    CacheControl = "cache-control",
    Authorization = "authorization",
    WwwAuthenticate = "www-authenticate",
    Range = "range",
    AcceptRanges = "accept-ranges",
    Vary = "vary",
    Etag = "etag",
    LastModified = "last-modified",
    Expires = "expires",
    Age = "age",
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    IfModifiedSince = "if-modified-since",
    IfUnmodifiedSince = "if-unmodified-since",
    IfRange = "if-range",
    Via = "via",
    MaxForwards = "max-forwards",
    Origin = "origin",
    Allow = "allow",
    RetryAfter = "retry-after",
    SecWebsocketKey = "sec-websocket-key",
    SecWebsocketAccept = "sec-websocket-accept",
    SecWebsocketVersion = "sec-websocket-version",
    SecWebsocketProtocol = "sec-websocket-protocol",
    SecWebsocketExtensions = "sec-websocket-extensions",
}

const _: () = assert!(NAMES.len() + 2 <= 64, "a HeaderSet is one word");

/// Longest known name; longer ones are unknown at once.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const NAME_BYTES_MAX: usize = {
    let mut max = 0;
    let mut i = 0;
    while i < NAMES.len() {
        if NAMES[i].0.len() > max {
            max = NAMES[i].0.len();
        }
        i += 1;
    }
    max
};

const SLOTS: usize = 256;

/// Found by search; the table below does not compile when two names clash.
const SEED: u32 = 0x61b4_4cf9;

/// The slot of a name by its length, first, last but one, and last byte. `| 0x20` folds the case of letters and keeps
/// digits and `-` as they are; what else it folds the comparison tells apart.
#[inline]
const fn slot(len: usize, first: u8, last_but_one: u8, last: u8) -> usize {
    let key = ((len as u32) << 24)
        | (((first | 0x20) as u32) << 16)
        | (((last | 0x20) as u32) << 8)
        | ((last_but_one | 0x20) as u32);
    (key.wrapping_mul(SEED) >> 24) as usize
}

/// 1 + the index in `NAMES`, 0 for none.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static TABLE: [u8; SLOTS] = {
    let mut table = [0u8; SLOTS];
    let mut i = 0;
    while i < NAMES.len() {
        let name = NAMES[i].0.as_bytes();
        let at = slot(
            name.len(),
            name[0],
            name[name.len() - 2],
            name[name.len() - 1],
        );
        assert!(
            table[at] == 0,
            "two names share a slot: search another SEED"
        );
        table[at] = i as u8 + 1;
        i += 1;
    }
    table
};

/// Names that must not come in disguise: see [`HeaderId::LookAlike`].
const DISGUISED: HeaderSet = crate::framing::HOP_BY_HOP
    .with(HeaderId::ContentLength)
    .with(HeaderId::XForwardedFor)
    .with(HeaderId::XForwardedProto)
    .with(HeaderId::XForwardedHost)
    .with(HeaderId::XForwardedPort)
    .with(HeaderId::XRealIp)
    .with(HeaderId::CfConnectingIp)
    .with(HeaderId::XClientIp)
    .with(HeaderId::XRequestId)
    .with(HeaderId::MaxForwards);

impl HeaderId {
    /// The id of a field name, whatever its case.
    #[inline]
    pub fn of(name: &[u8]) -> HeaderId {
        let len = name.len();
        if len > NAME_BYTES_MAX {
            return HeaderId::Other;
        }
        let &[first, .., last_but_one, last] = name else {
            return HeaderId::of_short(name);
        };
        let entry = TABLE
            .get(slot(len, first, last_but_one, last))
            .copied()
            .unwrap_or_default();
        let Some((known, id)) = NAMES.get((entry as usize).wrapping_sub(1)) else {
            return HeaderId::Other;
        };
        if same_name(name, known.as_bytes()) {
            return *id;
        }
        // No known name has a dash in the bytes that are hashed, so a look-alike falls into the same slot.
        if len == known.len() && DISGUISED.contains(*id) && looks_like(name, known.as_bytes()) {
            return HeaderId::LookAlike;
        }
        HeaderId::Other
    }

    /// The only known name of fewer than three bytes.
    #[inline]
    fn of_short(name: &[u8]) -> HeaderId {
        if name.eq_ignore_ascii_case(b"te") {
            HeaderId::Te
        } else {
            HeaderId::Other
        }
    }

    /// The name in lower case; `None` for [`HeaderId::Other`] and [`HeaderId::LookAlike`].
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .get((self as usize).wrapping_sub(2))
            .map(|(name, _)| *name)
    }
}

/// Whether `name` is `known` in any case; `known` has only lower-case letters and dashes. By whole words, because this
/// runs for every field of every head.
#[inline]
fn same_name(name: &[u8], known: &[u8]) -> bool {
    if name.len() != known.len() {
        return false;
    }
    let (Some(a), Some(x)) = (name.first_chunk::<8>(), known.first_chunk::<8>()) else {
        return same_short_name(name, known);
    };
    let (Some(b), Some(y)) = (name.last_chunk::<8>(), known.last_chunk::<8>()) else {
        return false;
    };
    let middle = || match (name.get(8..), known.get(8..)) {
        (Some(m), Some(z)) if m.len() > 8 => match (m.first_chunk::<8>(), z.first_chunk::<8>()) {
            (Some(m), Some(z)) => same_word(*m, *z),
            _ => false,
        },
        _ => true,
    };
    same_word(*a, *x) && same_word(*b, *y) && middle()
}

const _: () = assert!(NAME_BYTES_MAX <= 24, "three words cover a name");

/// The same for fewer than eight bytes.
#[inline]
fn same_short_name(name: &[u8], known: &[u8]) -> bool {
    let widen = |bytes: [u8; 4]| {
        let [a, b, c, d] = bytes;
        [a, b, c, d, 0, 0, 0, 0]
    };
    match (
        name.first_chunk(),
        known.first_chunk(),
        name.last_chunk(),
        known.last_chunk(),
    ) {
        (Some(a), Some(x), Some(b), Some(y)) => {
            same_word(widen(*a), widen(*x)) && same_word(widen(*b), widen(*y))
        }
        _ => name.eq_ignore_ascii_case(known),
    }
}

/// Whether two words differ in nothing but the case of the letters of `known`: of its bytes only letters have 0x40 set.
#[inline]
const fn same_word(word: [u8; 8], known: [u8; 8]) -> bool {
    const LETTERS: u64 = 0x4040_4040_4040_4040;
    let known = u64::from_ne_bytes(known);
    let difference = u64::from_ne_bytes(word) ^ known;
    difference & !((known & LETTERS) >> 1) == 0
}

/// Whether `name` becomes `known` when `_` is read as `-`.
#[cold]
fn looks_like(name: &[u8], known: &[u8]) -> bool {
    name.iter()
        .zip(known)
        .all(|(&a, b)| (if a == b'_' { b'-' } else { a }).eq_ignore_ascii_case(b))
}

/// A set of [`HeaderId`]s in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HeaderSet(u64);

impl HeaderSet {
    /// The empty set.
    #[inline]
    pub const fn new() -> HeaderSet {
        HeaderSet(0)
    }

    /// This set and `id`.
    #[inline]
    pub const fn with(self, id: HeaderId) -> HeaderSet {
        HeaderSet(self.0 | 1 << id as u8)
    }

    /// Whether `id` is a member.
    #[inline]
    pub const fn contains(self, id: HeaderId) -> bool {
        self.0 & (1 << id as u8) != 0
    }

    /// The members of either.
    #[inline]
    pub const fn union(self, other: HeaderSet) -> HeaderSet {
        HeaderSet(self.0 | other.0)
    }

    /// Whether the two have a member in common.
    #[inline]
    pub const fn intersects(self, other: HeaderSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there are no members.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (name, id) in NAMES {
            assert_eq!(HeaderId::of(name.as_bytes()), *id, "{name}");
            assert_eq!(
                HeaderId::of(name.to_ascii_uppercase().as_bytes()),
                *id,
                "{name}"
            );
            assert_eq!(id.name(), Some(*name));
        }
        assert_eq!(HeaderId::Other.name(), None);
        assert_eq!(HeaderId::LookAlike.name(), None);
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another() {
        for (name, id) in NAMES {
            for at in 0..name.len() {
                for byte in 0..=255 {
                    let mut other = name.as_bytes().to_vec();
                    other[at] = byte;
                    let same = other.eq_ignore_ascii_case(name.as_bytes());
                    let found = HeaderId::of(&other);
                    assert_eq!(found == *id, same, "{}", other.escape_ascii());
                    if found == HeaderId::LookAlike {
                        assert!(byte == b'_' && name.as_bytes()[at] == b'-');
                    }
                }
            }
        }
    }

    #[test]
    fn every_disguise_is_seen_through() {
        for (name, id) in NAMES {
            if name.contains('-') {
                let found = HeaderId::of(name.replace('-', "_").as_bytes());
                assert_eq!(
                    found == HeaderId::LookAlike,
                    DISGUISED.contains(*id),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn other_names_are_unknown() {
        for name in [
            "",
            "x",
            "hos",
            "hosts",
            "content-lengtg",
            "x-forwarded-foo",
            "content length",
        ] {
            assert_eq!(HeaderId::of(name.as_bytes()), HeaderId::Other, "{name}");
        }
        assert_eq!(HeaderId::of(&[b'a'; 4096]), HeaderId::Other);
    }

    #[test]
    fn underscores_do_not_hide_a_framing_or_trust_field() {
        for name in [
            "Content_Length",
            "TRANSFER_ENCODING",
            "x_forwarded-for",
            "X_Real_IP",
            "Keep_Alive",
        ] {
            assert_eq!(HeaderId::of(name.as_bytes()), HeaderId::LookAlike, "{name}");
        }
        for name in ["user_agent", "my_field", "_", "content_type"] {
            assert_eq!(HeaderId::of(name.as_bytes()), HeaderId::Other, "{name}");
        }
    }
}
