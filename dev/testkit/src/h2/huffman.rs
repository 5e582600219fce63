//! The Huffman code of RFC 7541, appendix B, for reading.
//!
//! The code is canonical: within one length the codes ascend with the symbols. So the lengths are all that is kept.

use std::sync::OnceLock;

use crate::strict::Fault;

/// Bits of the code of each byte, and of the end of string (256) last.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LENGTH_MAX: usize = 30;

/// For each length: the first code, and the symbols in the order of their codes.
struct Codes([(u32, Vec<u16>); LENGTH_MAX + 1]);

fn codes() -> &'static Codes {
    static CODES: OnceLock<Codes> = OnceLock::new();
    CODES.get_or_init(|| {
        let mut all: [(u32, Vec<u16>); LENGTH_MAX + 1] = std::array::from_fn(|_| (0, Vec::new()));
        let mut next = 0;
        for (length, (first, symbols)) in all.iter_mut().enumerate() {
            next <<= 1;
            *first = next;
            let has = |symbol: &u16| usize::from(LENGTHS[usize::from(*symbol)]) == length;
            symbols.extend((0..257).filter(has));
            next += u32::try_from(symbols.len()).expect("at most 257");
        }
        Codes(all)
    })
}

/// Decodes a string. Padding must be the most significant bits of the end of string and shorter than a byte (section 5.2).
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let Codes(all) = codes();
    let mut out = Vec::new();
    let (mut code, mut length) = (0_u32, 0_usize);
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
    {
        code = code << 1 | u32::from(bit);
        length += 1;
        let Some((first, symbols)) = all.get(length) else {
            return Err(Fault("a Huffman code that is none"));
        };
        let symbol = code
            .checked_sub(*first)
            .and_then(|at| symbols.get(usize::try_from(at).ok()?));
        match symbol {
            None => continue,
            Some(256) => return Err(Fault("the end of string inside a Huffman string")),
            Some(&symbol) => out.push(u8::try_from(symbol).expect("below 256")),
        }
        (code, length) = (0, 0);
    }
    match length < 8 && code == (1 << length) - 1 {
        true => Ok(out),
        false => Err(Fault("Huffman padding that is too long, or not all ones")),
    }
}
