//! The head of an answer. The first byte chooses the request's method and whether an upgrade was asked for.
#![no_main]

use keel_fuzz::pairs;
use keel_http::{BodyLength, HeadLimits, HeadStatus, Method, ResponseHead, frame_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let limits = HeadLimits::default();
    let mut whole = ResponseHead::new();
    let status = whole.parse(data, &limits);
    let cut = data.len() / 2;
    let mut part = ResponseHead::new();
    match part.parse(&data[..cut], &limits) {
        Ok(HeadStatus::Complete) => {
            assert_eq!(status, Ok(HeadStatus::Complete));
            assert_eq!((part.len, part.status), (whole.len, whole.status));
        }
        Err(_) => assert!(status.is_err()),
        Ok(HeadStatus::Partial) => {}
    }
    if status != Ok(HeadStatus::Complete) {
        return;
    }
    assert!((100..=599).contains(&whole.status));
    assert!(data[..whole.len].ends_with(b"\r\n\r\n"));
    let lines = data[..whole.len].split(|&b| b == b'\n').count();
    assert_eq!(
        lines,
        whole.fields.len() + 3,
        "status line, fields, empty line, nothing"
    );
    for (name, value) in pairs(&whole.fields, data) {
        assert!(!name.is_empty() && !value.contains(&b'\r'));
    }
    let method = if choice & 1 == 0 {
        Method::Get
    } else {
        Method::Head
    };
    let asked = choice & 2 != 0;
    if let Ok(framing) = frame_response(&whole, data, method, asked) {
        assert!(!framing.switching || (asked && whole.status == 101));
        assert!(!(framing.keep_alive && framing.body == BodyLength::UntilClose));
        let bodiless = method == Method::Head || matches!(whole.status, 100..=199 | 204 | 304);
        assert_eq!(framing.body == BodyLength::Empty, bodiless);
    }
});
