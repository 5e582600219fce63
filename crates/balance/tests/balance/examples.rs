//! The worked examples of the requirements, by their ids.

use std::collections::BTreeSet;
use std::net::IpAddr;

use keel_balance::{
    Algorithm, Ask, EndpointSpec, IpHashMode, Outcome, SelectFault, Split, Tie, TimeFormula,
    Transition, canary_percent, hash_address, hash_key, md5_first8_mod,
};

use crate::pool::*;

/// Computed with hashlib of Python 3: address, `int(hexdigest[:8], 16)`, `int(hexdigest, 16) %
/// 100`.
const MD5: [(&str, u64, u32); 9] = [
    ("192.168.1.1", 0x66ef_ff4c, 3),
    ("192.168.1.2", 0x8a12_0ff3, 23),
    ("10.0.0.1", 0x190d_afab, 16),
    ("10.0.0.2", 0x98a2_cd7e, 48),
    ("203.0.113.7", 0x68fe_cd3b, 12),
    ("127.0.0.1", 0xf528_764d, 2),
    ("2001:db8::1", 0x1d64_d10f, 82),
    ("::1", 0x837e_c575, 99),
    ("fe80::1234:5678:9abc:def0", 0xa955_2372, 60),
];

#[test]
fn round_robin_003_2() {
    assert_eq!(
        names(&pool(Algorithm::RoundRobin, &[1, 1, 1]), 7),
        "1 2 3 1 2 3 1"
    );
    let weights_do_not_matter = pool(Algorithm::RoundRobin, &[3, 2, 1]);
    assert_eq!(names(&weights_do_not_matter, 4), "1 2 3 1");
}

#[test]
fn weighted_round_robin_003_3_t18() {
    let burst = pool(Algorithm::WeightedRoundRobin { burst: true }, &[3, 2, 1]);
    assert_eq!(names(&burst, 12), "1 1 1 2 2 3 1 1 1 2 2 3");
    let smooth = pool(Algorithm::WeightedRoundRobin { burst: false }, &[3, 2, 1]);
    assert_eq!(names(&smooth, 12), "1 2 1 3 2 1 1 2 1 3 2 1");
}

#[test]
fn least_connections_003_4() {
    let balancer = pool(LEAST_CONN, &[1, 1, 1]);
    let mut held: Vec<_> = [10, 5, 8]
        .iter()
        .zip(0..)
        .map(|(n, i)| hold(&balancer, i, *n))
        .collect();
    let ask = Ask::at(1, 0);
    let second = balancer.select(&ask).unwrap();
    assert_eq!(balancer.endpoint(second.index).name, "2");
    assert_eq!(balancer.state(1).active(), 6, "counted up on choice");
    drop(second);
    assert_eq!(balancer.state(1).active(), 5, "and down on release");

    let first_of_two = hold(&balancer, 1, 3);
    assert_eq!(name(&balancer, &ask), Ok("2"), "8 and 8: the first wins");
    drop(first_of_two);
    held.clear();
    assert_eq!(names(&balancer, 3), "1 1 1", "all idle: the first wins");
}

#[test]
fn least_time_003_5_003_25_t19() {
    for (formula, products) in [
        (TimeFormula::Active, [250, 300, 240]),
        (TimeFormula::ActivePlusOne, [300, 330, 280]),
    ] {
        let balancer = pool(least_time(formula, 0), &[1, 1, 1]);
        let mut held = Vec::new();
        for (index, (ms, active)) in [(50, 5), (30, 10), (40, 6)].into_iter().enumerate() {
            balancer.state(index).record_response(ms * 1_000, 1);
            held.extend(hold(&balancer, index, active));
            let state = balancer.state(index);
            let more = u64::from(formula == TimeFormula::ActivePlusOne);
            let product = u64::from(state.response_time_us()) * (u64::from(state.active()) + more);
            assert_eq!(product, products[index] * 1_000);
        }
        assert_eq!(name(&balancer, &Ask::at(1, 0)), Ok("3"), "{formula:?}");
    }
}

#[test]
fn the_two_formulas_differ_on_an_idle_server() {
    for (formula, expected) in [
        (TimeFormula::Active, "1"),
        (TimeFormula::ActivePlusOne, "2"),
    ] {
        let balancer = pool(least_time(formula, 0), &[1, 1]);
        balancer.state(0).record_response(100_000, 1);
        balancer.state(1).record_response(10_000, 1);
        let _held = hold(&balancer, 1, 5);
        assert_eq!(name(&balancer, &Ask::at(1, 0)), Ok(expected));
    }
}

#[test]
fn ip_hash_modulo_003_6_t20() {
    let modulo = pool(Algorithm::IpHash(IpHashMode::Modulo), &[1, 1, 1]);
    for (address, first8, _) in MD5 {
        for servers in [1, 2, 3, 5, 7, 1_000] {
            assert_eq!(
                md5_first8_mod(address, servers),
                (first8 % servers as u64) as usize
            );
        }
        let client: IpAddr = address.parse().unwrap();
        for random in 0..5 {
            let ask = Ask {
                client: Some(client),
                ..Ask::at(1, random)
            };
            let expected = ["1", "2", "3"][(first8 % 3) as usize];
            assert_eq!(name(&modulo, &ask), Ok(expected), "{address}");
        }
    }
    assert_eq!(md5_first8_mod("10.0.0.1", 0), 0);
    let mapped = Ask {
        client: Some("::ffff:203.0.113.7".parse().unwrap()),
        ..Ask::at(1, 0)
    };
    assert_eq!(
        name(&modulo, &mapped),
        Ok("2"),
        "a mapped address is the IPv4 address"
    );
}

#[test]
fn ip_hash_is_consistent_by_default_t20() {
    assert_eq!(IpHashMode::default(), IpHashMode::Consistent);
    let balancer = pool(Algorithm::IpHash(IpHashMode::default()), &[1; 10]);
    for number in 0..200 {
        let ask = |random| Ask {
            client: Some(client(number)),
            ..Ask::at(1, random)
        };
        assert_eq!(name(&balancer, &ask(1)), name(&balancer, &ask(2)));
    }
}

#[test]
fn random_003_7() {
    let balancer = pool(Algorithm::Random, &[1, 1, 1]);
    let seen: BTreeSet<_> = names(&balancer, 50).split(' ').map(str::to_owned).collect();
    assert_eq!(seen.len(), 3);
    assert_eq!(name(&balancer, &Ask::at(1, 0)), Ok("1"));
    assert_eq!(name(&balancer, &Ask::at(1, u64::MAX)), Ok("3"));
}

#[test]
fn canary_000_b18() {
    for (address, _, hundredth) in MD5 {
        let client: IpAddr = address.parse().unwrap();
        assert!(
            !canary_percent(client, hundredth),
            "{address} at {hundredth} percent"
        );
        assert!(
            canary_percent(client, hundredth + 1),
            "{address} above {hundredth} percent"
        );
        assert!(!canary_percent(client, 0) && canary_percent(client, 100));
    }
    let clients = (0..16u32).flat_map(|i| (0..256).map(move |j| 0x0a01_0000 + (i << 8) + j));
    let canaries = clients
        .filter(|number| canary_percent(client(*number), 10))
        .count();
    assert_eq!(
        canaries, 421,
        "of the 4,096 clients 10.1.0.0 to 10.1.15.255, as in Python"
    );
}

#[test]
fn weighted_random_000_b21() {
    let balancer = pool(Algorithm::WeightedRandom, &[3, 2, 1]);
    let of_six = |n: u64| Ask::at(1, n * (u64::MAX / 6) + 10);
    let names: Vec<_> = (0..6)
        .map(|n| name(&balancer, &of_six(n)).unwrap())
        .collect();
    assert_eq!(names, ["1", "1", "1", "2", "2", "3"]);

    let nothing = pool(Algorithm::WeightedRandom, &[0, 0, 0]);
    for random in [0, u64::MAX / 2, u64::MAX] {
        assert_eq!(
            name(&nothing, &Ask::at(1, random)),
            Ok("1"),
            "total 0: the first"
        );
    }
    let _ = nothing.report(0, Outcome::Failure, 1);
    assert_eq!(
        name(&nothing, &Ask::at(1, 5)),
        Ok("2"),
        "the first healthy one"
    );
    let ask = Ask {
        tried: &[1],
        ..Ask::at(1, 5)
    };
    assert_eq!(name(&nothing, &ask), Ok("3"), "the next on a retry");
    for index in [1, 2] {
        let _ = nothing.report(index, Outcome::Failure, 1);
    }
    assert!(
        nothing.select(&Ask::at(2, 5)).is_ok(),
        "none healthy: rather any than an error"
    );

    let healthy_weigh_nothing = pool(Algorithm::WeightedRandom, &[0, 4]);
    assert_eq!(name(&healthy_weigh_nothing, &Ask::at(1, 0)), Ok("2"));
    let _ = healthy_weigh_nothing.report(1, Outcome::Failure, 1);
    assert_eq!(name(&healthy_weigh_nothing, &Ask::at(1, 0)), Ok("1"));
}

/// 000-C9: least_conn, weights 3/2/1, max_fails 3, fail_timeout 30 s.
#[test]
fn weighted_least_conn_pool_000_c9() {
    let with_fails = |spec| EndpointSpec {
        max_fails: 3,
        fail_timeout_ms: 30_000,
        ..spec
    };
    let balancer = pool_of(
        Algorithm::LeastConn { tie: Tie::Rotate },
        specs(&[3, 2, 1]).into_iter().map(with_fails),
    );
    assert_eq!(names(&balancer, 6), "1 2 1 3 2 1", "idle: by weight");
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(balancer.select(&Ask::at(1, 0)).unwrap());
    }
    assert_eq!(
        [0, 1, 2].map(|i| balancer.state(i).active()),
        [30, 20, 10],
        "busy: by weight"
    );
    drop(held);

    assert_eq!(balancer.report(0, Outcome::Failure, 1_000), None);
    assert_eq!(balancer.report(0, Outcome::Failure, 2_000), None);
    assert_eq!(
        balancer.report(0, Outcome::Failure, 30_999),
        Some(Transition::Rested)
    );
    assert!(balancer.state(0).is_resting(60_998) && !balancer.state(0).is_resting(60_999));
    assert_eq!(balancer.ready_count(31_000), 2);
    for _ in 0..20 {
        assert_ne!(balancer.select(&Ask::at(60_998, 0)).unwrap().index, 0);
    }
    let trial = (0..6).find_map(|_| {
        balancer
            .select(&Ask::at(60_999, 0))
            .ok()
            .filter(|selected| selected.index == 0)
    });
    assert!(trial.is_some());
    assert_eq!(
        balancer.report(0, Outcome::Success, 61_000),
        Some(Transition::Recovered)
    );
    assert_eq!(balancer.ready_count(61_000), 3);
}

/// 000-C12: one server (max_fails 2, 30 s) and one backup.
#[test]
fn backup_pool_000_c12() {
    let primary = EndpointSpec {
        max_fails: 2,
        fail_timeout_ms: 30_000,
        ..EndpointSpec::new("primary")
    };
    let backup = EndpointSpec {
        backup: true,
        ..EndpointSpec::new("backup")
    };
    for algorithm in ALL {
        let balancer = pool_of(algorithm, [primary.clone(), backup.clone()]);
        let mut random = Random(3);
        for now in 0..20 {
            assert_eq!(
                name(&balancer, &random.ask(now)),
                Ok("primary"),
                "{algorithm:?}"
            );
        }
        assert_eq!(balancer.report(0, Outcome::Failure, 20), None);
        assert_eq!(
            balancer.report(0, Outcome::Failure, 21),
            Some(Transition::Rested)
        );
        for now in 21..40 {
            assert_eq!(
                name(&balancer, &random.ask(now)),
                Ok("backup"),
                "{algorithm:?}"
            );
        }
        assert_eq!(
            name(&balancer, &random.ask(30_021)),
            Ok("primary"),
            "{algorithm:?}: a trial"
        );
        assert_eq!(
            name(&balancer, &random.ask(30_022)),
            Ok("backup"),
            "{algorithm:?}: only one"
        );
        assert_eq!(
            balancer.report(0, Outcome::Success, 30_030),
            Some(Transition::Recovered)
        );
        assert_eq!(
            name(&balancer, &random.ask(30_031)),
            Ok("primary"),
            "{algorithm:?}"
        );
    }
}

#[test]
fn split_is_sticky_and_moves_only_what_it_must() {
    let before = Split::new([90, 10]);
    let after = Split::new([80, 20]);
    let mut canaries = [0, 0];
    for number in 0..20_000u32 {
        let hash = hash_address(client(number));
        let (was, is) = (before.choose_hash(hash), after.choose_hash(hash));
        assert!(was <= is, "no canary client goes back");
        canaries[0] += was;
        canaries[1] += is;
    }
    assert!(canaries[0].abs_diff(2_000) < 200 && canaries[1].abs_diff(4_000) < 250);

    let mut random = Random(5);
    let counts = (0..30_000).fold([0u32; 3], |mut counts, _| {
        counts[Split::new([1, 0, 2]).choose_random(random.next())] += 1;
        counts
    });
    assert!(counts[0].abs_diff(10_000) < 500 && counts[1] == 0);
    assert_eq!(Split::new([0, 0]).choose_hash(9), 0);
    assert_eq!(
        (Split::new([]).choose_hash(9), Split::new([]).is_empty()),
        (0, true)
    );
    let split = Split::new([5, 0, 7]);
    assert_eq!(
        [0, 1, 2, 3].map(|target| split.weight(target)),
        [5, 0, 7, 0]
    );
    assert_eq!(split.len(), 3);
}

#[test]
fn a_split_does_not_thin_the_hashes_of_its_pools() {
    let split = Split::new([90, 10]);
    let balancer = pool(hash(MAGLEV), &[1, 1, 1, 1]);
    let keys = (0..40_000u32).map(|key| hash_key(&key.to_le_bytes()));
    let canaries: Vec<u64> = keys.filter(|key| split.choose_hash(*key) == 1).collect();
    let mut counts = [0usize; 4];
    for key in &canaries {
        let ask = Ask {
            hash: Some(*key),
            ..Ask::at(1, 0)
        };
        counts[balancer.select(&ask).unwrap().index] += 1;
    }
    let share = canaries.len() / 4;
    assert!(
        counts.iter().all(|count| count.abs_diff(share) < share / 5),
        "{counts:?}"
    );
}

#[test]
fn hashes_are_those_of_xxh3() {
    assert_eq!(hash_key(b""), 0x2d06_8005_38d3_94c2);
    assert_eq!(hash_key(b"abc"), 0x78af_5f94_892f_3950);
    assert_eq!(
        hash_address("::ffff:10.0.0.1".parse().unwrap()),
        hash_key(&[10, 0, 0, 1])
    );
}

/// The owners of some keys, written down once: they must be the same on every node and in every
/// later version, or an upgrade would move all keys.
#[test]
fn tables_stay_what_they_are() {
    let owners = |scheme| {
        let balancer = pool(hash(scheme), &[1, 2, 3, 1, 1]);
        let owner = |key: u32| {
            let ask = Ask {
                hash: Some(hash_key(&key.to_le_bytes())),
                ..Ask::at(1, 0)
            };
            name(&balancer, &ask).unwrap().to_owned()
        };
        (0..32).map(owner).collect::<String>()
    };
    assert_eq!(owners(RING), "22343232322321354541233315322233");
    assert_eq!(owners(RENDEZVOUS), "23322314321413322252235315243112");
    assert_eq!(owners(MAGLEV), "21333124122335255215235332523313");
}

#[test]
fn nobody_there() {
    for algorithm in ALL {
        let empty = pool(algorithm, &[]);
        assert_eq!(
            empty.select(&Ask::at(0, 0)).unwrap_err(),
            SelectFault::NoServers
        );
        assert!(empty.is_empty() && empty.take(0, 0).is_none());
        assert_eq!(empty.report(0, Outcome::Failure, 0), None);
    }
}
