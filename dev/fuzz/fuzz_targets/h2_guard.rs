//! The meter of HTTP/2 frames: no panic, and the cut of the input changes nothing. The first byte says how the input
//! is cut, and whether it goes through the door for what we send.
#![no_main]

use keel_http::{FrameMeter, H2Abuse, H2GuardLimits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else {
        return;
    };
    let limits = H2GuardLimits {
        resets_max: 3,
        error_resets_max: 3,
        pings_max: 3,
        settings_max: 3,
        priorities_max: 3,
        others_max: 5,
        empty_data_max: 3,
        small_data_max: 3,
        continuations_max: 3,
        window_updates_max: 3,
        ..H2GuardLimits::default()
    };
    let sent = first & 1 != 0;
    let mut whole = FrameMeter::new(limits, first & 2 != 0, 0);
    let mut cut = whole.clone();
    let feed = |meter: &mut FrameMeter, bytes: &[u8]| match sent {
        true => meter.feed_sent(bytes, 1),
        false => meter.feed(bytes, 1),
    };
    let done = feed(&mut whole, data);
    let size = usize::from(first >> 2) + 1;
    let mut last = Ok(());
    for piece in data.chunks(size) {
        last = feed(&mut cut, piece);
    }
    assert_eq!(done, last);
    let state = |meter: &FrameMeter| {
        (
            meter.verdict(),
            meter.streams_opened(),
            meter.header_block_since_ms(),
            meter.last_client_frame_ms(),
        )
    };
    assert_eq!(state(&whole), state(&cut));
    assert_eq!(whole.verdict(), done.err());
    assert!(whole.streams_opened() <= data.len() as u64 / 9);
    if let Err(abuse) = done {
        assert!(H2Abuse::ALL.contains(&abuse));
    } else {
        assert_eq!(
            whole.bytes_received() + whole.bytes_sent(),
            data.len() as u64
        );
    }
});
