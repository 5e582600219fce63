//! The Huffman code of RFC 7541, appendix B.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and shorter ones are
//! smaller. So its lengths say all, and the compiler makes the tables out of them.

/// Bits of the code of each octet; the last is the end of string (EOS), which must never be sent.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

/// Bits of the longest code.
const BITS_MAX: usize = 30;

/// Bits that are looked up at once when decoding: room for two of the codes of most letters and digits.
const LOOKUP_BITS: u32 = 12;

/// How often a string can grow at most when it is decoded: the shortest code has five bits.
pub(super) const fn decoded_len_max(len: usize) -> usize {
    len / 5 * 8 + len % 5 * 8 / 5
}

/// The code, in the order of its codes.
struct Canon {
    /// The first code of each length, at the top of 32 bits.
    first: [u32; BITS_MAX + 1],
    /// How many codes are shorter.
    shorter: [u16; BITS_MAX + 1],
    /// What the codes stand for.
    symbols: [u16; 257],
}

const fn canon() -> Canon {
    let mut canon = Canon {
        first: [0; BITS_MAX + 1],
        shorter: [0; BITS_MAX + 1],
        symbols: [0; 257],
    };
    let (mut code, mut count, mut bits) = (0_u32, 0_usize, 1);
    while bits <= BITS_MAX {
        canon.first[bits] = code << (32 - bits);
        canon.shorter[bits] = count as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == bits {
                canon.symbols[count] = symbol as u16;
                count += 1;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        bits += 1;
    }
    canon
}

static CANON: Canon = canon();

/// The code of each octet, and how many bits it has.
static CODES: [(u32, u32); 256] = {
    let canon = canon();
    let mut codes = [(0, 0); 256];
    let mut at = 0;
    while at < 256 {
        let symbol = canon.symbols[at] as usize;
        let bits = LENGTHS[symbol] as usize;
        let nth = at as u32 - canon.shorter[bits] as u32;
        codes[symbol] = ((canon.first[bits] >> (32 - bits)) + nth, bits as u32);
        at += 1;
    }
    codes
};

/// What the next [`LOOKUP_BITS`] begin with: one octet, or two; nothing when the code is longer.
#[derive(Clone, Copy)]
struct Lookup {
    octets: [u8; 2],
    /// Bits of the first octet.
    first_bits: u8,
    /// How many octets, in the upper four bits, and how many bits they have together.
    all: u8,
}

static LOOKUPS: [Lookup; 1 << LOOKUP_BITS] = {
    let canon = canon();
    let none = Lookup {
        octets: [0; 2],
        first_bits: 0,
        all: 0,
    };
    let mut lookups = [none; 1 << LOOKUP_BITS];
    let mut at = 0;
    while at < lookups.len() {
        let bits = (at as u32) << (32 - LOOKUP_BITS);
        if let Some((first, first_bits)) = short(&canon, bits, LOOKUP_BITS) {
            let left = LOOKUP_BITS - first_bits as u32;
            lookups[at] = match short(&canon, bits << first_bits, left) {
                Some((second, second_bits)) => Lookup {
                    octets: [first, second],
                    first_bits,
                    all: 2 << 4 | (first_bits + second_bits),
                },
                None => Lookup {
                    octets: [first, 0],
                    first_bits,
                    all: 1 << 4 | first_bits,
                },
            };
        }
        at += 1;
    }
    lookups
};

/// The octet that `window` begins with and the bits of its code, when these are no more than `bits_max`.
const fn short(canon: &Canon, window: u32, bits_max: u32) -> Option<(u8, u8)> {
    let mut bits = 5;
    while bits <= bits_max as usize {
        let nth = (window.wrapping_sub(canon.first[bits])) >> (32 - bits);
        let codes = canon.shorter[bits + 1] - canon.shorter[bits];
        if window >= canon.first[bits] && nth < codes as u32 {
            let symbol = canon.symbols[canon.shorter[bits] as usize + nth as usize];
            return Some((symbol as u8, bits as u8));
        }
        bits += 1;
    }
    None
}

/// The symbol of a code of more than [`LOOKUP_BITS`] that `window` begins with, and its bits.
#[cold]
fn long(window: u32) -> (u16, u32) {
    let mut found = 0;
    for (bits, first) in CANON.first.iter().enumerate().skip(1) {
        if window >= *first {
            found = bits;
        }
    }
    let first = CANON.first.get(found).copied().unwrap_or_default();
    let shorter = CANON.shorter.get(found).copied().unwrap_or_default();
    let nth = window.wrapping_sub(first).unbounded_shr(32 - found as u32);
    let at = usize::from(shorter).saturating_add(nth as usize);
    (CANON.symbols.get(at).copied().unwrap_or(256), found as u32)
}

/// Bits that were read but not decoded, the next one at the top.
struct Window {
    bits: u64,
    len: u32,
}

impl Window {
    /// Decodes one or two octets to `out` at `*at`, and says whether there were enough bits for that: there always
    /// are when there are 30. `None` is the end of string, which must not be there.
    #[inline(always)]
    fn step(&mut self, out: &mut [u8], at: &mut usize) -> Option<bool> {
        let lookup = LOOKUPS
            .get((self.bits >> (64 - LOOKUP_BITS)) as usize)
            .copied()?;
        let all = u32::from(lookup.all & 15);
        if all != 0 && all <= self.len {
            put(out, at, lookup.octets, usize::from(lookup.all >> 4));
            self.take(all);
            return Some(true);
        }
        let first = u32::from(lookup.first_bits);
        if first != 0 {
            // The second octet is none: it is in the padding.
            if first > self.len {
                return Some(false);
            }
            put(out, at, lookup.octets, 1);
            self.take(first);
            return Some(true);
        }
        let (symbol, bits) = long((self.bits >> 32) as u32);
        if bits > self.len {
            return Some(false);
        }
        put(out, at, [u8::try_from(symbol).ok()?, 0], 1);
        self.take(bits);
        Some(true)
    }

    #[inline(always)]
    fn take(&mut self, bits: u32) {
        self.bits = self.bits.unbounded_shl(bits);
        self.len -= bits;
    }
}

/// Puts `count` octets to `out` at `*at`, if there is room for two, and counts them in any case.
#[inline(always)]
fn put(out: &mut [u8], at: &mut usize, octets: [u8; 2], count: usize) {
    if let Some(room) = out.get_mut(*at..).and_then(<[u8]>::first_chunk_mut) {
        *room = octets;
    }
    *at += count;
}

/// Decodes `coded` to `out` and returns how many octets it has, which may be more than `out` takes: then what is in
/// `out` is no use. `out` must have room for one octet more than are wanted. `None` when `coded` is not in the code or
/// its padding is wrong (RFC 7541, 5.2).
#[inline]
pub(super) fn decode(coded: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut window = Window { bits: 0, len: 0 };
    let (mut rest, mut at) = (coded, 0);
    while let Some(next) = rest.first_chunk::<8>() {
        window.bits |= u64::from_be_bytes(*next).unbounded_shr(window.len);
        // Bits of an octet that is only partly counted are read twice, as the same.
        let whole = 63_u32.saturating_sub(window.len) / 8;
        rest = rest.get(whole as usize..)?;
        window.len += whole * 8;
        while window.len >= BITS_MAX as u32 {
            window.step(out, &mut at)?;
        }
    }
    loop {
        while let Some((&next, after)) = rest.split_first()
            && window.len <= 56
        {
            window.bits |= u64::from(next) << 56 >> window.len;
            window.len += 8;
            rest = after;
        }
        if rest.is_empty() {
            break;
        }
        window.step(out, &mut at)?;
    }
    // What follows is as if padded with ones without end: no code is among them.
    window.bits |= u64::MAX.unbounded_shr(window.len);
    while window.step(out, &mut at)? {
        window.bits |= u64::MAX.unbounded_shr(window.len);
    }
    (window.len < 8 && window.bits == u64::MAX).then_some(at)
}

/// How many octets `plain` has when coded.
#[inline]
pub(super) fn coded_len(plain: &[u8]) -> usize {
    let bits: usize = plain
        .iter()
        .map(|octet| usize::from(LENGTHS.get(usize::from(*octet)).copied().unwrap_or(0)))
        .sum();
    bits.div_ceil(8)
}

/// Appends `plain`, coded, to `out`.
#[inline]
pub(super) fn encode(plain: &[u8], out: &mut Vec<u8>) {
    // At most 31 bits wait before an octet's code of at most 30 joins them.
    let (mut waiting, mut len) = (0_u64, 0_u32);
    for octet in plain {
        let (code, bits) = CODES.get(usize::from(*octet)).copied().unwrap_or_default();
        waiting = waiting << bits | u64::from(code);
        len += bits;
        if len >= 32 {
            len -= 32;
            out.extend_from_slice(&((waiting >> len) as u32).to_be_bytes());
        }
    }
    let padding = (8 - len % 8) % 8;
    let last = (waiting << padding | ((1 << padding) - 1)) << (32 - len - padding);
    let octets = (last as u32).to_be_bytes();
    let whole = (len + padding) / 8;
    out.extend_from_slice(octets.get(..whole as usize).unwrap_or_default());
}

#[cfg(test)]
#[path = "huffman_tests.rs"]
mod tests;
