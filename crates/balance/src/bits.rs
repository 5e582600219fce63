//! A fixed set of positions, one bit each: 1,000 servers are 16 words, so that looking for any
//! that is left over costs a few nanoseconds even when all but one are out.

/// A set of positions below a number fixed at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Box<[u64]>,
}

/// Number of words for `len` positions.
pub(crate) const fn words_for(len: usize) -> usize {
    len.div_ceil(64)
}

impl Bits {
    /// The set of those positions below `len` for which `holds`.
    pub(crate) fn of(len: usize, mut holds: impl FnMut(usize) -> bool) -> Self {
        let mut words = vec![0u64; words_for(len)];
        for index in 0..len {
            words[index / 64] |= u64::from(holds(index)) << (index % 64);
        }
        Bits {
            words: words.into(),
        }
    }

    /// The set of none of the positions below `len`.
    pub(crate) fn empty(len: usize) -> Self {
        Bits {
            words: vec![0; words_for(len)].into(),
        }
    }

    /// Adds `index`, which is below the set's length.
    pub(crate) fn insert(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// True when `index` is in the set.
    pub(crate) fn contains(&self, index: usize) -> bool {
        self.words
            .get(index / 64)
            .is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    /// True when nothing is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Word `at`, 0 beyond the end.
    pub(crate) fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(0)
    }

    /// The positions in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit as usize)
            })
        })
    }

    /// The first position from `start` on, and then from the beginning, that is in the set, not
    /// in the word that `hidden` gives for its place, and accepted.
    pub(crate) fn find_from(
        &self,
        start: usize,
        hidden: impl Fn(usize) -> u64,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let count = self.words.len();
        let first = (start / 64).checked_rem(count)?;
        let from_start = u64::MAX << (start % 64);
        for step in 0..=count {
            let at = (first + step) % count;
            let mut left = self.words[at] & !hidden(at);
            if step == 0 {
                left &= from_start;
            } else if step == count {
                left &= !from_start;
            }
            while left != 0 {
                let index = at * 64 + left.trailing_zeros() as usize;
                if accept(index) {
                    return Some(index);
                }
                left &= left - 1;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_position_once_from_any_start() {
        for len in [0, 1, 63, 64, 65, 200] {
            let bits = Bits::of(len, |index| index % 3 == 0);
            let expected: Vec<usize> = (0..len).filter(|index| index % 3 == 0).collect();
            assert_eq!(bits.iter().collect::<Vec<_>>(), expected);
            assert_eq!(bits.is_empty(), expected.is_empty());
            for start in 0..len + 3 {
                let mut seen = Vec::new();
                let found = bits.find_from(
                    start,
                    |_| 0,
                    |index| {
                        seen.push(index);
                        false
                    },
                );
                assert_eq!(found, None);
                assert_eq!(
                    seen.first(),
                    bits.find_from(start, |_| 0, |_| true).as_ref()
                );
                seen.sort_unstable();
                assert_eq!(seen, expected, "len {len} start {start}");
            }
        }
    }

    #[test]
    fn hidden_positions_are_passed_over() {
        let bits = Bits::of(130, |_| true);
        let hidden = |at: usize| if at < 2 { u64::MAX } else { 0 };
        assert_eq!(bits.find_from(5, hidden, |_| true), Some(128));
    }
}
