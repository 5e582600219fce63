//! What keeps a pool from more than it can take: limits, breakers, load shed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use keel_testkit::origin::Gate;
use keel_testkit::wait::{until, until_true};
use keel_testkit::{Ask, H2Wire, Origin, Proxy, Reply, get};

use crate::GET;

/// The value of a series on the metrics page.
pub fn metric(proxy: &Proxy, series: &str) -> u64 {
    let page = get(proxy.admin(), "/metrics").expect(200).text();
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    let value = line.unwrap_or_else(|| panic!("no {series} in\n{page}"));
    value.trim().parse().expect("a number")
}

/// Answers when the gate is open.
pub fn gated(gate: &Arc<Gate>) -> Origin {
    let gate = Arc::clone(gate);
    Origin::scripted(move |stage| {
        while stage.request().is_some() {
            gate.wait();
            if !stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
                return;
            }
        }
    })
}

/// A place is free when the proxy has done with the answer, a moment after its client.
fn is_free_again(proxy: &Proxy) {
    until_true("a place is free", || proxy.get("/").status() == 200);
}

#[test]
fn requests_beyond_the_limit_of_a_pool_are_refused() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let proxy = Proxy::before_with(&[origin.address()], "limits: { requests: 2 }", "");
    let mut held = [proxy.wire(), proxy.wire()];
    for wire in &mut held {
        wire.send(GET);
    }
    until_true("both are at the server", || origin.requests() == 2);
    let refused = proxy.get("/").expect_error(503, "Pool-Limit");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    let mut h2 = H2Wire::connect(proxy.address());
    let refused = h2.get("/").expect_error(503, "Pool-Limit");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    gate.open();
    for wire in &mut held {
        wire.answer().expect(200);
    }
    let limit = "evenkeel_pool_refused_requests_total{pool=\"app\",reason=\"limit\"}";
    assert_eq!(metric(&proxy, limit), 2);
    is_free_again(&proxy);
}

#[test]
fn connections_over_all_workers_keep_to_the_limit() {
    let origin = Origin::named("a");
    let keys = "limits: { connections: 3 }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 4");
    let ask = Ask::get(proxy.address(), "/delay/30");
    let load = keel_testkit::Load::start(proxy.address(), 12, &ask);
    load.await_more(60);
    let most = (0..80).map(|_| {
        std::thread::sleep(Duration::from_millis(3));
        origin.open()
    });
    let most = most.max().unwrap_or_default();
    let report = load.stop();
    // The origin sees the end of one a moment after the begin of the next. Without a limit it is 12.
    assert!((2..=6).contains(&most), "{most} connections");
    assert!(report.failures.is_empty(), "{report:?}");
}

#[test]
fn a_breaker_opens_for_errors_and_closes_after_probes() {
    let status = Arc::new(AtomicU16::new(500));
    let now = Arc::clone(&status);
    let origin = Origin::answering(move |_| Reply::new(now.load(Ordering::SeqCst)));
    let keys = "breaker: { errors: 50%, volume: 5, open: 1s, probes: 2 }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    for _ in 0..5 {
        proxy.get("/").expect(500);
    }
    let refused = proxy.get("/").expect_error(503, "Circuit-Open");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    assert_eq!(origin.requests(), 5, "an open breaker asks nobody");
    status.store(200, Ordering::SeqCst);
    let start = Instant::now();
    until("probes pass", || {
        Some(proxy.get("/").status()).filter(|status| *status == 200)
    });
    assert!(start.elapsed() < Duration::from_secs(15));
    for _ in 0..20 {
        proxy.get("/").expect(200);
    }
    for turn in ["open", "half_open", "closed"] {
        let series = format!("evenkeel_pool_breaker_changes_total{{pool=\"app\",to=\"{turn}\"}}");
        assert_eq!(metric(&proxy, &series), 1, "{turn}");
    }
}

#[test]
fn a_breaker_opens_for_a_server_that_crawls() {
    let origin = Origin::named("slow");
    let keys = "breaker: { errors: off, slow: { over: 100ms, share: 80% }, volume: 4, open: 30s }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    for _ in 0..4 {
        proxy.get("/delay/200").expect(200);
    }
    let refused = proxy.get("/").expect_error(503, "Circuit-Open");
    let after = refused.header("retry-after").unwrap_or_default();
    assert!((20..=30).contains(&after.parse::<u32>().expect("seconds")));
}

#[test]
fn a_server_whose_breaker_is_open_is_passed_over() {
    let failing = Origin::answering(|_| Reply::new(500));
    let live = Origin::named("live");
    let keys = "server_breaker: { volume: 3, open: 60s }";
    let servers = [failing.address(), live.address()];
    let proxy = Proxy::before_with(&servers, keys, "");
    let failed = (0..60).filter(|_| proxy.get("/").status() == 500).count();
    assert_eq!((failed, failing.requests()), (3, 3));
    let proxy = Proxy::before_with(&[failing.address()], keys, "");
    for _ in 0..3 {
        proxy.get("/").expect(500);
    }
    proxy.get("/").expect_error(503, "Circuit-Open");
}

#[test]
fn a_client_that_leaves_takes_no_probe_with_it() {
    let fails = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&fails);
    let origin = Origin::scripted(move |stage| {
        while let Some(request) = stage.request() {
            if request.head.target == "/wait" {
                return stage.until_end();
            }
            let status = if now.load(Ordering::SeqCst) { 500 } else { 200 };
            stage.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let keys = "breaker: { volume: 2, open: 3s, probes: 1 }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    proxy.get("/").expect(500);
    proxy.get("/").expect(500);
    proxy.get("/").expect_error(503, "Circuit-Open");
    fails.store(false, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(3_200));
    let mut probe = proxy.wire();
    probe.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    until_true("the probe is at the server", || origin.requests() == 3);
    proxy.get("/").expect_error(503, "Circuit-Open");
    probe.reset();
    until("the next one is the probe", || {
        Some(proxy.get("/").status()).filter(|status| *status == 200)
    });
}

#[test]
fn beyond_so_many_requests_the_process_refuses_more() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let routes = "shed: { requests: 2 }\nroutes: [ { name: own, match: { path: /own }, respond: { status: 204 } }, { name: all, pool: app } ]";
    let proxy = Proxy::before_with(&[origin.address()], "", routes);
    let mut held = [proxy.wire(), proxy.wire()];
    for wire in &mut held {
        wire.send(GET);
    }
    until_true("both are at the server", || origin.requests() == 2);
    let refused = proxy.get("/").expect_error(503, "Overloaded");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    proxy.get("/own").expect(204);
    gate.open();
    for wire in &mut held {
        wire.answer().expect(200);
    }
    is_free_again(&proxy);
}

#[test]
fn short_of_memory_the_process_refuses_requests() {
    let origin = Origin::named("a");
    let proxy = Proxy::before_with(&[origin.address()], "", "shed: { memory: 16MiB }");
    until("memory is measured", || {
        Some(proxy.get("/").status()).filter(|status| *status == 503)
    });
    proxy.get("/").expect_error(503, "Overloaded");
    let proxy = Proxy::before_with(&[origin.address()], "", "shed: { memory: 90% }");
    std::thread::sleep(Duration::from_millis(1_200));
    proxy.get("/").expect(200);
}

#[test]
fn adaptive_concurrency_refuses_what_is_too_much() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let keys = "concurrency: { min: 1, max: 1 }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    let mut held = proxy.wire();
    held.send(GET);
    until_true("one is at the server", || origin.requests() == 1);
    proxy.get("/").expect_error(503, "Pool-Limit");
    let series = "evenkeel_pool_refused_requests_total{pool=\"app\",reason=\"concurrency\"}";
    assert_eq!(metric(&proxy, series), 1);
    gate.open();
    held.answer().expect(200);
    is_free_again(&proxy);
}

#[test]
fn statuses_count_against_a_server_when_chosen() {
    let failing = Origin::answering(|_| Reply::new(500));
    let live = Origin::named("live");
    let servers = [failing.address(), live.address()];
    let keys = "outlier: { consecutive: 3, on: [500], ejection: 60s }";
    let proxy = Proxy::before_with(&servers, keys, "");
    let failed = (0..40).filter(|_| proxy.get("/").status() == 500).count();
    assert_eq!((failed, failing.requests()), (3, 3));
}

#[test]
fn traffic_follows_the_load_that_servers_report() {
    let busy = Origin::answering(|_| Reply::new(200).with("X-Load", "0.9"));
    let idle = Origin::answering(|_| Reply::new(200).with("X-Load", "5%"));
    let servers = [busy.address(), idle.address()];
    let keys = "balance: weighted_random, load_report: X-Load";
    let proxy = Proxy::before_with(&servers, keys, "");
    // What is reported is smoothed over some seconds.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        proxy.get("/").expect(200);
    }
    let before = (busy.requests(), idle.requests());
    for _ in 0..300 {
        proxy.get("/").expect(200);
    }
    let (to_busy, to_idle) = (busy.requests() - before.0, idle.requests() - before.1);
    assert!(
        to_busy * 3 < to_idle,
        "{to_busy} of the busy one, {to_idle} of the other"
    );
}
