//! Counts over the recent past: a sliding window of [`SLOTS`] slots in atomic words.
//!
//! A slot is one word: the number of its stretch of time, how many calls, how many of them bad. A
//! count is a load and an addition. Whoever comes first in a new stretch takes the slot over from
//! ten stretches ago, with a comparison, so that nothing old is carried on. An addition that lands
//! right after the slot was taken over counts for the new stretch: late, but never lost.
//!
//! A count that would outgrow its field is halved with its neighbour, which keeps the rate.
//! Workers' clocks may be apart by one slot.

use std::sync::atomic::AtomicU64;

use crate::cell::Cell;

/// Slots of a window: it moves on in steps of a tenth of its length.
pub(crate) const SLOTS: u64 = 10;

const FIELD_BITS: u32 = 20;
const FIELD: u64 = (1 << FIELD_BITS) - 1;
const EPOCH_BITS: u32 = 24;
const EPOCH: u64 = (1 << EPOCH_BITS) - 1;

/// Counts are halved here: as many more additions may be under way before a field overflows.
const HALVE_AT: u64 = 1 << (FIELD_BITS - 1);

/// One call.
const CALL: u64 = 1 << FIELD_BITS;
/// One bad call's second count.
const BAD: u64 = 1;

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls.
    pub total: u64,
    /// Those of them that count as bad.
    pub bad: u64,
}

impl Counts {
    /// The share of bad calls, 0 to 1; 0 without calls.
    pub fn bad_share(&self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            self.bad as f64 / self.total as f64
        }
    }
}

/// Length of one slot in milliseconds, for a window of this length.
pub(crate) const fn slot_ms(window_ms: u64) -> u64 {
    let slot = window_ms / SLOTS;
    if slot == 0 { 1 } else { slot }
}

/// See the head of this file. The length of a slot is an argument: it is a setting, and settings
/// change on a reload while the counts go on. Counts of another length are taken for old.
#[derive(Debug)]
pub(crate) struct Window<C = AtomicU64> {
    slots: [C; SLOTS as usize],
}

impl<C: Cell> Default for Window<C> {
    fn default() -> Self {
        Window {
            slots: std::array::from_fn(|_| C::new(0)),
        }
    }
}

impl<C: Cell> Window<C> {
    /// Counts a call.
    #[inline]
    pub(crate) fn call(&self, slot_ms: u64, now_ms: u64, bad: bool) {
        self.add(slot_ms, now_ms, CALL + u64::from(bad));
    }

    /// Counts something bad that is no call of its own.
    pub(crate) fn bad(&self, slot_ms: u64, now_ms: u64) {
        self.add(slot_ms, now_ms, BAD);
    }

    /// Counts something bad that is no call of its own, provided that the counts with it are
    /// `within`. Of two at once both may be refused.
    pub(crate) fn bad_within(
        &self,
        slot_ms: u64,
        now_ms: u64,
        within: impl FnOnce(Counts) -> bool,
    ) -> bool {
        // First counted, then looked at: of two, the later one sees both.
        self.bad(slot_ms, now_ms);
        let within = within(self.counts(slot_ms, now_ms));
        if !within {
            let (cell, epoch) = self.slot(slot_ms, now_ms);
            let back =
                |word: u64| (epoch_of(word) == epoch && word & FIELD != 0).then(|| word - BAD);
            update(cell, back);
        }
        within
    }

    /// What the window holds at this time.
    pub(crate) fn counts(&self, slot_ms: u64, now_ms: u64) -> Counts {
        let (_, now) = self.slot(slot_ms, now_ms);
        let mut counts = Counts::default();
        for cell in &self.slots {
            let word = cell.load();
            // One ahead is a worker whose clock is.
            let age = now.wrapping_sub(epoch_of(word)).wrapping_add(1) & EPOCH;
            if age <= SLOTS {
                counts.total += (word >> FIELD_BITS) & FIELD;
                counts.bad += word & FIELD;
            }
        }
        counts
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for cell in &self.slots {
            cell.store(0);
        }
    }

    #[inline]
    fn slot(&self, slot_ms: u64, now_ms: u64) -> (&C, u64) {
        let number = now_ms / slot_ms.max(1);
        (&self.slots[(number % SLOTS) as usize], number & EPOCH)
    }

    #[inline]
    fn add(&self, slot_ms: u64, now_ms: u64, count: u64) {
        let (cell, epoch) = self.slot(slot_ms, now_ms);
        let word = cell.load();
        if epoch_of(word) == epoch && !is_large(word) {
            cell.fetch_add(count);
        } else {
            renew(cell, epoch, count);
        }
    }
}

const fn epoch_of(word: u64) -> u64 {
    word >> (2 * FIELD_BITS)
}

const fn is_large(word: u64) -> bool {
    ((word >> FIELD_BITS) & FIELD) >= HALVE_AT || word & FIELD >= HALVE_AT
}

/// Takes a slot over for its new stretch of time, or makes room in it.
#[cold]
fn renew(cell: &impl Cell, epoch: u64, count: u64) {
    update(cell, |word| {
        if epoch_of(word) != epoch {
            return Some((epoch << (2 * FIELD_BITS)) | count);
        }
        if !is_large(word) {
            return Some(word + count);
        }
        let (total, bad) = ((word >> FIELD_BITS) & FIELD, word & FIELD);
        let halved = (epoch << (2 * FIELD_BITS)) | ((total / 2) << FIELD_BITS) | (bad / 2);
        Some(halved + count)
    });
}

/// Replaces the word by what follows from it, unless nothing does.
fn update(cell: &impl Cell, next: impl Fn(u64) -> Option<u64>) {
    let mut word = cell.load();
    while let Some(new) = next(word) {
        match cell.compare_exchange(word, new) {
            Ok(_) => return,
            Err(now) => word = now,
        }
    }
}

#[cfg(test)]
mod tests;
