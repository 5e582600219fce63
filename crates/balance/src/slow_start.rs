//! Slow start: a server that came back gets its traffic by degrees.
//!
//! Its share of what it would get goes from a minimum to all of it over a time, along a curve. The
//! balancer keeps to it under every algorithm by passing the server over for a part of the requests
//! that would be its own; a hash keeps a key at home once it is back there.

/// How a server that came back gets its traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// Time to its full share, in milliseconds; 0 is at once. Default 30 s.
    pub duration_ms: u64,
    /// Exponent of the curve: 1 is a straight line, more is slower at first, less is quicker;
    /// above 0. Default 1.
    pub exponent: f64,
    /// Share at the beginning, 0 to 1. Default 0.1.
    pub share_min: f64,
}

impl Default for SlowStart {
    fn default() -> Self {
        SlowStart {
            duration_ms: 30_000,
            exponent: 1.0,
            share_min: 0.1,
        }
    }
}

impl SlowStart {
    /// Its share of its normal traffic (or weight), 0 to 1, this long after it came back.
    pub fn share(&self, elapsed_ms: u64) -> f64 {
        if elapsed_ms >= self.duration_ms {
            return 1.0;
        }
        let passed = elapsed_ms as f64 / self.duration_ms as f64;
        let least = self.share_min.clamp(0.0, 1.0);
        let share = least + (1.0 - least) * passed.powf(self.exponent.max(f64::MIN_POSITIVE));
        share.clamp(least, 1.0)
    }

    /// Its weight this long after it came back; at least 1 of any.
    pub fn weight(&self, weight: u32, elapsed_ms: u64) -> u32 {
        let scaled = f64::from(weight) * self.share(elapsed_ms);
        (scaled.round() as u32).clamp(weight.min(1), weight)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ramp_is_the_curve() {
        let straight = SlowStart {
            share_min: 0.0,
            duration_ms: 1_000,
            exponent: 1.0,
        };
        assert_eq!(
            [0, 250, 500, 1_000].map(|at| straight.share(at)),
            [0.0, 0.25, 0.5, 1.0]
        );
        let late = SlowStart {
            exponent: 2.0,
            ..straight
        };
        assert_eq!(late.share(500), 0.25);
        let above = SlowStart {
            share_min: 0.25,
            ..straight
        };
        assert_eq!(above.share(500), 0.625);
        assert_eq!([0, 500, 2_000].map(|at| above.weight(8, at)), [2, 5, 8]);
        assert_eq!((straight.weight(3, 0), straight.weight(0, 500)), (1, 0));
        let none = SlowStart {
            duration_ms: 0,
            ..straight
        };
        assert_eq!(none.share(0), 1.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn never_falls_and_ends_at_all(
            duration_ms in 0u64..1_000_000, exponent in 0.01f64..20.0, share_min in -1.0f64..2.0,
            at in 0u64..1_000_000, more in 0u64..1_000_000, weight in 0u32..=65_535,
        ) {
            let slow = SlowStart { duration_ms, exponent, share_min };
            prop_assert!(slow.share(at) <= slow.share(at + more));
            prop_assert!(slow.share(at) >= share_min.clamp(0.0, 1.0));
            prop_assert_eq!(slow.share(duration_ms), 1.0);
            prop_assert!(slow.weight(weight, at) <= slow.weight(weight, at + more));
            prop_assert_eq!(slow.weight(weight, duration_ms), weight);
        }
    }
}
