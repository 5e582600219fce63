//! Floods in virtual time, and fair clients.

use super::*;
use crate::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PUSH_PROMISE, RST_STREAM,
};
use proptest::prelude::*;

/// What of a frame the guard is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Bytes of the payload.
    pub(super) length: u32,
    pub(super) padding: u32,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, length: u32) -> Frame {
    Frame {
        kind,
        flags,
        stream,
        length,
        padding: 0,
    }
}

pub(super) fn headers(stream: u32) -> Frame {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, 3)
}

pub(super) fn reset(stream: u32) -> Frame {
    frame(RST_STREAM, 0, stream, 4)
}

/// A connection that only knows which streams were opened.
pub(super) struct Model {
    pub(super) guard: Guard,
    last: u32,
    opened: u32,
}

impl Model {
    pub(super) fn new(limits: H2GuardLimits) -> Model {
        Model {
            guard: Guard::new(limits, 0),
            last: 0,
            opened: 0,
        }
    }

    /// A frame comes.
    pub(super) fn feed(&mut self, frame: Frame, now_ms: u64) -> Result<(), H2Abuse> {
        let guard = &mut self.guard;
        let ends = frame.flags & END_STREAM != 0;
        match frame.kind {
            DATA => guard.data(frame.length - frame.padding, ends, now_ms),
            HEADERS => {
                if frame.stream > self.last {
                    guard.opened(frame.stream, self.last, ends, now_ms);
                    self.last = frame.stream;
                    self.opened += 1;
                }
                guard.block_begins(frame.length, now_ms)?;
                self.block_part(frame);
                Ok(())
            }
            CONTINUATION => {
                guard.block_goes_on(frame.length, now_ms)?;
                self.block_part(frame);
                Ok(())
            }
            RST_STREAM => guard.was_reset(frame.stream, now_ms),
            kind => guard.control(kind, now_ms),
        }
    }

    fn block_part(&mut self, frame: Frame) {
        if frame.flags & END_HEADERS != 0 {
            self.guard.block_ends();
        }
    }

    /// HEADERS or DATA goes out.
    pub(super) fn feed_sent(&mut self, frame: Frame, now_ms: u64) {
        let ends = frame.flags & END_STREAM != 0;
        match frame.kind {
            DATA => self.guard.sent_data(frame.length, ends, now_ms),
            HEADERS => self.guard.sent_headers(ends, now_ms),
            _ => {}
        }
    }

    /// RST_STREAM goes out at the beginning.
    fn feed_reset(&mut self, code: ErrorCode, late: bool) -> Result<(), H2Abuse> {
        self.guard.reset(code.0, late, 0)
    }
}

pub(super) fn model() -> Model {
    Model::new(H2GuardLimits::default())
}

/// How many times it may come at `now_ms` before something is found, and what it is.
fn until_abuse(model: &mut Model, frame: Frame, now_ms: u64) -> (usize, H2Abuse) {
    for count in 0..200_000 {
        if let Err(abuse) = model.feed(frame, now_ms) {
            return (count, abuse);
        }
    }
    panic!("nothing found");
}

#[test]
fn a_guard_is_small() {
    assert!(
        size_of::<Guard>() <= 200,
        "{} bytes in every idle connection",
        size_of::<Guard>()
    );
}

#[test]
fn every_flood_ends_at_its_limit() {
    let padded = |length, padding| Frame {
        padding,
        ..frame(DATA, 0, 1, length)
    };
    for (bytes, count, abuse) in [
        (reset(1), 200, H2Abuse::RapidReset),
        (frame(PING, 0, 0, 8), 100, H2Abuse::PingFlood),
        (frame(PING, 1, 0, 8), 100, H2Abuse::PingFlood),
        (frame(SETTINGS, 0, 0, 0), 32, H2Abuse::SettingsFlood),
        (frame(SETTINGS, 1, 0, 0), 32, H2Abuse::SettingsFlood),
        (frame(PRIORITY, 0, 1, 5), 500, H2Abuse::PriorityFlood),
        (frame(PRIORITY_UPDATE, 0, 0, 5), 500, H2Abuse::PriorityFlood),
        (frame(0xbe, 0, 0, 1), 10_000, H2Abuse::OtherFlood),
        (frame(GOAWAY, 0, 0, 8), 10_000, H2Abuse::OtherFlood),
        (frame(DATA, 0, 1, 0), 100, H2Abuse::EmptyDataFlood),
        (padded(10, 10), 100, H2Abuse::EmptyDataFlood),
        (frame(DATA, 0, 1, 15), 100_000, H2Abuse::SmallDataFlood),
        (padded(101, 100), 100_000, H2Abuse::SmallDataFlood),
        (
            frame(WINDOW_UPDATE, 0, 1, 4),
            10_000,
            H2Abuse::WindowUpdateFlood,
        ),
        (frame(CONTINUATION, 0, 1, 1), 10, H2Abuse::ContinuationFlood),
        (frame(CONTINUATION, 0, 1, 0), 1, H2Abuse::EmptyContinuation),
        (
            frame(CONTINUATION, 0, 1, 16384),
            4,
            H2Abuse::HeaderBlockTooLong,
        ),
    ] {
        let mut model = model();
        if matches!(bytes.kind, RST_STREAM | CONTINUATION) {
            model.feed(frame(HEADERS, 0, 1, 0), 7).unwrap();
        }
        let found = until_abuse(&mut model, bytes, 7);
        assert_eq!(found, (count, abuse), "{bytes:?}");
    }
}

#[test]
fn what_has_no_limit() {
    let mut model = model();
    for stream in 0..50_000u32 {
        let id = 2 * stream + 1;
        model.feed(frame(HEADERS, END_HEADERS, id, 1), 0).unwrap();
        model.feed(frame(DATA, 0, id, 16), 0).unwrap();
        model.feed(frame(DATA, END_STREAM, id, 0), 0).unwrap();
    }
    assert_eq!(model.opened, 50_000);
}

#[test]
fn windows_pass() {
    let ping = frame(PING, 0, 0, 8);
    let mut model = model();
    for round in 0..5 {
        for _ in 0..100 {
            model.feed(ping, round * 10_000).unwrap();
        }
    }
    assert_eq!(
        until_abuse(&mut model, ping, 49_999),
        (0, H2Abuse::PingFlood)
    );
}

/// A clock that goes back opens no new window.
#[test]
fn time_stands_still_rather_than_going_back() {
    let ping = frame(PING, 0, 0, 8);
    let mut model = model();
    for now_ms in (5000..5100).rev() {
        model.feed(ping, now_ms).unwrap();
    }
    assert_eq!(until_abuse(&mut model, ping, 0), (0, H2Abuse::PingFlood));
}

#[test]
fn a_rapid_reset_ends_after_400_at_most() {
    let mut model = model();
    let mut attack = |from: u32, now_ms, count| {
        (0..count).find(|n| {
            let id = 2 * (from + n) + 1;
            model.feed(headers(id), now_ms).unwrap();
            model.feed(reset(id), now_ms).is_err()
        })
    };
    // The first opens the window; the rest comes at its end and at the beginning of the next.
    assert_eq!(attack(0, 0, 1), None);
    assert_eq!(attack(1, 29_999, 199), None);
    assert_eq!(attack(200, 30_000, 1000), Some(200));
    assert_eq!(model.opened, 401);
}

#[test]
fn streams_that_are_not_young_may_be_reset_more_often() {
    let mut model = model();
    for stream in 0..5000u32 {
        model.feed(headers(2 * stream + 1), 0).unwrap();
    }
    assert_eq!(
        until_abuse(&mut model, reset(1), 1000),
        (4000, H2Abuse::RapidReset)
    );
}

#[test]
fn answers_that_were_sent_make_resets_fair() {
    let mut model = model();
    for stream in 0..5000u32 {
        let id = 2 * stream + 1;
        model.feed(headers(id), 0).unwrap();
        if stream % 2 == 0 {
            model.feed(reset(id), 0).unwrap();
        } else {
            model.feed_sent(frame(HEADERS, END_HEADERS, id, 1), 0);
            model.feed_sent(frame(DATA, END_STREAM, id, 5), 0);
        }
    }
    assert_eq!(
        until_abuse(&mut model, reset(1), 0),
        (200, H2Abuse::RapidReset)
    );
}

#[test]
fn streams_beyond_what_we_announced_count_as_resets() {
    let mut model = model();
    for _ in 0..200 {
        model.feed_reset(ErrorCode::REFUSED_STREAM, false).unwrap();
    }
    assert_eq!(
        model.feed_reset(ErrorCode::REFUSED_STREAM, false),
        Err(H2Abuse::RapidReset)
    );
}

#[test]
fn made_you_reset() {
    let mut model = model();
    // Our own reasons are not the client's fault.
    for code in [0, 2, 8, 11] {
        for _ in 0..100 {
            model.feed_reset(ErrorCode(code), false).unwrap();
        }
    }
    for round in 0..50 {
        let code = CLIENT_ERRORS[round % 4];
        model.feed_reset(code, false).unwrap();
    }
    let found = model.feed_reset(ErrorCode::PROTOCOL_ERROR, false);
    assert_eq!(found, Err(H2Abuse::MadeYouReset));
}

#[test]
fn data_that_was_under_way_is_as_an_old_reset() {
    let mut model = model();
    for _ in 0..4000 {
        model.feed_reset(ErrorCode::STREAM_CLOSED, true).unwrap();
    }
    assert_eq!(
        model.feed_reset(ErrorCode::STREAM_CLOSED, true),
        Err(H2Abuse::RapidReset)
    );
}

#[test]
fn a_fast_download_and_its_pings_are_fair() {
    let mut model = model();
    for _ in 0..100_000 {
        model.feed_sent(frame(DATA, 0, 1, 16384), 0);
        model.feed(frame(PING, 0, 0, 8), 0).unwrap();
        model.feed(frame(DATA, 0, 1, 4), 0).unwrap();
        for _ in 0..8 {
            model.feed(frame(WINDOW_UPDATE, 0, 1, 4), 0).unwrap();
        }
    }
}

#[test]
fn window_updates_that_are_fair() {
    let update = frame(WINDOW_UPDATE, 0, 1, 4);
    for (bytes, frames, fair) in [
        (16384, 100, 1800),
        (1024, 100, 300),
        (1023, 100, 200),
        (64, 100, 200),
        (63, 101, 51),
        (0, 100, 50),
    ] {
        let mut model = model();
        for _ in 0..frames {
            model.feed_sent(frame(DATA, 0, 1, bytes), 0);
        }
        model.feed_sent(frame(HEADERS, END_HEADERS, 1, 100), 0);
        let found = until_abuse(&mut model, update, 999);
        let wanted = (10_000 + fair, H2Abuse::WindowUpdateFlood);
        assert_eq!(found, wanted, "{bytes}");
    }
}

#[test]
fn large_data_makes_small_data_fair_by_its_bytes() {
    let mut model = model();
    model.feed(frame(DATA, 0, 1, 1600), 0).unwrap();
    assert_eq!(
        until_abuse(&mut model, frame(DATA, 0, 1, 1), 0),
        (100_100, H2Abuse::SmallDataFlood)
    );
}

#[test]
fn header_blocks_and_their_age() {
    let mut model = model();
    model.feed(frame(SETTINGS, 0, 0, 0), 5).unwrap();
    assert_eq!(model.guard.block_since_ms(), None);
    let last = frame(CONTINUATION, END_HEADERS, 1, 3);
    assert_eq!(model.guard.block_goes_on(3, 6), Err(H2Abuse::Protocol));
    model.feed(frame(HEADERS, 0, 1, 3), 7).unwrap();
    assert_eq!(model.guard.block_since_ms(), Some(7));
    model.guard.block_goes_on(3, 9).unwrap();
    assert_eq!(model.guard.block_since_ms(), Some(7), "until its last byte");
    model.feed(last, 10).unwrap();
    assert_eq!(model.guard.block_since_ms(), None);
    // Trailers open no stream; a block in one frame is over at once; limits are for each block.
    for _ in 0..100 {
        model.feed(frame(HEADERS, 0, 1, 15999), 11).unwrap();
        model
            .feed(frame(CONTINUATION, END_HEADERS, 1, 0), 11)
            .unwrap();
    }
    model.feed(headers(3), 12).unwrap();
    assert_eq!(model.guard.block_since_ms(), None);
    assert_eq!(model.opened, 2);
    model.feed(frame(HEADERS, 0, 5, 16384), 13).unwrap();
    for _ in 0..3 {
        model.feed(frame(CONTINUATION, 0, 5, 16384), 13).unwrap();
    }
    let one = frame(CONTINUATION, END_HEADERS, 5, 1);
    assert_eq!(model.feed(one, 13), Err(H2Abuse::HeaderBlockTooLong));
}

#[test]
fn servers_are_not_counted() {
    let mut model = model();
    model.guard = Guard::off(H2GuardLimits::default());
    for stream in (1..200_000).step_by(2) {
        model.feed(headers(stream), 0).unwrap();
        model.feed(reset(stream), 0).unwrap();
        model.feed(frame(DATA, 0, stream, 0), 0).unwrap();
        model.feed(frame(DATA, 0, stream, 1), 0).unwrap();
        for kind in [SETTINGS, PING, WINDOW_UPDATE, PRIORITY_UPDATE, GOAWAY] {
            model.feed(frame(kind, 0, 0, 8), 0).unwrap();
        }
        for code in [ErrorCode::REFUSED_STREAM, ErrorCode::PROTOCOL_ERROR] {
            model.feed_reset(code, false).unwrap();
        }
    }
    model.feed(frame(HEADERS, 0, 200_001, 1), 0).unwrap();
    assert_eq!(
        until_abuse(&mut model, frame(CONTINUATION, 0, 1, 1), 0),
        (10, H2Abuse::ContinuationFlood)
    );
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

/// Any limits, most of them so small that random frames reach them.
fn any_limits() -> impl Strategy<Value = H2GuardLimits> {
    (0..4u32, any::<bool>(), 0..40u32).prop_map(|(few, all, small_data_bytes)| H2GuardLimits {
        resets_max: few,
        error_resets_max: few,
        pings_max: few,
        settings_max: few,
        priorities_max: few,
        others_max: few,
        empty_data_max: few,
        small_data_max: few,
        small_data_bytes,
        window_updates_max: few,
        continuations_max: if all { u32::MAX } else { few },
        empty_continuations_max: few,
        header_block_bytes_max: if all { u32::MAX } else { 60 },
        ..H2GuardLimits::default()
    })
}

proptest! {
    /// Whatever is told, in any order and at any time, and however often.
    #[test]
    fn any_calls_are_survived(
        limits in any_limits(),
        calls in prop::collection::vec((0..20u8, any::<u32>(), any::<bool>(), any::<u64>()), 0..200),
    ) {
        let mut guard = Guard::new(limits, 0);
        for (kind, number, ends, now_ms) in calls {
            let _ = match kind {
                DATA => guard.data(number, ends, now_ms),
                HEADERS => guard.block_begins(number, now_ms),
                CONTINUATION => guard.block_goes_on(number, now_ms),
                RST_STREAM => guard.was_reset(number, now_ms),
                PUSH_PROMISE => {
                    guard.opened(number.max(1), number.max(1) - 1, ends, now_ms);
                    Ok(())
                }
                17 => guard.reset(number % 16, ends, now_ms),
                18 => {
                    guard.sent_data(number, ends, now_ms);
                    guard.sent_headers(ends, now_ms);
                    Ok(())
                }
                19 => {
                    guard.block_ends();
                    Ok(())
                }
                _ => guard.control(kind, now_ms),
            };
        }
    }
}
