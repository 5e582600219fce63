//! Hashes that preselect what may be the same. They need not be good: what they select is compared.

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
