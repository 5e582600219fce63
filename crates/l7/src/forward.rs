//! Select, connect, retry: finding a server that answers.
//!
//! Up to `tries_max` servers are asked. An attempt may be followed by another one as
//! [`crate::error::Row::retry`] says and only while no byte of the client's body is gone; a kept
//! connection that proves stale is not held against its server and is replaced once.

use std::rc::Rc;

use keel_balance::{Ask, Outcome, SelectFault, Selected};
use keel_http::HeaderId;
use keel_observe::{ErrorKind, ServerMetrics};
use keel_types::PoolId;

use crate::connect::open;
use crate::error::{Kind, Retry};
use crate::exchange::{Attempt, Exchange, TRIES_CEILING};
use crate::grpc::Call;
use crate::hash::hash_of;
use crate::link::Link;
use crate::send::{begin_request, send};
use crate::snapshot::{PoolPlan, RoutePlan, ServerProtocol};
use crate::sticky;
use crate::walk::Walk;

/// Connections that one request may find stale. With HTTP/1 the second one is new; with HTTP/2 it is shared again, and
/// a server may be leaving that one too, or may refuse each stream of it.
const STALE_MAX: u32 = 3;

/// Sends the request to servers of the pool until one answers; the answer's head is in the exchange
/// then.
pub async fn forward(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    pool: PoolId,
) -> Result<Attempt, Kind> {
    let view = walk.view;
    let plan = view.pool(pool).ok_or(Kind::Internal)?;
    walk.ex.record.pool = Some(pool);
    // Allocates with the first failure, and holds no more than there are tries.
    let mut tried: Vec<usize> = Vec::new();
    let hash = plan.hash_key.as_ref().map(|key| hash_of(walk, key));
    let mut stale = 0;
    let mut last = None;
    let retry = route.retry.as_ref().unwrap_or(&plan.retry);
    let tries = retry.tries_max.clamp(1, TRIES_CEILING as u32);
    for position in 1..=tries {
        let ask = Ask {
            now_ms: walk.worker.clock.now_ms(),
            random: walk.worker.random(),
            hash,
            client: Some(walk.ex.record.client_ip),
            tried: &tried,
        };
        let selected = match sticky::select(walk, plan, &ask) {
            Ok(selected) => selected,
            Err(fault) => {
                view.metrics.pool(pool).unavailable();
                return Err(last.unwrap_or(nobody(fault)));
            }
        };
        let server = selected.index;
        if let Some(before) = tried.last() {
            count_retry(walk, pool, *before);
        }
        match try_server(walk, route, plan, selected, &mut stale).await {
            Ok(attempt) => {
                let refused = Call::is_refused(walk.ex, &retry.grpc);
                if !refused || position == tries || !walk.ex.up.is_replayable() {
                    return Ok(attempt);
                }
                last = Some(Kind::CallRefused);
                keep_refusing(walk, plan, attempt);
            }
            Err((kind, false)) => return Err(kind),
            Err((kind, true)) => last = Some(kind),
        }
        tried.push(server);
    }
    Err(last.unwrap_or(Kind::NoServer))
}

/// The server answered, only not what was hoped for: its connection is good for the next request.
fn keep_refusing(walk: &mut Walk<'_>, plan: &PoolPlan, attempt: Attempt) {
    let ex = &mut *walk.ex;
    let answered = ex.answer_framing.keep_alive && ex.answer_buf.len() == ex.answer.len;
    let clean = answered && ex.up.is_done();
    if clean
        && let Some(key) = plan.pool.key(attempt.server)
        && let Some(connection) = attempt.link.into_connection()
    {
        let now_ms = walk.worker.clock.now_ms();
        walk.worker
            .idle
            .keep(key, &plan.pool.keep_alive, connection, now_ms);
    }
    walk.worker.bufs.give(&mut ex.answer_buf);
}

/// An attempt on this server is followed by another one.
fn count_retry(walk: &mut Walk<'_>, pool: PoolId, server: usize) {
    walk.ex.record.retries += 1;
    let position = keel_types::ServerIndex(server as u32);
    walk.view.metrics.server(pool, position).retried();
}

fn nobody(fault: SelectFault) -> Kind {
    match fault {
        SelectFault::AllFull => Kind::AllFull,
        _ => Kind::NoServer,
    }
}

/// Tries one server: over a kept connection when there is one, and over a new one when that proves
/// stale. A failure says whether another server may be asked.
async fn try_server(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    selected: Selected,
    stale: &mut u32,
) -> Result<Attempt, (Kind, bool)> {
    let server = selected.index;
    let position = keel_types::ServerIndex(server as u32);
    let metrics = walk.view.metrics.server(plan.pool.id, position);
    walk.ex.record.server = Some(server);
    walk.ex.record.server_address = None;
    walk.wait_on(plan.pool.id, server);
    loop {
        let in_flight = metrics.begin();
        match attempt(walk, route, plan, server, *stale > 0, metrics).await {
            Ok(link) => {
                return Ok(Attempt {
                    link,
                    server,
                    permit: selected.permit,
                    in_flight,
                    sent_bytes: walk.ex.up.written_bytes,
                });
            }
            Err((kind, reused)) => {
                let again = walk.ex.up.is_replayable() && may_retry(walk, kind);
                if reused && is_stale(kind) && again && *stale < STALE_MAX {
                    // The server closed it while we were about to use it: nobody's fault.
                    *stale += 1;
                    count_retry(walk, plan.pool.id, server);
                    continue;
                }
                walk.wait_on_nobody();
                settle_failure(walk, plan, server, kind, metrics);
                return Err((kind, again));
            }
        }
    }
}

/// A kept connection that the server closed while we were about to use it.
fn is_stale(kind: Kind) -> bool {
    matches!(kind, Kind::SendRefused | Kind::SendFailed | Kind::NoAnswer)
}

fn may_retry(walk: &Walk<'_>, kind: Kind) -> bool {
    match kind.row().retry {
        Retry::Never => false,
        Retry::Always => true,
        Retry::IfIdempotent => walk.ex.head.method.is_idempotent() && !walk.ex.framing.upgrade,
    }
}

fn settle_failure(
    walk: &Walk<'_>,
    plan: &PoolPlan,
    server: usize,
    kind: Kind,
    metrics: &ServerMetrics,
) {
    if !kind.blames_server() {
        return;
    }
    metrics.failed(error_kind(kind));
    let name = plan
        .pool
        .servers
        .get(server)
        .map_or("", |server| &server.name);
    let now = walk.worker.clock.now_ms();
    if plan
        .pool
        .balancer
        .report(server, Outcome::Failure, now)
        .is_some()
    {
        tracing::warn!(pool = %plan.pool.name, server = %name, cause = ?kind, "server rests");
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

/// One attempt on one server. A failure says whether it went over a kept connection.
async fn attempt(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    server: usize,
    fresh_only: bool,
    metrics: &Rc<ServerMetrics>,
) -> Result<Link, (Kind, bool)> {
    let mut link = match kept(walk, plan, server, fresh_only) {
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
    begin_request(walk, route, plan, server, &mut link).map_err(|kind| (kind, reused))?;
    let outcome = send(walk, route, plan, &mut link).await;
    let ex = &mut *walk.ex;
    ex.record.server_bytes_sent += ex.up.written_bytes;
    match outcome {
        Ok(()) => Ok(link),
        Err(kind) => {
            metrics.bytes(ex.up.written_bytes, 0);
            walk.worker.bufs.give(&mut ex.answer_buf);
            let refused = kind == Kind::SendFailed && ex.up.written_bytes == 0;
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
fn kept(walk: &Walk<'_>, plan: &PoolPlan, server: usize, fresh_only: bool) -> Option<Link> {
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
