//! gRPC: calls of all four forms, deadlines, failures as grpc-status, cancellation, and the bridge for gRPC-Web.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use keel_testkit::h2::Event;
use keel_testkit::h2::frame::code;
use keel_testkit::wait::{SOON, until_true};
use keel_testkit::{Ask, H2Origin, H2Reply, H2Wire, Origin, Proxy};

const H2C: &str = "protocol: http2, max_fails: 0";
const CALL: [(&str, &str); 3] = [
    ("content-type", "application/grpc+proto"),
    ("te", "trailers"),
    ("user-agent", "grpc-kit/1"),
];

/// A message with its head of five bytes.
fn message(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("a short message");
    [&[0], &len.to_be_bytes()[..], bytes].concat()
}

/// Answers each call with what it sent, and says OK.
fn echo() -> Origin {
    H2Origin::new("grpc").answering(|seen| {
        let timeout = seen.header("grpc-timeout").unwrap_or_default();
        let reply = H2Reply::new(200).with("content-type", "application/grpc+proto");
        let status = [("grpc-status", "0"), ("grpc-message", "all%20well")];
        match seen.path().as_str() {
            "/kit.Echo/Nothing" => reply
                .with("grpc-status", "5")
                .with("grpc-message", "no such"),
            "/kit.Echo/Silent" => H2Reply::silence(),
            "/kit.Echo/Slow" => reply.trailers(&status).after(Duration::from_millis(600)),
            _ => reply
                .with("x-te", &seen.header("te").unwrap_or_default())
                .with("x-timeout", &timeout)
                .with("x-type", &seen.header("content-type").unwrap_or_default())
                .with(
                    "x-length",
                    &seen.header("content-length").unwrap_or_default(),
                )
                .body(seen.body.clone())
                .trailers(&status),
        }
    })
}

fn call(wire: &mut H2Wire, path: &str, more: &[(&str, &str)]) -> u32 {
    wire.ask("POST", path, &[&CALL[..], more].concat(), false)
}

#[test]
fn unary_calls_and_trailers_alone() {
    let origin = echo();
    let proxy = Proxy::before_with(&[origin.address()], H2C, "");
    let mut wire = H2Wire::connect(proxy.address());
    let stream = call(&mut wire, "/kit.Echo/Say", &[("grpc-timeout", "5S")]);
    wire.data(stream, message(b"hello"), true);
    let answer = wire.answer(stream).expect(200);
    assert_eq!(answer.body, message(b"hello"));
    assert_eq!(answer.trailer("grpc-status").as_deref(), Some("0"));
    assert_eq!(
        answer.trailer("grpc-message").as_deref(),
        Some("all%20well")
    );
    assert_eq!(answer.header("x-te").as_deref(), Some("trailers"));
    let timeout = answer.header("x-timeout").unwrap_or_default();
    assert!(!timeout.is_empty(), "the deadline is passed on");
    let stream = call(&mut wire, "/kit.Echo/Nothing", &[]);
    wire.data(stream, message(b""), true);
    let answer = wire.answer(stream).expect(200);
    assert_eq!(answer.header("grpc-status").as_deref(), Some("5"));
    assert_eq!((answer.body.len(), answer.trailers.0.len()), (0, 0));
}

/// Both directions at once: each message is answered before the next is sent.
#[test]
fn streams_in_both_directions() {
    let origin = H2Origin::new("grpc").scripted(|stage| {
        loop {
            match stage.event() {
                Event::Head { stream, .. } => {
                    stage.count_request();
                    let head = [(":status", "200"), ("content-type", "application/grpc")];
                    stage.connection.head(stream, &head, false);
                }
                Event::Data { stream, bytes, end } => {
                    stage.connection.data(stream, bytes, false);
                    if end {
                        stage.connection.head(stream, &[("grpc-status", "0")], true);
                    }
                }
                Event::End(_) => return,
                _ => {}
            }
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], H2C, "");
    let mut wire = H2Wire::connect(proxy.address());
    let streams: Vec<u32> = (0..5)
        .map(|_| call(&mut wire, "/kit.Echo/Chat", &[]))
        .collect();
    let mut sent = Vec::new();
    for round in 0..20_u8 {
        sent.extend(message(&vec![round; usize::from(round) * 50]));
        for stream in &streams {
            let next = message(&vec![round; usize::from(round) * 50]);
            wire.data(*stream, next, false);
        }
        for stream in &streams {
            let answer = wire.so_far(*stream, |answer| answer.body.len() >= sent.len());
            assert_eq!(answer.body, sent);
        }
    }
    for stream in &streams {
        wire.data(*stream, "", true);
        let answer = wire.answer(*stream).expect(200);
        assert_eq!(answer.trailer("grpc-status").as_deref(), Some("0"));
    }
}

#[test]
fn failures_of_ours_are_told_as_grpc_does() {
    let mut origin = echo();
    let more = "routes: [ { match: { path: /kit.Echo/ }, pool: app } ]";
    let proxy = Proxy::before_with(&[origin.address()], H2C, more);
    let mut wire = H2Wire::connect(proxy.address());
    let stream = call(&mut wire, "/other.Service/Do", &[]);
    let answer = wire
        .data(stream, message(b"x"), true)
        .answer(stream)
        .expect(200);
    assert_eq!(
        answer.header("grpc-status").as_deref(),
        Some("12"),
        "UNIMPLEMENTED"
    );
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/grpc+proto")
    );
    assert!(
        answer
            .header("grpc-message")
            .is_some_and(|text| !text.is_empty())
    );
    origin.stop();
    let stream = call(&mut wire, "/kit.Echo/Say", &[]);
    let answer = wire
        .data(stream, message(b"x"), true)
        .answer(stream)
        .expect(200);
    assert_eq!(
        answer.header("grpc-status").as_deref(),
        Some("14"),
        "UNAVAILABLE"
    );
    let plain = wire.get("/kit.Echo/Say");
    assert_eq!(plain.status, 502, "who does not call gets HTTP");
    // To the client it is a 200, to whoever watches it is a failure.
    let counted = || {
        let metrics = Ask::get(proxy.admin(), "/metrics").send().text();
        let failed = |line: &&str| {
            line.starts_with("evenkeel_route_requests_total{") && line.contains("5xx")
        };
        metrics
            .lines()
            .filter(failed)
            .any(|line| line.ends_with(" 2"))
    };
    until_true("two failures are counted", counted);
}

#[test]
fn deadlines_are_kept_to() {
    let origin = echo();
    let proxy = Proxy::before_with(&[origin.address()], H2C, "");
    let mut wire = H2Wire::connect(proxy.address());
    let start = Instant::now();
    let stream = call(&mut wire, "/kit.Echo/Silent", &[("grpc-timeout", "400m")]);
    let answer = wire
        .data(stream, message(b"x"), true)
        .answer(stream)
        .expect(200);
    assert_eq!(
        answer.header("grpc-status").as_deref(),
        Some("4"),
        "DEADLINE_EXCEEDED"
    );
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(350) && took < Duration::from_secs(15),
        "{took:?}"
    );
    let stream = call(&mut wire, "/kit.Echo/Slow", &[("grpc-timeout", "10S")]);
    let answer = wire
        .data(stream, message(b"x"), true)
        .answer(stream)
        .expect(200);
    assert_eq!(answer.trailer("grpc-status").as_deref(), Some("0"));
}

#[test]
fn a_call_whose_answer_has_begun_ends_with_a_status() {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let origin = H2Origin::new("grpc").scripted(move |stage| {
        while let Some(seen) = stage.request_head() {
            let head = [(":status", "200"), ("content-type", "application/grpc")];
            stage.connection.head(seen.stream, &head, false);
            stage.connection.data(seen.stream, message(b"first"), false);
            let code = stage.await_reset(seen.stream);
            let _heard = sender.lock().expect("no panic").send(code);
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    let stream = call(&mut wire, "/kit.Echo/Watch", &[("grpc-timeout", "400m")]);
    let answer = wire.answer(stream);
    assert_eq!(answer.body, message(b"first"));
    assert_eq!(
        answer.trailer("grpc-status").as_deref(),
        Some("4"),
        "DEADLINE_EXCEEDED and not a reset: {:?}",
        answer.reset
    );
    assert_eq!(receiver.recv_timeout(SOON), Ok(Some(code::CANCEL)));
}

#[test]
fn cancellation_goes_both_ways() {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let origin = H2Origin::new("grpc").scripted(move |stage| {
        while let Some(seen) = stage.request_head() {
            let head = [(":status", "200"), ("content-type", "application/grpc")];
            stage.connection.head(seen.stream, &head, false);
            stage.connection.data(seen.stream, message(b"first"), false);
            if seen.path() == "/kit.Echo/Cancel" {
                stage.connection.reset(seen.stream, code::CANCEL);
                continue;
            }
            let code = stage.await_reset(seen.stream);
            let _heard = sender.lock().expect("no panic").send(code);
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], H2C, "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    let stream = call(&mut wire, "/kit.Echo/Watch", &[]);
    wire.so_far(stream, |answer| answer.body == message(b"first"));
    wire.reset(stream, code::CANCEL).ping();
    assert_eq!(receiver.recv_timeout(SOON), Ok(Some(code::CANCEL)));
    let stream = call(&mut wire, "/kit.Echo/Cancel", &[]);
    let answer = wire.answer(stream);
    // A stream that the server gave up ends with a reset, or with a status that says so.
    let told = answer
        .trailer("grpc-status")
        .or(answer.header("grpc-status"));
    assert!(
        answer.reset.is_some() || told.is_some_and(|status| status != "0"),
        "{:?}",
        answer.trailers
    );
}

/// Calls of one connection go to all servers.
#[test]
fn calls_are_balanced_and_not_connections() {
    let origins = [echo(), echo(), echo()];
    let servers = origins.each_ref().map(Origin::address);
    let proxy = Proxy::before_with(&servers, H2C, "workers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    for _ in 0..30 {
        let stream = call(&mut wire, "/kit.Echo/Say", &[]);
        wire.data(stream, message(b"x"), true)
            .answer(stream)
            .expect(200);
    }
    let requests = origins.each_ref().map(Origin::requests);
    assert_eq!(requests, [10, 10, 10]);
}

fn web(origin: &Origin) -> Proxy {
    let more = "routes: [ { pool: app, grpc_web: true } ]";
    Proxy::before_with(&[origin.address()], H2C, more)
}

/// The frame that gRPC-Web puts the trailers in.
fn trailer_frame(body: &[u8]) -> String {
    let at = body.len()
        - 5
        - body
            .iter()
            .rev()
            .position(|byte| *byte == 0x80)
            .map_or(0, |at| at - 4);
    let len = u32::from_be_bytes(body[at + 1..at + 5].try_into().expect("four bytes"));
    assert_eq!(
        (body[at], body.len()),
        (0x80, at + 5 + len as usize),
        "{body:?}"
    );
    String::from_utf8_lossy(&body[at + 5..]).into_owned()
}

#[test]
fn grpc_web_in_binary() {
    let origin = echo();
    let proxy = web(&origin);
    let ask = Ask::post(proxy.address(), "/kit.Echo/Say", message(b"hello"))
        .with("Content-Type", "application/grpc-web+proto")
        .with("X-Grpc-Web", "1");
    let answer = ask.send().expect(200);
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/grpc-web+proto")
    );
    assert_eq!(
        answer.header("x-type").as_deref(),
        Some("application/grpc+proto")
    );
    assert_eq!(answer.header("x-te").as_deref(), Some("trailers"));
    assert!(
        answer.body.starts_with(&message(b"hello")),
        "{:?}",
        answer.body
    );
    let trailers = trailer_frame(&answer.body);
    assert!(
        trailers.contains("grpc-status:0\r\n") || trailers.contains("grpc-status: 0\r\n"),
        "{trailers}"
    );
    let mut wire = H2Wire::connect(proxy.address());
    let stream = wire.ask(
        "POST",
        "/kit.Echo/Say",
        &[("content-type", "application/grpc-web+proto")],
        false,
    );
    let answer = wire
        .data(stream, message(b"hello"), true)
        .answer(stream)
        .expect(200);
    assert!(trailer_frame(&answer.body).contains("grpc-status"));
    assert_eq!(answer.trailers.0.len(), 0);
    // A status without a message is in the head, and stays there.
    let ask = Ask::post(proxy.address(), "/kit.Echo/Nothing", message(b""))
        .with("Content-Type", "application/grpc-web+proto");
    let answer = ask.send().expect(200);
    assert_eq!(answer.header("grpc-status").as_deref(), Some("5"));
}

/// Base64 as in RFC 4648; the kit has its own.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let part = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for at in 0..4 {
            match at <= group.len() {
                true => out.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
    out
}

/// Pieces that were each encoded on their own may follow one another.
fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => 0,
    };
    let mut out = Vec::new();
    for group in text.as_bytes().chunks(4) {
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | value(*byte));
        let pads = group.iter().filter(|byte| **byte == b'=').count();
        out.extend_from_slice(&bits.to_be_bytes()[1..4 - pads]);
    }
    out
}

#[test]
fn grpc_web_as_text() {
    let origin = echo();
    let proxy = web(&origin);
    for sent in [
        "",
        "h",
        "he",
        "hello",
        "a message that is longer than others",
    ] {
        let ask = Ask::post(
            proxy.address(),
            "/kit.Echo/Say",
            base64(&message(sent.as_bytes())),
        )
        .with("Content-Type", "application/grpc-web-text")
        .with("Accept", "application/grpc-web-text");
        let answer = ask.send().expect(200);
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/grpc-web-text"), "{kind}");
        assert_eq!(answer.header("x-type").as_deref(), Some("application/grpc"));
        assert_eq!(
            answer.header("x-length").as_deref(),
            Some(""),
            "it is not that of base64"
        );
        let body = from_base64(&answer.text());
        assert!(body.starts_with(&message(sent.as_bytes())), "{body:?}");
        assert!(trailer_frame(&body).contains("grpc-status"));
    }
    let bad = Ask::post(proxy.address(), "/kit.Echo/Say", "not!base64")
        .with("Content-Type", "application/grpc-web-text");
    let answer = bad.send();
    let told = answer.header("grpc-status");
    assert!(
        answer.status() >= 400 || told.is_some_and(|status| status != "0"),
        "{:?}",
        answer.head
    );
    let plain =
        Ask::post(proxy.address(), "/kit.Echo/Say", "plain").with("Content-Type", "text/plain");
    let answer = plain.send().expect(200);
    assert_eq!(answer.header("x-type").as_deref(), Some("text/plain"));
}

#[test]
fn a_status_sends_a_call_to_another_server_where_that_is_asked_for() {
    let refusing = |status: &'static str| {
        H2Origin::new("refuses").answering(move |_| {
            H2Reply::new(200)
                .with("content-type", "application/grpc")
                .with("grpc-status", status)
        })
    };
    let (busy, good) = (refusing("14"), echo());
    let servers = [busy.address(), good.address()];
    let asked = format!("{H2C}, retry: {{ grpc: [unavailable, resource_exhausted] }}");
    for (pool, all_well) in [(asked.as_str(), true), (H2C, false)] {
        let proxy = Proxy::before_with(&servers, pool, "workers: 1");
        let mut wire = H2Wire::connect(proxy.address());
        let mut statuses = Vec::new();
        for _ in 0..10 {
            let stream = wire.ask("POST", "/kit.Echo/Say", &CALL, true);
            let answer = wire.answer(stream).expect(200);
            let status = answer
                .header("grpc-status")
                .or(answer.trailer("grpc-status"));
            statuses.push(status.unwrap_or_default());
        }
        let well = statuses.iter().filter(|status| *status == "0").count();
        assert_eq!(well == 10, all_well, "{statuses:?}");
        assert!(well >= 4, "{statuses:?}");
    }
    // Nobody is left to ask: what came last is told.
    let proxy = Proxy::before_with(&[busy.address()], &asked, "");
    let mut wire = H2Wire::connect(proxy.address());
    let stream = wire.ask("POST", "/kit.Echo/Say", &CALL, true);
    let answer = wire.answer(stream).expect(200);
    assert_eq!(answer.header("grpc-status").as_deref(), Some("14"));
}
