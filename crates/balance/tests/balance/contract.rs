//! The rules that hold for every algorithm, against a model that looks at every server: who may be
//! chosen, in which tier, and what an error means. Plus the rule of each load-aware algorithm.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, Balancer, EndpointSpec, EndpointState, Outcome, SelectFault, Selected, Tie,
    TimeFormula,
};
use proptest::prelude::*;

use crate::pool::*;

fn spec() -> impl Strategy<Value = EndpointSpec> {
    let weight = prop_oneof![1 => Just(0u32), 6 => 1u32..4, 1 => Just(65_535)];
    (
        weight,
        prop::bool::weighted(0.25),
        0u32..4,
        0u32..3,
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(weight, backup, max_connections, max_fails, down)| EndpointSpec {
                backup,
                max_connections,
                max_fails,
                fail_timeout_ms: 50,
                down,
                ..EndpointSpec::new("").weight(weight)
            },
        )
}

fn servers(
    count: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<EndpointSpec>> {
    prop::collection::vec(spec(), count).prop_map(|mut specs| {
        for (index, spec) in specs.iter_mut().enumerate() {
            spec.name = index.to_string();
        }
        specs
    })
}

#[derive(Debug, Clone)]
enum Move {
    Select { seed: u64, tried: Vec<u8> },
    Drop(u16),
    Fail(u8),
    Succeed(u8),
    Record(u8, u16),
    Wait(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let tried = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(any::<u8>(), 1..8)];
    let one = prop_oneof![
        8 => (any::<u64>(), tried).prop_map(|(seed, tried)| Move::Select { seed, tried }),
        3 => any::<u16>().prop_map(Move::Drop),
        2 => any::<u8>().prop_map(Move::Fail),
        2 => any::<u8>().prop_map(Move::Succeed),
        2 => any::<(u8, u16)>().prop_map(|(at, us)| Move::Record(at, us)),
        1 => (0u8..40).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..120)
}

/// Who may take the request, and the error when nobody may.
fn allowed(balancer: &Balancer, ask: &Ask<'_>) -> Result<BTreeSet<usize>, SelectFault> {
    let all = || 0..balancer.len();
    let room = |index: &usize| {
        let limit = balancer.endpoint(*index).max_connections;
        limit == 0 || balancer.state(*index).active() < limit
    };
    let open = |index: &usize| balancer.endpoint(*index).is_open();
    let resting = |index: &usize| balancer.state(*index).is_resting(ask.now_ms);
    let ready = |index: &usize| open(index) && !resting(index);
    let untried = |index: &usize| !ask.tried.contains(index);
    let backup = |index: &usize| balancer.endpoint(*index).backup;
    let zero = |index: &usize| !open(index) && !balancer.endpoint(*index).down;

    let zeros = balancer.algorithm() == Algorithm::WeightedRandom && !all().any(|at| ready(&at));
    let mut tiers: Vec<BTreeSet<usize>> = vec![
        all().filter(|at| ready(at) && !backup(at)).collect(),
        all().filter(|at| ready(at) && backup(at)).collect(),
    ];
    if zeros {
        tiers.push(all().filter(|at| zero(at) && !resting(at)).collect());
    }
    let mut last: BTreeSet<usize> = all().filter(open).collect();
    if zeros && last.is_empty() && tiers[2].is_empty() {
        last = all().filter(zero).collect();
    }
    let nobody = last.is_empty() && tiers.iter().all(BTreeSet::is_empty);
    for tiers in [tiers, vec![last]] {
        for tier in &tiers {
            let takers: BTreeSet<usize> = tier
                .iter()
                .copied()
                .filter(|at| untried(at) && room(at))
                .collect();
            if !takers.is_empty() {
                return Ok(takers);
            }
        }
        if tiers.iter().flatten().any(untried) {
            return Err(SelectFault::AllFull);
        }
    }
    Err(if nobody {
        SelectFault::AllDown
    } else {
        SelectFault::AllTried
    })
}

/// The product or quotient by which the algorithm goes, for comparing without division.
fn by_load(balancer: &Balancer, formula: Option<TimeFormula>, a: usize, b: usize) -> Ordering {
    let load = |index: usize| {
        let state = balancer.state(index);
        let (active, us) = (
            u128::from(state.active()),
            u128::from(state.response_time_us()),
        );
        match formula {
            None => active,
            Some(TimeFormula::Active) => active * us,
            Some(TimeFormula::ActivePlusOne) => (active + 1) * us,
        }
    };
    let weight = |index: usize| u128::from(balancer.endpoint(index).weight);
    (load(a) * weight(b)).cmp(&(load(b) * weight(a)))
}

/// Checks that the choice was the right one by the rule of its algorithm; `select` is asked here.
fn check_select(balancer: &Balancer, ask: &Ask<'_>) -> Result<Option<Selected>, TestCaseError> {
    let allowed = allowed(balancer, ask);
    let formula = match balancer.algorithm() {
        Algorithm::LeastConn { .. } => Some(None),
        // An odd product of an unmeasured server is a rule of its own.
        Algorithm::LeastTime { formula, .. }
            if (0..balancer.len()).all(|at| balancer.state(at).response_time_us() > 0) =>
        {
            Some(Some(formula))
        }
        _ => None,
    };
    let least = match (&allowed, formula) {
        (Ok(allowed), Some(formula)) => {
            let mut best: Vec<usize> = Vec::new();
            for at in allowed.iter().copied() {
                match best
                    .first()
                    .map(|first| by_load(balancer, formula, at, *first))
                {
                    None | Some(Ordering::Less) => best = vec![at],
                    Some(Ordering::Equal) => best.push(at),
                    Some(Ordering::Greater) => {}
                }
            }
            best
        }
        _ => Vec::new(),
    };
    let primary_tier = allowed.as_ref().is_ok_and(|allowed| {
        allowed
            .iter()
            .all(|at| !balancer.endpoint(*at).backup && !balancer.state(*at).is_resting(ask.now_ms))
    });
    match (allowed, balancer.select(ask)) {
        (Ok(allowed), Ok(selected)) => {
            prop_assert!(
                allowed.contains(&selected.index),
                "{selected:?} not in {allowed:?}"
            );
            // In the tier in use the rule is exact. Servers of later tiers are taken as they come.
            if primary_tier && !least.is_empty() {
                prop_assert!(
                    least.contains(&selected.index),
                    "{selected:?} not in {least:?}"
                );
                if balancer.algorithm() == (Algorithm::LeastConn { tie: Tie::First }) {
                    prop_assert_eq!(selected.index, least[0]);
                }
            }
            Ok(Some(selected))
        }
        (Err(expected), Err(fault)) => {
            prop_assert_eq!(fault, expected);
            Ok(None)
        }
        (allowed, result) => Err(TestCaseError::fail(format!(
            "{result:?}, but allowed are {allowed:?}"
        ))),
    }
}

fn run(
    algorithm: Algorithm,
    specs: Vec<EndpointSpec>,
    moves: Vec<Move>,
) -> Result<(), TestCaseError> {
    let balancer = pool_of(algorithm, specs);
    let index = |at: u8| usize::from(at) * balancer.len() / 256;
    let mut held = Vec::new();
    let mut now = 1_000;
    for one in moves {
        match one {
            Move::Select { seed, tried } => {
                let tried: Vec<usize> = tried.into_iter().map(index).collect();
                let ask = Random(seed).ask(now);
                held.extend(check_select(
                    &balancer,
                    &Ask {
                        tried: &tried,
                        ..ask
                    },
                )?);
            }
            Move::Drop(_) if held.is_empty() => {}
            Move::Drop(at) => drop(held.swap_remove(usize::from(at) % held.len())),
            Move::Fail(at) => drop(balancer.report(index(at), Outcome::Failure, now)),
            Move::Succeed(at) => drop(balancer.report(index(at), Outcome::Success, now)),
            Move::Record(at, us) => balancer.state(index(at)).record_response(us.into(), now),
            Move::Wait(ms) => now += u64::from(ms),
        }
        let ready = (0..balancer.len())
            .filter(|at| balancer.endpoint(*at).is_open() && !balancer.state(*at).is_resting(now));
        prop_assert_eq!(balancer.ready_count(now), ready.count());
    }
    drop(held);
    prop_assert!((0..balancer.len()).all(|at| balancer.state(at).active() == 0));
    Ok(())
}

/// Those whose tables take long to build without optimisation have fewer cases.
const QUICK: [Algorithm; 13] = [
    Algorithm::RoundRobin,
    Algorithm::WeightedRoundRobin { burst: false },
    Algorithm::WeightedRoundRobin { burst: true },
    Algorithm::Random,
    Algorithm::WeightedRandom,
    LEAST_CONN,
    Algorithm::LeastConn { tie: Tie::Rotate },
    least_time(TimeFormula::Active, 0),
    least_time(TimeFormula::ActivePlusOne, 0),
    Algorithm::PowerOfTwo,
    Algorithm::IpHash(keel_balance::IpHashMode::Modulo),
    hash(RING),
    bounded(RING, 1.25),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn small_pools(
        algorithm in prop::sample::select(&QUICK[..]),
        specs in servers(1..7),
        moves in moves(),
    ) {
        run(algorithm, specs, moves)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn pools_of_several_groups(
        algorithm in prop::sample::select(&QUICK[..]),
        specs in servers(33..140),
        moves in moves(),
    ) {
        run(algorithm, specs, moves)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn all_algorithms(
        algorithm in prop::sample::select(&ALL[..]),
        specs in servers(1..12),
        moves in moves(),
    ) {
        if !matches!(algorithm, Algorithm::LeastTime { .. }) {
            run(algorithm, specs, moves)?;
        }
    }

    /// Nobody has more than the bound over the mean, whatever the keys: a few hot ones, many cold.
    #[test]
    fn bounded_load_holds(
        weights in prop::collection::vec(1u32..5, 1..80),
        scheme in prop_oneof![6 => Just(RING), 1 => Just(RENDEZVOUS), 1 => Just(MAGLEV)],
        bound in prop_oneof![Just(1.0), Just(1.25), Just(2.0)],
        seed in any::<u64>(),
    ) {
        let balancer = pool(bounded(scheme, bound), &weights);
        let total_weight: u32 = weights.iter().sum();
        let mut random = Random(seed);
        let mut held = Vec::new();
        for _ in 0..600 {
            let key = if random.below(3) == 0 { random.next() } else { random.below(2) };
            let ask = Ask { hash: Some(keel_balance::hash_key(&key.to_le_bytes())), ..random.ask(1) };
            held.push(balancer.select(&ask).unwrap());
            let index = held.last().unwrap().index;
            let mean = held.len() as f64 * f64::from(weights[index]) / f64::from(total_weight);
            let active = f64::from(balancer.state(index).active());
            prop_assert!(active <= (bound * mean).ceil(), "{active}, the mean is {mean}");
            if random.below(5) < 2 {
                let place = random.below(held.len() as u64) as usize;
                held.swap_remove(place);
            }
        }
    }
}

#[test]
fn a_bound_moves_only_what_is_over_it() {
    let plain = pool(hash(RING), &[1; 8]);
    let tight = pool(bounded(RING, 1.25), &[1; 8]);
    let mut random = Random(6);
    let mut held = Vec::new();
    let mut away = 0;
    for _ in 0..4_000 {
        let ask = random.ask(1);
        let selected = tight.select(&ask).unwrap();
        away += u32::from(plain.select(&ask).unwrap().index != selected.index);
        held.push(selected);
    }
    assert!(away < 600, "{away} of 4,000 keys are not at home");
}

#[test]
fn further_attempts_leave_the_turns_of_first_ones_as_they_are() {
    for weights in [[1, 1], [3, 1]] {
        let servers = [0, 1].map(|at| {
            let name = format!("s{at}");
            let spec = EndpointSpec {
                weight: weights[at],
                max_fails: 0,
                ..EndpointSpec::new(name)
            };
            (spec, Arc::new(EndpointState::new()))
        });
        let algorithm = Algorithm::WeightedRoundRobin { burst: false };
        let balancer = Balancer::new(algorithm, servers.into()).expect("sound");
        let mut first = [0; 2];
        for now_ms in 0..400 {
            let ask = Ask::at(now_ms, now_ms);
            let chosen = balancer.select(&ask).expect("one is ready").index;
            first[chosen] += 1;
            // The first server fails all it gets: each of its requests is tried at the other.
            if chosen == 0 {
                let tried = [0];
                let ask = Ask {
                    tried: &tried,
                    ..ask
                };
                assert_eq!(balancer.select(&ask).expect("the other").index, 1);
            }
        }
        let [a, b] = weights.map(|weight| weight * 400 / (weights[0] + weights[1]));
        assert_eq!(first, [a, b]);
    }
}
