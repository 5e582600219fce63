//! Select, connect, send, response head: finding a server that answers.
//!
//! Up to `tries_max` servers are asked. An attempt may be followed by another one as
//! [`crate::error::Row::retry`] says and only while no byte of the client's body is gone; a kept
//! connection that proves stale is not held against its server and is replaced once.

use std::rc::Rc;
use std::task::{Poll, ready};

use keel_balance::{Ask, Outcome, SelectFault, Selected};
use keel_http::{BodyLength, HeadFault, HeadStatus, HeaderId, frame_response, websocket};
use keel_net::MEDIUM;
use keel_observe::{ErrorKind, ServerMetrics};
use keel_types::PoolId;

use crate::connect::open;
use crate::error::{Kind, Retry};
use crate::exchange::{Attempt, Exchange, TRIES_CEILING};
use crate::grpc::Call;
use crate::h2::{H2Body, H2Call, answer_head, read_answer, request_head};
use crate::hash::hash_of;
use crate::heads::{RequestHeadPlan, write_interim, write_request};
use crate::io::Io;
use crate::link::Link;
use crate::relay::{Encode, RelayFault};
use crate::snapshot::{HostPlan, PoolPlan, RoutePlan, ServerProtocol};
use crate::times::Times;
use crate::walk::Walk;

/// Connections that one request may find stale. With HTTP/1 the second one is new; with HTTP/2 it is shared again, and
/// a server may be leaving that one too, or may refuse each stream of it.
const STALE_MAX: u32 = 3;
/// Interim answers that one server may send before it must answer.
const INTERIM_MAX: u32 = 32;
/// Longest head of an answer.
const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;

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
    let tries = plan.pool.tries_max.clamp(1, TRIES_CEILING as u32);
    for position in 1..=tries {
        let ask = Ask {
            now_ms: walk.worker.clock.now_ms(),
            random: walk.worker.random(),
            hash,
            client: Some(walk.ex.record.client_ip),
            tried: &tried,
        };
        let selected = match plan.pool.balancer.select(&ask) {
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
                let refused = Call::is_refused(walk.ex, &plan.retry_grpc);
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
    let clean = ex.answer_framing.keep_alive && ex.answer_buf.len() == ex.answer.len;
    let number = plan.pool.first_server + attempt.server;
    if clean && let Some(connection) = attempt.link.into_connection() {
        let now_ms = walk.worker.clock.now_ms();
        walk.worker
            .idle
            .keep(number, &plan.pool.keep_alive, connection, now_ms);
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
    let number = plan.pool.first_server + server;
    let keep = &plan.pool.keep_alive;
    if plan.protocol != ServerProtocol::Http1 && !walk.ex.framing.upgrade {
        let shared = walk.worker.h2.take(number, &plan.http2, keep.requests_max);
        if let Some(call) = shared {
            return Some(Link::on(call));
        }
    }
    if fresh_only || plan.protocol == ServerProtocol::Http2 {
        return None;
    }
    let now_ms = walk.worker.clock.now_ms();
    let connection = walk.worker.idle.take(number, keep, now_ms)?;
    Some(Link::of(connection))
}

/// Writes the request's head into the upward relay, with what has come of the body.
fn begin_request(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    server: usize,
    link: &mut Link,
) -> Result<(), Kind> {
    let bufs = &walk.worker.bufs;
    let body = walk.ex.framing.body;
    let has_body = !matches!(body, BodyLength::Empty | BodyLength::Fixed(0));
    let call = walk.ex.call;
    let recoded = has_body && call.is_some_and(Call::recodes_request);
    let encode = match body {
        // What is opened stays open for what goes through the tunnel.
        _ if walk.ex.framing.upgrade => Encode::Raw,
        _ if link.call.is_some() => Encode::Stream,
        BodyLength::Chunked => Encode::Chunked,
        _ if recoded => Encode::Chunked,
        _ => Encode::Raw,
    };
    let now_ms = walk.worker.clock.now_ms();
    let body_bytes_max = route.body_bytes_max.unwrap_or(walk.listener.body_bytes_max);
    let framed = walk.client.io.is_h2();
    if recoded && !walk.ex.up.is_untouched() {
        return Err(Kind::SendFailed);
    }
    match walk.ex.up.is_untouched() {
        true => walk
            .ex
            .up
            .begin(bufs, (body, framed), encode, body_bytes_max, now_ms),
        false => walk.ex.up.begin_again(encode, now_ms),
    }
    walk.ex
        .up
        .set_web(call.filter(|_| has_body).and_then(Call::request_codec));
    let needs_key = walk.ex.head.extended_connect && link.call.is_none();
    walk.ex.websocket_key =
        needs_key.then(|| Box::new(websocket::key([walk.worker.random(), walk.worker.random()])));
    let mut out = std::mem::take(walk.ex.up.head_mut());
    let head = RequestHeadPlan {
        route,
        listener: walk.listener,
        pool_edits: &plan.request_edits,
        host: route
            .host
            .as_ref()
            .or(plan.host.as_ref())
            .unwrap_or(&HostPlan::Keep),
        server_address: plan
            .pool
            .servers
            .get(server)
            .map_or("", |server| &server.address_text),
        peer: walk.client.peer.ip(),
        peer_text: &walk.client.peer_text,
        trusted: walk.trusted,
        request_id: &walk.view.snapshot.request_id,
        websocket_key: walk.ex.websocket_key.as_deref(),
        content_type: call.and_then(|call| call.request_type(walk.ex)),
        body: if recoded { BodyLength::Chunked } else { body },
    };
    write_request(&mut out, walk.ex, &head, &walk.vars());
    walk.ex.record.sent_us = walk.worker.clock.now_us();
    if let Some(call) = &link.call {
        let ended = body == BodyLength::Empty;
        walk.ex.record.server_bytes_sent += out.len() as u64;
        let upgrade = walk.ex.framing.upgrade;
        let opened = open_stream(call, &out, plan, upgrade, ended && !upgrade);
        out.clear();
        link.io = Io::H2(Box::new(opened?));
    }
    *walk.ex.up.head_mut() = out;
    if framed && walk.ex.up.is_untouched() && body != BodyLength::Empty {
        walk.client.read_ready(bufs);
    }
    let client = &mut *walk.client;
    walk.ex
        .up
        .preload(&mut client.input, &client.io)
        .map_err(up_fault)
}

/// Sends a request's head as a stream of its own over a shared connection.
fn open_stream(
    call: &H2Call,
    head: &[u8],
    plan: &PoolPlan,
    upgrade: bool,
    ended: bool,
) -> Result<H2Body, Kind> {
    let scheme = match plan.tls {
        Some(_) => "https",
        None => "http",
    };
    if upgrade && !call.takes_upgrades() {
        return Err(Kind::NoUpgrade);
    }
    let head = request_head(head, scheme, upgrade).ok_or(Kind::BadHead(HeadFault::TargetByte))?;
    // A connection that is just being closed by the server takes no stream: nothing was sent.
    call.send(head, ended).map_err(|_| Kind::SendRefused)
}

/// What a failure of the upward relay means while nothing has been answered.
fn up_fault(fault: RelayFault) -> Kind {
    match fault {
        RelayFault::Source(_) | RelayFault::Cut => Kind::ClientGone,
        RelayFault::Framing(_) | RelayFault::Recoding(_) => Kind::BadBody,
        RelayFault::TooLarge => Kind::BodyTooLarge,
        RelayFault::Sink(_) => Kind::SendFailed,
    }
}

/// Sends the request and reads until the head of the final answer is there, passing interim answers
/// on. The body may still be on its way then.
async fn send(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    link: &mut Link,
) -> Result<(), Kind> {
    walk.worker.bufs.give(&mut walk.ex.answer_buf);
    walk.ex.answer_scan.reset();
    let times = Times::of(walk, route, plan);
    let mut up_failed = false;
    let mut sent_ms = None;
    for _ in 0..INTERIM_MAX {
        std::future::poll_fn(|cx| {
            let now_ms = walk.worker.clock.now_ms();
            if !up_failed && !walk.ex.up.is_done() {
                up_failed = poll_up(walk, cx, link, now_ms)?;
            }
            match poll_answer(walk, cx, link) {
                Poll::Pending => {}
                // The server closed or reset; a failed write is the earlier sign of the same.
                Poll::Ready(Err(Kind::NoAnswer)) if up_failed => {
                    return Poll::Ready(Err(Kind::SendFailed));
                }
                ready => return ready,
            }
            let waiting_for_answer = up_failed || walk.ex.up.is_done();
            if !waiting_for_answer {
                // The body is slow: hold no more than a second attempt and the log will need.
                walk.worker.bufs.shrink(&mut walk.ex.head_buf);
                walk.ex.up.spare(&walk.worker.bufs);
            } else {
                sent_ms.get_or_insert(now_ms);
                walk.client
                    .poll_watch(cx, walk.worker)
                    .map_err(|_| Kind::ClientGone)?;
            }
            let (due_ms, kind) = times.due(walk, sent_ms, now_ms);
            walk.poll_overdue(cx, due_ms, kind).map(Err)
        })
        .await?;
        if !walk.ex.answer.is_interim() || walk.ex.answer_framing.switching {
            return Ok(());
        }
        pass_interim(walk, times.client_send_ms).await?;
    }
    Err(Kind::BadAnswer(keel_http::HeadFault::StatusRange))
}

/// Moves the request on; gives whether the server stopped taking it (its answer may still come).
fn poll_up(
    walk: &mut Walk<'_>,
    cx: &mut std::task::Context<'_>,
    link: &mut Link,
    now_ms: u64,
) -> Result<bool, Kind> {
    let Walk {
        ex, client, worker, ..
    } = walk;
    let polled = ex.up.poll(
        cx,
        &worker.bufs,
        &mut client.io,
        &mut client.input,
        &mut link.io,
        now_ms,
    );
    match polled {
        Poll::Pending | Poll::Ready(Ok(())) => Ok(false),
        Poll::Ready(Err(RelayFault::Sink(_))) => Ok(true),
        Poll::Ready(Err(fault)) => Err(up_fault(fault)),
    }
}

/// Reads from the server until a head is complete.
fn poll_answer(
    walk: &mut Walk<'_>,
    cx: &mut std::task::Context<'_>,
    link: &mut Link,
) -> Poll<Result<(), Kind>> {
    let stream = match &mut link.io {
        Io::Bytes(stream) => stream,
        Io::H2(stream) => {
            let (head, ended) = match ready!(stream.poll_answer(cx)) {
                Ok(answer) => answer,
                Err(error) => return Poll::Ready(Err(stream_fault(&error))),
            };
            let read = read_answer(walk.ex, &walk.worker.bufs, &head, ended);
            return Poll::Ready(read.map_err(Kind::BadAnswer));
        }
        Io::Away => return Poll::Ready(Err(Kind::NoAnswer)),
    };
    let ex = &mut *walk.ex;
    let bufs = &walk.worker.bufs;
    loop {
        if ex.answer_scan.ready(ex.answer_buf.filled()) {
            let limits = keel_http::HeadLimits {
                head_bytes_max: ANSWER_HEAD_BYTES_MAX,
                fields_max: keel_http::FIELDS_CEILING,
                ..Default::default()
            };
            match ex.answer.parse(ex.answer_buf.filled(), &limits) {
                Ok(HeadStatus::Complete) => {
                    let framing = frame_response(
                        &ex.answer,
                        ex.answer_buf.filled(),
                        ex.head.method,
                        ex.framing.upgrade,
                    );
                    ex.answer_framing = framing.map_err(Kind::BadAnswer)?;
                    return Poll::Ready(Ok(()));
                }
                Ok(HeadStatus::Partial) => {}
                Err(fault) => return Poll::Ready(Err(Kind::BadAnswer(fault))),
            }
        }
        if ex.answer_buf.is_unset() {
            ex.answer_buf = bufs.take(MEDIUM);
        } else {
            ex.answer_buf.compact();
            if ex.answer_buf.space().is_empty() {
                let size = ex.answer_buf.capacity() * 4;
                bufs.resize(&mut ex.answer_buf, size);
            }
        }
        match keel_net::poll_read(stream, cx, &mut ex.answer_buf) {
            Poll::Pending => {
                bufs.shrink(&mut ex.answer_buf);
                return Poll::Pending;
            }
            Poll::Ready(Ok(n)) if n > 0 => {}
            Poll::Ready(_) if ex.answer_buf.is_empty() => {
                return Poll::Ready(Err(Kind::NoAnswer));
            }
            Poll::Ready(_) => {
                return Poll::Ready(Err(Kind::BadAnswer(keel_http::HeadFault::StatusLine)));
            }
        }
    }
}

/// What it means that a stream failed before its answer. What the server says it has not looked at
/// may be sent again in any case (RFC 9113, 8.7).
fn stream_fault(error: &h2::Error) -> Kind {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        Kind::SendRefused
    } else if error.is_io() || error.is_remote() {
        Kind::NoAnswer
    } else {
        Kind::BadAnswer(HeadFault::StatusLine)
    }
}

/// Passes an interim answer on to a client that knows them (RFC 9110, 15.2).
async fn pass_interim(walk: &mut Walk<'_>, client_send_ms: u64) -> Result<(), Kind> {
    if walk.ex.head.version != keel_http::Version::Http10 {
        let mut out = walk.worker.bufs.take_string();
        write_interim(&mut out, walk.ex);
        let status = walk.ex.answer.status;
        let sent = match walk.client.io.h2() {
            Some(stream) => stream
                .send_interim(answer_head(status, &out))
                .map_err(|_| Kind::ClientGone),
            None => walk.write_all(&out, false, client_send_ms).await,
        };
        walk.ex.record.bytes_sent += out.len() as u64;
        walk.worker.bufs.give_string(out);
        sent.map_err(|_| Kind::ClientGone)?;
    }
    let len = walk.ex.answer.len;
    walk.ex.answer_buf.consume(len);
    walk.ex.answer_scan.reset();
    Ok(())
}
