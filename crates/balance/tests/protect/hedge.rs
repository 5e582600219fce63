//! Hedging: percentiles against sorted lists, and what hedged traffic comes to.

use keel_balance::{BudgetSettings, HedgeSettings, Hedger, RetryBudget};

use crate::pool::Random;

/// A response time with a long tail, in microseconds.
fn time_us(random: &mut Random, median: f64, spread: f64) -> u64 {
    let unit = |random: &mut Random| (random.below(1 << 40) as f64 + 0.5) / (1u64 << 40) as f64;
    // Box and Muller.
    let (a, b) = (unit(random), unit(random));
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    (median * (spread * normal).exp()) as u64
}

#[test]
fn percentiles_are_those_of_the_sorted_list_within_a_step() {
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let hedger = Hedger::new(HedgeSettings::default());
        let (median, spread) = (
            100.0 + random.below(200_000) as f64,
            random.below(20) as f64 / 10.0,
        );
        let mut times: Vec<u64> = (0..1 + random.below(500))
            .map(|_| time_us(&mut random, median, spread))
            .collect();
        times.iter().for_each(|us| hedger.record(*us, 1));
        times.sort_unstable();
        for percent in [0, 10, 50, 90, 95, 99, 100] {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            let exact = times[rank - 1];
            let found = hedger.percentile_us(percent as f64 / 100.0).unwrap();
            let within = exact <= found && found <= exact + exact / 8;
            assert!(within, "seed {seed}: {percent} % is {exact}, not {found}");
        }
    }
}

/// Traffic whose tail is long: one in twenty is hedged, and the slowest are much quicker.
#[test]
fn hedging_costs_its_share_and_cuts_the_tail() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let hedger = Hedger::new(HedgeSettings::default());
        let budget = RetryBudget::new(BudgetSettings::default());
        let (mut hedged, mut plain_us, mut hedged_us) = (0u32, Vec::new(), Vec::new());
        for at in 0..20_000u64 {
            let now = at / 2;
            budget.request(now);
            let mut first = || {
                let slow = random.below(50) == 0;
                time_us(&mut random, if slow { 2_000_000.0 } else { 20_000.0 }, 0.3)
            };
            let (one, two) = (first(), first());
            let mut took = one;
            if let Some(due) = hedger.due_us(0).filter(|due| *due < one)
                && budget.spend(now)
            {
                hedged += 1;
                took = one.min(due + two);
            }
            hedger.record(one, now);
            plain_us.push(one);
            hedged_us.push(took);
        }
        let share = f64::from(hedged) / 20_000.0;
        assert!((0.02..=0.06).contains(&share), "seed {seed}: {share}");
        let slow = |list: &[u64]| list.iter().filter(|us| **us > 500_000).count();
        let (before, after) = (slow(&plain_us), slow(&hedged_us));
        assert!(after * 10 < before, "seed {seed}: {before}, then {after}");
    }
}

#[test]
fn the_delay_follows_a_change_of_speed() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let hedger = Hedger::new(HedgeSettings::default());
        for at in 0..4_000u64 {
            hedger.record(time_us(&mut random, 50_000.0, 0.2), at * 5);
        }
        let slow = hedger.due_us(0).unwrap();
        assert!((60_000..90_000).contains(&slow), "seed {seed}: {slow}");
        for at in 4_000..24_000u64 {
            hedger.record(time_us(&mut random, 10_000.0, 0.2), at * 5);
        }
        let quick = hedger.due_us(0).unwrap();
        assert!((12_000..18_000).contains(&quick), "seed {seed}: {quick}");
    }
}
