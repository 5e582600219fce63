//! The life of a process that serves: signals, reloads, upgrades, until it stops or is replaced.

use std::process::id;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use keel_control::{Actor, Control, Running, Standstill};
use keel_net::{Drain, SocketBook, Taken};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::oneshot;

use crate::parent::Parent;
use crate::systemd::Notify;
use crate::upgrade::{Offer, Program, UpgradeFault};

/// Why the process does not serve any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A signal said so.
    Stopped,
    /// The process with this id has taken over.
    Replaced(u32),
}

/// A process that serves.
pub struct Service {
    /// The data plane.
    pub running: Running,
    /// The supervisor.
    pub notify: Notify,
    /// The supervisor's watchdog, for the process that follows.
    pub watchdog_usec: Option<String>,
    /// Sockets that are not the data plane's.
    pub book: SocketBook,
    /// What an upgrade starts.
    pub program: Program,
    /// How long an upgrade may take.
    pub upgrade_timeout: Duration,
}

/// How long a new process may take to be ready or to end, once this one is to stop.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// How often it is looked whether there is a new process to be told.
const STOP_POLL: Duration = Duration::from_millis(20);

/// What came of an upgrade. What was handed over is held still until that is known, and known to everybody.
type Made = (Result<Taken, UpgradeFault>, Option<Standstill>);

/// An upgrade that goes on.
struct Upgrading {
    /// The new process; 0 before it was started.
    pid: Arc<AtomicU32>,
    outcome: oneshot::Receiver<Made>,
    asked: Option<oneshot::Sender<Result<u32, String>>>,
}

/// The signals that are listened to.
pub struct Heard {
    terminate: Signals,
    interrupt: Signals,
    reopen: Signals,
    hangup: Signals,
    upgrade: Signals,
}

impl Heard {
    /// Listens to them from now on: none of them ends the process by itself any more.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn new() -> Result<Heard> {
        let hear = |kind, name| signal(kind).with_context(|| format!("cannot catch {name}"));
        Ok(Heard {
            terminate: hear(SignalKind::terminate(), "SIGTERM")?,
            interrupt: hear(SignalKind::interrupt(), "SIGINT")?,
            reopen: hear(SignalKind::user_defined1(), "SIGUSR1")?,
            hangup: hear(SignalKind::hangup(), "SIGHUP")?,
            upgrade: hear(SignalKind::user_defined2(), "SIGUSR2")?,
        })
    }

    /// Waits for a signal that says stop.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Whether such a signal is there.
    async fn is_stop(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.stop() => true,
            () = std::future::ready(()) => false,
        }
    }
}

impl Service {
    /// Tells everybody who waits for it that the process serves.
    ///
    /// # Errors
    /// When the process that was to be replaced has changed its mind.
    pub fn is_ready(&self, parent: &mut Parent) -> Result<()> {
        tracing::info!(
            workers = self.running.workers,
            connections = self.running.connections_max,
            pid = id(),
            "ready"
        );
        parent.ready(self.running.taken.clone())?;
        let (control, workers) = (&self.running.control, self.running.workers);
        self.notify.ready(&status(control, workers));
        Ok(())
    }

    /// Waits for a signal to stop, or for the end of an upgrade. On the way SIGUSR1 opens the logs
    /// anew, SIGHUP reloads, and SIGUSR2 or a request upgrades.
    ///
    /// # Errors
    /// When a worker ended by itself.
    pub async fn until_end(&self, mut heard: Heard) -> Result<End> {
        let requests = self.running.control.take_upgrade_requests();
        let mut requests = requests.context("somebody else upgrades this process")?;
        let mut look = tokio::time::interval(Duration::from_millis(500));
        let mut upgrading: Option<Upgrading> = None;
        // Asked for during an upgrade: the new process may have read the file before it was changed.
        let (mut reload, mut reopen) = (false, false);
        loop {
            tokio::select! {
                // A process that has taken over is not undone by a stop in the same moment.
                biased;
                (outcome, still) = outcome_of(&mut upgrading) => {
                    let asked = upgrading.take().and_then(|it| it.asked);
                    if let Some(pid) = self.upgraded(outcome, asked) {
                        self.let_go(still);
                        let stop = heard.is_stop().await;
                        let wanted = [(reopen, Signal::USR1), (reload, Signal::HUP), (stop, Signal::TERM)];
                        for (_, signal) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
                            pass_on(pid, signal);
                        }
                        return Ok(End::Replaced(pid));
                    }
                    (reload, reopen) = (false, false);
                }
                _ = heard.terminate.recv() => return Ok(self.stopped(upgrading).await),
                _ = heard.interrupt.recv() => return Ok(self.stopped(upgrading).await),
                () = self.running.control.stop_asked() => return Ok(self.stopped(upgrading).await),
                _ = heard.reopen.recv() => {
                    reopen |= upgrading.is_some();
                    tracing::info!("opening the access logs anew");
                    self.running.reopen_logs();
                }
                _ = heard.hangup.recv() => {
                    reload |= upgrading.is_some();
                    self.reload();
                }
                _ = heard.upgrade.recv() => {
                    self.begin_upgrade(&mut upgrading, &Actor::new("SIGUSR2"), None);
                }
                Some(request) = requests.recv() => {
                    self.begin_upgrade(&mut upgrading, &request.by, Some(request.done));
                }
                _ = look.tick() => {
                    anyhow::ensure!(!self.running.has_failed(), "a worker ended by itself");
                }
            }
        }
    }

    /// Changes that wait are refused from here on: nobody would see them.
    fn let_go(&self, still: Option<Standstill>) {
        self.running.begin_drain_replaced();
        drop(still);
    }

    /// A stop ends an upgrade that goes on. The new process may accept already: it is asked to end,
    /// and killed only when it neither says that it is ready nor ends.
    async fn stopped(&self, upgrading: Option<Upgrading>) -> End {
        let Some(mut upgrading) = upgrading else {
            return End::Stopped;
        };
        let due = tokio::time::Instant::now() + STOP_GRACE;
        let mut told = 0;
        while tokio::time::Instant::now() < due {
            let pid = upgrading.pid.load(Ordering::Acquire);
            if told == 0 && pid != 0 {
                pass_on(pid, Signal::TERM);
                told = pid;
            }
            tokio::select! {
                biased;
                made = &mut upgrading.outcome => {
                    let (outcome, still) = made.unwrap_or((Err(UpgradeFault::Prepare), None));
                    let Some(pid) = self.upgraded(outcome, upgrading.asked) else {
                        return End::Stopped;
                    };
                    self.let_go(still);
                    if told == 0 {
                        pass_on(pid, Signal::TERM);
                    }
                    return End::Replaced(pid);
                }
                () = tokio::time::sleep(STOP_POLL) => {}
            }
        }
        pass_on(upgrading.pid.load(Ordering::Acquire), Signal::KILL);
        End::Stopped
    }

    /// Stops accepting. What runs may finish.
    pub fn drain(&self, end: &End, stop_admin: &Drain) {
        self.book.clear();
        match end {
            End::Stopped => {
                tracing::info!("stopping: no new connections, running requests may finish");
                self.notify.stopping();
                self.running.begin_drain();
            }
            End::Replaced(pid) => {
                // The admin listener is the new process's now: this one must not take its questions.
                stop_admin.begin();
                self.notify.main_pid(*pid);
                tracing::info!(
                    new = pid,
                    pid = id(),
                    "replaced: this process takes no new connections, running requests may finish"
                );
                self.running.begin_drain_replaced();
            }
        }
    }

    /// What came of it is logged by the control plane; other signals are heard meanwhile.
    fn reload(&self) {
        let (control, notify) = (self.running.control.clone(), self.notify.clone());
        let workers = self.running.workers;
        notify.reloading();
        tokio::spawn(async move {
            let failed = control.reload(Actor::new("SIGHUP")).await.is_err();
            let mut told = status(&control, workers);
            if failed {
                told.push_str("; the last reload was refused");
            }
            notify.ready(&told);
        });
    }

    /// Begins an upgrade unless there is one; what comes of it comes to `upgrading`.
    fn begin_upgrade(
        &self,
        upgrading: &mut Option<Upgrading>,
        by: &Actor,
        asked: Option<oneshot::Sender<Result<u32, String>>>,
    ) {
        let refused = match upgrading {
            Some(_) => Some(UpgradeFault::Busy),
            None if id() == 1 => Some(UpgradeFault::FirstProcess),
            None => None,
        };
        if let Some(fault) = refused {
            self.upgraded(Err(fault), asked);
            return;
        }
        let program = self.program.path().display();
        tracing::info!(by = %by, program = %program, "upgrade: starting the new program");
        let (tell, outcome) = oneshot::channel();
        let pid = Arc::new(AtomicU32::new(0));
        let offer = Offer {
            program: self.program.clone(),
            sockets: Vec::new(),
            state: Vec::new(),
            notify: self.notify.name().map(str::to_owned),
            watchdog_usec: self.watchdog_usec.clone(),
            limit: self.upgrade_timeout,
            pid: pid.clone(),
        };
        let (control, book) = (self.running.control.clone(), self.book.clone());
        // A change that is being made is waited for, and signals are heard meanwhile.
        tokio::spawn(async move {
            if let Err(fault) = make(offer, &control, &book, tell).await {
                tracing::error!("upgrade: {fault}");
            }
        });
        *upgrading = Some(Upgrading {
            pid,
            outcome,
            asked,
        });
    }

    /// Tells what came of an upgrade; gives the new process's id when there is one.
    fn upgraded(
        &self,
        outcome: Result<Taken, UpgradeFault>,
        asked: Option<oneshot::Sender<Result<u32, String>>>,
    ) -> Option<u32> {
        let told = match &outcome {
            Ok(taken) => Ok(taken.pid),
            Err(fault) => {
                self.running.control.upgrade_failed();
                tracing::error!("upgrade failed, this process goes on: {fault}");
                Err(fault.to_string())
            }
        };
        if let Some(asked) = asked {
            // Who asked may have gone.
            let _ = asked.send(told);
        }
        outcome.ok().map(|taken| taken.pid)
    }
}

/// Makes an offer complete, and makes it on a thread of its own: the control plane goes on meanwhile.
async fn make(
    mut offer: Offer,
    control: &Control,
    book: &SocketBook,
    tell: oneshot::Sender<Made>,
) -> std::io::Result<()> {
    let still = control.standstill().await;
    offer.sockets = still.sockets()?;
    offer.sockets.append(&mut book.copies()?);
    offer.state = still.carry().await;
    std::thread::Builder::new()
        .name("upgrade".to_owned())
        .spawn(move || tell.send((offer.make(), Some(still))))?;
    Ok(())
}

/// What comes of the upgrade that goes on; waits for ever when there is none.
async fn outcome_of(upgrading: &mut Option<Upgrading>) -> Made {
    match upgrading {
        Some(it) => (&mut it.outcome)
            .await
            .unwrap_or((Err(UpgradeFault::Prepare), None)),
        None => std::future::pending().await,
    }
}

/// Passes a signal on to the new process; to nobody when the id is 0.
fn pass_on(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// What the supervisor is told: what is listened on changes with reloads.
fn status(control: &Control, workers: usize) -> String {
    let status = control.status();
    let addresses = status.model().listeners.iter().map(|it| it.binds.len());
    let addresses = match addresses.sum::<usize>() {
        1 => "1 address".to_owned(),
        count => format!("{count} addresses"),
    };
    match workers {
        1 => format!("serving: {addresses}, 1 worker"),
        _ => format!("serving: {addresses}, {workers} workers"),
    }
}
