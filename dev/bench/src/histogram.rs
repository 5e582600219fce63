//! A histogram of latencies with a fixed memory and a relative error below 1 %.
//!
//! Values (nanoseconds) below 128 have a bucket each; above, every power of two is split into 64 equal buckets, so that
//! a bucket is at most 1/64 of its value wide, and its middle is off by at most half of that.

/// log2 of the number of buckets per power of two.
const SPLIT_BITS: u32 = 6;
/// Values below this have a bucket of their own.
const LINEAR_MAX: u64 = 1 << (SPLIT_BITS + 1);
/// Buckets needed for every `u64`.
const BUCKETS: usize = bucket_of(u64::MAX) + 1;

/// Counts of values by bucket, and the exact extremes.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

const fn bucket_of(value: u64) -> usize {
    if value < LINEAR_MAX {
        return value as usize;
    }
    let exponent = value.ilog2() - SPLIT_BITS;
    // The top SPLIT_BITS + 1 bits; the highest of them is always set.
    let mantissa = value >> exponent;
    (exponent as usize) * (1 << SPLIT_BITS) + mantissa as usize
}

/// Middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    if (bucket as u64) < LINEAR_MAX {
        return bucket as u64;
    }
    let split = 1usize << SPLIT_BITS;
    let exponent = (bucket / split) - 1;
    let mantissa = (bucket - exponent * split) as u64;
    (mantissa << exponent) + ((1u64 << exponent) >> 1)
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: vec![0; BUCKETS],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Adds one value.
    pub fn record(&mut self, value: u64) {
        self.counts[bucket_of(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Largest value, exact. 0 when empty.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that a share `q` (0 to 1) of all values does not exceed, within 1 %. 0 when empty.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = ((q.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle_of(bucket).min(self.max);
            }
        }
        self.max
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.max = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_never_go_back_and_their_middle_is_near() {
        let mut last = 0;
        let mut value = 0u64;
        while value < u64::MAX / 2 {
            let bucket = bucket_of(value);
            assert!(bucket >= last && bucket < BUCKETS, "{value}");
            last = bucket;
            let error = middle_of(bucket).abs_diff(value) as f64 / value.max(1) as f64;
            assert!(error <= 1.0 / 128.0 + 1e-9, "{value}: {error}");
            value += value / 97 + 1;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_meet_without_gap_at_powers_of_two() {
        for shift in 7..63 {
            let power = 1u64 << shift;
            assert_eq!(bucket_of(power), bucket_of(power - 1) + 1, "2^{shift}");
        }
    }

    #[test]
    fn quantiles_of_a_known_series() {
        let mut h = Histogram::default();
        for value in 1..=10_000u64 {
            h.record(value * 1000);
        }
        for (q, want) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (1.0, 10_000_000.0)] {
            let got = h.quantile(q) as f64;
            assert!((got / want - 1.0).abs() < 0.01, "{q}: {got}");
        }
        assert_eq!((h.total(), h.max()), (10_000, 10_000_000));
    }

    #[test]
    fn empty_and_single() {
        let mut h = Histogram::default();
        assert_eq!((h.quantile(0.5), h.max()), (0, 0));
        h.record(77);
        assert_eq!(
            (h.quantile(0.0), h.quantile(0.5), h.quantile(1.0)),
            (77, 77, 77)
        );
        h.clear();
        assert_eq!((h.total(), h.quantile(0.99)), (0, 0));
    }
}
