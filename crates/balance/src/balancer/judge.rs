//! What takes endpoints out and brings them back: reports of real traffic, checks, and the caller.

use std::sync::atomic::Ordering;

use super::Balancer;
use crate::ask::{Outcome, Transition};
use crate::least_time::FAILURE_US;
use crate::outlier::{OutlierSettings, Suspicion};
use crate::rules::Passive;
use crate::spec::Algorithm;
use crate::window::Counts;

/// How long no ejection is tried once as many endpoints are out as may be: every failure of an
/// outage would look through the pool.
const EJECTION_PAUSE_MS: u64 = 50;

impl Balancer {
    /// Counts how a request at an endpoint went; `Some` when that changed the endpoint's health.
    ///
    /// Under [`Passive::MaxFails`], `max_fails` failures within `fail_timeout_ms` rest it for
    /// `fail_timeout_ms`; successes in between do not take them back. Under [`Passive::Outlier`] it
    /// is ejected when it is suspicious and enough others are left. In both, after the rest one
    /// request may try it: its success is the recovery, its failure (or no report at all) another
    /// rest.
    pub fn report(&self, index: usize, outcome: Outcome, now_ms: u64) -> Option<Transition> {
        let spec = self.members.spec(index)?;
        let state = &self.members.member(index).state;
        if outcome == Outcome::Failure && matches!(self.algorithm, Algorithm::LeastTime { .. }) {
            state.penalise(FAILURE_US, now_ms);
        }
        if let Passive::Outlier(settings) = &self.rules.passive {
            return self.report_outlier(settings, index, outcome, now_ms);
        }
        if outcome == Outcome::Success {
            return self.seen(state.succeeded(now_ms), now_ms);
        }
        let rested_until_ms = state.rests_until_ms();
        let transition = state.failed(spec, now_ms);
        // A rest that was over for the view and starts anew is no transition, but a change.
        let rests_again = rested_until_ms != 0 && rested_until_ms <= now_ms;
        if transition.is_some() || (rests_again && state.is_resting(now_ms)) {
            self.refresh(self.lock(), now_ms);
        }
        transition
    }

    /// Takes what the active checks of an endpoint say; `Some` when that is a change. While they
    /// fail it gets nothing (unless too few others are left, or all others were tried); when they
    /// pass again it is back at once, whatever its rest.
    pub fn checked(&self, index: usize, passes: bool, now_ms: u64) -> Option<Transition> {
        self.members.spec(index)?;
        let state = &self.members.member(index).state;
        self.seen(state.checked(passes, now_ms), now_ms)
    }

    /// Keeps traffic away from an endpoint until then (its circuit breaker opened, it asked for a
    /// pause); `Some` when it was not away already. Afterwards one request may try it, as after any
    /// rest.
    pub fn rest(&self, index: usize, until_ms: u64, now_ms: u64) -> Option<Transition> {
        self.members.spec(index)?;
        let state = &self.members.member(index).state;
        let transition = state.rest(until_ms, now_ms);
        self.refresh(self.lock(), now_ms);
        transition
    }

    /// Compares the endpoints' success rates and ejects those that are far below the others. To be
    /// called about once a second; does nothing unless the pool has such a rule.
    pub fn sweep(&self, now_ms: u64) -> Vec<(usize, Transition)> {
        let Passive::Outlier(settings) = &self.rules.passive else {
            return Vec::new();
        };
        let counts_of = |index: usize| {
            let state = &self.members.member(index).state;
            // One that is away has no say, and one that is not open is not in the pool.
            if state.rests_until_ms() == 0 && self.members.specs()[index].is_open() {
                state.tally().counts(settings, now_ms)
            } else {
                Counts::default()
            }
        };
        let counts: Vec<Counts> = (0..self.len()).map(counts_of).collect();
        let eject = |index: usize| {
            let why = Suspicion::SuccessRate(counts[index]);
            Some((index, self.eject(settings, index, why, now_ms)?))
        };
        let outliers = settings.outliers(&counts);
        outliers.into_iter().filter_map(eject).collect()
    }

    fn report_outlier(
        &self,
        settings: &OutlierSettings,
        index: usize,
        outcome: Outcome,
        now_ms: u64,
    ) -> Option<Transition> {
        let state = &self.members.member(index).state;
        if outcome == Outcome::Success {
            state.tally().success(settings, now_ms);
            return self.seen(state.succeeded(now_ms), now_ms);
        }
        let why = state.tally().failure(settings, now_ms);
        if state.rests_until_ms() != 0 {
            if state.eject_again(settings, now_ms) {
                self.refresh(self.lock(), now_ms);
            }
            return None;
        }
        self.eject(settings, index, why?, now_ms)
    }

    /// Ejects an endpoint unless as many are out as may be.
    fn eject(
        &self,
        settings: &OutlierSettings,
        index: usize,
        why: Suspicion,
        now_ms: u64,
    ) -> Option<Transition> {
        if now_ms < self.no_ejection_until_ms.load(Ordering::Relaxed) {
            return None;
        }
        // Held from the count to the ejection, so that two at once do not pass the limit.
        let writer = self.lock();
        let specs = self.members.specs().iter().enumerate();
        let (mut open, mut out) = (0, 0);
        for (at, _) in specs.filter(|(_, spec)| spec.is_open()) {
            open += 1;
            out += usize::from(self.members.member(at).state.rests_until_ms() != 0);
        }
        if out >= settings.ejected_max(open) {
            let pause = now_ms.saturating_add(EJECTION_PAUSE_MS);
            self.no_ejection_until_ms.store(pause, Ordering::Relaxed);
            return None;
        }
        let state = &self.members.member(index).state;
        let transition = state.eject(settings, why, now_ms);
        self.refresh(writer, now_ms);
        transition
    }

    /// Writes the view when there was a change.
    #[inline]
    fn seen(&self, transition: Option<Transition>, now_ms: u64) -> Option<Transition> {
        if transition.is_some() {
            self.refresh(self.lock(), now_ms);
        }
        transition
    }
}
