//! What a client may do, by the list of h2spec's generic cases: it is understood, and nothing is wrong.

use std::task::Poll;

use crate::cases::*;
use crate::side::*;
use crate::wire::*;

fn post(more: &[u8], ends: bool) -> Vec<u8> {
    headers(1, [POST, more].concat(), ends)
}

fn head(ends: bool) -> Vec<u8> {
    headers(1, POST, ends)
}

fn whole(stream: u32) -> Vec<u8> {
    headers(stream, POST, true)
}

fn padded(stream: u32, kind: u8, flags: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let zeros = vec![0; usize::from(padding)];
    let payload = [&[padding][..], content, &zeros].concat();
    frame(kind, flags | PADDED, stream, &payload)
}

#[rustfmt::skip]
fn frames_that_are_right() -> Vec<Case> {
    let priority = |stream, on, exclusive, weight| frame(PRIORITY, 0, stream, &dependency(on, exclusive, weight));
    let with_priority = [&dependency(0, false, 200)[..], POST].concat();
    let exclusive = [&dependency(5, true, 255)[..], POST].concat();
    let mut both = vec![9];
    both.extend(dependency(3, false, 0));
    both.extend(POST);
    both.extend([0; 9]);
    let (first, rest) = POST.split_at(2);
    vec![
        ("1/1 the preface alone", vec![], Fine),
        ("2/1 PRIORITY on an idle stream", vec![priority(1, 0, false, 255)], Fine),
        ("2/2 WINDOW_UPDATE on half-closed", vec![whole(1), window_update(1, 100)], Fine),
        ("2/3 PRIORITY on half-closed", vec![whole(1), priority(1, 0, false, 255)], Fine),
        ("2/4 RST_STREAM on half-closed", vec![whole(1), reset(1, CANCEL)], Fine),
        ("2/5 PRIORITY on closed", vec![whole(1), reset(1, CANCEL), priority(1, 0, true, 1)], Fine),
        ("WINDOW_UPDATE on closed", vec![whole(1), reset(1, CANCEL), window_update(1, 9)], Fine),
        ("RST_STREAM on closed", vec![whole(1), reset(1, CANCEL), reset(1, CANCEL)], Fine),
        ("3.1/1 DATA", vec![head(false), data(1, "test", true)], Fine),
        ("3.1/2 DATA more than once", vec![head(false), data(1, "test", false), data(1, "test", true)], Fine),
        ("3.1/3 padded DATA", vec![head(false), padded(1, DATA, END_STREAM, b"test", 255)], Fine),
        ("DATA of padding alone", vec![head(false), padded(1, DATA, END_STREAM, b"", 9)], Fine),
        ("DATA with the length of padding alone", vec![head(false), padded(1, DATA, END_STREAM, b"", 0)], Fine),
        ("empty DATA", vec![head(false), data(1, "", false), data(1, "", true)], Fine),
        ("DATA as long as allowed", vec![head(false), data(1, [7; FRAME_MAX], true)], Fine),
        ("3.2/1 HEADERS", vec![whole(1)], Fine),
        ("3.2/2 padded HEADERS", vec![padded(1, HEADERS, END_HEADERS | END_STREAM, POST, 77)], Fine),
        ("3.2/3 HEADERS with priority", vec![frame(HEADERS, 0x25, 1, &with_priority)], Fine),
        ("exclusive, on an idle stream", vec![frame(HEADERS, 0x25, 1, &exclusive)], Fine),
        ("with padding and priority", vec![frame(HEADERS, 0x2d, 1, &both)], Fine),
        ("3.3/1 weight 1", vec![priority(1, 0, false, 0)], Fine),
        ("3.3/2 weight 256", vec![priority(1, 0, false, 255)], Fine),
        ("3.3/3 a dependency", vec![priority(1, 0, false, 255), priority(3, 1, false, 255)], Fine),
        ("3.3/4 exclusive", vec![priority(1, 0, false, 255), priority(3, 1, true, 255)], Fine),
        ("3.3/5 PRIORITY on idle, HEADERS below", vec![priority(3, 0, false, 255), whole(1)], Fine),
        ("3.4/1 RST_STREAM", vec![head(false), reset(1, CANCEL)], Fine),
        ("3.5/1 SETTINGS", vec![settings(&[(INITIAL_WINDOW_SIZE, 100), (MAX_FRAME_SIZE, 20_000)])], Fine),
        ("3.7/1 PING", vec![ping(false, [1; 8])], Fine),
        ("PING ACK that nobody asked for", vec![ping(true, [1; 8])], Fine),
        ("3.9/1 WINDOW_UPDATE of the connection", vec![window_update(0, 1)], Fine),
        ("3.9/2 WINDOW_UPDATE of a stream", vec![head(false), window_update(1, 1)], Fine),
        ("3.10/1 CONTINUATION", vec![frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)], Fine),
        ("3.10/2 more than one", vec![frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, 0, 1, &rest[..3]), frame(CONTINUATION, END_HEADERS, 1, &rest[3..])], Fine),
        ("an empty HEADERS frame", vec![frame(HEADERS, END_STREAM, 1, b""), frame(CONTINUATION, END_HEADERS, 1, POST)], Fine),
        ("an empty CONTINUATION", vec![frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, 0, 1, b""), frame(CONTINUATION, END_HEADERS, 1, rest)], Fine),
        ("4/4 trailers", vec![head(false), data(1, "test", false), headers(1, block(&[("x-test", "ok")]), true)], Fine),
        ("trailers without content", vec![head(false), headers(1, block(&[("x-test", "ok")]), true)], Fine),
        ("empty trailers", vec![head(false), headers(1, b"", true)], Fine),
        ("PRIORITY_UPDATE", vec![frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"), whole(1)], Fine),
        ("numbers that are skipped", vec![whole(7), whole(101)], Fine),
    ]
}

#[test]
fn what_is_right() {
    run(frames_that_are_right(), Side::server);
}

#[test]
fn settings_come_first() {
    let mut side = Side::fresh_server(config());
    let frames = side.take();
    assert_eq!(frames[0].kind, SETTINGS, "{frames:?}");
    let pairs = frames[0].settings();
    for wanted in [
        (INITIAL_WINDOW_SIZE, 65_536),
        (MAX_CONCURRENT_STREAMS, 100),
        (MAX_HEADER_LIST_SIZE, 65_536),
        (ENABLE_CONNECT_PROTOCOL, 1),
        (NO_RFC7540_PRIORITIES, 1),
    ] {
        assert!(pairs.contains(&wanted), "{wanted:?} in {pairs:?}");
    }
    let updates: u32 = frames[1..]
        .iter()
        .filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0)
        .map(|frame| frame.number(0))
        .sum();
    assert_eq!(updates, 131_072 - 65_535);
    side.feed(&[PREFACE, &settings(&[])].concat());
    let frames = side.take();
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert!(frames[0].kind == SETTINGS && frames[0].has(ACK));
}

/// Answers to frames that ask for one.
#[test]
fn settings_and_pings_are_acknowledged() {
    let mut side = Side::server();
    side.feed(&settings(&[(0x99, 7), (ENABLE_PUSH, 0)]));
    side.feed(&settings(&[]));
    let frames = side.take();
    assert_eq!(frames.len(), 2, "{frames:?}");
    for ack in &frames {
        assert_eq!((ack.kind, ack.flags, ack.stream), (SETTINGS, ACK, 0));
        assert!(ack.payload.is_empty());
    }
    side.feed(&ping(false, *b"h2spec\0\0"));
    let frames = side.take();
    assert_eq!(frames.len(), 1);
    assert_eq!(
        (frames[0].kind, frames[0].flags, &frames[0].payload[..]),
        (PING, ACK, &b"h2spec\0\0"[..])
    );
    side.feed(&ping(true, *b"h2spec\0\0"));
    side.feed(&settings_ack());
    assert_eq!(side.take(), []);
    assert!(!side.conn.take_pong(), "no PING of ours went out");
}

/// 3.8/1: streams that are there go on, and then it is over.
#[test]
fn goaway_of_a_client() {
    let mut side = Side::server();
    side.feed(&whole(1));
    side.feed(&goaway(0, NO_ERROR));
    assert!(!side.conn.is_over());
    let stream = side.opened[0];
    side.answer(stream, &[(":status", "200")], true);
    assert_eq!(side.conn.active(), 0);
    side.conn.release(stream, 0);
    assert!(side.conn.is_over());
    let mut side = Side::server();
    side.feed(&goaway(0, PROTOCOL_ERROR));
    assert!(side.conn.is_over());
}

/// A request as it came, and its answer as a client gets it.
#[test]
fn request_and_answer() {
    let mut side = Side::server();
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/a?b#c"),
        (":authority", "test.example"),
        ("cookie", "a"),
        ("cookie", "b"),
        ("content-length", "8"),
        ("X-Upper", " kept as it is "),
    ];
    side.feed(&headers(1, block(&fields), false));
    let stream = side.opened[0];
    assert_eq!((stream.id(), side.conn.active()), (1, 1));
    let (got, ended) = match side.head(stream) {
        Poll::Ready(Ok(head)) => head,
        other => panic!("{other:?}"),
    };
    let wanted: Vec<(String, String)> = fields.map(|(n, v)| (n.into(), v.into())).to_vec();
    assert_eq!((text(&got), ended), (wanted, false));
    assert_eq!(side.read(stream), (vec![], Poll::Pending));
    side.feed(&data(1, "1234", false));
    assert_eq!(side.read(stream), (b"1234".to_vec(), Poll::Pending));
    assert!(!side.conn.is_received(stream));
    side.feed(&data(1, "5678", false));
    let trailers = block(&[("x-sum", "9"), ("x-more", "")]);
    side.feed(&headers(1, trailers, true));
    assert_eq!(side.read(stream), (b"5678".to_vec(), Poll::Ready(Ok(()))));
    assert!(!side.conn.is_received(stream), "there are trailers");
    let lines = side.conn.take_trailers(stream);
    assert_eq!(
        lines,
        b"x-sum: 9\r\nx-more: \r\n",
        "{}",
        lines.escape_ascii()
    );
    side.answer(stream, &[(":status", "103"), ("Link", "x")], false);
    side.answer(stream, &[(":status", "200"), ("X-Up", "UP")], false);
    assert_eq!(side.send(stream, b"hello", false), Poll::Ready(Ok(5)));
    assert!(!side.conn.has_ended(stream));
    let sent = side
        .conn
        .send_trailers(stream, pairs(&[("Grpc-Status", "0")]), 0);
    assert_eq!(sent, Ok(()));
    assert!(side.conn.has_ended(stream));
    answer_is_whole(&mut side);
    assert_eq!(side.conn.active(), 0);
    side.conn.release(stream, 0);
    assert_eq!(side.take_essential(), []);
}

fn answer_is_whole(side: &mut Side) {
    let (mut content, mut lists) = (Vec::<u8>::new(), Vec::new());
    for frame in side.take_essential() {
        if frame.kind == DATA {
            content.extend(&frame.payload);
            assert!(!frame.has(END_STREAM));
        } else if let Some((stream, fields, ends)) = side.blocks.feed(&frame) {
            assert_eq!(stream, 1);
            lists.push((text(&fields), ends));
        }
    }
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let wanted = [
        (vec![pair(":status", "103"), pair("link", "x")], false),
        (vec![pair(":status", "200"), pair("x-up", "UP")], false),
        (vec![pair("grpc-status", "0")], true),
    ];
    assert_eq!(lists, wanted);
    assert_eq!(content, b"hello");
}

/// h2spec's `hpack` list: every representation is read.
#[test]
fn representations_of_fields() {
    let indexed = b"\x83\x86\x84\x41\x04test";
    let cases: &[(&str, &[u8], &str, &str)] = &[
        ("5/1 indexed", b"\x90", "accept-encoding", "gzip, deflate"),
        (
            "5/2 incremental, known name",
            b"\x7a\x01a",
            "user-agent",
            "a",
        ),
        ("5/3 the same, Huffman", b"\x7a\x81\x1f", "user-agent", "a"),
        ("5/4 incremental, new name", b"\x40\x01x\x01a", "x", "a"),
        ("5/5 the same, Huffman", b"\x40\x81\xf3\x81\x1f", "x", "a"),
        (
            "5/6 without indexing, known name",
            b"\x0f\x2b\x01a",
            "user-agent",
            "a",
        ),
        (
            "5/8 without indexing, new name",
            b"\x00\x01x\x01a",
            "x",
            "a",
        ),
        (
            "5/10 never indexed, known name",
            b"\x1f\x2b\x01a",
            "user-agent",
            "a",
        ),
        ("5/12 never indexed, new name", b"\x10\x01x\x01a", "x", "a"),
        ("the dynamic table", b"\x40\x01x\x01a\xbe", "x", "a"),
        (
            "a name of the dynamic table",
            b"\x40\x01x\x01a\x0f\x2f\x01b",
            "x",
            "b",
        ),
    ];
    for (what, more, name, value) in cases {
        let mut side = Side::server();
        side.feed(&headers(1, [indexed, *more].concat(), true));
        assert_eq!(side.failed, None, "{what}");
        let stream = side.opened[0];
        let Poll::Ready(Ok((fields, true))) = side.head(stream) else {
            panic!("{what}");
        };
        let last = text(&fields).pop().unwrap();
        assert_eq!(last, ((*name).to_owned(), (*value).to_owned()), "{what}");
    }
}

#[test]
fn sizes_of_the_table_and_of_fields() {
    run(
        vec![
            (
                "5/14 sizes of the table",
                vec![headers(1, [b"\x20\x3f\xe1\x1f", POST].concat(), true)],
                Fine,
            ),
            (
                "5/15 more than one",
                vec![headers(1, [b"\x20\x3e", POST].concat(), true)],
                Fine,
            ),
            (
                "table of its full size again",
                vec![headers(1, [b"\x3f\xe1\x1f", POST].concat(), true)],
                Fine,
            ),
            (
                "a long field",
                vec![post(&block(&[("x", "v".repeat(8000).as_str())]), true)],
                Fine,
            ),
        ],
        Side::server,
    );
}
