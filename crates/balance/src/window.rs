//! Counts over the recent past: a sliding window of [`SLOTS`] slots in atomic words.
//!
//! A slot is one word: the number of its stretch of time, how many calls, how many of them bad. A
//! count is a load and an addition. Whoever comes first in a new stretch takes the slot over from
//! ten stretches ago, with a comparison, so that nothing old is carried on. An addition that lands
//! right after the slot was taken over counts for the new stretch: late, but never lost.
//!
//! A count that would outgrow its field is halved with its neighbour, which keeps the rate.
//! Workers' clocks may be apart by one slot.

use std::sync::atomic::{AtomicU64, Ordering};

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
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: [AtomicU64; SLOTS as usize],
}

impl Window {
    /// Counts a call.
    #[inline]
    pub(crate) fn call(&self, slot_ms: u64, now_ms: u64, bad: bool) {
        self.add(slot_ms, now_ms, CALL + u64::from(bad));
    }

    /// Counts something bad that is no call of its own.
    pub(crate) fn bad(&self, slot_ms: u64, now_ms: u64) {
        self.add(slot_ms, now_ms, BAD);
    }

    /// Takes back one [`Window::bad`] of this instant, unless its slot has passed.
    pub(crate) fn take_back(&self, slot_ms: u64, now_ms: u64) {
        let (cell, epoch) = self.slot(slot_ms, now_ms);
        let back = |word: u64| (epoch_of(word) == epoch && word & FIELD != 0).then(|| word - BAD);
        // `None` when there is nothing left to take back.
        let _ = cell.fetch_update(Ordering::SeqCst, Ordering::SeqCst, back);
    }

    /// What the window holds at this time.
    pub(crate) fn counts(&self, slot_ms: u64, now_ms: u64) -> Counts {
        let (_, now) = self.slot(slot_ms, now_ms);
        let mut counts = Counts::default();
        for cell in &self.slots {
            let word = cell.load(Ordering::SeqCst);
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
            cell.store(0, Ordering::SeqCst);
        }
    }

    #[inline]
    fn slot(&self, slot_ms: u64, now_ms: u64) -> (&AtomicU64, u64) {
        let number = now_ms / slot_ms.max(1);
        (&self.slots[(number % SLOTS) as usize], number & EPOCH)
    }

    #[inline]
    fn add(&self, slot_ms: u64, now_ms: u64, count: u64) {
        let (cell, epoch) = self.slot(slot_ms, now_ms);
        let word = cell.load(Ordering::Relaxed);
        if epoch_of(word) == epoch && !is_large(word) {
            cell.fetch_add(count, Ordering::Relaxed);
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
fn renew(cell: &AtomicU64, epoch: u64, count: u64) {
    let next = |word: u64| {
        if epoch_of(word) != epoch {
            return Some((epoch << (2 * FIELD_BITS)) | count);
        }
        if !is_large(word) {
            return Some(word + count);
        }
        let (total, bad) = ((word >> FIELD_BITS) & FIELD, word & FIELD);
        let halved = (epoch << (2 * FIELD_BITS)) | ((total / 2) << FIELD_BITS) | (bad / 2);
        Some(halved + count)
    };
    // The closure always answers, so this cannot fail.
    let _ = cell.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_leave_after_the_window() {
        let window = Window::default();
        for now in 0..1_000 {
            window.call(100, now, now % 4 == 0);
        }
        let all = Counts {
            total: 1_000,
            bad: 250,
        };
        assert_eq!(window.counts(100, 999), all);
        assert_eq!(window.counts(100, 1_000).total, 900);
        assert_eq!(window.counts(100, 1_899).total, 100);
        assert_eq!(window.counts(100, 1_900), Counts::default());
        assert_eq!(
            window.counts(50, 999).total,
            0,
            "another length is another window"
        );
    }

    #[test]
    fn a_full_field_is_halved_and_keeps_the_rate() {
        let window = Window::default();
        for call in 0..3_000_000u64 {
            window.call(1_000, 5, call % 5 == 0);
        }
        let counts = window.counts(1_000, 5);
        assert!(counts.total >= HALVE_AT / 2, "{counts:?}");
        assert!((counts.bad_share() - 0.2).abs() < 0.001, "{counts:?}");
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let window = Window::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope
                    .spawn(|| (0..20_000u64).for_each(|at| window.call(100, at / 40, at % 2 == 0)));
            }
        });
        let counts = window.counts(100, 499);
        assert_eq!((counts.total, counts.bad), (80_000, 40_000));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        /// Against a list of all calls.
        #[test]
        fn is_the_sum_of_the_last_ten_slots(
            slot in 1u64..2_000,
            steps in prop::collection::vec((0u64..3_000, any::<bool>()), 1..60),
            start in any::<u32>(),
        ) {
            let window = Window::default();
            let mut calls = VecDeque::new();
            let mut now = u64::from(start);
            for (step, bad) in steps {
                now += step;
                window.call(slot, now, bad);
                calls.push_back((now / slot, bad));
                while calls.front().is_some_and(|call| call.0 + SLOTS <= now / slot) {
                    calls.pop_front();
                }
                let expected = Counts {
                    total: calls.len() as u64,
                    bad: calls.iter().filter(|call| call.1).count() as u64,
                };
                prop_assert_eq!(window.counts(slot, now), expected);
            }
        }
    }
}
