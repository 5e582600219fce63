//! Connections to servers that many requests share: what one client asks for, or does not take, is no harm to the others
//! and counts against no server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keel_testkit::h2::frame::{Frame, code, setting};
use keel_testkit::proxy::simple;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Ca, H2Origin, H2Reply, H2Wire, Origin, Proxy, TlsServer};

const H2C: &str = "protocol: http2";
const WEBSOCKET: &str = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn a_stream_that_is_always_refused_is_not_sent_for_ever() {
    // What a server had goes to another one, and there is none.
    for (refusal, times) in [(code::REFUSED_STREAM, 2..=6), (code::INTERNAL_ERROR, 1..=1)] {
        let origin = H2Origin::new("a").answering(move |seen| match seen.nth_of_all {
            1 => H2Reply::text("the connection is good"),
            _ => H2Reply::reset(refusal),
        });
        let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
        proxy.get("/").expect(200);
        proxy.get("/").expect_error(502, "Backend-Unavailable");
        let asked = origin.requests() - 1;
        assert!(times.contains(&asked), "asked {asked} times");
    }
}

/// With the default `max_fails: 1` a single request would take a server away from everybody.
#[test]
fn what_a_client_asks_for_counts_against_no_server() {
    let origin = H2Origin::new("a").answering(|seen| match seen.path().as_str() {
        "/kit.Echo/Silent" => H2Reply::silence(),
        _ => H2Reply::text("ok"),
    });
    let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    let fields = [
        ("content-type", "application/grpc"),
        ("grpc-timeout", "20m"),
    ];
    let stream = wire.ask("POST", "/kit.Echo/Silent", &fields, true);
    let answer = wire.answer(stream).expect(200);
    assert_eq!(answer.header("grpc-status").as_deref(), Some("4"));
    proxy
        .wire()
        .ask(WEBSOCKET)
        .expect_error(502, "Backend-Unavailable");
    wire.get("/").expect(200);
    assert!(!proxy.log().contains("rests"), "{}", proxy.log());
}

#[test]
fn requests_beyond_all_streams_do_not_fail_the_server() {
    let origin = H2Origin::new("a")
        .settings(&[(setting::MAX_CONCURRENT_STREAMS, 2)])
        .answering(|_| H2Reply::silence());
    let keys = "protocol: http2, http2: { streams: 2, connections: 1 }, timeouts: { connect: 2s, read: 20s }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    let streams: Vec<u32> = (0..4).map(|_| wire.ask("GET", "/", &[], true)).collect();
    for stream in &streams[2..] {
        let answer = wire.answer(*stream).expect(503);
        assert_eq!(
            answer.header("x-error").as_deref(),
            Some("All-Backends-Full")
        );
    }
    assert!(!proxy.log().contains("rests"), "{}", proxy.log());
}

#[test]
fn clients_that_take_nothing_do_not_hold_up_others() {
    let origin = H2Origin::new("a").echo();
    let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
    proxy.get("/").expect(200);
    let mut slow = H2Wire::connect_with(proxy.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    for _ in 0..40 {
        slow.ask("GET", "/bytes/1000000", &[], true);
    }
    slow.read_for(Duration::from_millis(500));
    let start = Instant::now();
    proxy.get("/bytes/100000").expect(200);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_connection_that_carried_its_requests_is_closed() {
    let open = Arc::new(AtomicUsize::new(0));
    let inner = Arc::clone(&open);
    let origin = H2Origin::new("a").scripted(move |stage| {
        inner.fetch_add(1, Ordering::AcqRel);
        while let Some(seen) = stage.request_head() {
            stage
                .connection
                .head(seen.stream, &[(":status", "204")], true);
        }
        inner.fetch_sub(1, Ordering::AcqRel);
    });
    let keys = "protocol: http2, keepalive: { requests: 5 }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    for _ in 0..50 {
        proxy.get("/").expect(204);
    }
    assert!(origin.connections() >= 10, "{}", origin.connections());
    until_true("what is used up is closed", || {
        open.load(Ordering::Acquire) <= 1
    });
}

/// HTTP/2 has a word for WebSockets only. What else a client offers is left out, and nothing else is asked for.
#[test]
fn other_upgrades_are_plain_requests_to_a_server_of_http2() {
    let origin = H2Origin::new("a")
        .settings(&[(setting::ENABLE_CONNECT_PROTOCOL, 1)])
        .answering(|seen| H2Reply::text(&seen.method()));
    let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
    for method in ["GET", "DELETE"] {
        let answer = proxy
            .wire()
            .ask(format!(
                "{method} / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other/1\r\n\r\n"
            ))
            .expect(200);
        assert_eq!(answer.text(), method);
    }
}

/// A content type is the client's to choose, and no way around the limits of a body.
#[test]
fn bodies_that_say_grpc_over_http1_have_the_limits_of_others() {
    let origin = H2Origin::new("a").echo();
    let more = "timeouts: { body: 500ms }\n\
                routes: [ { pool: app, grpc_web: true, limits: { body: 1KB } } ]";
    let proxy = Proxy::before_with(&[origin.address()], H2C, more);
    let long = "QUJD".repeat(5_000);
    let head =
        "POST /kit.Echo/Say HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web-text\r\n";
    let mut wire = proxy.wire();
    wire.send(format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    ));
    let answer = wire.answer().expect(200);
    assert_eq!(answer.header("grpc-status").as_deref(), Some("8"));
    let mut wire = proxy.wire().with_deadline(Duration::from_secs(5));
    wire.send(format!("{head}Content-Length: 100\r\n\r\nQUJD"));
    let answer = wire.answer().expect(200);
    assert_eq!(answer.header("x-error").as_deref(), Some("Request-Timeout"));
}

/// A body that is sent again is framed for the server that gets it then.
#[test]
fn a_second_server_may_speak_another_version() {
    let ca = Ca::new("an authority of servers");
    let leaf = ca.leaf(&["127.0.0.1"]);
    let (plain, both) = (
        TlsServer::with_alpn(&leaf, &["http/1.1"]),
        TlsServer::with_alpn(&leaf, &["h2"]),
    );
    let chunked =
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let go = |servers: [&Origin; 2]| {
        let scratch = Scratch::new();
        scratch.write("ca.pem", ca.pem());
        let keys = "protocol: auto, max_fails: 0, tls: { ca: \"@DIR@/ca.pem\" }";
        let text = simple(&servers.map(Origin::address), keys, "workers: 1");
        let proxy = Proxy::start_in(scratch, &text, &[]);
        for _ in 0..2 {
            assert_eq!(proxy.wire().ask(chunked).expect(200).json()["body"], "abc");
        }
    };
    let cut = plain.scripted(|stage| {
        stage.request();
    });
    go([&cut, &H2Origin::new("b").tls(&both).echo()]);
    let refuses = H2Origin::new("a")
        .tls(&both)
        .answering(|_| H2Reply::reset(code::REFUSED_STREAM));
    go([&refuses, &plain.named("b")]);
    assert!(cut.requests() > 0 && refuses.requests() > 0);
}

#[test]
fn a_client_that_gives_up_ends_the_wait_for_a_connection() {
    // The kernel takes the connection, and nobody ever speaks on it.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
    let at = deaf.local_addr().expect("a bound socket has an address");
    let keys = "tls: { verify: false }, timeouts: { connect: 15s }";
    let proxy = Proxy::before_with(&[at], keys, "");
    let in_flight = || {
        let metrics = Ask::get(proxy.admin(), "/metrics").send().text();
        metrics
            .lines()
            .filter(|line| line.starts_with("evenkeel_route_in_flight_requests"))
            .any(|line| line.ends_with(" 1"))
    };
    let mut wire = H2Wire::connect(proxy.address());
    let stream = wire.ask("GET", "/", &[], true);
    until_true("it connects", in_flight);
    let start = Instant::now();
    wire.reset(stream, code::CANCEL).ping();
    until_true("it has given up", || !in_flight());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

/// An idle connection that is shared holds a place in the pool's limit like any other: it goes for whoever needs one.
#[test]
fn an_idle_connection_leaves_its_place_in_the_limit() {
    let origins = ["a", "b"].map(|name| H2Origin::new(name).echo());
    let addresses = origins.each_ref().map(Origin::address);
    let keys = "protocol: http2, limits: { connections: 1 }, timeouts: { connect: 5s }";
    for workers in ["workers: 1", "workers: 2"] {
        let proxy = Proxy::before_with(&addresses, keys, workers);
        for _ in 0..6 {
            let start = Instant::now();
            proxy.get("/").expect(200);
            // Another worker looks once a second.
            assert!(start.elapsed() < Duration::from_secs(4), "{workers}");
        }
        assert!(!proxy.log().contains("rests"), "{}", proxy.log());
    }
}

/// Whoever waits for the connection of another request that itself waits for a place has seen no fault of the server.
#[test]
fn a_wait_for_a_place_in_the_limit_is_no_fault_of_the_server() {
    let origin = H2Origin::new("a").answering(|_| H2Reply::silence());
    let keys = "protocol: http2, http2: { streams: 1 }, limits: { connections: 1 }, \
                timeouts: { connect: 500ms, read: 20s }, retry: off";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    wire.ask("GET", "/", &[], true);
    until_true("one is at the server", || origin.requests() == 1);
    let streams: Vec<u32> = (0..6).map(|_| wire.ask("GET", "/", &[], true)).collect();
    for stream in streams {
        wire.answer(stream).expect_error(503, "Pool-Limit");
    }
    assert!(!proxy.log().contains("rests"), "{}", proxy.log());
}

#[test]
fn whoever_waits_for_a_stream_goes_when_the_server_takes_more() {
    let origin = H2Origin::new("a")
        .settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)])
        .scripted(|stage| {
            let Some(_silent) = stage.request_head() else {
                return;
            };
            std::thread::sleep(Duration::from_millis(300));
            stage
                .connection
                .settings(&[(setting::MAX_CONCURRENT_STREAMS, 2)]);
            while let Some(seen) = stage.request_head() {
                stage
                    .connection
                    .head(seen.stream, &[(":status", "200")], true);
            }
        });
    let keys = "protocol: http2, http2: { connections: 1 }, timeouts: { connect: 5s, read: 20s }, retry: off";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    wire.ask("GET", "/", &[], true);
    until_true("one is at the server", || origin.requests() == 1);
    std::thread::sleep(Duration::from_millis(100));
    let stream = wire.ask("GET", "/", &[], true);
    let start = Instant::now();
    wire.answer(stream).expect(200);
    assert!(start.elapsed() < Duration::from_secs(3));
}

/// Who comes anew when a stream ends does not get it before those who wait.
#[test]
fn whoever_came_first_gets_a_stream_first() {
    let served = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&served);
    let origin = H2Origin::new("a")
        .settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)])
        .answering(move |request| {
            seen.lock().unwrap().push(request.path());
            H2Reply::text("ok")
        });
    let keys = "protocol: http2, http2: { connections: 1 }, timeouts: { connect: 20s, read: 20s }, retry: off";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    proxy.get("/0").expect(200);
    let mut wire = H2Wire::connect(proxy.address());
    for round in 0..18 {
        let all = round * 50 + 1..=round * 50 + 50;
        let asked = all.map(|n| wire.ask("GET", &format!("/{n}"), &[], true));
        let streams: Vec<u32> = asked.collect();
        for stream in streams {
            wire.answer(stream).expect(200);
        }
    }
    let expected: Vec<String> = (0..=900).map(|n| format!("/{n}")).collect();
    let served = served.lock().unwrap();
    let first = served
        .iter()
        .zip(&expected)
        .find(|(served, expected)| served != expected);
    assert_eq!((first, served.len()), (None, expected.len()));
}

/// A connection that takes no more streams holds up nobody, although one still runs on it.
#[test]
fn whoever_waits_for_a_stream_goes_elsewhere_after_goaway() {
    let connections = AtomicUsize::new(0);
    let origin = H2Origin::new("a")
        .settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)])
        .scripted(move |stage| {
            let nth = connections.fetch_add(1, Ordering::AcqRel);
            while let Some(seen) = stage.request_head() {
                if nth == 0 {
                    std::thread::sleep(Duration::from_millis(300));
                    let goaway = Frame::goaway(seen.stream, code::NO_ERROR);
                    stage.connection.send(&goaway);
                } else {
                    stage
                        .connection
                        .head(seen.stream, &[(":status", "204")], true);
                }
            }
        });
    let keys = "protocol: http2, http2: { connections: 1 }, timeouts: { connect: 5s, read: 20s }, retry: off";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    wire.ask("GET", "/", &[], true);
    until_true("one is at the server", || origin.requests() == 1);
    std::thread::sleep(Duration::from_millis(100));
    let stream = wire.ask("GET", "/", &[], true);
    let start = Instant::now();
    wire.answer(stream).expect(204);
    assert!(start.elapsed() < Duration::from_secs(3));
}
