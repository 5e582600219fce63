//! What counting a request and writing a log line cost the worker, in nanoseconds:
//! `cargo run --release -p keel-observe --example cost`.
//!
//! The best of several rounds on one thread; the writer thread writes to /dev/null beside it.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use keel_http::template::{Var, Variables};
use keel_observe::log::{Facility, SyslogTag, UtcOffset};
use keel_observe::{LogLimits, LogSpec, LogWriter, Names, PoolNames, Registry};
use keel_types::{ListenerId, PoolId, RouteId, ServerIndex};

const ROUNDS: usize = 15;
const REQUESTS: u64 = 200_000;

/// A request with every field present, written as the data plane writes them: bytes at hand.
struct Request {
    bytes: u64,
}

impl Variables for Request {
    #[inline]
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        let text: &[u8] = match var {
            Var::RemoteAddr => b"203.0.113.195",
            Var::RemoteUser => b"alice",
            Var::Request => b"GET /api/users/1234?full=true HTTP/1.1",
            Var::RequestMethod => b"GET",
            Var::RequestUri => b"/api/users/1234?full=true",
            Var::Status => b"200",
            Var::BodyBytesSent | Var::RequestLength => {
                write_number(self.bytes, out);
                return true;
            }
            Var::Host => b"api.example.com",
            Var::Scheme => b"http",
            Var::ServerProtocol => b"HTTP/1.1",
            Var::RequestTime | Var::UpstreamResponseTime | Var::UpstreamHeaderTime => b"0.012",
            Var::UpstreamConnectTime => b"0.000",
            Var::UpstreamAddr => b"10.0.1.10:8080",
            Var::UpstreamStatus => b"200",
            Var::Route => b"api",
            Var::Pool => b"app",
            Var::Server => b"api-01",
            Var::Listener => b"web",
            Var::Retries => b"0",
            Var::Termination => b"---",
            Var::RequestId => b"4b1f0c2d9e8a76543210fedcba987654",
            Var::Http(name) if name == "referer" => b"https://www.example.com/start/page",
            Var::Http(name) if name == "user-agent" => {
                b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
            }
            _ => return false,
        };
        out.extend_from_slice(text);
        true
    }
}

fn write_number(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Nanoseconds per call, the best round.
fn best(mut call: impl FnMut(u64)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for n in 0..REQUESTS {
            call(n);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / REQUESTS as f64);
    }
    best
}

fn metrics() {
    let names = Names {
        listeners: vec!["web".into()],
        routes: (0..1000).map(|n| format!("route-{n}")).collect(),
        pools: vec![PoolNames {
            name: "app".into(),
            servers: (0..3).map(|n| format!("s{n}")).collect(),
        }],
    };
    let registry = Registry::new(&names, 1);
    let worker = registry.worker(0);
    let ns = best(|n| {
        let n = black_box(n);
        worker.listener(ListenerId(0)).request();
        let route = worker.route(RouteId((n % 7) as u32));
        let in_flight = route.begin();
        let server = worker.server(PoolId(0), ServerIndex((n % 3) as u32));
        let attempt = server.begin();
        server.reused();
        server.answered(200, 300 + n % 1000);
        server.bytes(300, 500);
        drop(attempt);
        route.bytes(300, 500);
        route.finish(200, 400 + n % 1000);
        drop(in_flight);
    });
    println!(
        "metrics of one request (listener, route, server, 2 guards, 2 histograms): {ns:.1} ns"
    );
}

fn lines() -> std::io::Result<()> {
    // The queue never fills here, so that the cost of a written line is seen, not of a dropped one.
    let limits = LogLimits {
        queue_chunks: 4096,
        ..LogLimits::default()
    };
    let writer = LogWriter::start(limits, UtcOffset::UTC)?;
    for format in ["combined", "common", "timed", "main", "json"] {
        let log = writer
            .open(&LogSpec {
                name: format.into(),
                destination: keel_observe::log::Destination::File("/dev/null".into()),
                format: format.into(),
                facility: Facility::default(),
                tag: SyslogTag::default(),
            })
            .map_err(std::io::Error::other)?;
        let mut buffer = writer.buffer();
        let ns = best(|n| {
            let request = Request {
                bytes: black_box(100 + n % 5000),
            };
            buffer.write(&log, 1_795_209_121_000 + n / 100, &request);
        });
        println!("line of `{format}`: {ns:.1} ns");
    }
    let _ = writer.shutdown(Duration::from_secs(5));
    let dropped: u64 = writer.stats().iter().map(|stats| stats.lines_dropped).sum();
    println!("lines dropped meanwhile: {dropped}");
    Ok(())
}

fn main() -> std::io::Result<()> {
    metrics();
    lines()
}
