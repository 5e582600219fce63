//! The handle of the control plane: what signals, the admin API, discovery and upgrades ask of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keel_net::{Drain, Handed};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, Semaphore, watch};

use crate::change::{Change, ChangeFault, Changed, Found, SaveFault, Saved};
use crate::engine::{Engine, Prepared, Refusal};
use crate::names::NameChanges;
use crate::overlay::Overlay;
use crate::reload::{ReloadFault, Reloaded};
use crate::start::StartFault;
use crate::status::Status;
use crate::tally::Tally;
use crate::upgrade::Upgrades;
use crate::{tick, watch as files};

/// Changes that may wait for their turn.
const WAITING_MAX: usize = 256;

/// Who asked for a change; stands in the log beside what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    /// Words for the log: `SIGHUP`, `file watch`, `admin socket uid 0`, `certificate CN=ops`.
    pub fn new(words: impl Into<String>) -> Actor {
        Actor(words.into())
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Handle of the control plane. Cheap to clone; clones are the same. Its futures belong on the main
/// thread's runtime; what takes long runs on threads of their own, one change after the other. A
/// change that was begun is brought to its end, even when nobody waits for it any more.
#[derive(Debug, Clone)]
pub struct Control(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    published: watch::Sender<Arc<Status>>,
    engine: Arc<Mutex<Engine>>,
    /// Of those who wait for the engine.
    places: Semaphore,
    pub(crate) file: Option<PathBuf>,
    pub(crate) drain: Drain,
    pub(crate) tally: Arc<Tally>,
    pub(crate) upgrades: Upgrades,
    stop: Notify,
}

/// The engine, while a change is made.
pub(crate) type Held = OwnedMutexGuard<Engine>;

/// A process about to be replaced: what it hands over stays true while this is held. A change that was acknowledged after
/// that would be lost with the process.
pub struct Standstill {
    pub(crate) control: Control,
    pub(crate) engine: Held,
}

impl std::fmt::Debug for Standstill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Standstill")
    }
}

impl Standstill {
    /// A descriptor of every listening socket, for the process that takes over.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn sockets(&self) -> std::io::Result<Vec<Handed>> {
        self.engine.sockets().to_hand_over()
    }
}

impl Control {
    /// Starts what goes on by itself: names, the file's watch, what is due each second.
    pub(crate) fn start(
        engine: Engine,
        file: Option<PathBuf>,
        drain: Drain,
        changes: NameChanges,
    ) -> Control {
        let (published, _) = watch::channel(engine.status.clone());
        let control = Control(Arc::new(Inner {
            published,
            tally: engine.status.tally.clone(),
            engine: Arc::new(Mutex::new(engine)),
            places: Semaphore::new(WAITING_MAX),
            file,
            drain,
            upgrades: Upgrades::new(),
            stop: Notify::new(),
        }));
        tokio::spawn(follow(control.clone(), changes));
        tokio::spawn(tick::run(control.clone()));
        tokio::spawn(files::run(control.clone()));
        control
    }

    /// How the balancer fares under the configuration in force. Ask anew for each answer: a reload
    /// makes another one.
    pub fn status(&self) -> Arc<Status> {
        self.0.published.borrow().clone()
    }

    /// The configuration in force, and each one that follows it: after every reload, run-time change
    /// and answer of discovery that changed something, once all workers serve it.
    pub fn published(&self) -> watch::Receiver<Arc<Status>> {
        self.0.published.subscribe()
    }

    /// The file that a reload reads, when the process was started from one.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Nothing is reloaded or changed until what is given is dropped. Waits for a change that is being made.
    pub async fn standstill(&self) -> Standstill {
        Standstill {
            control: self.clone(),
            engine: self.turn().await,
        }
    }

    /// Reads the file of the start anew and serves it; run-time changes stay. One reload runs at a
    /// time, others wait.
    ///
    /// # Errors
    /// When anything of the new configuration does not work; everything is as before then.
    pub async fn reload(&self, by: Actor) -> Result<Reloaded, ReloadFault> {
        let control = self.clone();
        let done = tokio::spawn(async move { control.reload_now(&by).await });
        done.await.unwrap_or_else(|_| Err(broken().into()))
    }

    /// Changes the servers of a pool while it runs. Kept over reloads until the file has no such
    /// pool or server any more.
    ///
    /// # Errors
    /// When there is no such pool or server, or the change makes no sense; nothing is changed then.
    pub async fn change(&self, change: Change, by: Actor) -> Result<Changed, ChangeFault> {
        let control = self.clone();
        let done = tokio::spawn(async move { control.change_now(change, &by).await });
        done.await.unwrap_or_else(|_| Err(broken().into()))
    }

    /// Takes the servers that discovery found for entries of pools. A pool that is gone, or an entry
    /// of another kind than before, is passed over.
    pub async fn discovered(&self, found: Vec<Found>) {
        let control = self.clone();
        // A panic was told of by its hook.
        let _ = tokio::spawn(async move { control.discovered_now(found).await }).await;
    }

    /// Writes the run-time changes into the file. What was written is no run-time change any more.
    ///
    /// # Errors
    /// When there is no file, or it changed since it was read, or it cannot be written, or the process
    /// is draining.
    pub async fn save(&self, by: Actor) -> Result<Saved, SaveFault> {
        let control = self.clone();
        let done = tokio::spawn(async move { control.save_now(&by).await });
        done.await
            .unwrap_or_else(|_| Err(SaveFault::Written(broken().to_string())))
    }

    /// Asks the process to stop: it takes no new connections, and ends when what runs has ended.
    pub fn stop(&self, by: &Actor) {
        tracing::info!(%by, "asked to stop");
        self.0.stop.notify_one();
    }

    /// Waits until [`Control::stop`] is called. Whoever runs the process does.
    pub async fn stop_asked(&self) {
        self.0.stop.notified().await;
    }

    /// Waits for the turn to make a change; `None` when too many wait for that.
    pub(crate) async fn hold(&self) -> Option<Held> {
        let _place = self.0.places.try_acquire().ok()?;
        Some(self.turn().await)
    }

    /// Waits for the turn however many others do.
    pub(crate) async fn turn(&self) -> Held {
        self.0.engine.clone().lock_owned().await
    }

    /// Compiles and opens on another thread.
    pub(crate) async fn prepare(
        &self,
        mut engine: Held,
        model: keel_config::Model,
        changes: Overlay,
    ) -> Result<(Held, Prepared), Refusal> {
        let work = tokio::task::spawn_blocking(move || {
            let prepared = engine.prepare(model, changes);
            (engine, prepared)
        });
        match work.await {
            Ok((engine, Ok(prepared))) => Ok((engine, prepared)),
            Ok((engine, Err(refusal))) => {
                // Names that only the refused model has are not kept.
                let status = engine.status.clone();
                let found = engine.names.settle(&engine.file, &status.snapshot).await;
                self.follow_up(&engine, found);
                Err(refusal)
            }
            Err(_) => Err(Refusal::Start(broken())),
        }
    }

    /// Serves what was prepared. `engine.file` is that of the new model already.
    pub(crate) async fn commit(&self, engine: &mut Held, prepared: Prepared) {
        let found = engine.names.settle(&engine.file, prepared.snapshot()).await;
        engine.commit(prepared).await;
        self.0.published.send_replace(engine.status.clone());
        self.follow_up(engine, found);
    }

    /// What was found while something else was made ready becomes a change of its own.
    pub(crate) fn follow_up(&self, engine: &Held, found: Vec<Found>) {
        if found.iter().any(|it| !engine.found.contains(it)) {
            let control = self.clone();
            tokio::spawn(async move { control.discovered(found).await });
        }
    }
}

/// Takes what discovery finds, one answer after the other.
async fn follow(control: Control, mut changes: NameChanges) {
    while let Some(found) = changes.next().await {
        control.discovered(found).await;
    }
}

fn broken() -> StartFault {
    StartFault::Thread(std::io::Error::other(
        "the control plane broke while it made this change; the log tells more",
    ))
}
