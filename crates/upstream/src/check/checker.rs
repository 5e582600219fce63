//! The engine of active checks: whose turn it is, how many run at a time, and who hears of it.
//!
//! [`Checker`] is the handle, [`CheckLoop`] the task that does the work. Both look at one table under
//! a lock that is never held while anything is waited for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use keel_balance::{Check, CheckFault, Health, HealthChange, Start};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::plan::CheckPlan;
use super::probe::{Finding, Target};
use super::report::{CheckReport, LastCheck, ServerCheck};
use crate::pool::{Pool, Server};

/// Most checks at a time, over all pools.
pub const CHECKS_MAX: usize = 256;

/// Most servers that wait to be looked at for [`ServerCheck::hasten`].
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
    urgent: mpsc::Sender<u64>,
    /// Servers that get no traffic until their first check is done.
    unknown: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    ids: HashMap<Key, u64>,
    /// When each entry is due.
    due: BTreeSet<(u64, u64)>,
    pools: Vec<Arc<Pool>>,
    last_id: u64,
    random: u64,
}

/// What makes a server the same over a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    pool: String,
    server: String,
    address: String,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    check: Check,
    plan: Arc<CheckPlan>,
    pool: Arc<Pool>,
    index: usize,
    server: Arc<Server>,
    published: Arc<ServerCheck>,
    /// As it stands in `due`.
    due_ms: u64,
    /// Number of the latest run: results of earlier ones are late.
    run: u64,
}

/// A run and what came of it.
struct Done {
    id: u64,
    run: u64,
    finding: Finding,
    took: Duration,
}

impl Checker {
    /// Checks of no pool yet. `base` is the one of the workers' clocks.
    pub fn new(base: Instant) -> (Checker, CheckLoop) {
        let (urgent_in, urgent) = mpsc::channel(URGENT_MAX);
        let (unknown_in, unknown) = watch::channel(0);
        let table = Table {
            random: RandomState::new().hash_one(0),
            ..Table::default()
        };
        let shared = Arc::new(Shared {
            base,
            table: Mutex::new(table),
            changed: Notify::new(),
            urgent: urgent_in,
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
    /// can go wrong any more: servers that wait for their first check are closed here.
    pub fn set(&self, pools: Vec<PoolChecks>) {
        let now_ms = self.shared.now_ms();
        let mut table = self.shared.table();
        let mut stay = HashSet::new();
        for one in &pools {
            for (index, server) in one.pool.servers.iter().enumerate() {
                match &one.plan {
                    Some(plan) => {
                        let id = table.put(&self.shared, &one.pool, index, server, plan, now_ms);
                        stay.insert(id);
                    }
                    None => leave_alone(&one.pool, index, server, now_ms),
                }
            }
        }
        table.keep_only(&stay);
        table.pools = pools.into_iter().map(|one| one.pool).collect();
        self.shared.tell_unknown(&table);
        drop(table);
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

/// A server that nobody checks (any more) is not kept down by what a check once said.
fn leave_alone(pool: &Pool, index: usize, server: &Server, now_ms: u64) {
    server.check.store(None);
    pool.balancer.checked(index, true, now_ms);
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
        let waits = |entry: &&Entry| {
            let start = entry.check.settings().start;
            entry.check.health() == Health::Unknown && start == Start::FirstCheck
        };
        let count = table.entries.values().filter(waits).count();
        self.unknown.send_if_modified(|known| {
            let changed = *known != count;
            *known = count;
            changed
        });
    }
}

impl Table {
    /// Adds a server, or goes on with it; its id.
    fn put(
        &mut self,
        shared: &Shared,
        pool: &Arc<Pool>,
        index: usize,
        server: &Arc<Server>,
        plan: &Arc<CheckPlan>,
        now_ms: u64,
    ) -> u64 {
        let key = Key {
            pool: pool.name.clone(),
            server: server.name.clone(),
            address: server.address_text.clone(),
        };
        let id = match self.ids.get(&key) {
            Some(id) => *id,
            None => self.add(shared, key, pool, server, plan, now_ms),
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.pool = pool.clone();
            entry.index = index;
            entry.server = server.clone();
            entry.plan = plan.clone();
            entry.check.retune(plan.settings.clone(), now_ms);
            entry.server.check.store(Some(entry.published.clone()));
            entry.publish(None, None);
            entry.tell(now_ms);
            entry.queue(id, &mut self.due);
        }
        id
    }

    fn add(
        &mut self,
        shared: &Shared,
        key: Key,
        pool: &Arc<Pool>,
        server: &Arc<Server>,
        plan: &Arc<CheckPlan>,
        now_ms: u64,
    ) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let check = Check::new(plan.settings.clone(), now_ms, self.random());
        let published = Arc::new(ServerCheck {
            id,
            report: ArcSwap::from_pointee(report(&check, plan, None)),
            asked: false.into(),
            urgent: shared.urgent.clone(),
        });
        let entry = Entry {
            key: key.clone(),
            check,
            plan: plan.clone(),
            pool: pool.clone(),
            index: 0,
            server: server.clone(),
            published,
            due_ms: 0,
            run: 0,
        };
        self.entries.insert(id, entry);
        self.ids.insert(key, id);
        id
    }

    fn keep_only(&mut self, stay: &HashSet<u64>) {
        let Table { ids, due, .. } = self;
        self.entries.retain(|id, entry| {
            if !stay.contains(id) {
                ids.remove(&entry.key);
                due.remove(&(entry.due_ms, *id));
            }
            stay.contains(id)
        });
    }

    /// Random enough for jitter (SplitMix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Begins the next check that is due; `Err` says when the next one is.
    fn begin(&mut self, now_ms: u64) -> Result<Begun, Option<u64>> {
        let (due_ms, id) = *self.due.first().ok_or(None)?;
        if due_ms > now_ms {
            return Err(Some(due_ms));
        }
        let random = self.random();
        let Some(entry) = self.entries.get_mut(&id) else {
            // Cannot be: both go together.
            self.due.remove(&(due_ms, id));
            return Err(Some(now_ms));
        };
        entry.run += 1;
        // One that is under way still is lost.
        if let Some(change) = entry.check.begin(now_ms, random) {
            entry.tell(now_ms);
            entry.publish(None, None);
            entry.log(&change, now_ms);
        }
        entry.published.begun();
        entry.queue(id, &mut self.due);
        Ok(Begun {
            id,
            run: entry.run,
            target: entry.target(),
            plan: entry.plan.clone(),
        })
    }

    fn finish(&mut self, done: Done, now_ms: u64) {
        let random = self.random();
        let Some(entry) = self.entries.get_mut(&done.id) else {
            return;
        };
        if entry.run != done.run {
            return;
        }
        let last = LastCheck {
            at_ms: now_ms,
            took_us: done.took.as_micros() as u64,
            passed: done.finding.result.is_ok(),
        };
        if let Err(fault) = &done.finding.result {
            tracing::debug!(pool = %entry.key.pool, server = %entry.key.server, "check failed: {fault}");
        }
        let change = entry.check.finish(done.finding.result, now_ms, random);
        entry.tell(now_ms);
        entry.publish(Some(last), done.finding.app);
        if let Some(change) = change {
            entry.log(&change, now_ms);
        }
        entry.queue(done.id, &mut self.due);
    }

    fn hasten(&mut self, id: u64, now_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.check.hasten(now_ms);
            entry.queue(id, &mut self.due);
        }
    }
}

/// A check that is to run now.
struct Begun {
    id: u64,
    run: u64,
    target: Target,
    plan: Arc<CheckPlan>,
}

impl Entry {
    /// Puts it where it belongs by when it is due.
    fn queue(&mut self, id: u64, due: &mut BTreeSet<(u64, u64)>) {
        due.remove(&(self.due_ms, id));
        self.due_ms = self.check.next_due_ms();
        due.insert((self.due_ms, id));
    }

    fn target(&self) -> Target {
        let address = &self.server.address;
        let mut asked = address.clone();
        asked.port = self.plan.port.unwrap_or(address.port);
        Target {
            host: address.host.clone(),
            authority: asked.to_string(),
            addresses: self.server.resolved.load().to_vec(),
        }
    }

    /// Tells the balancer; nothing happens there unless it is news.
    fn tell(&self, now_ms: u64) {
        let usable = self.check.is_usable();
        self.pool.balancer.checked(self.index, usable, now_ms);
    }

    fn publish(&self, last: Option<LastCheck>, app: Option<super::AppHealth>) {
        let before = self.published.report.load();
        let report = CheckReport {
            last: last.or(before.last),
            app: app.map(Arc::new).or_else(|| before.app.clone()),
            ..report(&self.check, &self.plan, Some(&before))
        };
        self.published.report.store(Arc::new(report));
    }

    /// One line for each change.
    fn log(&self, change: &HealthChange, now_ms: u64) {
        let (pool, server) = (&self.key.pool, &self.key.server);
        let check = self.plan.describe();
        let lasted = Duration::from_millis(change.lasted_ms);
        let ready = self.pool.balancer.ready_count(now_ms);
        match (change.from, change.to) {
            (Health::Unknown, Health::Up) => {
                tracing::debug!(pool, server, check, "the first check of the server passed");
            }
            (_, Health::Up) => {
                tracing::info!(pool, server, check, down_for = ?lasted, ready, "server is up");
            }
            (from, _) => {
                let reason = match &change.failure {
                    Some(failure) => failure.fault.to_string(),
                    None => String::new(),
                };
                let up_for = (from == Health::Up)
                    .then_some(lasted)
                    .map(tracing::field::debug);
                tracing::warn!(pool, server, check, reason, up_for, ready, "server is down");
            }
        }
    }
}

fn report(check: &Check, plan: &CheckPlan, before: Option<&CheckReport>) -> CheckReport {
    let (passed, failed) = check.counts();
    let text = plan.describe();
    // The text hardly ever changes.
    let known = before.map(|before| &before.check);
    let text = known
        .filter(|known| ***known == *text)
        .cloned()
        .unwrap_or_else(|| text.into());
    CheckReport {
        kind: plan.kind(),
        check: text,
        health: check.health(),
        usable: check.is_usable(),
        since_ms: check.since_ms(),
        passed,
        failed,
        last_failure: check.last_failure().cloned(),
        last: None,
        app: None,
    }
}

impl CheckLoop {
    /// Checks until dropped.
    pub async fn run(mut self) {
        let mut running = JoinSet::new();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
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
                Some(done) = running.join_next() => {
                    // One that panicked is lost, which its entry finds out by itself.
                    if let Ok(done) = done {
                        self.finish(done);
                    }
                }
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
    fn begin_due(&self, running: &mut JoinSet<Done>) -> Option<u64> {
        let now_ms = self.shared.now_ms();
        let mut table = self.shared.table();
        while running.len() < CHECKS_MAX {
            match table.begin(now_ms) {
                Ok(begun) => {
                    running.spawn(run(begun));
                }
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
        let pools = self.shared.table().pools.clone();
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
        run: begun.run,
        finding,
        took: start.elapsed(),
    }
}
