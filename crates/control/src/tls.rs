//! TLS of listeners and pools while they run: made at the start, looked after by a few threads.

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
/// Threads that look. Asking for an OCSP answer may take seconds: other listeners do not wait for that.
const THREADS_MAX: usize = 4;

/// Makes the TLS of a listener; what runs with the same settings is taken over, with its sessions and
/// tickets. This is where the state folder is written to.
///
/// # Errors
/// What the listener's files or settings have wrong; a check found it before unless files changed since.
pub(crate) fn plan(
    start: &TlsStart,
    runs: Option<&(TlsStart, TlsPlan)>,
    workers: usize,
) -> Result<TlsPlan, StartFault> {
    let acceptor = match runs {
        Some((of, plan)) if of.settings == start.settings => plan.acceptor.clone(),
        _ => acceptor(start)?,
    };
    // Connections are spread over the workers by the kernel, so each has its share of what is allowed.
    let share = |all: u32| (all as usize).div_ceil(workers.max(1));
    Ok(TlsPlan {
        acceptor,
        handshake_timeout_ms: start.handshake_timeout_ms,
        handshakes_max: share(start.concurrent),
        per_client: start
            .per_client
            .map(|all| u32::try_from(share(all)).unwrap_or(u32::MAX)),
    })
}

fn acceptor(start: &TlsStart) -> Result<Arc<Acceptor>, StartFault> {
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
    Ok(Arc::new(acceptor))
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
    listeners: Vec<Arc<Watched>>,
    /// By the pool's name.
    pools: Vec<(String, Arc<Connector>)>,
}

/// Ends the threads when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    _ends: Vec<Sender<()>>,
}

impl TlsWatch {
    /// Over all that a snapshot has, and the TLS of checks by their pools. Counts of before go on by the listener's name.
    pub(crate) fn new(
        snapshot: &Snapshot,
        checks: Vec<(String, Arc<Connector>)>,
        before: Option<&TlsWatch>,
    ) -> TlsWatch {
        let known = before.map_or(&[][..], |before| &before.listeners);
        let live = snapshot.listeners.iter().filter(|plan| !plan.gone);
        let listeners = live.filter_map(|plan| {
            let acceptor = &plan.tls.as_ref()?.acceptor;
            let known = known.iter().find(|it| it.listener == plan.name);
            Some(match known {
                Some(known) if Arc::ptr_eq(&known.acceptor, acceptor) => known.clone(),
                _ => Arc::new(Watched::new(&plan.name, acceptor, known.map(Arc::as_ref))),
            })
        });
        let pools = snapshot.pools.iter().filter_map(|plan| {
            let connector = plan.tls.as_ref()?.clone();
            Some((plan.pool.name.clone(), connector))
        });
        TlsWatch {
            listeners: listeners.collect(),
            pools: pools.chain(checks).collect(),
        }
    }

    /// Whether the same things are looked at.
    pub(crate) fn is_same(&self, other: &TlsWatch) -> bool {
        let listeners = self.listeners.iter().zip(&other.listeners);
        let pools = self.pools.iter().zip(&other.pools);
        self.listeners.len() == other.listeners.len()
            && self.pools.len() == other.pools.len()
            && listeners.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
            && pools
                .into_iter()
                .all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1))
    }

    /// Starts the threads that look at the files once a second; none when there is nothing to look at.
    pub(crate) fn spawn(self: &Arc<Self>) -> std::io::Result<Watching> {
        let all = self
            .listeners
            .len()
            .max(usize::from(!self.pools.is_empty()));
        let threads = all.min(THREADS_MAX);
        let mut watching = Watching::default();
        for thread in 0..threads {
            let (end, ended) = channel();
            let watch = self.clone();
            std::thread::Builder::new()
                .name(format!("tls-watch-{thread}"))
                .spawn(move || watch.run(thread, threads, &ended))?;
            watching._ends.push(end);
        }
        Ok(watching)
    }

    fn run(&self, thread: usize, threads: usize, ended: &Receiver<()>) {
        while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.look(thread, threads, SystemTime::now());
        }
    }

    /// Looks once at the files of every so many listeners, and tells what happened. Those of pools are the first thread's.
    fn look(&self, thread: usize, threads: usize, now: SystemTime) {
        for listener in self.listeners.iter().skip(thread).step_by(threads) {
            for event in listener.acceptor.refresh(now) {
                listener.note(&event);
            }
        }
        for (pool, connector) in self.pools.iter().filter(|_| thread == 0) {
            for event in connector.refresh(now) {
                match event.is_warning() {
                    true => tracing::warn!(pool, "{event}"),
                    false => tracing::info!(pool, "{event}"),
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
    fn new(listener: &str, acceptor: &Arc<Acceptor>, before: Option<&Watched>) -> Watched {
        let from = |count: fn(&Watched) -> &AtomicU64| {
            AtomicU64::new(before.map_or(0, |it| count(it).load(Ordering::Relaxed)))
        };
        Watched {
            listener: listener.to_owned(),
            acceptor: acceptor.clone(),
            taken: from(|it| &it.taken),
            refused: from(|it| &it.refused),
            ocsp_fetched: from(|it| &it.ocsp_fetched),
            ocsp_failed: from(|it| &it.ocsp_failed),
        }
    }

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

#[cfg(test)]
#[allow(clippy::panic, reason = "a test fails by panicking, its helpers too")]
mod tests {
    use keel_config::{InMemory, Source, load, render_all};
    use keel_testkit::scratch::Scratch;
    use keel_testkit::{Ca, LeafSpec};

    use super::*;
    use crate::compile::{Compiled, compile};

    fn compiled(scratch: &Scratch, text: &str) -> Compiled {
        let file = scratch.path().join("a.yaml");
        let world = InMemory::new().file(&file, text);
        let (model, _) = load(Source::file(&file, &world))
            .unwrap_or_else(|found| panic!("{}", render_all(&found, false)));
        compile(&model).unwrap_or_else(|found| panic!("{}", render_all(&found, false)))
    }

    /// The snapshot's TLS as the start makes it.
    fn watch(compiled: Compiled) -> (TlsWatch, Vec<Option<TlsPlan>>) {
        let plans: Vec<Option<TlsPlan>> = plans(&compiled.tls, 2).expect("the files are good");
        let mut snapshot = compiled.snapshot;
        for (listener, plan) in snapshot.listeners.iter_mut().zip(&plans) {
            listener.tls = plan.clone();
        }
        (TlsWatch::new(&snapshot, Vec::new(), None), plans)
    }

    fn plans(
        starts: &[Option<TlsStart>],
        workers: usize,
    ) -> Result<Vec<Option<TlsPlan>>, StartFault> {
        let make = |it: &Option<TlsStart>| {
            let plan = it.as_ref().map(|it| plan(it, None, workers));
            plan.transpose()
        };
        starts.iter().map(make).collect()
    }

    const SITE: &str = "\
state: state
listeners:
  plain: { bind: \":80\" }
  site:
    bind: \":443\"
    tls:
      certificates: { cert: site.pem, key: site.key }
      ocsp: false
      handshakes: { per_client: 5r/s, concurrent: 9 }
routes: [ { respond: { status: 204 } } ]
";

    #[test]
    fn renewals_are_taken_and_counted() {
        const DAY: i64 = 86_400;
        let scratch = Scratch::new();
        let ca = Ca::new("a CA");
        ca.leaf(&["a.example"]).write(&scratch, "site");
        let (watch, plans) = watch(compiled(&scratch, SITE));
        assert!(plans[0].is_none());
        let plan = plans[1].as_ref().expect("TLS");
        // Each of two workers has its share, rounded up.
        assert_eq!((plan.handshakes_max, plan.per_client), (5, Some(3)));
        let only = || watch.figures().pop().expect("one listener");
        assert_eq!((only().taken, only().refused), (0, 0));
        assert_eq!(only().listener, "site");

        let renewed = ca.issue(LeafSpec::names(&["a.example"]).valid(-1, 300));
        scratch.write("site.pem", &renewed.cert_pem);
        watch.look(0, 1, SystemTime::now());
        assert_eq!(
            (only().taken, only().refused),
            (0, 1),
            "the key is not there yet"
        );
        scratch.write("site.key", &renewed.key_pem);
        watch.look(0, 1, SystemTime::now());
        assert_eq!((only().taken, only().refused), (1, 1));
        let (name, left) = only().expiries.pop().expect("a certificate");
        assert_eq!(name, "a.example");
        assert!(left > 298 * DAY && left < 302 * DAY, "{left}");
    }

    #[test]
    fn a_file_that_went_bad_since_the_check_stops_the_start() {
        let scratch = Scratch::new();
        Ca::new("a CA").leaf(&["a.example"]).write(&scratch, "site");
        let compiled = compiled(&scratch, SITE);
        scratch.write("site.key", "gone");
        let fault = plans(&compiled.tls, 1).expect_err("refused").to_string();
        assert!(fault.starts_with("listener `site`: TLS: "), "{fault}");
        assert!(fault.contains("site.key"), "{fault}");
    }

    #[test]
    fn a_certificate_of_our_own_is_made_at_the_start_alone() {
        let scratch = Scratch::new();
        let text = SITE.replace(
            "certificates: { cert: site.pem, key: site.key }",
            "self_signed: { names: [dev.internal] }",
        );
        let compiled = compiled(&scratch, &text);
        let state = scratch.path().join("state");
        assert!(!state.exists(), "a check leaves no trace");
        let (watch, _) = watch(compiled);
        assert!(state.join("ca/ca.pem").exists());
        let figures = watch.figures().pop().expect("one listener");
        assert_eq!(
            figures.expiries.first().map(|(name, _)| name.as_str()),
            Some("dev.internal")
        );
    }

    #[test]
    fn the_threads_end_with_their_owner() {
        let scratch = Scratch::new();
        Ca::new("a CA").leaf(&["a.example"]).write(&scratch, "site");
        let (watch, _) = watch(compiled(&scratch, SITE));
        let watch = Arc::new(watch);
        let watching = watch.spawn().expect("a thread");
        assert_eq!(Arc::strong_count(&watch), 2);
        drop(watching);
        let due = std::time::Instant::now() + Duration::from_secs(10);
        while Arc::strong_count(&watch) > 1 {
            assert!(std::time::Instant::now() < due, "the thread goes on");
            std::thread::yield_now();
        }
        let none = Arc::new(TlsWatch {
            listeners: Vec::new(),
            pools: Vec::new(),
        });
        let watching = none.spawn().expect("nothing to start");
        assert_eq!((watching._ends.len(), Arc::strong_count(&none)), (0, 1));
    }
}
