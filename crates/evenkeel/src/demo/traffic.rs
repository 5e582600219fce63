//! The demo's clients: steady requests over a few kept connections, and what came of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keel_http::{BodyLength, HeadLimits, HeadStatus, Method, ResponseHead, frame_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections over which the requests go.
const CLIENTS: u32 = 8;
/// A request without an answer for so long has failed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What came of the requests.
#[derive(Debug)]
pub struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    by_server: Vec<AtomicU64>,
    told: AtomicU64,
    told_at: std::sync::Mutex<std::time::Instant>,
}

impl Tally {
    /// Nothing yet, over so many servers.
    pub fn new(servers: usize) -> Tally {
        Tally {
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            by_server: (0..servers).map(|_| AtomicU64::new(0)).collect(),
            told: AtomicU64::new(0),
            told_at: std::sync::Mutex::new(std::time::Instant::now()),
        }
    }

    /// The live line; the rate is that since the line before.
    pub fn line(&self, running: &[bool]) -> String {
        let answered = self.answered.load(Ordering::Relaxed);
        let before = self.told.swap(answered, Ordering::Relaxed);
        let seconds = {
            let mut at = self
                .told_at
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let passed = at.elapsed();
            *at = std::time::Instant::now();
            passed.as_secs_f64()
        };
        let rate = if seconds > 0.0 {
            (answered - before) as f64 / seconds
        } else {
            0.0
        };
        let servers: Vec<String> = self
            .by_server
            .iter()
            .zip(running)
            .enumerate()
            .map(|(at, (count, running))| {
                let state = if *running { "" } else { " (stopped)" };
                format!("s{}: {}{state}", at + 1, count.load(Ordering::Relaxed))
            })
            .collect();
        let failed = self.failed.load(Ordering::Relaxed);
        format!(
            "{rate:>6.0} requests/s   {}   failed: {failed}",
            servers.join("   ")
        )
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let (answered, failed) = (
            self.answered.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        );
        format!("{answered} requests answered, {failed} failed")
    }

    fn count(&self, outcome: Option<usize>) {
        match outcome {
            Some(server) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                if let Some(count) = self.by_server.get(server) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The clients.
pub struct Traffic {
    clients: JoinSet<()>,
}

impl Traffic {
    /// Starts them: `rate` requests per second in all.
    pub fn start(site: SocketAddr, rate: u32, tally: Arc<Tally>) -> Traffic {
        let mut clients = JoinSet::new();
        let pause = Duration::from_secs(1) * CLIENTS / rate.max(1);
        for _ in 0..CLIENTS {
            clients.spawn(client(site, pause, tally.clone()));
        }
        Traffic { clients }
    }

    /// Ends them.
    pub async fn stop(mut self) {
        self.clients.shutdown().await;
    }
}

async fn client(site: SocketAddr, pause: Duration, tally: Arc<Tally>) {
    let mut kept: Option<TcpStream> = None;
    let mut interval = tokio::time::interval(pause);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let outcome = tokio::time::timeout(TIMEOUT, ask(site, &mut kept)).await;
        tally.count(outcome.ok().flatten());
    }
}

/// One request; gives the position of the server that answered with 200.
async fn ask(site: SocketAddr, kept: &mut Option<TcpStream>) -> Option<usize> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(site).await.ok()?,
    };
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")
        .await
        .ok()?;
    let mut bytes = Vec::with_capacity(1024);
    let mut head = ResponseHead::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if head.parse(&bytes, &HeadLimits::default()).ok()? == HeadStatus::Complete {
            break;
        }
    }
    let framing = frame_response(&head, &bytes, Method::Get, false).ok()?;
    let BodyLength::Fixed(length) = framing.body else {
        return None;
    };
    let whole = head.len + usize::try_from(length).ok()?;
    while bytes.len() < whole {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let server = head.fields.first_named(b"x-served-by", &bytes)?;
    let number: usize = std::str::from_utf8(server.strip_prefix(b"s")?)
        .ok()?
        .parse()
        .ok()?;
    if framing.keep_alive {
        *kept = Some(stream);
    }
    (head.status == 200)
        .then(|| number.checked_sub(1))
        .flatten()
}
