//! The static table (RFC 7541, appendix A), and what the encoder does with the fields that are in it.

use super::hash::{NameHash, same_name};

/// Number of fields in the static table.
pub(super) const LEN: usize = 61;

/// A field of the static table.
pub(super) struct Fixed {
    /// Name and value.
    joined: &'static str,
    name_len: usize,
}

impl Fixed {
    /// The name and the value in one, and where the name ends.
    pub(super) fn joined(&self) -> (&'static [u8], usize) {
        (self.joined.as_bytes(), self.name_len)
    }
}

macro_rules! fixed {
    ($($name:literal $value:literal,)*) => {
        [$(Fixed { joined: concat!($name, $value), name_len: $name.len() },)*]
    };
}

static TABLE: [Fixed; LEN] = fixed![
    ":authority" "",
    ":method" "GET",
    ":method" "POST",
    ":path" "/",
    ":path" "/index.html",
    ":scheme" "http",
    ":scheme" "https",
    ":status" "200",
    ":status" "204",
    ":status" "206",
    ":status" "304",
    ":status" "400",
    ":status" "404",
    ":status" "500",
    "accept-charset" "",
    "accept-encoding" "gzip, deflate",
    "accept-language" "",
    "accept-ranges" "",
    "accept" "",
    "access-control-allow-origin" "",
    "age" "",
    "allow" "",
    "authorization" "",
    "cache-control" "",
    "content-disposition" "",
    "content-encoding" "",
    "content-language" "",
    "content-length" "",
    "content-location" "",
    "content-range" "",
    "content-type" "",
    "cookie" "",
    "date" "",
    "etag" "",
    "expect" "",
    "expires" "",
    "from" "",
    "host" "",
    "if-match" "",
    "if-modified-since" "",
    "if-none-match" "",
    "if-range" "",
    "if-unmodified-since" "",
    "last-modified" "",
    "link" "",
    "location" "",
    "max-forwards" "",
    "proxy-authenticate" "",
    "proxy-authorization" "",
    "range" "",
    "referer" "",
    "refresh" "",
    "retry-after" "",
    "server" "",
    "set-cookie" "",
    "strict-transport-security" "",
    "transfer-encoding" "",
    "user-agent" "",
    "vary" "",
    "via" "",
    "www-authenticate" "",
];

/// The field of `index`, from 1.
#[inline]
pub(super) fn get(index: usize) -> Option<&'static Fixed> {
    TABLE.get(index.wrapping_sub(1))
}

/// Whether the encoder's dynamic table takes fields of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexing {
    /// It does.
    Taken,
    /// The value changes with each message.
    Changing,
    /// The value must not be guessed by trying what is in the table (RFC 7541, 7.1), on no further connection either.
    Secret,
    /// [`Indexing::Secret`] when it is short enough to be guessed.
    SecretWhenShort,
}

/// What the encoder knows about a name that is in the static table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    /// The first field that has the name, from 1.
    pub(super) index: u8,
    /// How many fields in a row have it; 0 is no name.
    fields: u8,
    pub(super) indexing: Indexing,
}

/// By the hash of the name, which differs for all of them.
static NAMES: [Name; 256] = {
    let none = Name {
        index: 0,
        fields: 0,
        indexing: Indexing::Taken,
    };
    let mut names = [none; 256];
    let mut at = 0;
    while at < LEN {
        let (name, _) = TABLE[at].joined.as_bytes().split_at(TABLE[at].name_len);
        let slot = NameHash::of(name).fixed_slot();
        if names[slot].fields == 0 {
            names[slot] = Name {
                index: at as u8 + 1,
                fields: 1,
                indexing: indexing(at + 1),
            };
        } else {
            // Fields of one name stand together, or else two names have one slot and the hash needs another factor.
            assert!(names[slot].index + names[slot].fields == at as u8 + 1);
            names[slot].fields += 1;
        }
        at += 1;
    }
    names
};

const fn indexing(index: usize) -> Indexing {
    match index {
        // :path, age, content-length, date, etag, if-none-match, location
        4 | 5 | 21 | 28 | 33 | 34 | 41 | 46 => Indexing::Changing,
        // authorization, proxy-authorization, set-cookie
        23 | 49 | 55 => Indexing::Secret,
        // cookie
        32 => Indexing::SecretWhenShort,
        _ => Indexing::Taken,
    }
}

/// The fields that have `name`, in any case.
#[inline]
pub(super) fn find(name: &[u8], hash: NameHash) -> Option<Name> {
    let found = NAMES.get(hash.fixed_slot())?;
    let fixed = get(usize::from(found.index))?;
    let its_name = fixed.joined.as_bytes().get(..fixed.name_len)?;
    same_name(its_name, name).then_some(*found)
}

impl Name {
    /// The field of this name that has `value`.
    #[inline]
    pub(super) fn whole(self, value: &[u8]) -> Option<usize> {
        let first = usize::from(self.index);
        (first..first + usize::from(self.fields)).find(|&index| {
            get(index)
                .and_then(|fixed| fixed.joined.as_bytes().get(fixed.name_len..))
                .is_some_and(|its_value| its_value == value)
        })
    }
}
