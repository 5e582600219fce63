//! Starts a compiled configuration: logs, sockets, worker threads; and stops it again.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keel_config::model::{BindAddress, EndpointHost, Model, Workers};
use keel_l7::{DrainTimes, Gate, Snapshot, View, Worker, run_worker};
use keel_net::{BindFault, Bound, Drain, bind, bind_like, raise_descriptor_limit};
use keel_observe::log::{LogFault, LogLimits, UtcOffset};
use keel_observe::{LogWriter, Registry};
use keel_types::ListenerId;

use crate::compile::Compiled;
use crate::limits::connections_max;
use crate::live::Control;
use crate::status::Status;
use crate::tls::{self, TlsWatch, Watching};

/// Why a configuration could not be started. Nothing of it runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// An address cannot be listened on.
    #[error("listener `{listener}`: {fault}")]
    Bind {
        /// The listener.
        listener: String,
        /// What is wrong.
        fault: BindFault,
    },
    /// A bind address is a name that does not resolve.
    #[error("listener `{listener}`: {name} does not resolve ({cause}); write an IP address")]
    Name {
        /// The listener.
        listener: String,
        /// The name.
        name: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A listener's TLS cannot be made.
    #[error("listener `{listener}`: TLS: {what}")]
    Tls {
        /// The listener.
        listener: String,
        /// What is wrong, and how to mend it.
        what: String,
    },
    /// An access log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogFault),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// An address that is listened on, for the messages of the binary.
#[derive(Debug, Clone)]
pub struct Bind {
    /// The listener's name.
    pub listener: String,
    /// The address, with the port that it got.
    pub address: SocketAddr,
}

/// A running data plane. Dropping it does not stop it.
#[derive(Debug)]
pub struct Running {
    /// What is listened on.
    pub binds: Vec<Bind>,
    /// Number of workers.
    pub workers: usize,
    /// Client connections that may be open.
    pub connections_max: usize,
    /// How it fares at the start; [`Control::status`] is what holds later.
    pub status: Arc<Status>,
    /// For reloads and changes.
    pub control: Control,
    logs: LogWriter,
    drain: Drain,
    drain_times: DrainTimes,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    _watching: Watching,
}

/// What each worker thread is made of.
struct Shared {
    snapshot: Arc<Snapshot>,
    registry: Registry,
    logs: LogWriter,
    copies_answers: Vec<bool>,
    hostname: String,
    base: Instant,
    drain: Drain,
    gate: Arc<Gate>,
}

/// What a process is started with.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub model: Model,
    /// What was compiled from it.
    pub compiled: Compiled,
    /// The file that a reload reads anew; `None` when the configuration came from no file.
    pub file: Option<PathBuf>,
}

/// Starts what was compiled. Call it on the runtime that the control plane is to use.
///
/// # Errors
/// The first thing that does not work; everything that was opened is closed again.
pub fn start(start: Start) -> Result<Running, StartFault> {
    let Start {
        model,
        compiled,
        file,
    } = start;
    let model = &model;
    let workers = worker_count(model);
    let (connections_max, too_many) =
        connections_max(model.process.connections, raise_descriptor_limit(), workers);
    if too_many {
        tracing::warn!(
            connections = connections_max,
            "the limit of open files is too low for so many connections; raise it (`ulimit -n`, LimitNOFILE=)"
        );
    }
    let sockets = bind_all(model)?;
    let logs =
        LogWriter::start(LogLimits::default(), UtcOffset::default()).map_err(StartFault::Thread)?;
    let mut snapshot = compiled.snapshot;
    let plans = tls::plans(&compiled.tls, workers)?;
    for (listener, plan) in snapshot.listeners.iter_mut().zip(plans) {
        listener.tls = plan;
    }
    for spec in &compiled.logs {
        snapshot.logs.push(logs.open(spec)?);
    }
    let copies_answers = copies_answers(&snapshot, &compiled.logs);
    let snapshot = Arc::new(snapshot);
    let watch = Arc::new(TlsWatch::new(&snapshot));
    let registry = Registry::new(&compiled.names, workers);
    let base = Instant::now();
    let status = Arc::new(Status {
        generation: 1,
        model: Arc::new(model.clone()),
        snapshot: snapshot.clone(),
        registry: registry.clone(),
        rules: compiled.rules,
        logs: logs.clone(),
        tls: watch.clone(),
        base,
    });
    compiled.handle.set(status.clone());
    let binds = sockets
        .iter()
        .map(|(_, name, bound)| Bind {
            listener: name.clone(),
            address: bound.address,
        })
        .collect();
    let drain = Drain::new();
    let shared = Arc::new(Shared {
        snapshot: snapshot.clone(),
        registry,
        logs: logs.clone(),
        copies_answers,
        hostname: hostname(),
        base,
        drain: drain.clone(),
        gate: Arc::new(Gate::new(connections_max)),
    });
    let drain_times = drain_times(model);
    let watching = watch.spawn().map_err(StartFault::Thread)?;
    let threads = spawn_workers(model, &shared, sockets, workers, drain_times)?;
    Ok(Running {
        binds,
        workers,
        connections_max,
        control: Control::new(status.clone(), file),
        status,
        logs,
        drain,
        drain_times,
        threads,
        _watching: watching,
    })
}

fn drain_times(model: &Model) -> DrainTimes {
    DrainTimes {
        requests: model.process.drain_timeout,
        tunnels: model.process.drain_timeout_tunnels,
    }
}

impl Running {
    /// Opens the files of the access logs anew.
    pub fn reopen_logs(&self) {
        self.logs.reopen();
    }

    /// How long running requests may take after a stop was asked for.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_times.requests.max(self.drain_times.tunnels)
    }

    /// Takes no more connections and lets requests finish.
    pub fn begin_drain(&self) {
        self.drain.begin();
    }

    /// Whether every worker has ended.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Whether a worker ended although nobody asked it to.
    pub fn has_failed(&self) -> bool {
        !self.drain.is_draining() && self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits for the workers, which end by themselves after a drain, and writes the logs out.
    pub fn join(self) -> std::io::Result<()> {
        /// Time for the last lines of the logs.
        const LOG_TIMEOUT: Duration = Duration::from_secs(5);

        let mut ended = Ok(());
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => ended = Err(error),
                Err(_) => ended = Err(std::io::Error::other("a worker panicked")),
            }
        }
        if let Err(timeout) = self.logs.shutdown(LOG_TIMEOUT) {
            tracing::warn!("{timeout}");
        }
        ended
    }
}

fn worker_count(model: &Model) -> usize {
    match model.process.workers {
        Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Workers::Fixed(count) => usize::from(count),
    }
}

/// Orders that wait for a worker.
const ORDERS_MAX: usize = 16;

/// The sockets of the first worker; the others get their like.
type Sockets = Vec<(ListenerId, String, Bound)>;

fn bind_all(model: &Model) -> Result<Sockets, StartFault> {
    let mut sockets = Vec::new();
    for (position, listener) in model.listeners.iter().enumerate() {
        let id = ListenerId(u16::try_from(position).unwrap_or(u16::MAX));
        let name = &listener.name.value;
        for address in &listener.binds {
            for address in bind_addresses(&address.value).map_err(|cause| StartFault::Name {
                listener: name.clone(),
                name: address.value.to_string(),
                cause,
            })? {
                let backlog = i32::try_from(listener.backlog).unwrap_or(i32::MAX);
                let bound = bind(address, backlog).map_err(|fault| StartFault::Bind {
                    listener: name.clone(),
                    fault,
                })?;
                sockets.push((id, name.clone(), bound));
            }
        }
    }
    Ok(sockets)
}

/// The addresses that a bind address stands for.
pub(crate) fn bind_addresses(address: &BindAddress) -> std::io::Result<Vec<SocketAddr>> {
    match &address.host {
        EndpointHost::Ip(ip) => Ok(vec![SocketAddr::new(*ip, address.port)]),
        EndpointHost::Name(name) => {
            let mut found: Vec<SocketAddr> =
                (name.as_str(), address.port).to_socket_addrs()?.collect();
            found.sort_unstable();
            found.dedup();
            // `localhost` is two addresses; a machine without IPv6 has only one of them.
            let v6_only_loopback = |at: &SocketAddr| at.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST);
            if found.len() > 1 && !has_ipv6() {
                found.retain(|at| !v6_only_loopback(at));
            }
            Ok(found)
        }
    }
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn spawn_workers(
    model: &Model,
    shared: &Arc<Shared>,
    sockets: Sockets,
    workers: usize,
    drain_times: DrainTimes,
) -> Result<Vec<JoinHandle<std::io::Result<()>>>, StartFault> {
    let mut sets: Vec<Vec<(ListenerId, Bound)>> = Vec::with_capacity(workers);
    for _ in 1..workers {
        let mut set = Vec::new();
        for (id, name, bound) in &sockets {
            let backlog = model
                .listeners
                .get(usize::from(id.0))
                .map_or(1024, |it| it.backlog);
            let like =
                bind_like(bound, i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(|fault| {
                    StartFault::Bind {
                        listener: name.clone(),
                        fault,
                    }
                })?;
            set.push((*id, like));
        }
        sets.push(set);
    }
    sets.push(
        sockets
            .into_iter()
            .map(|(id, _, bound)| (id, bound))
            .collect(),
    );
    let mut threads = Vec::with_capacity(workers);
    for (index, set) in sets.into_iter().enumerate() {
        let shared = shared.clone();
        let (_, orders) = tokio::sync::mpsc::channel(ORDERS_MAX);
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || run_worker(|| make_worker(&shared, index), set, drain_times, orders))
            .map_err(StartFault::Thread)?;
        threads.push(thread);
    }
    Ok(threads)
}

fn make_worker(shared: &Shared, index: usize) -> Worker {
    let view = View {
        snapshot: shared.snapshot.clone(),
        metrics: shared.registry.worker(index),
        copies_answers: shared.copies_answers.clone(),
        hostname: shared.hostname.clone(),
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos() as u64;
    // Not for secrets: only so that workers and restarts do not draw the same numbers.
    let seed = now ^ (u64::from(std::process::id()) << 32) ^ ((index as u64 + 1) << 17);
    let drain = shared.drain.clone();
    Worker::new(
        index,
        shared.base,
        drain,
        shared.gate.clone(),
        (view, shared.logs.buffer()),
        seed,
    )
}

/// By route: whether one of its logs asks for fields of the server's answer.
fn copies_answers(snapshot: &Snapshot, specs: &[keel_observe::LogSpec]) -> Vec<bool> {
    let asks: Vec<bool> = specs
        .iter()
        .map(|spec| spec.format.contains("upstream_http_") || spec.format.contains("sent_http_"))
        .collect();
    let any = |logs: &[usize]| {
        logs.iter()
            .any(|log| asks.get(*log).copied().unwrap_or(false))
    };
    let listeners = snapshot
        .listeners
        .iter()
        .any(|listener| any(&listener.logs));
    snapshot
        .routes
        .iter()
        .map(|route| route.logs.as_ref().map_or(listeners, |logs| any(logs)))
        .collect()
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
