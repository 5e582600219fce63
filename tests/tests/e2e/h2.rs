//! HTTP/2 from clients, in clear and over TLS, before servers of HTTP/1.1.

use std::time::Duration;

use keel_testkit::client::End;
use keel_testkit::h2::frame::{code, setting};
use keel_testkit::origin::{Check, Gate};
use keel_testkit::wait::{SOON, until, until_true};
use keel_testkit::{H2Wire, Origin, Proxy, Reply, Wire};

use crate::GET;
use crate::site::{OWN, Site};

/// The same, in clear with prior knowledge and over TLS with ALPN.
fn both(origin: &Origin, test: impl Fn(&mut H2Wire)) {
    let clear = Proxy::before(&[origin.address()]);
    test(&mut H2Wire::connect(clear.address()));
    let site = Site::before(&[origin.address()], OWN);
    test(&mut site.h2());
}

#[test]
fn requests_of_each_kind() {
    let origin = Origin::named("a");
    both(&origin, |wire| {
        let https = wire.connection().wire().is_tls();
        let get = wire
            .get_with("/x?y=z", &[("x-own", "1"), ("accept", "*/*")])
            .expect(200);
        let json = get.json();
        assert_eq!(
            (&json["method"], &json["target"]),
            (&"GET".into(), &"/x?y=z".into())
        );
        assert_eq!(json["framing"], "Empty");
        assert_eq!(get.seen("host"), ["test.example"]);
        assert_eq!(get.seen("x-own"), ["1"]);
        assert_eq!(
            get.seen("x-forwarded-proto"),
            [if https { "https" } else { "http" }]
        );
        assert_eq!(get.seen("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(get.header("x-origin").as_deref(), Some("a"));
        let post = wire.post("/", "some bytes").expect(200).json();
        assert_eq!(
            (&post["body"], &post["framing"]),
            (&"some bytes".into(), &"Chunked".into())
        );
        let stream = wire.ask("PUT", "/", &[("content-length", "4")], false);
        let put = wire
            .data(stream, "four", true)
            .answer(stream)
            .expect(200)
            .json();
        assert_eq!(
            (&put["method"], &put["framing"]),
            (&"PUT".into(), &"Length(4)".into())
        );
        let stream = wire.ask("HEAD", "/bytes/100", &[], true);
        let head = wire.answer(stream).expect(200);
        assert_eq!(head.header("content-length").as_deref(), Some("100"));
        assert_eq!(head.body.len(), 0);
        for status in [204, 304, 404, 500] {
            assert_eq!(wire.get(&format!("/status/{status}")).status, status);
        }
        assert_eq!(
            wire.get("/until-close/70000").expect(200).body.len(),
            70_000
        );
        let options = wire.ask("OPTIONS", "*", &[], true);
        assert_eq!(wire.answer(options).expect(200).json()["target"], "*");
    });
}

#[test]
fn big_bodies_both_ways_under_flow_control() {
    const LEN: usize = 5_000_000;
    let origin = Origin::echo();
    both(&origin, |wire| {
        for path in [format!("/bytes/{LEN}"), format!("/chunks/{LEN}")] {
            let mut check = Check::default();
            check.feed(&wire.get(&path).expect(200).body);
            assert_eq!((check.len, check.broken), (LEN as u64, false), "{path}");
        }
        let pattern = keel_testkit::origin::pattern();
        let body: Vec<u8> = pattern.iter().copied().cycle().take(LEN).collect();
        let seen = wire.post("/", body).expect(200).json();
        assert_eq!(
            (&seen["body_len"], &seen["body_is_pattern"]),
            (&LEN.into(), &true.into())
        );
        let streams: Vec<u32> = (0..8)
            .map(|_| wire.ask("GET", "/bytes/700000", &[], true))
            .collect();
        for stream in streams {
            assert_eq!(wire.answer(stream).expect(200).body.len(), 700_000);
        }
    });
}

#[test]
fn a_client_with_a_small_window_gets_all_of_it() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let settings = [
        (setting::INITIAL_WINDOW_SIZE, 1_000),
        (setting::HEADER_TABLE_SIZE, 0),
    ];
    let mut wire = H2Wire::connect_with(proxy.address(), &settings);
    let mut check = Check::default();
    check.feed(&wire.get("/bytes/300000").expect(200).body);
    assert_eq!((check.len, check.broken), (300_000, false));
    for _ in 0..20 {
        wire.get("/").expect(200);
    }
}

#[test]
fn trailers_and_interim_answers() {
    let origin = Origin::answering(|seen| match seen.head.target.as_str() {
        "/early" => Reply::raw(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        _ => {
            let got = seen.trailers.first("x-sum").unwrap_or_default();
            Reply::new(200)
                .with("X-Got", &got)
                .with("Trailer", "X-Sum")
                .chunks(&["a", "b"], "X-Sum: 2\r\n")
        }
    });
    both(&origin, |wire| {
        let stream = wire.ask(
            "POST",
            "/",
            &[("te", "trailers"), ("trailer", "x-sum")],
            false,
        );
        wire.data(stream, "body", false)
            .trailers(stream, &[("x-sum", "4")]);
        let answer = wire.answer(stream).expect(200);
        assert_eq!(answer.header("x-got").as_deref(), Some("4"));
        assert_eq!(
            (answer.text().as_str(), answer.trailer("x-sum").as_deref()),
            ("ab", Some("2"))
        );
        let early = wire.get("/early").expect(200);
        assert_eq!(early.text(), "ok");
        assert_eq!(early.interim.len(), 1);
        assert_eq!(early.interim[0].1.first("link").as_deref(), Some("</a>"));
    });
}

#[test]
fn expect_continue_is_answered() {
    let origin = Origin::echo();
    both(&origin, |wire| {
        let more = [("expect", "100-continue"), ("content-length", "5")];
        let stream = wire.ask("POST", "/", &more, false);
        let early = wire.so_far(stream, |answer| !answer.interim.is_empty());
        assert_eq!(early.interim.first().map(|it| it.0), Some(100));
        let answer = wire.data(stream, "12345", true).answer(stream).expect(200);
        assert_eq!(answer.json()["body"], "12345");
    });
}

/// RFC 9113 section 8.2.3.
#[test]
fn cookies_are_joined() {
    let origin = Origin::echo();
    both(&origin, |wire| {
        let seen = wire.get_with(
            "/",
            &[("cookie", "a=1"), ("x-b", "2"), ("cookie", "c=3; d=4")],
        );
        assert_eq!(seen.expect(200).seen("cookie"), ["a=1; c=3; d=4"]);
    });
}

/// Fields of one connection stay on it: none of them reaches a client of HTTP/2, whatever the server says.
#[test]
fn fields_of_the_connection_stay_behind() {
    let origin = Origin::fixed(
        "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: x\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nX-MiXeD: Case\r\n\r\n0\r\n\r\n",
    );
    both(&origin, |wire| {
        let answer = wire.get("/").expect(200);
        assert_eq!(answer.header("x-mixed").as_deref(), Some("Case"));
        for name in [
            "connection",
            "x-hop",
            "keep-alive",
            "upgrade",
            "transfer-encoding",
        ] {
            assert_eq!(answer.header(name), None, "{name}");
        }
    });
}

#[test]
fn a_hundred_streams_at_once() {
    let origin = Origin::echo();
    both(&origin, |wire| {
        wire.await_settings();
        let most = wire.connection().setting(setting::MAX_CONCURRENT_STREAMS);
        assert!(most.is_some_and(|most| most >= 100), "{most:?}");
        let start = std::time::Instant::now();
        let streams: Vec<u32> = (0..100)
            .map(|_| wire.ask("GET", "/delay/300", &[], true))
            .collect();
        for stream in streams.iter().rev() {
            wire.answer(*stream).expect(200);
        }
        assert!(
            start.elapsed() < Duration::from_secs(20), // 30 one after the other
            "{:?}",
            start.elapsed()
        );
    });
    assert_eq!(origin.requests(), 200);
}

#[test]
fn an_early_answer_ends_the_upload() {
    let origin = Origin::scripted(|stage| {
        if stage.head().is_some() {
            stage.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
            stage.until_end();
        }
    });
    both(&origin, |wire| {
        let stream = wire.ask("POST", "/", &[], false);
        wire.data(stream, vec![b'x'; 3_000_000], true);
        let answer = wire.answer(stream);
        assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
        assert!(
            matches!(answer.reset, None | Some(code::NO_ERROR)),
            "{:?}",
            answer.reset
        );
        wire.ping();
    });
}

#[test]
fn a_reset_of_the_client_cancels_at_the_backend() {
    let gone = Gate::new();
    let inner = gone.clone();
    let origin = Origin::scripted(move |stage| {
        while stage.head().is_some_and(|head| head.target != "/long") {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        stage.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        stage.until_end();
        inner.open();
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    let stream = wire.ask("GET", "/long", &[], true);
    wire.so_far(stream, |answer| answer.body == b"abc");
    wire.reset(stream, code::CANCEL);
    wire.ping();
    gone.wait();
    wire.get("/").expect(200);
}

#[test]
fn a_server_that_dies_in_its_answer_resets_the_stream_only() {
    let origin = Origin::scripted(|stage| {
        while let Some(head) = stage.head() {
            if head.target == "/cut" {
                stage.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                return;
            }
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    both(&origin, |wire| {
        let cut = wire
            .get("/cut")
            .expect_reset(&[code::INTERNAL_ERROR, code::CANCEL]);
        assert!("half".starts_with(&cut.text()), "{cut:?}");
        assert_eq!(wire.get("/").expect(200).text(), "ok");
    });
}

#[test]
fn own_errors_are_answers_too() {
    let mut origin = Origin::echo();
    let more = "routes: [ { match: { path: /only }, pool: app } ]";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = H2Wire::connect(proxy.address());
    let missing = wire.get("/other").expect_error(404, "No-Route");
    assert!(missing.header("date").is_some());
    origin.stop();
    let dead = wire.get("/only").expect(502);
    assert_eq!(
        dead.header("x-error").as_deref(),
        Some("Backend-Unavailable")
    );
    let big = wire.get(&format!("/{}", "x".repeat(30_000)));
    assert!(matches!(big.status, 414 | 431), "{}", big.status);
    wire.ping();
}

/// What runs is finished, new streams are refused so that the client may try them elsewhere, and the end comes by itself.
#[test]
fn draining_says_goaway_and_finishes_what_runs() {
    let gate = Gate::new();
    let inner = gate.clone();
    let origin = Origin::answering(move |seen| {
        if seen.head.target == "/slow" {
            inner.wait();
        }
        Reply::text("ok")
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    let mut idle = H2Wire::connect(proxy.address());
    idle.get("/").expect(200);
    let slow = wire.ask("GET", "/slow", &[], true);
    until_true("it runs", || origin.requests() == 2);
    proxy.terminate();
    assert_eq!(wire.await_goaway().code, code::NO_ERROR);
    let (goaway, end) = idle.await_end();
    assert_eq!(
        (goaway.map(|it| it.code), end),
        (Some(code::NO_ERROR), End::Closed)
    );
    gate.open();
    assert_eq!(wire.answer(slow).expect(200).text(), "ok");
    let (goaway, end) = wire.await_end();
    assert_eq!((goaway.map(|it| it.last), end), (Some(slow), End::Closed));
    proxy.wait(SOON).expect(0);
}

#[test]
fn header_edits_and_the_log_see_http2() {
    let origin = Origin::echo();
    let more = "headers: { request: { set: { X-Proto: $server_protocol }, remove: [X-Bad] }, response: { set: { X-Served-By: us } } }\n\
                access_logs: { main: { to: \"file:@DIR@/access.log\", format: combined } }\naccess_log: main";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = H2Wire::connect(proxy.address());
    let answer = wire
        .get_with("/a", &[("x-bad", "1"), ("user-agent", "kit")])
        .expect(200);
    assert_eq!(answer.header("x-served-by").as_deref(), Some("us"));
    assert_eq!(answer.seen("x-proto"), ["HTTP/2.0"]);
    assert_eq!(answer.seen("x-bad"), Vec::<String>::new());
    wire.get("/bytes/10").expect(200);
    let file = proxy.dir().join("access.log");
    let log = until("two lines", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    assert!(log.contains("\"GET /a HTTP/2.0\" 200 "), "{log}");
    assert!(log.contains("\"GET /bytes/10 HTTP/2.0\" 200 10 "), "{log}");
}

#[test]
fn one_port_speaks_both_and_http2_can_be_turned_off() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    proxy.wire().ask(GET).expect(200);
    H2Wire::connect(proxy.address()).get("/").expect(200);
    let mut slow = Wire::connect(proxy.address());
    slow.drip("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Duration::from_millis(2));
    H2Wire::bare(slow).await_settings();
    let mut wrong = Wire::connect(proxy.address());
    wrong.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert_ne!(wrong.rest().1, End::Deadline);
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", http2: false } }";
    let off = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = Wire::connect(off.address());
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let (said, end) = wire.rest();
    assert_ne!(end, End::Deadline);
    assert!(
        said.is_empty() || said.starts_with(b"HTTP/1.1 "),
        "{said:?}"
    );
    let site = Site::with(
        &[origin.address()],
        "",
        &format!("{OWN} }}, http2: false, headers: {{"),
        "",
    );
    let wire = site
        .client()
        .alpn(&["h2", "http/1.1"])
        .connect(site.address());
    assert_eq!(wire.tls().alpn.as_deref(), Some("http/1.1"));
}
