//! What the configuration allows: faults, drained and down servers, limits, lists of those tried.

use std::sync::Arc;

use keel_balance::{
    Algorithm, Ask, BalanceFault, Balancer, ENDPOINTS_MAX, EndpointSpec, EndpointState, HashScheme,
    SelectFault, Tie,
};

use crate::pool::*;

fn fault(algorithm: Algorithm, specs: Vec<EndpointSpec>) -> BalanceFault {
    let fresh = |spec| (spec, Arc::new(EndpointState::new()));
    Balancer::new(algorithm, specs.into_iter().map(fresh).collect()).unwrap_err()
}

#[test]
fn what_no_balancer_can_be_built_from_is_named() {
    let twice = vec![EndpointSpec::new("a"), EndpointSpec::new("a")];
    assert_eq!(
        fault(Algorithm::RoundRobin, twice).to_string(),
        "two servers of the pool are named `a`; names must differ, hashing goes by them"
    );
    let heavy = fault(
        Algorithm::RoundRobin,
        vec![EndpointSpec::new("a").weight(65_536)],
    );
    assert_eq!(
        heavy,
        BalanceFault::WeightTooLarge {
            name: "a".into(),
            weight: 65_536
        }
    );
    for bound in [0.99, -1.0, f64::NAN, f64::INFINITY] {
        let fault = fault(bounded(RING, bound), specs(&[1]));
        assert!(
            matches!(fault, BalanceFault::BoundTooSmall { .. }),
            "{bound}"
        );
    }
    for points in [0, 4_097] {
        let scheme = HashScheme::Ring { points };
        assert_eq!(
            fault(hash(scheme), specs(&[1])),
            BalanceFault::RingPoints { points }
        );
    }
    for table_size in [0, 1, 9, 65_536, 5_000_081] {
        let scheme = HashScheme::Maglev { table_size };
        assert_eq!(
            fault(hash(scheme), specs(&[1])),
            BalanceFault::MaglevTable { table_size }
        );
    }
    let too_small = HashScheme::Maglev { table_size: 7 };
    assert_eq!(
        fault(hash(too_small), specs(&[1; 8])),
        BalanceFault::MaglevTable { table_size: 7 }
    );
    assert!(
        pool(hash(HashScheme::Maglev { table_size: 2 }), &[1])
            .select(&Ask::at(0, 0))
            .is_ok()
    );
    let many = fault(Algorithm::RoundRobin, specs(&vec![1; ENDPOINTS_MAX + 1]));
    assert_eq!(
        many,
        BalanceFault::TooManyEndpoints {
            count: ENDPOINTS_MAX + 1
        }
    );
}

#[test]
fn all_down_or_all_drained_is_an_error() {
    for algorithm in ALL {
        let down = |spec| EndpointSpec { down: true, ..spec };
        let all_down = pool_of(algorithm, specs(&[1, 2]).into_iter().map(down));
        assert_eq!(
            all_down.select(&Ask::at(0, 0)).unwrap_err(),
            SelectFault::AllDown
        );
        assert_eq!(all_down.ready_count(0), 0);
        assert!(all_down.take(0, 0).is_none());
        if algorithm != Algorithm::WeightedRandom {
            let drained = pool(algorithm, &[0, 0]);
            assert_eq!(
                drained.select(&Ask::at(0, 0)).unwrap_err(),
                SelectFault::AllDown
            );
        }
    }
}

#[test]
fn a_drained_server_keeps_its_sessions_only() {
    for algorithm in ALL {
        let balancer = pool(algorithm, &[1, 0, 1]);
        let mut random = Random(1);
        for now in 0..200 {
            assert_ne!(
                balancer.select(&random.ask(now)).unwrap().index,
                1,
                "{algorithm:?}"
            );
        }
        let session = balancer.take(1, 200).unwrap();
        assert_eq!((session.index, balancer.state(1).active()), (1, 1));
        assert!(balancer.take(3, 200).is_none(), "no such server");
    }
}

#[test]
fn limits_hold_and_places_come_back() {
    for algorithm in ALL {
        let limit = |spec| EndpointSpec {
            max_connections: 2,
            ..spec
        };
        let balancer = pool_of(algorithm, specs(&[1, 3, 2, 1, 1]).into_iter().map(limit));
        let mut random = Random(9);
        let mut held: Vec<_> = (0..10)
            .map(|_| balancer.select(&random.ask(1)).unwrap())
            .collect();
        assert_eq!(
            balancer.select(&random.ask(1)).unwrap_err(),
            SelectFault::AllFull
        );
        assert!(balancer.take(2, 1).is_none());
        for _ in 0..30 {
            let place = random.below(10) as usize;
            let freed = held.swap_remove(place).index;
            let again = balancer.select(&random.ask(1)).unwrap();
            assert_eq!(again.index, freed, "{algorithm:?}");
            held.push(again);
        }
        drop(held);
        assert!((0..5).all(|index| balancer.state(index).active() == 0));
    }
}

#[test]
fn a_full_pool_of_any_size_finds_its_last_place() {
    for algorithm in ALL {
        let limit = |spec| EndpointSpec {
            max_connections: 1,
            ..spec
        };
        let balancer = pool_of(algorithm, specs(&[1; 300]).into_iter().map(limit));
        let mut random = Random(4);
        let mut held: Vec<_> = (0..300)
            .map(|_| balancer.select(&random.ask(1)).unwrap())
            .collect();
        assert_eq!(
            balancer.select(&random.ask(1)).unwrap_err(),
            SelectFault::AllFull
        );
        let freed = held.swap_remove(217).index;
        assert_eq!(
            balancer.select(&random.ask(1)).unwrap().index,
            freed,
            "{algorithm:?}"
        );
    }
}

#[test]
fn backups_take_what_full_primaries_cannot() {
    for algorithm in ALL {
        let mut specs = specs(&[1, 1]);
        specs[0].max_connections = 1;
        specs[1].backup = true;
        let balancer = pool_of(algorithm, specs);
        let mut random = Random(2);
        let first = balancer.select(&random.ask(1)).unwrap();
        let second = balancer.select(&random.ask(1)).unwrap();
        assert_eq!((first.index, second.index), (0, 1), "{algorithm:?}");
    }
}

#[test]
fn every_server_is_tried_once_then_the_list_is_at_its_end() {
    for algorithm in ALL {
        let mut specs = specs(&[5, 1, 65_535, 1, 1, 2]);
        specs[3].backup = true;
        specs[4].down = true;
        let balancer = pool_of(algorithm, specs);
        for seed in 0..20 {
            let ask = Random(seed).ask(1);
            let mut tried = Vec::new();
            while let Ok(selected) = balancer.select(&Ask {
                tried: &tried,
                ..ask
            }) {
                assert!(!tried.contains(&selected.index), "{algorithm:?}");
                tried.push(selected.index);
            }
            assert_eq!(tried.pop(), Some(3), "the backup comes last");
            tried.sort_unstable();
            assert_eq!(tried, [0, 1, 2, 5], "{algorithm:?}");
        }
        let all = Ask {
            tried: &[0, 1, 2, 3, 5, 77],
            ..Ask::at(1, 1)
        };
        assert_eq!(balancer.select(&all).unwrap_err(), SelectFault::AllTried);
    }
}

#[test]
fn a_retry_of_least_conn_goes_to_the_next_least() {
    let balancer = pool(Algorithm::LeastConn { tie: Tie::Rotate }, &[1; 100]);
    let mut held = Vec::new();
    for index in 0..100 {
        held.extend(hold(&balancer, index, 5 + index as u32 % 7));
    }
    held.retain(|permit| !std::ptr::eq(permit.state(), &raw const **balancer.state(63)));
    assert_eq!(balancer.select(&Ask::at(1, 1)).unwrap().index, 63);
    let retry = balancer
        .select(&Ask {
            tried: &[63],
            ..Ask::at(1, 1)
        })
        .unwrap();
    assert_eq!(retry.index % 7, 0);
}
