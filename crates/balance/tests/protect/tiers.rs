//! Tiers: used only when needed, and left when the first is back.

use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, BalanceFault, Balancer, EndpointSpec, EndpointState, PoolRules, hash_key,
};

use crate::pool::{ALL, LEAST_CONN, RENDEZVOUS, Random, hash, names, specs};

fn pool(algorithm: Algorithm, tiers: &[u8], max_connections: u32) -> Balancer {
    let rules = PoolRules {
        tiers: tiers.to_vec(),
        ..PoolRules::default()
    };
    let limit = |spec| EndpointSpec {
        max_connections,
        ..spec
    };
    let endpoints = specs(&vec![1; tiers.len()]).into_iter().map(limit);
    let endpoints = endpoints.map(|spec| (spec, Arc::new(EndpointState::new())));
    Balancer::with_rules(algorithm, endpoints.collect(), rules).unwrap()
}

#[test]
fn a_tier_is_used_when_those_before_it_are_out_and_left_when_they_are_back() {
    for algorithm in ALL {
        let tiers = [5, 0, 200, 0, 5, 200];
        let balancer = pool(algorithm, &tiers, 0);
        let mut random = Random(4);
        let mut tiers_used = |now: u64| {
            let mut used: Vec<u8> = (0..40)
                .map(|_| tiers[balancer.select(&random.ask(now)).unwrap().index])
                .collect();
            used.sort_unstable();
            used.dedup();
            used
        };
        assert_eq!(tiers_used(1), [0], "{algorithm:?}");
        for (now, index, passes, expected) in [
            (2, 1, false, 0),
            (3, 3, false, 5),
            (4, 0, false, 5),
            (5, 4, false, 200),
            (6, 0, true, 5),
            (7, 1, true, 0),
            (8, 3, true, 0),
        ] {
            assert!(balancer.checked(index, passes, now).is_some());
            assert_eq!(tiers_used(now), [expected], "{algorithm:?} at {now}");
        }
    }
}

#[test]
fn a_full_tier_flows_over_into_the_next() {
    for algorithm in ALL {
        let balancer = pool(algorithm, &[0, 1, 2, 0, 1, 2], 2);
        let mut random = Random(6);
        let mut held = Vec::new();
        for number in 0..12 {
            held.push(balancer.select(&random.ask(1)).unwrap());
            let expected = number / 4;
            let tier = held[number].index % 3;
            assert_eq!(tier, expected, "{algorithm:?}: request {number}");
        }
        assert!(balancer.select(&random.ask(1)).is_err());
        held.clear();
        assert_eq!(balancer.select(&random.ask(1)).unwrap().index % 3, 0);
    }
}

#[test]
fn backups_are_the_second_tier() {
    for algorithm in [Algorithm::RoundRobin, LEAST_CONN, hash(RENDEZVOUS)] {
        let tiered = pool(algorithm, &[0, 0, 1], 0);
        let spec = |(at, spec): (usize, EndpointSpec)| EndpointSpec {
            backup: at == 2,
            ..spec
        };
        let endpoints = specs(&[1; 3]).into_iter().enumerate().map(spec);
        let endpoints = endpoints.map(|spec| (spec, Arc::new(EndpointState::new())));
        let plain = Balancer::new(algorithm, endpoints.collect()).unwrap();
        for down in [None, Some(0), Some(1)] {
            for balancer in [&tiered, &plain] {
                down.map(|index| balancer.checked(index, false, 1));
            }
            assert_eq!(names(&tiered, 50), names(&plain, 50), "{algorithm:?}");
        }
    }
}

/// In a later tier a key has one server too, and only the keys of a lost one move.
#[test]
fn keys_are_consistent_in_every_tier() {
    let balancer = pool(hash(RENDEZVOUS), &[0, 1, 1, 1, 1, 1], 0);
    balancer.checked(0, false, 1);
    let at = |now: u64, key: u64| {
        let ask = Ask {
            hash: Some(hash_key(&key.to_le_bytes())),
            ..Ask::at(now, now)
        };
        balancer.select(&ask).unwrap().index
    };
    let before: Vec<usize> = (0..1_000).map(|key| at(2, key)).collect();
    balancer.checked(3, false, 3);
    for (key, before) in (0..).zip(&before) {
        let after = at(4, key);
        assert!(
            after == *before || *before == 3,
            "key {key}: {before}, then {after}"
        );
    }
}

/// A pool whose primaries are drained: its backups keep their keys, also when all of them fail.
#[test]
fn keys_stay_when_a_drained_tier_comes_first() {
    let endpoints = specs(&[0, 1, 1, 1]).into_iter();
    let endpoints = endpoints.map(|spec| (spec, Arc::new(EndpointState::new())));
    let rules = PoolRules {
        tiers: vec![0, 1, 1, 1],
        ..PoolRules::default()
    };
    let balancer = Balancer::with_rules(hash(RENDEZVOUS), endpoints.collect(), rules).unwrap();
    let at = |now: u64, key: u64| {
        let ask = Ask {
            hash: Some(hash_key(&key.to_le_bytes())),
            ..Ask::at(now, now.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        };
        balancer.select(&ask).unwrap().index
    };
    let before: Vec<usize> = (0..300).map(|key| at(1, key)).collect();
    for index in 1..4 {
        balancer.checked(index, false, 2);
    }
    let after: Vec<usize> = (0..300).map(|key| at(3 + key, key)).collect();
    assert_eq!(before, after);
}

#[test]
fn every_server_has_a_tier_or_none() {
    let rules = PoolRules {
        tiers: vec![0, 1],
        ..PoolRules::default()
    };
    let endpoints = specs(&[1; 3]).into_iter();
    let endpoints = endpoints.map(|spec| (spec, Arc::new(EndpointState::new())));
    let fault = Balancer::with_rules(Algorithm::Random, endpoints.collect(), rules).unwrap_err();
    let expected = BalanceFault::Tiers {
        tiers: 2,
        servers: 3,
    };
    assert_eq!(fault, expected);
}
