//! The load generator: one thread, one epoll set, edge-triggered, in a process of its own.
//!
//! Closed loop: every active connection has one request in flight at all times, or over HTTP/2 so many. Per request it makes one write, one read
//! and one reading of the clock, so that on its core it costs less than the proxy on the other.

use std::io::{self, BufRead};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::event::Event;
use mio::{Events, Poll, Registry};

use crate::connection::{self, Connection};
use crate::cpu::{CpuMeter, machine_busy};
use crate::h2;
use crate::histogram::Histogram;
use crate::job::{LoadJob, LoadResult};
use crate::protocol::Protocol;
use crate::transport::Target;
use crate::{tls, wire};

/// Bytes of the one read buffer.
const READ_BYTES: usize = 256 << 10;
/// Events taken at a time.
const EVENTS_MAX: usize = 1024;
/// Connections being opened at a time.
const OPENING_MAX: usize = 64;
/// Longest time for opening all connections.
const OPENING_PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for an event; phases end at most this late.
const TICK: Duration = Duration::from_millis(5);
/// Errors after which going on is pointless.
const ERRORS_MAX: u64 = 1000;

/// The `load` command: reads one job from standard input, writes one result to standard output.
pub fn serve() -> Result<()> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .context("cannot read the job")?;
    let job: LoadJob = serde_json::from_str(&line).context("the job is not valid")?;
    let result = Generator::new(&job)?.run(&job)?;
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}

/// Counts and times since the last phase began.
#[derive(Debug, Default)]
pub struct Tally {
    /// Latencies of good answers, nanoseconds.
    pub latencies: Histogram,
    /// Answers other than 2xx.
    pub not_2xx: u64,
    /// Everything else that went wrong.
    pub errors: u64,
    /// The first failure in words.
    pub first_error: Option<String>,
}

impl Tally {
    /// Notes a failure.
    pub fn fail(&mut self, what: impl FnOnce() -> String) {
        self.errors += 1;
        self.first_error.get_or_insert_with(what);
    }

    /// Notes an answer with this status.
    pub fn answer(&mut self, status: u16, latency: Duration) {
        if (200..300).contains(&status) {
            self.latencies.record(latency.as_nanos() as u64);
        } else {
            self.not_2xx += 1;
            self.first_error
                .get_or_insert_with(|| format!("status {status}"));
        }
    }
}

/// The connections, all of one protocol.
enum Clients {
    Http1(connection::Shared, Vec<Connection>),
    Http2(h2::connection::Shared, Vec<h2::connection::Connection>),
}

impl Clients {
    fn new(job: &LoadJob) -> Result<Clients> {
        let is_tls = job.protocol.is_tls();
        let tls = is_tls
            .then(|| tls::client_config(job.protocol))
            .transpose()?;
        let target = Target {
            address: job.target,
            client_addresses: job.client_addresses,
            tls,
        };
        let (paths, host, body_bytes) = (job.paths.iter(), &job.host, job.body_bytes);
        if job.protocol != Protocol::Http2 {
            let requests = paths.map(|path| wire::get(path, host, job.reconnect));
            let shared = connection::Shared {
                target,
                requests: requests.collect(),
                body_bytes,
                reconnect: job.reconnect,
            };
            return Ok(Clients::Http1(shared, Vec::new()));
        }
        ensure!(!job.reconnect, "connections are kept over HTTP/2");
        let requests = paths.map(|path| h2::requests::Request::get(path, host));
        let shared = h2::connection::Shared {
            target,
            requests: requests.collect(),
            body_bytes,
            streams: job.streams,
        };
        Ok(Clients::Http2(shared, Vec::new()))
    }

    fn len(&self) -> usize {
        match self {
            Clients::Http1(_, list) => list.len(),
            Clients::Http2(_, list) => list.len(),
        }
    }

    /// One more. A connection for one request only cannot wait for the others; every other one does.
    fn open(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Clients::Http1(shared, list) => {
                let idle = !shared.reconnect;
                list.push(Connection::open(list.len(), idle, shared, registry)?);
            }
            Clients::Http2(shared, list) => {
                let index = list.len();
                list.push(h2::connection::Connection::open(index, shared, registry)?);
            }
        }
        Ok(())
    }

    fn is_settled(&self, index: usize) -> bool {
        match self {
            Clients::Http1(_, list) => list.get(index).is_some_and(Connection::is_settled),
            Clients::Http2(_, list) => list
                .get(index)
                .is_some_and(h2::connection::Connection::is_settled),
        }
    }

    /// Sends requests on all connections from number `first` on.
    fn wake(&mut self, first: usize, tally: &mut Tally) {
        match self {
            Clients::Http1(shared, list) => {
                for connection in list.iter_mut().skip(first) {
                    connection.wake(shared, tally);
                }
            }
            Clients::Http2(shared, list) => {
                for connection in list.iter_mut().skip(first) {
                    connection.wake(shared, tally);
                }
            }
        }
    }

    fn advance(
        &mut self,
        event: &Event,
        registry: &Registry,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) {
        let index = event.token().0;
        match self {
            Clients::Http1(shared, list) => {
                if let Some(connection) = list.get_mut(index) {
                    connection.advance(event, shared, registry, buffer, tally);
                }
            }
            Clients::Http2(shared, list) => {
                if let Some(connection) = list.get_mut(index) {
                    connection.advance(event, shared, buffer, tally);
                }
            }
        }
    }
}

struct Generator {
    poll: Poll,
    events: Events,
    clients: Clients,
    buffer: Vec<u8>,
    tally: Tally,
}

/// All clocks at one moment.
struct Stamp {
    at: Instant,
    proxy: Duration,
    own: Duration,
    origin: Duration,
    machine: Duration,
}

impl Generator {
    fn new(job: &LoadJob) -> Result<Generator> {
        Ok(Generator {
            poll: Poll::new().context("cannot make an epoll set")?,
            events: Events::with_capacity(EVENTS_MAX),
            clients: Clients::new(job)?,
            buffer: vec![0; READ_BYTES],
            tally: Tally::default(),
        })
    }

    fn run(mut self, job: &LoadJob) -> Result<LoadResult> {
        let proxy = CpuMeter::new(job.proxy_pid).context("cannot read the proxy's CPU time")?;
        let own = CpuMeter::new(std::process::id()).context("cannot read our CPU time")?;
        let origin = CpuMeter::new(job.origin_pid).context("cannot read the origins' CPU time")?;
        let stamp = || -> Result<Stamp> {
            let (proxy, own, origin) = (proxy.read()?, own.read()?, origin.read()?);
            Ok(Stamp {
                at: Instant::now(),
                proxy,
                own,
                origin,
                machine: machine_busy()?,
            })
        };
        self.open_all(job)?;
        if self.tally.errors > 0 {
            let now = stamp()?;
            return Ok(self.result(&now, &now));
        }
        self.drive_for(Duration::from_millis(job.warm_up_ms))?;
        self.tally.latencies.clear();
        let start = stamp()?;
        self.drive_for(Duration::from_millis(job.measure_ms))?;
        let end = stamp()?;
        Ok(self.result(&start, &end))
    }

    fn result(&self, start: &Stamp, end: &Stamp) -> LoadResult {
        let latencies = &self.tally.latencies;
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let seconds = |of: fn(&Stamp) -> Duration| (of(end) - of(start)).as_secs_f64();
        let ours = seconds(|s| s.proxy + s.own + s.origin);
        LoadResult {
            requests: latencies.total(),
            seconds: (end.at - start.at).as_secs_f64(),
            cpu_seconds: seconds(|s| s.proxy),
            load_cpu_seconds: seconds(|s| s.own + s.origin),
            foreign_cpu_seconds: (seconds(|s| s.machine) - ours).max(0.0),
            // Only the driver can ask the origins.
            origin_connections: 0,
            p50_us: micros(latencies.quantile(0.5)),
            p99_us: micros(latencies.quantile(0.99)),
            p999_us: micros(latencies.quantile(0.999)),
            max_us: micros(latencies.max()),
            not_2xx: self.tally.not_2xx,
            errors: self.tally.errors,
            first_error: self.tally.first_error.clone(),
        }
    }

    /// Opens all connections, a few at a time, each with one request; then wakes the active ones.
    fn open_all(&mut self, job: &LoadJob) -> Result<()> {
        let began = Instant::now();
        let total = job.idle + job.active;
        let mut settled = 0;
        while settled < total {
            while self.clients.len() < total && self.clients.len() - settled < OPENING_MAX {
                let opened = self.clients.open(self.poll.registry());
                opened.context("cannot open a connection")?;
            }
            self.drive_once()?;
            while self.clients.is_settled(settled) {
                settled += 1;
            }
            if began.elapsed() > OPENING_PATIENCE || self.tally.errors > 0 {
                self.tally
                    .fail(|| format!("{settled} of {total} connections could be opened"));
                return Ok(());
            }
        }
        self.clients.wake(job.idle, &mut self.tally);
        Ok(())
    }

    fn drive_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end && self.tally.errors < ERRORS_MAX {
            self.drive_once()?;
        }
        Ok(())
    }

    fn drive_once(&mut self) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(TICK)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other.context("epoll failed")?,
        }
        let registry = self.poll.registry();
        for event in &self.events {
            let (buffer, tally) = (&mut self.buffer, &mut self.tally);
            self.clients.advance(event, registry, buffer, tally);
        }
        Ok(())
    }
}
