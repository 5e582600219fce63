//! Clients that are slow on purpose do not harm the others.

use std::time::{Duration, Instant};

use keel_testkit::{Origin, Proxy, Wire};

use crate::{GET, memory_bound};

/// Slow ones at once.
const HELD: usize = 500;

/// Bytes of the proxy's memory for a slow head, a slow body, a slow read of 2 MiB.
const HEAD_BYTES_MAX: u64 = 5 * 1024;
const BODY_BYTES_MAX: u64 = 6 * 1024;
const READ_BYTES_MAX: u64 = 6_963;

/// Serves normal requests while the slow ones are held; gives the memory that each of those takes.
fn serve_beside(proxy: &Proxy, hold: impl Fn(&Proxy) -> Wire) -> u64 {
    let mut normal = proxy.wire();
    normal.ask(GET).expect(200);
    let before = proxy.usage().rss_bytes;
    let held: Vec<Wire> = (0..HELD).map(|_| hold(proxy)).collect();
    let start = Instant::now();
    for _ in 0..100 {
        normal.ask(GET).expect(200);
        proxy.get("/").expect(200);
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    let grown = proxy.usage().rss_bytes.saturating_sub(before) / HELD as u64;
    drop(held);
    proxy.get("/").expect(200);
    grown
}

#[test]
fn slow_heads() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let each = serve_beside(&proxy, |proxy| {
        let mut wire = proxy.wire();
        wire.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
        wire
    });
    println!("a slow head takes {each} bytes");
    assert!(
        each <= memory_bound(HEAD_BYTES_MAX),
        "a slow head takes {each} bytes"
    );
}

#[test]
fn slow_bodies() {
    let origin = Origin::scripted(|stage| {
        while stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let each = serve_beside(&proxy, |proxy| {
        let mut wire = proxy.wire();
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nslow");
        wire
    });
    println!("a slow body takes {each} bytes");
    assert!(
        each <= memory_bound(BODY_BYTES_MAX),
        "a slow body takes {each} bytes"
    );
}

#[test]
fn slow_readers() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let each = serve_beside(&proxy, |proxy| {
        let mut wire = Wire::connect(proxy.address()).with_small_window();
        wire.send("GET /bytes/2097152 HTTP/1.1\r\nHost: a\r\n\r\n");
        wire
    });
    println!("a slow reader takes {each} bytes");
    assert!(
        each <= memory_bound(READ_BYTES_MAX),
        "a slow reader takes {each} bytes"
    );
}

#[test]
fn a_head_byte_by_byte_costs_no_more_than_its_length() {
    let origin = Origin::echo();
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", limits: { head: 64KiB } } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    proxy.get("/").expect(200);
    let before = proxy.usage().cpu;
    let mut wire = proxy.wire();
    wire.drip(
        proxy.ask("/").with("X-Big", &"a".repeat(20_000)).to_bytes(),
        Duration::ZERO,
    );
    wire.answer().expect(200);
    let spent = proxy.usage().cpu - before;
    // 20,000 reads are some hundred milliseconds; parsing anew each time would be many seconds.
    assert!(spent < Duration::from_secs(3), "{spent:?}");
}

#[test]
fn a_reader_that_takes_nothing_is_ended() {
    let origin = Origin::echo();
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", timeouts: { send: 500ms } } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = proxy.wire().with_small_window();
    wire.send("GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    keel_testkit::wait::until_true("the request runs", || origin.requests() == 1);
    keel_testkit::wait::until_true("the backend connection is given up", || origin.open() == 0);
}
