//! Steady keep-alive load that counts every failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::client::{Ask, Wire};
use crate::wait::until_true;

/// Kept texts of failures; more are counted only.
const FAILURES_KEPT: usize = 10;

/// What the load has seen.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Answers with 200.
    pub served: u64,
    /// Requests that got anything else, or nothing.
    pub failed: u64,
    /// The first few failures.
    pub failures: Vec<String>,
    /// Answers by the origin's name (`X-Origin`).
    pub by_origin: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    served: AtomicU64,
    report: Mutex<LoadReport>,
}

/// Clients that send requests one after the other until they are stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `clients` keep-alive connections that send `ask`.
    pub fn start(address: SocketAddr, clients: usize, ask: &Ask) -> Load {
        let shared = Arc::new(Shared::default());
        let bytes = Arc::new(ask.to_bytes());
        let threads = (0..clients)
            .map(|_| {
                let (shared, bytes) = (Arc::clone(&shared), Arc::clone(&bytes));
                std::thread::spawn(move || client(address, &shared, &bytes))
            })
            .collect();
        Load { shared, threads }
    }

    /// Answers so far.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// What was seen so far.
    pub fn so_far(&self) -> LoadReport {
        let report = self
            .shared
            .report
            .lock()
            .expect("no client panics with the lock")
            .clone();
        LoadReport {
            served: self.served(),
            ..report
        }
    }

    /// Waits until so many more requests have been served.
    pub fn await_more(&self, requests: u64) {
        let goal = self.served() + requests;
        until_true(&format!("{requests} more requests served"), || {
            self.served() >= goal
        });
    }

    /// Stops and reports.
    pub fn stop(self) -> LoadReport {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client of the load does not panic");
        }
        let report = self
            .shared
            .report
            .lock()
            .expect("all clients have ended")
            .clone();
        LoadReport {
            served: self.shared.served.load(Ordering::Relaxed),
            ..report
        }
    }
}

fn client(address: SocketAddr, shared: &Shared, bytes: &[u8]) {
    let mut wire: Option<Wire> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        match request(address, &mut wire, bytes) {
            Ok(origin) => {
                shared.served.fetch_add(1, Ordering::Relaxed);
                let mut report = shared
                    .report
                    .lock()
                    .expect("no client panics with the lock");
                *report.by_origin.entry(origin).or_default() += 1;
            }
            Err(why) => {
                wire = None;
                let mut report = shared
                    .report
                    .lock()
                    .expect("no client panics with the lock");
                report.failed += 1;
                if report.failures.len() < FAILURES_KEPT {
                    report.failures.push(why);
                }
            }
        }
    }
}

/// One request; the connection is kept when the answer allows it.
fn request(address: SocketAddr, slot: &mut Option<Wire>, bytes: &[u8]) -> Result<String, String> {
    let mut wire = match slot.take() {
        Some(wire) => wire,
        None => Wire::try_connect(address).map_err(|fault| format!("connect: {fault}"))?,
    };
    wire.try_send(bytes)
        .map_err(|fault| format!("send: {fault}"))?;
    let answer = wire.try_answer("GET").map_err(|lost| format!("{lost:?}"))?;
    if answer.status() != 200 {
        return Err(format!(
            "{} {:?} {}",
            answer.status(),
            answer.header("x-error"),
            answer.text()
        ));
    }
    let origin = answer.header("x-origin").unwrap_or_default();
    if !answer.head.fields.lists("connection", "close") {
        *slot = Some(wire);
    }
    Ok(origin)
}
