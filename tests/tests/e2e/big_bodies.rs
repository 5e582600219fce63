//! Gigabytes each way, in constant memory.

use std::io::Write;

use keel_testkit::origin::{Check, pattern};
use keel_testkit::{Origin, Proxy};

const GIB: u64 = 1 << 30;

/// Memory above what an idle proxy uses; a few buffers of 256 KiB and the allocator's slack.
const GROWTH_MAX: u64 = 24 << 20;

fn proxy(origin: &Origin) -> Proxy {
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", limits: { body: 2GiB } } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    proxy.get("/").expect(200);
    proxy
}

#[track_caller]
fn stays_small(proxy: &Proxy, before: u64) {
    let usage = proxy.usage();
    let peak = usage.rss_peak_bytes.saturating_sub(before);
    assert!(
        peak < GROWTH_MAX,
        "memory grew by {} KiB: {usage:?}",
        peak / 1024
    );
}

#[test]
fn a_gigabyte_down() {
    let origin = Origin::echo();
    let proxy = proxy(&origin);
    let before = proxy.usage().rss_bytes;
    for path in ["bytes", "chunks"] {
        let mut wire = proxy.wire();
        wire.send(format!("GET /{path}/{GIB} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut check = Check::default();
        let answer = wire
            .answer_into("GET", &mut |data| check.feed(data))
            .expect("an answer");
        assert_eq!(
            (answer.body_len, check),
            (
                GIB,
                Check {
                    len: GIB,
                    broken: false
                }
            ),
            "{path}"
        );
    }
    stays_small(&proxy, before);
}

#[test]
fn a_gigabyte_up() {
    let origin = Origin::echo();
    let proxy = proxy(&origin);
    let before = proxy.usage().rss_bytes;
    let mut wire = proxy.wire();
    wire.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n"
    ));
    let mut left = GIB;
    while left > 0 {
        let piece = pattern();
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        wire.send(&piece[..take]);
        left -= take as u64;
    }
    let seen = wire.answer().expect(200).json();
    assert_eq!(
        (&seen["body_len"], &seen["body_is_pattern"]),
        (&GIB.into(), &true.into())
    );
    stays_small(&proxy, before);
}

#[test]
fn a_gigabyte_up_in_chunks() {
    let origin = Origin::echo();
    let proxy = proxy(&origin);
    let before = proxy.usage().rss_bytes;
    let mut wire = proxy.wire();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = pattern();
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    let count = GIB / piece.len() as u64;
    for _ in 0..count {
        wire.send(&chunk);
    }
    let seen = wire.ask("0\r\n\r\n").expect(200).json();
    let sent = count * piece.len() as u64;
    assert_eq!(
        (&seen["body_len"], &seen["body_is_pattern"]),
        (&sent.into(), &true.into())
    );
    stays_small(&proxy, before);
}

#[test]
fn a_slow_reader_holds_the_backend_back() {
    let origin = Origin::echo();
    let proxy = proxy(&origin);
    let before = proxy.usage().rss_bytes;
    let mut wires: Vec<_> = (0..10).map(|_| proxy.wire().with_small_window()).collect();
    for wire in &mut wires {
        wire.send(format!("GET /bytes/{GIB} HTTP/1.1\r\nHost: a\r\n\r\n"));
        wire.head("GET").expect("an answer");
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    stays_small(&proxy, before);
    proxy.get("/").expect(200);
}

#[test]
fn a_slow_backend_holds_the_client_back() {
    let origin = Origin::scripted(|stage| {
        if stage.head().is_some() {
            std::thread::sleep(std::time::Duration::from_secs(3)); // reads nothing of the body
        }
    });
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", limits: { body: 2GiB } } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let before = proxy.usage().rss_bytes;
    let mut wire = proxy.wire();
    wire.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n"
    ));
    wire.stream()
        .set_nonblocking(true)
        .expect("a socket option");
    let mut taken = 0_u64;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(1);
    while std::time::Instant::now() < end {
        match wire.stream().write(pattern()) {
            Ok(len) => taken += len as u64,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
    assert!(
        taken < 64 << 20,
        "{} MiB were taken for a backend that reads nothing",
        taken >> 20
    );
    stays_small(&proxy, before);
}
