//! Windows against a list of calls, and under every order of threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use proptest::prelude::*;

use super::*;
use crate::scheduler::{self, Stepped};

/// Runs under the scheduler of every test.
const SEEDS: std::ops::Range<u64> = 0..2_000;

#[test]
fn counts_leave_after_the_window() {
    let window = Window::<AtomicU64>::default();
    for now in 0..1_000 {
        window.call(100, now, now % 4 == 0);
    }
    let all = Counts {
        total: 1_000,
        bad: 250,
    };
    assert_eq!(window.counts(100, 999), all);
    assert_eq!(window.counts(100, 1_000).total, 900);
    assert_eq!(window.counts(100, 1_899).total, 100);
    assert_eq!(window.counts(100, 1_900), Counts::default());
    assert_eq!(
        window.counts(50, 999).total,
        0,
        "another length is another window"
    );
}

#[test]
fn a_full_field_is_halved_and_keeps_the_rate() {
    let window = Window::<AtomicU64>::default();
    for call in 0..3_000_000u64 {
        window.call(1_000, 5, call % 5 == 0);
    }
    let counts = window.counts(1_000, 5);
    assert!(counts.total >= HALVE_AT / 2, "{counts:?}");
    assert!((counts.bad_share() - 0.2).abs() < 0.001, "{counts:?}");
}

#[test]
fn nothing_is_lost_between_threads() {
    let window = Window::<AtomicU64>::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20_000u64).for_each(|at| window.call(100, at / 40, at % 2 == 0)));
        }
    });
    let counts = window.counts(100, 499);
    assert_eq!((counts.total, counts.bad), (80_000, 40_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Against a list of all calls.
    #[test]
    fn is_the_sum_of_the_last_ten_slots(
        slot in 1u64..2_000,
        steps in prop::collection::vec((0u64..3_000, any::<bool>()), 1..60),
        start in any::<u32>(),
    ) {
        let window = Window::<AtomicU64>::default();
        let mut calls = VecDeque::new();
        let mut now = u64::from(start);
        for (step, bad) in steps {
            now += step;
            window.call(slot, now, bad);
            calls.push_back((now / slot, bad));
            while calls.front().is_some_and(|call| call.0 + SLOTS <= now / slot) {
                calls.pop_front();
            }
            let expected = Counts {
                total: calls.len() as u64,
                bad: calls.iter().filter(|call| call.1).count() as u64,
            };
            prop_assert_eq!(window.counts(slot, now), expected);
        }
    }
}

type Body<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Two threads count in a new stretch of time, one late in the stretch that had the slot before.
#[test]
fn a_slot_is_taken_over_whole_in_any_order() {
    for seed in SEEDS {
        let window = Window::<Stepped>::default();
        for _ in 0..5 {
            window.call(10, 0, true);
        }
        let counts_at = |now: u64| {
            let window = &window;
            Box::new(move || (0..3).for_each(|_| window.call(10, now, true))) as Body<'_>
        };
        let bodies = vec![counts_at(100), counts_at(105), counts_at(100)];
        scheduler::run(seed, 2 << (seed % 3), bodies);
        let counts = window.counts(10, 109);
        assert_eq!((counts.total, counts.bad), (9, 9), "seed {seed}");
    }
}

/// A thread whose clock stands still counts in the stretch of before while others take the slot
/// over: its calls count late or not at all, and both counts of a call go the same way.
#[test]
fn a_late_call_breaks_nothing() {
    for seed in SEEDS {
        let window = Window::<Stepped>::default();
        window.call(10, 5, true);
        let late = || (0..2).for_each(|_| window.call(10, 9, true));
        let timely = || (0..4).for_each(|_| window.call(10, 101, true));
        let bodies: Vec<Body<'_>> = vec![Box::new(late), Box::new(timely)];
        scheduler::run(seed, 2 << (seed % 3), bodies);
        let counts = window.counts(10, 101);
        assert_eq!(counts.total, counts.bad, "seed {seed}");
        assert!(counts.total <= 6, "seed {seed}: {counts:?}");
    }
}

#[test]
fn a_slot_is_halved_once_in_any_order() {
    for seed in SEEDS {
        let window = Window::<Stepped>::default();
        let full = HALVE_AT - 2;
        window.slots[0].store((full << FIELD_BITS) | full);
        let count = || (0..3).for_each(|_| window.call(10, 3, true));
        let bodies: Vec<Body<'_>> = vec![Box::new(count), Box::new(count), Box::new(count)];
        scheduler::run(seed, 2 << (seed % 3), bodies);
        let counts = window.counts(10, 3);
        assert_eq!(counts.total, counts.bad, "seed {seed}");
        let least = HALVE_AT / 2;
        assert!(
            (least..least + 9).contains(&counts.total),
            "seed {seed}: {counts:?}"
        );
    }
}

#[test]
fn a_limit_is_never_passed_in_any_order() {
    let mut all_used = 0;
    for seed in SEEDS {
        let window = Window::<Stepped>::default();
        let taken = AtomicUsize::new(0);
        let spend = |now: u64| {
            let (window, taken) = (&window, &taken);
            let spend = move |now| {
                let within = window.bad_within(10, now, |counts| counts.bad <= 3);
                taken.fetch_add(usize::from(within), SeqCst);
            };
            // Over the border of two slots.
            Box::new(move || (0..3).for_each(|step| spend(now + step))) as Body<'_>
        };
        scheduler::run(seed, 2 << (seed % 3), vec![spend(8), spend(9), spend(10)]);
        let taken = taken.into_inner();
        assert!((1..=3).contains(&taken), "seed {seed}: {taken}");
        assert_eq!(window.counts(10, 12).bad, taken as u64, "seed {seed}");
        all_used += usize::from(taken == 3);
    }
    assert!(all_used > 1_000, "{all_used}");
}
