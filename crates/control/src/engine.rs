//! What the control plane holds, and how a model becomes what is served.
//!
//! Invariant: all that can fail comes first and changes nothing (`prepare`); then one swap (`commit`).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use keel_balance::Start;
use keel_config::{Diagnostic, Model};
use keel_l7::{Order, Snapshot};
use keel_net::Inherited;
use keel_observe::{LogSpec, LogWriter, Registry};
use keel_types::ListenerId;
use keel_upstream::Server;
use keel_upstream::check::{Checker, PoolChecks};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::change::{Change, Found, ServerState};
use crate::compile::{Compiled, compile_on, retune};
use crate::depend::Dependencies;
use crate::ground::Ground;
use crate::names::{Names, settings};
use crate::overlay::{Overlay, expanded};
use crate::sockets::{self, Opened, Sockets};
use crate::start::{FIRST_CHECKS_MAX, StartFault};
use crate::status::Status;
use crate::tls::{self, TlsWatch, Watching};
use crate::workers::{Serving, give_all, tell_all};

/// Why a model cannot be served. Nothing was changed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It does not compile.
    Bad(Vec<Diagnostic>),
    /// Something cannot be opened.
    Start(StartFault),
}

/// What a compiled configuration is put together with.
pub(crate) struct Assembly<'a> {
    pub(crate) logs: &'a LogWriter,
    pub(crate) registry: Registry,
    pub(crate) before: Option<&'a Engine>,
    pub(crate) base: Instant,
    pub(crate) generation: u64,
    pub(crate) changes: Overlay,
    pub(crate) names: Names,
}

/// A configuration with everything open that it needs but sockets.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) serving: Arc<Serving>,
    pub(crate) status: Arc<Status>,
    pub(crate) ground: Ground,
    pub(crate) watch: Arc<TlsWatch>,
}

impl Assembly<'_> {
    /// Makes TLS, opens logs and begins checks of our own health; call it on a thread of the runtime.
    /// `model` is the one in force.
    pub(crate) fn build(
        self,
        model: Arc<Model>,
        compiled: Compiled,
    ) -> Result<Assembled, StartFault> {
        let workers = self.registry.workers();
        let (mut snapshot, mut ground) = (compiled.snapshot, compiled.ground);
        for (start, id) in compiled.tls.iter().zip(&compiled.ids) {
            let Some(start) = start else {
                continue;
            };
            let runs = self.before.and_then(|it| it.ground.tls(&start.listener));
            let plan = tls::plan(start, runs, workers)?;
            if let Some(listener) = snapshot.listeners.get_mut(usize::from(id.0)) {
                listener.tls = Some(plan.clone());
            }
            if let Some(unit) = ground.listeners.get_mut(usize::from(id.0)) {
                unit.tls = Some((start.clone(), plan));
            }
        }
        for spec in &compiled.logs {
            snapshot.logs.push(self.logs.open(spec)?);
        }
        let copies_answers = copies_answers(&snapshot, &compiled.logs);
        let snapshot = Arc::new(snapshot);
        let before = self.before.map(|it| it.watch.as_ref());
        let watch = Arc::new(TlsWatch::new(&snapshot, ground.check_tls(), before));
        ground.snapshot = Some(snapshot.clone());
        let status = Arc::new(Status {
            added_ms: snapshot
                .pools
                .iter()
                .map(|it| ground.added_ms(it))
                .collect(),
            depends: Dependencies::new(
                &compiled.depends,
                &settings(&model),
                self.before.map(|it| &it.status.depends),
                &Handle::current(),
            ),
            names: self.names,
            generation: self.generation,
            published_at: SystemTime::now(),
            model,
            snapshot: snapshot.clone(),
            registry: self.registry.clone(),
            rules: compiled.rules,
            logs: self.logs.clone(),
            tls: watch.clone(),
            base: self.base,
            tally: self
                .before
                .map(|it| it.status.tally.clone())
                .unwrap_or_default(),
            changes: self.changes,
        });
        let serving = Arc::new(Serving {
            snapshot,
            registry: self.registry,
            copies_answers,
            hostname: hostname(),
        });
        Ok(Assembled {
            serving,
            status,
            ground,
            watch,
        })
    }
}

/// Everything that a change needs, held by one change at a time.
#[derive(Debug)]
pub(crate) struct Engine {
    /// What the file said when it was read last.
    pub(crate) file: Arc<Model>,
    pub(crate) overlay: Overlay,
    pub(crate) found: Vec<Found>,
    pub(crate) status: Arc<Status>,
    pub(crate) names: Names,
    ground: Ground,
    watch: Arc<TlsWatch>,
    watching: Watching,
    checker: Checker,
    orders: Vec<mpsc::Sender<Order>>,
    sockets: Arc<Sockets>,
    logs: LogWriter,
}

/// A configuration that can be served at once.
#[derive(Debug)]
pub(crate) struct Prepared {
    assembled: Assembled,
    watching: Option<Watching>,
    opened: Vec<Opened>,
    /// Positions among the sockets that are held.
    closed: Vec<usize>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Prepared {
    /// What workers will serve from.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.assembled.serving.snapshot
    }
}

impl Engine {
    #[expect(clippy::too_many_arguments, reason = "each once, from one place")]
    pub(crate) fn new(
        assembled: Assembled,
        (file, overlay): (Arc<Model>, Overlay),
        found: Vec<Found>,
        orders: Vec<mpsc::Sender<Order>>,
        sockets: Arc<Sockets>,
        logs: LogWriter,
        names: Names,
        watching: Watching,
        checker: Checker,
    ) -> Engine {
        assembled.ground.handle.set(assembled.status.clone());
        Engine {
            file,
            overlay,
            found,
            status: assembled.status,
            names,
            ground: assembled.ground,
            watch: assembled.watch,
            watching,
            checker,
            orders,
            sockets,
            logs,
        }
    }

    /// Live state by name.
    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// What is listened on.
    pub(crate) fn sockets(&self) -> &Arc<Sockets> {
        &self.sockets
    }

    /// The model in force that a file, run-time changes and found servers come to.
    pub(crate) fn in_force(file: &Model, overlay: &Overlay, found: &[Found]) -> Model {
        overlay.apply(expanded(file, found), file)
    }

    /// Compiles a model and opens all that it needs. Takes a while: not for a thread with other work.
    pub(crate) fn prepare(&mut self, model: Model, changes: Overlay) -> Result<Prepared, Refusal> {
        let elapsed = self.status.base.elapsed().as_millis();
        self.ground.now_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.look_for_empty_places();
        let compiled = compile_on(&model, &self.ground).map_err(Refusal::Bad)?;
        let warnings = compiled.warnings.clone();
        let wanted = sockets::wanted(&model, &compiled.ids).map_err(Refusal::Start)?;
        let workers = self.orders.len();
        let assembly = Assembly {
            logs: &self.logs,
            registry: self.status.registry.successor(&compiled.names),
            before: Some(self),
            base: self.status.base,
            generation: self.status.generation + 1,
            changes,
            names: self.names.clone(),
        };
        let assembled = assembly
            .build(Arc::new(model), compiled)
            .map_err(Refusal::Start)?;
        let watching = match assembled.watch.is_same(&self.watch) {
            true => None,
            false => {
                let spawned = assembled.watch.spawn().map_err(StartFault::Thread);
                Some(spawned.map_err(Refusal::Start)?)
            }
        };
        // Last: whoever connects to a socket that is closed again is turned away.
        let held = self.sockets.lock();
        let (missing, closed) = sockets::difference(&held, wanted);
        let opened = sockets::open(missing, &held, &mut Inherited::none(), workers);
        Ok(Prepared {
            assembled,
            watching,
            opened: opened.map_err(Refusal::Start)?,
            closed,
            warnings,
        })
    }

    /// Places of listeners that are gone and that nobody is connected to any more may be used again.
    fn look_for_empty_places(&mut self) {
        for (at, unit) in self.ground.listeners.iter_mut().enumerate() {
            let id = ListenerId(u16::try_from(at).unwrap_or(u16::MAX));
            let totals = self.status.registry.listener_totals(id);
            unit.empty = unit.gone && totals.is_none_or(|it| it.open == 0);
        }
    }

    /// Serves what was prepared: every worker first, then new sockets, then those that go.
    pub(crate) async fn commit(&mut self, prepared: Prepared) {
        let Assembled {
            serving,
            status,
            ground,
            watch,
        } = prepared.assembled;
        retune(&status.model, &ground);
        ground.secret.keep(&status.model.state.value);
        // Servers that wait for their first check are closed here, before anybody could choose them.
        let checks = ground.checks(&status.snapshot);
        let all_wait = checks.iter().any(waits_for_checks);
        self.checker.set(checks);
        if all_wait {
            self.checker.first_checks(FIRST_CHECKS_MAX).await;
        }
        tell_all(&self.orders, |_, done| {
            let serving = serving.clone();
            vec![Order::Publish(
                Box::new(move |worker| serving.view(worker)),
                done,
            )]
        })
        .await;
        ground.handle.set(status.clone());
        self.listen(prepared.opened, prepared.closed).await;
        self.ground = ground;
        self.rename_sockets();
        self.status = status;
        if let Some(watching) = prepared.watching {
            // Those of before end with their owner.
            self.watching = watching;
            self.watch = watch;
        }
    }

    /// Sets when what runs on a server is ended, as a change of its state says.
    pub(crate) fn cut(&self, change: &Change) {
        let Change::SetState {
            pool,
            server,
            state,
        } = change
        else {
            return;
        };
        let unit = self.ground.pools.get(pool);
        let Some(unit) = unit.and_then(|it| it.servers.get(server)) else {
            return;
        };
        let at_ms = match state {
            ServerState::Drain { limit: Some(limit) } => {
                let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                self.status.now_ms().saturating_add(limit).max(1)
            }
            _ => 0,
        };
        unit.state.set_cut_at(at_ms);
    }

    /// A listener that took over another one's place goes by its own name.
    fn rename_sockets(&self) {
        for held in self.sockets.lock().iter_mut() {
            let unit = usize::from(held.wanted.listener.0);
            if let Some(unit) = self.ground.listeners.get(unit).filter(|it| !it.gone) {
                held.wanted.name.clone_from(&unit.name);
            }
        }
    }

    async fn listen(&mut self, opened: Vec<Opened>, mut closed: Vec<usize>) {
        for (mut held, all) in opened {
            let (listener, address) = (&held.wanted.name, held.address);
            tracing::info!("listening listener={listener} address={address}");
            let id = held.wanted.listener;
            let owners: Vec<usize> = all.iter().map(|(worker, _)| *worker).collect();
            let mut left: Vec<Option<_>> = all.into_iter().map(Some).collect();
            let failed = tell_all(&self.orders, |worker, done| {
                let mut done = Some(done);
                let mut orders = Vec::new();
                for slot in &mut left {
                    if let Some((_, bound)) = slot.take_if(|(of, _)| *of == worker) {
                        // The first one is waited for.
                        let done = done.take().unwrap_or_else(|| oneshot::channel().0);
                        orders.push(Order::Listen(id, bound, done));
                    }
                }
                orders
            })
            .await;
            for worker in failed {
                tracing::error!(%address, worker, "a worker takes no connections here; the others do");
                // Clients would wait for ever in a socket that nobody takes connections from.
                held.forget(worker, &owners);
            }
            self.sockets.add(held);
        }
        closed.sort_unstable();
        let mut ending = Vec::with_capacity(closed.len());
        for at in closed.into_iter().rev() {
            let gone = {
                let mut held = self.sockets.lock();
                (at < held.len()).then(|| held.remove(at))
            };
            let Some(gone) = gone else { continue };
            let (listener, address) = (gone.wanted.name.clone(), gone.address);
            let id = gone.wanted.listener;
            // The second descriptors go first: see `sockets`.
            drop(gone);
            let order = |_, done| vec![Order::Unlisten(id, address, done)];
            ending.push((listener, address, give_all(&self.orders, order).await));
        }
        // Each takes a while to serve the last comers: all at the same time.
        for (listener, address, given) in ending {
            given.done().await;
            tracing::info!("listening no more listener={listener} address={address}");
        }
    }
}

/// Whether no server of a pool may be used before its first check.
fn waits_for_checks(checks: &PoolChecks) -> bool {
    let Some(plan) = &checks.plan else {
        return false;
    };
    let unknown = |server: &Arc<Server>| server.check.load().is_none();
    plan.settings.start == Start::FirstCheck && checks.pool.servers.iter().all(unknown)
}

/// By route: whether one of its logs asks for fields of the server's answer.
fn copies_answers(snapshot: &Snapshot, specs: &[LogSpec]) -> Vec<bool> {
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
