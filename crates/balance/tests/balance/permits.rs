//! Counts: never leaked, never negative, exact over threads and reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keel_balance::{
    Algorithm, Ask, Balancer, EndpointSpec, EndpointState, Outcome, Permit, SelectFault,
    TimeFormula,
};
use proptest::prelude::*;

use crate::pool::*;

const THREADS: u64 = 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Active is the number of living permits of each server, whatever the order of drops.
    #[test]
    fn active_is_the_number_of_permits(
        algorithm in prop::sample::select(&ALL[..]),
        moves in prop::collection::vec(any::<(bool, u64)>(), 1..120),
    ) {
        let balancer = pool(algorithm, &[2, 1, 1, 7]);
        let mut held: Vec<(usize, Permit)> = Vec::new();
        let mut random = Random(1);
        for (take, at) in moves {
            if take || held.is_empty() {
                let selected = balancer.select(&random.ask(1)).unwrap();
                held.push((selected.index, selected.permit));
            } else {
                drop(held.swap_remove(at as usize % held.len()));
            }
            for index in 0..4 {
                let living = held.iter().filter(|(at, _)| *at == index).count();
                prop_assert_eq!(balancer.state(index).active() as usize, living);
            }
        }
        drop(held);
        prop_assert!((0..4).all(|index| balancer.state(index).active() == 0));
    }
}

#[test]
fn a_permit_outlives_its_balancer() {
    for algorithm in ALL {
        let state = Arc::new(EndpointState::new());
        let specs = vec![(EndpointSpec::new("1"), Arc::clone(&state))];
        let balancer = Balancer::new(algorithm, specs).unwrap();
        let permit = balancer.select(&Ask::at(0, 0)).unwrap().permit;
        drop(balancer);
        assert_eq!(permit.state().active(), 1);
        drop(permit);
        assert_eq!(state.active(), 0);
    }
}

#[test]
fn round_robin_is_exact_over_threads() {
    const EACH: u64 = 6_000;
    for (algorithm, weights) in [
        (Algorithm::RoundRobin, vec![1; 5]),
        (
            Algorithm::WeightedRoundRobin { burst: false },
            vec![3, 2, 1],
        ),
        (Algorithm::WeightedRoundRobin { burst: true }, vec![5, 4, 1]),
    ] {
        let balancer = pool(algorithm, &weights);
        let counts: Vec<AtomicU64> = weights.iter().map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (balancer, counts) = (&balancer, &counts);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let index = balancer.select(&Ask::at(1, thread ^ number)).unwrap().index;
                        counts[index].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for (count, weight) in counts.iter().zip(&weights) {
            let share = THREADS * EACH * u64::from(*weight) / total;
            assert_eq!(count.load(Ordering::Relaxed), share, "{algorithm:?}");
        }
    }
}

/// Selects, holds, drops, reports and retries from several threads at once.
fn hammer(balancer: &Balancer, thread: u64, limit: u32) {
    let mut random = Random(thread);
    let mut held = Vec::new();
    for number in 0..1_000 {
        let now = number / 10;
        match balancer.select(&random.ask(now)) {
            Ok(selected) => {
                let active = balancer.state(selected.index).active();
                assert!(active >= 1 && active <= limit + THREADS as u32, "{active}");
                let state = balancer.state(selected.index);
                state.record_response(1_000 + random.below(9_000), now);
                let failed = random.below(50) == 0;
                let outcome = if failed {
                    Outcome::Failure
                } else {
                    Outcome::Success
                };
                let _ = balancer.report(selected.index, outcome, now);
                held.push(selected);
            }
            Err(fault) => assert_eq!(fault, SelectFault::AllFull),
        }
        while held.len() > 12 || (random.below(3) == 0 && !held.is_empty()) {
            let place = random.below(held.len() as u64) as usize;
            held.swap_remove(place);
        }
    }
}

#[test]
fn counts_are_right_after_any_use_by_threads() {
    for algorithm in ALL {
        let limit = 4;
        let spec = |spec| EndpointSpec {
            max_connections: limit,
            fail_timeout_ms: 20,
            ..spec
        };
        let balancer = pool_of(algorithm, specs(&[1; 40]).into_iter().map(spec));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let balancer = &balancer;
                scope.spawn(move || hammer(balancer, thread, limit));
            }
        });
        assert!(
            (0..40).all(|index| balancer.state(index).active() == 0),
            "{algorithm:?}"
        );
        // All places are there again, and all of them are found.
        for index in 0..40 {
            drop(balancer.take(index, 10_000));
            let _ = balancer.report(index, Outcome::Success, 10_000);
        }
        let mut random = Random(77);
        let held: Vec<_> = (0..160)
            .map(|_| balancer.select(&random.ask(10_000)).unwrap())
            .collect();
        assert!(
            (0..40).all(|index| balancer.state(index).active() == 4),
            "{algorithm:?}"
        );
        drop(held);
    }
}

#[test]
fn the_least_busy_is_known_after_any_use_by_threads() {
    let algorithms = [
        LEAST_CONN,
        least_time(TimeFormula::ActivePlusOne, 0),
        bounded(RING, 1.0),
    ];
    for algorithm in algorithms {
        let spec = |spec| EndpointSpec {
            max_fails: 0,
            ..spec
        };
        let balancer = pool_of(algorithm, specs(&[1; 90]).into_iter().map(spec));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let balancer = &balancer;
                scope.spawn(move || hammer(balancer, thread, u32::MAX / 2));
            }
        });
        for index in 0..90 {
            balancer.state(index).record_response(5_000, 1_000_000);
        }
        let mut held = Vec::new();
        for round in 1..=3 {
            for _ in 0..90 {
                held.push(balancer.select(&Ask::at(1_000, 1)).unwrap());
            }
            if algorithm == LEAST_CONN {
                let level = |index| balancer.state(index).active() == round;
                assert!((0..90).all(level), "{algorithm:?} in round {round}");
            }
        }
    }
}

#[test]
fn a_reload_keeps_counts_and_limits_exact() {
    for algorithm in ALL {
        let limit = |spec| EndpointSpec {
            max_connections: 3,
            ..spec
        };
        let specs: Vec<_> = specs(&[1; 40]).into_iter().map(limit).collect();
        let states: Vec<_> = specs
            .iter()
            .map(|_| Arc::new(EndpointState::new()))
            .collect();
        let build = || {
            let endpoints = specs.iter().cloned().zip(states.iter().cloned()).collect();
            Balancer::new(algorithm, endpoints).unwrap()
        };
        let old = build();
        let mut random = Random(3);
        let mut held: Vec<_> = (0..60)
            .map(|_| old.select(&random.ask(1)).unwrap())
            .collect();
        let _never_used = build();
        held.truncate(50);
        let new = build();
        held.extend((0..70).map(|_| new.select(&random.ask(1)).unwrap()));
        assert_eq!(
            new.select(&random.ask(1)).unwrap_err(),
            SelectFault::AllFull
        );
        // Permits of the old balancer free places of the new one.
        let freed = held.swap_remove(7).index;
        assert_eq!(
            new.select(&random.ask(1)).unwrap().index,
            freed,
            "{algorithm:?}"
        );
        drop(held);
        assert!(states.iter().all(|state| state.active() == 0));
    }
}

#[test]
fn least_conn_sees_the_drops_of_before_a_reload() {
    let specs = specs(&[1; 64]);
    let states: Vec<_> = specs
        .iter()
        .map(|_| Arc::new(EndpointState::new()))
        .collect();
    let build = || {
        let endpoints = specs.iter().cloned().zip(states.iter().cloned()).collect();
        Balancer::new(LEAST_CONN, endpoints).unwrap()
    };
    let old = build();
    let mut held: Vec<_> = (0..640)
        .map(|_| old.select(&Ask::at(1, 1)).unwrap())
        .collect();
    let new = build();
    assert_eq!(new.select(&Ask::at(1, 1)).unwrap().index, 0);
    held.retain(|selected| selected.index != 45);
    for _ in 0..10 {
        held.push(new.select(&Ask::at(1, 1)).unwrap());
        assert_eq!(held.last().unwrap().index, 45);
    }
    assert_eq!(new.select(&Ask::at(1, 1)).unwrap().index, 0);
}
