//! How often a configuration was changed, and what came of it last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Counts over the life of the process.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    reloads: Counts,
    changes: Counts,
    upgrades: Counts,
    discoveries: AtomicU64,
    last: Mutex<Option<LastReload>>,
}

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    refused: AtomicU64,
}

/// The last reload that somebody asked for.
#[derive(Debug, Clone)]
pub(crate) struct LastReload {
    pub(crate) at: SystemTime,
    pub(crate) by: String,
    /// What was wrong; `None` when it was taken.
    pub(crate) fault: Option<String>,
}

impl Counts {
    fn note(&self, done: bool) {
        let count = if done { &self.done } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Done and refused.
    fn read(&self) -> [u64; 2] {
        [&self.done, &self.refused].map(|it| it.load(Ordering::Relaxed))
    }
}

impl Tally {
    pub(crate) fn reloaded(&self, by: &str, fault: Option<String>) {
        self.reloads.note(fault.is_none());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastReload {
            at: SystemTime::now(),
            by: by.to_owned(),
            fault,
        });
    }

    pub(crate) fn changed(&self, done: bool) {
        self.changes.note(done);
    }

    pub(crate) fn discovered(&self) {
        self.discoveries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn upgrade_failed(&self) {
        self.upgrades.note(false);
    }

    /// Goes on counting upgrades, of which this process is another one that was done.
    pub(crate) fn upgraded(&self, [done, failed]: [u64; 2]) {
        self.upgrades.done.store(done + 1, Ordering::Relaxed);
        self.upgrades.refused.store(failed, Ordering::Relaxed);
    }

    /// Upgrades that were done and that failed.
    pub(crate) fn upgrades(&self) -> [u64; 2] {
        self.upgrades.read()
    }

    /// Reloads that were taken and refused.
    pub(crate) fn reloads(&self) -> [u64; 2] {
        self.reloads.read()
    }

    /// Run-time changes that were made and refused.
    pub(crate) fn changes(&self) -> [u64; 2] {
        self.changes.read()
    }

    /// Changes of servers that were found by name.
    pub(crate) fn discoveries(&self) -> u64 {
        self.discoveries.load(Ordering::Relaxed)
    }

    pub(crate) fn last(&self) -> Option<LastReload> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
