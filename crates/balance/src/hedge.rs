//! Hedged requests: when to send a request to a second server because the first is slow.
//!
//! A histogram of response times with steps of an eighth of a power of two (a time is known to
//! 12 %), which forgets: all counts are halved every few seconds. The delay is a percentile of it,
//! computed a few times a second by whichever worker comes first and kept in one word. Recording a
//! time is one addition and one load; asking for the delay is one load.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Steps per power of two.
const STEPS: u32 = 8;
/// Times are cut off at this many microseconds (more than an hour).
const TIME_US_MAX: u64 = u32::MAX as u64;
const BUCKETS: usize = bucket(TIME_US_MAX) + 1;

/// How often the percentile is computed anew.
const REFRESH_MS: u64 = 100;

/// When requests are hedged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgeSettings {
    /// Requests slower than this share of all are hedged, 0 to 1. Default 0.95.
    pub percentile: f64,
    /// Least delay, in milliseconds. Default 5 ms.
    pub delay_min_ms: u64,
    /// Longest delay, in milliseconds. Default 5 s.
    pub delay_max_ms: u64,
    /// Most extra requests for one. Default 1.
    pub extra_max: u32,
    /// Response times that must be known before anything is hedged; with 0 the least delay stands in
    /// until one is. Default 100.
    pub samples_min: u64,
    /// Time in which old response times lose half their weight, in milliseconds. Default 10 s.
    pub half_life_ms: u64,
}

impl Default for HedgeSettings {
    fn default() -> Self {
        HedgeSettings {
            percentile: 0.95,
            delay_min_ms: 5,
            delay_max_ms: 5_000,
            extra_max: 1,
            samples_min: 100,
            half_life_ms: 10_000,
        }
    }
}

impl HedgeSettings {
    fn least_us(&self) -> u64 {
        self.delay_min_ms.saturating_mul(1_000).max(1)
    }
}

/// Decides when the requests of one pool are hedged. Shared by all workers.
#[derive(Debug)]
pub struct Hedger {
    settings: HedgeSettings,
    counts: Box<[AtomicU32]>,
    /// 0 while too few times are known.
    delay_us: AtomicU64,
    refresh_at_ms: AtomicU64,
    halve_at_ms: AtomicU64,
}

impl Hedger {
    /// A hedger that knows no times.
    pub fn new(settings: HedgeSettings) -> Self {
        let delay_us = match settings.samples_min {
            0 => settings.least_us(),
            _ => 0,
        };
        Hedger {
            settings,
            counts: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            delay_us: AtomicU64::new(delay_us),
            refresh_at_ms: AtomicU64::new(0),
            halve_at_ms: AtomicU64::new(0),
        }
    }

    /// Takes the response time of an answered request in, hedged or not: of the first attempt,
    /// from its start, or the tail that hedging cuts off would be forgotten.
    #[inline]
    pub fn record(&self, response_us: u64, now_ms: u64) {
        if let Some(count) = self.counts.get(bucket(response_us)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if now_ms >= self.refresh_at_ms.load(Ordering::Relaxed) {
            self.refresh(now_ms);
        }
    }

    /// When the next extra request is due, in microseconds from the start of the first, when
    /// `extra` were sent; `None` when there will be none. Each waits one delay more.
    #[inline]
    pub fn due_us(&self, extra: u32) -> Option<u64> {
        let delay_us = self.delay_us.load(Ordering::Relaxed);
        let more = extra < self.settings.extra_max && delay_us != 0;
        more.then(|| delay_us.saturating_mul(u64::from(extra) + 1))
    }

    /// Least time within which this share (0 to 1) of the known requests was answered, in
    /// microseconds, rounded up to the end of its step; `None` without any.
    pub fn percentile_us(&self, share: f64) -> Option<u64> {
        let total = self.samples();
        let wanted = ((share.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += u64::from(count.load(Ordering::Relaxed));
            if seen >= wanted {
                return Some(bucket_end(at));
            }
        }
        None
    }

    /// Number of response times known, old ones with the weight that they have left.
    pub fn samples(&self) -> u64 {
        let counts = self.counts.iter();
        counts
            .map(|count| u64::from(count.load(Ordering::Relaxed)))
            .sum()
    }

    /// The settings in use.
    pub fn settings(&self) -> &HedgeSettings {
        &self.settings
    }

    #[cold]
    fn refresh(&self, now_ms: u64) {
        if claim(&self.refresh_at_ms, now_ms, REFRESH_MS).is_none() {
            return;
        }
        let half_life_ms = self.settings.half_life_ms.max(1);
        if let Some(late_ms) = claim(&self.halve_at_ms, now_ms, half_life_ms) {
            let half_lives = (1 + late_ms / half_life_ms).min(u64::from(u32::BITS) - 1);
            for count in &self.counts {
                let before = count.load(Ordering::Relaxed);
                // What is left is rounded down: one slow answer must not count for ever.
                count.fetch_sub(before - (before >> half_lives), Ordering::Relaxed);
            }
        }
        let settings = &self.settings;
        let delay_us = if self.samples() < settings.samples_min {
            0
        } else {
            let least = settings.least_us();
            let most = settings.delay_max_ms.saturating_mul(1_000).max(least);
            let percentile = self.percentile_us(settings.percentile);
            percentile.map_or(least, |us| us.clamp(least, most))
        };
        self.delay_us.store(delay_us, Ordering::Relaxed);
    }
}

/// For one caller when the time has come: how late it is. The time moves on by `every_ms`. The first
/// caller of all only sets it.
fn claim(at_ms: &AtomicU64, now_ms: u64, every_ms: u64) -> Option<u64> {
    let due = at_ms.load(Ordering::Relaxed);
    let late_ms = now_ms.checked_sub(due)?;
    let next = now_ms.saturating_add(every_ms).max(1);
    at_ms
        .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
        .ok()?;
    (due != 0).then_some(late_ms)
}

/// The step that a time belongs to.
const fn bucket(time_us: u64) -> usize {
    let time = if time_us > TIME_US_MAX {
        TIME_US_MAX
    } else {
        time_us
    };
    if time < STEPS as u64 {
        return time as usize;
    }
    let shift = time.ilog2() - STEPS.ilog2();
    (shift * STEPS) as usize + (time >> shift) as usize
}

/// The longest time of a step.
const fn bucket_end(at: usize) -> u64 {
    let at = at as u64;
    let steps = STEPS as u64;
    if at < 2 * steps {
        return at;
    }
    let shift = at / steps - 1;
    let start = (at - shift * steps) << shift;
    start + (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_delay_needs_no_times() {
        let hedger = Hedger::new(HedgeSettings {
            delay_min_ms: 200,
            delay_max_ms: 200,
            samples_min: 0,
            ..HedgeSettings::default()
        });
        assert_eq!(hedger.due_us(0), Some(200_000));
        for now_ms in [0, 200, 60_000] {
            hedger.record(3_000_000, now_ms);
            assert_eq!(hedger.due_us(0), Some(200_000));
        }
    }

    #[test]
    fn steps_follow_each_other_and_are_an_eighth_wide() {
        let mut start = 0;
        for at in 0..BUCKETS {
            let end = bucket_end(at);
            assert_eq!((bucket(start), bucket(end)), (at, at));
            assert!(end - start <= start / 8, "{start} to {end}");
            start = end + 1;
        }
        assert_eq!(start - 1, TIME_US_MAX);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_delay_is_the_percentile_within_bounds() {
        let hedger = Hedger::new(HedgeSettings::default());
        for at in 0..99 {
            hedger.record(20_000, at);
        }
        assert_eq!(hedger.due_us(0), None, "too few are known");
        for at in 0..2_000u64 {
            hedger.record(if at % 100 < 90 { 20_000 } else { 300_000 }, 100 + at / 10);
        }
        let due = hedger.due_us(0).unwrap();
        assert!((300_000..=337_500).contains(&due), "{due}");
        assert_eq!(hedger.due_us(1), None, "one is enough");
        for at in 0..2_000 {
            hedger.record(100, 60_000 + at);
        }
        assert_eq!(hedger.due_us(0), Some(5_000), "not below the least");
    }

    #[test]
    fn further_ones_wait_one_delay_more() {
        let settings = HedgeSettings {
            extra_max: 3,
            ..HedgeSettings::default()
        };
        let hedger = Hedger::new(settings);
        (0..500).for_each(|at| hedger.record(10_000, at));
        let dues: Vec<Option<u64>> = (0..4).map(|extra| hedger.due_us(extra)).collect();
        let one = dues[0].unwrap();
        assert_eq!(dues, [Some(one), Some(2 * one), Some(3 * one), None]);
    }
}
