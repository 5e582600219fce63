//! What HTTP/2 forbids in a request (RFC 9113 section 8): the stream is reset, the connection goes on, no server sees it.

use keel_testkit::h2::encode;
use keel_testkit::h2::frame::{self, code, setting};
use keel_testkit::h2::{Frame, H2Lost};
use keel_testkit::{H2Wire, Origin, Proxy};

const PLAIN: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "test.example"),
    (":path", "/"),
];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&PLAIN[..], more].concat()
}

fn without<'a>(name: &str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = PLAIN.iter().filter(|(have, _)| *have != name).copied();
    kept.chain(more.iter().copied()).collect()
}

/// Each is malformed; some would become another request where they are written as HTTP/1.1.
fn malformed() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        without(":method", &[]),
        without(":scheme", &[]),
        without(":path", &[]),
        without(":path", &[(":path", "")]),
        without(":method", &[(":method", "")]),
        without(":method", &[(":method", "GET / HTTP/1.1\r\nx: y")]),
        without(":method", &[(":method", "G ET")]),
        without(":path", &[(":path", "/ HTTP/1.1\r\nHost: x\r\n\r\n")]),
        without(":path", &[(":path", "/a b")]),
        without(":path", &[(":path", "a")]),
        without(":path", &[(":path", "*")]),
        without(":path", &[(":path", "/\u{0}")]),
        without(":scheme", &[(":scheme", "http://x/?")]),
        without(":authority", &[]),
        without(":authority", &[(":authority", "")]),
        without(":authority", &[(":authority", "a@test.example")]),
        without(":authority", &[(":authority", "a\r\nb: c")]),
        without(":authority", &[(":authority", "a/b")]),
        with(&[(":path", "/again")]),
        with(&[(":method", "GET")]),
        with(&[(":authority", "test.example")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        with(&[(":protocol", "websocket")]),
        [&[("x", "first")], &PLAIN[..]].concat(),
        with(&[("host", "other.example")]),
        with(&[("host", "test.example"), ("host", "test.example")]),
        with(&[("Upper", "x")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("proxy-connection", "x")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("te", "trailers, deflate")]),
        with(&[("content-length", "5, 5")]),
        with(&[("content-length", "-1")]),
        with(&[("content-length", "+5")]),
        with(&[("content-length", "1"), ("content-length", "2")]),
        with(&[("content-length", "99999999999999999999")]),
        with(&[("x", "a\r\nSmuggled: yes")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\rb")]),
        with(&[("x", "a\u{0}b")]),
        with(&[("x", " padded")]),
        with(&[("x", "padded\t")]),
        with(&[("x\r\ny", "z")]),
        with(&[("x: y", "z")]),
        with(&[("x:y", "z")]),
        with(&[("x y", "z")]),
        with(&[("", "z")]),
        with(&[("x\u{0}", "z")]),
    ]
}

#[test]
fn malformed_heads_are_reset() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut well = H2Wire::connect(proxy.address());
    let (mut reset, mut wrong) = (0, Vec::new());
    for fields in malformed() {
        // A connection for each, for a client that breaks rules all the time is shown out.
        let mut wire = H2Wire::connect(proxy.address());
        let stream = wire.start(&fields, true);
        match wire.try_answer(stream) {
            Ok(answer) if answer.reset == Some(code::PROTOCOL_ERROR) => {
                wire.get("/").expect(200);
                reset += 1;
            }
            // RFC 9113 section 5.4.1 allows that; it is for bytes that no field may have.
            Err(H2Lost::End(_, Some(goaway))) if goaway.code == code::PROTOCOL_ERROR => {}
            other => {
                let other = other.map(|answer| (answer.status, answer.reset));
                wrong.push(format!("{fields:?}: {other:?}"));
            }
        }
    }
    well.get("/").expect(200);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(reset > 30, "{reset}");
    assert_eq!(origin.requests(), reset + 1, "no server sees any of them");
}

#[test]
fn bodies_that_are_not_as_long_as_they_say() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    for (said, sent) in [("5", ""), ("5", "1234"), ("5", "123456"), ("0", "1")] {
        let stream = wire.start(&with(&[("content-length", said)]), sent.is_empty());
        if !sent.is_empty() {
            wire.data(stream, sent, true);
        }
        let answer = wire.answer(stream);
        assert_eq!(
            answer.reset,
            Some(code::PROTOCOL_ERROR),
            "{said} {sent:?} {answer:?}"
        );
    }
    let stream = wire.start(&with(&[("content-length", "5")]), false);
    let seen = wire
        .data(stream, "12345", true)
        .answer(stream)
        .expect(200)
        .json();
    assert_eq!(seen["body"], "12345");
    origin.take_faults(); // bodies that were begun and cut
}

#[test]
fn trailers_follow_the_rules_too() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wrong = Vec::new();
    for bad in [
        [(":path", "/x")],
        [("Upper", "x")],
        [("x", "a\r\nb")],
        [("connection", "close")],
        [("transfer-encoding", "chunked")],
    ] {
        let mut wire = H2Wire::connect(proxy.address());
        let stream = wire.start(&PLAIN, false);
        wire.data(stream, "body", false).trailers(stream, &bad);
        match wire.try_answer(stream) {
            Ok(answer) if answer.reset == Some(code::PROTOCOL_ERROR) => {}
            Err(H2Lost::End(_, Some(goaway))) if goaway.code == code::PROTOCOL_ERROR => {}
            other => wrong.push(format!(
                "{bad:?}: {:?}",
                other.map(|it| (it.status, it.reset))
            )),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What frames a message, or decides on it, is of no use there: HTTP/1.1 must not see it.
    let mut wire = H2Wire::connect(proxy.address());
    let stream = wire.start(&PLAIN, false);
    let more = [("content-length", "3"), ("host", "x"), ("x-kept", "1")];
    wire.data(stream, "body", false).trailers(stream, &more);
    let answer = wire.answer(stream);
    assert!(answer.status == 200 || answer.reset.is_some(), "{answer:?}");
    origin.take_faults();
}

#[test]
fn host_without_authority_and_absolute_names() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect(proxy.address());
    let stream = wire.start(&without(":authority", &[("host", "by-host.example")]), true);
    assert_eq!(
        wire.answer(stream).expect(200).seen("host"),
        ["by-host.example"]
    );
    let stream = wire.start(&with(&[("host", "test.example")]), true);
    assert_eq!(
        wire.answer(stream).expect(200).seen("host"),
        ["test.example"]
    );
    let stream = wire.start(&without(":path", &[(":path", "/a/../b//c?d=%7E")]), true);
    wire.answer(stream).expect(200);
    // A fragment has no place there (RFC 9113, 8.3.1), as in HTTP/1.1.
    let stream = wire.start(&without(":path", &[(":path", "/a#b")]), true);
    assert_eq!(wire.answer(stream).reset, Some(code::PROTOCOL_ERROR));
    let connect = [(":method", "CONNECT"), (":authority", "test.example:80")];
    let stream = wire.start(&connect, false);
    let answer = wire.answer(stream);
    assert!(answer.reset.is_some() || answer.status >= 400, "{answer:?}");
}

/// What breaks the connection (sections 4, 5 and 6), and the code that says so.
#[rustfmt::skip]
fn breaches() -> Vec<(&'static str, Vec<Frame>, u32)> {
    use code::{COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR};

    let block = encode(&PLAIN);
    let open = Frame::headers(1, block.as_slice(), false);
    let whole = |stream| Frame::headers(stream, block.as_slice(), true);
    let cut = Frame::new(frame::HEADERS, 0, 1, block.as_slice());
    let raw = |kind, stream, payload: &[u8]| Frame::new(kind, 0, stream, payload);
    let set = |id, value| Frame::settings(&[(id, value)]);
    vec![
        ("DATA on 0", vec![Frame::data(0, "x", false)], PROTOCOL_ERROR),
        ("DATA on an idle stream", vec![Frame::data(1, "x", false)], PROTOCOL_ERROR),
        ("HEADERS on 0", vec![whole(0)], PROTOCOL_ERROR),
        ("an even stream", vec![whole(2)], PROTOCOL_ERROR),
        ("a stream that is not above", vec![whole(5), whole(3)], PROTOCOL_ERROR),
        ("CONTINUATION alone", vec![Frame::continuation(1, "", true)], PROTOCOL_ERROR),
        ("PING inside a block", vec![cut.clone(), Frame::ping([0; 8])], PROTOCOL_ERROR),
        ("another stream inside", vec![cut, Frame::continuation(3, "", true)], PROTOCOL_ERROR),
        ("a short PING", vec![raw(frame::PING, 0, b"abc")], FRAME_SIZE_ERROR),
        ("PING on a stream", vec![raw(frame::PING, 1, &[0; 8])], PROTOCOL_ERROR),
        ("SETTINGS of 5", vec![raw(frame::SETTINGS, 0, b"12345")], FRAME_SIZE_ERROR),
        ("SETTINGS on a stream", vec![raw(frame::SETTINGS, 1, b"")], PROTOCOL_ERROR),
        ("push as 2", vec![set(setting::ENABLE_PUSH, 2)], PROTOCOL_ERROR),
        ("a huge window", vec![set(setting::INITIAL_WINDOW_SIZE, 1 << 31)], FLOW_CONTROL_ERROR),
        ("a small frame size", vec![set(setting::MAX_FRAME_SIZE, 16_383)], PROTOCOL_ERROR),
        ("an update by 0", vec![Frame::window_update(0, 0)], PROTOCOL_ERROR),
        ("a window too large", vec![Frame::window_update(0, 0x7fff_ffff)], FLOW_CONTROL_ERROR),
        ("an update of an idle stream", vec![Frame::window_update(1, 5)], PROTOCOL_ERROR),
        ("a reset of an idle stream", vec![Frame::reset(1, 8)], PROTOCOL_ERROR),
        ("a short reset", vec![open, raw(frame::RST_STREAM, 1, b"abc")], FRAME_SIZE_ERROR),
        ("push of a client", vec![Frame::new(frame::PUSH_PROMISE, 4, 1, [0, 0, 0, 2])], PROTOCOL_ERROR),
        ("too large a frame", vec![Frame::data(1, vec![0; 16_385], false)], FRAME_SIZE_ERROR),
        ("padding beyond", vec![Frame::new(frame::HEADERS, 0x0d, 1, [200, 0x82])], PROTOCOL_ERROR),
        ("a block that is none", vec![Frame::headers(1, [0xff; 6], true)], COMPRESSION_ERROR),
        ("an unknown index", vec![Frame::headers(1, [0xbe], true)], COMPRESSION_ERROR),
        ("a table too large", vec![Frame::headers(1, [0x3f, 0xff, 0xff, 0x01], true)], COMPRESSION_ERROR),
    ]
}

/// GOAWAY with the right code, and the end.
#[test]
fn breaches_of_framing_end_the_connection() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wrong = Vec::new();
    for (what, frames, expected) in breaches() {
        let mut wire = H2Wire::connect(proxy.address());
        wire.await_settings();
        for stream in [1, 3, 5] {
            assert_eq!(wire.take_stream(), stream); // so that answers on them are expected
        }
        for frame in &frames {
            wire.send(frame);
        }
        let (goaway, end) = wire.await_end();
        let found = goaway.map(|goaway| goaway.code);
        if end == keel_testkit::client::End::Deadline || found != Some(expected) {
            wrong.push(format!("{what}: {end:?} {found:?} and not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    H2Wire::connect(proxy.address()).get("/").expect(200);
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let origin = Origin::echo();
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", http2: { streams: 4 } } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = H2Wire::connect(proxy.address());
    wire.await_settings();
    assert_eq!(
        wire.connection().setting(setting::MAX_CONCURRENT_STREAMS),
        Some(4)
    );
    let streams: Vec<u32> = (0..6)
        .map(|_| wire.ask("GET", "/delay/300", &[], true))
        .collect();
    let answers: Vec<_> = streams.iter().map(|stream| wire.answer(*stream)).collect();
    let refused = answers
        .iter()
        .filter(|answer| answer.reset == Some(code::REFUSED_STREAM));
    assert_eq!(refused.count(), 2, "{answers:?}");
    assert_eq!(origin.requests(), 4);
    wire.get("/").expect(200);
}

/// Unknown frame types, settings and flags are ignored (sections 4.1, 5.5 and 6.5.2).
#[test]
fn what_is_unknown_is_ignored() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = H2Wire::connect_with(
        proxy.address(),
        &[(0x99, 7), (setting::MAX_HEADER_LIST_SIZE, 1 << 20)],
    );
    wire.send(&Frame::new(0x77, 0xff, 0, "what"));
    wire.send(&Frame::new(0x78, 0, 9, vec![1; 16_384]));
    let mut padded = vec![7_u8];
    padded.extend(encode(&PLAIN));
    padded.extend([0; 7]);
    let stream = wire.take_stream();
    wire.send(&Frame::new(
        frame::HEADERS,
        frame::PADDED | frame::END_HEADERS | 0xc0,
        stream,
        padded,
    ));
    wire.send(&Frame::new(
        frame::DATA,
        frame::PADDED | frame::END_STREAM,
        stream,
        [&[3][..], b"data", &[0; 3]].concat(),
    ));
    assert_eq!(wire.answer(stream).expect(200).json()["body"], "data");
    wire.send(&Frame::priority(5, 0, 200));
    wire.get("/").expect(200);
}
