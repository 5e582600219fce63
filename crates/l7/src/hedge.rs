//! Hedged requests: a second server is asked when the first is slower than most answers are.
//!
//! Only for safe methods without a body, so that nothing but the head is sent and doing it twice does
//! no harm. Each attempt is a future of its own with an exchange of its own for its answer, and all of
//! them are polled by the request's task; the first head of an answer wins. The others are dropped,
//! which closes their connections and resets their streams (CANCEL). Interim answers are not passed
//! on: they could be of a server that loses.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use keel_http::BodyLength;
use keel_net::Buf;
use keel_observe::{InFlight, Refusal, ServerMetrics};
use keel_types::ServerIndex;

use crate::connect::{Reach, connect_due_ms};
use crate::error::Kind;
use crate::exchange::{Attempt, Detached, Exchange};
use crate::forward::{STALE_MAX, is_stale, kept, note_failure};
use crate::io::Io;
use crate::link::Link;
use crate::protect::{For, RETRY_AFTER_S, Taken, Unserved, refuse, take};
use crate::relay::{Encode, RelayFault};
use crate::retry::Tries;
use crate::send::{open_stream, poll_answer, write_head};
use crate::snapshot::{PoolPlan, RoutePlan};
use crate::sticky::Bound;
use crate::times::Times;
use crate::walk::Walk;
use crate::worker::Worker;

/// Interim answers that one server may send before it must answer.
const INTERIM_MAX: u32 = 32;

/// Whether this request may be sent to several servers at once.
#[inline]
pub(crate) fn may_hedge(walk: &Walk<'_>, plan: &PoolPlan) -> bool {
    let ex = &*walk.ex;
    plan.hedger.is_some()
        && ex.head.method.is_safe()
        && ex.framing.body == BodyLength::Empty
        && !ex.framing.upgrade
        && !ex.head.extended_connect
        && ex.call.is_none()
}

/// One server that is asked.
struct Runner<'a> {
    asking: Pin<Box<dyn Future<Output = Answered> + 'a>>,
    taken: Taken,
    /// It was asked because another one was slow.
    is_extra: bool,
    in_flight: InFlight,
    progress: Rc<Progress>,
}

/// How an attempt ended: its link, with the answer in its exchange.
type Answered = Result<(Link, Box<Exchange>), Kind>;

/// How far an attempt is, for whoever watches its time and for the log.
#[derive(Debug)]
struct Progress {
    address: Cell<Option<SocketAddr>>,
    connect_us: Cell<Option<u64>>,
    /// When the head began to go out.
    sent_us: Cell<u64>,
    /// When all of it was sent; `None` before that.
    sent_ms: Cell<Option<u64>>,
    sent_bytes: Cell<u64>,
    /// When the connect is overdue.
    connect_due_ms: Cell<u64>,
    /// What it means when the connect is overdue.
    overdue: Cell<Kind>,
}

/// Who won: its place among the runners, and its answer.
type Winner = (usize, Link, Box<Exchange>);

/// Asks one server, and more of them while it is slow, within the budget; the first answer is that of
/// the request.
pub(crate) async fn race<'a>(
    walk: &mut Walk<'a>,
    route: &RoutePlan,
    tries: &mut Tries<'a>,
    taken: Taken,
    held: &mut Option<Attempt>,
) -> Result<(), Kind> {
    let plan = tries.plan;
    let start_us = walk.worker.clock.tick();
    walk.ex.record.server = Some(taken.index);
    walk.ex.record.server_address = None;
    let mut runners = vec![start(walk, route, tries, taken, false)];
    let mut extra = 0;
    let mut due_us = plan.hedger.as_ref().and_then(|it| it.due_us(extra));
    let won = loop {
        let gone_us = walk.worker.clock.now_us().saturating_sub(start_us);
        let nap = due_us.map(|due_us| Duration::from_micros(due_us.saturating_sub(gone_us)));
        match run(walk, route, plan, &mut runners, nap).await? {
            Step::Won(won) => break won,
            Step::Lost(Kind::PoolLimit) => {
                return Err(refuse(walk, plan, Refusal::Limit, RETRY_AFTER_S));
            }
            Step::Lost(kind) => return Err(kind),
            Step::Due => {
                walk.worker.clock.tick();
                due_us = match hedge(walk, route, tries, &mut runners) {
                    true => {
                        extra += 1;
                        plan.hedger.as_ref().and_then(|it| it.due_us(extra))
                    }
                    // There is no budget, or no other server: nobody asks again.
                    false => None,
                };
            }
        }
    };
    *held = Some(finish(walk, plan, runners, won, start_us));
    Ok(())
}

/// What the race came to.
enum Step {
    /// This one answered first.
    Won(Winner),
    /// The last one failed.
    Lost(Kind),
    /// One more server is to be asked.
    Due,
}

/// Polls all runners until one answers, all have failed, or the time is there to ask one more.
async fn run(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    runners: &mut Vec<Runner<'_>>,
    nap: Option<Duration>,
) -> Result<Step, Kind> {
    let times = Times::of(walk, route, plan);
    let mut nap = pin!(async {
        match nap {
            Some(nap) => tokio::time::sleep(nap).await,
            None => std::future::pending().await,
        }
    });
    poll_fn(|cx| {
        if let Poll::Ready(step) = poll_runners(walk, cx, plan, runners, &times) {
            return Poll::Ready(Ok(step));
        }
        if nap.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(Step::Due));
        }
        walk.client
            .poll_watch(cx, walk.worker)
            .map_err(|_| Kind::ClientGone)?;
        let dues = runners.iter().map(|runner| runner.due(&times).0);
        let due_ms = dues.min().unwrap_or(u64::MAX);
        // What is overdue is seen to above, on the next poll.
        match walk.poll_overdue(cx, due_ms, Kind::AnswerTimeout) {
            Poll::Ready(Kind::AnswerTimeout) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other.map(Err),
        }
    })
    .await
}

/// Polls each runner once; those that failed or took too long leave.
fn poll_runners(
    walk: &Walk<'_>,
    cx: &mut Context<'_>,
    plan: &PoolPlan,
    runners: &mut Vec<Runner<'_>>,
    times: &Times,
) -> Poll<Step> {
    let mut at = 0;
    while let Some(runner) = runners.get_mut(at) {
        let failed = match runner.asking.as_mut().poll(cx) {
            Poll::Ready(Ok((link, ex))) => return Poll::Ready(Step::Won((at, link, ex))),
            Poll::Ready(Err(kind)) => kind,
            Poll::Pending => match runner.due(times) {
                (due_ms, kind) if walk.worker.clock.now_ms() >= due_ms => kind,
                _ => {
                    at += 1;
                    continue;
                }
            },
        };
        let mut runner = runners.remove(at);
        note_failure(walk, plan, &mut runner.taken, failed);
        let server = ServerIndex(runner.taken.index as u32);
        let metrics = walk.view.metrics.server(plan.pool.id, server);
        metrics.bytes(runner.progress.sent_bytes.get(), 0);
        if runners.is_empty() {
            return Poll::Ready(Step::Lost(failed));
        }
    }
    Poll::Pending
}

impl Runner<'_> {
    /// When the attempt is overdue, and what that means then.
    fn due(&self, times: &Times) -> (u64, Kind) {
        let due = match self.progress.sent_ms.get() {
            Some(sent_ms) => (times.answer_due(sent_ms), Kind::AnswerTimeout),
            None => {
                let progress = &self.progress;
                (progress.connect_due_ms.get(), progress.overdue.get())
            }
        };
        // 0 is no cut. The walk waits on no server of its own here: each has its own cut.
        match self.taken.permit.state().cut_at_ms() {
            at_ms if at_ms != 0 && at_ms < due.0 => (at_ms, Kind::ServerDrained),
            _ => due,
        }
    }
}

/// Asks one more server, if the budget has room and there is another; gives whether one was asked.
fn hedge<'a>(
    walk: &mut Walk<'a>,
    route: &RoutePlan,
    tries: &mut Tries<'a>,
    runners: &mut Vec<Runner<'a>>,
) -> bool {
    let plan = tries.plan;
    let metrics = walk.view.metrics.pool(plan.pool.id);
    let before = tries.out.len();
    tries.out.extend(runners.iter().map(|it| it.taken.index));
    let taken = match take(walk, tries, For::Hedge) {
        Ok(taken) => taken,
        Err(Unserved::Full | Unserved::Kind(_)) => {
            tries.out.truncate(before);
            return false;
        }
    };
    // Asked last: what is spent is spent.
    let now_ms = walk.worker.clock.now_ms();
    if plan.budget.as_ref().is_some_and(|it| !it.spend(now_ms)) {
        metrics.budget_exhausted();
        tries.out.truncate(before);
        return false;
    }
    metrics.hedged();
    tries.out.push(taken.index);
    let runner = start(walk, route, tries, taken, true);
    runners.push(runner);
    true
}

/// Begins to ask a server.
fn start<'a>(
    walk: &mut Walk<'a>,
    route: &RoutePlan,
    tries: &Tries<'a>,
    taken: Taken,
    is_extra: bool,
) -> Runner<'a> {
    let (plan, server) = (tries.plan, taken.index);
    let view = walk.view;
    let metrics = view
        .metrics
        .server(plan.pool.id, ServerIndex(server as u32));
    let now_ms = walk.worker.clock.now_ms();
    // From 0, so that this is how long one may take.
    let connect_ms = connect_due_ms(walk, route, plan, 0);
    let mut head = walk.worker.bufs.take_string();
    write_head(&mut head, walk, route, plan, (server, BodyLength::Empty));
    let mut ex = walk.worker.take_exchange();
    ex.head.method = walk.ex.head.method;
    ex.framing = walk.ex.framing;
    let progress = Rc::new(Progress {
        address: Cell::new(None),
        connect_us: Cell::new(None),
        sent_us: Cell::new(walk.worker.clock.now_us()),
        sent_ms: Cell::new(None),
        sent_bytes: Cell::new(0),
        connect_due_ms: Cell::new(now_ms.saturating_add(connect_ms)),
        overdue: Cell::new(Kind::ConnectTimeout),
    });
    let ask = AskOne {
        worker: walk.worker,
        plan,
        server,
        head,
        metrics,
        progress: progress.clone(),
        connect_ms,
        kept: kept(walk, plan, server, false),
    };
    Runner {
        asking: Box::pin(ask.run(ex)),
        taken,
        is_extra,
        in_flight: metrics.begin(),
        progress,
    }
}

/// All that one attempt needs.
struct AskOne<'a> {
    worker: &'a Rc<Worker>,
    plan: &'a PoolPlan,
    server: usize,
    head: Vec<u8>,
    metrics: &'a ServerMetrics,
    progress: Rc<Progress>,
    /// How long a connect may take.
    connect_ms: u64,
    kept: Option<Link>,
}

impl AskOne<'_> {
    /// Sends the request and reads the head of the answer; over another connection when the kept one
    /// proves stale.
    async fn run(mut self, mut ex: Box<Exchange>) -> Answered {
        let mut stale = 0;
        let asked = loop {
            let link = match self.kept.take() {
                Some(link) => {
                    self.metrics.reused();
                    Ok(link)
                }
                None => self.open().await,
            };
            let mut link = match link {
                Ok(link) => link,
                Err(kind) => break Err(kind),
            };
            self.progress.address.set(Some(link.address));
            let reused = link.requests > 0;
            match self.exchange(&mut link, &mut ex).await {
                Ok(()) => break Ok(link),
                Err(kind) if reused && is_stale(kind) && stale < STALE_MAX => stale += 1,
                Err(kind) => break Err(kind),
            }
        };
        ex.up.release(&self.worker.bufs);
        self.worker.bufs.give_string(self.head);
        match asked {
            Ok(link) => Ok((link, ex)),
            Err(kind) => {
                self.worker.give_exchange(ex);
                Err(kind)
            }
        }
    }

    async fn open(&self) -> Result<Link, Kind> {
        let start = self.worker.clock.tick();
        self.progress.sent_ms.set(None);
        // Anew: a kept connection that proved stale may have taken all the time of the first.
        let due_ms = (start / 1000).saturating_add(self.connect_ms);
        self.progress.connect_due_ms.set(due_ms);
        let reach = Reach::new(self.worker, self.plan, self.server, false);
        let mut reaching = pin!(reach.link());
        let link = poll_fn(|cx| {
            let polled = reaching.as_mut().poll(cx);
            self.progress.overdue.set(reach.overdue());
            self.progress.address.set(reach.address.get());
            polled
        })
        .await?;
        let took = self.worker.clock.tick().saturating_sub(start);
        self.progress.connect_us.set(Some(took));
        self.metrics.connected(took);
        Ok(link)
    }

    async fn exchange(&self, link: &mut Link, ex: &mut Exchange) -> Result<(), Kind> {
        let bufs = &self.worker.bufs;
        let now_ms = self.worker.clock.now_ms();
        self.progress.sent_us.set(self.worker.clock.now_us());
        if let Some(call) = &link.call {
            let body = open_stream(call, &self.head, self.plan, false, true)?;
            link.io = Io::H2(body);
            self.progress.sent_bytes.set(self.head.len() as u64);
        } else {
            let (up, nothing) = (&mut ex.up, (BodyLength::Empty, false));
            up.begin(bufs, nothing, Encode::Raw, 0, now_ms);
            up.head_mut().extend_from_slice(&self.head);
            let mut none = Buf::default();
            let sent = poll_fn(|cx| {
                let now_ms = self.worker.clock.now_ms();
                up.poll(cx, bufs, &mut Io::Away, &mut none, &mut link.io, now_ms)
            });
            let sent = sent.await;
            self.progress.sent_bytes.set(ex.up.written_bytes);
            match sent {
                Ok(()) => {}
                Err(RelayFault::Sink(_)) if ex.up.written_bytes > 0 => {
                    return Err(Kind::SendFailed);
                }
                Err(_) => return Err(Kind::SendRefused),
            }
        }
        self.progress.sent_ms.set(Some(self.worker.clock.now_ms()));
        bufs.give(&mut ex.answer_buf);
        for _ in 0..INTERIM_MAX {
            ex.answer_scan.reset();
            poll_fn(|cx| poll_answer(ex, bufs, cx, link)).await?;
            if !ex.answer.is_interim() {
                return Ok(());
            }
            let len = ex.answer.len;
            ex.answer_buf.consume(len);
        }
        Err(Kind::BadAnswer(keel_http::HeadFault::StatusRange))
    }
}

/// The winner's answer becomes that of the request; the others are given up.
fn finish(
    walk: &mut Walk<'_>,
    plan: &PoolPlan,
    mut runners: Vec<Runner<'_>>,
    (at, link, mut answer): Winner,
    start_us: u64,
) -> Attempt {
    let winner = runners.remove(at);
    let now_us = walk.worker.clock.tick();
    if let Some(hedger) = &plan.hedger {
        // From the start of the first, or what hedging cuts off would be forgotten.
        hedger.record(now_us.saturating_sub(start_us), now_us / 1000);
    }
    walk.wait_on(plan.pool.id, winner.taken.index);
    if winner.is_extra {
        if walk.ex.record.bound == Bound::There {
            walk.ex.record.bound = Bound::Elsewhere;
        }
        walk.view.metrics.pool(plan.pool.id).hedge_won();
    }
    for runner in runners {
        let server = ServerIndex(runner.taken.index as u32);
        let metrics = walk.view.metrics.server(plan.pool.id, server);
        metrics.bytes(runner.progress.sent_bytes.get(), 0);
        // It would have taken longer still, which an algorithm that goes by times is to know.
        let state = runner.taken.permit.state();
        let took_us = now_us.saturating_sub(runner.progress.sent_us.get());
        if took_us > u64::from(state.response_time_us()) {
            state.record_response(took_us, now_us / 1000);
        }
    }
    let ex = &mut *walk.ex;
    ex.swap_answers(&mut answer);
    walk.worker.give_exchange(answer);
    let (progress, server) = (winner.progress, winner.taken.index);
    // Nothing is left to send: the request's own relay is done.
    ex.up.release(&walk.worker.bufs);
    ex.record.server = Some(server);
    ex.record.server_address = progress.address.get();
    ex.record.connect_us = progress.connect_us.get();
    ex.record.sent_us = progress.sent_us.get();
    ex.record.server_bytes_sent += progress.sent_bytes.get();
    Attempt {
        link,
        server,
        in_flight: winner.in_flight,
        sent_bytes: 0,
        detached: Some(Detached {
            whole: true,
            sent_bytes: progress.sent_bytes.get(),
        }),
        taken: winner.taken,
        admission: None,
    }
}
