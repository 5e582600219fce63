//! What a server may and may not do: the rules of a client's end.

use std::task::Poll;

use keel_http2::{ErrorCode, StreamError};

use crate::cases::*;
use crate::side::*;
use crate::wire::*;

const P: u32 = PROTOCOL_ERROR;
const F: u32 = FLOW_CONTROL_ERROR;
const C: u32 = STREAM_CLOSED;
const S: u32 = FRAME_SIZE_ERROR;
const H: u32 = COMPRESSION_ERROR;

fn ok(ends: bool) -> Vec<u8> {
    headers(1, OK, ends)
}

fn said(len: &str, ends: bool) -> Vec<u8> {
    let length = block(&[("content-length", len)]);
    headers(1, [OK, &length].concat(), ends)
}

fn interim(ends: bool) -> Vec<u8> {
    headers(1, block(&[(":status", "103"), ("link", "x")]), ends)
}

fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind, flags, stream, payload)
}

/// A client's end that has asked on streams 1 and 3, with nothing to follow.
fn asked() -> Side {
    let mut side = Side::client();
    for _ in 0..2 {
        let stream = side.open(true);
        side.opened.push(stream);
    }
    side.take();
    side
}

#[rustfmt::skip]
fn connection() -> Vec<Case> {
    let set = |id, value| vec![settings(&[(id, value)])];
    let promise = [&[0, 0, 0, 2][..], POST].concat();
    vec![
        ("nothing", vec![], Fine),
        ("an unknown kind", vec![raw(0xff, 0, 0, b"data")], Fine),
        ("PING", vec![ping(false, [1; 8])], Fine),
        ("PUSH_PROMISE", vec![raw(PUSH_PROMISE, END_HEADERS, 1, &promise)], Fatal(P)),
        ("PUSH_PROMISE on 0", vec![raw(PUSH_PROMISE, END_HEADERS, 0, &promise)], Fatal(P)),
        ("HEADERS on an even stream", vec![headers(2, OK, true)], Fatal(P)),
        ("HEADERS on an idle stream", vec![headers(5, OK, true)], Fatal(P)),
        ("HEADERS on 0", vec![headers(0, OK, true)], Fatal(P)),
        ("DATA on an idle stream", vec![data(5, "x", true)], Fatal(P)),
        ("DATA on an even stream", vec![data(2, "x", true)], Fatal(P)),
        ("DATA on 0", vec![data(0, "x", true)], Fatal(P)),
        ("RST_STREAM on an idle stream", vec![reset(5, 8)], Fatal(P)),
        ("RST_STREAM on an even stream", vec![reset(2, 8)], Fatal(P)),
        ("RST_STREAM on 0", vec![reset(0, 8)], Fatal(P)),
        ("WINDOW_UPDATE on an idle stream", vec![window_update(5, 8)], Fatal(P)),
        ("WINDOW_UPDATE on an even stream", vec![window_update(2, 8)], Fatal(P)),
        ("an update by 0", vec![window_update(0, 0)], Fatal(P)),
        ("the window of the connection", vec![window_update(0, 0x7fff_ffff)], Fatal(F)),
        ("push as 1", set(ENABLE_PUSH, 1), Fatal(P)),
        ("push as 0", set(ENABLE_PUSH, 0), Fine),
        ("push as 2", set(ENABLE_PUSH, 2), Fatal(P)),
        ("a window too large", set(INITIAL_WINDOW_SIZE, 1 << 31), Fatal(F)),
        ("frames too small", set(MAX_FRAME_SIZE, 16_383), Fatal(P)),
        ("frames too large", set(MAX_FRAME_SIZE, 1 << 24), Fatal(P)),
        ("extended CONNECT as 2", set(ENABLE_CONNECT_PROTOCOL, 2), Fatal(P)),
        ("extended CONNECT taken back", vec![settings(&[(ENABLE_CONNECT_PROTOCOL, 1)]), settings(&[(ENABLE_CONNECT_PROTOCOL, 0)])], Fatal(P)),
        ("unknown settings", set(0xff, 1), Fine),
        ("SETTINGS of 3", vec![raw(SETTINGS, 0, 0, &[0; 3])], Fatal(S)),
        ("SETTINGS on a stream", vec![raw(SETTINGS, 0, 1, b"")], Fatal(P)),
        ("ACK with settings", vec![raw(SETTINGS, ACK, 0, &[0; 6])], Fatal(S)),
        ("PING of 7", vec![raw(PING, 0, 0, &[0; 7])], Fatal(S)),
        ("PING on a stream", vec![raw(PING, 0, 1, &[0; 8])], Fatal(P)),
        ("GOAWAY of 7", vec![raw(GOAWAY, 0, 0, &[0; 7])], Fatal(S)),
        ("GOAWAY on a stream", vec![raw(GOAWAY, 0, 1, &[0; 8])], Fatal(P)),
        ("a frame above", vec![ok(false), data(1, [0; FRAME_MAX + 1], false)], Fatal(S)),
        ("a block that is none", vec![headers(1, b"\x40", true)], Fatal(H)),
        ("another frame within a block", vec![raw(HEADERS, 0, 1, OK), data(1, "x", true)], Fatal(P)),
        ("another stream within a block", vec![raw(HEADERS, 0, 1, OK), raw(CONTINUATION, 4, 3, b"")], Fatal(P)),
        ("CONTINUATION alone", vec![raw(CONTINUATION, 4, 1, OK)], Fatal(P)),
    ]
}

#[rustfmt::skip]
fn answers() -> Vec<Case> {
    let trailers = |fields: &[(&str, &str)], ends| headers(1, block(fields), ends);
    let sum = || trailers(&[("x-sum", "1")], true);
    let body = || data(1, "body", false);
    vec![
        ("a head", vec![ok(true)], Fine),
        ("head and DATA", vec![ok(false), body(), data(1, "", true)], Fine),
        ("interim heads", vec![interim(false), interim(false), ok(true)], Fine),
        ("trailers", vec![ok(false), body(), sum()], Fine),
        ("trailers without content", vec![ok(false), sum()], Fine),
        ("trailers that do not end", vec![ok(false), body(), trailers(&[("x-sum", "1")], false)], Reset(1, P)),
        ("a second head", vec![ok(false), ok(false)], Reset(1, P)),
        ("a pseudo-field in trailers", vec![ok(false), body(), headers(1, OK, true)], Reset(1, P)),
        ("upper case in trailers", vec![ok(false), body(), trailers(&[("X", "1")], true)], Reset(1, P)),
        ("DATA before a head", vec![body()], Reset(1, P)),
        ("DATA behind an interim head", vec![interim(false), body()], Reset(1, P)),
        ("DATA behind the end", vec![ok(true), body()], Either(1, C)),
        ("HEADERS behind the end", vec![ok(true), sum()], Either(1, C)),
        ("HEADERS behind a reset", vec![reset(1, 8), ok(true)], Either(1, C)),
        ("DATA behind a reset", vec![reset(1, 8), body()], Either(1, C)),
        ("a reset behind the end", vec![ok(true), reset(1, NO_ERROR)], Fine),
        ("an update behind the end", vec![ok(true), window_update(1, 5)], Fine),
        ("an update by 0", vec![window_update(1, 0)], Reset(1, P)),
        ("the window of the stream", vec![window_update(1, 0x7fff_ffff)], Reset(1, F)),
        ("content-length", vec![said("4", false), body(), data(1, "", true)], Fine),
        ("content-length and trailers", vec![said("4", false), body(), sum()], Fine),
        ("more than content-length", vec![said("3", false), body()], Reset(1, P)),
        ("less than content-length", vec![said("5", false), data(1, "body", true)], Reset(1, P)),
        ("less, and trailers", vec![said("5", false), body(), sum()], Reset(1, P)),
        ("nothing of it, at once, is for who reads the head to see", vec![said("5", true)], Fine),
        ("nothing, by DATA", vec![said("5", false), data(1, "", true)], Reset(1, P)),
        ("304 with content-length", vec![headers(1, block(&[(":status", "304"), ("content-length", "5")]), true)], Fine),
        ("padding beyond DATA", vec![ok(false), raw(DATA, 9, 1, &[5, 0])], Fatal(P)),
    ]
}

#[test]
fn frames_of_the_connection() {
    run(connection(), asked);
}

#[test]
fn frames_of_answers() {
    run(answers(), asked);
}

/// HEAD has a content-length and no content.
#[test]
fn answers_to_head() {
    let asked = || {
        let mut side = Side::client();
        let fields = [(":method", "HEAD"), (":scheme", "http"), (":path", "/")];
        let opened = side.conn.open(pairs(&fields), true, true, 0);
        side.opened.push(opened.unwrap());
        side.take();
        side
    };
    run(
        vec![
            ("with a length", vec![said("5", true)], Fine),
            (
                "with an end by itself",
                vec![said("5", false), data(1, "", true)],
                Fine,
            ),
            (
                "with content",
                vec![said("5", false), data(1, "12345", true)],
                Reset(1, P),
            ),
        ],
        asked,
    );
}

#[test]
fn preface_and_settings() {
    let mut side = Side::fresh_client(config());
    let out = side.conn.out().to_vec();
    let frames = FrameReader::default().feed(out.strip_prefix(PREFACE).unwrap());
    assert_eq!(frames[0].kind, SETTINGS);
    let pairs = frames[0].settings();
    for wanted in [
        (ENABLE_PUSH, 0),
        (INITIAL_WINDOW_SIZE, 65_536),
        (MAX_HEADER_LIST_SIZE, 65_536),
    ] {
        assert!(pairs.contains(&wanted), "{wanted:?} in {pairs:?}");
    }
    side.conn.written(out.len());
    // The first frame of a server has to be SETTINGS.
    for first in [
        settings_ack(),
        ping(false, [0; 8]),
        b"HTTP/1.1 200 OK\r\n".to_vec(),
    ] {
        let mut side = Side::fresh_client(config());
        side.feed(&first);
        let code = side.failed.map(|abuse| abuse.code());
        assert!(matches!(code, Some(P | S)), "{first:?} {code:?}");
        assert!(side.conn.is_over());
    }
    side.feed(&settings(&[
        (MAX_CONCURRENT_STREAMS, 7),
        (ENABLE_CONNECT_PROTOCOL, 1),
    ]));
    assert_eq!(side.conn.peer_streams_max(), 7);
    assert!(side.conn.takes_extended_connect());
    let other = Side::client();
    assert_eq!(other.conn.peer_streams_max(), usize::MAX);
    assert!(!other.conn.takes_extended_connect());
}

/// A whole answer is there for its reader, whatever happens to the connection afterwards.
#[test]
fn answers_outlive_the_connection() {
    type Ending = (&'static str, fn(&mut Side));
    let endings: [Ending; 5] = [
        ("lost", |side| side.conn.lost()),
        ("reset with NO_ERROR", |side| side.feed(&reset(1, NO_ERROR))),
        ("GOAWAY", |side| side.feed(&goaway(1, NO_ERROR))),
        ("an error", |side| side.feed(&window_update(0, 0))),
        ("our own end", |side| side.conn.end(ErrorCode::NO_ERROR)),
    ];
    for (what, ending) in endings {
        let mut side = Side::client();
        let (first, second) = (side.open(true), side.open(true));
        side.feed(&[ok(false), data(1, "1234", false)].concat());
        side.feed(&headers(1, block(&[("x-sum", "1")]), true));
        side.feed(&[headers(3, OK, false), data(3, "half", false)].concat());
        ending(&mut side);
        assert_eq!(side.failure(first), None, "{what}");
        let Poll::Ready(Ok((fields, false))) = side.head(first) else {
            panic!("{what}: no head");
        };
        assert_eq!(text(&fields)[0].1, "200");
        assert_eq!(
            side.read(first),
            (b"1234".to_vec(), Poll::Ready(Ok(()))),
            "{what}"
        );
        assert_eq!(side.conn.take_trailers(first), b"x-sum: 1\r\n");
        // GOAWAY with 1 says that 3 is not gone on with; but that was looked at, and may not be sent again.
        let lost = match what {
            "reset with NO_ERROR" => None,
            _ => Some(StreamError::Lost),
        };
        assert_eq!(side.failure(second), lost, "{what}");
    }
}

/// What came before a failure is read before it, whether or not they came together.
#[test]
fn what_was_said_before_a_failure() {
    let broken: [(Vec<u8>, StreamError); 3] = [
        (reset(1, CANCEL), StreamError::Reset(ErrorCode::CANCEL)),
        (
            headers(1, OK, false),
            StreamError::Ended(ErrorCode::PROTOCOL_ERROR),
        ),
        (window_update(0, 0), StreamError::Lost),
    ];
    for (failure, error) in broken {
        let mut side = asked();
        let stream = side.opened[0];
        side.feed(&[ok(false), data(1, "half", false), failure].concat());
        assert!(matches!(side.head(stream), Poll::Ready(Ok(_))), "{error}");
        let read = (b"half".to_vec(), Poll::Ready(Err(error)));
        assert_eq!(side.read(stream), read, "{error}");
    }
}

/// An answer that is complete before the request is: the rest of the request is not wanted (RFC 9113, 8.1).
#[test]
fn an_early_answer_and_reset() {
    let mut side = Side::client();
    let stream = side.open(false);
    side.feed(&[ok(false), data(1, "early", true), reset(1, NO_ERROR)].concat());
    let Poll::Ready(Ok(_)) = side.head(stream) else {
        panic!("no head");
    };
    assert_eq!(side.read(stream), (b"early".to_vec(), Poll::Ready(Ok(()))));
    let sent = side.send(stream, b"more", false);
    let reset = Err(StreamError::Reset(ErrorCode::NO_ERROR));
    assert_eq!(sent, Poll::Ready(reset));
    side.conn.release(stream, 0);
    assert_eq!(side.conn.active(), 0);
    assert!(
        side.take_essential()
            .iter()
            .all(|frame| frame.kind == HEADERS)
    );
}

/// What a server did not look at may be sent again; what it did look at may not.
#[test]
fn goaway_and_refusals() {
    let mut side = Side::client();
    let streams = [
        side.open(true),
        side.open(true),
        side.open(false),
        side.open(true),
    ];
    side.feed(&reset(3, REFUSED_STREAM));
    side.feed(&goaway(3, NO_ERROR));
    assert!(!side.conn.is_open() && !side.conn.is_over());
    let found = streams.map(|stream| side.failure(stream));
    let refused = Some(StreamError::Refused);
    assert_eq!(found, [None, refused, refused, refused]);
    assert_eq!(side.conn.active(), 1);
    let fields = [(":method", "GET")];
    let more = side.conn.open(pairs(&fields), true, false, 0);
    assert_eq!(more, Err(StreamError::Refused));
    side.feed(&ok(true));
    assert!(matches!(side.head(streams[0]), Poll::Ready(Ok(_))));
    for stream in streams {
        side.conn.release(stream, 0);
    }
    assert_eq!(side.conn.active(), 0);
    assert!(side.conn.is_over());
}

/// The highest number first, the true one later (RFC 9113, 6.8).
#[test]
fn goaway_in_two_steps() {
    let mut side = Side::client();
    let (first, second) = (side.open(true), side.open(true));
    side.feed(&goaway(0x7fff_ffff, NO_ERROR));
    assert!(!side.conn.is_open());
    assert_eq!((side.failure(first), side.failure(second)), (None, None));
    side.feed(&goaway(1, NO_ERROR));
    assert_eq!(side.failure(second), Some(StreamError::Refused));
    assert_eq!(side.failure(first), None);
    side.feed(&ok(true));
    side.conn.release(first, 0);
    side.conn.release(second, 0);
    assert!(side.conn.is_over());
}

/// GOAWAY with an error: what it has looked at may still end, what is above may be sent again.
#[test]
fn goaway_with_an_error() {
    let mut side = Side::client();
    let (first, second) = (side.open(true), side.open(true));
    side.feed(&goaway(1, ENHANCE_YOUR_CALM));
    assert_eq!(side.failure(second), Some(StreamError::Refused));
    side.conn.lost();
    assert_eq!(side.failure(first), Some(StreamError::Lost));
    assert_eq!(side.failure(second), Some(StreamError::Refused));
    assert!(side.conn.is_over());
}

#[test]
fn resets_are_told_with_their_codes() {
    let mut side = Side::client();
    for code in [CANCEL, 2, 13, 0xdead] {
        let stream = side.open(false);
        assert_eq!(side.failure(stream), None);
        side.feed(&reset(stream.id(), code));
        let told = StreamError::Reset(ErrorCode(code));
        assert_eq!(side.failure(stream), Some(told));
        assert_eq!(side.head(stream), Poll::Ready(Err(told)));
        assert_eq!(side.read(stream).1, Poll::Ready(Err(told)));
        assert_eq!(side.send(stream, b"x", false), Poll::Ready(Err(told)));
        side.conn.release(stream, 0);
    }
    assert_eq!(side.conn.active(), 0);
}
