//! The engine of active checks: whose turn it is, how many run at a time, and who hears of it.
//!
//! [`Checker`] is the handle, [`CheckLoop`] the task that does the work. Both look at one table under
//! a lock that is never held while anything is waited for.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keel_balance::CheckFault;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{self, JoinSet};

use super::plan::CheckPlan;
use super::table::{Begun, Done, Table};
use crate::pool::Pool;

/// Most checks at a time, over all pools.
pub const CHECKS_MAX: usize = 256;

/// Most servers that wait to be looked at for [`ServerCheck::hasten`](super::ServerCheck::hasten).
const URGENT_MAX: usize = 1024;

/// How often pools are looked through for outliers.
const SWEEP: Duration = Duration::from_secs(1);

/// A pool and how its servers are checked.
#[derive(Debug, Clone)]
pub struct PoolChecks {
    /// The pool as it is published next.
    pub pool: Arc<Pool>,
    /// How its servers are checked; `None` is not at all.
    pub plan: Option<Arc<CheckPlan>>,
}

/// Handle of the active checks. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Checker {
    shared: Arc<Shared>,
    unknown: watch::Receiver<usize>,
}

/// The task that does the checks.
#[derive(Debug)]
pub struct CheckLoop {
    shared: Arc<Shared>,
    urgent: mpsc::Receiver<u64>,
}

#[derive(Debug)]
struct Shared {
    base: Instant,
    table: Mutex<Table>,
    changed: Notify,
    stopped: AtomicBool,
    /// Servers that get no traffic until their first check is done.
    unknown: watch::Sender<usize>,
}

impl Checker {
    /// Checks of no pool yet. `base` is the one of the workers' clocks.
    pub fn new(base: Instant) -> (Checker, CheckLoop) {
        let (urgent_in, urgent) = mpsc::channel(URGENT_MAX);
        let (unknown_in, unknown) = watch::channel(0);
        let random = RandomState::new().hash_one(0);
        let shared = Arc::new(Shared {
            base,
            table: Mutex::new(Table::new(urgent_in, random)),
            changed: Notify::new(),
            stopped: AtomicBool::new(false),
            unknown: unknown_in,
        });
        let checker = Checker {
            shared: shared.clone(),
            unknown,
        };
        (checker, CheckLoop { shared, urgent })
    }

    /// Checks these pools from now on. A server that stays (same pool, name and address) keeps its
    /// health and its counts. To be called right before the pools are published and when nothing
    /// can go wrong any more: servers that wait for their first check are closed here. One that is
    /// down and was not checked here before (the process before an upgrade knew it) stays down until
    /// its checks pass.
    pub fn set(&self, pools: Vec<PoolChecks>) {
        let now_ms = self.shared.now_ms();
        let mut table = self.shared.table();
        table.set(pools, now_ms);
        self.shared.tell_unknown(&table);
        drop(table);
        self.shared.changed.notify_one();
    }

    /// Ends the checks for good, those under way included: another process does them from now on.
    /// Servers stay as they are.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.changed.notify_one();
    }

    /// Waits until every server that gets no traffic before its first check has had that. At most so
    /// long; true when there is none left.
    pub async fn first_checks(&self, at_most: Duration) -> bool {
        let mut unknown = self.unknown.clone();
        let done = unknown.wait_for(|count| *count == 0);
        matches!(tokio::time::timeout(at_most, done).await, Ok(Ok(_)))
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        self.base.elapsed().as_millis() as u64
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics under it, and every entry is whole at any time.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_unknown(&self, table: &Table) {
        let count = table.unknown();
        self.unknown.send_if_modified(|known| {
            let changed = *known != count;
            *known = count;
            changed
        });
    }
}

/// The checks under way. Each ends: by its timeout, or by a panic.
#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<Done>,
    /// Whose check each task is.
    ids: HashMap<task::Id, u64>,
}

impl Running {
    fn spawn(&mut self, begun: Begun) {
        let id = begun.id;
        let task = self.tasks.spawn(run(begun));
        self.ids.insert(task.id(), id);
    }

    /// The next one that ends; `None` when none is under way.
    async fn next(&mut self) -> Option<Done> {
        let (task, done) = match self.tasks.join_next_with_id().await? {
            Ok((task, done)) => (task, Some(done)),
            Err(error) => (error.id(), None),
        };
        let id = self.ids.remove(&task)?;
        Some(done.unwrap_or_else(|| Done {
            id,
            finding: Err(CheckFault::Lost).into(),
            took: Duration::ZERO,
        }))
    }
}

impl CheckLoop {
    /// Checks until dropped, or [stopped](Checker::stop).
    pub async fn run(mut self) {
        let mut running = Running::default();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.shared.stopped.load(Ordering::Acquire) {
            let next_ms = self.begin_due(&mut running);
            let due = async {
                match next_ms {
                    Some(at_ms) => {
                        let at = self.shared.base + Duration::from_millis(at_ms);
                        tokio::time::sleep_until(at.into()).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = running.next() => self.finish(done),
                Some(id) = self.urgent.recv() => {
                    let now_ms = self.shared.now_ms();
                    self.shared.table().hasten(id, now_ms);
                }
                () = self.shared.changed.notified() => {}
                () = due => {}
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    /// Begins what is due, as far as there is room; when the next is due, unless the end of another
    /// comes first.
    fn begin_due(&self, running: &mut Running) -> Option<u64> {
        let now_ms = self.shared.now_ms();
        let mut table = self.shared.table();
        while running.tasks.len() < CHECKS_MAX {
            match table.begin(now_ms) {
                Ok(begun) => running.spawn(begun),
                Err(next_ms) => return next_ms,
            }
        }
        None
    }

    fn finish(&self, done: Done) {
        let now_ms = self.shared.now_ms();
        let mut table = self.shared.table();
        table.finish(done, now_ms);
        if *self.shared.unknown.borrow() > 0 {
            self.shared.tell_unknown(&table);
        }
    }

    /// Looks for servers that are far worse than the others of their pool.
    fn sweep(&self) {
        let now_ms = self.shared.now_ms();
        let pools = self.shared.table().pools();
        for pool in pools {
            for (index, change) in pool.balancer.sweep(now_ms) {
                let server = pool.servers.get(index).map(|server| server.name.as_str());
                let until_ms = pool.balancer.state(index).rests_until_ms();
                let lasts = Duration::from_millis(until_ms.saturating_sub(now_ms));
                tracing::warn!(pool = %pool.name, server, ?change, ?lasts, "server is ejected");
            }
        }
    }
}

async fn run(begun: Begun) -> Done {
    let start = Instant::now();
    let finding = match begun.target.addresses.is_empty() {
        true => Err(CheckFault::Unresolved).into(),
        false => begun.plan.run(&begun.target).await,
    };
    Done {
        id: begun.id,
        finding,
        took: start.elapsed(),
    }
}
