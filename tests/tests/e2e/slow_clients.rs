//! Clients that are slow on purpose do not harm the others.

use std::time::{Duration, Instant};

use keel_testkit::wait::{SOON, within};
use keel_testkit::{Origin, Proxy, Wire};

use crate::{GET, memory_bound};

/// Slow ones at once.
const HELD: usize = 500;
/// Normal requests before memory is first read, so that what the first ones take once is not counted to the slow ones.
const WARM_REQUESTS: usize = 200;

/// Bytes of the proxy's memory for a slow head, a slow body, a slow read of 2 MiB.
const HEAD_BYTES_MAX: u64 = 5 * 1024;
const BODY_BYTES_MAX: u64 = 6 * 1024;
const READ_BYTES_MAX: u64 = 6_963;

/// Serves normal requests while the slow ones are held; each of those takes so much memory at most.
#[track_caller]
fn serve_beside(what: &str, bytes_max: u64, proxy: &Proxy, hold: impl Fn(&Proxy) -> Wire) {
    let mut normal = proxy.wire();
    normal.ask(GET).expect(200);
    for _ in 0..WARM_REQUESTS {
        proxy.get("/").expect(200);
    }
    let before = proxy.usage().rss_bytes;
    let held: Vec<Wire> = (0..HELD).map(|_| hold(proxy)).collect();
    let start = Instant::now();
    for _ in 0..100 {
        normal.ask(GET).expect(200);
        proxy.get("/").expect(200);
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    // What the burst of their opening took is given back within a few seconds.
    let each = || proxy.usage().rss_bytes.saturating_sub(before) / HELD as u64;
    let small = within(SOON, || (each() <= memory_bound(bytes_max)).then_some(()));
    println!("{what} takes {} bytes", each());
    assert!(small.is_some(), "{what} takes {} bytes", each());
    drop(held);
    proxy.get("/").expect(200);
}

#[test]
fn slow_heads() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    serve_beside("a slow head", HEAD_BYTES_MAX, &proxy, |proxy| {
        let mut wire = proxy.wire();
        wire.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
        wire
    });
}

#[test]
fn slow_bodies() {
    let origin = Origin::scripted(|stage| {
        while stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    serve_beside("a slow body", BODY_BYTES_MAX, &proxy, |proxy| {
        let mut wire = proxy.wire();
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nslow");
        wire
    });
}

#[test]
fn slow_readers() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    serve_beside("a slow reader", READ_BYTES_MAX, &proxy, |proxy| {
        let mut wire = Wire::connect(proxy.address()).with_small_window();
        wire.send("GET /bytes/2097152 HTTP/1.1\r\nHost: a\r\n\r\n");
        wire
    });
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

#[test]
fn a_body_of_a_byte_now_and_then_ends_in_408() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire().with_deadline(Duration::from_secs(30));
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    let start = Instant::now();
    // Each byte is progress; 2 bytes a second are not the 64 that a body must reach after ten seconds.
    while start.elapsed() < Duration::from_secs(30) && wire.try_send("x").is_ok() {
        if !wire.is_silent(Duration::from_millis(500)) {
            break;
        }
    }
    wire.answer().expect(408);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(9) && took < Duration::from_secs(25),
        "{took:?}"
    );
}

#[test]
fn a_pipelining_flood_is_read_no_faster_than_it_is_served() {
    const FLOOD: usize = 20_000;

    let origin = Origin::named("one");
    let proxy = Proxy::before(&[origin.address()]);
    proxy.get("/").expect(200);
    let before = proxy.usage().rss_bytes;
    let mut wire = proxy.wire().with_deadline(Duration::from_secs(30));
    let mut flood = wire.stream().try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        // It is closed after the 1,000th request; what follows is lost to the sender alone.
        let _ = flood.write_all(GET.repeat(FLOOD).as_bytes());
    });
    let mut answered = 0;
    while let Ok(answer) = wire.try_answer("GET") {
        answer.expect(200);
        answered += 1;
    }
    let grown = proxy.usage().rss_bytes.saturating_sub(before);
    let _ = sender.join();
    assert_eq!(answered, 1000);
    assert!(grown < 4 << 20, "{grown} bytes");
    proxy.get("/").expect(200);
}
