//! Outlier ejection in a balancer: who is found, who is spared, how many, for how long.

use std::sync::Arc;

use keel_balance::{
    Algorithm, Balancer, EndpointState, ErrorRate, Outcome, OutlierSettings, Passive, PoolRules,
    SuccessRate, Suspicion, Transition,
};

use crate::pool::{Random, specs};

fn pool(servers: usize, settings: OutlierSettings) -> Balancer {
    let rules = PoolRules {
        passive: Passive::Outlier(settings),
        ..PoolRules::default()
    };
    let specs = specs(&vec![1; servers]).into_iter();
    let endpoints = specs.map(|spec| (spec, Arc::new(EndpointState::new())));
    Balancer::with_rules(Algorithm::RoundRobin, endpoints.collect(), rules).unwrap()
}

fn out(balancer: &Balancer) -> usize {
    let is_out = |at: &usize| balancer.state(*at).rests_until_ms() != 0;
    (0..balancer.len()).filter(is_out).count()
}

/// One request; whether it failed, and the change.
fn request(
    balancer: &Balancer,
    random: &mut Random,
    now: u64,
    fails: impl Fn(usize, &mut Random) -> bool,
) -> (usize, bool, Option<Transition>) {
    let index = balancer.select(&random.ask(now)).unwrap().index;
    let failed = fails(index, random);
    let outcome = if failed {
        Outcome::Failure
    } else {
        Outcome::Success
    };
    (index, failed, balancer.report(index, outcome, now))
}

#[test]
fn never_more_than_the_share_is_out() {
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let settings = OutlierSettings {
            consecutive: random.below(4) as u32,
            error_rate: (random.below(2) > 0).then(|| ErrorRate {
                share: 0.1 + random.below(9) as f64 / 10.0,
                volume_min: random.below(10),
            }),
            success_rate: (random.below(2) > 0).then(|| SuccessRate {
                deviations: random.below(20) as f64 / 10.0,
                gap_min: 0.0,
                servers_min: 2,
                volume_min: random.below(10),
            }),
            window_ms: 1_000,
            ejection_ms: 1 + random.below(2_000),
            ejection_max_ms: 1 + random.below(5_000),
            ejected_share_max: random.below(11) as f64 / 10.0,
        };
        let servers = 1 + random.below(12) as usize;
        let balancer = pool(servers, settings);
        let most = settings.ejected_max(servers);
        let odds: Vec<u64> = (0..servers).map(|_| random.below(101)).collect();
        let mut now = 0;
        let mut was_out = vec![false; servers];
        for _ in 0..300 {
            now += random.below(40);
            let fails = |index: usize, random: &mut Random| random.below(100) < odds[index];
            let (index, failed, change) = request(&balancer, &mut random, now, fails);
            let mut changes: Vec<_> = change.map(|change| (index, change)).into_iter().collect();
            if random.below(10) == 0 {
                changes.extend(balancer.sweep(now));
            }
            for (index, change) in changes {
                match change {
                    Transition::Ejected(_) => assert!(!was_out[index], "seed {seed}"),
                    Transition::Recovered => assert!(was_out[index] && !failed, "seed {seed}"),
                    other => panic!("seed {seed}: {other:?}"),
                }
                was_out[index] = !was_out[index];
                assert_eq!(balancer.state(index).last_change(), Some((change, now)));
            }
            let is_out: Vec<bool> = (0..servers)
                .map(|at| balancer.state(at).rests_until_ms() != 0)
                .collect();
            assert_eq!(is_out, was_out, "seed {seed} at {now}: no change untold");
            assert!(out(&balancer) <= most, "seed {seed} at {now}");
        }
    }
}

/// Ten servers with 2 % of failures, one with 25 %: too few in a row, less than half, but far from
/// the others.
#[test]
fn the_bad_one_is_found_and_nobody_else() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let bad = random.below(10) as usize;
        let settings = OutlierSettings {
            consecutive: 0,
            error_rate: None,
            ..OutlierSettings::default()
        };
        let balancer = pool(10, settings);
        let mut found = None;
        for now in (0..40_000).step_by(5) {
            let fails = |index: usize, random: &mut Random| {
                random.below(100) < if index == bad { 25 } else { 2 }
            };
            let (_, _, change) = request(&balancer, &mut random, now, fails);
            assert_eq!(
                change.filter(|it| *it != Transition::Recovered),
                None,
                "seed {seed}"
            );
            if now % 1_000 == 0 {
                for (index, change) in balancer.sweep(now) {
                    assert_eq!(index, bad, "seed {seed} at {now}: {change:?}");
                    assert!(matches!(
                        change,
                        Transition::Ejected(Suspicion::SuccessRate(_))
                    ));
                    found = found.or(Some(now));
                }
            }
        }
        let found = found.unwrap_or_else(|| panic!("seed {seed}: not found"));
        assert!(found <= 10_000, "seed {seed}: after {found} ms");
    }
}

#[test]
fn servers_that_are_all_alike_are_all_spared_by_comparison() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let rate = random.below(100);
        let settings = OutlierSettings {
            consecutive: 0,
            error_rate: None,
            ..OutlierSettings::default()
        };
        let balancer = pool(8, settings);
        for now in (0..20_000).step_by(5) {
            request(&balancer, &mut random, now, |_, random| {
                random.below(100) < rate
            });
            if now % 1_000 == 0 {
                assert_eq!(balancer.sweep(now), [], "seed {seed} at {now}");
            }
        }
    }
}

/// One server refuses everything for an hour: it gets five requests and then one for each ejection,
/// of which there are fewer and fewer.
#[test]
fn a_dead_server_gets_less_and_less_and_comes_back() {
    for seed in 0..50 {
        let mut random = Random(seed);
        let balancer = pool(4, OutlierSettings::default());
        let (mut wasted, mut back) = (0, None);
        for now in (0..4_000_000).step_by(100) {
            let dead = |index: usize, _: &mut Random| index == 2 && now < 3_600_000;
            let (_, failed, change) = request(&balancer, &mut random, now, dead);
            wasted += u32::from(failed);
            if change == Some(Transition::Recovered) {
                back = Some(now);
            }
        }
        // 30 + 60 + ... + 300 s are 1,650 s; then one each 300 s.
        assert!((12..=5 + 18).contains(&wasted), "seed {seed}: {wasted}");
        let back = back.unwrap_or_else(|| panic!("seed {seed}: never back"));
        assert!(
            (3_600_000..=3_901_000).contains(&back),
            "seed {seed}: {back}"
        );
    }
}

#[test]
fn an_outage_of_all_ejects_half_and_ends_with_the_outage() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let balancer = pool(6, OutlierSettings::default());
        let until = 10_000 + random.below(100_000);
        let mut served = 0;
        for now in (0..until + 200_000).step_by(50) {
            let (_, failed, _) = request(&balancer, &mut random, now, |_, _| now < until);
            served += u64::from(!failed);
            assert!(out(&balancer) <= 3, "seed {seed}");
        }
        assert_eq!(out(&balancer), 0, "seed {seed}");
        // Nothing but trials of an instant fails once the servers are back.
        assert!(served >= 3_999, "seed {seed}: {served}");
    }
}

#[test]
fn max_fails_means_nothing_to_it() {
    let balancer = pool(4, OutlierSettings::default());
    for now in 0..4 {
        assert_eq!(balancer.report(1, Outcome::Failure, now), None);
    }
    let why = Suspicion::Consecutive(5);
    let ejected = Some(Transition::Ejected(why));
    assert_eq!(balancer.report(1, Outcome::Failure, 4), ejected);
    assert_eq!(balancer.state(1).rests_until_ms(), 30_004);
    assert_eq!(balancer.report(1, Outcome::Failure, 5), None, "a late one");
    assert_eq!(balancer.state(1).rests_until_ms(), 30_004);
}

/// What led to an ejection is paid for with it: the next failure is the first again.
#[test]
fn a_server_that_is_back_begins_anew() {
    let settings = OutlierSettings {
        consecutive: 0,
        window_ms: 600_000,
        ejection_ms: 1_000,
        ..OutlierSettings::default()
    };
    let balancer = pool(2, settings);
    for now in 0..20 {
        let change = balancer.report(0, Outcome::Failure, now);
        assert_eq!(change.is_some(), now == 19);
    }
    let mut random = Random(2);
    for now in 1_019..1_025 {
        request(&balancer, &mut random, now, |_, _| false);
    }
    assert_eq!(balancer.state(0).rests_until_ms(), 0);
    assert_eq!(balancer.report(0, Outcome::Failure, 1_030), None);
    for now in 1_031..1_060 {
        balancer.report(0, Outcome::Failure, now);
    }
    let end = balancer.state(0).rests_until_ms();
    assert!((3_031..3_060).contains(&end), "{end}: twice as long");
}

/// When all are ejected all are asked; what fails then does not prolong the ejections.
#[test]
fn failures_of_a_panic_do_not_prolong_ejections() {
    let settings = OutlierSettings {
        ejected_share_max: 1.0,
        ..OutlierSettings::default()
    };
    let balancer = pool(2, settings);
    let mut random = Random(1);
    for now in 0..40 {
        request(&balancer, &mut random, now, |_, _| true);
    }
    let ends = [0, 1].map(|index| balancer.state(index).rests_until_ms());
    assert!(
        ends.iter().all(|end| (30_000..30_040).contains(end)),
        "{ends:?}"
    );
    for now in (100..29_000).step_by(100) {
        let (_, failed, change) = request(&balancer, &mut random, now, |_, _| true);
        assert!(failed && change.is_none());
    }
    assert_eq!(
        [0, 1].map(|index| balancer.state(index).rests_until_ms()),
        ends
    );
    let (_, _, change) = request(&balancer, &mut random, 29_500, |_, _| false);
    assert_eq!(change, Some(Transition::Recovered));
}

#[test]
fn threads_never_eject_more_than_the_share() {
    for round in 0..50u64 {
        let balancer = pool(10, OutlierSettings::default());
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let balancer = &balancer;
                scope.spawn(move || {
                    let mut random = Random(round * 4 + thread);
                    for now in 0..300 {
                        request(balancer, &mut random, now, |_, _| true);
                        assert!(out(balancer) <= 5);
                    }
                });
            }
        });
        assert_eq!(out(&balancer), 5);
    }
}
