//! The head of a request: no panic, the cut of the input changes nothing, and what is taken can be written anew.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use keel_fuzz::pairs;
use keel_http::forwarded::{DEFAULT_ORDER, client_address};
use keel_http::{
    HeadLimits, HeadScan, HeadStatus, HeaderId, NormalRequest, RequestHead, frame_request,
    is_nominated,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = HeadLimits::default();
    let mut whole = RequestHead::new();
    let status = whole.parse(data, &limits);

    // In drips of 1, 2, 3, … bytes, as the scanner asks for it.
    let (mut scan, mut head, mut cut, mut step) = (HeadScan::new(), RequestHead::new(), 0, 0);
    let dripped = loop {
        step += 1;
        cut = (cut + step).min(data.len());
        if scan.ready(&data[..cut]) {
            match head.parse(&data[..cut], &limits) {
                Ok(HeadStatus::Partial) => {}
                done => break done,
            }
        }
        if cut == data.len() {
            break Ok(HeadStatus::Partial);
        }
    };
    match status {
        Ok(HeadStatus::Complete) => {
            assert_eq!(dripped, Ok(HeadStatus::Complete));
            assert_eq!(
                (head.len, head.target, head.line_end),
                (whole.len, whole.target, whole.line_end)
            );
            assert!(head.fields.iter().eq(whole.fields.iter()));
        }
        Ok(HeadStatus::Partial) => return assert_eq!(dripped, Ok(HeadStatus::Partial)),
        Err(fault) => {
            assert!((400..=505).contains(&fault.status()) && !fault.to_string().is_empty());
            return assert_ne!(dripped, Ok(HeadStatus::Complete));
        }
    }

    // Written anew from its parts it is the same head.
    let mut anew = [
        whole.method_span.of(data),
        b" ",
        whole.target.of(data),
        b" ",
    ]
    .concat();
    anew.extend_from_slice(whole.version.as_str().as_bytes());
    anew.extend_from_slice(b"\r\n");
    for (name, value) in pairs(&whole.fields, data) {
        anew.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    }
    anew.extend_from_slice(b"\r\n");
    let mut again = RequestHead::new();
    let relaxed = HeadLimits {
        head_bytes_max: usize::MAX,
        ..limits
    };
    assert_eq!(again.parse(&anew, &relaxed), Ok(HeadStatus::Complete));
    assert!(pairs(&again.fields, &anew).eq(pairs(&whole.fields, data)));
    assert_eq!(frame_request(&again, &anew), frame_request(&whole, data));

    let mut normal = NormalRequest::new();
    if normal.read(&whole, data).is_ok() {
        assert!(normal.path(data).starts_with(b"/") || normal.path(data) == b"*");
    }
    for (name, _) in pairs(&whole.fields, data) {
        is_nominated(&whole.fields, data, name);
        assert!(whole.fields.all_named(name, data).count() > 0);
        assert_eq!(whole.fields.contains(HeaderId::of(name)), true);
    }
    let _ = whole.fields.cookie(b"session", data);
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    client_address(
        &whole.fields,
        data,
        peer,
        &|ip| ip.is_loopback(),
        &DEFAULT_ORDER,
    );
});
