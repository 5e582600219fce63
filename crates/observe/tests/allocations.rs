//! Counting a request and writing its lines allocates nothing once buffers have come round.
//!
//! One test only: the counter counts for the whole process, the writer thread included.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::time::Duration;

use keel_http::template::{Var, Variables};
use keel_observe::log::{Destination, Facility, SyslogTag, UtcOffset};
use keel_observe::{
    ErrorKind, LogBuffer, LogLimits, LogSpec, LogWriter, Names, PoolNames, Registry, WorkerMetrics,
};
use keel_types::{ListenerId, PoolId, RouteId, ServerIndex};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Requests of a round: some chunks for each file, and no more than a worker keeps spare buffers, so
/// that it makes none even when the writer has not begun yet.
const REQUESTS: u64 = 120;
const BURST: u64 = 5000;
const WARM_UP: u64 = 20;
const MEASURED: u64 = 50;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Request;

impl Variables for Request {
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        match var {
            Var::RemoteUser => return false,
            Var::Status => out.extend_from_slice(b"200"),
            Var::RequestTime => out.extend_from_slice(b"0.001"),
            // Needs escapes in every format.
            Var::Request => out.extend_from_slice(b"GET /\"\xff HTTP/1.1"),
            _ => out.extend_from_slice(b"some value of the usual length"),
        }
        true
    }
}

fn count_request(metrics: &WorkerMetrics) {
    let listener = metrics.listener(ListenerId(0));
    let _open = listener.accept();
    listener.request();
    let route = metrics.route(RouteId(1));
    let _in_flight = route.begin();
    let server = metrics.server(PoolId(0), ServerIndex(1));
    let _attempt = server.begin();
    server.connected(120);
    server.reused();
    server.answered(200, 300);
    server.bytes(300, 500);
    server.broken(ErrorKind::Reset);
    metrics.pool(PoolId(0)).unavailable();
    route.bytes(300, 500);
    route.finish(200, 420);
}

#[test]
fn the_steady_state_allocates_nothing() {
    let names = Names {
        listeners: vec!["web".into()],
        routes: vec!["a".into(), "b".into()],
        pools: vec![PoolNames {
            name: "app".into(),
            servers: vec!["x".into(), "y".into()],
        }],
    };
    let registry = Registry::new(&names, 1);
    let metrics = registry.worker(0);
    let writer = LogWriter::start(LogLimits::default(), UtcOffset::UTC).unwrap();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("keel-observe-alloc-{}", std::process::id()));
    let open = |format: &str, destination: &str| {
        let spec = LogSpec {
            name: format.into(),
            destination: destination.parse::<Destination>().unwrap(),
            format: format.into(),
            facility: Facility::default(),
            tag: SyslogTag::default(),
        };
        writer.open(&spec).unwrap()
    };
    let logs = [
        open("combined", path.to_str().unwrap()),
        open("timed", "/dev/null"),
        open("json", path.to_str().unwrap()),
    ];
    let mut buffer: LogBuffer = writer.buffer();
    let mut write = |requests: u64| {
        for n in 0..requests {
            count_request(&metrics);
            for log in &logs {
                buffer.write(log, 1_795_209_121_042 + n, &Request);
            }
        }
        buffer.flush();
    };
    // The size of the file tells when a round is written, because asking the writer to flush would
    // make a channel for its answer. Every round writes the same bytes.
    let size = || std::fs::metadata(&path).unwrap().len();
    let wait_for = |bytes: u64| {
        while size() < bytes {
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    // A burst at first, after which the worker has as many spare buffers as it keeps.
    write(BURST);
    writer.flush(Duration::from_secs(20)).unwrap();
    let burst_bytes = size();
    write(REQUESTS);
    writer.flush(Duration::from_secs(20)).unwrap();
    let round_bytes = size() - burst_bytes;
    for round in 2..=WARM_UP {
        write(REQUESTS);
        wait_for(burst_bytes + round * round_bytes);
    }
    let steady = Region::new(ALLOCATOR);
    for round in WARM_UP + 1..=WARM_UP + MEASURED {
        write(REQUESTS);
        wait_for(burst_bytes + round * round_bytes);
    }
    let change = steady.change();
    // A writer thread that the machine lets wait may have all spare buffers at once, and the worker
    // then makes one; an allocation a line or a request would show as thousands.
    let made = change.allocations + change.reallocations;
    assert!(
        made <= 8,
        "{made} allocations over {} requests",
        MEASURED * REQUESTS
    );
    assert_eq!(
        registry.totals().requests,
        BURST + (WARM_UP + MEASURED) * REQUESTS
    );
    std::fs::remove_file(path).unwrap();
}
