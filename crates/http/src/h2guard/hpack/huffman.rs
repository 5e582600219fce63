//! The Huffman code of RFC 7541, appendix B, for its lengths only: the code is canonical, so that the number of codes
//! of each length says where a symbol ends.

use super::Broken;

/// How many codes there are of each length, shortest first.
const CODES: [(u32, u64); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

#[expect(
    clippy::indexing_slicing,
    reason = "of a constant: seen when it is built"
)]
/// For each length: the first 32 bits, from the top, that belong to a longer code.
const LIMITS: [(u32, u64); CODES.len()] = {
    let mut limits = CODES;
    let (mut at, mut next, mut length) = (0, 0_u64, 0);
    while at < CODES.len() {
        next = (next << (CODES[at].0 - length)) + CODES[at].1;
        length = CODES[at].0;
        limits[at] = (length, next << (32 - length));
        at += 1;
    }
    limits
};

/// The end of a string, which never stands in one.
const EOS: u64 = 0x3fff_ffff;
const COLON: u64 = 0x5c;

/// Counts the characters of one string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Huffman {
    /// The last bits that came; the lowest `count` are of no symbol yet.
    bits: u64,
    count: u32,
    chars: u32,
    colon: bool,
}

impl Huffman {
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        for &byte in bytes {
            self.bits = self.bits << 8 | u64::from(byte);
            self.count += 8;
            while let Some(length) = self.complete() {
                let code = self.bits >> (self.count - length) & ((1 << length) - 1);
                if length == 30 && code == EOS {
                    return Err(Broken);
                }
                if self.chars == 0 {
                    self.colon = length == 7 && code == COLON;
                }
                self.chars += 1;
                self.count -= length;
            }
        }
        Ok(())
    }

    /// The length of the next symbol, when it is whole.
    fn complete(&self) -> Option<u32> {
        if self.count < 5 {
            return None;
        }
        // Fewer than 38 bits are there, of which 32 are looked at.
        let kept = self.bits & ((1 << self.count) - 1);
        let top = match self.count {
            0..=32 => kept << (32 - self.count),
            _ => kept >> (self.count - 32),
        };
        let found = LIMITS.iter().find(|(_, limit)| top < *limit);
        found
            .map(|(length, _)| *length)
            .filter(|length| *length <= self.count)
    }

    /// The string is over: what is left are the first bits of EOS, fewer than eight (RFC 7541, 5.2).
    pub(super) fn end(&self) -> Result<(), Broken> {
        let ones = (1_u64 << self.count) - 1;
        match self.count < 8 && self.bits & ones == ones {
            true => Ok(()),
            false => Err(Broken),
        }
    }

    pub(super) fn chars(&self) -> u32 {
        self.chars
    }

    pub(super) fn begins_with_colon(&self) -> bool {
        self.colon
    }
}
