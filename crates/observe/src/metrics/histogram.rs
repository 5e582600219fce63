//! Histograms of durations: fixed bounds, recorded in microseconds, exported in seconds.
//!
//! Invariant: the count of a histogram is the sum of its buckets, never a cell of its own, so the
//! exported `+Inf` bucket and `_count` agree even when a scrape runs beside a writer.

use super::cell::Cell;

/// Buckets of a histogram, the last one without an upper bound.
pub const BUCKET_COUNT: usize = 16;

/// Upper bounds (inclusive) in microseconds: 0.5 ms to 30 s.
const BOUNDS_US: [u64; BUCKET_COUNT - 1] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// The upper bounds of all buckets but the last, in microseconds, ascending; each is inclusive.
pub const fn bucket_bounds_us() -> &'static [u64; BUCKET_COUNT - 1] {
    &BOUNDS_US
}

/// The bucket that a duration in microseconds falls into: four compares, no branch.
#[inline]
pub fn bucket_of_us(us: u64) -> usize {
    let mut low = 0;
    low += usize::from(us > BOUNDS_US[7]) * 8;
    low += usize::from(us > BOUNDS_US[(low + 3) & 15]) * 4;
    low += usize::from(us > BOUNDS_US[(low + 1).min(14)]) * 2;
    low += usize::from(us > BOUNDS_US[low.min(14)]);
    low
}

/// The cells of one worker's histogram.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Cell; BUCKET_COUNT],
    sum_us: Cell,
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub(crate) fn record_us(&self, us: u64) {
        self.buckets[bucket_of_us(us) & (BUCKET_COUNT - 1)].add(1);
        self.sum_us.add(us);
    }

    /// Adds this worker's cells to a sum over workers.
    pub(crate) fn add_to(&self, sum: &mut Buckets) {
        for (total, cell) in sum.counts.iter_mut().zip(&self.buckets) {
            *total += cell.read();
        }
        sum.sum_us += self.sum_us.read();
    }
}

/// A histogram summed over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buckets {
    /// How many durations fell into each bucket (not cumulative); bounds in [`bucket_bounds_us`].
    pub counts: [u64; BUCKET_COUNT],
    /// Sum of all durations in microseconds.
    pub sum_us: u64,
}

impl Buckets {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean in microseconds, 0 when nothing was counted.
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count()).unwrap_or(0)
    }
}
