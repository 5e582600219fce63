//! After a 101: bytes both ways, until both sides have closed or nothing moved for long.

use std::future::poll_fn;
use std::task::{Context, Poll};

use keel_http::BodyLength;
use keel_types::{Phase, PoolId, Reason, ServerIndex, Side, Termination};

use crate::driver::Next;
use crate::error::Kind;
use crate::exchange::{Attempt, Exchange};
use crate::heads::{AnswerBody, AnswerHeadPlan, write_answer};
use crate::pass::{over, settle};
use crate::relay::{Encode, RelayFault};
use crate::snapshot::RoutePlan;
use crate::sticky::{self, SetCookie};
use crate::vars::with_date;
use crate::walk::Walk;

/// The longest silence once one side has closed: the other one has little left to say.
const HALF_CLOSED_TIMEOUT_MS: u64 = 30_000;

/// Sends the 101 to the client and passes bytes both ways until the tunnel ends.
///
/// A side that closes has its close passed on; the other side may go on sending.
pub async fn tunnel(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    pool: PoolId,
    attempt: &mut Attempt,
) -> Result<Next, Kind> {
    let plan = walk.view.pool(pool).ok_or(Kind::Internal)?;
    let idle_ms = route.timeouts.tunnel_ms.unwrap_or(plan.tunnel_timeout_ms);
    let cookie = sticky::set_cookie(walk, plan, attempt.server);
    begin(walk, route, attempt.link.io.is_h2(), cookie)?;
    over(walk, attempt);
    count_head(walk, pool, attempt);
    walk.answer_begun = true;
    walk.in_tunnel = true;
    let mut over = Over::default();
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = poll_both(walk, cx, attempt, &mut over) {
            return Poll::Ready(ended);
        }
        let one_way = over.up || over.down;
        let limit_ms = match one_way {
            true => idle_ms.min(HALF_CLOSED_TIMEOUT_MS),
            false => idle_ms,
        };
        let (up, down) = (&walk.ex.up, &walk.ex.down);
        let due_ms = up.progress_ms.max(down.progress_ms) + limit_ms;
        walk.poll_overdue(cx, due_ms, Kind::TunnelIdle)
            .map(|kind| kind.row().termination())
    })
    .await;
    walk.ex.record.termination = ended;
    settle(walk, pool, attempt);
    Ok(Next::Close)
}

/// Which directions of a tunnel have ended.
#[derive(Default)]
struct Over {
    up: bool,
    down: bool,
}

/// Moves bytes both ways and passes a close on; ready when both directions have ended or one broke.
fn poll_both(
    walk: &mut Walk<'_>,
    cx: &mut Context<'_>,
    attempt: &mut Attempt,
    over: &mut Over,
) -> Poll<Termination> {
    let now_ms = walk.worker.clock.now_ms();
    let Walk {
        ex, client, worker, ..
    } = walk;
    let Exchange {
        up,
        down,
        answer_buf,
        ..
    } = &mut **ex;
    let bufs = &worker.bufs;
    let (client, input) = (&mut client.io, &mut client.input);
    let server = &mut attempt.link.io;
    if !over.up
        && let Poll::Ready(ended) = up.poll(cx, bufs, client, input, server, now_ms)
    {
        if let Err(fault) = ended {
            return Poll::Ready(broken(&fault, Side::Client, Side::Server));
        }
        // A relay that is done says so again, until its end has been passed on.
        over.up = server.poll_shutdown(cx).is_ready();
    }
    if !over.down
        && let Poll::Ready(ended) = down.poll(cx, bufs, server, answer_buf, client, now_ms)
    {
        if let Err(fault) = ended {
            return Poll::Ready(broken(&fault, Side::Server, Side::Client));
        }
        over.down = client.poll_shutdown(cx).is_ready();
    }
    match over.up && over.down {
        true => Poll::Ready(Termination::DONE),
        false => Poll::Pending,
    }
}

/// The relay to the server begins anew with the tunnel: the request's head is counted before that.
fn count_head(walk: &Walk<'_>, pool: PoolId, attempt: &mut Attempt) {
    let server = ServerIndex(attempt.server as u32);
    let head = std::mem::take(&mut attempt.sent_bytes);
    walk.view.metrics.server(pool, server).bytes(head, 0);
}

/// Turns both relays into pipes: what was read ahead goes first.
fn begin(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    server_is_stream: bool,
    cookie: Option<SetCookie<'_>>,
) -> Result<(), Kind> {
    let now_ms = walk.worker.clock.now_ms();
    let ends = |is_stream| match is_stream {
        true => ((BodyLength::UntilClose, true), Encode::Stream),
        false => ((BodyLength::UntilClose, false), Encode::Raw),
    };
    let (from_client, to_client) = ends(walk.client.io.is_h2());
    let (from_server, to_server) = ends(server_is_stream);
    let bufs = &walk.worker.bufs;
    walk.ex
        .down
        .begin(bufs, from_server, to_client, u64::MAX, now_ms);
    let mut out = std::mem::take(walk.ex.down.head_mut());
    let now_us = walk.worker.clock.now_us();
    with_date(walk.worker.clock.unix_us(now_us) / 1_000_000, |date| {
        let plan = AnswerHeadPlan {
            listener: walk.listener,
            route,
            body: AnswerBody::None,
            keep_alive: true,
            date,
            content_type: None,
            shown: None,
            cookie,
        };
        write_answer(&mut out, walk.ex, &plan, &walk.vars());
    });
    walk.ex.record.status = walk.ex.answer.status;
    if let Some(stream) = walk.client.io.h2() {
        // RFC 8441, 5: what HTTP/1.1 says with 101 is 200 here.
        walk.ex.record.status = 200;
        let sent = stream.send_opening(&out);
        out.clear();
        sent.map_err(|_| Kind::ClientAborted)?;
    }
    *walk.ex.down.head_mut() = out;
    let ex = &mut *walk.ex;
    ex.answer_buf.consume(ex.answer.len);
    ex.up.begin(bufs, from_client, to_server, u64::MAX, now_ms);
    bufs.shrink(&mut ex.answer_buf);
    Ok(())
}

/// A tunnel that breaks is how many of them end: it says who, not that something went wrong here.
fn broken(fault: &RelayFault, source: Side, sink: Side) -> Termination {
    let side = if matches!(fault, RelayFault::Sink(_)) {
        sink
    } else {
        source
    };
    Termination {
        side,
        reason: Reason::Abort,
        phase: Phase::Tunnel,
    }
}
