//! Abuse of HTTP/2: each attack runs against the binary, with a well-behaved client beside it on the same worker. The
//! connection is ended, memory does not grow, the server is not reached, and nobody else waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keel_testkit::client::End;
use keel_testkit::h2::frame::{self, PREFACE, code, setting};
use keel_testkit::h2::{Frame, encode};
use keel_testkit::{H2Wire, Origin, Proxy, Reply, Wire};

use crate::memory_bound;

/// Memory that an attack may take and keep, in bytes; what an allocator holds back is in it.
const GROWTH_MAX: u64 = 1024 * 1024;
/// What half of the requests beside an attack may take at most, and what the slowest one: a busy machine now and then
/// lets one wait that nobody held up.
const LATENCY_MEDIAN_MAX: Duration = Duration::from_millis(400);
const LATENCY_MAX: Duration = Duration::from_secs(4);
/// Well below the limit of requests of a connection.
const REQUESTS_OF_A_CONNECTION: usize = 500;
/// How often each attack is run.
const TIMES: u64 = 5;
/// Requests that are served before memory is first read.
const WARM_REQUESTS: usize = 200;

/// A server, a proxy with one worker, and somebody who means no harm.
struct Scene {
    origin: Origin,
    proxy: Proxy,
    before: u64,
    rss: u64,
}

impl Scene {
    fn new() -> Scene {
        Scene::with("")
    }

    fn with(more: &str) -> Scene {
        let origin = Origin::echo();
        let proxy = Proxy::before_with(&[origin.address()], "", &format!("workers: 1\n{more}"));
        let mut wire = H2Wire::connect(proxy.address());
        for _ in 0..WARM_REQUESTS {
            wire.get("/bytes/1000").expect(200);
        }
        drop(wire);
        let rss = proxy.usage().rss_bytes;
        let before = origin.requests() as u64;
        Scene {
            origin,
            proxy,
            before,
            rss,
        }
    }

    fn attacker(&self) -> H2Wire {
        let wire = Wire::connect(self.proxy.address()).with_deadline(Duration::from_secs(5));
        let mut wire = H2Wire::over(wire, &[]).with_deadline(Duration::from_secs(15));
        wire.await_settings();
        wire
    }

    /// Runs the attack some times beside a well-behaved client; gives how many of its requests reached the server.
    #[track_caller]
    fn run(&self, attack: impl Fn(&Scene)) -> u64 {
        let beside = Beside::start(&self.proxy);
        for _ in 0..TIMES {
            attack(self);
        }
        let mut took = beside.stop();
        took.sort();
        let served = took.len() as u64;
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        println!("{served} beside: half took up to {median:?}, the slowest {slowest:?}");
        assert!(median < LATENCY_MEDIAN_MAX, "{median:?}");
        assert!(slowest < LATENCY_MAX, "{slowest:?}");
        let grown = self.proxy.usage().rss_bytes.saturating_sub(self.rss);
        println!("grown by {grown} bytes");
        assert!(grown < memory_bound(GROWTH_MAX), "grown by {grown} bytes");
        self.origin.requests() as u64 - self.before - served
    }
}

/// One request after the other, each timed.
struct Beside {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Beside {
    fn start(proxy: &Proxy) -> Beside {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, address) = (Arc::clone(&stop), proxy.address());
        let thread = std::thread::spawn(move || {
            let mut wire = H2Wire::connect(address);
            let mut took = Vec::new();
            while !stopped.load(Ordering::Acquire) || took.len() < 20 {
                let start = Instant::now();
                wire.get("/").expect(200);
                took.push(start.elapsed());
                if took.len().is_multiple_of(REQUESTS_OF_A_CONNECTION) {
                    wire = H2Wire::connect(address);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            took
        });
        Beside { stop, thread }
    }

    /// What each took; there are some.
    fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("a well-behaved client is served")
    }
}

/// Sends the same bytes again and again until the peer takes no more; gives how often.
fn flood(wire: &mut H2Wire, bytes: &[u8], most: usize) -> usize {
    (0..most)
        .find(|_| !wire.connection().raw(bytes))
        .unwrap_or(most)
}

/// The connection has been ended, and what was said about it was right.
#[track_caller]
fn ended(wire: &mut H2Wire, codes: &[u32]) {
    let (goaway, end) = wire.await_end();
    assert_ne!(end, End::Deadline, "it is still open");
    // The reset of a socket with unread bytes may overtake the GOAWAY.
    if let Some(goaway) = goaway {
        assert!(codes.contains(&goaway.code), "{goaway:?}");
    }
    wire.take_faults();
}

fn request(method: &str, path: &str) -> Vec<u8> {
    encode(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", path),
    ])
}

#[test]
fn rapid_reset() {
    let scene = Scene::new();
    let reached = scene.run(|scene| {
        let mut wire = scene.attacker();
        let block = request("GET", "/bytes/100000");
        let mut sent = 0;
        for _ in 0..200 {
            let mut bytes = Vec::new();
            for _ in 0..50 {
                let stream = wire.take_stream();
                bytes.extend(Frame::headers(stream, block.as_slice(), true).to_bytes());
                bytes.extend(Frame::reset(stream, code::CANCEL).to_bytes());
            }
            if !wire.connection().raw(bytes) {
                break;
            }
            sent += 50;
        }
        println!("{sent} were sent");
        ended(&mut wire, &[code::ENHANCE_YOUR_CALM]);
    });
    assert_eq!(reached, 0, "each was reset with the request itself");
}

/// Each of these makes us reset the stream of a request that may be at its server by then (CVE-2025-8671).
#[test]
fn made_you_reset() {
    type Breach = fn(u32) -> Frame;
    let variants: [(&str, Breach); 4] = [
        ("an update by nothing", |stream| {
            Frame::window_update(stream, 0)
        }),
        ("a window too large", |stream| {
            Frame::window_update(stream, 0x7fff_ffff)
        }),
        ("DATA after the end", |stream| {
            Frame::data(stream, "x", false)
        }),
        ("HEADERS after the end", |stream| {
            Frame::headers(stream, request("GET", "/"), true)
        }),
    ];
    for (what, breach) in variants {
        let scene = Scene::new();
        let reached = scene.run(|scene| {
            let mut wire = scene.attacker();
            let block = request("GET", "/bytes/10000");
            let mut ended_after = 0;
            while ended_after < 200 {
                let stream = wire.take_stream();
                let mut bytes = Frame::headers(stream, block.as_slice(), true).to_bytes();
                bytes.extend(breach(stream).to_bytes());
                if !wire.connection().raw(bytes) || !wire.read_for(Duration::from_millis(1)) {
                    break;
                }
                ended_after += 1;
            }
            println!("{what}: ended after {ended_after}");
            assert!(ended_after < 120, "{what}: it goes on");
            let codes = [
                code::ENHANCE_YOUR_CALM,
                code::PROTOCOL_ERROR,
                code::STREAM_CLOSED,
            ];
            ended(&mut wire, &codes);
        });
        assert!(reached <= 60 * TIMES, "{what}: {reached}");
    }
}

#[test]
fn continuation_floods() {
    let scene = Scene::new();
    let reached = scene.run(|scene| {
        for (first, more) in [(16_384, 16_384), (16_384, 100), (10, 0), (10, 1)] {
            let mut wire = scene.attacker();
            let stream = wire.take_stream();
            let mut head = Frame::headers(stream, vec![0; first], true);
            head.flags &= !frame::END_HEADERS;
            wire.send(&head);
            let next = Frame::continuation(stream, vec![0; more], false).to_bytes();
            let sent = flood(&mut wire, &next, 30);
            println!("{sent} of {more} bytes were sent");
            let codes = [
                code::ENHANCE_YOUR_CALM,
                code::PROTOCOL_ERROR,
                code::COMPRESSION_ERROR,
            ];
            ended(&mut wire, &codes);
        }
    });
    assert_eq!(reached, 0);
}

#[test]
fn frames_that_ask_for_answers_which_nobody_reads() {
    for ask in [
        Frame::ping([7; 8]),
        Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 70_000)]),
        Frame::settings(&[]),
    ] {
        let scene = Scene::new();
        let reached = scene.run(|scene| {
            let mut wire = scene.attacker();
            let bytes = ask.to_bytes().repeat(100);
            let sent = flood(&mut wire, &bytes, 10_000) * 100;
            println!("{sent} of type {} were sent", ask.kind);
            assert!(sent < 1_000_000, "it goes on");
            ended(&mut wire, &[code::ENHANCE_YOUR_CALM]);
        });
        assert_eq!(reached, 0);
    }
}

#[test]
fn frames_that_mean_nothing() {
    let stream = 1;
    let floods = [
        ("PRIORITY", Frame::priority(9, 0, 1)),
        (
            "PRIORITY_UPDATE",
            Frame::new(frame::PRIORITY_UPDATE, 0, 0, "\0\0\0\u{1}u=1"),
        ),
        ("WINDOW_UPDATE", Frame::window_update(stream, 1)),
        ("empty DATA", Frame::data(stream, "", false)),
        ("small DATA", Frame::data(stream, "x", false)),
        (
            "padding",
            Frame::new(frame::DATA, frame::PADDED, stream, [0]),
        ),
    ];
    for (what, one) in floods {
        let scene = Scene::new();
        let reached = scene.run(|scene| {
            let mut wire = scene.attacker();
            assert_eq!(wire.ask("POST", "/", &[], false), stream);
            let bytes = one.to_bytes().repeat(100);
            let sent = flood(&mut wire, &bytes, 20_000) * 100;
            println!("{what}: {sent} were sent");
            let codes = [code::ENHANCE_YOUR_CALM, code::FLOW_CONTROL_ERROR];
            ended(&mut wire, &codes);
        });
        assert!(reached <= TIMES, "{what}: {reached}");
        scene.origin.take_faults();
    }
}

/// Free, or ended: frames of a type that nobody knows.
#[test]
fn unknown_frames() {
    let scene = Scene::new();
    let reached = scene.run(|scene| {
        let mut wire = scene.attacker();
        let bytes = Frame::new(0x77, 0xff, 0, vec![1; 1000])
            .to_bytes()
            .repeat(100);
        let sent = flood(&mut wire, &bytes, 200);
        println!("{} were sent", sent * 100);
        wire.take_faults();
    });
    assert_eq!(reached, 0);
}

/// One field of 4 KB, and 15,000 references to it in 15 KB: 60 MB when it is unfolded.
#[test]
fn hpack_bomb() {
    let scene = Scene::new();
    let mut bomb = request("GET", "/");
    bomb.push(0x40); // literal with incremental indexing
    for text in [&b"x"[..], &[b'a'; 4000]] {
        keel_testkit::h2::integer(&mut bomb, 0, 7, text.len());
        bomb.extend_from_slice(text);
    }
    bomb.extend(std::iter::repeat_n(0xbe, 12_000));
    let reached = scene.run(|scene| {
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut wire = scene.attacker();
            let stream = wire.take_stream();
            wire.send(&Frame::headers(stream, bomb.as_slice(), true));
            // A 431, a reset or the end; all of them refuse it.
            if let Ok(answer) = wire.try_answer(stream) {
                assert!(answer.reset.is_some() || answer.status == 431, "{answer:?}");
            }
            wire.take_faults();
            held.push(wire);
        }
        let peak = scene.proxy.usage().rss_peak_bytes.saturating_sub(scene.rss);
        println!("peak is {peak} bytes above");
        assert!(peak < memory_bound(4 << 20), "{peak}");
    });
    assert_eq!(reached, 0);
}

#[test]
fn too_many_fields_and_too_long_ones() {
    let scene = Scene::new();
    let reached = scene.run(|scene| {
        let many: Vec<(String, String)> = (0..1500)
            .map(|at| (format!("x{at}"), "1".to_owned()))
            .collect();
        let long = vec![("x".to_owned(), "y".repeat(200_000))];
        for more in [many, long] {
            let mut wire = scene.attacker();
            let mut fields = wire.pseudo("GET", "/");
            fields.extend(more);
            let stream = wire.start(&fields, true);
            if let Ok(answer) = wire.try_answer(stream) {
                assert!(answer.reset.is_some() || answer.status == 431, "{answer:?}");
            }
            wire.take_faults();
        }
    });
    assert_eq!(reached, 0);
}

#[test]
fn malformed_blocks() {
    let scene = Scene::new();
    let reached = scene.run(|scene| {
        for nth in 0..25_u8 {
            let mut wire = scene.attacker();
            let stream = wire.take_stream();
            let mut block = request("GET", "/");
            match nth % 5 {
                0 => block.truncate(block.len() - 1),
                1 => block.push(0x80),
                2 => block.extend([0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f]),
                3 => block.extend([0x00, 0x01, b'x', 0x81, 0x00]),
                _ => block.extend([0xff, nth, 0x7f]),
            }
            wire.send(&Frame::headers(stream, block, true));
            ended(&mut wire, &[code::COMPRESSION_ERROR, code::PROTOCOL_ERROR]);
        }
    });
    assert_eq!(reached, 0);
}

/// The client asks for much and opens no window: little is held, and the streams end after their time.
#[test]
fn windows_that_stay_shut() {
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", http2: { stall_timeout: 2s } } }";
    let scene = Scene::with(more);
    let wires: Vec<(H2Wire, Vec<u32>)> = (0..4)
        .map(|_| {
            let shut = [(setting::INITIAL_WINDOW_SIZE, 0)];
            let mut wire = H2Wire::connect_with(scene.proxy.address(), &shut);
            let asks = (0..50).map(|_| wire.ask("GET", "/bytes/2000000", &[], true));
            let streams = asks.collect();
            (wire, streams)
        })
        .collect();
    let start = Instant::now();
    let mut peak = 0;
    while start.elapsed() < Duration::from_millis(1500) {
        peak = peak.max(scene.proxy.usage().rss_bytes.saturating_sub(scene.rss));
        std::thread::sleep(Duration::from_millis(50));
    }
    let each = peak / 200;
    println!("a shut stream of 2 MB takes {each} bytes");
    // 53 MiB for 2,000 streams.
    assert!(each < memory_bound(100 * 1024), "{each}");
    for (mut wire, streams) in wires {
        for stream in streams {
            match wire.try_answer(stream) {
                Ok(answer) => assert!(answer.reset.is_some(), "{answer:?}"),
                Err(_) => break, // the whole connection was ended
            }
        }
    }
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(1900) && took < Duration::from_secs(20),
        "{took:?}"
    );
}

/// Silence in each place where a client can be waited for.
#[test]
fn silence_is_ended() {
    let more = "timeouts: { head: 1s, idle: 1s }";
    let scene = Scene::with(more);
    let reached = scene.run(|scene| {
        let address = scene.proxy.address();
        let mut cut = scene.attacker();
        let stream = cut.take_stream();
        let mut head = Frame::headers(stream, request("GET", "/"), true);
        head.flags &= !frame::END_HEADERS;
        cut.send(&head);
        let mut half = Wire::connect(address);
        half.send(&PREFACE[..20]);
        let mut greeting = Wire::connect(address);
        greeting.send(PREFACE);
        let mut idle = scene.attacker();
        idle.get("/").expect(200);
        let mut none = scene.attacker();
        let start = Instant::now();
        for wire in [&mut cut, &mut idle, &mut none] {
            let (_, end) = wire.await_end();
            assert_ne!(end, End::Deadline);
        }
        for wire in [&mut half, &mut greeting] {
            assert_ne!(wire.rest().1, End::Deadline);
        }
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "{:?}",
            start.elapsed()
        );
    });
    assert_eq!(reached, TIMES);
}

/// The client offers an endless table for header compression: what answers have in their heads would be kept for as long
/// as the connection lasts.
#[test]
fn a_table_without_end() {
    let origin = Origin::answering(|seen| {
        let value = seen.head.target.repeat(400);
        Reply::text("ok").with("X-Big", &value)
    });
    let proxy = Proxy::before_with(&[origin.address()], "", "workers: 1");
    let load = |size: u32| {
        let settings = [(setting::HEADER_TABLE_SIZE, size)];
        let mut wire = H2Wire::connect_with(proxy.address(), &settings);
        for at in 0..REQUESTS_OF_A_CONNECTION {
            wire.get(&format!("/{at:015}")).expect(200);
        }
        proxy.usage().rss_bytes
    };
    let before = load(4096);
    let grown = load(u32::MAX).saturating_sub(before);
    println!("grown by {grown} bytes");
    // 6.4 KB for each of 500 answers.
    assert!(grown < memory_bound(GROWTH_MAX), "grown by {grown} bytes");
}
