//! What the checks of a server say, for status pages, and the way to ask for one sooner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use keel_balance::{CheckFailure, Health};
use tokio::sync::mpsc::Sender;

use super::app::AppHealth;

/// What the checks of a server say. Times are of the worker's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// The kind of check: `http`, `tcp`, `grpc` or `exchange`.
    pub kind: &'static str,
    /// The check in few words: `GET /health`.
    pub check: Arc<str>,
    /// What the checks say.
    pub health: Health,
    /// Whether that lets it take traffic.
    pub usable: bool,
    /// Since when it is what it is, in milliseconds.
    pub since_ms: u64,
    /// Checks that passed since the start.
    pub passed: u64,
    /// Checks that failed since the start.
    pub failed: u64,
    /// The last failure, whether or not others passed since.
    pub last_failure: Option<CheckFailure>,
    /// The last check; `None` before the first.
    pub last: Option<LastCheck>,
    /// What the application said of itself in the last answer that told anything.
    pub app: Option<Arc<AppHealth>>,
}

/// One check that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastCheck {
    /// When it ended, in milliseconds.
    pub at_ms: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Whether it passed.
    pub passed: bool,
}

/// The checks of one server, as others see them.
#[derive(Debug)]
pub struct ServerCheck {
    pub(super) id: u64,
    pub(super) report: ArcSwap<CheckReport>,
    /// A check was asked for that is not under way.
    pub(super) asked: AtomicBool,
    pub(super) urgent: Sender<u64>,
}

impl ServerCheck {
    /// What the checks say now.
    pub fn report(&self) -> Arc<CheckReport> {
        self.report.load_full()
    }

    /// Asks for a check soon, because traffic has seen a failure: at once, but not sooner after the
    /// last check than a down server is checked. Never waits; costs one load when it was asked for
    /// already.
    pub fn hasten(&self) {
        if self.asked.load(Ordering::Relaxed) || self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.urgent.try_send(self.id).is_err() {
            // So many ask that the next failure may as well.
            self.asked.store(false, Ordering::Relaxed);
        }
    }

    /// What was asked for is under way or done: the next failure may ask anew.
    pub(super) fn answered(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }
}
