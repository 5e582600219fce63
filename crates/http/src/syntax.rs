//! Byte classes of RFC 9110 section 5.6 and the small scanners that use them.

/// Bit of [`CLASS`]: a byte of a token (RFC 9110, 5.6.2).
const TOKEN: u8 = 1;
/// Bit of [`CLASS`]: a byte of a field value (RFC 9110, 5.5): HTAB, SP, VCHAR, obs-text.
const VALUE: u8 = 2;
/// Bit of [`CLASS`]: a byte of a host's registered name that we accept (see `authority`).
const REG_NAME: u8 = 4;
/// Bit of [`CLASS`]: unreserved (RFC 3986, 2.3).
const UNRESERVED: u8 = 8;

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut i = 0usize;
    while i < 256 {
        let b = i as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() || in_list(b, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        if b == b'\t' || (b >= 0x20 && b != 0x7f) {
            class |= VALUE;
        }
        if b.is_ascii_alphanumeric() || in_list(b, b"-._~") {
            class |= UNRESERVED | REG_NAME;
        }
        if in_list(b, b"!$&'()*+;=") {
            class |= REG_NAME;
        }
        table[i] = class;
        i += 1;
    }
    table
};

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn in_list(b: u8, list: &[u8]) -> bool {
    let mut i = 0;
    while i < list.len() {
        if list[i] == b {
            return true;
        }
        i += 1;
    }
    false
}

/// The classes of `b`.
#[inline]
#[expect(
    clippy::indexing_slicing,
    reason = "the table has an entry for every byte"
)]
const fn class(b: u8) -> u8 {
    CLASS[b as usize]
}

/// Whether `b` may stand in a token.
#[inline]
pub(crate) const fn is_token_byte(b: u8) -> bool {
    class(b) & TOKEN != 0
}

/// Whether `b` may stand in a field value.
#[inline]
pub(crate) const fn is_value_byte(b: u8) -> bool {
    class(b) & VALUE != 0
}

/// Whether `b` may stand in a registered name.
#[inline]
pub(crate) const fn is_reg_name_byte(b: u8) -> bool {
    class(b) & REG_NAME != 0
}

/// Whether `b` never needs percent-encoding.
#[inline]
pub(crate) const fn is_unreserved(b: u8) -> bool {
    class(b) & UNRESERVED != 0
}

/// Whether all of `bytes` is one token.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// Whether `b` is optional white space (RFC 9110, 5.6.3).
#[inline]
pub(crate) const fn is_ows(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// `bytes` without optional white space at both ends.
#[inline]
pub(crate) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b, rest @ ..] = bytes
        && is_ows(*b)
    {
        bytes = rest;
    }
    while let [rest @ .., b] = bytes
        && is_ows(*b)
    {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list without quoted strings, trimmed; empty members are given too.
#[inline]
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim_ows)
}

/// The value of a hexadecimal digit.
#[inline]
pub(crate) const fn hex_value(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}
