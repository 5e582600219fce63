//! The retry budget against a list of everything, and in a storm of retries.

use std::collections::VecDeque;

use keel_balance::{BudgetSettings, RetryBudget};

use crate::pool::Random;

#[test]
fn allows_exactly_what_the_definition_allows() {
    for seed in 0..5_000 {
        let mut random = Random(seed);
        let settings = BudgetSettings {
            share: random.below(150) as f64 / 100.0,
            per_second_min: random.below(40) as f64 / 10.0,
            window_ms: 10 * (1 + random.below(1_500)),
        };
        let slot = settings.window_ms / 10;
        let budget = RetryBudget::new(settings);
        let (mut requests, mut extra) = (VecDeque::new(), VecDeque::new());
        let mut now = random.below(1_000_000);
        let step = 1 + random.below(settings.window_ms / 20 + 1);
        for _ in 0..400 {
            now += random.below(step);
            for list in [&mut requests, &mut extra] {
                while list.front().is_some_and(|at| at / slot + 10 <= now / slot) {
                    list.pop_front();
                }
            }
            if random.below(3) > 0 {
                budget.request(now);
                requests.push_back(now);
                continue;
            }
            let allowance = settings.share * requests.len() as f64
                + settings.per_second_min * settings.window_ms as f64 / 1_000.0;
            let allowed = (extra.len() + 1) as f64 <= allowance.floor();
            assert_eq!(budget.spend(now), allowed, "seed {seed} at {now}");
            if allowed {
                extra.push_back(now);
            }
        }
    }
}

/// Every request fails, and every client of ours tries three times: without a budget three times
/// the load, with it a fifth more.
#[test]
fn a_storm_of_retries_stays_a_breeze() {
    for seed in 0..1_000 {
        let mut random = Random(seed);
        let budget = RetryBudget::new(BudgetSettings::default());
        let (mut requests, mut extra) = (0u64, 0u64);
        for second in 0..60u64 {
            for _ in 0..random.below(300) {
                let now = second * 1_000 + random.below(1_000);
                requests += 1;
                budget.request(now);
                extra += (0..2).take_while(|_| budget.spend(now)).count() as u64;
            }
        }
        // The windows of the first seconds overlap those of the last by one length.
        let most = requests as f64 * 0.2 * 1.2 + 3.0 * 70.0;
        assert!(
            (extra as f64) <= most,
            "seed {seed}: {extra} for {requests}"
        );
        assert!(
            extra as f64 >= requests as f64 * 0.15,
            "seed {seed}: {extra} for {requests}"
        );
    }
}
