//! The wait before a retry: exponential, with full jitter.
//!
//! Full jitter (any time from 0 to the ceiling) spreads the retries of many clients best; the
//! ceiling doubles with every retry, so that a server in trouble gets room.

use crate::hash::unit;

/// How long to wait before a retry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Ceiling of the first wait, in milliseconds; 0 is no wait at all. Default 25 ms.
    pub base_ms: u64,
    /// By how much the ceiling grows with every retry; below 1 counts as 1. Default 2.
    pub factor: f64,
    /// The highest ceiling, in milliseconds. Default 250 ms.
    pub cap_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            base_ms: 25,
            factor: 2.0,
            cap_ms: 250,
        }
    }
}

impl Backoff {
    /// Longest wait before retry number `retry`, the first being 0.
    pub fn ceiling_ms(&self, retry: u32) -> u64 {
        // Beyond the exponent's range the result is infinite, and the cast ends at the largest u64.
        let exponent = i32::try_from(retry).unwrap_or(i32::MAX);
        let ceiling = self.base_ms as f64 * self.factor.max(1.0).powi(exponent);
        (ceiling as u64).min(self.cap_ms)
    }

    /// The wait before retry number `retry`, the first being 0: evenly from 0 to the ceiling.
    pub fn delay_ms(&self, retry: u32, random: u64) -> u64 {
        (unit(random) * (self.ceiling_ms(retry) as f64 + 1.0)) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::mix;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<u64> = (0..6)
            .map(|retry| Backoff::default().ceiling_ms(retry))
            .collect();
        assert_eq!(ceilings, [25, 50, 100, 200, 250, 250]);
        assert_eq!(Backoff::default().ceiling_ms(u32::MAX), 250);
        assert_eq!(
            Backoff {
                base_ms: 0,
                ..Backoff::default()
            }
            .delay_ms(9, u64::MAX),
            0
        );
    }

    #[test]
    fn waits_are_even_from_nothing_to_the_ceiling() {
        let mut counts = [0u32; 26];
        for seed in 0..26_000u64 {
            counts[Backoff::default().delay_ms(0, mix(seed)) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1_150).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn never_beyond_the_cap_and_never_shrinking(
            base_ms in 0u64..100_000, factor in 0.0f64..10.0, cap_ms in 0u64..1_000_000,
            retry in any::<u32>(), random in any::<u64>(),
        ) {
            let backoff = Backoff { base_ms, factor, cap_ms };
            prop_assert!(backoff.delay_ms(retry, random) <= backoff.ceiling_ms(retry));
            prop_assert!(backoff.ceiling_ms(retry) <= cap_ms);
            prop_assert!(backoff.ceiling_ms(retry) <= backoff.ceiling_ms(retry.saturating_add(1)));
        }
    }
}
