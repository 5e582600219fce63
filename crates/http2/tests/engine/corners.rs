//! Corners of the rules: what comes at an odd moment, or twice.

use std::task::Poll;

use keel_http2::{ErrorCode, StreamError};

use crate::side::*;
use crate::wire::*;

/// `:status: 103`, which changes no table.
const HINTS: &[u8] = b"\x08\x03103";

/// RFC 7541, 4.2: when the table was made smaller in between, that is said too.
#[test]
fn both_sizes_of_the_table_in_one_frame() {
    let mut side = Side::server();
    for number in [1, 3] {
        side.feed(&headers(number, POST, true));
    }
    let fields = [(":status", "200"), ("x-kept", "in the table")];
    side.answer(side.opened[0], &fields, true);
    side.feed(&settings(&[
        (HEADER_TABLE_SIZE, 0),
        (HEADER_TABLE_SIZE, 4096),
    ]));
    side.answer(side.opened[1], &fields, true);
    let frames = side.take_essential();
    let [first, second] = &frames[..] else {
        panic!("{frames:?}");
    };
    // 0, then 4096.
    assert!(
        second.payload.starts_with(b"\x20\x3f\xe1\x1f"),
        "{second:?}"
    );
    // With nothing left in the table the field stands there in full again.
    assert!(second.payload.len() >= first.payload.len() + 4);
    for frame in [first, second] {
        let (_, found, _) = side.blocks.feed(frame).unwrap();
        assert_eq!(text(&found)[1].1, "in the table");
    }
}

/// RFC 9113, 6.4: RST_STREAM must not be sent for an idle stream.
#[test]
fn a_priority_of_an_idle_stream_on_itself_is_not_answered() {
    let mut side = Side::server();
    side.feed(&frame(PRIORITY, 0, 7, &dependency(7, false, 1)));
    side.feed(&frame(PRIORITY, 0, 8, &dependency(8, false, 1)));
    assert_eq!(side.take_essential(), []);
    side.feed(&headers(7, POST, true));
    assert_eq!((side.opened.len(), side.failed), (1, None));
    assert!(side.is_alive());
}

/// RFC 8441, 5: what a tunnel carries is no content.
#[test]
fn a_tunnel_with_a_content_length_carries_what_it_likes() {
    for length in ["0", "3"] {
        let mut side = Side::server();
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "test.example"),
            ("content-length", length),
        ];
        side.feed(&headers(1, block(&fields), false));
        let stream = side.opened[0];
        side.answer(stream, &[(":status", "200")], false);
        side.feed(&[data(1, "hello", false), data(1, "", true)].concat());
        assert_eq!(side.read(stream), (b"hello".to_vec(), Poll::Ready(Ok(()))));
        assert_eq!(side.send(stream, b"hello", true), Poll::Ready(Ok(5)));
        assert_eq!(side.take_essential().len(), 2);
    }
}

/// Whoever has sent a head has looked at the request: it may have been done.
#[test]
fn what_was_answered_was_not_refused() {
    let refused = ErrorCode(REFUSED_STREAM);
    let reset_of = |number| reset(number, REFUSED_STREAM);
    for said in [HINTS, OK] {
        let mut side = Side::client();
        let (first, second) = (side.open(false), side.open(true));
        side.feed(&[headers(1, said, false), reset_of(1)].concat());
        let told = StreamError::Reset(refused);
        assert_eq!(side.failure(first), Some(told));
        assert!(matches!(side.head(first), Poll::Ready(Ok(_))));
        assert_eq!(side.read(first), (vec![], Poll::Ready(Err(told))));
        side.feed(&headers(3, said, false));
        side.feed(&goaway(1, NO_ERROR));
        assert_eq!(side.failure(second), Some(StreamError::Lost));
    }
    // The stream's place is used again by one that was not answered.
    let mut side = Side::client();
    let first = side.open(true);
    side.feed(&headers(1, OK, true));
    side.conn.release(first, 0);
    let next = side.open(true);
    side.feed(&reset_of(3));
    assert_eq!(side.failure(next), Some(StreamError::Refused));
}

/// What a client sent of an upload before the connection broke, it has sent.
#[test]
fn an_upload_is_read_as_far_as_it_came_before_a_loss() {
    let mut side = Side::server();
    side.feed(&headers(1, POST, false));
    side.feed(&data(1, "half", false));
    let stream = side.opened[0];
    side.conn.lost();
    assert!(matches!(side.head(stream), Poll::Ready(Ok(_))));
    let lost = Poll::Ready(Err(StreamError::Lost));
    assert_eq!(side.read(stream), (b"half".to_vec(), lost));
    assert_eq!(side.failure(stream), Some(StreamError::Lost));
    assert_eq!(
        side.send(stream, b"x", false),
        Poll::Ready(Err(StreamError::Lost))
    );
    side.conn.release(stream, 0);
    assert_eq!(side.conn.active(), 0);
}

/// A client that resets takes its request back; its bytes are somebody else's at once.
#[test]
fn an_upload_that_is_reset_is_not_read() {
    let mut side = Side::server();
    let told = StreamError::Reset(ErrorCode::CANCEL);
    for at in 0..20 {
        let number = 2 * at + 1;
        side.feed(&headers(number, POST, false));
        side.feed(&data(number, [0; FRAME_MAX], false));
        side.feed(&reset(number, CANCEL));
        let stream = side.opened.pop().unwrap();
        assert_eq!(side.head(stream), Poll::Ready(Err(told)));
        assert_eq!(side.read(stream), (vec![], Poll::Ready(Err(told))));
        side.take();
    }
    assert_eq!(side.failed, None);
}

/// A DATA frame whose stream is reset between its head and its padding, and that is longer than content-length says.
#[test]
fn a_stream_is_reset_once() {
    let mut side = Side::server();
    let length = block(&[("content-length", "3")]);
    side.feed(&headers(1, [POST, &length].concat(), false));
    let bytes = frame(DATA, PADDED, 1, &[&[2][..], &[0; 12]].concat());
    let (head, rest) = bytes.split_at(9);
    side.feed(head);
    side.conn.reset(side.opened[0], ErrorCode::CANCEL, 0);
    side.feed(rest);
    let frames = side.take_essential();
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!((frames[0].kind, frames[0].code()), (RST_STREAM, CANCEL));
    assert!(side.is_alive());
}

/// The frame that went beyond content-length ended the stream as well: nothing more of it can have been under way.
#[test]
fn what_comes_behind_the_end_of_a_refused_message_is_a_breach() {
    for ends in [false, true] {
        let mut side = Side::server();
        let length = block(&[("content-length", "3")]);
        side.feed(&headers(1, [POST, &length].concat(), false));
        side.feed(&data(1, "body", ends));
        let frames = side.take_essential();
        assert_eq!((frames.len(), frames[0].code()), (1, PROTOCOL_ERROR));
        side.feed(&data(1, "more", false));
        let code = side.failed.map(|abuse| abuse.code());
        assert_eq!(code, ends.then_some(STREAM_CLOSED));
    }
}

/// What was never offered to a write cannot have been acted upon.
#[test]
fn a_request_of_which_nothing_was_sent_is_refused() {
    let mut side = Side::client();
    let sent = side.open(false);
    side.take();
    let offered = side.open(true);
    assert!(!side.conn.offer().is_empty());
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/")];
    let waits = side.conn.open(pairs(&fields), true, false, 0).unwrap();
    side.conn.lost();
    assert_eq!(side.failure(sent), Some(StreamError::Lost));
    assert_eq!(side.failure(offered), Some(StreamError::Lost));
    assert_eq!(side.failure(waits), Some(StreamError::Refused));
}
