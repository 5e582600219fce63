//! What public suites ask of an HTTP/2 server, with the error codes of RFC 9113 and RFC 7541, as far as other modules
//! do not: frames in each state, HPACK, trailers, settings.

use keel_testkit::client::End;
use keel_testkit::h2::frame::{self, code, setting};
use keel_testkit::h2::{Frame, H2Lost, encode};
use keel_testkit::{H2Wire, Origin, Proxy};

/// `:method: POST`, `:scheme: http`, `:path: /`, and an authority that is kept in the table.
const POST: &[u8] = b"\x83\x86\x84\x41\x0ctest.example";
const STREAM: u32 = 1;

fn head(end: bool) -> Frame {
    Frame::headers(STREAM, POST, end)
}

fn with(more: &[u8], end: bool) -> Frame {
    Frame::headers(STREAM, [POST, more].concat(), end)
}

fn trailers(fields: &[(&str, &str)]) -> Frame {
    Frame::headers(STREAM, encode(fields), true)
}

fn cut(mut frame: Frame) -> Frame {
    frame.flags &= !frame::END_HEADERS;
    frame
}

fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame::new(kind, flags, stream, payload)
}

struct Scene {
    origin: Origin,
    proxy: Proxy,
}

impl Scene {
    fn new() -> Scene {
        let origin = Origin::echo();
        let proxy = Proxy::before(&[origin.address()]);
        Scene { origin, proxy }
    }

    fn send(&self, frames: &[Frame]) -> H2Wire {
        let mut wire = H2Wire::connect(self.proxy.address());
        wire.await_settings();
        for stream in [1, 3, 5] {
            assert_eq!(wire.take_stream(), stream); // so that answers on them are expected
        }
        for frame in frames {
            wire.send(frame);
        }
        wire
    }
}

#[rustfmt::skip]
fn fatal() -> Vec<(&'static str, Vec<Frame>, u32)> {
    let half = b"\x40\x01x"; // a field that is cut off
    vec![
        ("a long PING", vec![raw(frame::PING, 0, 0, &[0; 9])], code::FRAME_SIZE_ERROR),
        ("a short reset", vec![head(false), raw(frame::RST_STREAM, 0, 1, b"abc")], code::FRAME_SIZE_ERROR),
        ("a long reset", vec![head(false), raw(frame::RST_STREAM, 0, 1, b"abcde")], code::FRAME_SIZE_ERROR),
        ("a short PRIORITY", vec![raw(frame::PRIORITY, 0, 1, b"abcd")], code::FRAME_SIZE_ERROR),
        ("a short update", vec![raw(frame::WINDOW_UPDATE, 0, 0, b"abc")], code::FRAME_SIZE_ERROR),
        ("SETTINGS of 3", vec![raw(frame::SETTINGS, 0, 0, b"abc")], code::FRAME_SIZE_ERROR),
        ("ACK with settings", vec![raw(frame::SETTINGS, 1, 0, &[0; 6])], code::FRAME_SIZE_ERROR),
        ("a short GOAWAY", vec![raw(frame::GOAWAY, 0, 0, &[0; 7])], code::FRAME_SIZE_ERROR),
        ("padding without its length", vec![head(false), raw(frame::DATA, frame::PADDED, 1, b"")], code::FRAME_SIZE_ERROR),
        ("HEADERS too large", vec![with(&[0; 16_384], true)], code::FRAME_SIZE_ERROR),
        ("padding beyond DATA", vec![head(false), raw(frame::DATA, frame::PADDED, 1, &[9, 0])], code::PROTOCOL_ERROR),
        ("DATA within a block", vec![cut(head(false)), Frame::data(1, "x", false)], code::PROTOCOL_ERROR),
        ("an unknown frame within a block", vec![cut(head(true)), raw(0x77, 0, 1, b"x")], code::PROTOCOL_ERROR),
        ("CONTINUATION behind a block", vec![head(true), Frame::continuation(1, "", true)], code::PROTOCOL_ERROR),
        ("PRIORITY on 0", vec![raw(frame::PRIORITY, 0, 0, &[0, 0, 0, 3, 9])], code::PROTOCOL_ERROR),
        ("a reset of 0", vec![Frame::reset(0, 8)], code::PROTOCOL_ERROR),
        ("GOAWAY on a stream", vec![raw(frame::GOAWAY, 0, 1, &[0; 8])], code::PROTOCOL_ERROR),
        ("PUSH_PROMISE", vec![raw(frame::PUSH_PROMISE, 0, 1, &[0; 5])], code::PROTOCOL_ERROR),
        ("a large frame size", vec![Frame::settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)])], code::PROTOCOL_ERROR),
        ("a window too large", vec![Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, u32::MAX)])], code::FLOW_CONTROL_ERROR),
        ("DATA behind the end", vec![head(true), Frame::data(1, "x", true)], code::STREAM_CLOSED),
        ("HEADERS behind the end", vec![head(true), head(true)], code::STREAM_CLOSED),
        ("HEADERS behind a reset", vec![head(false), Frame::reset(1, 8), head(true)], code::STREAM_CLOSED),
        ("index 0", vec![with(b"\x80", true)], code::COMPRESSION_ERROR),
        ("an index beyond the table", vec![with(b"\xc0", true)], code::COMPRESSION_ERROR),
        ("a name beyond the table", vec![with(b"\x7f\x01\x00", true)], code::COMPRESSION_ERROR),
        ("a field that is cut off", vec![with(half, true)], code::COMPRESSION_ERROR),
        ("the same in two frames", vec![cut(with(half, true)), Frame::continuation(1, "\u{5}abc", true)], code::COMPRESSION_ERROR),
        ("a resize behind a field", vec![with(b"\x20", true)], code::COMPRESSION_ERROR),
        ("a table too large", vec![Frame::headers(1, [b"\x3f\xe2\x1f", POST].concat(), true)], code::COMPRESSION_ERROR),
        ("padding of zeros", vec![with(b"\x00\x01x\x81\x18", true)], code::COMPRESSION_ERROR),
        ("padding of a byte", vec![with(b"\x00\x01x\x82\x1f\xff", true)], code::COMPRESSION_ERROR),
        ("the end of a string", vec![with(b"\x00\x01x\x84\xff\xff\xff\xff", true)], code::COMPRESSION_ERROR),
    ]
}

#[rustfmt::skip]
fn resetting() -> Vec<(&'static str, Vec<Frame>)> {
    let body = Frame::data(STREAM, "body", false);
    vec![
        ("depends on itself", vec![raw(frame::HEADERS, 0x25, 1, &[&[0, 0, 0, 1, 9], POST].concat())]),
        ("an update by 0", vec![head(false), Frame::window_update(1, 0)]),
        ("`:method` in trailers", vec![head(false), body.clone(), trailers(&[(":method", "GET")])]),
        ("`:x` in trailers", vec![head(false), body.clone(), trailers(&[("x", "1"), (":x", "1")])]),
        ("`:path` of the table in trailers", vec![head(false), body.clone(), Frame::headers(1, [0x84], true)]),
        ("`:authority` from the table in trailers", vec![head(false), body.clone(), Frame::headers(1, [0xbe], true)]),
        ("upper case in trailers", vec![head(false), body.clone(), trailers(&[("X", "1")])]),
        ("a connection's field in trailers", vec![head(false), body.clone(), trailers(&[("connection", "x")])]),
        ("a second head", vec![head(false), body.clone(), Frame::headers(1, encode(&[("x", "1")]), false)]),
        ("a second `:path`", vec![with(b"\x84", true)]),
        ("a pseudo-field behind a field", vec![with(b"\x00\x01x\x01y\x87", true)]),
        ("CONNECT without `:authority`", vec![Frame::headers(1, encode(&[(":method", "CONNECT")]), true)]),
    ]
}

#[rustfmt::skip]
fn right() -> Vec<(&'static str, Vec<Frame>)> {
    let lower_after = [Frame::priority(9, 0, 3), head(true)];
    let with_priority = [&[0x80, 0, 0, 5, 200], POST].concat();
    let padded = [&[4, 0, 0, 0, 3, 9], POST, &[0; 4]].concat();
    let (first, rest) = POST.split_at(2);
    vec![
        ("PRIORITY of a later stream", lower_after.to_vec()),
        ("with a priority", vec![raw(frame::HEADERS, 0x25, 1, &with_priority)]),
        ("with both", vec![raw(frame::HEADERS, 0x2d, 1, &padded)]),
        ("in pieces", vec![cut(Frame::headers(1, first, true)), Frame::continuation(1, "", false), Frame::continuation(1, rest, true)]),
        ("an update behind the end", vec![head(true), Frame::window_update(1, 5)]),
        ("PRIORITY behind the end", vec![head(true), Frame::priority(1, 0, 3)]),
        ("padding in DATA", vec![head(false), raw(frame::DATA, 9, 1, &[&[3][..], b"abc", &[0; 3]].concat())]),
        ("empty DATA at the end", vec![head(false), Frame::data(1, "abc", false), Frame::data(1, "", true)]),
        ("trailers", vec![head(false), Frame::data(1, "abc", false), trailers(&[("x-sum", "1")])]),
        ("never indexed", vec![with(b"\x10\x01x\x01y", true)]),
        ("in the Huffman code", vec![with(b"\x40\x82\xf2\xb7\x81\x1f", true)]),
        ("table sizes", vec![Frame::headers(1, [b"\x20\x3f\xe1\x1f", POST].concat(), true)]),
    ]
}

/// Ends the connection with this code.
#[test]
fn breaches_that_end_the_connection() {
    let scene = Scene::new();
    let mut wrong = Vec::new();
    for (what, frames, expected) in fatal() {
        let mut wire = scene.send(&frames);
        let (goaway, end) = wire.await_end();
        let found = goaway.map(|goaway| goaway.code);
        if found != Some(expected) || end == End::Deadline {
            wrong.push(format!("{what}: {found:?} {end:?}"));
        }
        wire.take_faults();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.origin.take_faults();
}

/// Resets the stream with PROTOCOL_ERROR, and the connection goes on.
#[test]
fn breaches_that_end_a_stream() {
    let scene = Scene::new();
    let mut wrong = Vec::new();
    let mut reset = 0;
    for (what, frames) in resetting() {
        let mut wire = scene.send(&frames);
        match wire.try_answer(STREAM) {
            Ok(answer) if answer.reset == Some(code::PROTOCOL_ERROR) => {
                wire.get("/").expect(200);
                reset += 1;
            }
            // RFC 9113 section 5.4.1 allows that; a stream is all that has to end.
            Err(H2Lost::End(_, Some(goaway))) if goaway.code == code::PROTOCOL_ERROR => {}
            other => wrong.push(format!("{what}: {other:?}")),
        }
        wire.take_faults();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(reset >= 9, "{reset}");
    scene.origin.take_faults(); // bodies that were begun and cut
}

/// All of this is right, and is answered.
#[test]
fn what_is_right() {
    let scene = Scene::new();
    for (what, frames) in right() {
        let mut wire = scene.send(&frames);
        let answer = wire.try_answer(STREAM);
        let answer = answer.unwrap_or_else(|lost| panic!("{what}: {lost:?}"));
        assert_eq!((answer.status, answer.reset), (200, None), "{what}");
        wire.ping();
    }
    let mut wire = H2Wire::connect(scene.proxy.address());
    let id = setting::INITIAL_WINDOW_SIZE;
    wire.connection().settings(&[(id, 1), (id, 70_000)]);
    wire.get("/bytes/100000").expect(200);
}
