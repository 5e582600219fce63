//! What health does to traffic: outliers, the panic threshold, slow start, tiers, and weights that follow a load report.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keel_testkit::wait::until_true;
use keel_testkit::{Origin, Proxy, Reply};

use crate::health::{Patient, names, server, state, until_state};

const QUICK: &str = "health: { http: { path: /health }, every: 100ms, every_down: 100ms, timeout: 5s, fall: 2, rise: 1, jitter: 0% }";

/// Servers of these names, and `servers: […]` with more keys for each.
fn patients(names: &[&str]) -> Vec<Patient> {
    names.iter().map(|name| Patient::new(name)).collect()
}

fn proxy(patients: &[Patient], keys: &[&str], pool: &str) -> Proxy {
    let list: Vec<String> = patients
        .iter()
        .zip(keys.iter().chain(std::iter::repeat(&"")))
        .map(|(one, keys)| format!("{{ address: \"{}\", {keys} }}", one.address()))
        .collect();
    Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [ {} ], {pool} }} }}\n",
        list.join(", ")
    ))
}

fn share(names: &[String], name: &str) -> f64 {
    let own = names.iter().filter(|one| *one == name).count();
    own as f64 / names.len() as f64
}

/// Servers of which the first answers every n-th request with a 500; 0 is never.
fn flaky(count: usize, one_in: usize) -> (Vec<Origin>, Arc<AtomicUsize>) {
    let rate = Arc::new(AtomicUsize::new(one_in));
    let origins = (0..count).map(|number| {
        let (rate, seen) = (rate.clone(), AtomicUsize::new(0));
        Origin::answering(move |_| {
            let nth = seen.fetch_add(1, Ordering::SeqCst) + 1;
            let rate = rate.load(Ordering::SeqCst);
            match number == 0 && rate != 0 && nth.is_multiple_of(rate) {
                true => Reply::new(500).with("X-Origin", "0"),
                false => Reply::text("fine").with("X-Origin", &number.to_string()),
            }
        })
    });
    (origins.collect(), rate)
}

#[test]
fn failures_in_a_row_eject_and_a_trial_brings_back() {
    let (origins, rate) = flaky(3, 1);
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let keys = "retry: off, outlier: { consecutive: 5, error_rate: off, success_rate: off, ejection: 3s, on: [error, timeout, 5xx] }";
    let proxy = Proxy::before_with(&addresses, keys, "");
    // Not many more than that takes: a busy machine must not need the three seconds for them.
    let failed = (0..24).filter(|_| proxy.get("/").status() == 500).count();
    assert_eq!(failed, 5, "the fifth was the last");
    assert_eq!(state(&proxy, addresses[0]), "ejected");
    let told = server(&proxy, addresses[0]);
    assert_eq!(
        (&told["by"], &told["ejections"]),
        (&"traffic".into(), &1.into())
    );
    let why = told["why"].as_str().unwrap();
    assert!(why.contains('5') && why.contains("row"), "{why}");
    assert!(why.contains("last: it answered 500"), "{why}");
    proxy.await_log("server is ejected");
    // One request tries it after the ejection; it fails, and the next ejection is longer.
    std::thread::sleep(Duration::from_millis(3_100));
    let failed = (0..9).filter(|_| proxy.get("/").status() == 500).count();
    assert_eq!(failed, 1);
    assert_eq!(server(&proxy, addresses[0])["ejections"], 2);
    rate.store(0, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(3_100));
    assert_eq!(
        state(&proxy, addresses[0]),
        "ejected",
        "six seconds this time"
    );
    std::thread::sleep(Duration::from_millis(3_000));
    let failed = (0..9).filter(|_| proxy.get("/").status() == 500).count();
    assert_eq!(failed, 0);
    assert_eq!(state(&proxy, addresses[0]), "up");
}

/// Half of its answers fail, never five in a row: the rate tells, and so does the comparison with the others.
#[test]
fn a_rate_of_failures_ejects() {
    for (rule, word) in [
        ("error_rate: 40%, error_volume: 20, success_rate: off", "of"),
        (
            "error_rate: off, success_rate: { servers: 5, volume: 20 }",
            "others",
        ),
    ] {
        let (origins, _) = flaky(6, 2);
        let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
        let keys =
            format!("retry: off, outlier: {{ consecutive: 0, {rule}, ejection: 1m, on: [5xx] }}");
        let proxy = Proxy::before_with(&addresses, &keys, "");
        let begin = Instant::now();
        while state(&proxy, addresses[0]) != "ejected" {
            assert!(begin.elapsed() < Duration::from_secs(60), "{rule}");
            (0..60).for_each(|_| drop(proxy.get("/")));
        }
        let told = server(&proxy, addresses[0]);
        assert!(told["why"].as_str().unwrap().contains(word), "{told}");
        for address in &addresses[1..] {
            assert_eq!(state(&proxy, *address), "up", "{rule}");
        }
        assert_eq!(
            (0..60).filter(|_| proxy.get("/").status() == 500).count(),
            0,
            "{rule}"
        );
    }
}

/// Whatever happens, no more than the share that was told are out.
#[test]
fn never_more_are_ejected_than_may_be() {
    let origins: Vec<Origin> = (0..4)
        .map(|_| Origin::answering(|_| Reply::new(500)))
        .collect();
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let keys = "retry: off, outlier: { consecutive: 2, ejection: 1m, ejected_max: 50%, on: [5xx] }";
    let proxy = Proxy::before_with(&addresses, keys, "");
    (0..100).for_each(|_| drop(proxy.get("/").expect(500)));
    let out = addresses
        .iter()
        .filter(|at| state(&proxy, **at) == "ejected");
    assert_eq!(out.count(), 2);
}

#[test]
fn with_too_few_left_traffic_is_spread_over_all_or_refused() {
    let all = patients(&["a", "b", "c", "d"]);
    for (action, few) in [("spread", 200), ("refuse", 503)] {
        all.iter().for_each(|one| one.set(true));
        let keys = format!("{QUICK}, panic: {{ threshold: 50%, action: {action} }}");
        let proxy = proxy(&all, &[], &keys);
        let fails = |index: usize| {
            all[index].set(false);
            until_state(&proxy, all[index].address(), "down");
        };
        fails(0);
        fails(1);
        let left = names(&proxy, 40);
        assert_eq!(
            (share(&left, "c"), share(&left, "d")),
            (0.5, 0.5),
            "half is enough"
        );
        fails(2);
        if few == 200 {
            let spread = names(&proxy, 40);
            for name in ["a", "b", "c", "d"] {
                assert_eq!(share(&spread, name), 0.25, "rather than drown the last");
            }
        } else {
            (0..20).for_each(|_| drop(proxy.get("/").expect(503)));
        }
        all[1].set(true);
        until_state(&proxy, all[1].address(), "up");
        let left = names(&proxy, 40);
        assert_eq!(
            (share(&left, "b"), share(&left, "d")),
            (0.5, 0.5),
            "{action}: out of it again"
        );
    }
}

#[test]
fn a_server_that_came_back_gets_its_traffic_by_degrees() {
    let all = patients(&["a", "b"]);
    let keys = format!("{QUICK}, slow_start: {{ time: 4s, from: 10% }}");
    let proxy = proxy(&all, &[], &keys);
    assert_eq!(share(&names(&proxy, 40), "a"), 0.5, "not at the start");
    all[0].set(false);
    until_state(&proxy, all[0].address(), "down");
    // It came back between the two.
    let earliest = Instant::now();
    all[0].set(true);
    until_true("it is back", || {
        state(&proxy, all[0].address()) == "slow_start"
    });
    let latest = Instant::now();
    // w of w + 1, w being what the curve says.
    let wanted = |since: Instant| {
        let weight = (0.1 + 0.9 * since.elapsed().as_secs_f64() / 4.0).min(1.0);
        weight / (weight + 1.0)
    };
    let mut shares = Vec::new();
    while latest.elapsed() < Duration::from_millis(4_800) {
        // A busy machine takes its time for a hundred requests, and meanwhile it goes on.
        let least = wanted(latest);
        let share = share(&names(&proxy, 100), "a");
        shares.push((share, least..wanted(earliest)));
        std::thread::sleep(Duration::from_millis(50));
    }
    for (share, wanted) in &shares {
        let right = wanted.start - 0.16..wanted.end + 0.16;
        assert!(right.contains(share), "{share:.2} for {wanted:.2?}");
    }
    let last = share(&names(&proxy, 100), "a");
    assert!((last - 0.5).abs() < 0.06, "{last} at the end");
    assert_eq!(state(&proxy, all[0].address()), "up");
}

#[test]
fn tiers_are_used_in_order_and_left_when_the_first_is_back() {
    let all = patients(&["first", "second", "third"]);
    let proxy = proxy(&all, &["tier: 0", "tier: 1", "tier: 2"], QUICK);
    let serves = |name: &str| assert_eq!(share(&names(&proxy, 20), name), 1.0, "{name}");
    serves("first");
    all[0].set(false);
    until_state(&proxy, all[0].address(), "down");
    serves("second");
    all[1].set(false);
    until_state(&proxy, all[1].address(), "down");
    serves("third");
    all[0].set(true);
    until_state(&proxy, all[0].address(), "up");
    serves("first");
}

#[test]
fn weights_follow_the_load_that_servers_report() {
    let all = [
        Patient::reporting("idle", "0.1"),
        Patient::reporting("busy", "70%"),
    ];
    let keys = "balance: weighted, load_report: X-Load";
    let proxy = proxy(&all, &["weight: 1", "weight: 1"], keys);
    // The first reports come with the first answers, and are read twice a second.
    let weight = || server(&proxy, all[1].address())["effective_weight"].as_f64();
    until_true("the reports were read", || {
        names(&proxy, 20);
        weight().is_some_and(|weight| (weight - 0.3).abs() < 0.03)
    });
    // A worker takes them into use when it comes to it.
    let wanted = 0.3 / (0.3 + 0.9);
    until_true("the shares follow", || {
        let share = share(&names(&proxy, 400), "busy");
        println!("{share:.2} for {wanted:.2}");
        (share - wanted).abs() < 0.08
    });
}

/// None healthy is not the end: rather a server that may fail than a sure error.
#[test]
fn all_down_is_spread_over_all() {
    let all = patients(&["a", "b"]);
    let proxy = proxy(&all, &[], QUICK);
    for one in &all {
        one.set(false);
        until_state(&proxy, one.address(), "down");
    }
    assert_eq!(share(&names(&proxy, 20), "a"), 0.5);
}
