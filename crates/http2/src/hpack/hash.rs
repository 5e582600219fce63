//! Names and values that may be the same, by hashes, which need not be good: what they select is compared.

/// Chosen so that the top eight bits differ for all names of the static table.
const FACTOR: u64 = 0x2b00_b570_f93e_e7cd;

/// Sets the bit that differs between the cases of letters.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// The hash of a name, whatever its case: of its length, its beginning and its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameHash(u64);

impl NameHash {
    #[inline]
    pub(super) const fn of(name: &[u8]) -> NameHash {
        let (first, last) =
            if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
                (
                    u64::from_le_bytes(*first) | LOWER,
                    u64::from_le_bytes(*last) | LOWER,
                )
            } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
                (
                    (u32::from_le_bytes(*first) | LOWER as u32) as u64,
                    (u32::from_le_bytes(*last) | LOWER as u32) as u64,
                )
            } else {
                let (mut all, mut rest) = (0, name);
                while let Some((octet, after)) = rest.split_first() {
                    all = all << 8 | *octet as u64 | 0x20;
                    rest = after;
                }
                (all, all)
            };
        let mixed = first ^ last.rotate_left(23) ^ name.len() as u64;
        NameHash(mixed.wrapping_mul(FACTOR))
    }

    /// The place in the table of the names of the static table.
    #[inline]
    pub(super) const fn fixed_slot(self) -> usize {
        (self.0 >> 56) as usize
    }

    /// Sixteen bits for the name.
    #[inline]
    pub(super) const fn tag(self) -> u16 {
        (self.0 >> 40) as u16
    }

    /// Sixteen bits for the name with `value`: all of it, so that ids which differ anywhere do not look the same.
    #[inline]
    pub(super) fn field_tag(self, value: &[u8]) -> u16 {
        let mut hash = self.0 ^ value.len() as u64;
        let (words, rest) = value.as_chunks::<8>();
        for word in words {
            hash = step(hash, u64::from_le_bytes(*word));
        }
        let last = match value.last_chunk() {
            Some(last) if !rest.is_empty() => u64::from_le_bytes(*last),
            _ => rest
                .iter()
                .fold(0, |all, octet| all << 8 | u64::from(*octet)),
        };
        (step(hash, last) >> 32) as u16
    }
}

#[inline]
fn step(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(FACTOR);
    mixed ^ mixed >> 32
}

/// Whether `name`, in any case, is `lower`, which is in lower case.
#[inline]
pub(super) fn same_name(lower: &[u8], name: &[u8]) -> bool {
    if lower.len() != name.len() {
        return false;
    }
    // Most names are short: their first and last words, which overlap, are all.
    let (Some(last), Some(its_last)) = (lower.last_chunk::<8>(), name.last_chunk::<8>()) else {
        return lower.eq_ignore_ascii_case(name);
    };
    let (words, its_words) = (lower.as_chunks::<8>().0, name.as_chunks::<8>().0);
    same_word(last, its_last) && words.iter().zip(its_words).all(|(a, b)| same_word(a, b))
}

#[inline]
fn same_word(lower: &[u8; 8], word: &[u8; 8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    if lower == word {
        return true;
    }
    let word = u64::from_le_bytes(*word);
    // The top bit of each octet, without carries between them: at least 'A', more than 'Z'.
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let after_z = low + EACH * (0x7f - b'Z' as u64);
    let upper = from_a & !after_z & !word & (EACH * 0x80);
    u64::from_le_bytes(*lower) == word | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_any_case() {
        for octet in 0..=255_u8 {
            for len in 1..40 {
                for at in [0, len / 2, len - 1] {
                    let mut name = vec![b'q'; len];
                    name[at] = octet;
                    let lower = name.to_ascii_lowercase();
                    assert!(same_name(&lower, &name));
                    assert_eq!(NameHash::of(&lower).0, NameHash::of(&name).0);
                    let mut other = lower.clone();
                    other[at] ^= 0x20;
                    // What is to be in lower case is.
                    let sound = !other[at].is_ascii_uppercase();
                    assert!(!(sound && same_name(&other, &name)), "{octet} {len} {at}");
                }
            }
        }
    }
}
