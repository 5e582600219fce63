//! Who may be chosen under any rules, against a model that looks at every server: tiers, panic
//! threshold, checks, rests, slow start.

use std::collections::BTreeSet;
use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, Balancer, EndpointSpec, EndpointState, Outcome, Panic, PanicAction, Passive,
    PoolRules, SelectFault, SlowStart, Tie, TimeFormula, Transition,
};
use proptest::prelude::*;

use crate::pool::{LEAST_CONN, RING, Random, bounded, hash, least_time, specs};

const ALGORITHMS: [Algorithm; 11] = [
    Algorithm::RoundRobin,
    Algorithm::WeightedRoundRobin { burst: false },
    Algorithm::WeightedRoundRobin { burst: true },
    Algorithm::Random,
    LEAST_CONN,
    Algorithm::LeastConn { tie: Tie::Rotate },
    least_time(TimeFormula::ActivePlusOne, 0),
    Algorithm::PowerOfTwo,
    Algorithm::IpHash(keel_balance::IpHashMode::Modulo),
    hash(RING),
    bounded(RING, 1.25),
];

#[derive(Debug, Clone)]
enum Move {
    Select { seed: u64, tried: Vec<u8> },
    Take(u8),
    Drop(u16),
    Fail(u8),
    Succeed(u8),
    Check(u8, bool),
    Rest(u8, u8),
    Wait(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let tried = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(any::<u8>(), 1..8)];
    let one = prop_oneof![
        8 => (any::<u64>(), tried).prop_map(|(seed, tried)| Move::Select { seed, tried }),
        1 => any::<u8>().prop_map(Move::Take),
        3 => any::<u16>().prop_map(Move::Drop),
        2 => any::<u8>().prop_map(Move::Fail),
        2 => any::<u8>().prop_map(Move::Succeed),
        3 => any::<(u8, bool)>().prop_map(|(at, passes)| Move::Check(at, passes)),
        1 => any::<(u8, u8)>().prop_map(|(at, ms)| Move::Rest(at, ms)),
        2 => (0u8..40).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..120)
}

fn servers() -> impl Strategy<Value = Vec<(EndpointSpec, u8)>> {
    let weight = prop_oneof![1 => Just(0u32), 6 => 1u32..4];
    let down = prop::bool::weighted(0.1);
    let one = (weight, 0u32..4, 0u32..3, down, 0u8..4);
    prop::collection::vec(one, 1..9).prop_map(|list| {
        let spec = |(at, one): (usize, (u32, u32, u32, bool, u8))| {
            let (weight, max_connections, max_fails, down, tier) = one;
            let spec = EndpointSpec {
                max_connections,
                max_fails,
                fail_timeout_ms: 50,
                down,
                ..EndpointSpec::new(at.to_string()).weight(weight)
            };
            (spec, tier)
        };
        list.into_iter().enumerate().map(spec).collect()
    })
}

fn rules() -> impl Strategy<Value = PoolRules> {
    let action = prop_oneof![
        Just(PanicAction::SpreadOverAll),
        Just(PanicAction::FailClosed)
    ];
    let slow = prop::option::of((0u64..200, 0.2f64..4.0, 0.0f64..1.0));
    (0u8..=10, action, slow).prop_map(|(threshold, action, slow)| PoolRules {
        passive: Passive::MaxFails,
        panic: Panic {
            threshold: f64::from(threshold) / 10.0,
            action,
        },
        slow_start: slow.map(|(duration_ms, exponent, share_min)| SlowStart {
            duration_ms,
            exponent,
            share_min,
        }),
        tiers: Vec::new(),
        follows_load: false,
    })
}

/// Who may take the request, and the error when nobody may.
fn allowed(balancer: &Balancer, ask: &Ask<'_>) -> Result<BTreeSet<usize>, SelectFault> {
    let all = || 0..balancer.len();
    let state = |at: &usize| balancer.state(*at);
    let open: Vec<usize> = all()
        .filter(|at| balancer.endpoint(*at).is_open())
        .collect();
    let rules = balancer.rules();
    let closed = rules.panic.action == PanicAction::FailClosed;
    let tiers: BTreeSet<u8> = open.iter().map(|at| rules.tiers[*at]).collect();
    let in_tier = |tier: u8| {
        open.iter()
            .copied()
            .filter(move |at| rules.tiers[*at] == tier)
    };
    let healthy = |at: &usize| !state(at).is_resting(ask.now_ms);
    let enough = |tier: &u8| {
        let (well, whole) = (
            in_tier(*tier).filter(healthy).count(),
            in_tier(*tier).count(),
        );
        well > 0 && well as f64 >= rules.panic.threshold * whole as f64
    };
    let mut stages: Vec<Vec<Vec<usize>>> = Vec::new();
    match tiers.iter().find(|tier| enough(tier)) {
        Some(serving) => {
            let others = tiers.iter().filter(|tier| *tier != serving);
            let order = std::iter::once(serving).chain(others);
            stages.push(
                order
                    .map(|tier| in_tier(*tier).filter(healthy).collect())
                    .collect(),
            );
            for down in [false, true] {
                let last = |at: &usize| !closed && state(at).is_down() == down;
                stages.push(vec![open.iter().copied().filter(last).collect()]);
            }
        }
        None if closed && !open.is_empty() => return Err(SelectFault::TooFewHealthy),
        None => stages.push(vec![open.clone()]),
    }
    let untried = |at: &usize| !ask.tried.contains(at);
    let room = |at: &usize| {
        let limit = balancer.endpoint(*at).max_connections;
        limit == 0 || state(at).active() < limit
    };
    for stage in &stages {
        for group in stage {
            let takers = group.iter().copied().filter(|at| untried(at) && room(at));
            let takers: BTreeSet<usize> = takers.collect();
            if !takers.is_empty() {
                return Ok(takers);
            }
        }
        if stage.iter().flatten().any(untried) {
            return Err(SelectFault::AllFull);
        }
    }
    Err(match open.is_empty() {
        true => SelectFault::AllDown,
        false => SelectFault::AllTried,
    })
}

fn run(
    algorithm: Algorithm,
    servers: Vec<(EndpointSpec, u8)>,
    mut rules: PoolRules,
    moves: Vec<Move>,
) -> Result<(), TestCaseError> {
    let fresh = |(spec, tier): (EndpointSpec, u8)| ((spec, Arc::new(EndpointState::new())), tier);
    let (endpoints, tiers): (Vec<_>, Vec<u8>) = servers.into_iter().map(fresh).unzip();
    rules.tiers = tiers;
    let balancer = Balancer::with_rules(algorithm, endpoints, rules).unwrap();
    let index = |at: u8| usize::from(at) * balancer.len() / 256;
    let mut held = Vec::new();
    let mut now = 1_000;
    for one in moves {
        match one {
            Move::Select { seed, tried } => {
                let tried: Vec<usize> = tried.into_iter().map(index).collect();
                let ask = Random(seed).ask(now);
                let ask = Ask {
                    tried: &tried,
                    ..ask
                };
                let allowed = allowed(&balancer, &ask);
                match (allowed, balancer.select(&ask)) {
                    (Ok(allowed), Ok(selected)) => {
                        prop_assert!(allowed.contains(&selected.index), "not of {allowed:?}");
                        held.push(selected);
                    }
                    (Err(expected), Err(fault)) => prop_assert_eq!(fault, expected),
                    (allowed, is) => prop_assert!(false, "{is:?}, but allowed are {allowed:?}"),
                }
            }
            Move::Take(at) => {
                let (at, state) = (index(at), balancer.state(index(at)));
                let spec = balancer.endpoint(at);
                let full = spec.max_connections != 0 && state.active() >= spec.max_connections;
                let expected = !spec.down && !full && !state.is_resting(now);
                let taken = balancer.take(at, now);
                prop_assert_eq!(taken.is_some(), expected);
                held.extend(taken);
            }
            Move::Drop(_) if held.is_empty() => {}
            Move::Drop(at) => drop(held.swap_remove(usize::from(at) % held.len())),
            Move::Fail(at) => {
                let at = index(at);
                let down = balancer.state(at).is_down();
                let change = balancer.report(at, Outcome::Failure, now);
                prop_assert!(matches!(change, None | Some(Transition::Rested)));
                prop_assert_eq!(balancer.state(at).is_down(), down);
            }
            Move::Succeed(at) => {
                let at = index(at);
                let down = balancer.state(at).is_down();
                let change = balancer.report(at, Outcome::Success, now);
                prop_assert!(matches!(change, None | Some(Transition::Recovered)));
                prop_assert_eq!(balancer.state(at).is_down(), down, "traffic is no check");
            }
            Move::Check(at, passes) => {
                let down = balancer.state(index(at)).is_down();
                let change = balancer.checked(index(at), passes, now);
                let expected = match (down, passes) {
                    (true, true) => Some(Transition::Up),
                    (false, false) => Some(Transition::Down),
                    _ => None,
                };
                prop_assert_eq!(change, expected);
                prop_assert_eq!(balancer.state(index(at)).is_down(), !passes);
            }
            Move::Rest(at, ms) => {
                let until = balancer.state(index(at)).rests_until_ms();
                let end = now + u64::from(ms);
                let change = balancer.rest(index(at), end, now);
                let expected = (until == 0 && ms > 0).then_some(Transition::Rested);
                prop_assert_eq!(change, expected);
                let rests = balancer.state(index(at)).rests_until_ms();
                prop_assert_eq!(rests, if end > now.max(until) { end } else { until });
            }
            Move::Wait(ms) => now += u64::from(ms),
        }
    }
    drop(held);
    prop_assert!((0..balancer.len()).all(|at| balancer.state(at).active() == 0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn those_who_may_are_chosen(
        algorithm in prop::sample::select(&ALGORITHMS[..]),
        servers in servers(),
        rules in rules(),
        moves in moves(),
    ) {
        run(algorithm, servers, rules, moves)?;
    }
}

#[test]
fn below_the_threshold_all_share_or_none_is_served() {
    for (action, expected) in [
        (PanicAction::SpreadOverAll, Ok(10)),
        (PanicAction::FailClosed, Err(SelectFault::TooFewHealthy)),
    ] {
        let rules = PoolRules {
            panic: Panic {
                threshold: 0.5,
                action,
            },
            ..PoolRules::default()
        };
        let endpoints = specs(&[1; 10]).into_iter();
        let endpoints = endpoints.map(|spec| (spec, Arc::new(EndpointState::new())));
        let balancer =
            Balancer::with_rules(Algorithm::RoundRobin, endpoints.collect(), rules).unwrap();
        let reached = |now: u64| {
            let chosen = (0..20).map(|_| Ok(balancer.select(&Ask::at(now, 1))?.index));
            let chosen: Result<BTreeSet<usize>, SelectFault> = chosen.collect();
            chosen.map(|chosen| chosen.len())
        };
        for index in 0..5 {
            assert_eq!(balancer.checked(index, false, 1), Some(Transition::Down));
        }
        assert_eq!(reached(1), Ok(5), "half is enough");
        assert_eq!(balancer.checked(5, false, 2), Some(Transition::Down));
        assert_eq!(reached(2), expected);
        assert_eq!(balancer.checked(0, true, 3), Some(Transition::Up));
        assert_eq!(reached(3), Ok(5));
    }
}

#[test]
fn a_check_of_the_newer_balancer_is_seen_by_the_older_one() {
    let states: Vec<_> = (0..2).map(|_| Arc::new(EndpointState::new())).collect();
    let built = || {
        let endpoints = specs(&[1, 1]).into_iter().zip(states.iter().cloned());
        Balancer::new(Algorithm::RoundRobin, endpoints.collect()).unwrap()
    };
    let (old, new) = (built(), built());
    let chosen = |at: &Balancer, now: u64| at.select(&Ask::at(now, 1)).unwrap().index;
    chosen(&old, 0);
    chosen(&new, 0);
    assert_eq!(new.checked(0, false, 1), Some(Transition::Down));
    assert!((1..900).all(|now| chosen(&old, now) == 1 && chosen(&new, now) == 1));
    assert_eq!(new.checked(0, true, 900), Some(Transition::Up));
    assert!((900..902).any(|now| chosen(&new, now) == 0));
    assert!((2_000..2_002).any(|now| chosen(&old, now) == 0));
}
