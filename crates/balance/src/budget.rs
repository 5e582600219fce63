//! The retry budget of a pool: what retries and hedged requests may add to its traffic.
//!
//! Without one, three tries a request turn an overload into three times that overload. With one,
//! extra attempts are at most a share of the requests of the last seconds, plus a few a second so
//! that a quiet pool may retry at all. One budget for retries and hedges, shared by all workers.
//!
//! A request costs a load and an addition. An extra attempt is counted first and taken back when
//! it was one too many: two at once may both be refused, but the limit is never passed.

use crate::window::{Window, slot_ms};

/// How much retries and hedges may add.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetSettings {
    /// Extra attempts per request over the window, 0 and up. Default 0.2.
    pub share: f64,
    /// Extra attempts a second that are always allowed, over the window. Default 3.
    pub per_second_min: f64,
    /// Length of the window in milliseconds. Default 10 s.
    pub window_ms: u64,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        BudgetSettings {
            share: 0.2,
            per_second_min: 3.0,
            window_ms: 10_000,
        }
    }
}

impl BudgetSettings {
    /// Most extra attempts for so many requests in one window.
    pub fn allowance(&self, requests: u64) -> u64 {
        let always = self.per_second_min.max(0.0) * self.window_ms as f64 / 1_000.0;
        (self.share.max(0.0) * requests as f64 + always) as u64
    }
}

/// The budget of one pool.
#[derive(Debug)]
pub struct RetryBudget {
    settings: BudgetSettings,
    slot_ms: u64,
    /// Calls are requests, bad ones are extra attempts.
    window: Window,
}

impl RetryBudget {
    /// An unused budget.
    pub fn new(settings: BudgetSettings) -> Self {
        RetryBudget {
            settings,
            slot_ms: slot_ms(settings.window_ms),
            window: Window::default(),
        }
    }

    /// Counts a request (not its retries).
    #[inline]
    pub fn request(&self, now_ms: u64) {
        self.window.call(self.slot_ms, now_ms, false);
    }

    /// Asks for one extra attempt; true when it may be made, and then it counts.
    pub fn spend(&self, now_ms: u64) -> bool {
        let settings = &self.settings;
        self.window.bad_within(self.slot_ms, now_ms, |counts| {
            counts.bad <= settings.allowance(counts.total)
        })
    }

    /// Extra attempts that are left now.
    pub fn left(&self, now_ms: u64) -> u64 {
        let counts = self.window.counts(self.slot_ms, now_ms);
        self.settings
            .allowance(counts.total)
            .saturating_sub(counts.bad)
    }

    /// The settings in use.
    pub fn settings(&self) -> &BudgetSettings {
        &self.settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_pool_may_retry_a_little() {
        let budget = RetryBudget::new(BudgetSettings::default());
        let allowed = (0..100).filter(|_| budget.spend(5)).count();
        assert_eq!(allowed, 30, "3 a second over 10 s");
        assert_eq!(budget.left(5), 0);
        assert_eq!(budget.left(10_000), 30, "the window has passed");
    }

    #[test]
    fn a_busy_pool_may_retry_its_share() {
        let settings = BudgetSettings {
            per_second_min: 0.0,
            ..BudgetSettings::default()
        };
        let budget = RetryBudget::new(settings);
        assert!(!budget.spend(0));
        for now in 0..1_000 {
            budget.request(now);
        }
        assert_eq!((0..1_000).filter(|_| budget.spend(1_000)).count(), 200);
    }

    #[test]
    fn threads_never_spend_more_than_there_is() {
        for _ in 0..50 {
            let budget = RetryBudget::new(BudgetSettings::default());
            (0..1_000).for_each(|_| budget.request(1));
            let spent = std::sync::atomic::AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mine = (0..500).filter(|at| budget.spend(1 + at / 100)).count();
                        spent.fetch_add(mine as u64, std::sync::atomic::Ordering::Relaxed);
                    });
                }
            });
            let spent = spent.into_inner();
            assert!((225..=230).contains(&spent), "{spent}");
        }
    }
}
