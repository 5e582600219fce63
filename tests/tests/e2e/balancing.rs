//! Which server gets a request, by each algorithm.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use keel_testkit::wait::until_true;
use keel_testkit::{Origin, Proxy, Wire};

use crate::GET;

fn origins(count: usize) -> Vec<Origin> {
    ["a", "b", "c", "d", "e"]
        .iter()
        .take(count)
        .map(|name| Origin::named(name))
        .collect()
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

/// `servers: [ … ]` with keys for each.
fn weighted(origins: &[Origin], keys: &[&str], balance: &str) -> Proxy {
    let servers: Vec<String> = origins
        .iter()
        .zip(keys)
        .map(|(origin, keys)| {
            let (name, at) = (origin.name(), origin.address());
            format!("{{ name: {name}, address: \"{at}\", {keys} }}")
        })
        .collect();
    Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ balance: {balance}, servers: [ {} ] }} }}\n",
        servers.join(", ")
    ))
}

/// Names of those who answer `count` requests, each on a connection of its own.
fn order(proxy: &Proxy, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| proxy.get("/").expect(200).origin())
        .collect()
}

fn counts(names: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn round_robin_is_exact_over_all_workers() {
    let origins = origins(3);
    let more = "workers: 2";
    let proxy = Proxy::before_with(&addresses(&origins), "balance: round_robin", more);
    let names = order(&proxy, 30);
    for turn in names.chunks(3) {
        assert_eq!(turn, &names[..3], "{names:?}");
    }
    assert_eq!(
        counts(&names),
        BTreeMap::from([("a", 10), ("b", 10), ("c", 10)])
    );
}

#[test]
fn weighted_is_smooth() {
    let origins = origins(3);
    let proxy = weighted(
        &origins,
        &["weight: 3", "weight: 2", "weight: 1"],
        "weighted",
    );
    let names = order(&proxy, 60);
    assert_eq!(
        counts(&names),
        BTreeMap::from([("a", 30), ("b", 20), ("c", 10)])
    );
    let longest = names
        .chunk_by(|one, next| one == next)
        .map(<[String]>::len)
        .max();
    assert!(longest <= Some(2), "{names:?}");
}

#[test]
fn weighted_in_bursts_is_the_order_of_the_source() {
    let origins = origins(3);
    let balance = "{ algorithm: weighted, burst: true }";
    let proxy = weighted(&origins, &["weight: 3", "weight: 2", "weight: 1"], balance);
    assert_eq!(order(&proxy, 12).concat(), "aaabbcaaabbc");
}

#[test]
fn weight_0_gets_nothing() {
    let origins = origins(2);
    let proxy = weighted(&origins, &["weight: 0", "weight: 1"], "round_robin");
    assert_eq!(counts(&order(&proxy, 10)), BTreeMap::from([("b", 10)]));
}

#[test]
fn random_reaches_all() {
    for balance in ["random", "weighted_random", "power_of_two"] {
        let origins = origins(3);
        let proxy = Proxy::before_with(&addresses(&origins), &format!("balance: {balance}"), "");
        let names = order(&proxy, 100);
        let counts = counts(&names);
        assert_eq!(counts.len(), 3, "{balance}: {counts:?}");
        assert!(
            counts.values().all(|count| *count > 10),
            "{balance}: {counts:?}"
        );
    }
}

#[test]
fn least_conn_avoids_the_busy() {
    let origins = origins(2);
    // One worker: it counts a request down before it reads the next, so that the choice is exact.
    let proxy = Proxy::before_with(&addresses(&origins), "balance: least_conn", "workers: 1");
    let mut busy = proxy.wire();
    busy.send("GET /delay/20000 HTTP/1.1\r\nHost: a\r\n\r\n");
    until_true("the slow request has arrived", || {
        origins[0].requests() + origins[1].requests() == 1
    });
    let idle = if origins[0].requests() == 1 { "b" } else { "a" };
    assert_eq!(counts(&order(&proxy, 10)), BTreeMap::from([(idle, 10)]));
}

#[test]
fn least_time_prefers_the_quick() {
    let quick = Origin::named("quick");
    let slow = Origin::answering(|_| {
        keel_testkit::Reply::new(200)
            .body("{\"origin\":\"slow\"}")
            .after(std::time::Duration::from_millis(200))
    });
    let servers = [slow.address(), quick.address()];
    let proxy = Proxy::before_with(&servers, "balance: least_time", "");
    let names = order(&proxy, 50);
    let slow = counts(&names).get("slow").copied().unwrap_or_default();
    assert!(slow < 15, "{names:?}");
}

#[test]
fn ip_hash_keeps_a_client_on_its_server() {
    for mode in ["consistent", "modulo"] {
        let origins = origins(5);
        let keys = format!("balance: {{ algorithm: ip_hash, mode: {mode} }}");
        let more = "trusted_proxies: [127.0.0.1]";
        let proxy = Proxy::before_with(&addresses(&origins), &keys, more);
        let of = |client: &str| {
            proxy
                .ask("/")
                .with("X-Forwarded-For", client)
                .send()
                .origin()
        };
        let first: Vec<String> = (0..20).map(|n| of(&format!("192.0.2.{n}"))).collect();
        let again: Vec<String> = (0..20).map(|n| of(&format!("192.0.2.{n}"))).collect();
        assert_eq!(first, again, "{mode}");
        assert!(counts(&first).len() >= 3, "{mode}: {first:?}");
    }
}

#[test]
fn ip_hash_modulo_is_the_function_of_the_source() {
    // The first 8 hex digits of MD5 of "127.0.0.1", modulo the servers.
    for (count, want) in [(3, 0xf528_764d_u32 % 3), (5, 0xf528_764d_u32 % 5)] {
        let origins = origins(count);
        let keys = "balance: { algorithm: ip_hash, mode: modulo }";
        let proxy = Proxy::before_with(&addresses(&origins), keys, "");
        let name = proxy.get("/").origin();
        assert_eq!(name, origins[want as usize].name());
    }
}

#[test]
fn hash_keeps_a_key_on_its_server() {
    for scheme in ["ring", "rendezvous", "maglev"] {
        for (key, header) in [("{ header: X-Key }", "X-Key"), ("{ cookie: k }", "Cookie")] {
            let origins = origins(4);
            let keys = format!("balance: {{ algorithm: hash, key: {key}, scheme: {scheme} }}");
            let proxy = Proxy::before_with(&addresses(&origins), &keys, "");
            let of = |n: usize| {
                proxy
                    .ask("/")
                    .with(header, &format!("k=key-{n}"))
                    .send()
                    .origin()
            };
            let first: Vec<String> = (0..24).map(of).collect();
            let again: Vec<String> = (0..24).map(of).collect();
            assert_eq!(first, again, "{scheme} {key}");
            assert!(counts(&first).len() >= 3, "{scheme} {key}: {first:?}");
        }
    }
}

#[test]
fn hash_on_path_and_query() {
    let origins = origins(4);
    let keys = "balance: { algorithm: hash, key: path, scheme: ring }";
    let proxy = Proxy::before_with(&addresses(&origins), keys, "");
    let of = |target: &str| proxy.get(target).origin();
    assert_eq!(of("/a/b?x=1"), of("/a/b?x=2"));
    let names: Vec<String> = (0..20).map(|n| of(&format!("/{n}"))).collect();
    assert!(counts(&names).len() >= 3, "{names:?}");
}

#[test]
fn few_keys_move_when_a_server_goes() {
    let mut origins = origins(4);
    let keys = "balance: { algorithm: hash, key: { header: X-Key }, scheme: ring }, max_fails: 1, fail_timeout: 60s";
    let proxy = Proxy::before_with(&addresses(&origins), keys, "");
    let of = |n: usize| {
        proxy
            .ask("/")
            .with("X-Key", &format!("key-{n}"))
            .send()
            .expect(200)
            .origin()
    };
    let before: Vec<String> = (0..40).map(of).collect();
    origins[3].stop();
    let after: Vec<String> = (0..40).map(of).collect();
    for (key, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(
            before == after || before == "d",
            "key {key} moved from {before} to {after}"
        );
    }
}

#[test]
fn backups_are_used_only_when_no_primary_is_there() {
    let mut origins = origins(2);
    let keys = ["max_fails: 1, fail_timeout: 60s", "backup: true"];
    let proxy = weighted(&origins, &keys, "round_robin");
    assert_eq!(counts(&order(&proxy, 5)), BTreeMap::from([("a", 5)]));
    origins[0].stop();
    assert_eq!(counts(&order(&proxy, 5)), BTreeMap::from([("b", 5)]));
}

#[test]
fn a_server_marked_down_gets_nothing() {
    let origins = origins(2);
    let proxy = weighted(&origins, &["down: true", "weight: 1"], "round_robin");
    assert_eq!(counts(&order(&proxy, 6)), BTreeMap::from([("b", 6)]));
    assert_eq!(origins[0].connections(), 0);
}

#[test]
fn no_server_gets_more_than_its_limit() {
    let origins = origins(1);
    let proxy = weighted(&origins, &["max_connections: 2"], "round_robin");
    let mut wires: Vec<Wire> = (0..2).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.send("GET /delay/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until_true("both requests have arrived", || origins[0].requests() == 2);
    assert_eq!(proxy.wire().ask(GET).status(), 503);
    for wire in &mut wires {
        wire.answer().expect(200);
    }
    proxy.get("/").expect(200);
}
