//! A circuit breaker: stops calls to what fails or crawls, and tries it again with a few.
//!
//! *Closed*: calls pass and are counted over a sliding window. When enough of them fail, or enough
//! are slow, it *opens*: calls are refused for a while, longer each time. Then it is *half-open*: a
//! few calls pass as probes; when all of them go well it closes, when one does not it opens again.
//! The growth of the open time is forgotten once it stayed closed as long as it was open last.
//!
//! Usable for a pool or for one server, and shared by all workers. While closed, a call costs one
//! relaxed load before and a load and an addition after (one more of these when it was slow). A lock
//! is taken only to change the state and by probes.
//!
//! A bad call that began before a change does not count after it. A probe that nobody told about (the
//! client left) is given out again after the open time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::window::{Counts, Window, slot_ms};

/// When a breaker opens, and how it closes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Length of the window in milliseconds. Default 10 s.
    pub window_ms: u64,
    /// Fewest calls in the window for a verdict; 0 counts as 1. Default 20.
    pub volume_min: u64,
    /// Share of failed calls, above 0 to 1, at which it opens; `None` is never. Default 0.5.
    pub error_share: Option<f64>,
    /// What is slow, and how much of it opens it; `None` (the default) is never.
    pub slow: Option<SlowCalls>,
    /// How long it is open the first time, in milliseconds. Default 5 s.
    pub open_ms: u64,
    /// Factor for each further time; below 1 counts as 1. Default 2.
    pub open_growth: f64,
    /// Longest time it is open, in milliseconds. Default 60 s.
    pub open_max_ms: u64,
    /// Probes while half-open, all of which must go well; 0 counts as 1. Default 3.
    pub probes: u32,
}

/// Slow calls as a reason to open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowCalls {
    /// A call that takes longer is slow, in milliseconds.
    pub over_ms: u64,
    /// Share of slow calls, above 0 to 1, at which the breaker opens.
    pub share: f64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        BreakerSettings {
            window_ms: 10_000,
            volume_min: 20,
            error_share: Some(0.5),
            slow: None,
            open_ms: 5_000,
            open_growth: 2.0,
            open_max_ms: 60_000,
            probes: 3,
        }
    }
}

impl BreakerSettings {
    /// How long it is open when it was opened `times` times before without a good stretch.
    pub fn open_for_ms(&self, times: u32) -> u64 {
        let exponent = i32::try_from(times).unwrap_or(i32::MAX);
        let open = self.open_ms as f64 * self.open_growth.max(1.0).powi(exponent);
        (open as u64).min(self.open_max_ms).max(1)
    }

    /// True when a call of this length is slow.
    pub fn is_slow(&self, took_ms: u64) -> bool {
        self.slow.is_some_and(|slow| took_ms > slow.over_ms)
    }

    fn verdict(&self, calls: Counts, slow: Counts) -> Option<Tripped> {
        if calls.total < self.volume_min.max(1) {
            return None;
        }
        if self
            .error_share
            .is_some_and(|share| calls.bad_share() >= share)
            && calls.bad > 0
        {
            return Some(Tripped::Errors(calls));
        }
        let slow = Counts {
            bad: slow.bad,
            ..calls
        };
        let too_slow = self.slow.is_some_and(|it| slow.bad_share() >= it.share);
        (too_slow && slow.bad > 0).then_some(Tripped::Slow(slow))
    }
}

/// Why it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tripped {
    /// Too many of these calls failed.
    Errors(Counts),
    /// Too many of these calls were slow (the bad ones).
    Slow(Counts),
    /// A probe failed or was slow.
    Probe,
}

/// A change of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    /// Calls are refused until then.
    Opened {
        /// Why.
        why: Tripped,
        /// When probes may pass.
        until_ms: u64,
    },
    /// The first probe passes.
    HalfOpened,
    /// Calls pass again.
    Closed,
}

/// Leave to make one call; give it back with [`Breaker::record`] or [`Breaker::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a probe that is not recorded keeps its place for the open time"]
pub struct Pass {
    /// The state it was given in.
    word: u64,
}

impl Pass {
    /// True when the call is a probe of a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.word & STATE == HALF_OPEN
    }
}

/// A call is refused: the breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open; probes pass in {retry_after_ms} ms")]
pub struct Refused {
    /// Time until probes may pass, 0 when probes are under way.
    pub retry_after_ms: u64,
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// A few calls pass.
    HalfOpen,
    /// No call passes until then.
    Open {
        /// When probes may pass.
        until_ms: u64,
    },
}

const STATE: u64 = 3;
const CLOSED: u64 = 0;
const HALF_OPEN: u64 = 1;
const OPEN: u64 = 2;
/// What one change adds to the word, above the state.
const CHANGE: u64 = 4;

/// See the head of this file.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    slot_ms: u64,
    /// State in the two lowest bits, number of changes above.
    word: AtomicU64,
    /// End of the open time, and of the leases of probes.
    until_ms: AtomicU64,
    calls: Window,
    slow: Window,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Times it opened without a good stretch in between.
    times: u32,
    /// Length of the last open time.
    open_for_ms: u64,
    closed_at_ms: u64,
    probes_out: u32,
    probes_well: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Breaker {
            slot_ms: slot_ms(settings.window_ms),
            settings,
            word: AtomicU64::new(CLOSED),
            until_ms: AtomicU64::new(0),
            calls: Window::default(),
            slow: Window::default(),
            inner: Mutex::default(),
        }
    }

    /// Asks for leave to make a call. The change is that to half-open, by the first probe.
    #[inline]
    pub fn admit(&self, now_ms: u64) -> Result<(Pass, Option<BreakerChange>), Refused> {
        let word = self.word.load(Ordering::Relaxed);
        if word & STATE == CLOSED {
            return Ok((Pass { word }, None));
        }
        self.admit_probe(now_ms)
    }

    /// Whether a call would pass now. Gives nothing out.
    pub fn would_admit(&self, now_ms: u64) -> bool {
        match self.word.load(Ordering::Relaxed) & STATE {
            CLOSED => true,
            OPEN => self.until_ms.load(Ordering::Acquire) <= now_ms,
            _ => {
                self.lock().probes_out < self.settings.probes.max(1)
                    || self.until_ms.load(Ordering::Acquire) <= now_ms
            }
        }
    }

    /// Tells how a call went: whether it failed, and how long it took.
    #[inline]
    pub fn record(
        &self,
        pass: Pass,
        failed: bool,
        took_ms: u64,
        now_ms: u64,
    ) -> Option<BreakerChange> {
        let slow = self.settings.is_slow(took_ms);
        if pass.is_probe() {
            return self.record_probe(pass, failed || slow, now_ms);
        }
        if !failed && !slow {
            self.calls.call(self.slot_ms, now_ms, false);
            return None;
        }
        if self.word.load(Ordering::Relaxed) != pass.word {
            return None;
        }
        self.calls.call(self.slot_ms, now_ms, failed);
        if slow {
            self.slow.bad(self.slot_ms, now_ms);
        }
        self.judge(pass, now_ms)
    }

    /// Gives leave back unused: the call was not made, or its end tells nothing.
    pub fn cancel(&self, pass: Pass) {
        if pass.is_probe() {
            let mut inner = self.lock();
            if self.word.load(Ordering::Relaxed) == pass.word {
                inner.probes_out = inner.probes_out.saturating_sub(1);
            }
        }
    }

    /// What it does at this time. Open past its time is still open: a call makes it half-open.
    pub fn state(&self) -> BreakerState {
        match self.word.load(Ordering::Relaxed) & STATE {
            CLOSED => BreakerState::Closed,
            HALF_OPEN => BreakerState::HalfOpen,
            _ => BreakerState::Open {
                until_ms: self.until_ms.load(Ordering::Acquire),
            },
        }
    }

    /// Calls in the window (bad are those that failed), and the number of slow ones.
    pub fn counts(&self, now_ms: u64) -> (Counts, u64) {
        let slow = self.slow.counts(self.slot_ms, now_ms).bad;
        (self.calls.counts(self.slot_ms, now_ms), slow)
    }

    /// The settings in use.
    pub fn settings(&self) -> &BreakerSettings {
        &self.settings
    }

    #[cold]
    fn admit_probe(&self, now_ms: u64) -> Result<(Pass, Option<BreakerChange>), Refused> {
        let mut inner = self.lock();
        let word = self.word.load(Ordering::Relaxed);
        let until_ms = self.until_ms.load(Ordering::Acquire);
        match word & STATE {
            // Closed meanwhile.
            CLOSED => Ok((Pass { word }, None)),
            OPEN if until_ms > now_ms => Err(Refused {
                retry_after_ms: until_ms - now_ms,
            }),
            OPEN => {
                inner.probes_out = 1;
                inner.probes_well = 0;
                let lease = now_ms.saturating_add(inner.open_for_ms);
                self.until_ms.store(lease, Ordering::Release);
                let word = self.change(HALF_OPEN);
                Ok((Pass { word }, Some(BreakerChange::HalfOpened)))
            }
            _ => {
                if until_ms <= now_ms {
                    // Probes that nobody told about.
                    inner.probes_out = inner.probes_well;
                    let lease = now_ms.saturating_add(inner.open_for_ms);
                    self.until_ms.store(lease, Ordering::Release);
                }
                if inner.probes_out >= self.settings.probes.max(1) {
                    return Err(Refused { retry_after_ms: 0 });
                }
                inner.probes_out += 1;
                Ok((Pass { word }, None))
            }
        }
    }

    #[cold]
    fn record_probe(&self, pass: Pass, bad: bool, now_ms: u64) -> Option<BreakerChange> {
        let mut inner = self.lock();
        if self.word.load(Ordering::Relaxed) != pass.word {
            return None;
        }
        if bad {
            return Some(self.open(&mut inner, Tripped::Probe, now_ms));
        }
        inner.probes_well += 1;
        if inner.probes_well < self.settings.probes.max(1) {
            return None;
        }
        self.calls.clear();
        self.slow.clear();
        inner.closed_at_ms = now_ms;
        self.change(CLOSED);
        Some(BreakerChange::Closed)
    }

    /// Opens it when the window is bad enough.
    fn judge(&self, pass: Pass, now_ms: u64) -> Option<BreakerChange> {
        let calls = self.calls.counts(self.slot_ms, now_ms);
        let slow = self.slow.counts(self.slot_ms, now_ms);
        let why = self.settings.verdict(calls, slow)?;
        let mut inner = self.lock();
        if self.word.load(Ordering::Relaxed) != pass.word {
            return None;
        }
        let closed_for = now_ms.saturating_sub(inner.closed_at_ms);
        if closed_for >= inner.open_for_ms {
            inner.times = 0;
        }
        Some(self.open(&mut inner, why, now_ms))
    }

    fn open(&self, inner: &mut Inner, why: Tripped, now_ms: u64) -> BreakerChange {
        inner.open_for_ms = self.settings.open_for_ms(inner.times);
        inner.times = inner.times.saturating_add(1);
        let until_ms = now_ms.saturating_add(inner.open_for_ms);
        self.until_ms.store(until_ms, Ordering::Release);
        self.change(OPEN);
        BreakerChange::Opened { why, until_ms }
    }

    /// Under the lock only; the new word.
    fn change(&self, state: u64) -> u64 {
        let before = self.word.load(Ordering::Relaxed);
        let word = (before & !STATE).wrapping_add(CHANGE) | state;
        self.word.store(word, Ordering::Release);
        word
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under the lock, and the counts stay usable if it did.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(breaker: &Breaker, failed: bool, took_ms: u64, now: u64) -> Option<BreakerChange> {
        let (pass, _) = breaker.admit(now).unwrap();
        breaker.record(pass, failed, took_ms, now)
    }

    fn trip(breaker: &Breaker) {
        let opened = (0..20).filter_map(|at| call(breaker, true, 1, at));
        assert_eq!(opened.count(), 1);
    }

    #[test]
    fn opens_by_errors_and_closes_by_probes() {
        let breaker = Breaker::new(BreakerSettings::default());
        for at in 0..19 {
            assert_eq!(call(&breaker, at < 9, 1, at), None);
        }
        let opened = call(&breaker, true, 1, 20);
        let calls = Counts { total: 20, bad: 10 };
        let why = Tripped::Errors(calls);
        let until_ms = 5_020;
        assert_eq!(opened, Some(BreakerChange::Opened { why, until_ms }));
        assert_eq!(
            breaker.admit(20).unwrap_err(),
            Refused {
                retry_after_ms: 5_000
            }
        );
        let (first, change) = breaker.admit(5_020).unwrap();
        assert_eq!(change, Some(BreakerChange::HalfOpened));
        let others = [5_021, 5_022].map(|now| breaker.admit(now).unwrap().0);
        assert!(breaker.admit(5_023).is_err() && !breaker.would_admit(5_023));
        breaker.cancel(others[0]);
        let again = breaker.admit(5_024).unwrap().0;
        assert_eq!(breaker.record(first, false, 1, 5_030), None);
        assert_eq!(breaker.record(others[1], false, 1, 5_031), None);
        assert_eq!(
            breaker.record(again, false, 1, 5_032),
            Some(BreakerChange::Closed)
        );
        assert_eq!(breaker.counts(5_032).0, Counts::default());
    }

    #[test]
    fn opens_by_slow_calls() {
        let settings = BreakerSettings {
            slow: Some(SlowCalls {
                over_ms: 1_000,
                share: 0.8,
            }),
            ..BreakerSettings::default()
        };
        let breaker = Breaker::new(settings);
        for at in 0..23 {
            assert_eq!(
                call(&breaker, false, if at < 5 { 1_000 } else { 1_001 }, at),
                None
            );
        }
        (23..24).for_each(|at| assert_eq!(call(&breaker, false, 5_000, at), None));
        let calls = Counts { total: 25, bad: 20 };
        let why = Tripped::Slow(calls);
        let until_ms = 5_030;
        assert_eq!(
            call(&breaker, false, 2_000, 30),
            Some(BreakerChange::Opened { why, until_ms })
        );
    }

    #[test]
    fn probes_that_nobody_told_about_are_given_again() {
        let breaker = Breaker::new(BreakerSettings::default());
        trip(&breaker);
        let opened = BreakerState::Open { until_ms: 5_019 };
        assert_eq!(breaker.state(), opened);
        let out = (0..3).filter(|_| breaker.admit(6_000).is_ok()).count();
        assert_eq!(out, 3);
        assert!(breaker.admit(10_999).is_err());
        assert!(breaker.admit(11_000).is_ok_and(|(pass, _)| pass.is_probe()));
    }

    #[test]
    fn what_began_before_a_change_does_not_count_after() {
        let breaker = Breaker::new(BreakerSettings::default());
        let late: Vec<Pass> = (0..40).map(|_| breaker.admit(0).unwrap().0).collect();
        trip(&breaker);
        for pass in &late[..20] {
            assert_eq!(
                breaker.record(*pass, true, 1, 30),
                None,
                "it is open already"
            );
        }
        for now in [6_000, 6_001, 6_002] {
            let _ = call(&breaker, false, 1, now);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        for pass in &late[20..] {
            assert_eq!(breaker.record(*pass, true, 1, 6_003), None);
        }
        assert_eq!(breaker.counts(6_003).0, Counts::default());
    }
}
