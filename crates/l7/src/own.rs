//! Answers of our own, and what becomes of the client's connection after them.

use keel_http::grpc::{Code, Kind as Protocol, write_status};
use keel_http::{BodyLength, Version};
use keel_types::{Reason, Side, Termination};

use crate::driver::Next;
use crate::error::Kind;
use crate::grpc::{Call, fail_call};
use crate::reply::{Reply, ReplyFacts, error_body, fixed, render_location, write_reply};
use crate::snapshot::{RoutePlan, Target};
use crate::vars::with_date;
use crate::walk::Walk;

/// A redirect, a fixed answer, a page of our own.
pub(crate) async fn answer_ourselves(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    target: &Target,
) -> Result<Next, Kind> {
    walk.ex.record.termination = Termination {
        side: Side::Proxy,
        reason: Reason::Answered,
        phase: keel_types::Phase::Route,
    };
    match target {
        Target::Redirect { status, location } => {
            let mut to = walk.worker.bufs.take_string();
            render_location(location, &walk.vars(), &mut to);
            let reply = Reply {
                status: *status,
                content_type: "",
                headers: &[],
                error: "",
                location: &to,
                body: b"",
            };
            let sent = send_reply(walk, Some(route), &reply, true).await;
            walk.worker.bufs.give_string(to);
            sent
        }
        Target::Respond(answer) => send_reply(walk, Some(route), &fixed(answer), true).await,
        Target::Produce(page) => {
            let answer = page.produce();
            send_reply(walk, Some(route), &fixed(&answer), true).await
        }
        Target::Pool(_) | Target::Split { .. } | Target::NoRoute => Err(Kind::Internal),
    }
}

/// Whether the request's body is out of the connection's input, so that the next request is at its
/// front. A small one that is all here is thrown away for that.
pub(crate) fn body_is_out_of_the_way(walk: &mut Walk<'_>) -> bool {
    let Walk { ex, client, .. } = walk;
    if client.io.is_h2() {
        return true;
    }
    match ex.framing.body {
        BodyLength::Empty | BodyLength::Fixed(0) => true,
        BodyLength::Fixed(bytes) if ex.up.is_untouched() => {
            let all_here = bytes <= client.input.len() as u64;
            if all_here {
                client.input.consume(bytes as usize);
            }
            all_here
        }
        _ if ex.up.is_untouched() => false,
        _ => ex.up.abandon(&mut client.input),
    }
}

/// Whether the client may send another request as far as it is concerned.
pub(crate) fn keeps_reading(walk: &Walk<'_>) -> bool {
    walk.ex.framing.keep_alive && (!walk.client.read_closed || !walk.client.input.is_empty())
}

/// What the client and we have to say about keeping the connection, whatever the answer.
pub(crate) fn keeps_alive(walk: &Walk<'_>) -> bool {
    keeps_reading(walk)
        && !walk.worker.is_leaving(walk.client.listener)
        && walk.client.requests < walk.listener.requests_max
}

/// Sends an answer that is whole in `answer`, its body being the last `body` bytes.
pub(crate) async fn send_whole(
    walk: &mut Walk<'_>,
    status: u16,
    answer: &[u8],
    body: usize,
) -> Result<(), Kind> {
    let (head, content) = answer.split_at(answer.len() - body);
    walk.ex.record.status = status;
    walk.answer_begun = true;
    walk.copy_sent(head);
    let timeout_ms = walk.listener.send_timeout_ms;
    match walk.client.io.h2() {
        Some(stream) => match stream.send_answer(status, head, body == 0) {
            Ok(()) => walk.write_all(content, true, timeout_ms).await,
            Err(_) => Err(Kind::ClientAborted),
        },
        None => walk.write_all(answer, true, timeout_ms).await,
    }
}

/// Sends an answer of our own.
async fn send_reply(
    walk: &mut Walk<'_>,
    route: Option<&RoutePlan>,
    reply: &Reply<'_>,
    may_keep: bool,
) -> Result<Next, Kind> {
    let keep_alive = may_keep && keeps_alive(walk) && body_is_out_of_the_way(walk);
    let mut out = walk.worker.bufs.take_string();
    let second = walk.worker.clock.unix_us(walk.worker.clock.now_us()) / 1_000_000;
    let body = with_date(second, |date| {
        let facts = ReplyFacts {
            listener: walk.listener,
            keep_alive,
            date,
        };
        write_reply(&mut out, walk.ex, route, reply, facts, &walk.vars())
    });
    let sent = send_whole(walk, reply.status, &out, body).await;
    if sent.is_ok() {
        walk.ex.record.bytes_sent += out.len() as u64;
        walk.ex.record.body_bytes_sent += body as u64;
    }
    walk.worker.bufs.give_string(out);
    sent?;
    Ok(if keep_alive {
        Next::KeepAlive
    } else {
        Next::Linger
    })
}

/// Answers a failure when nothing of an answer has gone out, and says what becomes of the
/// connection.
pub(crate) async fn fail(walk: &mut Walk<'_>, kind: Kind) -> Next {
    let row = kind.row();
    tell(walk, kind);
    walk.ex.record.termination = row.termination();
    if walk.client.io.is_h2() && kind.is_malformed() {
        walk.ex.record.status = row.status;
        return Next::Malformed;
    }
    if walk.answer_begun {
        if walk.client.io.is_h2() {
            return match end_call(walk, kind) {
                true => Next::Linger,
                false => Next::Reset,
            };
        }
        let until_close = walk.ex.head.version == Version::Http10;
        return if until_close {
            Next::Reset
        } else {
            Next::Close
        };
    }
    if matches!(
        kind,
        Kind::ClientGone | Kind::ClientAborted | Kind::ClientStalled
    ) {
        walk.ex.record.status = row.status;
        return Next::Close;
    }
    let view = walk.view;
    let route = view.snapshot.routes.get(walk.ex.record.route.0 as usize);
    if walk.ex.call.is_some() {
        return fail_call(walk, &row).await.unwrap_or(Next::Close);
    }
    let (content_type, body) = error_body(walk.ex, route, &row);
    let later = retry_after(walk.ex.record.retry_after_s);
    let reply = Reply {
        status: row.status,
        content_type: &content_type,
        headers: match row.status {
            405 => allow_header(),
            503 => later.as_slice(),
            _ => &[],
        },
        error: row.name,
        location: b"",
        body: &body,
    };
    match send_reply(walk, route, &reply, row.keeps_connection).await {
        Ok(next) => next,
        Err(_) => Next::Close,
    }
}

/// Ends a call of gRPC whose answer has begun with trailers that tell the failure, as a server of its own would: a
/// reset has no status that says what it was. False when that cannot be done.
fn end_call(walk: &mut Walk<'_>, kind: Kind) -> bool {
    let in_grpc = |call: Call| call.kind == Protocol::Grpc && !call.bridged;
    let unsaid = walk.ex.answer_framing.declared_length.is_none();
    let client_left = matches!(
        kind,
        Kind::ClientGone | Kind::ClientAborted | Kind::ClientStalled
    );
    if client_left || !unsaid || !walk.ex.call.is_some_and(in_grpc) {
        return false;
    }
    let row = kind.row();
    let mut trailers = walk.worker.bufs.take_string();
    write_status(Code::of_failure(row.status), row.text, &mut trailers);
    let ended = walk.client.io.h2().is_some_and(|stream| {
        // One that has ended already was told all, and is to be reset as before.
        !stream.has_ended() && stream.end(&trailers).is_ok()
    });
    walk.worker.bufs.give_string(trailers);
    ended
}

/// Why the bytes of a peer were refused stands in no status code: it is told to whoever debugs.
fn tell(walk: &Walk<'_>, kind: Kind) {
    match kind {
        Kind::BadHead(fault) => {
            tracing::debug!(client = %walk.client.peer, "request refused: {fault}");
        }
        Kind::BadAnswer(fault) => {
            tracing::debug!(server = ?walk.ex.record.server_address, "answer refused: {fault}");
        }
        _ => {}
    }
}

/// When a client that was refused may come back (RFC 9110, 10.2.3), where that is known.
fn retry_after(seconds: u32) -> Option<(String, String)> {
    (seconds > 0).then(|| ("Retry-After".to_owned(), seconds.to_string()))
}

/// RFC 9110, 15.5.6: a 405 says what would be allowed.
fn allow_header() -> &'static [(String, String)] {
    static ALLOW: std::sync::OnceLock<[(String, String); 1]> = std::sync::OnceLock::new();
    ALLOW.get_or_init(|| {
        [(
            "Allow".to_owned(),
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned(),
        )]
    })
}
