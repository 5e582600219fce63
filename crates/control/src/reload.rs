//! Reload: the file is read anew, and served whole or not at all.

use std::sync::Arc;
use std::time::Instant;

use keel_config::{Diagnostic, Model, render_all};

use crate::engine::{Engine, Refusal};
use crate::live::{Actor, Control, Held};
use crate::machine::load_file;
use crate::start::StartFault;

/// A reload that was done.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// Number of the configuration that is served now; the first one is 1.
    pub generation: u64,
    /// Warnings about the file.
    pub warnings: Vec<Diagnostic>,
    /// Keys that changed and mean something only after a restart or an upgrade, such as `workers`.
    pub after_restart: Vec<&'static str>,
    /// Run-time changes that the new file makes pointless, in words.
    pub dropped: Vec<String>,
}

/// Why a reload was refused. The configuration of before is served on, whole.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFault {
    /// `proxy` and `demo` are not started from a file.
    #[error(
        "this process was not started from a file: there is nothing to read anew; use `evenkeel run FILE`"
    )]
    NoFile,
    /// The file has errors.
    #[error("{}", render_all(.0, false).trim_end())]
    Bad(Vec<Diagnostic>),
    /// A listener, a log or a certificate does not work.
    #[error(transparent)]
    Start(#[from] StartFault),
    /// Too many changes wait for their turn.
    #[error("too many changes are waiting; try again in a moment")]
    Busy,
    /// The process is draining.
    #[error("the process is stopping; it takes no new configuration")]
    Stopping,
}

impl ReloadFault {
    /// What is wrong with the file, where that is the reason; warnings are among them.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            ReloadFault::Bad(found) => found,
            _ => &[],
        }
    }
}

impl From<Refusal> for ReloadFault {
    fn from(refusal: Refusal) -> ReloadFault {
        match refusal {
            Refusal::Bad(found) => ReloadFault::Bad(found),
            Refusal::Start(fault) => ReloadFault::Start(fault),
        }
    }
}

/// What loading came to: the model with warnings, or what is wrong.
type Loaded = Result<(Model, Vec<Diagnostic>), Vec<Diagnostic>>;

impl Control {
    pub(crate) async fn reload_now(&self, by: &Actor) -> Result<Reloaded, ReloadFault> {
        let began = Instant::now();
        let outcome = match self.read().await {
            Ok((engine, model)) => self.serve(engine, model).await,
            Err(fault) => Err(fault),
        };
        self.tell(by, &outcome, began);
        outcome
    }

    /// A reload because the file changed; nothing happens when it says the same as before. `false`: it
    /// was not read, because too many changes wait.
    pub(crate) async fn reload_if_changed(&self, by: &Actor) -> bool {
        let began = Instant::now();
        let outcome = match self.read().await {
            Ok((engine, Ok((model, _)))) if model == *engine.file => return true,
            Ok((engine, model)) => self.serve(engine, model).await,
            Err(ReloadFault::Stopping) => return true,
            Err(ReloadFault::Busy) => {
                tracing::warn!(%by, "reload put off: too many changes are waiting");
                return false;
            }
            Err(fault) => Err(fault),
        };
        self.tell(by, &outcome, began);
        true
    }

    /// Reads the file, once it is this reload's turn.
    async fn read(&self) -> Result<(Held, Loaded), ReloadFault> {
        let Some(file) = self.0.file.clone() else {
            return Err(ReloadFault::NoFile);
        };
        let engine = self.hold().await.ok_or(ReloadFault::Busy)?;
        if self.0.drain.is_draining() {
            return Err(ReloadFault::Stopping);
        }
        let read = move || (engine, load_file(&file));
        let read = tokio::task::spawn_blocking(read).await;
        let (engine, loaded) =
            read.map_err(|cause| StartFault::Thread(std::io::Error::other(cause)))?;
        Ok((engine, loaded))
    }

    async fn serve(&self, engine: Held, loaded: Loaded) -> Result<Reloaded, ReloadFault> {
        let (model, mut warnings) = loaded.map_err(ReloadFault::Bad)?;
        let before = (engine.file.clone(), engine.status.clone());
        let served = Some((&*before.0, &*before.1.snapshot));
        let found = engine.names.find(&model, served).await;
        let mut overlay = engine.overlay.clone();
        let dropped = overlay.fit(&model);
        let in_force = Engine::in_force(&model, &overlay, &found);
        let (mut engine, prepared) = self.prepare(engine, in_force, overlay.clone()).await?;
        warnings.extend(prepared.warnings.iter().cloned());
        let after_restart = after_restart(&engine.file, &model);
        engine.file = Arc::new(model);
        engine.overlay = overlay;
        engine.found = found;
        self.commit(&mut engine, prepared).await;
        Ok(Reloaded {
            generation: engine.status.generation,
            warnings,
            after_restart,
            dropped,
        })
    }

    fn tell(&self, by: &Actor, outcome: &Result<Reloaded, ReloadFault>, began: Instant) {
        let fault = outcome.as_ref().err().map(ToString::to_string);
        self.0.tally.reloaded(&by.to_string(), fault.clone());
        let done = match (outcome, fault) {
            (Ok(done), _) => done,
            (Err(_), fault) => {
                let fault = fault.unwrap_or_default();
                tracing::error!(
                    "reload refused (by {by}); the configuration of before is served on:\n{fault}"
                );
                return;
            }
        };
        if !done.warnings.is_empty() {
            let text = render_all(&done.warnings, false);
            tracing::warn!("warnings about the configuration:\n{}", text.trim_end());
        }
        for what in &done.dropped {
            tracing::warn!(%by, "run-time change dropped: {what}");
        }
        if !done.after_restart.is_empty() {
            let keys = done.after_restart.join(", ");
            tracing::warn!(%by, keys, "these changes take effect after a restart or an upgrade");
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(%by, generation = done.generation, took_ms, "configuration reloaded");
    }
}

/// Keys that changed and that a running process cannot follow.
fn after_restart(before: &Model, after: &Model) -> Vec<&'static str> {
    let (old, new) = (&before.process, &after.process);
    let backlog = after.listeners.iter().any(|listener| {
        let same = |it: &&keel_config::model::Listener| it.name.value == listener.name.value;
        let known = before.listeners.iter().find(same);
        known.is_some_and(|it| it.backlog != listener.backlog)
    });
    [
        ("workers", old.workers != new.workers),
        ("connections", old.connections != new.connections),
        (
            "drain_timeout",
            (old.drain_timeout, old.drain_timeout_tunnels)
                != (new.drain_timeout, new.drain_timeout_tunnels),
        ),
        ("user", old.user != new.user),
        ("group", old.group != new.group),
        ("state", before.state != after.state),
        ("admin", before.admin != after.admin),
        (
            "upgrade_timeout",
            old.upgrade_timeout != new.upgrade_timeout,
        ),
        ("backlog", backlog),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}
