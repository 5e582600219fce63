//! Floods in virtual time, fair clients, and that the cut of the input makes no difference.

use super::*;
use proptest::prelude::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

pub(super) fn meter() -> FrameMeter {
    FrameMeter::new(H2GuardLimits::default(), false, 0)
}

pub(super) fn headers(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x82\x84\x86")
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// How many times `bytes` may come at `now_ms` before something is found, and what it is.
fn until_abuse(meter: &mut FrameMeter, bytes: &[u8], now_ms: u64) -> (usize, H2Abuse) {
    for count in 0..200_000 {
        if let Err(abuse) = meter.feed(bytes, now_ms) {
            assert_eq!(meter.verdict(), Some(abuse));
            assert_eq!(meter.feed(b"", now_ms), Err(abuse), "a verdict stays");
            assert_eq!(meter.feed_sent(b"", now_ms), Err(abuse));
            return (count, abuse);
        }
    }
    panic!("nothing found");
}

#[test]
fn every_flood_ends_at_its_limit() {
    for (bytes, count, abuse) in [
        (reset(1, 8), 200, H2Abuse::RapidReset),
        (frame(PING, 0, 0, &[0; 8]), 100, H2Abuse::PingFlood),
        (frame(PING, 1, 0, &[0; 8]), 100, H2Abuse::PingFlood),
        (frame(SETTINGS, 0, 0, &[]), 32, H2Abuse::SettingsFlood),
        (frame(SETTINGS, 1, 0, &[]), 32, H2Abuse::SettingsFlood),
        (frame(PRIORITY, 0, 1, &[0; 5]), 500, H2Abuse::PriorityFlood),
        (
            frame(PRIORITY_UPDATE, 0, 0, &[0; 5]),
            500,
            H2Abuse::PriorityFlood,
        ),
        (frame(0xbe, 0, 0, b"x"), 10_000, H2Abuse::OtherFlood),
        (frame(GOAWAY, 0, 0, &[0; 8]), 10_000, H2Abuse::OtherFlood),
        (frame(DATA, 0, 1, b""), 100, H2Abuse::EmptyDataFlood),
        (
            frame(DATA, PADDED, 1, &[9; 10]),
            100,
            H2Abuse::EmptyDataFlood,
        ),
        (
            frame(DATA, PADDED, 1, b"\xff"),
            100,
            H2Abuse::EmptyDataFlood,
        ),
        (
            frame(DATA, 0, 1, &[0; 15]),
            100_000,
            H2Abuse::SmallDataFlood,
        ),
        (
            frame(DATA, PADDED, 1, &[99; 101]),
            100_000,
            H2Abuse::SmallDataFlood,
        ),
        (
            frame(WINDOW_UPDATE, 0, 1, &[0; 4]),
            10_000,
            H2Abuse::WindowUpdateFlood,
        ),
        (
            frame(CONTINUATION, 0, 1, b"x"),
            10,
            H2Abuse::ContinuationFlood,
        ),
        (
            frame(CONTINUATION, 0, 1, b""),
            1,
            H2Abuse::EmptyContinuation,
        ),
        (
            frame(CONTINUATION, 0, 1, &[0; 16384]),
            4,
            H2Abuse::HeaderBlockTooLong,
        ),
        (frame(DATA, 0, 1, &[0; 16385]), 0, H2Abuse::FrameTooLong),
    ] {
        let found = until_abuse(&mut meter(), &bytes, 7);
        assert_eq!(found, (count, abuse), "{:?}", &bytes[..9]);
    }
}

#[test]
fn what_has_no_limit() {
    let mut meter = meter();
    for stream in 0..50_000u32 {
        let id = 2 * stream + 1;
        meter
            .feed(&frame(HEADERS, END_HEADERS, id, b"\x82"), 0)
            .unwrap();
        meter.feed(&frame(DATA, 0, id, &[0; 16]), 0).unwrap();
        meter.feed(&frame(DATA, END_STREAM, id, b""), 0).unwrap();
    }
    assert_eq!(meter.streams_opened(), 50_000);
}

#[test]
fn windows_pass() {
    let ping = frame(PING, 0, 0, &[0; 8]);
    let mut meter = meter();
    for round in 0..5 {
        for _ in 0..100 {
            meter.feed(&ping, round * 10_000).unwrap();
        }
    }
    assert_eq!(
        until_abuse(&mut meter, &ping, 49_999),
        (0, H2Abuse::PingFlood)
    );
}

#[test]
fn a_rapid_reset_ends_after_400_at_most() {
    let mut meter = meter();
    let mut attack = |from: u32, now_ms, count| {
        (0..count).find(|n| {
            let id = 2 * (from + n) + 1;
            meter.feed(&headers(id), now_ms).unwrap();
            meter.feed(&reset(id, 8), now_ms).is_err()
        })
    };
    // The first opens the window; the rest comes at its end and at the beginning of the next.
    assert_eq!(attack(0, 0, 1), None);
    assert_eq!(attack(1, 29_999, 199), None);
    assert_eq!(attack(200, 30_000, 1000), Some(200));
    assert_eq!(meter.streams_opened(), 401);
}

#[test]
fn answers_that_were_sent_make_resets_fair() {
    let mut meter = meter();
    for stream in 0..5000u32 {
        let id = 2 * stream + 1;
        meter.feed(&headers(id), 0).unwrap();
        if stream % 2 == 0 {
            meter.feed(&reset(id, 8), 0).unwrap();
        } else {
            meter
                .feed_sent(&frame(HEADERS, END_HEADERS, id, b"\x88"), 0)
                .unwrap();
            meter
                .feed_sent(&frame(DATA, END_STREAM, id, b"hello"), 0)
                .unwrap();
        }
    }
    assert_eq!(
        until_abuse(&mut meter, &reset(1, 8), 0),
        (200, H2Abuse::RapidReset)
    );
}

#[test]
fn streams_beyond_what_we_announced_count_as_resets() {
    let mut meter = meter();
    for _ in 0..200 {
        meter.feed_sent(&reset(1, REFUSED_STREAM), 0).unwrap();
    }
    assert_eq!(
        meter.feed_sent(&reset(1, REFUSED_STREAM), 0),
        Err(H2Abuse::RapidReset)
    );
}

#[test]
fn made_you_reset() {
    let mut meter = meter();
    // Our own reasons are not the client's fault.
    for code in [0, 2, 8, 11] {
        for _ in 0..100 {
            meter.feed_sent(&reset(1, code), 0).unwrap();
        }
    }
    for round in 0..50 {
        let code = CLIENT_ERRORS[round % 4];
        meter.feed_sent(&reset(1, code), 0).unwrap();
    }
    assert_eq!(meter.feed_sent(&reset(1, 1), 0), Err(H2Abuse::MadeYouReset));
}

#[test]
fn a_fast_download_and_its_pings_are_fair() {
    let mut meter = meter();
    for _ in 0..100_000 {
        meter.feed_sent(&frame(DATA, 0, 1, &[0; 16384]), 0).unwrap();
        meter.feed(&frame(PING, 0, 0, &[0; 8]), 0).unwrap();
        meter.feed(&frame(DATA, 0, 1, b"tick"), 0).unwrap();
        for _ in 0..8 {
            meter.feed(&frame(WINDOW_UPDATE, 0, 1, &[0; 4]), 0).unwrap();
        }
    }
    assert_eq!(meter.bytes_sent(), 100_000 * 16393);
}

#[test]
fn large_data_makes_small_data_fair_by_its_bytes() {
    let mut meter = meter();
    meter.feed(&frame(DATA, 0, 1, &[0; 1600]), 0).unwrap();
    let small = frame(DATA, 0, 1, b"x");
    assert_eq!(
        until_abuse(&mut meter, &small, 0),
        (100_100, H2Abuse::SmallDataFlood)
    );
}

#[test]
fn header_blocks_and_their_age() {
    let mut meter = FrameMeter::new(H2GuardLimits::default(), true, 3);
    assert_eq!(meter.last_client_frame_ms(), 3);
    meter.feed(PREFACE, 4).unwrap();
    meter.feed(&frame(SETTINGS, 0, 0, &[]), 5).unwrap();
    assert_eq!(meter.header_block_since_ms(), None);
    let head = frame(HEADERS, 0, 1, b"\x82\x84\x86");
    meter.feed(&head[..8], 6).unwrap();
    assert_eq!(meter.last_client_frame_ms(), 5);
    meter.feed(&head[8..10], 7).unwrap();
    assert_eq!(meter.header_block_since_ms(), Some(7));
    meter.feed(&head[10..], 8).unwrap();
    let last = frame(CONTINUATION, END_HEADERS, 1, b"\x82\x84\x86");
    meter.feed(&last[..11], 9).unwrap();
    assert_eq!(
        meter.header_block_since_ms(),
        Some(7),
        "until its last byte"
    );
    assert_eq!(meter.last_client_frame_ms(), 9);
    meter.feed(&last[11..], 10).unwrap();
    assert_eq!(meter.header_block_since_ms(), None);
    // Trailers open no stream; a block in one frame is over at once; limits are for each block.
    for _ in 0..100 {
        meter.feed(&frame(HEADERS, 0, 1, &[0; 15999]), 11).unwrap();
        meter
            .feed(&frame(CONTINUATION, END_HEADERS, 1, b""), 11)
            .unwrap();
    }
    meter.feed(&headers(3), 12).unwrap();
    assert_eq!(meter.header_block_since_ms(), None);
    assert_eq!(meter.streams_opened(), 2);
    let block = frame(HEADERS, 0, 5, &[0; 16384]);
    let rest = frame(CONTINUATION, 0, 5, &[0; 16384]);
    meter
        .feed(&[&block[..], &rest, &rest, &rest].concat(), 13)
        .unwrap();
    let one = frame(CONTINUATION, END_HEADERS, 5, b"x");
    assert_eq!(meter.feed(&one, 13), Err(H2Abuse::HeaderBlockTooLong));
}

#[test]
fn names_are_unique_and_stable() {
    let mut names: Vec<_> = H2Abuse::ALL.iter().map(|abuse| abuse.name()).collect();
    assert!(
        names
            .iter()
            .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    );
    for (at, abuse) in H2Abuse::ALL.into_iter().enumerate() {
        assert_eq!(abuse.index(), at);
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), H2Abuse::ALL.len());
    assert_eq!(H2Abuse::RapidReset.name(), "rapid_reset");
}

/// Small limits, so that random frames reach them.
fn tight() -> H2GuardLimits {
    H2GuardLimits {
        resets_max: 2,
        error_resets_max: 2,
        pings_max: 2,
        settings_max: 2,
        priorities_max: 2,
        others_max: 3,
        empty_data_max: 2,
        small_data_max: 2,
        continuations_max: 3,
        unread_data_max: 3,
        header_block_bytes_max: 60,
        frame_bytes_max: 40,
        window_updates_max: 3,
        ..H2GuardLimits::default()
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..42);
    (0u8..18, any::<u8>(), 0u32..9, payload).prop_map(|(k, f, s, p)| frame(k, f, s, &p))
}

/// What can be seen of a meter.
fn state(meter: &FrameMeter) -> impl PartialEq + std::fmt::Debug {
    (
        meter.verdict(),
        meter.streams_opened(),
        meter.header_block_since_ms(),
        meter.last_client_frame_ms(),
    )
}

proptest! {
    #[test]
    fn the_cut_makes_no_difference(
        frames in prop::collection::vec((any::<bool>(), any_frame()), 0..24),
        preface: bool,
        sizes in prop::collection::vec(1usize..30, 1..20),
    ) {
        let mut whole = FrameMeter::new(tight(), preface, 0);
        let mut cut = whole.clone();
        if preface {
            prop_assert_eq!(whole.feed(PREFACE, 5), Ok(()));
            for byte in PREFACE {
                prop_assert_eq!(cut.feed(&[*byte], 5), Ok(()));
            }
        }
        let mut sizes = sizes.iter().cycle();
        for (sent, bytes) in &frames {
            let first = if *sent { whole.feed_sent(bytes, 5) } else { whole.feed(bytes, 5) };
            let (mut rest, mut second) = (bytes.as_slice(), Ok(()));
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                rest = after;
                second = if *sent { cut.feed_sent(piece, 5) } else { cut.feed(piece, 5) };
            }
            prop_assert_eq!(first, second);
            prop_assert_eq!(state(&whole), state(&cut));
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400), cut: prop::sample::Index) {
        let mut whole = FrameMeter::new(tight(), false, 0);
        let mut parts = whole.clone();
        let at = cut.index(bytes.len() + 1);
        let done = whole.feed(&bytes, 1);
        let _ = parts.feed(&bytes[..at], 1);
        prop_assert_eq!(done, parts.feed(&bytes[at..], 1));
        prop_assert_eq!(state(&whole), state(&parts));
    }
}
