//! Select, connect, retry: finding a server that answers.
//!
//! [`forward`] asks one server after another until one answers as the plan likes it. Whether a failure
//! may be followed by another attempt is [`crate::retry`]'s, which server takes it [`crate::protect`]'s;
//! a kept connection that proves stale is not held against its server and is replaced at once.

use std::rc::Rc;
use std::sync::Arc;

use keel_balance::{FailureClass, Outcome, Transition};
use keel_http::HeaderId;
use keel_observe::{ErrorKind, ServerMetrics};
use keel_types::{PoolId, ServerIndex, Side};
use keel_upstream::Failure;

use crate::connect::open;
use crate::error::{Kind, words};
use crate::exchange::{Attempt, Exchange};
use crate::hedge;
use crate::link::Link;
use crate::protect::{Taken, is_failure, server_for, take_load_report};
use crate::retry::{Tries, count_retry, is_safe, may_follow, put_aside};
use crate::send::{begin_request, send};
use crate::snapshot::{PoolPlan, RoutePlan, ServerProtocol};
use crate::walk::Walk;

/// Connections that one request may find stale. With HTTP/1 the second one is new; with HTTP/2 it is shared again, and
/// a server may be leaving that one too, or may refuse each stream of it.
pub(crate) const STALE_MAX: u32 = 3;

/// Sends the request to servers of the pool until one answers; the answer's head is in the exchange
/// then, and `held` has the attempt: it is large, and made where it stays.
pub async fn forward<'a>(
    walk: &mut Walk<'a>,
    route: &'a RoutePlan,
    pool: PoolId,
    held: &mut Option<Attempt>,
) -> Result<(), Kind> {
    let view = walk.view;
    let plan = view.pool(pool).ok_or(Kind::Internal)?;
    walk.ex.record.pool = Some(pool);
    let mut tries = Tries::begin(walk, route, plan)?;
    loop {
        let taken = match server_for(walk, &mut tries).await {
            Ok(taken) => taken,
            Err(kind) => {
                if kind.row().side != Side::Client {
                    view.metrics.pool(pool).unavailable();
                }
                let kind = tries.last.unwrap_or(kind);
                return tries.give_up(walk, kind, held);
            }
        };
        tries.attempt_begins(walk, taken.index);
        let asked = match hedge::may_hedge(walk, plan) {
            // Boxed: nobody else is to carry the room for several attempts at once.
            true => Box::pin(hedge::race(walk, route, &mut tries, taken, held)).await,
            false => try_server(walk, route, &mut tries, taken, held).await,
        };
        match asked {
            Ok(()) => {
                let attempt = held.as_mut().ok_or(Kind::Internal)?;
                note_answer(walk, plan, attempt);
                if !tries.is_refusal(walk) || !tries.may_go_on(walk) {
                    tries.end(walk, attempt);
                    return Ok(());
                }
                if let Some(attempt) = held.take() {
                    put_aside(walk, &mut tries, attempt);
                }
            }
            Err(kind) => {
                tries.last = Some(kind);
                if !may_follow(walk, tries.retry, kind) || !tries.may_go_on(walk) {
                    return tries.give_up(walk, kind, held);
                }
            }
        }
        if let Err(kind) = tries.pause(walk).await {
            return tries.give_up(walk, kind, held);
        }
    }
}

/// Tries one server: over a kept connection when there is one, and over a new one when that proves
/// stale.
async fn try_server(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    tries: &mut Tries<'_>,
    mut taken: Taken,
    held: &mut Option<Attempt>,
) -> Result<(), Kind> {
    let (plan, server) = (tries.plan, taken.index);
    let position = ServerIndex(server as u32);
    let metrics = walk.view.metrics.server(plan.pool.id, position);
    walk.ex.record.server = Some(server);
    walk.ex.record.server_address = None;
    walk.wait_on(plan.pool.id, server);
    loop {
        let in_flight = metrics.begin();
        match attempt(walk, route, tries, server, metrics).await {
            Ok(link) => {
                *held = Some(Attempt {
                    link,
                    server,
                    in_flight,
                    sent_bytes: walk.ex.up.written_bytes,
                    detached: None,
                    admission: None,
                    taken,
                });
                return Ok(());
            }
            Err((kind, reused)) => {
                let again = is_stale(kind) && is_safe(walk, tries.retry, kind);
                if reused && again && tries.stale < STALE_MAX {
                    // The server closed it while we were about to use it: nobody's fault.
                    tries.stale += 1;
                    count_retry(walk, plan.pool.id, server);
                    continue;
                }
                walk.wait_on_nobody();
                note_failure(walk, plan, &mut taken, kind);
                return Err(kind);
            }
        }
    }
}

/// A kept connection that the server closed while we were about to use it.
pub(crate) fn is_stale(kind: Kind) -> bool {
    matches!(kind, Kind::SendRefused | Kind::SendFailed | Kind::NoAnswer)
}

/// The head of an answer is there: counts it for the server.
fn note_answer(walk: &mut Walk<'_>, plan: &PoolPlan, attempt: &mut Attempt) {
    let now_us = walk.worker.clock.tick();
    walk.waited = false;
    let ex = &mut *walk.ex;
    let status = ex.answer.status;
    ex.record.answered_us = now_us;
    ex.record.server_status = status;
    let took_us = now_us.saturating_sub(ex.record.sent_us);
    let now_ms = now_us / 1000;
    let server = ServerIndex(attempt.server as u32);
    let metrics = walk.view.metrics.server(plan.pool.id, server);
    metrics.answered(status, took_us);
    let state = attempt.taken.permit.state();
    state.record_response(took_us, now_ms);
    let outcome = match plan.failures.counts(FailureClass::Status(status)) {
        true => Outcome::Failure,
        false => Outcome::Success,
    };
    report(plan, attempt.server, outcome, now_ms, &|| {
        format!("it answered {status}")
    });
    if let Some(passage) = attempt.taken.breaker.take() {
        let failed = is_failure(status);
        passage.record(walk, plan, Some(attempt.server), failed, took_us / 1000);
    }
    if let Some(name) = &plan.load_report {
        take_load_report(walk.ex, plan, attempt.server, name, now_ms);
    }
}

/// An attempt failed: holds it against the server when that is to blame.
pub(crate) fn note_failure(walk: &Walk<'_>, plan: &PoolPlan, taken: &mut Taken, kind: Kind) {
    if !kind.blames_server() {
        return;
    }
    let server = taken.index;
    let class = error_kind(kind);
    let position = ServerIndex(server as u32);
    walk.view
        .metrics
        .server(plan.pool.id, position)
        .failed(class);
    let now_ms = walk.worker.clock.now_ms();
    if plan.failures.counts(failure_class(class)) {
        report(plan, server, Outcome::Failure, now_ms, &|| {
            words(kind).to_owned()
        });
    }
    if let Some(passage) = taken.breaker.take() {
        let took_ms = (walk.worker.clock.now_us().saturating_sub(taken.since_us)) / 1000;
        passage.record(walk, plan, Some(server), true, took_ms);
    }
}

/// Tells the balancer how a request went.
fn report(
    plan: &PoolPlan,
    server: usize,
    outcome: Outcome,
    now_ms: u64,
    cause: &dyn Fn() -> String,
) {
    let change = plan.pool.balancer.report(server, outcome, now_ms);
    let Some(told) = plan.pool.servers.get(server) else {
        return;
    };
    if outcome == Outcome::Failure {
        told.hasten_check();
        let what = cause();
        told.failed.store(Some(Arc::new(Failure {
            what,
            at_ms: now_ms,
        })));
    }
    let (pool, server) = (plan.pool.name.as_str(), told.name.as_str());
    match change {
        None => {}
        Some(change @ Transition::Recovered) => {
            tracing::info!(pool, server, "server is back: {change}");
        }
        Some(change @ Transition::Ejected(_)) => {
            tracing::warn!(pool, server, last = cause(), "server is ejected: {change}");
        }
        Some(change) => tracing::warn!(pool, server, last = cause(), "server rests: {change}"),
    }
}

/// The metric's label for a fault of a server.
pub fn error_kind(kind: Kind) -> ErrorKind {
    match kind {
        Kind::Unresolved | Kind::ConnectFailed | Kind::HandshakeFailed => ErrorKind::Connect,
        Kind::ConnectTimeout | Kind::SendTimeout | Kind::AnswerTimeout | Kind::AnswerStalled => {
            ErrorKind::Timeout
        }
        Kind::BadAnswer(_) | Kind::BadAnswerBody => ErrorKind::Protocol,
        _ => ErrorKind::Reset,
    }
}

fn failure_class(kind: ErrorKind) -> FailureClass {
    match kind {
        ErrorKind::Connect => FailureClass::Connect,
        ErrorKind::Timeout => FailureClass::Timeout,
        ErrorKind::Reset => FailureClass::Reset,
        ErrorKind::Protocol => FailureClass::Protocol,
    }
}

/// One attempt on one server. A failure says whether it went over a kept connection.
async fn attempt(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    tries: &Tries<'_>,
    server: usize,
    metrics: &Rc<ServerMetrics>,
) -> Result<Link, (Kind, bool)> {
    let plan = tries.plan;
    let mut link = match kept(walk, plan, server, tries.stale > 0) {
        Some(link) => {
            metrics.reused();
            walk.ex.record.connect_us = None;
            link
        }
        // Boxed, so that a request over a kept connection does not carry the room for it.
        None => Box::pin(open(walk, route, plan, server, metrics))
            .await
            .map_err(|kind| (kind, false))?,
    };
    if link.call.is_some() && !asks_for_websocket(walk.ex) {
        // HTTP/2 carries WebSockets and nothing else; other offers may be ignored (RFC 9110, 7.8).
        walk.ex.framing.upgrade = false;
    }
    let reused = link.requests > 0;
    walk.ex.record.server_address = Some(link.address);
    begin_request(walk, route, tries, server, &mut link).map_err(|kind| (kind, reused))?;
    let outcome = send(walk, route, plan, &mut link).await;
    let ex = &mut *walk.ex;
    ex.record.server_bytes_sent += ex.up.written_bytes;
    match outcome {
        Ok(()) => Ok(link),
        Err(kind) => {
            metrics.bytes(ex.up.written_bytes, 0);
            walk.worker.bufs.give(&mut ex.answer_buf);
            // The head of a stream is not counted there, and went out: the server may have acted.
            let untouched = ex.up.written_bytes == 0 && link.call.is_none();
            let refused = kind == Kind::SendFailed && untouched;
            Err((if refused { Kind::SendRefused } else { kind }, reused))
        }
    }
}

/// Whether the client asks for a WebSocket and for nothing beside it.
fn asks_for_websocket(ex: &Exchange) -> bool {
    let told = ex.head.fields.first(HeaderId::Upgrade, ex.bytes());
    ex.framing.upgrade && told.is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"))
}

/// A kept connection to the server.
pub(crate) fn kept(
    walk: &Walk<'_>,
    plan: &PoolPlan,
    server: usize,
    fresh_only: bool,
) -> Option<Link> {
    let key = plan.pool.key(server)?;
    let keep = &plan.pool.keep_alive;
    if plan.protocol != ServerProtocol::Http1 && !walk.ex.framing.upgrade {
        let shared = walk.worker.h2.take(key, &plan.http2, keep.requests_max);
        if let Some(call) = shared {
            return Some(Link::on(call));
        }
    }
    if fresh_only || plan.protocol == ServerProtocol::Http2 {
        return None;
    }
    let now_ms = walk.worker.clock.now_ms();
    let connection = walk.worker.idle.take(key, keep, now_ms)?;
    Some(Link::of(connection))
}

/// Keeps a connection for the next request, unless somebody waits for its place.
pub(crate) fn keep(walk: &Walk<'_>, plan: &PoolPlan, server: usize, link: &mut Link) {
    let wanted = plan.limits.as_ref();
    if wanted.is_some_and(|limits| limits.connections().are_wanted()) {
        return;
    }
    if let Some(key) = plan.pool.key(server)
        && let Some(connection) = link.take_connection()
    {
        let now_ms = walk.worker.clock.now_ms();
        let keep = &plan.pool.keep_alive;
        walk.worker.idle.keep(key, keep, connection, now_ms);
    }
}
