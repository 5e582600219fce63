//! Clients that cost more than they may are sent away, by the frames that they send; servers are not counted.

use keel_http2::H2Abuse;

use crate::side::*;
use crate::wire::*;

type Flood = (H2Abuse, std::ops::Range<u32>, fn(&mut Side, u32));

/// Opens the stream of a number, once.
fn upload(side: &mut Side, number: u32) {
    side.feed(&headers(number, POST, false));
}

/// What floods, between how many times it is stopped, and one time of it.
fn floods() -> Vec<Flood> {
    vec![
        (H2Abuse::RapidReset, 200..402, |side, at| {
            upload(side, 2 * at + 1);
            side.feed(&reset(2 * at + 1, CANCEL));
        }),
        (H2Abuse::MadeYouReset, 50..102, |side, at| {
            upload(side, 2 * at + 1);
            side.feed(&window_update(2 * at + 1, 0));
        }),
        (H2Abuse::MadeYouReset, 50..102, |side, at| {
            upload(side, 2 * at + 1);
            side.feed(&window_update(2 * at + 1, 0x7fff_ffff));
        }),
        (H2Abuse::MadeYouReset, 50..102, |side, at| {
            upload(side, 2 * at + 1);
            upload(side, 2 * at + 1);
        }),
        (H2Abuse::PingFlood, 100..202, |side, _| {
            side.feed(&ping(false, [0; 8]))
        }),
        (H2Abuse::SettingsFlood, 31..66, |side, _| {
            side.feed(&settings(&[]))
        }),
        (H2Abuse::PriorityFlood, 500..1002, |side, at| {
            let on = dependency(0, false, 9);
            side.feed(&frame(PRIORITY, 0, 2 * at + 1, &on));
        }),
        (H2Abuse::PriorityFlood, 500..1002, |side, _| {
            side.feed(&frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"));
        }),
        (H2Abuse::OtherFlood, 10_000..20_002, |side, _| {
            side.feed(&frame(0x77, 0, 0, b""))
        }),
        (H2Abuse::EmptyDataFlood, 100..204, |side, at| {
            if at == 0 {
                upload(side, 1);
            }
            side.feed(&data(1, b"", false));
        }),
        (H2Abuse::EmptyDataFlood, 100..204, |side, at| {
            if at == 0 {
                upload(side, 1);
            }
            side.feed(&frame(DATA, PADDED, 1, &[3, 0, 0, 0]));
        }),
        (H2Abuse::WindowUpdateFlood, 10_000..20_002, |side, _| {
            side.feed(&window_update(0, 1))
        }),
        (H2Abuse::ContinuationFlood, 10..13, |side, at| {
            let kind = if at == 0 { HEADERS } else { CONTINUATION };
            side.feed(&frame(kind, 0, 1, b"\x82"));
        }),
        (H2Abuse::EmptyContinuation, 2..4, |side, at| {
            let kind = if at == 0 { HEADERS } else { CONTINUATION };
            side.feed(&frame(kind, 0, 1, b""));
        }),
        (H2Abuse::HeaderBlockTooLong, 3..6, |side, at| {
            let kind = if at == 0 { HEADERS } else { CONTINUATION };
            side.feed(&frame(kind, 0, 1, &[0x82; FRAME_MAX]));
        }),
    ]
}

#[test]
fn floods_are_stopped() {
    let mut wrong = Vec::new();
    for (at, (abuse, times, once)) in floods().into_iter().enumerate() {
        let mut side = Side::server();
        let mut time = 0;
        while side.failed.is_none() && time < times.end {
            once(&mut side, time);
            for stream in std::mem::take(&mut side.opened) {
                if side.failure(stream).is_some() {
                    side.conn.release(stream, 0);
                }
            }
            time += 1;
        }
        let frames = side.take();
        let said = frames.last().filter(|frame| frame.kind == GOAWAY);
        let said = said.map(Frame::code);
        let found = (side.failed, said, side.conn.is_over());
        if found != (Some(abuse), Some(ENHANCE_YOUR_CALM), true) || !times.contains(&time) {
            wrong.push(format!("{at}, {abuse:?}: {found:?} after {time}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A server may do all that; its header blocks have their limits nevertheless.
#[test]
fn servers_are_not_counted() {
    for (abuse, times, once) in floods() {
        let of_blocks = [
            H2Abuse::ContinuationFlood,
            H2Abuse::EmptyContinuation,
            H2Abuse::HeaderBlockTooLong,
        ];
        let of_frames = [
            H2Abuse::PingFlood,
            H2Abuse::SettingsFlood,
            H2Abuse::OtherFlood,
            H2Abuse::WindowUpdateFlood,
        ];
        let mut side = Side::client();
        if of_blocks.contains(&abuse) {
            side.open(true);
        } else if !of_frames.contains(&abuse) {
            continue;
        }
        for time in 0..times.end {
            once(&mut side, time);
            side.take();
        }
        let expected = of_blocks.contains(&abuse).then_some(abuse);
        assert_eq!(side.failed, expected);
    }
}

/// A list that is too large is cut and marked, and its table stays right: the request can be answered.
#[test]
fn lists_that_are_too_large() {
    let mut side = Side::server();
    let long = "v".repeat(10_000);
    let many: Vec<(&str, &str)> = (0..7).map(|_| ("x", long.as_str())).collect();
    let kept = [POST, b"\x40\x01y\x01z"].concat();
    let text = [&block(&many)[..], &kept].concat();
    assert!(text.len() < 5 * FRAME_MAX);
    let mut kind = HEADERS;
    let mut parts = text.chunks(FRAME_MAX - 1).peekable();
    while let Some(part) = parts.next() {
        let flags = END_STREAM * u8::from(kind == HEADERS);
        let last = END_HEADERS * u8::from(parts.peek().is_none());
        side.feed(&frame(kind, flags | last, 1, part));
        kind = CONTINUATION;
    }
    // 70 KB is beyond the block's limit as well.
    assert_eq!(side.failed, Some(H2Abuse::HeaderBlockTooLong));

    let mut side = Side::server();
    side.feed(&headers(
        1,
        [b"\x40\x01y\x7f\xa1\x1e", &[b'z'; 4000][..]].concat(),
        true,
    ));
    assert_eq!(side.failed, None);
    // From the table a small block becomes a large list.
    side.feed(&headers(3, [&[0xbe; 100][..], b"\x82"].concat(), true));
    let stream = side.opened[1];
    let std::task::Poll::Ready(Ok(head)) = side.conn.poll_head(stream, &noop()) else {
        panic!("no head");
    };
    assert!(head.fields.is_over());
    assert!(head.fields.held_bytes() < 200_000);
    side.answer(stream, &[(":status", "431")], true);
    assert!(side.is_alive());
}
