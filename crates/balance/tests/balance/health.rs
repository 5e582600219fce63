//! Passive health: failures in a window, rest, one trial, recovery (nginx's `max_fails` and
//! `fail_timeout`), in virtual time.

use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, Balancer, EndpointSpec, EndpointState, Outcome, SelectFault, TimeFormula,
    Transition,
};

use crate::pool::*;

use Outcome::{Failure, Success};

fn servers(count: usize, max_fails: u32, fail_timeout_ms: u64) -> Vec<EndpointSpec> {
    let spec = |spec| EndpointSpec {
        max_fails,
        fail_timeout_ms,
        ..spec
    };
    specs(&vec![1; count]).into_iter().map(spec).collect()
}

#[test]
fn failures_count_within_the_window_only() {
    let balancer = pool_of(Algorithm::RoundRobin, servers(2, 3, 1_000));
    for now in [0, 600, 1_200, 1_800, 2_400] {
        assert_eq!(
            balancer.report(0, Failure, now),
            None,
            "at most two in a window"
        );
    }
    assert_eq!(balancer.report(0, Success, 2_450), None);
    assert_eq!(balancer.report(0, Failure, 2_500), None);
    assert_eq!(
        balancer.state(0).fails(),
        2,
        "a success within the window takes nothing back"
    );
    assert_eq!(balancer.report(0, Failure, 2_600), Some(Transition::Rested));
    assert_eq!(balancer.state(0).rests_until_ms(), 3_600);
}

#[test]
fn zero_max_fails_or_fail_timeout_never_rests() {
    for spec in servers(1, 0, 1_000).into_iter().chain(servers(1, 3, 0)) {
        let balancer = pool_of(Algorithm::RoundRobin, [spec]);
        for now in 0..100 {
            assert_eq!(balancer.report(0, Failure, now), None);
        }
        assert_eq!(balancer.ready_count(100), 1);
    }
}

#[test]
fn after_the_rest_one_request_tries_it() {
    for algorithm in ALL {
        let balancer = pool_of(algorithm, servers(2, 1, 1_000));
        let mut random = Random(1);
        let mut chosen = |now| balancer.select(&random.ask(now)).unwrap().index;
        assert_eq!(balancer.report(0, Failure, 100), Some(Transition::Rested));
        assert!(
            (100..1_100).all(|now| chosen(now) == 1),
            "{algorithm:?}: rests"
        );

        let trials = (1_100..2_099).filter(|now| chosen(*now) == 0).count();
        assert_eq!(trials, 1, "{algorithm:?}: one request a fail_timeout");
        assert_eq!(
            balancer.report(0, Failure, 2_098),
            None,
            "it fails: rests on"
        );
        assert!(
            (2_099..3_098).all(|now| chosen(now) == 1),
            "{algorithm:?}: rests again"
        );

        let trials = (3_098..4_097).filter(|now| chosen(*now) == 0).count();
        assert_eq!(trials, 1, "{algorithm:?}: the next trial");
        assert_eq!(
            balancer.report(0, Success, 4_097),
            Some(Transition::Recovered)
        );
        assert_eq!(balancer.report(0, Success, 4_097), None);
        assert!(
            (4_098..4_200).any(|now| chosen(now) == 0),
            "{algorithm:?}: back"
        );
        assert_eq!(balancer.state(0).fails(), 0);
        assert_eq!(balancer.report(0, Failure, 4_200), Some(Transition::Rested));
    }
}

#[test]
fn a_trial_that_nobody_reported_is_repeated() {
    let balancer = pool_of(Algorithm::RoundRobin, servers(2, 1, 1_000));
    assert_eq!(balancer.report(0, Failure, 0), Some(Transition::Rested));
    let trials = |from: u64| {
        let at = |now: u64| balancer.select(&Ask::at(now, now)).unwrap().index == 0;
        (from..from + 5_000)
            .filter(|now| at(*now))
            .collect::<Vec<u64>>()
    };
    let trials = trials(1_000);
    assert_eq!(trials.len(), 5, "{trials:?}");
    assert!(trials.windows(2).all(|pair| pair[1] - pair[0] >= 1_000));
}

/// Found by the contract's property: the view took the end of the first rest for readiness.
#[test]
fn a_rest_that_starts_anew_at_its_end_is_seen() {
    for algorithm in ALL {
        let mut specs = servers(2, 1, 50);
        specs[0].max_connections = 1;
        let balancer = pool_of(algorithm, specs);
        let _held = hold(&balancer, 0, 1);
        assert_eq!(balancer.report(0, Failure, 1_000), Some(Transition::Rested));
        assert_eq!(balancer.report(1, Failure, 1_021), Some(Transition::Rested));
        let mut random = Random(1);
        let full = balancer.select(&random.ask(1_050)).unwrap_err();
        assert_eq!(
            full,
            SelectFault::AllFull,
            "{algorithm:?}: 0 may be tried, but is full"
        );
        assert_eq!(balancer.report(0, Failure, 1_050), None);
        let selected = balancer.select(&random.ask(1_050)).unwrap();
        assert_eq!(
            selected.index, 1,
            "{algorithm:?}: both rest, so either will do"
        );
    }
}

#[test]
fn a_late_success_from_before_the_rest_is_no_recovery() {
    let balancer = pool_of(Algorithm::RoundRobin, servers(2, 1, 1_000));
    assert_eq!(balancer.report(0, Failure, 10), Some(Transition::Rested));
    assert_eq!(balancer.report(0, Success, 20), None);
    assert!(balancer.state(0).is_resting(1_009));
}

#[test]
fn when_all_rest_all_are_tried() {
    for algorithm in ALL {
        let mut specs = servers(4, 1, 60_000);
        specs[3].backup = true;
        let balancer = pool_of(algorithm, specs);
        for index in 0..4 {
            assert_eq!(balancer.report(index, Failure, 0), Some(Transition::Rested));
        }
        assert_eq!(balancer.ready_count(1), 0);
        let mut random = Random(5);
        for now in 1..50 {
            let mut tried = Vec::new();
            let ask = random.ask(now);
            while let Ok(selected) = balancer.select(&Ask {
                tried: &tried,
                ..ask
            }) {
                tried.push(selected.index);
            }
            tried.sort_unstable();
            assert_eq!(tried, [0, 1, 2, 3], "{algorithm:?}");
        }
        assert_eq!(balancer.report(2, Success, 50), Some(Transition::Recovered));
        for now in 51..80 {
            assert_eq!(
                balancer.select(&random.ask(now)).unwrap().index,
                2,
                "{algorithm:?}"
            );
        }
        let retry = balancer
            .select(&Ask {
                tried: &[2],
                ..random.ask(80)
            })
            .unwrap();
        assert_ne!(
            retry.index, 2,
            "{algorithm:?}: a resting one rather than an error"
        );
    }
}

#[test]
fn health_goes_on_after_a_reload() {
    for algorithm in ALL {
        let specs = servers(3, 1, 1_000);
        let states: Vec<_> = specs
            .iter()
            .map(|_| Arc::new(EndpointState::new()))
            .collect();
        let endpoints = || specs.iter().cloned().zip(states.iter().cloned()).collect();
        let old = Balancer::new(algorithm, endpoints()).unwrap();
        let mut random = Random(8);
        assert_eq!(old.report(1, Failure, 100), Some(Transition::Rested));
        let new = Balancer::new(algorithm, endpoints()).unwrap();
        let mut chosen = |at: &Balancer, now| at.select(&random.ask(now)).unwrap().index;
        assert!(
            (100..200).all(|now| chosen(&new, now) != 1),
            "{algorithm:?}"
        );
        // What the requests that still run on the old one see, the new one learns, and vice versa.
        assert_eq!(old.report(2, Failure, 200), Some(Transition::Rested));
        assert!(
            (200..300).all(|now| chosen(&new, now) == 0),
            "{algorithm:?}"
        );
        assert!(
            (200..300).all(|now| chosen(&old, now) == 0),
            "{algorithm:?}"
        );
    }
}

#[test]
fn failures_make_a_server_slow_for_least_time() {
    let spec = |spec| EndpointSpec {
        max_fails: 0,
        ..spec
    };
    let algorithm = least_time(TimeFormula::ActivePlusOne, 0);
    let balancer = pool_of(algorithm, specs(&[1, 1]).into_iter().map(spec));
    let mut failures = 0;
    for now in 0..500 {
        let selected = balancer.select(&Ask::at(now, now)).unwrap();
        if selected.index == 0 {
            failures += 1;
            assert_eq!(balancer.report(0, Failure, now), None);
        } else {
            balancer.state(1).record_response(20_000, now);
            assert_eq!(balancer.report(1, Success, now), None);
        }
    }
    assert!(
        failures <= 2,
        "{failures} requests went to a server that refuses at once"
    );
}
