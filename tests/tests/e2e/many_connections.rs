//! Ten thousand connections at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use keel_testkit::process::raise_descriptor_limit;
use keel_testkit::wait::until_true;
use keel_testkit::{H2Wire, Origin, Proxy, Wire};

use crate::{GET, memory_bound};

const CONNECTIONS: usize = 10_000;

/// Bytes of the proxy's memory for an idle connection.
const IDLE_BYTES_MAX: u64 = 2 * 1024;

/// The same for one of HTTP/2 without TLS.
const IDLE_HTTP2_BYTES_MAX: u64 = 6 * 1024;

/// Opens so many connections and sends a request on each; several threads, for it is the waiting that takes time.
fn open(proxy: &Proxy, count: usize) -> Vec<Wire> {
    let address = proxy.address();
    let next = AtomicUsize::new(0);
    let next = &next;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut wires = Vec::new();
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        let mut wire = Wire::connect(address);
                        wire.ask(GET).expect(200);
                        wires.push(wire);
                    }
                    wires
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no client panics"))
            .collect()
    })
}

#[test]
fn ten_thousand_open_connections_are_served() {
    let limit = raise_descriptor_limit();
    let needed = CONNECTIONS as u64 + 1_000;
    assert!(
        limit >= needed,
        "the hard limit of open files is {limit}; this test needs {needed}"
    );
    let origin = Origin::echo();
    let proxy = Proxy::before_with(
        &[origin.address()],
        "",
        "connections: 12000\nlisteners: { web: { bind: \"127.0.0.1:0\", timeouts: { idle: 300s } } }",
    );
    let few = open(&proxy, 100);
    let before = proxy.usage();
    let mut wires = open(&proxy, CONNECTIONS - few.len());
    wires.extend(few);
    assert!(proxy.usage().descriptors >= CONNECTIONS);
    // What they held while they were busy is given back once they rest.
    let each = || proxy.usage().rss_bytes.saturating_sub(before.rss_bytes) / CONNECTIONS as u64;
    until_true("idle connections are small", || {
        each() <= memory_bound(IDLE_BYTES_MAX)
    });
    println!("an idle connection takes {} bytes", each());
    // All still work, those opened first too.
    let start = Instant::now();
    for wire in wires.iter_mut().step_by(10) {
        wire.ask(GET).expect(200);
    }
    println!("a tenth of them answered in {:?}", start.elapsed());
    drop(wires);
    until_true("all descriptors are back", || {
        proxy.usage().descriptors < 200
    });
    proxy.get("/").expect(200);
}

#[test]
fn idle_connections_of_http2_are_small() {
    const COUNT: usize = 1_000;

    raise_descriptor_limit();
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let open = |count: usize| -> Vec<H2Wire> {
        let mut wires: Vec<_> = (0..count)
            .map(|_| H2Wire::connect(proxy.address()))
            .collect();
        for wire in &mut wires {
            wire.get("/").expect(200);
        }
        wires
    };
    let _few = open(100);
    let before = proxy.usage();
    let mut wires = open(COUNT);
    let each = || proxy.usage().rss_bytes.saturating_sub(before.rss_bytes) / COUNT as u64;
    until_true("idle connections of HTTP/2 are small", || {
        each() <= memory_bound(IDLE_HTTP2_BYTES_MAX)
    });
    println!("an idle connection of HTTP/2 takes {} bytes", each());
    for wire in wires.iter_mut().step_by(10) {
        wire.get("/").expect(200);
    }
}
