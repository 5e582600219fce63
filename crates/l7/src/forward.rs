//! Select, connect, send, response head: finding a server that answers.
//!
//! Up to `tries_max` servers are asked. An attempt may be followed by another one as
//! [`crate::error::Row::retry`] says and only while no byte of the client's body is gone; a kept
//! connection that proves stale is not held against its server and is replaced once.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use keel_balance::{Ask, Outcome, SelectFault, Selected, hash_key};
use keel_http::{HeadStatus, frame_response};
use keel_net::MEDIUM;
use keel_observe::{ErrorKind, ServerMetrics};
use keel_types::PoolId;
use keel_upstream::{Connection, Pool, start_connect};
use std::rc::Rc;

use crate::error::{Kind, Retry};
use crate::exchange::{Attempt, TRIES_CEILING};
use crate::heads::{RequestHeadPlan, write_interim, write_request};
use crate::relay::{Encode, RelayFault, Waiting};
use crate::snapshot::{HashKey, HostPlan, MIN_RATE_GRACE_MS, PoolPlan, RoutePlan};
use crate::vars::argument;
use crate::walk::Walk;

/// Interim answers that one server may send before it must answer.
const INTERIM_MAX: u32 = 32;
/// Smallest and largest size for reading the head of an answer.
const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;

/// Servers of a pool that an exchange has tried.
struct Tried {
    list: [usize; TRIES_CEILING],
    len: usize,
}

impl Tried {
    fn as_slice(&self) -> &[usize] {
        self.list.get(..self.len).unwrap_or(&[])
    }

    fn push(&mut self, server: usize) {
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = server;
            self.len += 1;
        }
    }
}

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
    let mut tried = Tried {
        list: [0; TRIES_CEILING],
        len: 0,
    };
    let hash = plan.hash_key.as_ref().map(|key| hash_of(walk, key));
    let mut fresh_only = false;
    let mut last = None;
    for _ in 0..plan.pool.tries_max.clamp(1, TRIES_CEILING as u32) {
        let ask = Ask {
            now_ms: walk.worker.clock.now_ms(),
            random: walk.worker.random(),
            hash,
            client: Some(walk.ex.record.client_ip),
            tried: tried.as_slice(),
        };
        let selected = match plan.pool.balancer.select(&ask) {
            Ok(selected) => selected,
            Err(fault) => {
                view.metrics.pool(pool).unavailable();
                return Err(last.unwrap_or(nobody(fault)));
            }
        };
        let server = selected.index;
        if let Some(before) = tried.as_slice().last() {
            count_retry(walk, pool, *before);
        }
        match try_server(walk, route, plan, selected, &mut fresh_only).await {
            Ok(attempt) => return Ok(attempt),
            Err((kind, false)) => return Err(kind),
            Err((kind, true)) => last = Some(kind),
        }
        tried.push(server);
    }
    Err(last.unwrap_or(Kind::NoServer))
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
    fresh_only: &mut bool,
) -> Result<Attempt, (Kind, bool)> {
    let server = selected.index;
    let number = plan.pool.first_server + server;
    let position = keel_types::ServerIndex(server as u32);
    let metrics = walk.view.metrics.server(plan.pool.id, position);
    walk.ex.record.server = Some(server);
    walk.ex.record.server_address = None;
    loop {
        let now_ms = walk.worker.clock.now_ms();
        let keep = &plan.pool.keep_alive;
        let taken = match *fresh_only {
            true => None,
            false => walk.worker.idle.take(number, keep, now_ms),
        };
        let reused = taken.is_some();
        let in_flight = metrics.begin();
        match attempt(walk, route, plan, server, taken, metrics).await {
            Ok(connection) => {
                return Ok(Attempt {
                    connection,
                    server,
                    permit: selected.permit,
                    in_flight,
                    sent_bytes: walk.ex.up.written_bytes,
                });
            }
            Err(kind) => {
                let again = walk.ex.up.is_replayable() && may_retry(walk, kind);
                if reused && is_stale(kind) && again {
                    // The server closed it while we were about to use it: nobody's fault.
                    *fresh_only = true;
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
        Kind::Unresolved | Kind::ConnectFailed => ErrorKind::Connect,
        Kind::ConnectTimeout | Kind::SendTimeout | Kind::AnswerTimeout | Kind::AnswerStalled => {
            ErrorKind::Timeout
        }
        Kind::BadAnswer(_) | Kind::BadAnswerBody => ErrorKind::Protocol,
        _ => ErrorKind::Reset,
    }
}

/// One attempt on one server. A failure says whether the request is still whole, so that it could be
/// sent again.
async fn attempt(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    server: usize,
    taken: Option<Connection>,
    metrics: &Rc<ServerMetrics>,
) -> Result<Connection, Kind> {
    let mut connection = match taken {
        Some(connection) => {
            metrics.reused();
            walk.ex.record.connect_us = None;
            connection
        }
        // Boxed, so that a request over a kept connection does not carry the room for it.
        None => Box::pin(connect(walk, route, &plan.pool, server, metrics)).await?,
    };
    connection.requests += 1;
    walk.ex.record.server_address = Some(connection.address);
    begin_request(walk, route, plan, server)?;
    let outcome = send(walk, route, plan, &mut connection).await;
    let ex = &mut *walk.ex;
    ex.record.server_bytes_sent += ex.up.written_bytes;
    match outcome {
        Ok(()) => Ok(connection),
        Err(kind) => {
            metrics.bytes(ex.up.written_bytes, 0);
            walk.worker.bufs.give(&mut ex.answer_buf);
            let refused = kind == Kind::SendFailed && ex.up.written_bytes == 0;
            Err(if refused { Kind::SendRefused } else { kind })
        }
    }
}

/// Connects to the server's addresses in turn until one takes the connection.
async fn connect(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    pool: &Pool,
    server: usize,
    metrics: &ServerMetrics,
) -> Result<Connection, Kind> {
    let addresses = pool
        .servers
        .get(server)
        .ok_or(Kind::Internal)?
        .resolved
        .load_full();
    let start = walk.worker.clock.tick();
    let due_ms = start / 1000 + route.timeouts.connect_ms.unwrap_or(pool.connect_timeout_ms);
    let mut last = Kind::Unresolved;
    let first = walk.worker.random() as usize % addresses.len().max(1);
    for position in 0..addresses.len() {
        let Some(&address) = addresses.get((first + position) % addresses.len()) else {
            break;
        };
        walk.ex.record.server_address = Some(address);
        let mut connected = connect_to(walk, address, due_ms).await;
        if matches!(connected, Err(Kind::Exhausted)) {
            // Idle connections hold what is missing here.
            walk.worker.idle.clear();
            connected = connect_to(walk, address, due_ms).await;
        }
        match connected {
            Ok(connection) => {
                let took = walk.worker.clock.tick().saturating_sub(start);
                walk.ex.record.connect_us = Some(took);
                metrics.connected(took);
                return Ok(connection);
            }
            Err(kind @ (Kind::ConnectTimeout | Kind::DrainTimeout)) => return Err(kind),
            Err(kind) => last = kind,
        }
    }
    Err(last)
}

async fn connect_to(
    walk: &mut Walk<'_>,
    address: SocketAddr,
    due_ms: u64,
) -> Result<Connection, Kind> {
    let connecting = start_connect(address).map_err(|error| connect_kind(&error))?;
    let mut connecting = pin!(connecting);
    let stream = std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(|error| connect_kind(&error)));
        }
        walk.poll_overdue(cx, due_ms, Kind::ConnectTimeout).map(Err)
    })
    .await?;
    Ok(Connection {
        stream,
        address,
        requests: 0,
        idle_since_ms: 0,
    })
}

/// Whose fault a failed connect is: the server's, unless we ran out of something.
fn connect_kind(error: &std::io::Error) -> Kind {
    let ours =
        keel_net::is_exhaustion(error) || error.kind() == std::io::ErrorKind::AddrNotAvailable;
    if ours {
        Kind::Exhausted
    } else {
        Kind::ConnectFailed
    }
}

/// Writes the request's head into the upward relay, with what has come of the body.
fn begin_request(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    server: usize,
) -> Result<(), Kind> {
    let bufs = &walk.worker.bufs;
    let body = walk.ex.framing.body;
    let encode = match body {
        keel_http::BodyLength::Chunked => Encode::Chunked,
        _ => Encode::Raw,
    };
    let now_ms = walk.worker.clock.now_ms();
    let body_bytes_max = route.body_bytes_max.unwrap_or(walk.listener.body_bytes_max);
    match walk.ex.up.is_untouched() {
        true => walk.ex.up.begin(bufs, body, encode, body_bytes_max, now_ms),
        false => walk.ex.up.begin_again(now_ms),
    }
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
    };
    write_request(&mut out, walk.ex, &head, &walk.vars());
    *walk.ex.up.head_mut() = out;
    walk.ex.record.sent_us = walk.worker.clock.now_us();
    walk.ex.up.preload(&mut walk.client.input).map_err(up_fault)
}

/// What a failure of the upward relay means while nothing has been answered.
fn up_fault(fault: RelayFault) -> Kind {
    match fault {
        RelayFault::Source(_) | RelayFault::Cut => Kind::ClientGone,
        RelayFault::Framing(_) => Kind::BadBody,
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
    connection: &mut Connection,
) -> Result<(), Kind> {
    walk.worker.bufs.give(&mut walk.ex.answer_buf);
    walk.ex.answer_scan.reset();
    let times = Times::of(walk, route, &plan.pool);
    let mut up_failed = false;
    let mut sent_ms = None;
    for _ in 0..INTERIM_MAX {
        std::future::poll_fn(|cx| {
            let now_ms = walk.worker.clock.now_ms();
            if !up_failed && !walk.ex.up.is_done() {
                up_failed = poll_up(walk, cx, connection, now_ms)?;
            }
            match poll_answer_head(walk, cx, connection) {
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
    connection: &mut Connection,
    now_ms: u64,
) -> Result<bool, Kind> {
    let Walk {
        ex, client, worker, ..
    } = walk;
    let polled = ex.up.poll(
        cx,
        &worker.bufs,
        &mut client.stream,
        &mut client.input,
        &mut connection.stream,
        now_ms,
    );
    match polled {
        Poll::Pending | Poll::Ready(Ok(())) => Ok(false),
        Poll::Ready(Err(RelayFault::Sink(_))) => Ok(true),
        Poll::Ready(Err(fault)) => Err(up_fault(fault)),
    }
}

/// Reads from the server until a head is complete.
fn poll_answer_head(
    walk: &mut Walk<'_>,
    cx: &mut std::task::Context<'_>,
    connection: &mut Connection,
) -> Poll<Result<(), Kind>> {
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
        match keel_net::poll_read(&mut connection.stream, cx, &mut ex.answer_buf) {
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

/// Passes an interim answer on to a client that knows them (RFC 9110, 15.2).
async fn pass_interim(walk: &mut Walk<'_>, client_send_ms: u64) -> Result<(), Kind> {
    if walk.ex.head.version == keel_http::Version::Http11 {
        let mut out = walk.worker.bufs.take_string();
        write_interim(&mut out, walk.ex);
        let sent = walk.write_all(&out, client_send_ms).await;
        walk.ex.record.bytes_sent += out.len() as u64;
        walk.worker.bufs.give_string(out);
        sent.map_err(|_| Kind::ClientGone)?;
    }
    let len = walk.ex.answer.len;
    walk.ex.answer_buf.consume(len);
    walk.ex.answer_scan.reset();
    Ok(())
}

/// The times that apply to one attempt, in milliseconds.
pub struct Times {
    /// The server must answer, and go on answering.
    pub read_ms: u64,
    /// The server must take something of the request.
    send_ms: u64,
    /// The client must send something of its body.
    body_ms: u64,
    /// The client must take something of the answer.
    pub client_send_ms: u64,
    /// Bytes per second that the client's body must reach.
    body_rate_min: u64,
    started_ms: u64,
}

impl Times {
    /// The times of a route towards a pool.
    pub fn of(walk: &Walk<'_>, route: &RoutePlan, pool: &Pool) -> Times {
        let times = &route.timeouts;
        Times {
            read_ms: times.read_ms.unwrap_or(pool.read_timeout_ms),
            send_ms: times.send_ms.unwrap_or(pool.send_timeout_ms),
            body_ms: times.body_ms.unwrap_or(walk.listener.body_timeout_ms),
            client_send_ms: walk.listener.send_timeout_ms,
            body_rate_min: walk.listener.body_rate_min,
            started_ms: walk.worker.clock.now_ms(),
        }
    }

    /// When what we wait for is overdue, and what that means then.
    fn due(&self, walk: &Walk<'_>, sent_ms: Option<u64>, now_ms: u64) -> (u64, Kind) {
        let up = &walk.ex.up;
        if let Some(sent_ms) = sent_ms {
            return (sent_ms + self.read_ms, Kind::AnswerTimeout);
        }
        match up.waiting() {
            Waiting::Source => (
                self.body_due(up.progress_ms, up.body_bytes),
                Kind::BodyTimeout,
            ),
            Waiting::Sink => (up.progress_ms + self.send_ms, Kind::SendTimeout),
            Waiting::Nothing => (now_ms + self.read_ms, Kind::AnswerTimeout),
        }
    }

    /// When a body is overdue: it must make progress, and after a while keep up a minimum rate.
    pub fn body_due(&self, progress_ms: u64, bytes: u64) -> u64 {
        let silent = progress_ms + self.body_ms;
        if self.body_rate_min == 0 {
            return silent;
        }
        let earned_ms = bytes.saturating_mul(1000) / self.body_rate_min;
        let slow = self.started_ms + MIN_RATE_GRACE_MS.max(earned_ms);
        silent.min(slow)
    }
}

/// The hash of what a pool or a split hashes; of the client's address where the request has no such
/// thing.
pub fn hash_of(walk: &Walk<'_>, key: &HashKey) -> u64 {
    let ex = &*walk.ex;
    let buf = ex.bytes();
    let found = match key {
        HashKey::ClientAddress => None,
        HashKey::Header(name) => ex
            .head
            .fields
            .first_named(name.as_bytes(), buf)
            .map(hash_key),
        HashKey::Cookie(name) => ex.head.fields.cookie(name.as_bytes(), buf).map(hash_key),
        HashKey::Path => Some(hash_key(ex.normal.path(buf))),
        HashKey::Uri => Some(hash_key(ex.normal.target(buf))),
        HashKey::Query(name) => argument(ex.normal.query(buf), name).map(hash_key),
        HashKey::Random => Some(walk.worker.random()),
    };
    found.unwrap_or_else(|| keel_balance::hash_address(ex.record.client_ip))
}
