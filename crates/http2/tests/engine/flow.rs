//! Windows of both directions, memory, and how a connection comes to its end.

use std::task::Poll;

use keel_http2::{Config, Connection, ErrorCode, StreamError};

use crate::side::*;
use crate::wire::*;

fn post(stream: u32) -> Vec<u8> {
    headers(stream, POST, false)
}

fn small() -> Config {
    Config {
        stream_window_bytes: 20_000,
        connection_window_bytes: 65_535,
        ..config()
    }
}

/// Lengths of DATA on a stream, in frames that wait to be written.
fn lengths(side: &mut Side) -> Vec<usize> {
    let frames = side.take();
    let data = frames.iter().filter(|frame| frame.kind == DATA);
    data.map(|frame| frame.payload.len()).collect()
}

/// What the peer is told that it may send on a stream, or on the connection.
fn updates(frames: &[Frame], stream: u32) -> u32 {
    frames
        .iter()
        .filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == stream)
        .map(|frame| frame.number(0))
        .sum()
}

/// h2spec 6.9.1/1 and 6.5.3/1.
#[test]
fn windows_of_the_peer_are_kept_to() {
    let mut side = Side::server_with(config(), &[(INITIAL_WINDOW_SIZE, 1)]);
    side.feed(&post(1));
    let stream = side.opened[0];
    side.answer(stream, &[(":status", "200")], false);
    assert_eq!(side.send(stream, b"hello", true), Poll::Ready(Ok(1)));
    assert_eq!(side.send(stream, b"ello", true), Poll::Pending);
    assert_eq!(lengths(&mut side), [1]);
    side.feed(&window_update(1, 3));
    assert_eq!(side.send(stream, b"ello", true), Poll::Ready(Ok(3)));
    assert!(!side.conn.has_ended(stream));
    side.feed(&settings(&[
        (INITIAL_WINDOW_SIZE, 100),
        (INITIAL_WINDOW_SIZE, 2),
    ]));
    assert_eq!(side.send(stream, b"o", true), Poll::Ready(Ok(1)));
    assert!(side.conn.has_ended(stream));
    assert_eq!(lengths(&mut side), [3, 1]);
}

/// h2spec 6.9.2/2: a window below zero is a debt, also of streams that come later.
#[test]
fn windows_below_zero() {
    let mut side = Side::server_with(config(), &[(INITIAL_WINDOW_SIZE, 3)]);
    side.feed(&post(1));
    let stream = side.opened[0];
    side.answer(stream, &[(":status", "200")], false);
    assert_eq!(side.send(stream, b"123456789", false), Poll::Ready(Ok(3)));
    side.feed(&settings(&[(INITIAL_WINDOW_SIZE, 2)]));
    side.feed(&window_update(1, 1));
    assert_eq!(side.send(stream, b"456789", false), Poll::Pending);
    side.feed(&window_update(1, 2));
    assert_eq!(side.send(stream, b"456789", false), Poll::Ready(Ok(2)));
    side.feed(&settings(&[(INITIAL_WINDOW_SIZE, 0)]));
    assert_eq!(side.send(stream, b"6789", false), Poll::Pending);
    // An end needs no window.
    assert_eq!(side.conn.end_stream(stream, 0), Ok(()));
    assert_eq!(lengths(&mut side), [3, 2, 0]);
}

/// The connection's window is for all streams; no frame is longer than 2^14.
#[test]
fn the_window_of_the_connection() {
    let mut side = Side::server_with(
        Config {
            out_bytes_max: 1 << 20,
            ..config()
        },
        &[(INITIAL_WINDOW_SIZE, 1 << 20), (MAX_FRAME_SIZE, 1 << 20)],
    );
    side.feed(&[post(1), post(3)].concat());
    let [one, two] = side.opened[..] else {
        panic!("two streams");
    };
    let content = vec![1; 100_000];
    for stream in [one, two] {
        side.answer(stream, &[(":status", "200")], false);
    }
    assert_eq!(side.send(one, &content, true), Poll::Ready(Ok(65_535)));
    assert_eq!(side.send(two, &content, true), Poll::Pending);
    let sent = lengths(&mut side);
    assert_eq!(sent, [16_384, 16_384, 16_384, 16_383]);
    side.feed(&window_update(0, 10));
    assert_eq!(side.send(two, &content, true), Poll::Ready(Ok(10)));
}

/// RFC 9113, 6.9: what goes beyond a window ends the stream, or the connection.
#[test]
fn windows_of_ours_are_enforced() {
    for padded in [false, true] {
        let mut side = Side::server_with(small(), &[]);
        side.feed(&[post(1), post(3)].concat());
        side.feed(&data(1, [0; FRAME_MAX], false));
        side.feed(&data(1, [0; 3616], false));
        assert_eq!(side.take_essential(), []);
        // Padding counts.
        let more = match padded {
            true => frame(DATA, PADDED, 1, &[0]),
            false => data(1, b"x", false),
        };
        side.feed(&more);
        let frames = side.take_essential();
        assert_eq!(frames.len(), 1, "{frames:?}");
        assert_eq!(
            (frames[0].stream, frames[0].code()),
            (1, FLOW_CONTROL_ERROR)
        );
        let failed = side.failure(side.opened[0]);
        assert_eq!(
            failed,
            Some(StreamError::Ended(ErrorCode(FLOW_CONTROL_ERROR)))
        );
        assert!(side.is_alive());
    }
    let mut side = Side::server_with(small(), &[]);
    for stream in 0..4 {
        side.feed(&post(2 * stream + 1));
        side.feed(&data(2 * stream + 1, [0; FRAME_MAX], false));
    }
    assert_eq!(side.failed.map(|it| it.code()), Some(FLOW_CONTROL_ERROR));
    let frames = side.take_essential();
    assert_eq!(frames.last().map(Frame::code), Some(FLOW_CONTROL_ERROR));
}

/// Until it has acknowledged our SETTINGS a client may go by the default window.
#[test]
fn uploads_before_settings_are_read() {
    let mut side = Side::fresh_server(small());
    side.feed(&[PREFACE, &settings(&[]), &post(1)].concat());
    for _ in 0..3 {
        side.feed(&data(1, [0; FRAME_MAX], false));
    }
    assert_eq!(side.failure(side.opened[0]), None);
    assert_eq!(side.read(side.opened[0]).0.len(), 3 * FRAME_MAX);
}

/// Windows are given back as content is read, with padding, and not before.
#[test]
fn windows_are_given_back() {
    let mut side = Side::server_with(small(), &[]);
    side.feed(&post(1));
    let stream = side.opened[0];
    side.feed(&data(1, [0; FRAME_MAX], false));
    let frames = side.take();
    assert_eq!((updates(&frames, 0), updates(&frames, 1)), (0, 0));
    let (mut of_stream, mut of_all, mut sent) = (0, 0, FRAME_MAX as u32);
    for at in 0..100 {
        assert!(!side.read(stream).0.is_empty() || at % 2 == 1);
        let frames = side.take();
        of_stream += updates(&frames, 1);
        of_all += updates(&frames, 0);
        assert!(20_000 + of_stream - sent >= 10_000);
        assert!(65_535 + of_all - sent >= 32_000);
        let payload = [&[99][..], &[0; 1000]].concat();
        match at % 2 {
            0 => side.feed(&frame(DATA, PADDED, 1, &[&[255][..], &[0; 255]].concat())),
            _ => side.feed(&frame(DATA, PADDED, 1, &payload)),
        }
        sent += if at % 2 == 0 { 256 } else { 1001 };
    }
    assert!(side.is_alive());
}

/// What nobody will read is given back too: of streams that are reset, released, refused, or over.
#[test]
fn windows_of_what_is_not_read() {
    let mut side = Side::server_with(small(), &[]);
    let mut granted = 65_535_i64;
    let mut sent = 0;
    for at in 0..200_u32 {
        let number = 2 * at + 1;
        side.feed(&post(number));
        side.feed(&data(number, [0; 10_000], false));
        let stream = side.opened.pop().unwrap();
        match at % 5 {
            0 => side.feed(&reset(number, CANCEL)),
            1 => side.conn.reset(stream, ErrorCode::CANCEL, 0),
            2 => {
                side.feed(&data(number, b"", true));
                side.answer(stream, &[(":status", "200")], true);
            }
            3 => {
                let mut room = [0; 777];
                let read = side.conn.poll_read(stream, &noop(), &mut room);
                assert_eq!(read, Poll::Ready(Ok(777)));
            }
            _ => {}
        }
        side.conn.release(stream, 0);
        sent += 10_000;
        if matches!(at % 5, 1 | 3 | 4) {
            // It was under way.
            side.feed(&data(number, [0; 5000], true));
            sent += 5000;
        }
        granted += i64::from(updates(&side.take(), 0));
        assert_eq!(side.failed, None, "{at}");
        assert!(granted - sent >= 32_000, "{at}: {}", granted - sent);
        side.now_ms += 1000;
    }
    assert_eq!(side.conn.active(), 0);
}

/// DATA whose stream is given up while half of the frame has come.
#[test]
fn windows_of_half_a_frame() {
    let mut side = Side::server_with(small(), &[]);
    let (mut granted, mut sent) = (65_535_i64, 0);
    for at in 0..60_u32 {
        let number = 2 * at + 1;
        side.feed(&post(number));
        let stream = side.opened.pop().unwrap();
        let bytes = match at % 2 {
            0 => data(number, [0; 9000], false),
            _ => frame(DATA, PADDED, number, &[&[255][..], &[0; 8999]].concat()),
        };
        let (first, rest) = bytes.split_at(5000);
        side.feed(first);
        if at % 3 == 0 {
            assert!(side.read(stream).0.len() > 4000);
        }
        match at % 4 {
            0 => side.conn.reset(stream, ErrorCode::CANCEL, 0),
            1 => side.conn.release(stream, 0),
            _ => {}
        }
        side.feed(rest);
        side.conn.release(stream, 0);
        sent += 9000;
        granted += i64::from(updates(&side.take(), 0));
        assert!(granted - sent >= 32_000, "{at}: {}", granted - sent);
    }
    assert!(side.is_alive());
}

/// An idle connection, and one whose client has asked for all sorts of things.
#[test]
fn memory_of_an_idle_connection() {
    let mut side = Side::server();
    for at in 0..50 {
        let number = 2 * at + 1;
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
        ];
        side.feed(&headers(number, block(&fields), at % 2 == 0));
        if at % 2 == 1 {
            side.feed(&data(number, [0; 10_000], true));
        }
        let stream = side.opened.pop().unwrap();
        assert!(matches!(side.head(stream), Poll::Ready(Ok(_))));
        assert!(matches!(side.read(stream).1, Poll::Ready(Ok(()))));
        let head = [
            (":status", "200"),
            ("content-type", "text/html"),
            ("server", "x"),
        ];
        side.answer(stream, &head, false);
        assert_eq!(
            side.send(stream, &[0; 30_000], true),
            Poll::Ready(Ok(30_000))
        );
        side.conn.release(stream, 0);
        side.take();
        side.feed(&window_update(0, 30_000));
    }
    side.conn.trim();
    let held = side.conn.held_bytes();
    let own = size_of::<Connection>();
    assert!(held + own <= 2048, "{held} beside {own}");
}

/// Streams that come while a server drains are taken until the client has heard of it.
#[test]
fn a_servers_drain() {
    let mut side = Side::server();
    side.feed(&headers(1, POST, true));
    side.conn.drain();
    let frames = side.take();
    assert_eq!(frames[0].kind, GOAWAY);
    assert_eq!(
        (frames[0].number(0), frames[0].code()),
        (0x7fff_ffff, NO_ERROR)
    );
    let ping_frame = frames.iter().find(|frame| frame.kind == PING).unwrap();
    assert!(!ping_frame.has(ACK));
    assert!(!side.conn.is_over());
    side.feed(&headers(3, POST, true));
    assert_eq!(side.opened.len(), 2);
    let payload = ping_frame.payload.as_slice().try_into().unwrap();
    side.feed(&ping(true, payload));
    let frames = side.take_essential();
    assert_eq!((frames[0].number(0), frames[0].code()), (3, NO_ERROR));
    // Nobody looks at what comes now, and nobody minds.
    side.feed(&[post(5), data(5, b"x", false), window_update(5, 9)].concat());
    side.feed(&[headers(5, b"", true), reset(5, CANCEL)].concat());
    assert_eq!((side.opened.len(), side.failed), (2, None));
    assert_eq!(side.take_essential(), []);
    for stream in side.opened.clone() {
        assert!(!side.conn.is_over());
        side.answer(stream, &[(":status", "200")], true);
        side.conn.release(stream, 0);
    }
    assert!(side.conn.is_over());
    assert_eq!(side.take_essential().len(), 2);
}

/// RFC 9113, 8.1: an answer that is whole does not need the rest of its request.
#[test]
fn releases_say_why() {
    for (answered, code) in [(true, NO_ERROR), (false, CANCEL)] {
        let mut side = Side::server();
        side.feed(&post(1));
        let stream = side.opened[0];
        if answered {
            side.answer(stream, &[(":status", "200")], true);
        }
        side.conn.release(stream, 0);
        let frames = side.take_essential();
        let last = frames.last().unwrap();
        assert_eq!((last.kind, last.code()), (RST_STREAM, code));
        assert_eq!(side.conn.active(), 0);
        // Whoever holds it still gets nothing of the next stream in its place.
        side.feed(&post(3));
        assert_eq!(side.head(stream), Poll::Ready(Err(StreamError::Lost)));
        assert_eq!(side.failure(stream), Some(StreamError::Lost));
    }
    let mut side = Side::client();
    let stream = side.open(true);
    side.take();
    side.conn.release(stream, 0);
    let frames = side.take_essential();
    assert_eq!((frames[0].kind, frames[0].code()), (RST_STREAM, CANCEL));
}

/// Whoever owns the socket is woken for all that it has to write, and when there is nothing more to do.
#[test]
fn the_owner_of_the_socket_is_woken() {
    let mut side = Side::server_with(small(), &[]);
    let io = Woken::new();
    side.feed(&[post(1), post(3), post(5), post(7)].concat());
    for stream in [1, 3, 5, 7] {
        side.feed(&data(stream, [0; 10_000], stream < 7));
    }
    let [one, three, five, seven] = side.opened[..] else {
        panic!("four streams");
    };
    side.take();
    let mut does = |what: &str, act: &mut dyn FnMut(&mut Side)| {
        io.take();
        side.conn.set_io_waker(&io.clone().into());
        act(&mut side);
        assert!(io.is_woken(), "{what}");
        assert!(!side.take().is_empty() || what == "over", "{what}");
    };
    let head: [(&str, &str); 1] = [(":status", "200")];
    does("a head", &mut |side| side.answer(one, &head, false));
    does("content", &mut |side| {
        assert!(side.send(one, b"x", false).is_ready());
    });
    does("trailers", &mut |side| {
        let sent = side.conn.send_trailers(one, pairs(&[("x", "y")]), 0);
        assert_eq!(sent, Ok(()));
    });
    does("a whole head", &mut |side| side.answer(three, &head, true));
    does("PING", &mut |side| side.conn.ping());
    does("a head", &mut |side| side.answer(five, &head, false));
    does("an end", &mut |side| {
        assert_eq!(side.conn.end_stream(five, 0), Ok(()));
    });
    does("windows of what is not read", &mut |side| {
        for stream in [one, three, five] {
            side.conn.release(stream, 0);
        }
        side.conn.reset(seven, ErrorCode::CANCEL, 0);
    });
    does("GOAWAY", &mut |side| side.conn.drain());
    does("over", &mut |side| side.conn.lost());

    // The same by itself: all three are closed, and what nobody reads is more than half of the window.
    let mut side = Side::server_with(small(), &[]);
    for at in [1, 3] {
        side.feed(&post(at));
        for last in [false, true] {
            side.feed(&data(at, [0; 10_000], last));
        }
        let stream = *side.opened.last().unwrap();
        side.answer(stream, &head, true);
    }
    side.take();
    side.conn.release(side.opened[0], 0);
    assert_eq!(side.take(), []);
    io.take();
    side.conn.set_io_waker(&io.clone().into());
    side.conn.release(side.opened[1], 0);
    assert!(io.is_woken());
    assert_eq!(updates(&side.take(), 0), 40_000);
}

#[test]
fn pings_of_ours() {
    let mut side = Side::server();
    side.conn.ping();
    let frames = side.take();
    assert_eq!((frames.len(), frames[0].kind), (1, PING));
    assert!(!side.conn.take_pong());
    side.feed(&ping(true, *b"another!"));
    assert!(!side.conn.take_pong());
    side.feed(&ping(
        true,
        frames[0].payload.as_slice().try_into().unwrap(),
    ));
    assert!(side.conn.take_pong() && !side.conn.take_pong());
}

/// A peer that asks and does not read the answers is not read from either.
#[test]
fn answers_that_nobody_reads() {
    let limits = keel_http2::H2GuardLimits {
        pings_max: u32::MAX,
        ..config().limits
    };
    let mut side = Side::server_with(Config { limits, ..config() }, &[]);
    let mut pings = 0;
    while side.conn.wants_bytes() {
        side.feed(&ping(false, [0; 8]));
        pings += 1;
        assert!(pings < 20_000);
    }
    assert!(side.conn.out().len() < 200_000);
    side.take();
    assert!(side.conn.wants_bytes());
}
