//! Requests that wait because every server is full.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keel_testkit::h2::frame::code;
use keel_testkit::origin::Gate;
use keel_testkit::wait::{SOON, until_true};
use keel_testkit::{Ask, H2Wire, Origin, Proxy};

use crate::GET;
use crate::protect::{gated, metric};

const WAITING: &str = "evenkeel_pool_waiting_requests{pool=\"app\"}";

/// A pool whose servers take one request each.
fn one_each(servers: &[&Origin], queue: &str, more: &str) -> Proxy {
    let server = |origin: &&Origin| {
        let address = origin.address();
        format!("{{ address: \"{address}\", max_connections: 1 }}")
    };
    let servers: Vec<String> = servers.iter().map(server).collect();
    Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ name: all, pool: app }} ]\n\
         pools: {{ app: {{ servers: [{}], max_fails: 0{queue} }} }}\n{more}\n",
        servers.join(", ")
    ))
}

fn refused(proxy: &Proxy, reason: &str) -> u64 {
    let series =
        format!("evenkeel_pool_refused_requests_total{{pool=\"app\",reason=\"{reason}\"}}");
    metric(proxy, &series)
}

#[test]
fn all_are_served_one_after_the_other() {
    let gate = Arc::new(Gate::new());
    let first = Arc::clone(&gate);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, high) = (Arc::clone(&now), Arc::clone(&most));
    let origin = Origin::scripted(move |stage| {
        while stage.request().is_some() {
            let with_me = count.fetch_add(1, Ordering::SeqCst) + 1;
            high.fetch_max(with_me, Ordering::SeqCst);
            first.wait();
            std::thread::sleep(Duration::from_millis(30));
            count.fetch_sub(1, Ordering::SeqCst);
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = one_each(
        &[&origin],
        ", queue: { length: 100, wait: 60s }",
        "workers: 4",
    );
    let clients: Vec<_> = (0..30)
        .map(|_| {
            let address = proxy.address();
            std::thread::spawn(move || Ask::get(address, "/").send().status())
        })
        .collect();
    until_true("all but one wait", || metric(&proxy, WAITING) == 29);
    gate.open();
    for client in clients {
        assert_eq!(client.join().expect("a client"), 200);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(metric(&proxy, WAITING), 0);
    let waits = metric(
        &proxy,
        "evenkeel_pool_queue_wait_duration_seconds_count{pool=\"app\"}",
    );
    assert_eq!(waits, 29);
}

#[test]
fn the_wait_has_an_end_and_so_has_the_queue() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let proxy = one_each(&[&origin], ", queue: { length: 1, wait: 3s }", "");
    let mut held = proxy.wire();
    held.send(GET);
    until_true("one is at the server", || origin.requests() == 1);
    let start = Instant::now();
    let mut waits = proxy.wire();
    waits.send(GET);
    until_true("one waits", || metric(&proxy, WAITING) == 1);
    let full = proxy.get("/").expect_error(503, "Queue-Full");
    assert_eq!(full.header("retry-after").as_deref(), Some("1"));
    assert!(start.elapsed() < Duration::from_millis(2_900));
    let late = waits.answer().expect_error(503, "Queue-Timeout");
    assert_eq!(late.header("retry-after").as_deref(), Some("1"));
    assert!(start.elapsed() >= Duration::from_millis(2_900));
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_eq!(
        (
            refused(&proxy, "queue_full"),
            refused(&proxy, "queue_timeout")
        ),
        (1, 1)
    );
    gate.open();
    held.answer().expect(200);
    proxy.get("/").expect(200);
}

#[test]
fn urgent_requests_go_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Gate::new());
    let (seen, wait) = (Arc::clone(&order), Arc::clone(&gate));
    let origin = Origin::scripted(move |stage| {
        while let Some(request) = stage.request() {
            wait.wait();
            seen.lock().expect("unpoisoned").push(request.head.target);
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let queue = ", queue: { length: 9, priority: { header: X-Priority } }";
    let proxy = one_each(&[&origin], queue, "");
    let ask = |target: &str, priority: &str| {
        let mut wire = proxy.wire();
        wire.send(format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nX-Priority: {priority}\r\n\r\n"
        ));
        wire
    };
    let mut wires = vec![ask("/first", "9")];
    until_true("one is at the server", || origin.requests() == 1);
    for (position, (target, priority)) in
        [("/c", "200"), ("/b", "none"), ("/a", "0"), ("/d", "200")]
            .into_iter()
            .enumerate()
    {
        wires.push(ask(target, priority));
        until_true("it waits", || {
            metric(&proxy, WAITING) == position as u64 + 1
        });
    }
    gate.open();
    for wire in &mut wires {
        wire.answer().expect(200);
    }
    assert_eq!(
        *order.lock().expect("unpoisoned"),
        ["/first", "/a", "/b", "/c", "/d"]
    );
}

#[test]
fn clients_that_leave_end_their_wait() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let proxy = one_each(&[&origin], ", queue: { length: 9, wait: 60s }", "");
    let mut held = proxy.wire();
    held.send(GET);
    until_true("one is at the server", || origin.requests() == 1);
    let mut plain = proxy.wire();
    plain.send(GET);
    let mut h2 = H2Wire::connect(proxy.address());
    let stream = h2.ask("GET", "/", &[], true);
    until_true("both wait", || metric(&proxy, WAITING) == 2);
    plain.reset();
    h2.reset(stream, code::CANCEL);
    until_true("nobody waits", || metric(&proxy, WAITING) == 0);
    gate.open();
    held.answer().expect(200);
    assert_eq!(origin.requests(), 1);
    h2.get("/").expect(200);
}

#[test]
fn limits_of_the_pool_are_waited_for_too() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let keys = "limits: { requests: 1 }, queue: { length: 5 }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 2");
    let mut wires: Vec<_> = (0..5).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.send(GET);
    }
    until_true("four wait", || metric(&proxy, WAITING) == 4);
    gate.open();
    for wire in &mut wires {
        wire.answer().expect(200);
    }
}

#[test]
fn a_drain_serves_or_ends_those_who_wait() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let queue = ", queue: { length: 9, wait: 60s }";
    let proxy = one_each(&[&origin], queue, "drain_timeout: 1s");
    let mut wires = [proxy.wire(), proxy.wire()];
    for wire in &mut wires {
        wire.send(GET);
    }
    until_true("one waits", || metric(&proxy, WAITING) == 1);
    proxy.terminate();
    let start = Instant::now();
    for wire in &mut wires {
        wire.answer().expect_error(503, "Draining");
    }
    assert!(start.elapsed() < Duration::from_secs(15));
    proxy.wait(SOON).expect(0);
    gate.open();
}

#[test]
fn a_websocket_keeps_its_place_and_waits_for_one() {
    let origin = Origin::websocket();
    let proxy = one_each(&[&origin], ", queue: { length: 9, wait: 60s }", "");
    let handshake = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let mut first = proxy.wire();
    first.send(handshake);
    assert_eq!(first.head("GET").expect("an answer").status, 101);
    let mut second = proxy.wire();
    second.send(handshake);
    until_true("the second waits", || metric(&proxy, WAITING) == 1);
    assert!(second.is_silent(Duration::from_millis(200)));
    drop(first);
    assert_eq!(second.head("GET").expect("an answer").status, 101);
}

#[test]
fn a_call_of_grpc_waits_no_longer_than_its_deadline() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let proxy = one_each(&[&origin], ", queue: { length: 1, wait: 60s }", "");
    let mut held = proxy.wire();
    held.send(GET);
    until_true("one is at the server", || origin.requests() == 1);
    let mut wire = H2Wire::connect(proxy.address());
    let head = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "3S"),
    ];
    let start = Instant::now();
    let call = wire.ask("POST", "/kit.Echo/Say", &head, false);
    wire.data(call, [0, 0, 0, 0, 0], true);
    until_true("it waits", || metric(&proxy, WAITING) == 1);
    let full = wire.ask("POST", "/kit.Echo/Say", &head, false);
    wire.data(full, [0, 0, 0, 0, 0], true);
    let answer = wire.answer(full).expect(200);
    assert_eq!(
        answer.header("grpc-status").as_deref(),
        Some("14"),
        "UNAVAILABLE"
    );
    let answer = wire.answer(call).expect(200);
    assert_eq!(
        answer.header("grpc-status").as_deref(),
        Some("4"),
        "DEADLINE_EXCEEDED"
    );
    assert!(start.elapsed() < Duration::from_secs(15));
    gate.open();
    held.answer().expect(200);
}

#[test]
fn whoever_waits_sees_that_a_breaker_has_closed() {
    let (probed, held) = (Arc::new(Gate::new()), Arc::new(Gate::new()));
    let gate = Arc::clone(&probed);
    let a = Origin::scripted(move |stage| {
        while let Some(request) = stage.request() {
            let status = match request.head.target.as_str() {
                "/bad" => 500,
                "/probe" => {
                    gate.wait();
                    200
                }
                _ => 200,
            };
            stage.send(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let b = gated(&held);
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ name: all, pool: app }} ]\n\
         pools: {{ app: {{ servers: [ \"{}\", {{ address: \"{}\", max_connections: 1 }} ], max_fails: 0, \
         server_breaker: {{ errors: 10%, volume: 1, open: 500ms, probes: 2 }}, queue: {{ wait: 5s }} }} }}\n",
        a.address(),
        b.address()
    ));
    let mut first = [proxy.wire(), proxy.wire()];
    for wire in &mut first {
        wire.send(GET);
    }
    until_true("b is full", || b.requests() == 1);
    proxy.get("/bad").expect(500);
    std::thread::sleep(Duration::from_millis(700));
    // The server is back for the balancer; its breaker wants to see more, and lets few through.
    proxy.get("/").expect(200);
    let mut probes: Vec<_> = (0..4).map(|_| proxy.wire()).collect();
    for wire in &mut probes {
        wire.send("GET /probe HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until_true("some wait", || metric(&proxy, WAITING) >= 1);
    std::thread::sleep(Duration::from_millis(250));
    probed.open();
    for wire in &mut probes {
        wire.answer().expect(200);
    }
    held.open();
}
