//! What a request has to pass before a server is asked: load shed, breakers and limits; and which server
//! takes it.

use std::sync::Arc;

use keel_balance::{
    Ask, Breaker, BreakerChange, InFlight, Limiter, Pass, Permit, Refused, SelectFault, Selected,
    parse_load,
};
use keel_observe::{BreakerTurn, Refusal};

use crate::error::Kind;
use crate::exchange::Exchange;
use crate::limits::Place;
use crate::queue::{Freed, wait};
use crate::retry::Tries;
use crate::snapshot::PoolPlan;
use crate::sticky;
use crate::walk::Walk;

/// What a refusal for want of room says in `Retry-After`, in seconds: nobody knows when there will be
/// some, and clients that come back at once would be refused again.
pub(crate) const RETRY_AFTER_S: u32 = 1;

/// What a request holds of its pool while it runs; given back on drop.
#[derive(Debug, Default)]
pub struct Admission {
    /// Its place in the limit of the process.
    process: Option<Place>,
    /// Its place in the limit of the pool.
    request: Option<Place>,
    /// Its place in the limit that follows response times.
    concurrency: Option<InFlight>,
    /// Leave of the pool's breaker.
    passage: Option<Passage>,
    /// The places of the pool were taken.
    entered: bool,
    /// When the first attempt began, in microseconds of the worker's clock.
    since_us: u64,
    /// Whoever waits is told that there is room again.
    freed: Freed,
}

impl Admission {
    /// Takes what the pool limits, unless that is taken already.
    fn enter(&mut self, plan: &PoolPlan) -> Result<(), Full> {
        if self.entered {
            return Ok(());
        }
        if let Some(limits) = &plan.limits {
            self.request = Some(limits.request().ok_or(Full::Limit)?);
        }
        if let Some(limiter) = &plan.limiter {
            self.concurrency = Limiter::enter(limiter);
            if self.concurrency.is_none() {
                self.request = None;
                return Err(Full::Concurrency);
            }
        }
        if self.freed.0.is_none() {
            // Not anew after a wait: the old one would tell the head, which is this request.
            self.freed = Freed(plan.queue.clone());
        }
        self.entered = true;
        Ok(())
    }

    /// Gives back what [`Admission::enter`] took.
    fn leave(&mut self) {
        self.request = None;
        self.concurrency = None;
        self.entered = false;
    }

    /// A server has answered: the breaker learns how, and how long all attempts together took.
    pub fn answered(&mut self, walk: &Walk<'_>, plan: &PoolPlan) {
        if let Some(passage) = self.passage.take() {
            let record = &walk.ex.record;
            let took_ms = record.answered_us.saturating_sub(self.since_us) / 1000;
            passage.record(walk, plan, None, is_failure(record.server_status), took_ms);
        }
    }

    /// No server has answered.
    pub fn failed(&mut self, walk: &Walk<'_>, plan: &PoolPlan, kind: Kind) {
        if let Some(passage) = self.passage.take().filter(|_| kind.blames_server()) {
            let now_us = walk.worker.clock.now_us();
            let took_ms = now_us.saturating_sub(self.since_us) / 1000;
            passage.record(walk, plan, None, true, took_ms);
        }
    }

    /// The exchange is over, or became a tunnel: the limit that follows response times learns how
    /// long the server took for its answer.
    pub fn over(&mut self, took_us: u64, now_ms: u64) {
        if let Some(place) = self.concurrency.take()
            && let Some(change) = place.finish(took_us, now_ms)
        {
            let (from, to) = (change.from, change.to);
            tracing::debug!(from, to, min_us = change.min_us, "limit of concurrency");
        }
    }
}

/// Which limit of a pool is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    Limit,
    Concurrency,
}

/// Why no server was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// There is no room now; there may be later.
    Full,
    /// It fails for this.
    Kind(Kind),
}

/// Leave of a breaker to make one call; given back unused on drop.
#[derive(Debug)]
pub struct Passage {
    breaker: Arc<Breaker>,
    pass: Option<Pass>,
}

impl Passage {
    /// Asks for leave; `server` is set for the breaker of one.
    fn ask(
        walk: &Walk<'_>,
        plan: &PoolPlan,
        breaker: &Arc<Breaker>,
        server: Option<usize>,
    ) -> Result<Passage, Refused> {
        let (pass, change) = breaker.admit(walk.worker.clock.now_ms())?;
        if let Some(change) = change {
            tell(walk, plan, server, change);
        }
        Ok(Passage {
            breaker: Arc::clone(breaker),
            pass: Some(pass),
        })
    }

    /// Tells how the call went. A server whose breaker opens rests for so long.
    pub fn record(
        mut self,
        walk: &Walk<'_>,
        plan: &PoolPlan,
        server: Option<usize>,
        failed: bool,
        took_ms: u64,
    ) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        let now_ms = walk.worker.clock.now_ms();
        let Some(change) = self.breaker.record(pass, failed, took_ms, now_ms) else {
            return;
        };
        tell(walk, plan, server, change);
        if let (BreakerChange::Opened { until_ms, .. }, Some(server)) = (change, server) {
            let _ = plan.pool.balancer.rest(server, until_ms, now_ms);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.breaker.cancel(pass);
        }
    }
}

/// Logs and counts a change of a breaker.
#[cold]
fn tell(walk: &Walk<'_>, plan: &PoolPlan, server: Option<usize>, change: BreakerChange) {
    let pool = &plan.pool.name;
    let name = server.and_then(|it| plan.pool.servers.get(it));
    let name = name.map(|it| it.name.as_str());
    let turn = match change {
        BreakerChange::Opened { why, .. } => {
            tracing::warn!(pool, server = name, ?why, "circuit breaker opened");
            BreakerTurn::Opened
        }
        BreakerChange::HalfOpened => {
            tracing::info!(pool, server = name, "circuit breaker is half open");
            BreakerTurn::HalfOpened
        }
        BreakerChange::Closed => {
            tracing::info!(pool, server = name, "circuit breaker closed");
            BreakerTurn::Closed
        }
    };
    let metrics = walk.view.metrics.pool(plan.pool.id);
    metrics.breaker_turned(server.is_some(), turn);
}

/// Whether an answer with this status is a failure to a breaker.
pub(crate) fn is_failure(status: u16) -> bool {
    status >= 500
}

/// A request comes to its pool: load shed and the pool's breaker may refuse it before a server is
/// looked for.
pub(crate) fn admit(walk: &mut Walk<'_>, plan: &PoolPlan) -> Result<Admission, Kind> {
    let mut admission = Admission::default();
    if let Some(shed) = &walk.view.snapshot.shed {
        admission.process = shed.request();
        if admission.process.is_none() {
            return Err(refuse(walk, plan, Refusal::Shed, RETRY_AFTER_S));
        }
    }
    if let Some(breaker) = &plan.breaker {
        admission.since_us = walk.worker.clock.now_us();
        admission.passage = match Passage::ask(walk, plan, breaker, None) {
            Ok(passage) => Some(passage),
            Err(refused) => {
                let wait_s = seconds(refused.retry_after_ms);
                return Err(refuse(walk, plan, Refusal::Breaker, wait_s));
            }
        };
    }
    if let Some(budget) = &plan.budget {
        budget.request(walk.worker.clock.now_ms());
    }
    Ok(admission)
}

/// Whole seconds, rounded up; at least one, since a client that is told 0 comes back at once.
fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1000).max(1)).unwrap_or(u32::MAX)
}

/// Counts a refusal, and notes what it says in `Retry-After`; 0 says nothing.
#[cold]
pub(crate) fn refuse(
    walk: &mut Walk<'_>,
    plan: &PoolPlan,
    why: Refusal,
    retry_after_s: u32,
) -> Kind {
    walk.ex.record.retry_after_s = retry_after_s;
    walk.view.metrics.pool(plan.pool.id).refused(why);
    match why {
        Refusal::Breaker => Kind::BreakerOpen,
        Refusal::Limit | Refusal::Concurrency => Kind::PoolLimit,
        Refusal::QueueFull => Kind::QueueFull,
        Refusal::QueueTimeout => Kind::QueueTimeout,
        Refusal::Shed => Kind::Shed,
    }
}

/// A server that takes the request, with its place there.
#[derive(Debug)]
pub struct Taken {
    /// Its position in the pool.
    pub index: usize,
    /// The request's place there.
    pub permit: Permit,
    /// Leave of its breaker.
    pub breaker: Option<Passage>,
    /// When it was taken, in microseconds of the worker's clock.
    pub since_us: u64,
    /// Whoever waits is told that there is room again. Dropped behind the permit.
    _freed: Freed,
}

/// A server for the next attempt. While all is full the request waits, when the pool has a queue.
pub(crate) async fn server_for(walk: &mut Walk<'_>, tries: &mut Tries<'_>) -> Result<Taken, Kind> {
    let queue = tries.plan.queue.as_ref();
    // Whoever waits already goes first.
    if queue.is_none_or(|queue| queue.waiting() == 0) {
        match take(walk, tries, For::Request) {
            Ok(taken) => return Ok(taken),
            Err(Unserved::Kind(kind)) => return Err(kind),
            Err(Unserved::Full) => {}
        }
    }
    match queue {
        // Boxed: most requests never wait here.
        Some(queue) => Box::pin(wait(walk, tries, queue)).await,
        None => Err(why_full(walk, tries)),
    }
}

/// What it is that is full, told and counted.
#[cold]
fn why_full(walk: &mut Walk<'_>, tries: &mut Tries<'_>) -> Kind {
    match tries.admission.enter(tries.plan) {
        Err(Full::Limit) => refuse(walk, tries.plan, Refusal::Limit, RETRY_AFTER_S),
        Err(Full::Concurrency) => refuse(walk, tries.plan, Refusal::Concurrency, RETRY_AFTER_S),
        Ok(()) => Kind::AllFull,
    }
}

/// What a server is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// The request.
    Request,
    /// A hedge, which binds no client to its server.
    Hedge,
}

/// Takes a place at a server, if there is one now.
pub(crate) fn take(
    walk: &mut Walk<'_>,
    tries: &mut Tries<'_>,
    why: For,
) -> Result<Taken, Unserved> {
    let plan = tries.plan;
    tries.admission.enter(plan).map_err(|_| Unserved::Full)?;
    let mut closed_for_ms = None;
    // A hedge does not go where its request is.
    let mut anew = why == For::Request && tries.asks_again();
    let mut tried = tries.out.len();
    loop {
        let ask = Ask {
            now_ms: walk.worker.clock.now_ms(),
            random: walk.worker.random(),
            hash: tries.hash,
            client: Some(walk.ex.record.client_ip),
            tried: &tries.out,
        };
        let selected = match choose(walk, plan, &ask, why) {
            Ok(selected) => selected,
            Err(SelectFault::AllFull) => {
                // Breakers that refuse now may not do so when it looks again.
                tries.out.truncate(tried);
                if tries.is_first() {
                    // Whoever waits is not under way.
                    tries.admission.leave();
                }
                return Err(Unserved::Full);
            }
            Err(SelectFault::AllTried) if anew => {
                anew = false;
                tried = 0;
                tries.out.clear();
                continue;
            }
            Err(_) => {
                return Err(Unserved::Kind(match closed_for_ms {
                    Some(ms) if tries.is_first() => {
                        refuse(walk, plan, Refusal::Breaker, seconds(ms))
                    }
                    _ => Kind::NoServer,
                }));
            }
        };
        let index = selected.index;
        let breaker = match plan.server_breakers.get(index) {
            None => None,
            Some(breaker) => match Passage::ask(walk, plan, breaker, Some(index)) {
                Ok(passage) => Some(passage),
                Err(refused) => {
                    let ms = closed_for_ms.unwrap_or(u64::MAX);
                    closed_for_ms = Some(refused.retry_after_ms.min(ms));
                    tries.out.push(index);
                    continue;
                }
            },
        };
        return Ok(Taken {
            index,
            permit: selected.permit,
            breaker,
            since_us: walk.worker.clock.now_us(),
            _freed: Freed(plan.queue.clone()),
        });
    }
}

/// Which server it is to be: the one that the client is bound to, or else the balancer's choice.
#[inline]
fn choose(
    walk: &mut Walk<'_>,
    plan: &PoolPlan,
    ask: &Ask<'_>,
    why: For,
) -> Result<Selected, SelectFault> {
    match why {
        For::Request => sticky::select(walk, plan, ask),
        For::Hedge => plan.pool.balancer.select(ask),
    }
}

/// Takes what a server says of its load, if it says anything.
pub(crate) fn take_load_report(
    ex: &Exchange,
    plan: &PoolPlan,
    server: usize,
    name: &str,
    now_ms: u64,
) {
    let told = ex
        .answer
        .fields
        .first_named(name.as_bytes(), ex.answer_buf.filled());
    if let Some(busy) = told.and_then(parse_load) {
        plan.pool.balancer.state(server).report_load(busy, now_ms);
    }
}
