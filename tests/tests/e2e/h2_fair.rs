//! Clients of HTTP/2 that send much and mean no harm: none of them is cut off, and nobody waits for them.

use std::time::{Duration, Instant};

use keel_testkit::client::{Ask, End};
use keel_testkit::h2::frame::code;
use keel_testkit::h2::{Frame, encode};
use keel_testkit::origin::Gate;
use keel_testkit::wait::until_true;
use keel_testkit::{H2Wire, Origin, Proxy};

use crate::memory_bound;

fn metrics(proxy: &Proxy) -> String {
    Ask::get(proxy.admin(), "/metrics").send().text()
}

fn abuse(proxy: &Proxy) -> f64 {
    let metrics = metrics(proxy);
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("evenkeel_http2_abuse_total"));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// Messages of a few bytes without an answer, as a gRPC client streams them: thousands in a second.
#[test]
fn streams_of_little_messages() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    for (bytes, count) in [(7, 20_000), (20, 50_000), (100, 20_000), (1024, 5_000)] {
        let mut wire = H2Wire::connect(proxy.address());
        let stream = wire.ask("POST", "/", &[], false);
        for at in 0..count {
            // The kit keeps to the windows; each is a frame of its own.
            wire.data(stream, vec![b'x'; bytes], at + 1 == count);
            if at % 1000 == 0 {
                wire.ping();
            }
        }
        let seen = wire.answer(stream).expect(200).json();
        assert_eq!(seen["body_len"], bytes * count);
    }
    assert_eq!(abuse(&proxy), 0.0);
}

/// A page that is left, again and again; calls that run into their deadlines.
#[test]
fn cancelled_streams() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    for _ in 0..4 {
        let streams: Vec<u32> = (0..100)
            .map(|_| wire.ask("GET", "/delay/20000", &[], true))
            .collect();
        wire.read_for(Duration::from_millis(1100));
        for stream in streams {
            wire.reset(stream, code::CANCEL);
        }
        wire.get("/").expect(200);
    }
    assert_eq!(abuse(&proxy), 0.0);
}

/// As gRPC measures a path: a PING with each call and with each answer.
#[test]
fn a_ping_for_each_call() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    for _ in 0..400 {
        let stream = wire.ask("POST", "/", &[], false);
        wire.data(stream, "call", true);
        wire.ping();
        wire.answer(stream).expect(200);
        wire.ping();
    }
    assert_eq!(abuse(&proxy), 0.0);
}

/// A server that takes nothing for a while: what is under way to it costs what it says, and the other streams of the
/// connection go on.
#[test]
fn little_messages_to_a_server_that_stands_still() {
    let gate = Gate::new();
    let inner = gate.clone();
    let origin = Origin::scripted(move |stage| {
        while let Some(head) = stage.head() {
            if head.target == "/still" {
                inner.wait();
                return;
            }
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], "", "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    wire.get("/").expect(200);
    let before = proxy.usage().rss_bytes;
    // More than the sockets on the way to the server take: so much waits with us as the windows let in.
    for _ in 0..4 {
        let stream = wire.take_stream();
        let head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "test.example"),
            (":path", "/still"),
        ];
        wire.send(&Frame::headers(stream, encode(&head), false));
        let one = Frame::data(stream, [b'x'; 16], false).to_bytes();
        for _ in 0..16 {
            assert!(wire.connection().raw(one.repeat(1000)), "it is cut off");
        }
        let start = Instant::now();
        wire.get("/").expect(200);
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "{:?}",
            start.elapsed()
        );
    }
    let grown = proxy.usage().rss_bytes.saturating_sub(before);
    println!("64,000 frames of 16 bytes took {grown} bytes");
    // They say 1 MB. Kept one by one they would take 20.
    assert!(grown < memory_bound(4 << 20), "{grown}");
    gate.open();
    wire.take_faults();
    origin.take_faults();
}

/// What is shut out is counted by kind, and told of with the client's address once.
#[test]
fn who_is_shut_out_is_counted_and_named() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    for _ in 0..3 {
        let mut wire = H2Wire::connect(proxy.address());
        wire.await_settings();
        for _ in 0..5 {
            wire.connection()
                .raw(Frame::ping([1; 8]).to_bytes().repeat(100));
        }
        let (goaway, end) = wire.await_end();
        assert_ne!(end, End::Deadline);
        assert_eq!(goaway.map(|it| it.code), Some(code::ENHANCE_YOUR_CALM));
        wire.take_faults();
    }
    let row = "evenkeel_http2_abuse_total{listener=\"web\",kind=\"ping_flood\"} 3";
    until_true("each is counted", || metrics(&proxy).contains(row));
    proxy.await_log("ping_flood");
    let said = proxy.log();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("ping_flood"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("client=127.0.0.1:"),
        "{lines:?}"
    );
}

/// The last request that a connection may carry is answered, and GOAWAY tells the client to go on elsewhere.
#[test]
fn a_connection_carries_so_many_requests() {
    let origin = Origin::echo();
    let more = "limits: { requests: 5 }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = H2Wire::connect(proxy.address());
    let streams: Vec<u32> = (0..5).map(|_| wire.ask("GET", "/", &[], true)).collect();
    for stream in streams {
        wire.answer(stream).expect(200);
    }
    let (goaway, end) = wire.await_end();
    assert_eq!(
        goaway.map(|it| (it.code, it.last)),
        Some((code::NO_ERROR, 9))
    );
    assert_eq!(end, End::Closed);
    assert_eq!(abuse(&proxy), 0.0);
}
