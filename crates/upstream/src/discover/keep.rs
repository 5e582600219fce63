//! The task that asks, and tells what changed.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::table::{Answer, Heard, Question, Table};
use super::{Found, FoundServer, Known, Place, Target};
use crate::resolve::{Dns, ResolveFault, ResolverSettings};

/// Questions that are out at the same time.
const ASKING_MAX: usize = 64;
/// The shortest time from one change that is told to the next.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Orders that wait for the task.
const ORDERS_MAX: usize = 4;
/// How often the system's files are looked at when nothing else happens.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Keeps names of servers resolved. The task behind it ends when all handles are dropped.
#[derive(Debug, Clone)]
pub struct Discovery {
    orders: mpsc::Sender<Order>,
    counts: Arc<Cells>,
}

/// How the look-ups went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Look-ups that gave an answer.
    pub answered: u64,
    /// Look-ups that gave none.
    pub failed: u64,
    /// Names that are kept now.
    pub names: u64,
    /// Names whose last look-up failed; they have their last good answer, if there was one.
    pub failing: u64,
}

#[derive(Debug, Default)]
struct Cells {
    answered: AtomicU64,
    failed: AtomicU64,
    names: AtomicU64,
    failing: AtomicU64,
}

enum Order {
    Watch(Watch),
    Known(oneshot::Sender<Vec<Known>>),
}

struct Watch {
    settings: ResolverSettings,
    targets: Vec<Target>,
    reply: oneshot::Sender<Vec<Found>>,
}

impl Discovery {
    /// Starts the task on the runtime that this is called on. Sets that change from now on come out
    /// of the receiver; while nobody takes them, later ones replace earlier ones. `known` is what
    /// another process knew of names: it counts as the first answer.
    pub fn start(known: Vec<Known>) -> (Discovery, mpsc::Receiver<Vec<Found>>) {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let (found, changes) = mpsc::channel(1);
        let counts = Arc::new(Cells::default());
        let keeper = Keeper {
            settings: ResolverSettings::default(),
            dns: None,
            table: Table::new(known),
            targets: Vec::new(),
            told: BTreeMap::new(),
            untold: BTreeMap::new(),
            tell_at: Instant::now(),
            waiting: Vec::new(),
            asking: JoinSet::new(),
            base: Instant::now(),
            counts: Arc::clone(&counts),
        };
        tokio::spawn(keeper.run(taken, found));
        (Discovery { orders, counts }, changes)
    }

    /// From now on these are kept, and nothing else; what is known of a name is kept with it. Resolves
    /// when every name has been asked once, after `settings.timeout` at the latest, and gives the sets
    /// of all entries that have one; they do not come out of the receiver again. A [`Target::One`] has
    /// its addresses then.
    ///
    /// Dropping the future leaves the targets as ordered.
    pub async fn watch(&self, settings: ResolverSettings, targets: Vec<Target>) -> Vec<Found> {
        let (reply, answer) = oneshot::channel();
        let order = Watch {
            settings,
            targets,
            reply,
        };
        if self.orders.send(Order::Watch(order)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// What is known of all names that are kept.
    pub async fn known(&self) -> Vec<Known> {
        let (reply, answer) = oneshot::channel();
        if self.orders.send(Order::Known(reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// How the look-ups went.
    pub fn counts(&self) -> Counts {
        let of = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Counts {
            answered: of(&self.counts.answered),
            failed: of(&self.counts.failed),
            names: of(&self.counts.names),
            failing: of(&self.counts.failing),
        }
    }
}

type Asked = (Question, Result<Answer, ResolveFault>);

struct Keeper {
    settings: ResolverSettings,
    dns: Option<Dns>,
    table: Table,
    targets: Vec<(Question, Target)>,
    /// What was told of each entry last.
    told: BTreeMap<Place, Vec<FoundServer>>,
    /// What has to be told.
    untold: BTreeMap<Place, Vec<FoundServer>>,
    tell_at: Instant,
    /// Who waits for the first look-ups, and until when.
    waiting: Vec<(oneshot::Sender<Vec<Found>>, Instant)>,
    asking: JoinSet<Asked>,
    base: Instant,
    counts: Arc<Cells>,
}

impl Keeper {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, found: mpsc::Sender<Vec<Found>>) {
        loop {
            self.ask();
            self.answer_waiting();
            let next = self.next_due();
            // What is found while somebody waits for the first look-ups is their answer.
            let (tell, to_tell) = (
                self.tell_at,
                !self.untold.is_empty() && self.waiting.is_empty(),
            );
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Watch(order)) => self.watch(order),
                    Some(Order::Known(reply)) => {
                        // Whoever asked may have given up.
                        let _gone = reply.send(self.table.known());
                    }
                    None => return,
                },
                Some(Ok((question, outcome))) = self.asking.join_next() => self.heard(&question, outcome),
                () = tokio::time::sleep_until(next) => {}
                permit = tell_slot(&found, tell), if to_tell => match permit {
                    Ok(permit) => permit.send(self.tell()),
                    // Nobody listens: what was found is given by `watch` only.
                    Err(_) => self.untold.clear(),
                },
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When there is something to do though nothing comes in.
    fn next_due(&self) -> Instant {
        let waited_for = self.waiting.iter().map(|(_, until)| *until).min();
        let look = Instant::now() + LOOK_EVERY;
        let look = waited_for.map_or(look, |until| until.min(look));
        match self.table.next_due_ms() {
            Some(due_ms) if self.asking.len() < ASKING_MAX => {
                look.min(self.base + Duration::from_millis(due_ms))
            }
            _ => look,
        }
    }

    fn watch(&mut self, order: Watch) {
        let now_ms = self.now_ms();
        if self.settings != order.settings {
            self.settings = order.settings;
            self.dns = None;
            self.table.ask_all_anew(now_ms);
        }
        let targets = order.targets.into_iter();
        self.targets = targets.map(|it| (it.question(), it)).collect();
        let questions = self.targets.iter().map(|(question, _)| question.clone());
        self.table.want(questions, now_ms);
        let places: HashSet<Place> = self.targets.iter().filter_map(place).cloned().collect();
        self.told.retain(|place, _| places.contains(place));
        self.untold.retain(|place, _| places.contains(place));
        for position in 0..self.targets.len() {
            self.apply(position);
        }
        let until = Instant::now() + self.settings.timeout;
        self.waiting.push((order.reply, until));
        self.count_names();
    }

    /// Sends out what is due.
    fn ask(&mut self) {
        let now_ms = self.now_ms();
        let room = ASKING_MAX.saturating_sub(self.asking.len());
        let due = self.table.take_due(now_ms, room);
        if due.is_empty() {
            return;
        }
        if self.dns.as_ref().is_some_and(Dns::is_stale) {
            self.dns = None;
        }
        if self.dns.is_none() {
            self.dns = Dns::new(&self.settings)
                .inspect_err(|cause| tracing::error!("names cannot be looked up: {cause}"))
                .ok();
        }
        for question in due {
            let dns = self.dns.clone();
            self.asking.spawn(async move {
                let asked = tokio::spawn(ask_one(dns, question.clone()));
                let outcome = asked.await.unwrap_or_else(|broken| {
                    Err(ResolveFault::Failed {
                        name: question.to_string(),
                        cause: broken.to_string(),
                    })
                });
                (question, outcome)
            });
        }
    }

    fn heard(&mut self, question: &Question, outcome: Result<Answer, ResolveFault>) {
        let cell = match &outcome {
            Ok(_) => &self.counts.answered,
            Err(_) => &self.counts.failed,
        };
        cell.fetch_add(1, Ordering::Relaxed);
        let bounds = (self.settings.ttl_min, self.settings.ttl_max);
        let now_ms = self.now_ms();
        match self.table.heard(question, outcome, bounds, now_ms) {
            Heard::Changed => {
                for position in 0..self.targets.len() {
                    if self
                        .targets
                        .get(position)
                        .is_some_and(|it| it.0 == *question)
                    {
                        self.apply(position);
                    }
                }
            }
            Heard::Fails(fault) => match self.table.answer(question) {
                Some(_) => tracing::warn!("{fault}; its last good answer is used"),
                None => tracing::warn!("{fault}"),
            },
            Heard::Same | Heard::StillFails | Heard::Unasked => {}
        }
        self.count_names();
    }

    /// Brings what is known to a target.
    fn apply(&mut self, position: usize) {
        let Some((question, target)) = self.targets.get(position) else {
            return;
        };
        let Some(answer) = self.table.answer(question) else {
            return;
        };
        match (target, answer) {
            (Target::One(server), Answer::Host(answer)) => {
                let port = server.address.port;
                let at = |ip| SocketAddr::new(ip, port);
                let addresses: Vec<SocketAddr> = answer.addresses().map(at).collect();
                if **server.resolved.load() != addresses {
                    tracing::info!(server = %server.name, ?addresses, "resolved");
                    server.resolved.store(Arc::new(addresses));
                }
            }
            _ => {
                let (servers, left_out) = target.servers(answer);
                let Some(place) = target.place().cloned() else {
                    return;
                };
                // Never none: a set that cannot be used is no answer.
                if servers.is_empty() {
                    return;
                }
                if self.told.get(&place) == Some(&servers) {
                    self.untold.remove(&place);
                    return;
                }
                if left_out > 0 {
                    tracing::warn!(
                        "{question} stands for too many servers: {left_out} are left out"
                    );
                }
                self.untold.insert(place, servers);
            }
        }
    }

    /// What has to be told, which counts as told then.
    fn tell(&mut self) -> Vec<Found> {
        self.tell_at = Instant::now() + TELL_EVERY;
        let mut all = Vec::with_capacity(self.untold.len());
        for (place, servers) in std::mem::take(&mut self.untold) {
            log_change(&place, self.told.get(&place), &servers);
            self.told.insert(place.clone(), servers.clone());
            all.push(Found { place, servers });
        }
        all
    }

    /// Answers those who wait for the first look-ups.
    fn answer_waiting(&mut self) {
        let (all_asked, now) = (self.table.all_asked(), Instant::now());
        let over = |(_, until): &(_, Instant)| all_asked || *until <= now;
        if !self.waiting.iter().any(over) {
            return;
        }
        self.tell();
        let (answered, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(over);
        self.waiting = waiting;
        let answered: Vec<_> = answered;
        for (reply, _) in answered {
            let all = self.told.iter().map(|(place, servers)| Found {
                place: place.clone(),
                servers: servers.clone(),
            });
            // Whoever asked may have given up.
            let _gone = reply.send(all.collect());
        }
    }

    fn count_names(&self) {
        let set = |cell: &AtomicU64, count: usize| {
            cell.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        set(&self.counts.names, self.table.len());
        set(&self.counts.failing, self.table.failing());
    }
}

fn place((_, target): &(Question, Target)) -> Option<&Place> {
    target.place()
}

/// Room in the channel, once it is time to tell.
async fn tell_slot(
    found: &mpsc::Sender<Vec<Found>>,
    at: Instant,
) -> Result<mpsc::Permit<'_, Vec<Found>>, mpsc::error::SendError<()>> {
    tokio::time::sleep_until(at).await;
    found.reserve().await
}

async fn ask_one(dns: Option<Dns>, question: Question) -> Result<Answer, ResolveFault> {
    let Some(dns) = dns else {
        return Err(ResolveFault::Failed {
            name: question.to_string(),
            cause: "there is no resolver".to_owned(),
        });
    };
    match &question {
        Question::Host(name) => dns.host(name).await.map(Answer::Host),
        Question::Service(name) => dns.service(name).await.map(Answer::Service),
    }
}

fn log_change(place: &Place, before: Option<&Vec<FoundServer>>, now: &[FoundServer]) {
    let before = before.map_or(&[][..], Vec::as_slice);
    let less = |from: &[FoundServer], other: &[FoundServer]| {
        let is_in = |server: &FoundServer| other.iter().any(|it| it.name == server.name);
        from.iter().filter(|server| !is_in(server)).count()
    };
    let (added, removed) = (less(now, before), less(before, now));
    let (pool, entry) = (&place.pool, &place.name);
    if added + removed > 0 {
        tracing::info!(%pool, %entry, servers = now.len(), added, removed, "found servers");
    }
}
