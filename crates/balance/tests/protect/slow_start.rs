//! Slow start under every algorithm: the share of a server that came back follows the curve.

use std::collections::VecDeque;
use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, Balancer, EndpointState, PoolRules, SlowStart, Tie, TimeFormula, hash_key,
};

use crate::pool::{ALL, LEAST_CONN, RING, Random, hash, least_time, specs};

const SLOW: SlowStart = SlowStart {
    duration_ms: 10_000,
    exponent: 1.0,
    share_min: 0.1,
};

fn pool(algorithm: Algorithm, weights: &[u32]) -> Balancer {
    let rules = PoolRules {
        slow_start: Some(SLOW),
        ..PoolRules::default()
    };
    let specs = specs(weights).into_iter();
    let endpoints = specs.map(|spec| (spec, Arc::new(EndpointState::new())));
    Balancer::with_rules(algorithm, endpoints.collect(), rules).unwrap()
}

/// Requests of 100 ms, two each millisecond, for the time of the slow start and a fifth more;
/// what part of its normal share server 0 got in each second.
fn shares(algorithm: Algorithm, weights: &[u32], seed: u64) -> Vec<f64> {
    let balancer = pool(algorithm, weights);
    let mut random = Random(seed);
    let begin = 1_000;
    let mut running = VecDeque::new();
    let mut counts = [[0u32; 2]; 12];
    for now in 0..begin + 12_000 {
        if now == 500 {
            balancer.checked(0, false, now);
        } else if now == begin {
            balancer.checked(0, true, now);
        }
        while running.front().is_some_and(|(end, _, _)| *end <= now) {
            let (_, index, _permit) = running.pop_front().unwrap();
            let state: &Arc<EndpointState> = balancer.state(index);
            state.record_response(100_000, now);
        }
        for _ in 0..2 {
            let selected = balancer.select(&random.ask(now)).unwrap();
            if now >= begin {
                let second = ((now - begin) / 1_000) as usize;
                counts[second][usize::from(selected.index == 0)] += 1;
            }
            running.push_back((now + 100, selected.index, selected.permit));
        }
    }
    let fair = f64::from(weights[0]) / f64::from(weights.iter().sum::<u32>());
    let share = |[others, own]: [u32; 2]| f64::from(own) / f64::from(others + own) / fair;
    counts.into_iter().map(share).collect()
}

#[test]
fn every_algorithm_follows_the_curve() {
    for algorithm in ALL {
        // By file order, nothing to the last; by hash, too few clients per server to tell.
        let weights: &[u32] = match algorithm {
            Algorithm::RoundRobin | Algorithm::Random | Algorithm::IpHash(_) => &[1; 5],
            _ => &[2, 1, 3, 2, 2],
        };
        for seed in 0..3 {
            let shares = shares(algorithm, weights, seed);
            for (second, share) in shares.iter().enumerate() {
                let expected = SLOW.share(second as u64 * 1_000 + 500);
                // Two drawn, of which the less busy: up to twice the share.
                let (least, most) = match algorithm {
                    Algorithm::PowerOfTwo => (expected * 0.7, expected * 2.0 + 0.1),
                    _ => (expected * 0.7 - 0.05, expected * 1.3 + 0.1),
                };
                assert!(
                    (least..most).contains(share),
                    "{algorithm:?}, seed {seed}, second {second}: {share:.2} for {expected:.2}"
                );
            }
        }
    }
}

/// Where servers have nothing to do most of the time, all of them are equally loaded.
#[test]
fn a_quiet_pool_follows_the_curve_under_least_conn() {
    for tie in [Tie::First, Tie::Rotate] {
        let balancer = pool(Algorithm::LeastConn { tie }, &[1, 1, 1]);
        balancer.checked(0, false, 1);
        balancer.checked(0, true, 1_000);
        let mut random = Random(17);
        for now in [1_500, 5_000, 9_000, 12_000] {
            let own = (0..3_000).filter(|_| balancer.select(&random.ask(now)).unwrap().index == 0);
            let fair = if tie == Tie::First { 1.0 } else { 1.0 / 3.0 };
            let wanted = fair * SLOW.share(now - 1_000);
            let share = own.count() as f64 / 3_000.0;
            assert!(
                (share - wanted).abs() < 0.05,
                "{tie:?} at {now}: {share:.2} for {wanted:.2}"
            );
        }
    }
}

#[test]
fn without_slow_start_it_is_all_at_once() {
    let specs = specs(&[1; 5]).into_iter();
    let endpoints = specs.map(|spec| (spec, Arc::new(EndpointState::new())));
    let balancer = Balancer::new(Algorithm::RoundRobin, endpoints.collect()).unwrap();
    balancer.checked(0, false, 1);
    balancer.checked(0, true, 2);
    let mut random = Random(1);
    let own = (0..1_000).filter(|_| balancer.select(&random.ask(3)).unwrap().index == 0);
    assert_eq!(own.count(), 200);
}

/// A key that is back at its server stays there while the share grows.
#[test]
fn keys_come_home_one_by_one_and_stay() {
    let balancer = pool(hash(RING), &[1; 6]);
    let keys: Vec<u64> = (0..2_000u64)
        .map(|key| hash_key(&key.to_le_bytes()))
        .collect();
    let at = |now: u64, key: u64| {
        let ask = Ask {
            hash: Some(key),
            ..Ask::at(now, now)
        };
        balancer.select(&ask).unwrap().index
    };
    let before: Vec<usize> = keys.iter().map(|key| at(1, *key)).collect();
    balancer.checked(0, false, 2);
    balancer.checked(0, true, 1_000);
    let mut home = vec![false; keys.len()];
    for now in (1_000..11_200).step_by(200) {
        for (place, key) in keys.iter().enumerate() {
            let index = at(now, *key);
            if before[place] == 0 {
                assert!(index == 0 || !home[place], "a key left again");
                home[place] = index == 0;
            } else {
                assert_eq!(index, before[place], "not a key of its");
            }
        }
    }
    assert!(
        home.iter()
            .zip(&before)
            .all(|(home, before)| *home == (*before == 0))
    );
}

#[test]
fn when_all_come_back_together_all_share() {
    for algorithm in [
        Algorithm::RoundRobin,
        LEAST_CONN,
        least_time(TimeFormula::Active, 50),
    ] {
        let balancer = pool(algorithm, &[1; 4]);
        for index in 0..4 {
            balancer.checked(index, false, 1);
        }
        for index in 0..4 {
            balancer.checked(index, true, 1_000);
        }
        let mut random = Random(3);
        let held: Vec<_> = (0..400)
            .map(|_| balancer.select(&random.ask(1_001)).unwrap())
            .collect();
        for index in 0..4 {
            let own = held.iter().filter(|one| one.index == index).count();
            assert!((80..=120).contains(&own), "{algorithm:?}: {own} of 400");
        }
    }
}

#[test]
fn a_new_server_may_begin_slowly() {
    let balancer = pool(Algorithm::RoundRobin, &[1; 4]);
    balancer.state(2).begin_slowly(5_000);
    let mut random = Random(9);
    let own = (0..4_000).filter(|_| balancer.select(&random.ask(5_000)).unwrap().index == 2);
    assert!((60..140).contains(&own.count()), "a tenth of a fourth");
}
