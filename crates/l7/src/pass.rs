//! Response edits and body: the server's answer goes to the client.

use std::task::{Context, Poll};

use keel_http::{BodyLength, HeadFault, Method, Version, websocket};
use keel_types::{PoolId, ServerIndex};

use crate::driver::Next;
use crate::error::Kind;
use crate::exchange::{Attempt, Exchange};
use crate::forward::{error_kind, forward, keep};
use crate::heads::{AnswerBody, AnswerHeadPlan, ShownBackend, write_answer};
use crate::own::{keeps_alive, keeps_reading};
use crate::relay::{Encode, RelayFault, Waiting};
use crate::snapshot::RoutePlan;
use crate::sticky;
use crate::times::Times;
use crate::tunnel::tunnel;
use crate::vars::with_date;
use crate::walk::Walk;

/// A client that takes nothing for so long costs as little memory as can be, in milliseconds.
const STALL_MS: u64 = 200;

/// Sends the request to a pool and the answer to the client.
pub(crate) async fn pass_to<'a>(
    walk: &mut Walk<'a>,
    route: &'a RoutePlan,
    pool: PoolId,
) -> Result<Next, Kind> {
    let mut held = None;
    forward(walk, route, pool, &mut held).await?;
    let attempt = held.as_mut().ok_or(Kind::Internal)?;
    answered(walk, pool, attempt.server);
    if walk.ex.answer_framing.switching {
        check_accept(walk.ex)?;
        return tunnel(walk, route, pool, attempt).await;
    }
    let keep_alive = begin_answer(walk, route, pool, attempt)?;
    walk.answer_begun = true;
    let outcome = pass_answer(walk, route, pool, attempt).await;
    settle(walk, pool, attempt);
    if let Err(kind) = outcome {
        if kind.blames_server() {
            let view = walk.view;
            let server = ServerIndex(attempt.server as u32);
            view.metrics.server(pool, server).broken(error_kind(kind));
        }
        return Err(kind);
    }
    let up_done = walk.ex.up.is_done();
    if attempt.detached.map_or(up_done, |it| it.whole) {
        keep_server(walk, pool, attempt);
    }
    // A drain that began since the head was sent changes nothing: the client was not told.
    let keep_alive = keep_alive && up_done && keeps_reading(walk);
    let client_closes = !walk.ex.framing.keep_alive && up_done && walk.client.input.is_empty();
    Ok(match (keep_alive, client_closes) {
        (true, _) => Next::KeepAlive,
        (false, true) => Next::Close,
        // Closing while the client may still be sending would reset what it has not read yet.
        (false, false) => Next::Linger,
    })
}

/// Where the key was ours, so is the check of the answer to it (RFC 6455, 4.1).
fn check_accept(ex: &Exchange) -> Result<(), Kind> {
    let Some(key) = &ex.websocket_key else {
        return Ok(());
    };
    let buf = ex.answer_buf.filled();
    let told = ex.answer.fields.first_named(b"sec-websocket-accept", buf);
    match told == Some(&websocket::accept(&key[..])) {
        true => Ok(()),
        false => Err(Kind::BadAnswer(HeadFault::SwitchUnasked)),
    }
}

/// This answer goes to the client: whoever learns from it does, and its head is kept when a log asks
/// for its fields.
fn answered(walk: &mut Walk<'_>, pool: PoolId, server: usize) {
    if let Some(plan) = walk.view.pool(pool) {
        sticky::answered(walk, plan, server);
    }
    let ex = &mut *walk.ex;
    let wants_copy = walk.view.copies_answers(ex.record.route);
    if wants_copy && let Some(head) = ex.answer_buf.filled().get(..ex.answer.len) {
        ex.answer_copy.clear();
        ex.answer_copy.extend_from_slice(head);
    }
}

/// Writes the head of the answer into the downward relay, with what has come of the body. Gives
/// whether the client was told that its connection stays open.
fn begin_answer(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    pool: PoolId,
    attempt: &Attempt,
) -> Result<bool, Kind> {
    let (server, from) = (attempt.server, &attempt.link.io);
    let from_stream = from.is_h2();
    let mut body = answer_body(walk.ex);
    let bridge = walk.ex.call.and_then(|call| call.answer_bridge(walk.ex));
    let (content_type, codec) = bridge.unzip();
    let empty = match walk.ex.answer_framing.body {
        BodyLength::Empty => true,
        BodyLength::Fixed(0) => !from_stream,
        _ => false,
    };
    if content_type.is_some() && !empty {
        body = match walk.ex.head.version {
            Version::Http10 => AnswerBody::UntilClose,
            _ => AnswerBody::Chunked,
        };
    }
    // A request whose body is still coming may never end; its connection is not promised to anybody.
    let keep_alive = keeps_alive(walk) && walk.ex.up.is_done() && body != AnswerBody::UntilClose;
    let now_us = walk.worker.clock.now_us();
    let length = walk.ex.answer_framing.body;
    let encode = match walk.client.io.is_h2() {
        true => Encode::Stream,
        false => body.encode(),
    };
    let bufs = &walk.worker.bufs;
    let down = &mut walk.ex.down;
    down.begin(bufs, (length, from_stream), encode, u64::MAX, now_us / 1000);
    down.set_read_size(walk.client.read_size);
    down.set_web(codec);
    let mut out = std::mem::take(down.head_mut());
    let told = (body, keep_alive, content_type);
    write_head(&mut out, walk, route, (pool, server), told, now_us);
    walk.copy_sent(&out);
    walk.ex.record.status = walk.ex.answer.status;
    if let Some(stream) = walk.client.io.h2() {
        let ended = matches!(length, BodyLength::Empty | BodyLength::Fixed(0)) && !from_stream
            || length == BodyLength::Empty;
        walk.ex.record.bytes_sent += out.len() as u64;
        let sent = stream.send_answer(walk.ex.answer.status, &out, ended);
        out.clear();
        sent.map_err(|_| Kind::ClientAborted)?;
    }
    *walk.ex.down.head_mut() = out;
    let ex = &mut *walk.ex;
    ex.record.server_bytes_received += ex.answer.len as u64;
    ex.answer_buf.consume(ex.answer.len);
    ex.down
        .preload(&mut ex.answer_buf, from)
        .map_err(down_fault)?;
    Ok(keep_alive)
}

/// Writes the head of the answer for a client that is told this of it.
fn write_head(
    out: &mut Vec<u8>,
    walk: &Walk<'_>,
    route: &RoutePlan,
    (pool, server): (PoolId, usize),
    (body, keep_alive, content_type): (AnswerBody, bool, Option<Vec<u8>>),
    now_us: u64,
) {
    let shows = route.show_backend;
    let plan = walk.view.pool(pool);
    with_date(walk.worker.clock.unix_us(now_us) / 1_000_000, |date| {
        let plan = AnswerHeadPlan {
            listener: walk.listener,
            route,
            body,
            keep_alive,
            date,
            content_type,
            shown: shows.then(|| shown_backend(walk, pool, server, now_us)),
            cookie: plan.and_then(|plan| sticky::set_cookie(walk, plan, server)),
        };
        write_answer(out, walk.ex, &plan, &walk.vars());
    });
}

/// Who answered and when, for clients that are told.
fn shown_backend<'a>(
    walk: &Walk<'a>,
    pool: PoolId,
    server: usize,
    now_us: u64,
) -> ShownBackend<'a> {
    let plan = walk.view.pool(pool);
    let server = plan.and_then(|plan| plan.pool.servers.get(server));
    ShownBackend {
        server: server.map_or("", |server| &server.name),
        response_ms: now_us.saturating_sub(walk.ex.record.sent_us) / 1000,
        total_ms: now_us.saturating_sub(walk.ex.record.start_us) / 1000,
    }
}

/// How the client gets the body of the answer.
fn answer_body(ex: &Exchange) -> AnswerBody {
    let status = ex.answer.status;
    if status == 204 {
        return AnswerBody::None;
    }
    if ex.head.method == Method::Head || status == 304 {
        return AnswerBody::Declared(ex.answer_framing.declared_length);
    }
    match ex.answer_framing.body {
        // An answer of trailers alone has no length; HTTP/2 tells its end by itself.
        BodyLength::Empty if ex.head.version == Version::Http2 => {
            AnswerBody::Declared(ex.answer_framing.declared_length)
        }
        BodyLength::Empty => AnswerBody::Fixed(0),
        BodyLength::Fixed(bytes) => AnswerBody::Fixed(bytes),
        // Chunks let the client see an answer that was cut off (RFC 9112, 8).
        BodyLength::Chunked | BodyLength::UntilClose if ex.head.version != Version::Http10 => {
            AnswerBody::Chunked
        }
        BodyLength::Chunked | BodyLength::UntilClose => AnswerBody::UntilClose,
    }
}

fn down_fault(fault: RelayFault) -> Kind {
    match fault {
        RelayFault::Source(_) | RelayFault::Cut => Kind::AnswerCut,
        RelayFault::Framing(_) | RelayFault::Recoding(_) | RelayFault::TooLarge => {
            Kind::BadAnswerBody
        }
        RelayFault::Sink(_) => Kind::ClientAborted,
    }
}

/// Passes the answer on, and what is left of the request's body, until the answer is whole.
async fn pass_answer(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    pool: PoolId,
    attempt: &mut Attempt,
) -> Result<(), Kind> {
    let Some(plan) = walk.view.pool(pool) else {
        return Err(Kind::Internal);
    };
    let times = Times::of(walk, route, plan);
    // What goes to another server by now does not go to this one.
    let mut up_over = walk.ex.up.is_done() || attempt.detached.is_some();
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = poll_both(walk, cx, attempt, &mut up_over) {
            return Poll::Ready(done);
        }
        if up_over {
            walk.client
                .poll_watch(cx, walk.worker)
                .map_err(|_| Kind::ClientAborted)?;
        }
        let now_ms = walk.worker.clock.now_ms();
        let (mut due_ms, kind) = due(walk, &times, up_over);
        if now_ms < due_ms {
            due_ms = due_ms.min(spare_memory(walk, now_ms));
        }
        walk.poll_overdue(cx, due_ms, kind).map(Err)
    })
    .await
}

/// Moves bytes both ways; ready when the answer is whole or broken.
fn poll_both(
    walk: &mut Walk<'_>,
    cx: &mut Context<'_>,
    attempt: &mut Attempt,
    up_over: &mut bool,
) -> Poll<Result<(), Kind>> {
    let now_ms = walk.worker.clock.now_ms();
    let Walk {
        ex, client, worker, ..
    } = walk;
    let server = &mut attempt.link.io;
    let Exchange {
        up,
        down,
        answer_buf,
        ..
    } = &mut **ex;
    if !*up_over {
        let (stream, input) = (&mut client.io, &mut client.input);
        // A request that cannot be sent to its end does not spoil the answer.
        *up_over = up
            .poll(cx, &worker.bufs, stream, input, server, now_ms)
            .is_ready();
    }
    let stream = &mut client.io;
    down.poll(cx, &worker.bufs, server, answer_buf, stream, now_ms)
        .map_err(down_fault)
}

/// When what we wait for is overdue, and what that means then. While a request's body is still on
/// its way, the server may be waiting for that and not we for the server.
fn due(walk: &Walk<'_>, times: &Times, up_over: bool) -> (u64, Kind) {
    let (up, down) = (&walk.ex.up, &walk.ex.down);
    let progress_ms = if up_over {
        down.progress_ms
    } else {
        down.progress_ms.max(up.progress_ms)
    };
    let answer = match down.waiting() {
        Waiting::Sink => (down.progress_ms + times.client_send_ms, Kind::ClientStalled),
        _ => (progress_ms + times.read_ms, Kind::AnswerStalled),
    };
    let request = match up.waiting() {
        Waiting::Source if !up_over => (
            times.body_due(up.progress_ms, up.body_bytes),
            Kind::BodyTimeout,
        ),
        _ => answer,
    };
    let first = if request.0 < answer.0 {
        request
    } else {
        answer
    };
    if times.deadline_ms < first.0 {
        return (times.deadline_ms, Kind::DeadlinePassed);
    }
    first
}

/// Somebody is slow: holds no more than the log and the rest of the body need. Gives when to look
/// again.
fn spare_memory(walk: &mut Walk<'_>, now_ms: u64) -> u64 {
    let bufs = &walk.worker.bufs;
    let ex = &mut *walk.ex;
    bufs.shrink(&mut ex.head_buf);
    ex.up.spare(bufs);
    if ex.down.waiting() != Waiting::Sink {
        return u64::MAX;
    }
    let stalled_ms = ex.down.progress_ms + STALL_MS;
    if now_ms < stalled_ms {
        return stalled_ms;
    }
    ex.down.shrink_stalled(bufs, &mut ex.answer_buf);
    ex.down.spare(bufs);
    u64::MAX
}

/// Notes what the relays moved, and how long the server took.
pub(crate) fn settle(walk: &mut Walk<'_>, pool: PoolId, attempt: &mut Attempt) {
    let ex = &mut *walk.ex;
    walk.client.read_size = ex.down.read_size();
    let received = ex.answer.len as u64 + ex.down.body_bytes;
    ex.record.bytes_sent += ex.down.written_bytes;
    ex.record.body_bytes_sent = ex.down.body_bytes.min(ex.down.written_bytes);
    ex.record.server_bytes_received = received;
    let sent = match attempt.detached {
        Some(detached) => detached.sent_bytes,
        None => {
            ex.record.server_bytes_sent += ex.up.written_bytes.saturating_sub(attempt.sent_bytes);
            ex.up.written_bytes
        }
    };
    let view = walk.view;
    let server = ServerIndex(attempt.server as u32);
    view.metrics.server(pool, server).bytes(sent, received);
    over(walk, attempt);
}

/// The exchange is over, or becomes a tunnel: what limits exchanges is told how long the server took.
pub(crate) fn over(walk: &Walk<'_>, attempt: &mut Attempt) {
    if let Some(admission) = &mut attempt.admission {
        let record = &walk.ex.record;
        let took_us = record.answered_us.saturating_sub(record.sent_us);
        admission.over(took_us, walk.worker.clock.now_ms());
    }
}

/// Keeps the server's connection for the next request, when both messages ended cleanly.
fn keep_server(walk: &mut Walk<'_>, pool: PoolId, attempt: &mut Attempt) {
    let ex = &*walk.ex;
    let clean = ex.answer_framing.keep_alive
        && ex.down.is_done()
        && ex.answer_buf.is_empty()
        && ex.answer_framing.body != BodyLength::UntilClose;
    if clean && let Some(plan) = walk.view.pool(pool) {
        keep(walk, plan, attempt.server, &mut attempt.link);
    }
}
