//! The load that a server reports of itself, and the share of its weight that follows from it.
//!
//! A server that says it is 70 % busy gets 30 % of its weight, relative to the others: with equal
//! servers that are equally busy nothing changes. Reports are smoothed over some seconds, the share
//! never falls to nothing, and a server that falls silent climbs back to all of its weight.

use std::sync::atomic::{AtomicU64, Ordering};

/// Smallest share: a busy server must go on answering, or it could not say that it is free again.
const SHARE_MIN: f64 = 0.05;

/// The silence after which a report and the past count the same, in milliseconds.
const DECAY_MS: u64 = 2_000;

/// At most one report in so many milliseconds counts; the others cost one load.
const EVERY_MS: u64 = 100;

/// How long the last report holds without another, in milliseconds.
const HOLDS_MS: u64 = 10_000;

/// After so long without a report the share is full again, in milliseconds.
const FORGOTTEN_MS: u64 = 30_000;

/// A full share in the atomic word.
const FULL: u64 = u16::MAX as u64;

/// Share of its weight that a server gets which is so busy (0 idle, 1 at its limit).
pub fn load_share(busy: f64) -> f64 {
    if busy.is_nan() {
        return 1.0;
    }
    (1.0 - busy).clamp(SHARE_MIN, 1.0)
}

/// Reads a load report: a number from 0 to 1 (`0.73`), or with a percent sign from 0 to 100
/// (`73%`). Spaces around it are allowed. `None` when it is anything else.
pub fn parse_load(value: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let (digits, scale) = match text.strip_suffix('%') {
        Some(digits) => (digits.trim_ascii_end(), 100.0),
        None => (text, 1.0),
    };
    // `parse` would take signs, exponents and words such as `inf`.
    let plain = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(plain) {
        return None;
    }
    let busy = digits.parse::<f64>().ok()? / scale;
    (0.0..=1.0).contains(&busy).then_some(busy)
}

/// The smoothed share of one server. Low 16 bits: the share in parts of [`FULL`]; the others: when
/// the last report counted, in milliseconds. 0 is no report ever.
#[derive(Debug, Default)]
pub(crate) struct LoadShare(AtomicU64);

impl LoadShare {
    /// Takes a report in.
    pub(crate) fn report(&self, busy: f64, now_ms: u64) {
        let word = self.0.load(Ordering::Relaxed);
        let age_ms = now_ms.saturating_sub(word >> 16);
        if word != 0 && age_ms < EVERY_MS {
            return;
        }
        let before = (word & FULL) as f64 / FULL as f64;
        let wanted = load_share(busy);
        let share = match word {
            0 => wanted,
            _ => before + (wanted - before) * (age_ms as f64 / (age_ms + DECAY_MS) as f64),
        };
        // Between two workers with a report in the same moment one is lost, which is no loss.
        let next = now_ms << 16 | ((share * FULL as f64).round() as u64).clamp(1, FULL);
        let _ = self
            .0
            .compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The share now, above 0 to 1.
    pub(crate) fn at(&self, now_ms: u64) -> f64 {
        let word = self.0.load(Ordering::Relaxed);
        if word == 0 {
            return 1.0;
        }
        let share = (word & FULL) as f64 / FULL as f64;
        let age_ms = now_ms.saturating_sub(word >> 16);
        let forgotten = age_ms.saturating_sub(HOLDS_MS) as f64 / (FORGOTTEN_MS - HOLDS_MS) as f64;
        share + (1.0 - share) * forgotten.min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reports_are_read_strictly() {
        for (text, busy) in [
            ("0", 0.0),
            ("1", 1.0),
            ("0.25", 0.25),
            (" 25% ", 0.25),
            ("100 %", 1.0),
            (".5", 0.5),
        ] {
            assert_eq!(parse_load(text.as_bytes()), Some(busy), "{text}");
        }
        for text in [
            "",
            "%",
            "-0.1",
            "+0.5",
            "1.5",
            "101%",
            "1e-3",
            "inf",
            "NaN",
            "0,5",
            "0.5 0.5",
            "00000000000000000.5",
        ] {
            assert_eq!(parse_load(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_load(b"\xff"), None);
    }

    #[test]
    fn the_share_follows_holds_and_is_forgotten() {
        let load = LoadShare::default();
        assert_eq!(load.at(50), 1.0, "never reported");
        load.report(0.8, 1_000);
        assert!((load.at(1_000) - 0.2).abs() < 0.001);
        assert!((load.at(11_000) - 0.2).abs() < 0.001, "it holds");
        assert!((load.at(21_000) - 0.6).abs() < 0.001, "half forgotten");
        assert_eq!(load.at(31_000), 1.0);
        for now in (1_000..11_000).step_by(5) {
            load.report(0.0, now);
        }
        assert!(load.at(11_000) > 0.97, "followed within some seconds");
        load.report(1.0, 11_000);
        assert!(load.at(11_000) > 0.9, "one report does not turn it over");
        load.report(1.0, 200_000);
        assert!(load.at(200_000) < 0.1, "but counts almost alone in silence");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Whatever is reported when, the share lies between the least and all, and on its way
        /// from where it was to what is reported.
        #[test]
        fn never_nothing_and_never_beyond_the_report(
            reports in prop::collection::vec((0u64..100_000, -1.0f64..2.0), 1..40),
        ) {
            let load = LoadShare::default();
            let mut now = 1;
            let (mut least, mut most) = (1.0f64, 0.0f64);
            for (after, busy) in reports {
                now += after;
                load.report(busy, now);
                least = least.min(load_share(busy));
                most = most.max(load_share(busy));
                let share = load.at(now);
                prop_assert!((SHARE_MIN - 0.001..=1.0).contains(&share));
                prop_assert!(share >= least - 0.001);
                // What is held grows with silence, but a report takes it down to what was said.
                if after > EVERY_MS {
                    prop_assert!(share <= most + 0.001);
                }
            }
            prop_assert_eq!(load.at(now + FORGOTTEN_MS), 1.0);
        }

        #[test]
        fn parsing_never_panics_and_stays_in_range(value in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Some(busy) = parse_load(&value) {
                prop_assert!((0.0..=1.0).contains(&busy));
            }
        }
    }
}
