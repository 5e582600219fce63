//! What is tried again: the plan of a pool or a route, and the question whether a failure may be
//! followed by another attempt.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use keel_balance::{Backoff, StatusSet};
use keel_http::BodyLength;
use keel_http::grpc::Code;
use keel_types::{PoolId, ServerIndex, Side};

use crate::error::{Condition, Kind, Retry};
use crate::exchange::{Attempt, Detached, Exchange, TRIES_CEILING};
use crate::forward::keep;
use crate::grpc::Call;
use crate::hash::hash_of;
use crate::protect::{Admission, admit};
use crate::snapshot::{PoolPlan, RoutePlan};
use crate::sticky::Bound;
use crate::walk::Walk;

/// Bytes of a request's body that are kept for another attempt, where nothing else is said.
pub const REPLAY_BYTES_DEFAULT: usize = 64 << 10;

/// When and how often a request is sent again. The default is plain: three tries, at once, for what
/// a server did not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPlan {
    /// After what.
    pub on: RetryOn,
    /// Attempts in all, the first one included; 0 counts as 1, and 16 is the most. Default 3.
    pub tries_max: u32,
    /// No attempt begins later than this after the first one, in milliseconds. Default `u64::MAX`,
    /// no limit.
    pub within_ms: u64,
    /// An attempt that another one may follow must have brought the head of an answer by then, in
    /// milliseconds; what takes longer is an answer timeout. Default `u64::MAX`: only the pool's
    /// timeouts count.
    pub per_try_ms: u64,
    /// The wait before each further attempt; `None` (the default) is no wait. With it, servers that
    /// were all tried are asked again.
    pub backoff: Option<Backoff>,
    /// Whether methods that are not idempotent (RFC 9110, 9.2.2) are repeated too, though the server
    /// may have acted. Default false.
    pub unsafe_methods: bool,
    /// Bytes of a request's body that are kept so that it can be sent again. Default 64 KiB.
    pub body_bytes_max: usize,
    /// Statuses of gRPC, in an answer of trailers alone, after which another server is asked. Default
    /// none.
    pub grpc: Vec<Code>,
}

impl Default for RetryPlan {
    fn default() -> RetryPlan {
        RetryPlan {
            on: RetryOn::default(),
            tries_max: 3,
            within_ms: u64::MAX,
            per_try_ms: u64::MAX,
            backoff: None,
            unsafe_methods: false,
            body_bytes_max: REPLAY_BYTES_DEFAULT,
            grpc: Vec::new(),
        }
    }
}

/// After which failures another attempt is made. Each only when it is safe: the method is idempotent,
/// or nothing of the request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    /// `error`: no name, no connection, no TLS handshake; or the connection ended before an answer.
    /// Default true.
    pub error: bool,
    /// `refused`: the server refused the connection or the stream, so that it saw nothing of the
    /// request. Default true.
    pub refused: bool,
    /// `timeout`, of the connect and of sending: the server took nothing in time. Default true.
    pub connect_timeout: bool,
    /// `timeout`, of the answer: the server may still be at work. Default false.
    pub answer_timeout: bool,
    /// `invalid`: the head of the answer broke the protocol. Default false.
    pub invalid: bool,
    /// Answers with these statuses. Default none.
    pub statuses: StatusSet,
}

impl Default for RetryOn {
    fn default() -> RetryOn {
        RetryOn {
            error: true,
            refused: true,
            connect_timeout: true,
            answer_timeout: false,
            invalid: false,
            statuses: StatusSet::default(),
        }
    }
}

impl RetryOn {
    /// Whether failures of this sort are tried again.
    fn holds(&self, condition: Condition) -> bool {
        match condition {
            Condition::Never => false,
            Condition::Any => true,
            Condition::Error => self.error,
            Condition::Refused => self.refused || self.error,
            Condition::ConnectTimeout => self.connect_timeout,
            Condition::AnswerTimeout => self.answer_timeout,
            Condition::Invalid => self.invalid,
        }
    }
}

/// The attempts of one request.
pub(crate) struct Tries<'a> {
    /// The pool.
    pub plan: &'a PoolPlan,
    /// What is tried again.
    pub retry: &'a RetryPlan,
    /// The hash of the request's key, where the algorithm wants one.
    pub hash: Option<u64>,
    /// Servers that are out of the question: tried, or refused by their breakers. Allocates with the
    /// first, and holds no more than there are tries and open breakers.
    pub out: Vec<usize>,
    /// Connections that proved stale.
    pub stale: u32,
    /// How the last attempt failed.
    pub last: Option<Kind>,
    /// What the request holds of the pool.
    pub admission: Admission,
    made: u32,
    /// The server of the last attempt.
    before: Option<usize>,
    began_ms: u64,
    /// An answer that is given when no other attempt brings a better one.
    aside: Option<Box<Aside>>,
}

/// An answer that another attempt may better, and what is needed to give it all the same.
struct Aside {
    attempt: Attempt,
    /// Holds the head of the answer and what came with it.
    answer: Box<Exchange>,
    times: AttemptTimes,
}

/// What the log is told of one attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptTimes {
    server: Option<usize>,
    address: Option<SocketAddr>,
    connect_us: Option<u64>,
    sent_us: u64,
    answered_us: u64,
    status: u16,
    bound: Bound,
}

impl AttemptTimes {
    fn of(ex: &Exchange) -> AttemptTimes {
        let record = &ex.record;
        AttemptTimes {
            server: record.server,
            address: record.server_address,
            connect_us: record.connect_us,
            sent_us: record.sent_us,
            answered_us: record.answered_us,
            status: record.server_status,
            bound: record.bound,
        }
    }

    fn restore(self, ex: &mut Exchange) {
        let record = &mut ex.record;
        record.server = self.server;
        record.server_address = self.address;
        record.connect_us = self.connect_us;
        record.sent_us = self.sent_us;
        record.answered_us = self.answered_us;
        record.server_status = self.status;
        record.bound = self.bound;
    }
}

impl<'a> Tries<'a> {
    /// A request comes to its pool, which may refuse it.
    pub fn begin(
        walk: &mut Walk<'_>,
        route: &'a RoutePlan,
        plan: &'a PoolPlan,
    ) -> Result<Tries<'a>, Kind> {
        let admission = admit(walk, plan)?;
        Ok(Tries {
            plan,
            retry: route.retry.as_ref().unwrap_or(&plan.retry),
            hash: plan.hash_key.as_ref().map(|key| hash_of(walk, key)),
            out: Vec::new(),
            stale: 0,
            last: None,
            admission,
            made: 0,
            before: None,
            began_ms: walk.worker.clock.now_ms(),
            aside: None,
        })
    }

    fn tries_max(&self) -> u32 {
        self.retry.tries_max.clamp(1, TRIES_CEILING as u32)
    }

    /// Whether no attempt was made yet.
    pub fn is_first(&self) -> bool {
        self.made == 0
    }

    /// Whether servers that were tried may be asked again, which needs a wait in between.
    pub fn asks_again(&self) -> bool {
        self.made > 0 && self.retry.backoff.is_some()
    }

    /// An attempt on this server begins.
    pub fn attempt_begins(&mut self, walk: &mut Walk<'_>, server: usize) {
        if let Some(before) = self.before {
            count_retry(walk, self.plan.pool.id, before);
        }
        self.made += 1;
        self.before = Some(server);
        let others = self.made < self.tries_max() && self.retry.on.answer_timeout;
        walk.try_ms = match others && is_repeatable(walk, self.retry) {
            true => self.retry.per_try_ms,
            false => u64::MAX,
        };
    }

    /// Whether the answer is one that the plan would rather have from somebody else.
    pub fn is_refusal(&self, walk: &Walk<'_>) -> bool {
        let ex = &*walk.ex;
        let by_status = self.retry.on.statuses.contains(ex.answer.status)
            && is_repeatable(walk, self.retry)
            && !ex.answer_framing.switching;
        (by_status || Call::is_refused(ex, &self.retry.grpc)) && ex.up.is_replayable()
    }

    /// Whether there may be one more attempt; it is taken out of the budget then.
    pub fn may_go_on(&mut self, walk: &Walk<'_>) -> bool {
        let now_ms = walk.worker.clock.now_ms();
        if self.made >= self.tries_max()
            || now_ms.saturating_sub(self.began_ms) >= self.retry.within_ms
        {
            return false;
        }
        let spent = match &self.plan.budget {
            Some(budget) => self.is_death(now_ms) || budget.spend(now_ms),
            None => true,
        };
        if !spent {
            walk.view.metrics.pool(self.plan.pool.id).budget_exhausted();
        }
        spent
    }

    /// Whether the first attempt lost its connection to a server that is out of use since, while others
    /// are there: the death of a server, not an overload. A second attempt cannot feed that: there are no
    /// more of them than requests were under way there.
    fn is_death(&self, now_ms: u64) -> bool {
        let balancer = &self.plan.pool.balancer;
        let lost =
            |kind: Kind| matches!(kind.row().condition, Condition::Error | Condition::Refused);
        let is_away = |server: usize| balancer.state(server).is_resting(now_ms);
        self.made == 1
            && self.last.is_some_and(lost)
            && self.before.is_some_and(is_away)
            && balancer.ready_count(now_ms) > 0
    }

    /// What comes between two attempts: the server is out of the question, and the next one is not
    /// asked before the back-off is over.
    pub async fn pause(&mut self, walk: &mut Walk<'_>) -> Result<(), Kind> {
        self.out.extend(self.before);
        let Some(backoff) = &self.retry.backoff else {
            return Ok(());
        };
        let delay_ms = backoff.delay_ms(self.made.saturating_sub(1), walk.worker.random());
        let now_ms = walk.worker.clock.tick() / 1000;
        let gone_ms = now_ms.saturating_sub(self.began_ms);
        let left_ms = self.retry.within_ms.saturating_sub(gone_ms);
        match delay_ms.min(left_ms) {
            0 => Ok(()),
            // Boxed: most requests never wait here.
            delay_ms => Box::pin(sleep(walk, delay_ms)).await,
        }
    }

    /// The request ends with this answer.
    pub fn end(&mut self, walk: &mut Walk<'_>, attempt: &mut Attempt) {
        if let Some(aside) = self.aside.take() {
            drop_answer(walk, self.plan, *aside);
        }
        walk.ex.up.forget(&walk.worker.bufs);
        self.admission.answered(walk, self.plan);
        attempt.admission = Some(std::mem::take(&mut self.admission));
    }

    /// No further attempt is made: the client gets the answer that was put aside, or learns of this
    /// failure.
    pub fn give_up(
        &mut self,
        walk: &mut Walk<'_>,
        kind: Kind,
        held: &mut Option<Attempt>,
    ) -> Result<(), Kind> {
        let nobody_listens = kind.row().side == Side::Client || kind == Kind::DrainTimeout;
        let Some(aside) = self.aside.take().filter(|_| !nobody_listens) else {
            self.admission.failed(walk, self.plan, kind);
            return Err(kind);
        };
        let Aside {
            attempt,
            mut answer,
            times,
        } = *aside;
        walk.ex.swap_answers(&mut answer);
        walk.worker.give_exchange(answer);
        times.restore(walk.ex);
        walk.wait_on(self.plan.pool.id, attempt.server);
        self.end(walk, held.insert(attempt));
        Ok(())
    }
}

/// Keeps an answer until a better one is there.
pub(crate) fn put_aside(walk: &mut Walk<'_>, tries: &mut Tries<'_>, mut attempt: Attempt) {
    tries.last = None;
    walk.wait_on_nobody();
    let ex = &mut *walk.ex;
    attempt.detached.get_or_insert(Detached {
        whole: ex.up.is_done(),
        sent_bytes: ex.up.written_bytes,
    });
    let mut answer = walk.worker.take_exchange();
    ex.swap_answers(&mut answer);
    let aside = Aside {
        attempt,
        answer,
        times: AttemptTimes::of(ex),
    };
    if let Some(before) = tries.aside.replace(Box::new(aside)) {
        drop_answer(walk, tries.plan, *before);
    }
}

/// Another attempt brought a better answer. The connection of this one is good for the next request
/// when all of it was in the buffer.
fn drop_answer(walk: &Walk<'_>, plan: &PoolPlan, aside: Aside) {
    let Aside {
        mut attempt,
        answer,
        ..
    } = aside;
    let Some(detached) = attempt.detached else {
        return;
    };
    let server = ServerIndex(attempt.server as u32);
    let metrics = walk.view.metrics.server(plan.pool.id, server);
    metrics.bytes(detached.sent_bytes, answer.answer_buf.len() as u64);
    if detached.whole && is_whole(&answer) {
        keep(walk, plan, attempt.server, &mut attempt.link);
    }
    walk.worker.give_exchange(answer);
}

/// Whether all of the answer is in the buffer and its connection may go on.
fn is_whole(ex: &Exchange) -> bool {
    let body = ex.answer_buf.len().saturating_sub(ex.answer.len) as u64;
    let whole = match ex.answer_framing.body {
        BodyLength::Empty => body == 0,
        BodyLength::Fixed(bytes) => body == bytes,
        BodyLength::Chunked | BodyLength::UntilClose => false,
    };
    whole && ex.answer_framing.keep_alive
}

/// An attempt on this server is followed by another one.
pub(crate) fn count_retry(walk: &mut Walk<'_>, pool: PoolId, server: usize) {
    walk.ex.record.retries += 1;
    let position = ServerIndex(server as u32);
    walk.view.metrics.server(pool, position).retried();
}

/// Whether doing the request twice does no harm, or nobody minds.
pub(crate) fn is_repeatable(walk: &Walk<'_>, retry: &RetryPlan) -> bool {
    retry.unsafe_methods || walk.ex.head.method.is_idempotent()
}

/// Whether the request may be sent again after this failure without doing harm.
pub(crate) fn is_safe(walk: &Walk<'_>, retry: &RetryPlan, kind: Kind) -> bool {
    let safe = match kind.row().retry {
        Retry::Never => false,
        Retry::Always => true,
        Retry::IfIdempotent => is_repeatable(walk, retry),
    };
    safe && walk.ex.up.is_replayable()
}

/// Whether this failure may be followed by another attempt, as far as the plan and safety go.
pub(crate) fn may_follow(walk: &Walk<'_>, retry: &RetryPlan, kind: Kind) -> bool {
    retry.on.holds(kind.row().condition) && is_safe(walk, retry, kind)
}

/// Waits; the client's going and a drain end it.
async fn sleep(walk: &mut Walk<'_>, delay_ms: u64) -> Result<(), Kind> {
    let mut slept = pin!(tokio::time::sleep(Duration::from_millis(delay_ms)));
    let call_due_ms = walk.ex.call.map_or(u64::MAX, |call| call.due_ms);
    poll_fn(|cx| {
        if slept.as_mut().poll(cx).is_ready() {
            walk.worker.clock.tick();
            return Poll::Ready(Ok(()));
        }
        walk.client
            .poll_watch(cx, walk.worker)
            .map_err(|_| Kind::ClientGone)?;
        walk.poll_overdue(cx, call_due_ms, Kind::DeadlinePassed)
            .map(Err)
    })
    .await
}
