//! What breaks the protocol, and what the library does not look at.

use super::tests::{frame, headers, meter, reset};
use super::*;

#[test]
fn lengths_of_frames() {
    use H2Abuse::{FrameLength, FrameTooLong};
    for (kind, flags, len, found) in [
        (DATA, 0, 16_385, FrameTooLong),
        (HEADERS, END_HEADERS, 16_385, FrameTooLong),
        (DATA, PADDED, 0, FrameLength),
        (HEADERS, PADDED, 0, FrameLength),
        (HEADERS, PRIORITY_FLAG, 4, FrameLength),
        (HEADERS, PADDED | PRIORITY_FLAG, 5, FrameLength),
        (PRIORITY, 0, 4, FrameLength),
        (RST_STREAM, 0, 3, FrameLength),
        (RST_STREAM, 0, 5, FrameLength),
        (SETTINGS, 0, 5, FrameLength),
        (SETTINGS, ACK, 6, FrameLength),
        (PING, 0, 7, FrameLength),
        (PING, ACK, 9, FrameLength),
        (GOAWAY, 0, 7, FrameLength),
        (WINDOW_UPDATE, 0, 3, FrameLength),
        (WINDOW_UPDATE, 0, 5, FrameLength),
    ] {
        let bytes = frame(kind, flags, 1, &vec![0; len]);
        assert_eq!(meter().feed(&bytes, 0), Err(found), "{kind} {len}");
        assert_eq!(found.code(), 6);
    }
}

/// Each ends with the error code that RFC 9113 asks for.
#[test]
fn breaches_and_their_codes() {
    let head = frame(HEADERS, END_HEADERS, 1, b"\x82");
    let ended = headers(1);
    for (frames, code) in [
        (vec![frame(PUSH_PROMISE, 0, 1, &[0; 9])], 1),
        (vec![frame(SETTINGS, 0, 0, b"\0\x04\x80\0\0\0")], 3),
        (vec![ended.clone(), frame(DATA, 0, 1, b"x")], 5),
        (vec![ended.clone(), ended.clone()], 5),
        (
            vec![
                frame(HEADERS, END_STREAM, 1, b"\x82"),
                frame(DATA, 0, 1, b"x"),
            ],
            1,
        ),
        (vec![head.clone(), reset(1, 8), ended.clone()], 5),
        (vec![frame(HEADERS, END_HEADERS, 1, b"\x40")], 9),
        (vec![frame(HEADERS, END_HEADERS, 1, b"\xbe")], 9),
        (
            vec![
                frame(HEADERS, 0, 1, b"\x40"),
                frame(CONTINUATION, END_HEADERS, 1, b"\x01"),
            ],
            9,
        ),
    ] {
        let found = meter().feed(&frames.concat(), 0);
        assert_eq!(found.map_err(H2Abuse::code), Err(code), "{frames:?}");
    }
    // What the library answers rightly by itself.
    for frames in [
        vec![headers(5), headers(3)],
        vec![frame(DATA, 0, 1, b"x")],
        vec![headers(2), frame(DATA, 0, 2, b"x")],
        vec![head.clone(), reset(1, 8), frame(DATA, 0, 1, b"x")],
        vec![frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0x40])],
        vec![frame(CONTINUATION, END_HEADERS, 1, b"\x40")],
    ] {
        assert_eq!(meter().feed(&frames.concat(), 0), Ok(()), "{frames:?}");
    }
}

/// Padding and a priority are no part of a block, in however many frames it comes.
#[test]
fn blocks_with_all_that_may_stand_around_them() {
    let first = [&[3][..], &[0; 5], b"\x82\x40\x01x\x03a", &[0; 3]].concat();
    let flags = PADDED | PRIORITY_FLAG | END_STREAM;
    let mut meter = meter();
    let frames = [
        frame(HEADERS, flags, 1, &first),
        frame(CONTINUATION, 0, 1, b"b"),
        frame(CONTINUATION, END_HEADERS, 1, b"c"),
        frame(HEADERS, END_HEADERS, 3, b"\xbe"),
    ];
    meter.feed(&frames.concat(), 0).unwrap();
    let beyond = frame(HEADERS, END_HEADERS, 5, b"\xbf");
    assert_eq!(meter.feed(&beyond, 0), Err(H2Abuse::Compression));
}

#[test]
fn pseudo_header_fields_of_trailers_are_told() {
    let mut meter = meter();
    for stream in [1, 3] {
        let head = frame(HEADERS, END_HEADERS, stream, b"\x82");
        meter.feed(&head, 0).unwrap();
        assert!(!meter.has_malformed_trailers(stream));
    }
    let bad = frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x0f\x13\x01a\x84");
    meter.feed(&bad, 0).unwrap();
    let good = frame(HEADERS, END_STREAM | END_HEADERS, 3, b"\x0f\x13\x01a");
    meter.feed(&good, 0).unwrap();
    assert!(meter.has_malformed_trailers(1) && !meter.has_malformed_trailers(3));
    meter.stream_over(1);
    assert!(!meter.has_malformed_trailers(1));
}

/// Tiny frames that nobody takes hold reading up, and nothing else.
#[test]
fn data_that_waits() {
    let mut meter = meter();
    let head = frame(HEADERS, END_HEADERS, 1, b"\x82");
    meter.feed(&head, 0).unwrap();
    let tiny = frame(DATA, 0, 1, &[0; 16]);
    for _ in 0..512 {
        assert!(!meter.is_full());
        meter.feed(&tiny, 0).unwrap();
    }
    assert!(meter.is_full());
    meter.data_taken(1, 1);
    assert!(!meter.is_full());
    meter.feed(&tiny, 0).unwrap();
    assert!(meter.is_full());
    meter.stream_over(1);
    assert!(!meter.is_full());
    meter.feed(&tiny.repeat(10_000), 0).unwrap();
    assert!(!meter.is_full(), "it is thrown away");
}
