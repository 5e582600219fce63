//! A decaying average of response times in one atomic word.
//!
//! The weight of a sample is `age / (age + DECAY_MS)`, where `age` is the time since the sample
//! before, but at least one part in [`SHARE_MIN`]: a busy server's average follows its last few
//! dozen answers, and the first answer after a long silence counts almost alone. Whole numbers
//! only.

use std::sync::atomic::{AtomicU64, Ordering};

/// The silence after which a sample and the past count the same.
const DECAY_MS: u64 = 10_000;

/// A sample counts for at least one part in so many.
const SHARE_MIN: i64 = 16;

/// Low half: microseconds, 0 is "no sample yet". High half: time of the last sample in
/// milliseconds, wrapping after 49 days (which makes one sample count less than it might).
#[derive(Debug, Default)]
pub(crate) struct Average(AtomicU64);

impl Average {
    /// The average in microseconds; 0 before the first sample.
    pub(crate) fn value_us(&self) -> u32 {
        low_half(self.0.load(Ordering::SeqCst))
    }

    /// Takes a failure in: as slow an answer as twice the average, and at least `least_us`.
    pub(crate) fn penalise(&self, least_us: u32, now_ms: u64) {
        self.record(self.value_us().saturating_mul(2).max(least_us), now_ms);
    }

    /// Takes a sample in.
    pub(crate) fn record(&self, sample_us: u32, now_ms: u64) {
        let sample_us = sample_us.max(1);
        let stamp = low_half(now_ms);
        let next = |word: u64| {
            let age_ms = stamp.wrapping_sub(high_half(word));
            let value = blend(low_half(word), sample_us, age_ms);
            Some(u64::from(stamp) << 32 | u64::from(value))
        };
        // The closure always answers, so this cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }
}

/// The average after one more sample.
fn blend(average_us: u32, sample_us: u32, age_ms: u32) -> u32 {
    if average_us == 0 {
        return sample_us;
    }
    // Samples of several workers may come with clocks a little apart: a time from before the last
    // sample looks like an age of weeks, and is taken for none.
    let age_ms = if age_ms > u32::MAX / 2 {
        0
    } else {
        u64::from(age_ms)
    };
    let gap = i64::from(sample_us) - i64::from(average_us);
    let by_age = i128::from(gap) * i128::from(age_ms) / i128::from(age_ms + DECAY_MS);
    let by_age = i64::try_from(by_age).expect("not further than the gap, which is an i64");
    let mut step = if by_age.abs() > (gap / SHARE_MIN).abs() {
        by_age
    } else {
        gap / SHARE_MIN
    };
    if step == 0 {
        step = gap.signum();
    }
    u32::try_from(i64::from(average_us) + step)
        .unwrap_or(u32::MAX)
        .max(1)
}

const fn low_half(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

const fn high_half(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_is_the_average_and_a_steady_stream_converges() {
        let average = Average::default();
        average.record(50_000, 0);
        assert_eq!(average.value_us(), 50_000);
        for i in 0..200 {
            average.record(1_000, i / 4);
        }
        assert_eq!(
            average.value_us(),
            1_000,
            "whole numbers must not stop short of the value"
        );
    }

    #[test]
    fn a_sample_after_a_long_silence_counts_almost_alone() {
        let average = Average::default();
        average.record(2_000_000, 0);
        average.record(1_000, 600_000);
        assert!(average.value_us() < 40_000, "{}", average.value_us());
    }

    #[test]
    fn a_clock_that_steps_back_counts_as_no_time() {
        assert_eq!(blend(1_600, 3_200, 5u32.wrapping_sub(9)), 1_700);
    }
}
