//! Connections that carry many requests, on both sides.

use std::time::Duration;

use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Load, Origin, Proxy, Reply, Wire};

use crate::GET;

#[test]
fn one_client_connection_uses_one_backend_connection() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    for nth in 1..=20 {
        assert_eq!(wire.ask(GET).json()["nth"], nth);
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 20));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::answering(|seen| {
        let slow = if seen.head.target == "/0" { 50 } else { 0 };
        Reply::text(&seen.head.target).after(Duration::from_millis(slow))
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    let all: String = (0..10)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    wire.send(all);
    for n in 0..10 {
        assert_eq!(wire.answer().text(), format!("/{n}"));
    }
}

#[test]
fn pipelined_bodies_do_not_run_together() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
         GET /c HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for (target, body) in [("/a", "abc"), ("/b", "de"), ("/c", "")] {
        let seen = wire.answer().json();
        assert_eq!(
            (seen["target"].as_str(), seen["body"].as_str()),
            (Some(target), Some(body))
        );
    }
}

#[test]
fn an_empty_line_before_a_request_is_ignored() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.ask(GET).expect(200);
    wire.ask(format!("\r\n{GET}")).expect(200);
}

#[test]
fn http_10_closes_after_the_answer() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.ask("GET / HTTP/1.0\r\n\r\n").expect(200);
    wire.expect_close();
}

#[test]
fn http_10_keeps_the_connection_when_asked_to() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    let ask = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let answer = wire.ask(ask).expect(200);
    assert!(
        answer.head.fields.lists("connection", "keep-alive"),
        "{:?}",
        answer.head
    );
    wire.ask(ask).expect(200);
}

#[test]
fn connection_close_is_said_and_done() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    let answer = wire
        .ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect(200);
    assert!(
        answer.head.fields.lists("connection", "close"),
        "{:?}",
        answer.head
    );
    wire.expect_close();
}

#[test]
fn a_backend_that_closes_does_not_close_the_client() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    for _ in 0..3 {
        let answer = wire
            .ask("GET /close HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect(200);
        assert!(
            !answer.head.fields.lists("connection", "close"),
            "{:?}",
            answer.head
        );
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn the_last_request_that_a_connection_may_carry_says_close() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(
        &[origin.address()],
        "",
        "listeners: { web: { bind: \"127.0.0.1:0\", limits: { requests: 3 } } }",
    );
    let mut wire = proxy.wire();
    for nth in 1..=3 {
        let answer = wire.ask(GET).expect(200);
        assert_eq!(
            answer.head.fields.lists("connection", "close"),
            nth == 3,
            "request {nth}"
        );
    }
    wire.expect_close();
}

#[test]
fn idle_client_connections_are_closed_without_a_word() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(
        &[origin.address()],
        "",
        "listeners: { web: { bind: \"127.0.0.1:0\", timeouts: { idle: 300ms } } }",
    );
    let mut wire = proxy.wire();
    wire.ask(GET).expect(200);
    wire.expect_close();
}

#[test]
fn a_backend_connection_carries_only_so_many_requests() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(
        &[origin.address()],
        "keepalive: { requests: 4 }",
        "workers: 1",
    );
    let mut wire = proxy.wire();
    for _ in 0..12 {
        wire.ask(GET).expect(200);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn idle_backend_connections_are_closed_in_time() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "keepalive: { idle: 2s }", "workers: 1");
    let mut wire = proxy.wire();
    wire.ask(GET).expect(200);
    assert_eq!(origin.open(), 1);
    until_true("the idle connection is closed", || origin.open() == 0);
    wire.ask(GET).expect(200);
}

#[test]
fn only_so_many_idle_backend_connections_are_kept() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(
        &[origin.address()],
        "keepalive: { connections: 2 }",
        "workers: 1",
    );
    let mut wires: Vec<Wire> = (0..8).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.send("GET /delay/1500 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for wire in &mut wires {
        wire.answer().expect(200);
    }
    assert_eq!(origin.connections(), 8);
    until_true("all but two are closed", || origin.open() == 2);
}

#[test]
fn steady_load_opens_no_new_backend_connections() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "keepalive: { requests: 1000000 }", "");
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(500);
    let warm = origin.connections();
    load.await_more(1000);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    // Each worker has its own pool, and clients may shift between two while both are busy.
    assert!(
        origin.connections() <= warm + 4,
        "{warm}, then {}",
        origin.connections()
    );
}
