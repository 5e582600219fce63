//! TLS of listeners and pools while they run: made at the start, looked after by one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keel_l7::{Snapshot, TlsPlan};
use keel_observe::metrics::TlsFigures;
use keel_tls::{Acceptor, Connector, Event};

use crate::compile::TlsStart;
use crate::start::StartFault;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Makes the TLS of all listeners, by position. This is where the state folder is written to.
///
/// # Errors
/// What the first listener's files or settings have wrong; a check found it before unless files changed since.
pub(crate) fn plans(
    starts: &[Option<TlsStart>],
    workers: usize,
) -> Result<Vec<Option<TlsPlan>>, StartFault> {
    let make = |start: &Option<TlsStart>| start.as_ref().map(|it| plan(it, workers)).transpose();
    starts.iter().map(make).collect()
}

fn plan(start: &TlsStart, workers: usize) -> Result<TlsPlan, StartFault> {
    let own = start.settings.self_signed.is_some();
    let (acceptor, notices) = Acceptor::new(start.settings.clone()).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        StartFault::Tls {
            listener: start.listener.clone(),
            what: faults.join("; "),
        }
    })?;
    for notice in notices {
        let (listener, what) = (&start.listener, notice.what);
        match notice.warning {
            false => tracing::info!(listener, "{what}"),
            // Loading the file told of the others.
            true if own => tracing::warn!(listener, "{what}"),
            true => {}
        }
    }
    // Connections are spread over the workers by the kernel, so each has its share of what is allowed.
    let share = |all: u32| (all as usize).div_ceil(workers.max(1));
    Ok(TlsPlan {
        acceptor: Arc::new(acceptor),
        handshake_timeout_ms: start.handshake_timeout_ms,
        handshakes_max: share(start.concurrent),
        per_client: start
            .per_client
            .map(|all| u32::try_from(share(all)).unwrap_or(u32::MAX)),
        client_headers: start.client_headers,
    })
}

/// The TLS of one listener, and what happened to it.
#[derive(Debug)]
struct Watched {
    listener: String,
    acceptor: Arc<Acceptor>,
    taken: AtomicU64,
    refused: AtomicU64,
    ocsp_fetched: AtomicU64,
    ocsp_failed: AtomicU64,
}

/// The TLS of all listeners and pools that have it.
#[derive(Debug)]
pub(crate) struct TlsWatch {
    listeners: Vec<Watched>,
    /// By the pool's name.
    pools: Vec<(String, Arc<Connector>)>,
}

/// Ends the thread when it is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    _end: Sender<()>,
}

impl TlsWatch {
    /// Over all that a snapshot has.
    pub(crate) fn new(snapshot: &Snapshot) -> TlsWatch {
        let listeners = snapshot.listeners.iter().filter_map(|plan| {
            Some(Watched {
                listener: plan.name.clone(),
                acceptor: plan.tls.as_ref()?.acceptor.clone(),
                taken: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                ocsp_fetched: AtomicU64::new(0),
                ocsp_failed: AtomicU64::new(0),
            })
        });
        let pools = snapshot.pools.iter().filter_map(|plan| {
            let connector = plan.tls.as_ref()?.clone();
            Some((plan.pool.name.clone(), connector))
        });
        TlsWatch {
            listeners: listeners.collect(),
            pools: pools.collect(),
        }
    }

    /// Starts the thread that looks at the files once a second; `None` when there is nothing to look at.
    pub(crate) fn spawn(self: &Arc<Self>) -> std::io::Result<Option<Watching>> {
        if self.listeners.is_empty() && self.pools.is_empty() {
            return Ok(None);
        }
        let (end, ended) = channel();
        let watch = self.clone();
        std::thread::Builder::new()
            .name("tls-watch".to_owned())
            .spawn(move || watch.run(&ended))?;
        Ok(Some(Watching { _end: end }))
    }

    fn run(&self, ended: &Receiver<()>) {
        while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let now = SystemTime::now();
            for listener in &self.listeners {
                for event in listener.acceptor.refresh(now) {
                    listener.note(&event);
                }
            }
            for (pool, connector) in &self.pools {
                for event in connector.refresh(now) {
                    match event.is_warning() {
                        true => tracing::warn!(pool, "{event}"),
                        false => tracing::info!(pool, "{event}"),
                    }
                }
            }
        }
    }

    /// What a scrape shows.
    pub(crate) fn figures(&self) -> Vec<TlsFigures> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
        self.listeners.iter().map(|it| it.figures(now)).collect()
    }
}

impl Watched {
    fn note(&self, event: &Event) {
        let listener = &self.listener;
        if event.is_warning() {
            tracing::warn!(listener, "{event}");
        } else {
            tracing::info!(listener, "{event}");
        }
        let count = match event {
            Event::Refused { .. } => &self.refused,
            Event::StapleTaken { .. } => &self.ocsp_fetched,
            Event::StapleFailed { .. } => &self.ocsp_failed,
            Event::Expiring { .. } | Event::Expired { .. } => return,
            _ => &self.taken,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn figures(&self, now: i64) -> TlsFigures {
        let expiry = |one: keel_tls::CertificateInfo| {
            let name = one.names.into_iter().next().unwrap_or(one.source);
            (name, one.not_after.saturating_sub(now))
        };
        TlsFigures {
            listener: self.listener.clone(),
            expiries: self
                .acceptor
                .certificates()
                .into_iter()
                .map(expiry)
                .collect(),
            taken: self.taken.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            ocsp_fetched: self.ocsp_fetched.load(Ordering::Relaxed),
            ocsp_failed: self.ocsp_failed.load(Ordering::Relaxed),
        }
    }
}
