//! HTTP/2 to servers: in clear and over TLS, streams and connections, servers that refuse, leave or die.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keel_testkit::h2::frame::{code, setting};
use keel_testkit::h2::{Event, H2Seen};
use keel_testkit::origin::Check;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Ca, H2Origin, H2Reply, H2Wire, Load, Origin, Proxy, TlsServer};

const H2C: &str = "protocol: http2";

fn before(origin: &Origin) -> Proxy {
    Proxy::before_with(&[origin.address()], H2C, "")
}

#[test]
fn http1_becomes_http2_and_back() {
    let origin = H2Origin::new("a").echo();
    let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
    let answer = proxy
        .ask("/x?y=z")
        .with("Cookie", "a=1")
        .with("X-MiXeD", "Case")
        .with("Connection", "keep-alive, X-Hop")
        .with("X-Hop", "1")
        .with("TE", "trailers, gzip")
        .send()
        .expect(200);
    let json = answer.json();
    assert_eq!(json["protocol"], "HTTP/2.0");
    assert_eq!(json["target"], "/x?y=z");
    assert_eq!(json["authority"], "test.example");
    assert_eq!(json["scheme"], "http");
    assert_eq!(answer.seen("x-mixed"), ["Case"]);
    assert_eq!(answer.seen("cookie"), ["a=1"]);
    assert_eq!(answer.seen("x-hop"), Vec::<String>::new());
    assert_eq!(answer.seen("host"), Vec::<String>::new());
    assert_eq!(answer.header("x-origin").as_deref(), Some("a"));
    let mut wire = proxy.wire();
    let post = Ask::post(proxy.address(), "/", "some bytes").send_on(&mut wire);
    assert_eq!(post.expect(200).json()["body"], "some bytes");
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                   3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n";
    let seen = wire.ask(chunked).expect(200).json();
    assert_eq!(
        (&seen["body"], &seen["trailers"][0][0]),
        (&"abc".into(), &"x-sum".into())
    );
    wire.send("HEAD /bytes/100 HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = wire.answer_to("HEAD").expect(200);
    assert_eq!(head.header("content-length").as_deref(), Some("100"));
    for status in [204, 304, 404, 503] {
        let answer = wire.ask(format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((answer.status(), answer.header("x-error")), (status, None));
    }
    let interim = wire
        .ask("GET /interim HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect(200);
    assert_eq!(interim.interim.first().map(|head| head.status), Some(103));
    let with =
        wire.ask("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!(
        with.expect(200).trailers.first("x-sum").as_deref(),
        Some("42")
    );
    assert_eq!(origin.connections(), 1);
}

#[test]
fn http2_on_both_sides() {
    let origin = H2Origin::new("a").echo();
    let proxy = before(&origin);
    let mut wire = H2Wire::connect(proxy.address());
    let seen = wire
        .get_with("/x", &[("cookie", "a=1"), ("cookie", "b=2")])
        .expect(200);
    assert_eq!(seen.seen("cookie").join("; "), "a=1; b=2");
    let stream = wire.ask("POST", "/trailers", &[("te", "trailers")], false);
    wire.data(stream, vec![b'x'; 2_000_000], false)
        .trailers(stream, &[("x-end", "1")]);
    let answer = wire.answer(stream).expect(200);
    let json = answer.json();
    assert_eq!(
        (&json["body_len"], &json["trailers"][0][0]),
        (&2_000_000.into(), &"x-end".into())
    );
    assert_eq!(answer.trailer("x-sum").as_deref(), Some("42"));
    assert_eq!(wire.get("/interim").expect(200).interim.len(), 1);
    let streams: Vec<u32> = (0..100)
        .map(|_| wire.ask("GET", "/delay/200", &[], true))
        .collect();
    for stream in streams {
        wire.answer(stream).expect(200);
    }
    for path in ["/bytes/3000000", "/stream/3000000"] {
        let mut check = Check::default();
        check.feed(&wire.get(path).expect(200).body);
        assert_eq!((check.len, check.broken), (3_000_000, false), "{path}");
    }
}

#[test]
fn over_tls_by_alpn() {
    let ca = Ca::new("an authority of servers");
    let leaf = ca.leaf(&["127.0.0.1"]);
    let start = |origin: &Origin, protocol: &str| {
        let scratch = Scratch::new();
        scratch.write("ca.pem", ca.pem());
        let keys = format!("protocol: {protocol}, tls: {{ ca: \"@DIR@/ca.pem\" }}");
        let text = keel_testkit::proxy::simple(&[origin.address()], &keys, "");
        Proxy::start_in(scratch, &text, &[])
    };
    let both = TlsServer::with_alpn(&leaf, &["h2"]);
    let origin = H2Origin::new("a").tls(&both).echo();
    for protocol in ["http2", "auto"] {
        let proxy = start(&origin, protocol);
        for _ in 0..5 {
            let json = proxy.get("/").expect(200).json();
            assert_eq!(
                (&json["protocol"], &json["scheme"]),
                (&"HTTP/2.0".into(), &"https".into())
            );
        }
        assert_eq!(proxy.get("/bytes/1000000").expect(200).body_len, 1_000_000);
    }
    assert_eq!(both.handshakes()[0].alpn.as_deref(), Some("h2"));
    let old = TlsServer::with_alpn(&leaf, &["http/1.1"]);
    let origin = old.named("old");
    assert_eq!(start(&origin, "auto").get("/").expect(200).origin(), "old");
    let refused = start(&origin, "http2").get("/");
    assert_eq!(refused.status(), 502, "it speaks no HTTP/2");
}

/// One worker's requests beyond the streams that a server allows go over more connections, and beyond those they wait.
#[test]
fn the_limit_of_streams_opens_connections() {
    let most = Arc::new(AtomicUsize::new(0));
    let inner = Arc::clone(&most);
    let origin = H2Origin::new("a")
        .settings(&[(setting::MAX_CONCURRENT_STREAMS, 4)])
        .answering(move |seen| {
            inner.fetch_max(seen.connection + 1, Ordering::AcqRel);
            H2Reply::text("ok").after(Duration::from_millis(300))
        });
    let more = "workers: 1";
    let keys = "protocol: http2, http2: { streams: 100, connections: 3 }";
    let proxy = Proxy::before_with(&[origin.address()], keys, more);
    proxy.get("/").expect(200); // its SETTINGS are known now
    let mut wire = H2Wire::connect(proxy.address());
    let streams: Vec<u32> = (0..20).map(|_| wire.ask("GET", "/", &[], true)).collect();
    for stream in streams {
        wire.answer(stream).expect(200);
    }
    let connections = most.load(Ordering::Acquire);
    assert!((2..=3).contains(&connections), "{connections}");
    assert_eq!(origin.requests(), 21);
}

/// Two servers that count together and answer by that count.
fn two(answer: impl Fn(usize, &H2Seen) -> H2Reply + Send + Sync + 'static) -> [Origin; 2] {
    let (all, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    ["a", "b"].map(|name| {
        let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
        H2Origin::new(name).answering(move |seen| {
            let nth = all.fetch_add(1, Ordering::AcqRel) + 1;
            answer(nth, seen).with("x-origin", name)
        })
    })
}

fn before_two(origins: &[Origin; 2]) -> Proxy {
    let servers = origins.each_ref().map(Origin::address);
    Proxy::before_with(&servers, "protocol: http2, max_fails: 0", "")
}

#[test]
fn refused_streams_are_tried_again() {
    let origins = two(|nth, seen| match nth % 2 {
        1 => H2Reply::reset(code::REFUSED_STREAM),
        _ => H2Reply::echo("", seen),
    });
    let proxy = before_two(&origins);
    for _ in 0..10 {
        let answer = Ask::post(proxy.address(), "/", "not idempotent").send();
        assert_eq!(answer.expect(200).json()["body"], "not idempotent");
    }
    let requests = origins.each_ref().map(Origin::requests);
    assert_eq!(requests.iter().sum::<usize>(), 20, "{requests:?}");
}

#[test]
fn other_resets_are_not_tried_again() {
    let origin = H2Origin::new("a").answering(|seen| match seen.path().as_str() {
        "/late" => H2Reply::text("half").then_reset(code::INTERNAL_ERROR),
        _ => H2Reply::reset(code::INTERNAL_ERROR),
    });
    let proxy = before(&origin);
    Ask::post(proxy.address(), "/", "once")
        .send()
        .expect_error(502, "Backend-Unavailable");
    assert_eq!(origin.requests(), 1);
    let mut wire = proxy.wire();
    wire.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(wire.try_answer("GET").is_err(), "an answer that was cut");
    let mut wire = H2Wire::connect(proxy.address());
    let answer = wire.get("/late");
    assert!(answer.reset.is_some(), "{answer:?}");
}

#[test]
fn requests_after_goaway_go_elsewhere() {
    // Each connection takes three requests, and says so with the third; what comes later was not looked at.
    let origin = H2Origin::new("a").answering(|seen| match seen.nth {
        1 | 2 => H2Reply::text("ok").with("x-origin", "a"),
        3 => H2Reply::text("ok")
            .with("x-origin", "a")
            .with_goaway(code::NO_ERROR),
        _ => H2Reply::silence(),
    });
    let proxy = Proxy::before_with(&[origin.address()], "protocol: http2, max_fails: 0", "");
    // Three: whoever is refused is among the first three of the next connection. A request of more clients could be the fourth
    // again and again, and is not sent for ever.
    let load = Load::start(proxy.address(), 3, &Ask::get(proxy.address(), "/"));
    load.await_more(300);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(origin.connections() > 20, "{}", origin.connections());
    let origins = two(|nth, seen| match nth {
        1 => H2Reply::unprocessed(),
        _ => H2Reply::echo("", seen),
    });
    let answer = Ask::post(before_two(&origins).address(), "/", "not idempotent").send();
    assert_eq!(answer.expect(200).json()["body"], "not idempotent");
}

#[test]
fn a_connection_that_is_dead_is_found_by_ping() {
    // The first connection answers once, and then nothing any more, not even pings.
    let origin = H2Origin::new("a").scripted(|stage| {
        let mut first = true;
        while let Some(seen) = stage.request_head() {
            if stage.number() == 0 && !std::mem::replace(&mut first, false) {
                stage.until_end();
                return;
            }
            stage
                .connection
                .head(seen.stream, &[(":status", "204")], true);
            stage.connection.auto.pong = stage.number() != 0;
        }
    });
    let keys =
        "protocol: http2, http2: { ping: { every: 1s, timeout: 500ms } }, timeouts: { read: 30s }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    proxy.get("/").expect(204);
    let start = Instant::now();
    let answer = proxy.get("/");
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    assert!(
        matches!(answer.status(), 204 | 502 | 504),
        "{}",
        answer.status()
    );
    proxy.get("/").expect(204);
    until_true("another connection", || origin.connections() >= 2);
}

#[test]
fn a_cancelled_request_is_cancelled_at_the_server() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let origin = H2Origin::new("a").scripted(move |stage| {
        while let Some(seen) = stage.request_head() {
            stage
                .connection
                .head(seen.stream, &[(":status", "200")], false);
            stage.connection.data(seen.stream, "abc", false);
            let code = stage.await_reset(seen.stream);
            let _heard = sender.lock().expect("no panic").send(code);
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
    let mut wire = proxy.wire();
    wire.send(crate::GET);
    assert_eq!(wire.head("GET").map(|head| head.status), Ok(200));
    wire.reset(); // an orderly end might only mean that nothing more is sent
    let code = receiver.recv_timeout(keel_testkit::wait::SOON);
    assert_eq!(code, Ok(Some(code::CANCEL)));
    let mut wire = H2Wire::connect(proxy.address());
    let stream = wire.ask("GET", "/", &[], true);
    wire.so_far(stream, |answer| answer.body == b"abc");
    wire.reset(stream, code::CANCEL).ping();
    let code = receiver.recv_timeout(keel_testkit::wait::SOON);
    assert_eq!(code, Ok(Some(code::CANCEL)));
    assert_eq!(
        origin.connections(),
        1,
        "the connection was not lost with it"
    );
}

/// A server may not make us hold what a slow client does not take.
#[test]
fn a_slow_client_slows_its_stream_only() {
    let origin = H2Origin::new("a").echo();
    let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
    proxy.get("/").expect(200);
    let mut slow = keel_testkit::Wire::connect(proxy.address()).with_small_window();
    slow.send("GET /bytes/50000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    let grown = proxy.usage().rss_bytes;
    for _ in 0..50 {
        proxy.get("/").expect(200);
    }
    assert!(proxy.usage().rss_bytes < grown + (8 << 20));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn answers_that_break_the_rules_are_502() {
    let bad: Vec<Vec<(&str, &str)>> = vec![
        vec![(":status", "200"), ("Upper", "x")],
        vec![(":status", "200"), ("connection", "close")],
        vec![(":status", "200"), ("transfer-encoding", "chunked")],
        vec![(":status", "200"), ("x", "a\r\nb: c")],
        vec![(":status", "200"), ("x", "a\u{0}b")],
        vec![(":status", "200"), ("x y", "z")],
        vec![(":status", "200"), (":status", "200")],
        vec![(":status", "20")],
        vec![(":status", "2000")],
        vec![(":status", "abc")],
        vec![(":status", "101")],
        vec![(":status", "200"), ("content-length", "5, 5")],
        vec![(":status", "200"), ("content-length", "x")],
        vec![("x", "no status")],
    ];
    let mut passed = Vec::new();
    for fields in bad {
        let given = fields.clone();
        let origin = H2Origin::new("a").scripted(move |stage| {
            while let Some(seen) = stage.request_head() {
                stage.connection.head(seen.stream, &given, true);
                while !matches!(stage.event(), Event::End(_) | Event::Reset { .. }) {}
            }
        });
        let proxy = Proxy::before_with(
            &[origin.address()],
            "protocol: http2, max_fails: 0, timeouts: { read: 2s }",
            "",
        );
        let status = proxy.get("/").status();
        if status != 502 {
            passed.push((status, fields));
        }
        origin.take_faults();
    }
    assert!(passed.is_empty(), "{passed:#?}");
}

#[test]
fn a_server_without_http2_is_502_and_not_a_hang() {
    let origin = Origin::echo();
    let proxy = before(&origin);
    let start = Instant::now();
    assert_eq!(proxy.get("/").status(), 502);
    assert!(start.elapsed() < Duration::from_secs(10));
    origin.take_faults(); // a preface is no request
    let mut dead = H2Origin::new("b").echo();
    dead.stop();
    let proxy = before(&dead);
    proxy.get("/").expect_error(502, "Backend-Unavailable");
    dead.restart();
    until_true("it is back", || proxy.get("/").status() == 200);
}
