//! What a client may not do, by the sections of RFC 9113 and RFC 7541 as h2spec has them.

use std::task::Poll;

use crate::cases::*;
use crate::side::*;
use crate::wire::*;

fn head(ends: bool) -> Vec<u8> {
    headers(1, POST, ends)
}

fn whole(stream: u32) -> Vec<u8> {
    headers(stream, POST, true)
}

fn with(more: &[u8], ends: bool) -> Vec<u8> {
    headers(1, [POST, more].concat(), ends)
}

fn said(len: &str, ends: bool) -> Vec<u8> {
    with(&block(&[("content-length", len)]), ends)
}

fn cut(ends: bool) -> Vec<u8> {
    frame(HEADERS, u8::from(ends), 1, POST)
}

fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind, flags, stream, payload)
}

fn go_on(stream: u32, flags: u8) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, b"")
}

fn priority(stream: u32) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &dependency(0, false, 9))
}

const P: u32 = PROTOCOL_ERROR;
const F: u32 = FLOW_CONTROL_ERROR;
const C: u32 = STREAM_CLOSED;
const S: u32 = FRAME_SIZE_ERROR;
const H: u32 = COMPRESSION_ERROR;

#[rustfmt::skip]
fn sections_4() -> Vec<Case> {
    vec![
        ("4.1/1 an unknown kind", vec![raw(0xff, 0, 0, b"data")], Fine),
        ("an unknown kind on a stream, long", vec![raw(0x78, 0xff, 9, &[1; FRAME_MAX])], Fine),
        ("4.1/2 undefined flags", vec![raw(PING, 0xfe, 0, &[0; 8])], Fine),
        ("undefined flags of HEADERS", vec![raw(HEADERS, 0xc0 | 0x12 | END_HEADERS | END_STREAM, 1, POST)], Fine),
        ("4.1/3 the reserved bit", vec![raw(PING, 0, 1 << 31, &[0; 8])], Fine),
        ("the reserved bit of a stream", vec![raw(HEADERS, 5, 1 | 1 << 31, POST)], Fine),
        ("4.2/1 DATA of 2^14", vec![head(false), data(1, [0; FRAME_MAX], false)], Fine),
        ("4.2/2 DATA above", vec![head(false), data(1, [0; FRAME_MAX + 1], false)], Fatal(S)),
        ("4.2/3 HEADERS above", vec![with(&[0; FRAME_MAX], true)], Fatal(S)),
        ("PING above", vec![raw(PING, 0, 0, &[0; FRAME_MAX + 1])], Fatal(S)),
        ("an unknown kind above", vec![raw(0x77, 0, 0, &[0; FRAME_MAX + 1])], Fatal(S)),
        ("4.3/1 a block that is none", vec![headers(1, b"\x40", true)], Fatal(H)),
        ("4.3/2 PRIORITY within a block", vec![cut(true), priority(1), go_on(1, END_HEADERS)], Fatal(P)),
        ("4.3/3 HEADERS within a block", vec![cut(true), whole(3)], Fatal(P)),
        ("DATA within a block", vec![cut(false), data(1, "x", false)], Fatal(P)),
        ("PING within a block", vec![cut(false), ping(false, [0; 8])], Fatal(P)),
        ("SETTINGS within a block", vec![cut(false), settings(&[])], Fatal(P)),
        ("RST_STREAM within a block", vec![cut(false), reset(1, 8)], Fatal(P)),
        ("WINDOW_UPDATE within a block", vec![cut(false), window_update(0, 1)], Fatal(P)),
        ("GOAWAY within a block", vec![cut(false), goaway(0, 0)], Fatal(P)),
        ("5.5/2 an unknown frame within a block", vec![cut(true), raw(0x77, 0, 1, b"x")], Fatal(P)),
    ]
}

#[rustfmt::skip]
fn section_5() -> Vec<Case> {
    let on_itself = [&dependency(1, false, 255)[..], POST].concat();
    vec![
        ("5.1/1 idle: DATA", vec![data(1, "test", true)], Fatal(P)),
        ("5.1/2 idle: RST_STREAM", vec![reset(1, CANCEL)], Fatal(P)),
        ("5.1/3 idle: WINDOW_UPDATE", vec![window_update(1, 100)], Fatal(P)),
        ("5.1/4 idle: CONTINUATION", vec![raw(CONTINUATION, 5, 1, POST)], Fatal(P)),
        ("idle, even: DATA", vec![data(2, "test", true)], Fatal(P)),
        ("idle, even: WINDOW_UPDATE", vec![window_update(2, 5)], Fatal(P)),
        ("idle, even: RST_STREAM", vec![reset(2, 5)], Fatal(P)),
        ("idle, above one that is open: DATA", vec![head(false), data(3, "test", true)], Fatal(P)),
        ("5.1/5 half-closed: DATA", vec![whole(1), data(1, "test", true)], Fatal(C)),
        ("5.1/6 half-closed: HEADERS", vec![whole(1), whole(1)], Fatal(C)),
        ("5.1/7 half-closed: CONTINUATION", vec![whole(1), raw(CONTINUATION, END_HEADERS, 1, POST)], Fatal(P)),
        ("half-closed by DATA: DATA", vec![head(false), data(1, "", true), data(1, "x", false)], Fatal(C)),
        ("half-closed by trailers: DATA", vec![head(false), headers(1, b"", true), data(1, "x", false)], Fatal(C)),
        ("half-closed by trailers: trailers", vec![head(false), headers(1, b"", true), headers(1, b"", true)], Fatal(C)),
        ("5.1/8 closed by RST_STREAM: DATA", vec![head(false), reset(1, CANCEL), data(1, "test", true)], Either(1, C)),
        ("5.1/9 closed by RST_STREAM: HEADERS", vec![head(false), reset(1, CANCEL), whole(1)], Fatal(C)),
        ("5.1/10 closed by RST_STREAM: CONTINUATION", vec![head(false), reset(1, CANCEL), go_on(1, END_HEADERS)], Fatal(P)),
        ("5.1.1/1 an even number", vec![whole(2)], Fatal(P)),
        ("5.1.1/2 a smaller number", vec![whole(5), whole(3)], Fatal(P)),
        ("a smaller number, closed", vec![whole(5), reset(5, CANCEL), whole(3)], Fatal(P)),
        ("a skipped number: DATA", vec![whole(5), data(3, "x", true)], Either(3, C)),
        ("a skipped number: RST_STREAM", vec![whole(5), reset(3, 8)], Fine),
        ("a skipped number: WINDOW_UPDATE", vec![whole(5), window_update(3, 8)], Fine),
        ("5.3.1/1 HEADERS depend on themselves", vec![raw(HEADERS, 0x25, 1, &on_itself)], Reset(1, P)),
        ("5.3.1/2 PRIORITY depends on itself", vec![head(false), raw(PRIORITY, 0, 1, &dependency(1, false, 9))], Either(1, P)),
        ("5.4.1/1 a wrong PING", vec![raw(PING, 0, 0, &[0; 3])], Fatal(S)),
        ("5.5/1 an unknown frame", vec![raw(0x16, 0, 0, &[0; 8])], Fine),
    ]
}

#[rustfmt::skip]
fn section_6_streams() -> Vec<Case> {
    vec![
        ("6.1/1 DATA on 0", vec![data(0, "test", true)], Fatal(P)),
        ("6.1/3 padding beyond DATA", vec![head(false), raw(DATA, 9, 1, b"\x05test")], Fatal(P)),
        ("padding as long as DATA", vec![head(false), raw(DATA, 9, 1, &[2, 0])], Fatal(P)),
        ("DATA without the length of padding", vec![head(false), raw(DATA, PADDED, 1, b"")], Fatal(S)),
        ("6.2/1 HEADERS and PRIORITY", vec![cut(true), priority(1)], Fatal(P)),
        ("6.2/2 HEADERS and another stream", vec![cut(true), go_on(3, END_HEADERS)], Fatal(P)),
        ("6.2/3 HEADERS on 0", vec![whole(0)], Fatal(P)),
        ("6.2/4 padding beyond HEADERS", vec![raw(HEADERS, 0xd, 1, &[200, 0x82])], Fatal(P)),
        ("padding beyond the priority", vec![raw(HEADERS, 0x2d, 1, &[2, 0, 0, 0, 3, 9, 0])], Fatal(P)),
        ("HEADERS without the length of padding", vec![raw(HEADERS, 0xd, 1, b"")], Fatal(S)),
        ("HEADERS without the priority", vec![raw(HEADERS, 0x25, 1, &[0; 4])], Fatal(S)),
        ("HEADERS without both", vec![raw(HEADERS, 0x2d, 1, &[0; 5])], Fatal(S)),
        ("6.3/1 PRIORITY on 0", vec![raw(PRIORITY, 0, 0, &[0, 0, 0, 3, 9])], Fatal(P)),
        ("6.3/2 PRIORITY of 4", vec![raw(PRIORITY, 0, 1, &[0; 4])], Fatal(S)),
        ("PRIORITY of 6", vec![raw(PRIORITY, 0, 1, &[0; 6])], Fatal(S)),
        ("6.4/1 RST_STREAM on 0", vec![reset(0, CANCEL)], Fatal(P)),
        ("6.4/2 RST_STREAM on idle", vec![reset(1, CANCEL)], Fatal(P)),
        ("6.4/3 RST_STREAM of 3", vec![head(false), raw(RST_STREAM, 0, 1, &[0; 3])], Fatal(S)),
        ("RST_STREAM of 5", vec![head(false), raw(RST_STREAM, 0, 1, &[0; 5])], Fatal(S)),
        ("RST_STREAM of 3 on closed", vec![head(false), reset(1, 8), raw(RST_STREAM, 0, 1, &[0; 3])], Fatal(S)),
        ("6.6 PUSH_PROMISE", vec![whole(1), raw(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x82])], Fatal(P)),
        ("PUSH_PROMISE on idle", vec![raw(PUSH_PROMISE, 0, 1, &[0; 5])], Fatal(P)),
        ("6.9/1 an update by 0", vec![window_update(0, 0)], Fatal(P)),
        ("6.9/2 an update of a stream by 0", vec![head(false), window_update(1, 0)], Reset(1, P)),
        ("6.9/3 an update of 3", vec![raw(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], Fatal(S)),
        ("an update of 5", vec![raw(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0, 1])], Fatal(S)),
        ("an update with the reserved bit", vec![window_update(0, 1 | 1 << 31)], Fine),
        ("an update by 0 with the reserved bit", vec![window_update(0, 1 << 31)], Fatal(P)),
        ("6.9.1/2 the window of the connection", vec![window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)], Fatal(F)),
        ("by one", vec![window_update(0, 0x7fff_ffff - 65_534)], Fatal(F)),
        ("as large as allowed", vec![window_update(0, 0x7fff_ffff - 65_535)], Fine),
        ("6.9.1/3 the window of a stream", vec![head(false), window_update(1, 0x7fff_ffff)], Reset(1, F)),
        ("a stream's, as large as allowed", vec![head(false), window_update(1, 0x7fff_ffff - 65_535)], Fine),
        ("6.10/2 CONTINUATION and another", vec![cut(true), go_on(1, 0), head(true)], Fatal(P)),
        ("6.10/3 CONTINUATION on 0", vec![cut(true), go_on(0, END_HEADERS)], Fatal(P)),
        ("6.10/4 CONTINUATION behind a block", vec![whole(1), go_on(1, END_HEADERS)], Fatal(P)),
        ("6.10/5 CONTINUATION behind CONTINUATION", vec![cut(true), go_on(1, END_HEADERS), go_on(1, END_HEADERS)], Fatal(P)),
        ("6.10/6 CONTINUATION behind DATA", vec![head(false), data(1, "test", false), go_on(1, END_HEADERS)], Fatal(P)),
    ]
}

#[rustfmt::skip]
fn section_6_connection() -> Vec<Case> {
    let set = |id, value| vec![settings(&[(id, value)])];
    vec![
        ("6.5/1 ACK with settings", vec![raw(SETTINGS, ACK, 0, &[0; 6])], Fatal(S)),
        ("6.5/2 SETTINGS on a stream", vec![raw(SETTINGS, 0, 1, b"")], Fatal(P)),
        ("ACK on a stream", vec![raw(SETTINGS, ACK, 1, b"")], Fatal(P)),
        ("6.5/3 SETTINGS of 3", vec![raw(SETTINGS, 0, 0, &[0; 3])], Fatal(S)),
        ("SETTINGS of 13", vec![raw(SETTINGS, 0, 0, &[0; 13])], Fatal(S)),
        ("6.5.2/1 push as 2", set(ENABLE_PUSH, 2), Fatal(P)),
        ("push as 1", set(ENABLE_PUSH, 1), Fine),
        ("6.5.2/2 a window too large", set(INITIAL_WINDOW_SIZE, 1 << 31), Fatal(F)),
        ("the largest window", set(INITIAL_WINDOW_SIZE, (1 << 31) - 1), Fine),
        ("6.5.2/3 frames too small", set(MAX_FRAME_SIZE, 16_383), Fatal(P)),
        ("6.5.2/4 frames too large", set(MAX_FRAME_SIZE, 1 << 24), Fatal(P)),
        ("the largest frames", set(MAX_FRAME_SIZE, (1 << 24) - 1), Fine),
        ("6.5.2/5 unknown settings", set(0xff, 1), Fine),
        ("no table", set(HEADER_TABLE_SIZE, 0), Fine),
        ("a huge table", set(HEADER_TABLE_SIZE, u32::MAX), Fine),
        ("no streams", set(MAX_CONCURRENT_STREAMS, 0), Fine),
        ("the last of a frame is wrong", vec![settings(&[(ENABLE_PUSH, 0), (MAX_FRAME_SIZE, 1)])], Fatal(P)),
        ("a window beyond by a setting", vec![head(false), window_update(1, 0x7fff_ffff - 65_535), settings(&[(INITIAL_WINDOW_SIZE, 65_536)])], Fatal(F)),
        ("6.7/3 PING on a stream", vec![raw(PING, 0, 1, &[0; 8])], Fatal(P)),
        ("6.7/4 PING of 6", vec![raw(PING, 0, 0, &[0; 6])], Fatal(S)),
        ("PING ACK of 9", vec![raw(PING, ACK, 0, &[0; 9])], Fatal(S)),
        ("6.8/1 GOAWAY on a stream", vec![raw(GOAWAY, 0, 1, &[0; 8])], Fatal(P)),
        ("GOAWAY of 7", vec![raw(GOAWAY, 0, 0, &[0; 7])], Fatal(S)),
        ("RFC 9218: PRIORITY_UPDATE on a stream", vec![raw(PRIORITY_UPDATE, 0, 1, b"\0\0\0\x01u=1")], Fatal(P)),
        ("PRIORITY_UPDATE of 3", vec![raw(PRIORITY_UPDATE, 0, 0, &[0; 3])], Fatal(S)),
        ("PRIORITY_UPDATE of 0", vec![raw(PRIORITY_UPDATE, 0, 0, &[0; 4])], Fatal(P)),
    ]
}

#[rustfmt::skip]
fn sections_7_and_8() -> Vec<Case> {
    let trailers = |fields: &[(&str, &str)]| headers(1, block(fields), true);
    let body = || data(1, "body", false);
    vec![
        ("7/2 a reset with an unknown code", vec![head(false), reset(1, 0xff)], Fine),
        ("8.1/1 a second head", vec![head(false), body(), headers(1, block(&[("x", "1")]), false)], Reset(1, P)),
        ("a second head at once", vec![head(false), head(false)], Reset(1, P)),
        ("`:method` in trailers", vec![head(false), body(), trailers(&[(":method", "GET")])], Reset(1, P)),
        ("`:x` behind a field of trailers", vec![head(false), body(), trailers(&[("x", "1"), (":x", "1")])], Reset(1, P)),
        ("`:path` of the table in trailers", vec![head(false), body(), headers(1, b"\x84", true)], Reset(1, P)),
        ("`:authority` from the table in trailers", vec![head(false), body(), headers(1, b"\xbe", true)], Reset(1, P)),
        ("upper case in trailers", vec![head(false), body(), trailers(&[("X", "1")])], Reset(1, P)),
        ("a line break in trailers", vec![head(false), body(), trailers(&[("x", "a\r\nb")])], Reset(1, P)),
        ("a connection's field in trailers", vec![head(false), body(), trailers(&[("connection", "x")])], Reset(1, P)),
        ("chunked in trailers", vec![head(false), body(), trailers(&[("transfer-encoding", "chunked")])], Reset(1, P)),
        ("8.1.2.6/1 less than content-length", vec![said("5", false), data(1, "1234", true)], Reset(1, P)),
        ("8.1.2.6/2 the same in two", vec![said("5", false), data(1, "12", false), data(1, "34", true)], Reset(1, P)),
        ("more than content-length", vec![said("5", false), data(1, "123456", true)], Reset(1, P)),
        ("more, without the end", vec![said("5", false), data(1, "123", false), data(1, "456", false)], Reset(1, P)),
        ("nothing of it, at once, is for who reads the head to see", vec![said("5", true)], Fine),
        ("nothing of it, by DATA", vec![said("5", false), data(1, "", true)], Reset(1, P)),
        ("one more than none", vec![said("0", false), data(1, "1", true)], Reset(1, P)),
        ("less, and trailers", vec![said("5", false), body(), trailers(&[("x", "1")])], Reset(1, P)),
        ("as long as it says", vec![said("5", false), data(1, "12", false), data(1, "345", true)], Fine),
        ("as long, the end by itself", vec![said("5", false), data(1, "12345", false), data(1, "", true)], Fine),
        ("as long, padded", vec![said("4", false), raw(DATA, 9, 1, b"\x02body\0\0")], Fine),
        ("as long, and trailers", vec![said("4", false), body(), trailers(&[("x", "1")])], Fine),
        ("none, at once", vec![said("0", true)], Fine),
    ]
}

#[rustfmt::skip]
fn hpack() -> Vec<Case> {
    let half = b"\x40\x01x"; // a field that is cut off
    let with = |more: &[u8]| vec![with(more, true)];
    vec![
        ("2.3.3/1 a field beyond the table", with(b"\xc6"), Fatal(H)),
        ("2.3.3/2 a name beyond the table", with(b"\x7f\x07\x01a"), Fatal(H)),
        ("index 70 of 62", vec![headers(1, b"\xc6", true)], Fatal(H)),
        ("4.2/1 a resize at the end", with(b"\x3f\xe1\x1f"), Fatal(H)),
        ("a resize to nothing at the end", with(b"\x20"), Fatal(H)),
        ("5.2/1 padding of more than 7 bits", with(b"\x00\x01x\x82\x1f\xff"), Fatal(H)),
        ("5.2/2 padding of zeros", with(b"\x00\x01x\x81\x18"), Fatal(H)),
        ("5.2/3 the end of strings", with(b"\x00\x01x\x84\xff\xff\xff\xff"), Fatal(H)),
        ("6.1/1 index 0", with(b"\x80"), Fatal(H)),
        ("6.3/1 a table too large", vec![headers(1, [b"\x3f\xe2\x1f", POST].concat(), true)], Fatal(H)),
        ("a number that does not end", with(b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), Fatal(H)),
        ("a number beyond 2^32", with(b"\xff\xff\xff\xff\xff\x7f"), Fatal(H)),
        ("a string beyond the block", with(b"\x00\x01x\x05abc"), Fatal(H)),
        ("a string as long as 2^32", with(b"\x00\x7f\xff\xff\xff\xff\x0f"), Fatal(H)),
        ("a field that is cut off", with(half), Fatal(H)),
        ("the same in two frames", vec![frame(HEADERS, 1, 1, &[POST, half].concat()), frame(CONTINUATION, 4, 1, b"\x05abc")], Fatal(H)),
        ("on a stream that is over", vec![head(false), reset(1, 8), headers(1, b"\x80", true)], Fatal(H)),
    ]
}

#[test]
fn frames() {
    run(sections_4(), Side::server);
}

#[test]
fn states_of_streams() {
    run(section_5(), Side::server);
}

#[test]
fn frames_of_streams() {
    run(section_6_streams(), Side::server);
}

#[test]
fn frames_of_the_connection() {
    run(section_6_connection(), Side::server);
}

#[test]
fn messages() {
    run(sections_7_and_8(), Side::server);
}

#[test]
fn compression() {
    run(hpack(), Side::server);
}

/// 3.5/2 and the first frame: whoever does not begin with the preface and SETTINGS does not speak HTTP/2.
#[test]
fn a_wrong_preface() {
    let other = [PREFACE, &ping(false, [0; 8])].concat();
    let ack = [PREFACE, &settings_ack()].concat();
    for bytes in [
        &b"INVALID CONNECTION PREFACE\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        &other,
        &ack,
    ] {
        let mut side = Side::fresh_server(config());
        side.take();
        side.feed(bytes);
        assert_eq!(side.failed.map(|abuse| abuse.code()), Some(P));
        let frames = side.take();
        assert_eq!(frames.last().map(Frame::code), Some(P), "{frames:?}");
        assert!(side.conn.is_over());
    }
}

/// 7/1: a code that nobody knows ends the connection as any does.
#[test]
fn goaway_with_an_unknown_code() {
    let mut side = Side::server();
    side.feed(&goaway(0, 0xff));
    assert_eq!(side.failed, None);
    assert!(side.conn.is_over());
    assert!(side.take().iter().all(|frame| frame.kind != RST_STREAM));
}

/// 5.1/11 to 5.1/13: closed by END_STREAM of both sides.
#[test]
fn streams_that_are_complete() {
    for released in [false, true] {
        let answered = || {
            let mut side = Side::server();
            side.feed(&whole(1));
            let stream = side.opened.remove(0);
            side.answer(stream, &[(":status", "200")], true);
            if released {
                side.conn.release(stream, 0);
            }
            side.take();
            side
        };
        run(
            vec![
                ("5.1/11 DATA", vec![data(1, "test", true)], Either(1, C)),
                ("5.1/12 HEADERS", vec![whole(1)], Fatal(C)),
                ("5.1/13 CONTINUATION", vec![go_on(1, END_HEADERS)], Fatal(P)),
                ("PRIORITY", vec![priority(1)], Fine),
                ("WINDOW_UPDATE", vec![window_update(1, 10)], Fine),
                ("RST_STREAM", vec![reset(1, CANCEL)], Fine),
                ("the next", vec![whole(3)], Fine),
            ],
            answered,
        );
    }
}

/// 5.1.2/1.
#[test]
fn streams_beyond_the_limit_are_refused() {
    let mut config = config();
    config.streams_max = 2;
    let mut side = Side::server_with(config, &[]);
    let later = block(&[("x", "1")]);
    side.feed(&[whole(1), headers(3, POST, false), headers(5, later, true)].concat());
    let frames = side.take_essential();
    assert_eq!((side.opened.len(), frames.len()), (2, 1), "{frames:?}");
    assert_eq!((frames[0].stream, frames[0].code()), (5, REFUSED_STREAM));
    // What is under way on the refused one, and its table, do no harm.
    side.feed(&headers(7, b"\x40\x01x\x01y", false));
    side.feed(&data(7, "x", false));
    let frames = side.take_essential();
    assert!(
        frames
            .iter()
            .all(|frame| frame.kind == RST_STREAM && frame.stream == 7),
        "{frames:?}"
    );
    let first = side.opened[0];
    side.answer(first, &[(":status", "200")], true);
    side.feed(&headers(9, [POST, b"\xbf"].concat(), true));
    assert_eq!((side.failed, side.opened.len()), (None, 3));
    let last = side.opened[2];
    let Poll::Ready(Ok((fields, true))) = side.head(last) else {
        panic!("no head");
    };
    assert_eq!(
        text(&fields).last().unwrap(),
        &("x".to_owned(), "y".to_owned())
    );
    assert!(side.is_alive());
}
