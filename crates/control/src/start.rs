//! Starts a compiled configuration: logs, sockets, worker threads; and stops it again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keel_config::model::{Model, Workers};
use keel_l7::{DrainTimes, Gate};
use keel_net::{BindFault, Bound, Drain, Handed, Inherited, Pulse, raise_descriptor_limit};
use keel_observe::log::{LogFault, LogLimits, UtcOffset};
use keel_observe::{LogWriter, Registry};

use keel_upstream::check::Checker;

use crate::carry::Carried;
use crate::compile::{Compiled, compile_on};
use crate::engine::{Assembled, Assembly, Engine};
use crate::ground::Ground;
use crate::limits::connections_max;
use crate::live::Control;
use crate::names::Names;
use crate::overlay::{self, Overlay};
use crate::sockets::{self, Opened, Sockets};
use crate::workers::{self, Maker};

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
    /// What is kept in the state folder cannot be read or made.
    #[error("{0}")]
    State(String),
    /// Listening sockets cannot be duplicated.
    #[error("cannot duplicate a socket: {0}; raise the limit of open files")]
    Sockets(#[source] std::io::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// With the servers that were found by name it does not compile.
    #[error("{0}")]
    Found(String),
    /// What was to be done before the first worker starts cannot be.
    #[error("{0}")]
    BeforeServing(String),
}

/// An address that is listened on, for the messages of the binary.
#[derive(Debug, Clone)]
pub struct Bind {
    /// The listener's name.
    pub listener: String,
    /// The address, with the port that it got.
    pub address: SocketAddr,
}

/// What a process is started with.
#[derive(Debug)]
pub struct Start {
    /// The configuration, as the file has it.
    pub model: Model,
    /// What was compiled from it.
    pub compiled: Compiled,
    /// The file that a reload reads anew; `None` when the configuration came from no file.
    pub file: Option<PathBuf>,
    /// Listening sockets that another process or the service manager handed over; what is wanted of
    /// them is used.
    pub sockets: Inherited,
    /// What the process before has told, when this one replaces it ([`Standstill::carry`](crate::Standstill::carry)).
    pub carried: Option<Vec<u8>>,
    /// Called when everything is open and before the first worker starts: the last moment at which
    /// privileges are needed.
    pub before_serving: BeforeServing,
}

/// What is to be done before the first worker starts. Says why when it cannot be.
#[derive(Default)]
pub struct BeforeServing(Option<BeforeServingFn>);

type BeforeServingFn = Box<dyn FnOnce(&[Handed]) -> Result<(), String>>;

impl BeforeServing {
    /// Does this; it gets a copy of each listening socket.
    pub fn new(what: impl FnOnce(&[Handed]) -> Result<(), String> + 'static) -> BeforeServing {
        BeforeServing(Some(Box::new(what)))
    }

    fn run(self, sockets: &Sockets) -> Result<(), StartFault> {
        let Some(what) = self.0 else {
            return Ok(());
        };
        let copies = sockets.to_hand_over().map_err(StartFault::Sockets)?;
        what(&copies).map_err(StartFault::BeforeServing)
    }
}

impl std::fmt::Debug for BeforeServing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BeforeServing")
            .field(&self.0.is_some())
            .finish()
    }
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
    /// Positions of the sockets that were used of those that the process before this one handed over.
    pub taken: Vec<usize>,
    /// For reloads, changes, and how it fares.
    pub control: Control,
    maker: Arc<Maker>,
    checker: Checker,
    sockets: Arc<Sockets>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

/// Starts what was compiled, once the names of its servers were looked up. The control plane goes on
/// on the runtime that this runs on.
///
/// # Errors
/// The first thing that does not work; everything that was opened is closed again.
pub async fn start(start: Start) -> Result<Running, StartFault> {
    let model = Arc::new(start.model);
    let workers = worker_count(&model);
    let connections_max = connections(&model, workers);
    let carried = start.carried.as_deref();
    let carried = carried.map_or_else(Carried::default, Carried::read);
    let (names, changes) = Names::start(carried.names());
    let mut overlay = carried.overlay();
    let (compiled, in_force, found) =
        with_found(&names, &model, start.compiled, &mut overlay).await?;
    let settled = names.settle(&model, &compiled.snapshot).await;
    let mut given = start.sockets;
    let opened = bind_all(&model, &compiled, &mut given, workers)?;
    let logs = log_writer()?;
    let base = Instant::now();
    let registry = Registry::new(&compiled.names, workers);
    let assembly = Assembly {
        logs: &logs,
        registry,
        before: None,
        base,
        generation: 1,
        changes: overlay.clone(),
        names: names.clone(),
    };
    let assembled = assembly.build(in_force, compiled)?;
    let watching = assembled.watch.spawn().map_err(StartFault::Thread)?;
    let maker = Arc::new(Maker {
        logs: logs.clone(),
        base,
        drain: Drain::new(),
        gate: Arc::new(Gate::new(connections_max)),
        drain_times: drain_times(&model),
        pulse: Pulse::new(workers),
    });
    let sockets = Arc::new(Sockets::default());
    let sets = hold(&sockets, opened, workers);
    start.before_serving.run(&sockets)?;
    assembled.ground.secret.keep(&model.state.value);
    if start.carried.is_some() {
        assembled.status.tally.upgraded(carried.upgrades);
    }
    let checker = begin_checks(&assembled, carried).await;
    let (threads, orders) = workers::spawn(&maker, &assembled.serving, sets)?;
    let engine = Engine::new(
        assembled,
        (model, overlay),
        found,
        orders,
        sockets.clone(),
        logs,
        names,
        watching,
        checker.clone(),
    );
    let control = Control::start(engine, start.file, maker.drain.clone(), changes);
    control.follow_up(&control.turn().await, settled);
    Ok(Running {
        binds: sockets.binds(),
        workers,
        connections_max,
        taken: given.taken().to_vec(),
        control,
        maker,
        checker,
        sockets,
        threads,
    })
}

/// Binds what is wanted, or takes it from what was handed over, and tells what nobody wants of that.
fn bind_all(
    model: &Model,
    compiled: &Compiled,
    given: &mut Inherited,
    workers: usize,
) -> Result<Vec<Opened>, StartFault> {
    let wanted = sockets::wanted(model, &compiled.ids)?;
    let opened = sockets::open(wanted, &[], given, workers)?;
    for label in given.left() {
        let (name, address) = (&label.listener, &label.address);
        tracing::warn!(
            name,
            address,
            "no listener wants a socket that was handed over"
        );
    }
    Ok(opened)
}

fn log_writer() -> Result<LogWriter, StartFault> {
    LogWriter::start(LogLimits::default(), UtcOffset::default()).map_err(StartFault::Thread)
}

fn drain_times(model: &Model) -> DrainTimes {
    DrainTimes {
        requests: model.process.drain_timeout,
        tunnels: model.process.drain_timeout_tunnels,
    }
}

/// Takes over what the process before knew of servers, begins to check them, and waits for those
/// that get no traffic before: what connects meanwhile waits in the sockets.
async fn begin_checks(assembled: &Assembled, carried: Carried) -> Checker {
    let (snapshot, status) = (&assembled.serving.snapshot, &assembled.status);
    let (checker, check_loop) = Checker::new(status.base);
    // In this order: a server that was down begins as one.
    carried.restore(snapshot, &assembled.ground, status.now_ms());
    checker.set(assembled.ground.checks(snapshot));
    tokio::spawn(check_loop.run());
    checker.first_checks(FIRST_CHECKS_MAX).await;
    checker
}

/// How long the first checks may hold up the start, or a reload that would leave a pool without servers.
pub(crate) const FIRST_CHECKS_MAX: Duration = Duration::from_secs(5);

/// Looks up the entries that stand for several servers, and compiles anew when there are some, or
/// run-time changes of the process before. Changes that do not fit are dropped, and told.
async fn with_found(
    names: &Names,
    model: &Arc<Model>,
    compiled: Compiled,
    changes: &mut Overlay,
) -> Result<(Compiled, Arc<Model>, Vec<crate::Found>), StartFault> {
    for dropped in changes.fit(model) {
        tracing::warn!("{dropped}");
    }
    let finds = overlay::has_entries(model);
    if !finds && changes.count() == 0 {
        return Ok((compiled, model.clone(), Vec::new()));
    }
    let found = match finds {
        true => names.find(model, None).await,
        false => Vec::new(),
    };
    let changed = Engine::in_force(model, changes, &found);
    match compile_on(&changed, &Ground::default()) {
        Ok(compiled) => return Ok((compiled, Arc::new(changed), found)),
        Err(faults) if changes.count() > 0 => {
            let faults = keel_config::render_all(&faults, false);
            tracing::warn!("the run-time changes of the process before are dropped: {faults}");
            *changes = Overlay::default();
        }
        Err(faults) => {
            return Err(StartFault::Found(keel_config::render_all(&faults, false)));
        }
    }
    let whole = overlay::expanded(model, &found);
    let compiled = compile_on(&whole, &Ground::default())
        .map_err(|found| StartFault::Found(keel_config::render_all(&found, false)))?;
    Ok((compiled, Arc::new(whole), found))
}

/// Keeps the second descriptors, and gives each worker its sockets.
fn hold(
    sockets: &Sockets,
    opened: Vec<Opened>,
    workers: usize,
) -> Vec<Vec<(keel_types::ListenerId, Bound)>> {
    let mut sets: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for (held, all) in opened {
        for (worker, bound) in all {
            if let Some(set) = sets.get_mut(worker) {
                set.push((held.wanted.listener, bound));
            }
        }
        sockets.add(held);
    }
    sets
}

fn connections(model: &Model, workers: usize) -> usize {
    let (max, too_many) =
        connections_max(model.process.connections, raise_descriptor_limit(), workers);
    if too_many {
        tracing::warn!(
            connections = max,
            "the limit of open files is too low for so many connections; raise it (`ulimit -n`, LimitNOFILE=)"
        );
    }
    max
}

fn worker_count(model: &Model) -> usize {
    match model.process.workers {
        Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Workers::Fixed(count) => usize::from(count),
    }
}

impl Running {
    /// Opens the files of the access logs anew.
    pub fn reopen_logs(&self) {
        self.maker.logs.reopen();
    }

    /// How long running requests may take after a stop was asked for.
    pub fn drain_timeout(&self) -> Duration {
        self.maker
            .drain_times
            .requests
            .max(self.maker.drain_times.tunnels)
    }

    /// Numbers of the workers that have not ticked for so long. Those that ended in good order are
    /// none of them.
    pub fn stuck_workers(&self, limit: Duration) -> Vec<usize> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.maker
            .pulse
            .stuck(ms(self.maker.base.elapsed()), ms(limit))
    }

    /// Takes no more connections and lets requests finish.
    pub fn begin_drain(&self) {
        self.sockets.let_go();
        self.maker.drain.begin();
    }

    /// As [`Running::begin_drain`], when another process serves by now: kept connections have time for a last request, and
    /// the checks of servers are the other's.
    pub fn begin_drain_replaced(&self) {
        self.sockets.let_go();
        self.checker.stop();
        self.maker.drain.begin_replaced();
    }

    /// Whether every worker has ended.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Whether a worker ended although nobody asked it to.
    pub fn has_failed(&self) -> bool {
        !self.maker.drain.is_draining() && self.threads.iter().any(JoinHandle::is_finished)
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
        if let Err(timeout) = self.maker.logs.shutdown(LOG_TIMEOUT) {
            tracing::warn!("{timeout}");
        }
        ended
    }
}
