//! The little of DER (X.690) that OCSP needs. Reading never goes past the end, never recurses and allocates nothing.

pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const NULL: u8 = 0x05;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// The tag of an explicit or constructed field.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

/// A cursor over elements that follow each other.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of what comes next.
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, of whatever kind; `None` at the end and when it is broken.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let whole = self.0;
        let (&tag, rest) = whole.split_first()?;
        // Tags of several bytes stand nowhere in what we read.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let len = bytes
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
                let shortest = len >= 0x80 && bytes.first() != Some(&0);
                shortest.then_some((len, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        let whole = whole.get(..whole.len() - rest.len())?;
        Some(Element {
            tag,
            content,
            whole,
        })
    }

    /// The next element, which has to be of this kind.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.peek() != Some(tag) {
            return None;
        }
        self.any()
    }

    /// The content of the next element, which has to be of this kind.
    pub(super) fn content(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.expect(tag).map(|element| Reader(element.content))
    }

    /// Steps over the next element when it is of this kind; `None` when it is broken.
    pub(super) fn skip(&mut self, tag: u8) -> Option<()> {
        if self.peek() == Some(tag) {
            self.any()?;
        }
        Some(())
    }
}

/// An element of these parts.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    let bytes = len.to_be_bytes();
    let start = bytes.iter().position(|&byte| byte != 0);
    let significant = start.and_then(|start| bytes.get(start..)).unwrap_or(&[0]);
    if len >= 0x80 {
        out.push(0x80 | significant.len() as u8);
    }
    out.extend_from_slice(significant);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// `YYYYMMDDHHMMSSZ`, the one form of GeneralizedTime that RFC 5280 section 4.1.2.5.2 allows, in seconds since 1970.
pub(super) fn time(text: &[u8]) -> Option<u64> {
    let (digits, zone) = text.split_at_checked(14)?;
    if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, len: usize| {
        let digits = digits.get(from..from + len)?;
        Some(
            digits
                .iter()
                .fold(0, |sum, &digit| sum * 10 + u64::from(digit - b'0')),
        )
    };
    let (year, month, day) = (number(0, 4)?, number(4, 2)?, number(6, 2)?);
    let (hour, minute, second) = (number(8, 2)?, number(10, 2)?, number(12, 2)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since_1970 = days.checked_sub(719_468)?;
    Some(((since_1970 * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("19700101000000Z", Some(0)),
            ("20000229235959Z", Some(951_868_799)),
            ("20260301000000Z", Some(1_772_323_200)),
            ("20991231235959Z", Some(4_102_444_799)),
            ("20261301000000Z", None),
            ("20260001000000Z", None),
            ("20260100000000Z", None),
            ("20260101240000Z", None),
            ("20260101006000Z", None),
            ("19691231235959Z", None),
            ("20260101000000", None),
            ("20260101000000.5Z", None),
            ("20260101000000+0100", None),
            ("2026010100000aZ", None),
        ] {
            assert_eq!(time(text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn lengths() {
        for len in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let bytes = element(OCTET_STRING, &[&vec![7; len]]);
            let mut reader = Reader(&bytes);
            assert_eq!(reader.expect(OCTET_STRING).unwrap().content.len(), len);
            assert!(reader.is_empty());
            assert!(Reader(&bytes[..bytes.len() - 1]).any().is_none());
        }
        // Longer than need be, indefinite, tags of several bytes.
        for bytes in [
            &b"\x04\x81\x01a"[..],
            b"\x04\x82\x00\x80",
            b"\x30\x80\0\0",
            b"\x1f\x01\0",
            b"\x04",
        ] {
            assert!(Reader(bytes).any().is_none());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader(&bytes);
            let mut len = 0;
            while let Some(element) = reader.any() {
                len += element.whole.len();
            }
            prop_assert!(len <= bytes.len());
            time(&bytes);
        }
    }
}
