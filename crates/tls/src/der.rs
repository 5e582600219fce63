//! The little of DER (X.690) that OCSP and revocation lists need. Reading never goes past the end, never recurses and allocates nothing.

pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// The tag of an explicit or constructed field.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

/// A cursor over elements that follow each other.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of what comes next.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, of whatever kind; `None` at the end and when it is broken.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let whole = self.0;
        let (&tag, rest) = whole.split_first()?;
        // Tags of several bytes stand nowhere in what we read.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
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
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.peek() != Some(tag) {
            return None;
        }
        self.any()
    }

    /// The content of the next element, which has to be of this kind.
    pub(crate) fn content(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.expect(tag).map(|element| Reader(element.content))
    }

    /// Steps over the next element when it is of this kind; `None` when it is broken.
    pub(crate) fn skip(&mut self, tag: u8) -> Option<()> {
        if self.peek() == Some(tag) {
            self.any()?;
        }
        Some(())
    }
}

/// An element of these parts.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
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

/// `YYMMDDHHMMSSZ`, the one form of UTCTime that RFC 5280 section 4.1.2.5.1 allows, in seconds since 1970: years under
/// 50 are of this century.
pub(crate) fn utc_time(text: &[u8]) -> Option<u64> {
    let century: &[u8] = if text.first()? < &b'5' { b"20" } else { b"19" };
    time(&[century, text].concat())
}

/// `YYYYMMDDHHMMSSZ`, the one form of GeneralizedTime that RFC 5280 section 4.1.2.5.2 allows, in seconds since 1970.
pub(crate) fn time(text: &[u8]) -> Option<u64> {
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
    fn short_times() {
        assert_eq!(utc_time(b"260301000000Z"), Some(1_772_323_200));
        assert_eq!(utc_time(b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(utc_time(b"700101000000Z"), Some(0));
        for text in [
            &b""[..],
            b"500101000000Z",
            b"2603010000Z",
            b"20260301000000Z",
        ] {
            assert_eq!(utc_time(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn lengths() {
        for len in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 1 << 24] {
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
