//! Weights that follow what servers report of their load.

use std::collections::VecDeque;
use std::sync::Arc;

use keel_balance::{
    Algorithm, Balancer, EndpointState, PoolRules, SlowStart, TimeFormula, load_share,
};

use crate::pool::{ALL, LEAST_CONN, Random, least_time, specs};

const BY_WEIGHT: [Algorithm; 6] = [
    Algorithm::WeightedRoundRobin { burst: false },
    Algorithm::WeightedRoundRobin { burst: true },
    Algorithm::WeightedRandom,
    LEAST_CONN,
    least_time(TimeFormula::ActivePlusOne, 50),
    Algorithm::PowerOfTwo,
];

fn pool(algorithm: Algorithm, weights: &[u32], slow_start: Option<SlowStart>) -> Balancer {
    let rules = PoolRules {
        slow_start,
        follows_load: true,
        ..PoolRules::default()
    };
    let specs = specs(weights).into_iter();
    let endpoints = specs.map(|spec| (spec, Arc::new(EndpointState::new())));
    Balancer::with_rules(algorithm, endpoints.collect(), rules).unwrap()
}

/// Requests of 100 ms, two each millisecond, with every server reporting the same load all the
/// time; how many each got from the second `from_ms` on.
fn counts(balancer: &Balancer, busy: &[f64], from_ms: u64, to_ms: u64, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    let mut running = VecDeque::new();
    let mut counts = vec![0u32; busy.len()];
    for now in 1..to_ms {
        while running.front().is_some_and(|(end, _, _)| *end <= now) {
            let (_, index, _permit) = running.pop_front().unwrap();
            let state: &Arc<EndpointState> = balancer.state(index);
            state.record_response(100_000, now);
            state.report_load(busy[index], now);
        }
        for _ in 0..2 {
            let selected = balancer.select(&random.ask(now)).unwrap();
            if now >= from_ms {
                counts[selected.index] += 1;
            }
            running.push_back((now + 100, selected.index, selected.permit));
        }
    }
    counts
}

#[test]
fn shares_follow_the_reports() {
    let busy = [0.9, 0.2, 0.6, 0.6];
    let weights = [2, 1, 1, 2];
    let wanted = |index: usize| f64::from(weights[index]) * load_share(busy[index]);
    let total: f64 = (0..4).map(wanted).sum();
    for algorithm in BY_WEIGHT {
        for seed in 0..3 {
            let balancer = pool(algorithm, &weights, None);
            let counts = counts(&balancer, &busy, 3_000, 9_000, seed);
            for (index, count) in counts.into_iter().enumerate() {
                let (share, wanted) = (f64::from(count) / 12_000.0, wanted(index) / total);
                // Two drawn, of which the less busy by weight.
                let slack = match algorithm {
                    Algorithm::PowerOfTwo => 0.6,
                    _ => 0.25,
                };
                assert!(
                    (share - wanted).abs() < wanted * slack + 0.02,
                    "{algorithm:?}, seed {seed}, server {index}: {share:.3} for {wanted:.3}"
                );
            }
        }
    }
}

#[test]
fn equally_busy_servers_share_by_their_weights() {
    for algorithm in BY_WEIGHT {
        let balancer = pool(algorithm, &[1, 1, 1, 1], None);
        let counts = counts(&balancer, &[0.97; 4], 3_000, 9_000, 5);
        let even = counts.iter().all(|count| (2_600..3_400).contains(count));
        assert!(even, "{algorithm:?}: {counts:?}");
    }
}

#[test]
fn algorithms_without_weights_do_not_follow() {
    let others = ALL.into_iter().filter(|one| !BY_WEIGHT.contains(one));
    for algorithm in others.filter(|one| !matches!(one, Algorithm::LeastConn { .. })) {
        if matches!(algorithm, Algorithm::LeastTime { .. }) {
            continue;
        }
        let loaded = pool(algorithm, &[1; 5], None);
        let plain = crate::pool::pool(algorithm, &[1; 5]);
        loaded.state(2).report_load(1.0, 1);
        let (mut one, mut other) = (Random(3), Random(3));
        for now in 2..2_000 {
            let (one, other) = (one.ask(now), other.ask(now));
            let chosen = loaded.select(&one).unwrap().index;
            assert_eq!(chosen, plain.select(&other).unwrap().index, "{algorithm:?}");
        }
    }
}

#[test]
fn a_silent_server_is_back_at_its_weight_after_half_a_minute() {
    let algorithm = Algorithm::WeightedRoundRobin { burst: false };
    let balancer = pool(algorithm, &[1, 1], None);
    balancer.state(0).report_load(0.9, 1_000);
    let mut random = Random(11);
    let mut share_at = |now: u64| {
        let of_first = |_: &u32| balancer.select(&random.ask(now)).unwrap().index == 0;
        (0..2_000).filter(of_first).count() as f64 / 2_000.0
    };
    assert!((share_at(2_000) - 0.1 / 1.1).abs() < 0.03);
    assert!((share_at(21_000) - 0.55 / 1.55).abs() < 0.03);
    assert!((share_at(31_500) - 0.5).abs() < 0.001);
}

#[test]
fn slow_start_and_load_multiply() {
    let slow = SlowStart {
        duration_ms: 10_000,
        exponent: 1.0,
        share_min: 0.5,
    };
    let algorithm = Algorithm::WeightedRoundRobin { burst: false };
    let balancer = pool(algorithm, &[1, 1], Some(slow));
    balancer.checked(0, false, 1);
    balancer.state(0).report_load(0.6, 1_000);
    balancer.checked(0, true, 1_000);
    let mut random = Random(23);
    let of_first = |_: &u32| balancer.select(&random.ask(1_001)).unwrap().index == 0;
    let share = (0..20_000).filter(of_first).count() as f64 / 20_000.0;
    let wanted = 0.2 / 1.2;
    assert!((share - wanted).abs() < 0.02, "{share:.3} for {wanted:.3}");
}
