//! Outlier ejection: taking out a server whose real traffic fails, by what its neighbours do.
//!
//! Three reasons, any of which may be off: so many failures in a row; a share of failures over a
//! sliding window; a success rate that lies far below those of the pool's other servers, which
//! finds the one bad server when all have some failures, and spares all when all are alike.
//!
//! An ejection lasts longer each time (its number times the base), and a good stretch as long as
//! the base takes one back. Never more than a set share of the pool is out: when everything
//! fails, the servers are not the cause, and the rest would drown.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::window::{Counts, Window, slot_ms};

/// Standard errors that a success rate must lie off the mean: with 100 requests and half of them
/// failing anywhere, ten more or less are chance, and a pool is looked at every second.
const CHANCE_ERRORS: f64 = 5.0;

/// When a server is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierSettings {
    /// Failures in a row; 0 is never. Default 5.
    pub consecutive: u32,
    /// Too large a share of failures; `None` is never.
    pub error_rate: Option<ErrorRate>,
    /// Too far below the others; `None` is never.
    pub success_rate: Option<SuccessRate>,
    /// Length of the window of both rates, in milliseconds. Default 10 s.
    pub window_ms: u64,
    /// The first ejection, in milliseconds; the n-th lasts n times as long. Default 30 s.
    pub ejection_ms: u64,
    /// The longest ejection, in milliseconds. Default 5 min.
    pub ejection_max_ms: u64,
    /// Most servers that may be out at a time, as a share of the pool from 0 to 1, rounded down.
    /// Servers that are out for another reason count too. Default 0.5.
    pub ejected_share_max: f64,
}

/// A share of failures as a reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorRate {
    /// Share of failed requests, above 0 to 1. Default 0.5.
    pub share: f64,
    /// Fewest requests in the window for a verdict. Default 20.
    pub volume_min: u64,
}

/// Distance to the pool's other servers as a reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuccessRate {
    /// Standard deviations below the mean of the pool. Default 1.9. (One bad server of n lies at
    /// most `sqrt(n - 1)` of them below: 5 servers are needed for 1.9.)
    pub deviations: f64,
    /// Least distance to the mean, 0 to 1, so that 99.8 % is no outlier among 99.9 %. Default 0.05.
    pub gap_min: f64,
    /// Fewest servers to compare, each with `volume_min`. Default 5.
    pub servers_min: usize,
    /// Fewest requests of a server in the window for taking part. Default 100.
    pub volume_min: u64,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        OutlierSettings {
            consecutive: 5,
            error_rate: Some(ErrorRate::default()),
            success_rate: Some(SuccessRate::default()),
            window_ms: 10_000,
            ejection_ms: 30_000,
            ejection_max_ms: 300_000,
            ejected_share_max: 0.5,
        }
    }
}

impl Default for ErrorRate {
    fn default() -> Self {
        ErrorRate {
            share: 0.5,
            volume_min: 20,
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        SuccessRate {
            deviations: 1.9,
            gap_min: 0.05,
            servers_min: 5,
            volume_min: 100,
        }
    }
}

/// Why a server was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// So many failures in a row.
    Consecutive(u32),
    /// This share of failures.
    ErrorRate(Counts),
    /// This share of failures, far more than the others of the pool.
    SuccessRate(Counts),
    /// The request that tried it after an ejection failed.
    Trial,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Suspicion::Consecutive(count) => write!(f, "{count} failures in a row"),
            Suspicion::ErrorRate(Counts { bad, total }) => {
                write!(f, "{bad} of {total} requests failed")
            }
            Suspicion::SuccessRate(Counts { bad, total }) => {
                write!(
                    f,
                    "{bad} of {total} requests failed, far more than at the others"
                )
            }
            Suspicion::Trial => f.write_str("the request that tried it again failed"),
        }
    }
}

impl OutlierSettings {
    /// Length of ejection number `times`, the first being 1.
    pub fn ejected_for_ms(&self, times: u32) -> u64 {
        let length = self.ejection_ms.saturating_mul(u64::from(times.max(1)));
        length
            .min(self.ejection_max_ms.max(self.ejection_ms))
            .max(1)
    }

    /// Most servers out at a time in a pool of this size.
    pub fn ejected_max(&self, servers: usize) -> usize {
        (self.ejected_share_max.clamp(0.0, 1.0) * servers as f64) as usize
    }

    /// The positions of servers whose success rate is an outlier, worst first: further below the
    /// mean than the deviations say, than the least gap, and than chance explains.
    pub fn outliers(&self, counts: &[Counts]) -> Vec<usize> {
        let Some(settings) = self.success_rate else {
            return Vec::new();
        };
        let enough = |counts: &Counts| counts.total >= settings.volume_min.max(1);
        let compared: Vec<f64> = counts
            .iter()
            .filter(|counts| enough(counts))
            .map(Counts::bad_share)
            .collect();
        if compared.len() < settings.servers_min.max(2) {
            return Vec::new();
        }
        let many = compared.len() as f64;
        let mean = compared.iter().sum::<f64>() / many;
        let variance = compared
            .iter()
            .map(|share| (share - mean).powi(2))
            .sum::<f64>()
            / many;
        let distance = (settings.deviations.max(0.0) * variance.sqrt()).max(settings.gap_min);
        let off = |counts: &Counts| {
            let error = (mean * (1.0 - mean) / counts.total as f64).sqrt();
            enough(counts) && counts.bad_share() > mean + distance.max(CHANCE_ERRORS * error)
        };
        let mut found: Vec<usize> = (0..counts.len()).filter(|at| off(&counts[*at])).collect();
        found.sort_by(|a, b| counts[*b].bad_share().total_cmp(&counts[*a].bad_share()));
        found
    }

    fn keeps_window(&self) -> bool {
        self.error_rate.is_some() || self.success_rate.is_some()
    }
}

/// What is known of one server's traffic. Shared by all workers.
#[derive(Debug, Default)]
pub struct Tally {
    consecutive: AtomicU32,
    window: Window,
    /// Ejections that still count.
    times: AtomicU32,
    ejected_until_ms: AtomicU64,
    returned_at_ms: AtomicU64,
}

impl Tally {
    /// Counts a request that went well.
    #[inline]
    pub fn success(&self, settings: &OutlierSettings, now_ms: u64) {
        // Most servers have no failures, and a load is cheaper than a store.
        if self.consecutive.load(Ordering::Relaxed) != 0 {
            self.consecutive.store(0, Ordering::Relaxed);
        }
        if settings.keeps_window() {
            self.window.call(slot_ms(settings.window_ms), now_ms, false);
        }
    }

    /// Counts a failure; `Some` when that is a reason to eject the server.
    pub fn failure(&self, settings: &OutlierSettings, now_ms: u64) -> Option<Suspicion> {
        let in_a_row = self
            .consecutive
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if settings.keeps_window() {
            self.window.call(slot_ms(settings.window_ms), now_ms, true);
        }
        if settings.consecutive != 0 && in_a_row >= settings.consecutive {
            return Some(Suspicion::Consecutive(in_a_row));
        }
        let rate = settings.error_rate?;
        let counts = self.counts(settings, now_ms);
        let enough = counts.total >= rate.volume_min.max(1);
        (enough && counts.bad_share() >= rate.share).then_some(Suspicion::ErrorRate(counts))
    }

    /// Requests in the window; the bad ones failed.
    pub fn counts(&self, settings: &OutlierSettings, now_ms: u64) -> Counts {
        self.window.counts(slot_ms(settings.window_ms), now_ms)
    }

    /// Failures in a row.
    pub fn consecutive(&self) -> u32 {
        self.consecutive.load(Ordering::Relaxed)
    }

    /// Ejections that still count for the length of the next.
    pub fn times(&self) -> u32 {
        self.times.load(Ordering::Relaxed)
    }

    /// When the latest ejection ends or ended; 0 before the first.
    pub fn ejected_until_ms(&self) -> u64 {
        self.ejected_until_ms.load(Ordering::Acquire)
    }

    /// Notes an ejection that begins now; when it ends. One caller at a time.
    pub fn eject(&self, settings: &OutlierSettings, now_ms: u64) -> u64 {
        let good_ms = now_ms.saturating_sub(self.returned_at_ms.load(Ordering::Relaxed));
        let forgotten = good_ms / settings.ejection_ms.max(1);
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        self.again(settings, self.times().saturating_sub(forgotten), now_ms)
    }

    /// Notes that the request which tried it after its ejection failed; when the next one ends.
    pub fn eject_again(&self, settings: &OutlierSettings, now_ms: u64) -> u64 {
        self.again(settings, self.times(), now_ms)
    }

    /// Notes that it is back: what led to the ejection is forgotten, but not how often it came to
    /// that.
    pub fn returned(&self, now_ms: u64) {
        self.consecutive.store(0, Ordering::Relaxed);
        self.window.clear();
        self.returned_at_ms.store(now_ms, Ordering::Relaxed);
    }

    fn again(&self, settings: &OutlierSettings, before: u32, now_ms: u64) -> u64 {
        let times = before.saturating_add(1);
        let until_ms = now_ms.saturating_add(settings.ejected_for_ms(times));
        self.times.store(times, Ordering::Relaxed);
        self.ejected_until_ms.store(until_ms, Ordering::Release);
        until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn counts(total: u64, bad: u64) -> Counts {
        Counts { total, bad }
    }

    #[test]
    fn failures_in_a_row_are_a_reason() {
        let (settings, tally) = (OutlierSettings::default(), Tally::default());
        for round in 0..10 {
            (0..4).for_each(|_| assert_eq!(tally.failure(&settings, round * 100_000), None));
            tally.success(&settings, round * 100_000);
        }
        (0..4).for_each(|_| assert_eq!(tally.failure(&settings, 9_000_000), None));
        let fifth = tally.failure(&settings, 9_000_000);
        assert_eq!(fifth, Some(Suspicion::Consecutive(5)));
    }

    #[test]
    fn a_share_of_failures_is_a_reason_from_the_volume_on() {
        let (settings, tally) = (OutlierSettings::default(), Tally::default());
        for now in 0..9 {
            assert_eq!(tally.failure(&settings, now), None);
            tally.success(&settings, now);
        }
        tally.success(&settings, 9);
        let reason = Some(Suspicion::ErrorRate(counts(20, 10)));
        assert_eq!(tally.failure(&settings, 9), reason);
    }

    #[test]
    fn the_one_that_differs_is_found_and_the_alike_are_spared() {
        let settings = OutlierSettings::default();
        let mut pool = vec![counts(1_000, 20); 8];
        assert_eq!(settings.outliers(&pool), []);
        pool[5] = counts(200, 40);
        assert_eq!(settings.outliers(&pool), [5]);
        pool[5] = counts(99, 99);
        assert_eq!(settings.outliers(&pool), [], "too few requests");
        pool[5] = counts(1_000, 60);
        assert_eq!(settings.outliers(&pool), [], "too small a gap");
        assert_eq!(settings.outliers(&[counts(1_000, 900); 8]), []);
        let few = [counts(1_000, 0), counts(1_000, 0), counts(1_000, 900)];
        assert_eq!(settings.outliers(&few), [], "too few servers");
    }

    #[test]
    fn ejections_grow_and_good_stretches_take_them_back() {
        let (settings, tally) = (OutlierSettings::default(), Tally::default());
        assert_eq!(tally.eject(&settings, 100_000), 130_000);
        assert_eq!(tally.eject_again(&settings, 130_000), 190_000);
        tally.returned(190_000);
        assert_eq!(tally.eject(&settings, 219_999), 309_999, "the third");
        tally.returned(310_000);
        assert_eq!(
            tally.eject(&settings, 371_000),
            431_000,
            "two are forgotten"
        );
        let last = (0..100).map(|_| tally.eject_again(&settings, 0)).last();
        assert_eq!(last, Some(300_000));
        assert_eq!(
            [1, 2, 3, 10].map(|size| settings.ejected_max(size)),
            [0, 1, 1, 5]
        );
    }
}
