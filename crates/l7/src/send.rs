//! Send and response head: one request on its way to one server, until the head of its answer is
//! there.

use std::task::{Poll, ready};

use keel_http::{BodyLength, HeadFault, HeadStatus, frame_response, websocket};
use keel_http2::StreamError;
use keel_net::{BufPool, MEDIUM};

use crate::error::Kind;
use crate::exchange::Exchange;
use crate::grpc::Call;
use crate::h2::{H2Body, H2Call, read_answer, request_head};
use crate::heads::{ANSWER_LIMITS, RequestHeadPlan, write_interim, write_request};
use crate::io::Io;
use crate::link::Link;
use crate::relay::{Encode, Keep, RelayFault};
use crate::retry::{RetryPlan, Tries, is_repeatable};
use crate::snapshot::{HostPlan, PoolPlan, RoutePlan};
use crate::times::Times;
use crate::walk::Walk;

/// Interim answers that one server may send before it must answer.
const INTERIM_MAX: u32 = 32;

/// Writes the request's head into the upward relay, with what has come of the body.
pub(crate) fn begin_request(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    tries: &Tries<'_>,
    server: usize,
    link: &mut Link,
) -> Result<(), Kind> {
    let plan = tries.plan;
    let body = walk.ex.framing.body;
    let recoded = begin_relay(walk, route, tries.retry, link);
    let told = if recoded { BodyLength::Chunked } else { body };
    let needs_key = walk.ex.head.extended_connect && link.call.is_none();
    walk.ex.websocket_key =
        needs_key.then(|| Box::new(websocket::key([walk.worker.random(), walk.worker.random()])));
    let mut out = std::mem::take(walk.ex.up.head_mut());
    write_head(&mut out, walk, route, plan, (server, told));
    walk.ex.record.sent_us = walk.worker.clock.now_us();
    if let Some(call) = &link.call {
        let ended = body == BodyLength::Empty;
        walk.ex.record.server_bytes_sent += out.len() as u64;
        let upgrade = walk.ex.framing.upgrade;
        let opened = open_stream(call, &out, plan, upgrade, ended && !upgrade);
        out.clear();
        link.io = Io::H2(opened?);
    }
    *walk.ex.up.head_mut() = out;
    if walk.client.io.is_h2() && walk.ex.up.is_untouched() && body != BodyLength::Empty {
        walk.client.read_ready(&walk.worker.bufs);
    }
    let client = &mut *walk.client;
    walk.ex
        .up
        .preload(&mut client.input, &client.io)
        .map_err(up_fault)
}

/// Begins the upward relay, or begins it again for another attempt. Gives whether the body is written
/// anew on the way, so that its length is unknown.
fn begin_relay(walk: &mut Walk<'_>, route: &RoutePlan, retry: &RetryPlan, link: &Link) -> bool {
    let bufs = &walk.worker.bufs;
    let body = walk.ex.framing.body;
    let has_body = !matches!(body, BodyLength::Empty | BodyLength::Fixed(0));
    let call = walk.ex.call.filter(|_| has_body);
    let recoded = call.is_some_and(Call::recodes_request);
    let encode = match body {
        // What is opened stays open for what goes through the tunnel.
        _ if walk.ex.framing.upgrade => Encode::Raw,
        _ if link.call.is_some() => Encode::Stream,
        BodyLength::Chunked => Encode::Chunked,
        _ if recoded => Encode::Chunked,
        _ => Encode::Raw,
    };
    let now_ms = walk.worker.clock.now_ms();
    let framed = walk.client.io.is_h2();
    if !walk.ex.up.is_untouched() {
        walk.ex
            .up
            .begin_again(&mut walk.client.input, encode, now_ms);
        return recoded;
    }
    let keep = match has_body {
        true => keep_of(walk, retry, link),
        false => Keep::Nothing,
    };
    let up = &mut walk.ex.up;
    let body_bytes_max = route.body_bytes_max.unwrap_or(walk.listener.body_bytes_max);
    up.begin(bufs, (body, framed), encode, body_bytes_max, now_ms);
    up.keep(keep, retry.body_bytes_max);
    up.set_web(call.and_then(Call::request_codec));
    recoded
}

/// How long a body is kept for another attempt. What may not be repeated can only go elsewhere while
/// nothing was sent; over HTTP/2 a server can still say that it did not look at it, and a call of
/// gRPC that it did not take it.
fn keep_of(walk: &Walk<'_>, retry: &RetryPlan, link: &Link) -> Keep {
    let by_server = link.call.is_some() || walk.ex.call.is_some() && !retry.grpc.is_empty();
    match retry.tries_max > 1 && retry.body_bytes_max > 0 {
        false => Keep::Nothing,
        true if by_server || is_repeatable(walk, retry) => Keep::UntilAnswered,
        true => Keep::UntilWritten,
    }
}

/// Writes the head of the request for a server that is told this length of its body.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    walk: &Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    (server, body): (usize, BodyLength),
) {
    let host = route.host.as_ref().or(plan.host.as_ref());
    let server = plan.pool.servers.get(server);
    let head = RequestHeadPlan {
        route,
        listener: walk.listener,
        pool_edits: &plan.request_edits,
        host: host.unwrap_or(&HostPlan::Keep),
        server_address: server.map_or("", |server| &server.address_text),
        peer: walk.client.peer.ip(),
        peer_text: &walk.client.peer_text,
        trusted: walk.trusted,
        request_id: &walk.view.snapshot.request_id,
        websocket_key: walk.ex.websocket_key.as_deref(),
        content_type: walk.ex.call.and_then(|call| call.request_type(walk.ex)),
        body,
    };
    write_request(out, walk.ex, &head, &walk.vars());
}

/// Sends a request's head as a stream of its own over a shared connection.
pub(crate) fn open_stream(
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
    // What ended before it could say so takes no stream, which is told below.
    if upgrade && !call.takes_upgrades() && (call.has_settings() || call.is_open()) {
        return Err(Kind::NoUpgrade);
    }
    let head = request_head(head, scheme, upgrade).ok_or(Kind::BadHead(HeadFault::TargetByte))?;
    // A connection that is just being closed by the server takes no stream: nothing was sent.
    let sent = call.send(head.iter(), ended, head.is_head());
    sent.map_err(|_| Kind::SendRefused)
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
pub(crate) async fn send(
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
            match poll_answer(walk.ex, &walk.worker.bufs, cx, link) {
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
pub(crate) fn poll_answer(
    ex: &mut Exchange,
    bufs: &BufPool,
    cx: &mut std::task::Context<'_>,
    link: &mut Link,
) -> Poll<Result<(), Kind>> {
    let stream = match &mut link.io {
        Io::Bytes(stream) => stream,
        Io::H2(stream) => {
            let head = match ready!(stream.poll_head(cx)) {
                Ok(head) => head,
                Err(error) => {
                    let broken = link.call.as_ref().is_some_and(H2Call::is_broken);
                    return Poll::Ready(Err(stream_fault(error, broken)));
                }
            };
            let read = read_answer(ex, bufs, &head);
            stream.give_head(head);
            return Poll::Ready(read.map_err(Kind::BadAnswer));
        }
        Io::Away => return Poll::Ready(Err(Kind::NoAnswer)),
    };
    loop {
        if ex.answer_scan.ready(ex.answer_buf.filled()) {
            match ex.answer.parse(ex.answer_buf.filled(), &ANSWER_LIMITS) {
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

/// What it means that a stream failed before its answer; `broken` when the server broke the rules of the connection.
/// What the server says it has not looked at may be sent again in any case (RFC 9113, 8.7).
fn stream_fault(error: StreamError, broken: bool) -> Kind {
    match error {
        StreamError::Refused => Kind::SendRefused,
        StreamError::Reset(_) => Kind::StreamReset,
        StreamError::Lost if !broken => Kind::NoAnswer,
        StreamError::Lost | StreamError::Ended(_) => Kind::BadAnswer(HeadFault::StatusLine),
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
                .send_interim(status, &out)
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
