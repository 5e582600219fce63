//! Which servers an answer makes.

use std::time::Duration;

use super::*;
use crate::pool::ServerAddress;

fn place() -> Place {
    Place {
        pool: "app".to_owned(),
        entry: 0,
        name: "app".to_owned(),
    }
}

fn record(priority: u16, weight: u16, port: u16, ips: &[&str]) -> ServiceRecord {
    let addresses = ips.iter().map(|ip| ip.parse().expect("an address"));
    ServiceRecord {
        priority,
        weight,
        port,
        target: format!("{priority}-{weight}.test"),
        addresses: Some(addresses.collect()),
    }
}

/// Port, weight and tier of the servers that a service stands for.
fn found(tier: u8, records: Vec<ServiceRecord>) -> Vec<(u16, u32, u8)> {
    let target = Target::Service(Service {
        place: place(),
        name: "_app._tcp.test".to_owned(),
        tier,
    });
    let ttl = Duration::ZERO;
    let (servers, left_out) = target.servers(&Answer::Service(ServiceAnswer { records, ttl }));
    assert_eq!(left_out, 0);
    let mut all: Vec<_> = servers
        .iter()
        .map(|it| (it.address.port(), it.weight, it.tier))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn priorities_become_tiers_by_rank() {
    let records = vec![
        record(10, 5, 1, &["10.0.0.1"]),
        record(10, 7, 2, &["10.0.0.1"]),
        record(500, 1, 3, &["10.0.0.1"]),
        record(65_535, 1, 4, &["10.0.0.1"]),
    ];
    assert_eq!(
        found(0, records.clone()),
        [(1, 5, 0), (2, 7, 0), (3, 1, 1), (4, 1, 2)]
    );
    assert_eq!(
        found(2, records),
        [(1, 5, 2), (2, 7, 2), (3, 1, 3), (4, 1, 4)]
    );
}

#[test]
fn weight_zero_is_a_tiny_share_or_an_equal_one() {
    let ip = &["10.0.0.1"];
    let all_zero = vec![record(0, 0, 1, ip), record(0, 0, 2, ip)];
    assert_eq!(found(0, all_zero), [(1, 1, 0), (2, 1, 0)]);
    let mixed = vec![
        record(0, 0, 1, ip),
        record(0, 2, 2, ip),
        record(0, 3, 3, ip),
    ];
    assert_eq!(found(0, mixed), [(1, 1, 0), (2, 200, 0), (3, 300, 0)]);
    let great = vec![record(0, 0, 1, ip), record(0, 65_535, 2, ip)];
    assert_eq!(found(0, great), [(1, 1, 0), (2, 65_535, 0)]);
    let apart = vec![record(0, 0, 1, ip), record(1, 4, 2, ip)];
    assert_eq!(found(0, apart), [(1, 1, 0), (2, 4, 1)]);
}

#[test]
fn an_address_is_one_server_in_its_best_tier() {
    let records = vec![
        record(0, 3, 1, &["10.0.0.1"]),
        record(0, 4, 1, &["10.0.0.1"]),
        record(9, 9, 1, &["10.0.0.1"]),
    ];
    assert_eq!(found(0, records), [(1, 7, 0)]);
}

#[test]
fn a_target_without_addresses_is_no_server_and_no_tier() {
    let mut gone = record(0, 1, 1, &[]);
    gone.addresses = None;
    assert_eq!(
        found(0, vec![gone, record(5, 1, 2, &["10.0.0.1"])]),
        [(2, 1, 0)]
    );
}

#[test]
fn names_go_by_address_and_sets_are_bounded() {
    let target = Target::All(AllOf {
        place: place(),
        address: ServerAddress {
            host: "app.test".to_owned(),
            port: 80,
        },
        weight: 4,
        tier: 1,
    });
    let of = |count: u32| {
        let v4 = (0..count).map(|n| IpAddr::V4((0x0a00_0000 + n).into()));
        let answer = Answer::Host(HostAnswer {
            v4: Some(v4.collect()),
            v6: Some(vec!["::1".parse().expect("an address")]),
            ttl: Duration::ZERO,
        });
        target.servers(&answer)
    };
    let (servers, _) = of(1);
    let names: Vec<&str> = servers.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["10.0.0.0:80", "[::1]:80"]);
    assert!(servers.iter().all(|it| it.weight == 4 && it.tier == 1));
    let (servers, left_out) = of(1500);
    assert_eq!((servers.len(), left_out), (SERVERS_MAX, 501));
}
