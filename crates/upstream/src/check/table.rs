//! The table of all servers that are checked, and what happens to an entry.
//!
//! Nothing here waits: [`Table::begin`] gives out what is to be run, [`Table::finish`] takes what came of
//! it. An entry stands in `due` exactly once, at the time that its [`Check`] says, or its check is running.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use keel_balance::{Check, Health, HealthChange, Start};
use tokio::sync::mpsc::Sender;

use super::app::AppHealth;
use super::checker::PoolChecks;
use super::plan::CheckPlan;
use super::probe::{Finding, Target};
use super::report::{CheckReport, LastCheck, ServerCheck};
use crate::pool::{Pool, Server};

/// All servers that are checked.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<u64, Entry>,
    ids: HashMap<Key, u64>,
    /// When each entry is due whose check is not running.
    due: BTreeSet<(u64, u64)>,
    pools: Vec<Arc<Pool>>,
    last_id: u64,
    random: u64,
    urgent: Sender<u64>,
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
    /// A check is under way; it is not due before that has ended, and it always ends.
    running: bool,
}

/// A check that was run and what came of it.
pub(super) struct Done {
    pub(super) id: u64,
    pub(super) finding: Finding,
    pub(super) took: Duration,
}

impl Table {
    /// An empty one. `urgent` is where servers ask for a check, `random` the seed of jitter.
    pub(super) fn new(urgent: Sender<u64>, random: u64) -> Table {
        Table {
            entries: HashMap::new(),
            ids: HashMap::new(),
            due: BTreeSet::new(),
            pools: Vec::new(),
            last_id: 0,
            random,
            urgent,
        }
    }

    /// Checks these pools and no others.
    pub(super) fn set(&mut self, pools: Vec<PoolChecks>, now_ms: u64) {
        let mut stay = HashSet::new();
        for one in &pools {
            for (index, server) in one.pool.servers.iter().enumerate() {
                match &one.plan {
                    Some(plan) => {
                        stay.insert(self.put(&one.pool, index, server, plan, now_ms));
                    }
                    None => leave_alone(&one.pool, index, server, now_ms),
                }
            }
        }
        self.keep_only(&stay);
        self.pools = pools.into_iter().map(|one| one.pool).collect();
    }

    /// The pools, with and without checks.
    pub(super) fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.clone()
    }

    /// Servers that get no traffic because their first check is still to come.
    pub(super) fn unknown(&self) -> usize {
        let waits = |entry: &&Entry| {
            let start = entry.check.settings().start;
            entry.check.health() == Health::Unknown && start == Start::FirstCheck
        };
        self.entries.values().filter(waits).count()
    }

    /// Adds a server, or goes on with it; its id.
    fn put(
        &mut self,
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
            None => self.add(key, pool, index, server, plan, now_ms),
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
        key: Key,
        pool: &Arc<Pool>,
        index: usize,
        server: &Arc<Server>,
        plan: &Arc<CheckPlan>,
        now_ms: u64,
    ) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let (settings, random) = (plan.settings.clone(), self.random());
        // Down without a check of ours: the process before knew it.
        let check = match pool.balancer.state(index).is_down() {
            true => Check::known_down(settings, now_ms, random),
            false => Check::new(settings, now_ms, random),
        };
        let published = Arc::new(ServerCheck {
            id,
            report: ArcSwap::from_pointee(report(&check, plan, None)),
            asked: false.into(),
            urgent: self.urgent.clone(),
        });
        let entry = Entry {
            key: key.clone(),
            check,
            plan: plan.clone(),
            pool: pool.clone(),
            index,
            server: server.clone(),
            published,
            due_ms: 0,
            running: false,
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
    pub(super) fn begin(&mut self, now_ms: u64) -> Result<Begun, Option<u64>> {
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
        entry.running = true;
        // None is under way, so that none is lost here.
        let _none = entry.check.begin(now_ms, random);
        entry.published.answered();
        entry.queue(id, &mut self.due);
        Ok(Begun {
            id,
            target: entry.target(),
            plan: entry.plan.clone(),
        })
    }

    pub(super) fn finish(&mut self, done: Done, now_ms: u64) {
        let random = self.random();
        let Some(entry) = self.entries.get_mut(&done.id) else {
            return;
        };
        entry.running = false;
        let last = LastCheck {
            at_ms: now_ms,
            took_us: done.took.as_micros() as u64,
            passed: done.finding.result.is_ok(),
        };
        if let Err(fault) = &done.finding.result {
            tracing::debug!(pool = %entry.key.pool, server = %entry.key.server, "check failed: {fault}");
        }
        // Asked for in the meantime, this one was the answer.
        entry.published.answered();
        let change = entry.check.finish(done.finding.result, now_ms, random);
        entry.tell(now_ms);
        entry.publish(Some(last), done.finding.app);
        if let Some(change) = change {
            entry.log(&change, now_ms);
        }
        entry.queue(done.id, &mut self.due);
    }

    pub(super) fn hasten(&mut self, id: u64, now_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.check.hasten(now_ms);
            entry.queue(id, &mut self.due);
        }
    }
}

/// A check that is to run now.
pub(super) struct Begun {
    pub(super) id: u64,
    pub(super) target: Target,
    pub(super) plan: Arc<CheckPlan>,
}

impl Entry {
    /// Puts it where it belongs by when it is due.
    fn queue(&mut self, id: u64, due: &mut BTreeSet<(u64, u64)>) {
        due.remove(&(self.due_ms, id));
        self.due_ms = self.check.next_due_ms();
        if !self.running {
            due.insert((self.due_ms, id));
        }
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

    fn publish(&self, last: Option<LastCheck>, app: Option<AppHealth>) {
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

/// A server that nobody checks (any more) is not kept down by what a check once said.
fn leave_alone(pool: &Pool, index: usize, server: &Server, now_ms: u64) {
    server.check.store(None);
    pool.balancer.checked(index, true, now_ms);
}
