//! The one driver: it walks a request through its phases and has one exit.
//!
//! ```text
//! normalise → client address → route → limits → answer of our own? → forward (select, connect,
//! send, response head, retry?) → response edits → body → finish
//! ```
//!
//! Whatever happens on the way is a [`Kind`]; [`exchange`] turns it into an answer, closes what has
//! to be closed, and calls [`finish`] exactly once.

use std::cell::RefCell;
use std::task::Poll;

use keel_balance::Outcome;
use keel_http::forwarded::client_address;
use keel_http::{BodyLength, Method, Version, frame_request};
use keel_route::{HeaderSource, RequestView};
use keel_types::{PoolId, Reason, RouteId, Side, Termination};

use crate::client::Client;
use crate::error::Kind;
use crate::exchange::{Attempt, Exchange, Record};
use crate::finish::finish;
use crate::forward::{Times, error_kind, forward, hash_of};
use crate::heads::{AnswerBody, AnswerHeadPlan, ShownBackend, write_answer};
use crate::relay::{RelayFault, Waiting};
use crate::reply::{Reply, ReplyFacts, error_body, fixed, render_location, write_reply};
use crate::snapshot::{HashKey, KeepRequestId, ListenerPlan, RoutePlan, Target};
use crate::tunnel::tunnel;
use crate::vars::{ConnectionFacts, DateText, Vars};
use crate::worker::{View, Worker};

thread_local! {
    static DATE: RefCell<DateText> = RefCell::default();
}

/// What happens to the client's connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next request may come.
    KeepAlive,
    /// It is closed, once the client has had the time to read what we sent.
    Linger,
    /// It is closed at once.
    Close,
    /// It is reset, so that nobody takes what was sent for the whole.
    Reset,
}

/// Everything that the phases of one exchange work on.
pub struct Walk<'a> {
    /// The worker.
    pub worker: &'a Worker,
    /// The snapshot that the request began with.
    pub view: &'a View,
    /// The listener's plan.
    pub listener: &'a ListenerPlan,
    /// The client's connection.
    pub client: &'a mut Client,
    /// The exchange.
    pub ex: &'a mut Exchange,
    /// Whether the peer's forwarding headers are believed.
    pub trusted: bool,
}

impl Walk<'_> {
    /// The exchange as variables.
    pub fn vars(&self) -> Vars<'_> {
        Vars {
            ex: self.ex,
            view: self.view,
            connection: ConnectionFacts {
                peer: self.client.peer,
                local: self.client.local,
                number: self.client.number,
                requests: self.client.requests,
                scheme: self.listener.scheme,
                listener: usize::from(self.client.listener.0),
            },
            unix_us: self.worker.clock.unix_us(self.worker.clock.now_us()),
        }
    }

    /// Writes bytes to the client, which must take some within `timeout_ms`.
    pub async fn write_all(&mut self, bytes: &[u8], timeout_ms: u64) -> Result<(), Kind> {
        let mut left = bytes;
        let mut due_ms = self.worker.clock.now_ms() + timeout_ms;
        std::future::poll_fn(|cx| {
            while !left.is_empty() {
                let parts = [left, &[], &[]];
                match keel_net::poll_write_parts(&mut self.client.stream, cx, parts) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        left = left.get(n..).unwrap_or(&[]);
                        due_ms = self.worker.clock.now_ms() + timeout_ms;
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Kind::ClientAborted)),
                    Poll::Pending if self.worker.clock.now_ms() >= due_ms => {
                        return Poll::Ready(Err(Kind::ClientStalled));
                    }
                    Poll::Pending => {
                        self.client.deadline.set(due_ms);
                        let _ = self.client.deadline.poll_fired(cx);
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// Runs one exchange whose head is complete at the front of the client's input.
pub async fn exchange(
    worker: &Worker,
    view: &View,
    listener: &ListenerPlan,
    client: &mut Client,
    ex: &mut Exchange,
) -> Next {
    ex.take_head(&worker.bufs, &mut client.input);
    begin_record(worker, view, client, ex);
    client.requests += 1;
    let trusted = view.snapshot.is_trusted(client.peer.ip());
    let mut walk = Walk {
        worker,
        view,
        listener,
        client,
        ex,
        trusted,
    };
    let next = match walk_phases(&mut walk).await {
        Ok(next) => next,
        Err(kind) => fail(&mut walk, kind).await,
    };
    finish(&mut walk);
    next
}

/// Refuses a head that could not be read; there is no request then, only an answer and a log line.
pub async fn refuse(
    worker: &Worker,
    view: &View,
    listener: &ListenerPlan,
    client: &mut Client,
    ex: &mut Exchange,
    kind: Kind,
) -> Next {
    begin_record(worker, view, client, ex);
    ex.record.bad_head = true;
    ex.head.clear();
    let trusted = false;
    let mut walk = Walk {
        worker,
        view,
        listener,
        client,
        ex,
        trusted,
    };
    walk.view
        .metrics
        .listener(walk.client.listener)
        .bad_request();
    let next = fail(&mut walk, kind).await;
    finish(&mut walk);
    next
}

fn begin_record(worker: &Worker, view: &View, client: &Client, ex: &mut Exchange) {
    ex.record = Record {
        start_us: worker.clock.tick(),
        client_ip: client.peer.ip(),
        route: view.snapshot.no_route(),
        bytes_received: ex.head_buf.len() as u64,
        ..Record::default()
    };
}

async fn walk_phases(walk: &mut Walk<'_>) -> Result<Next, Kind> {
    read_request(walk)?;
    let route_id = find_route(walk);
    walk.ex.record.route = route_id;
    let view = walk.view;
    let route = view
        .snapshot
        .routes
        .get(route_id.0 as usize)
        .ok_or(Kind::Internal)?;
    let body_bytes_max = route.body_bytes_max.unwrap_or(walk.listener.body_bytes_max);
    if matches!(walk.ex.framing.body, BodyLength::Fixed(bytes) if bytes > body_bytes_max) {
        return Err(Kind::BodyTooLarge);
    }
    let pool = match &route.target {
        Target::NoRoute => return Err(Kind::NoRoute),
        Target::Pool(pool) => *pool,
        Target::Split { split, pools, by } => {
            let chosen = match by {
                HashKey::Random => split.choose_random(walk.worker.random()),
                key => split.choose_hash(hash_of(walk, key)),
            };
            *pools.get(chosen).ok_or(Kind::Internal)?
        }
        own => return answer_ourselves(walk, route, own).await,
    };
    pass_to(walk, route, pool).await
}

/// Normalise and client address: from bytes to a request that routing may look at.
fn read_request(walk: &mut Walk<'_>) -> Result<(), Kind> {
    let Walk {
        ex, view, client, ..
    } = walk;
    let Exchange {
        head,
        head_buf,
        framing,
        normal,
        record,
        ..
    } = &mut **ex;
    let buf = head_buf.filled();
    *framing = frame_request(head, buf).map_err(Kind::BadHead)?;
    normal.read(head, buf).map_err(Kind::BadHead)?;
    view.metrics.listener(client.listener).request();
    let snapshot = &view.snapshot;
    if walk.trusted {
        record.client_ip = client_address(
            &head.fields,
            buf,
            client.peer.ip(),
            &|ip| snapshot.is_trusted(ip),
            &snapshot.client_address_headers,
        );
    }
    if !snapshot.request_id.header.is_empty() {
        identify(walk);
    }
    Ok(())
}

/// Keeps the request's id or makes one: 32 hexadecimal digits.
fn identify(walk: &mut Walk<'_>) {
    let plan = &walk.view.snapshot.request_id;
    let keeps = match plan.keep {
        KeepRequestId::Always => true,
        KeepRequestId::Trusted => walk.trusted,
        KeepRequestId::Never => false,
    };
    let (high, low) = (walk.worker.random(), walk.worker.random());
    let Exchange {
        head,
        head_buf,
        record,
        ..
    } = &mut *walk.ex;
    if keeps
        && let Some(told) = head
            .fields
            .first_named(plan.header.as_bytes(), head_buf.filled())
        && !told.is_empty()
        && let Some(slot) = record.request_id.get_mut(..told.len())
    {
        slot.copy_from_slice(told);
        record.request_id_len = told.len() as u8;
        return;
    }
    for (half, number) in record.request_id.chunks_exact_mut(16).zip([high, low]) {
        for (position, digit) in half.iter_mut().enumerate() {
            let nibble = (number >> (60 - 4 * position)) & 15;
            *digit = b"0123456789abcdef"
                .get(nibble as usize)
                .copied()
                .unwrap_or(b'0');
        }
    }
    record.request_id_len = 32;
}

/// A request's fields for the router.
struct FieldsOf<'a> {
    ex: &'a Exchange,
}

impl HeaderSource for FieldsOf<'_> {
    fn each(&self, name: &[u8], f: &mut dyn FnMut(&[u8]) -> bool) {
        for value in self.ex.head.fields.all_named(name, self.ex.bytes()) {
            if f(value) {
                return;
            }
        }
    }
}

fn find_route(walk: &Walk<'_>) -> RouteId {
    let ex = &*walk.ex;
    let buf = ex.bytes();
    let view = RequestView {
        listener: walk.client.listener.0,
        method: ex.head.method_span.of(buf),
        scheme: walk.listener.scheme,
        host: ex.normal.host(buf),
        port: ex.normal.port(),
        path: ex.normal.path(buf),
        query: ex.normal.query(buf),
        client: ex.record.client_ip,
        headers: &FieldsOf { ex },
    };
    match walk.view.snapshot.router.find(&view) {
        Some(route) => RouteId(route as u32),
        None => walk.view.snapshot.no_route(),
    }
}

/// A redirect, a fixed answer, a page of our own.
async fn answer_ourselves(
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
            let sent = send_reply(walk, Some(route), &reply).await;
            walk.worker.bufs.give_string(to);
            sent
        }
        Target::Respond(answer) => send_reply(walk, Some(route), &fixed(answer)).await,
        Target::Produce(page) => {
            let answer = page.produce();
            send_reply(walk, Some(route), &fixed(&answer)).await
        }
        Target::Pool(_) | Target::Split { .. } | Target::NoRoute => Err(Kind::Internal),
    }
}

/// Whether the connection may go on after an answer of our own: the request's body is out of the
/// way, or all of it is here and can be thrown away.
fn may_keep_after_reply(walk: &mut Walk<'_>) -> bool {
    if walk.ex.record.bad_head || !keeps_alive(walk) {
        return false;
    }
    match walk.ex.framing.body {
        BodyLength::Empty | BodyLength::Fixed(0) => true,
        BodyLength::Fixed(bytes) if walk.ex.up.is_untouched() => {
            let all_here = bytes <= walk.client.input.len() as u64;
            if all_here {
                walk.client.input.consume(bytes as usize);
            }
            all_here
        }
        _ => walk.ex.up.source_ended() && walk.ex.up.body_bytes > 0,
    }
}

/// What the client and we have to say about keeping the connection, whatever the answer.
fn keeps_alive(walk: &Walk<'_>) -> bool {
    walk.ex.framing.keep_alive
        && !walk.client.read_closed
        && !walk.worker.drain.is_draining()
        && walk.client.requests < walk.listener.requests_max
}

/// Sends an answer of our own.
async fn send_reply(
    walk: &mut Walk<'_>,
    route: Option<&RoutePlan>,
    reply: &Reply<'_>,
) -> Result<Next, Kind> {
    let keep_alive = may_keep_after_reply(walk);
    let mut out = walk.worker.bufs.take_string();
    let second = walk.worker.clock.unix_us(walk.worker.clock.now_us()) / 1_000_000;
    let body = DATE.with_borrow_mut(|date| {
        let facts = ReplyFacts {
            listener: walk.listener,
            keep_alive,
            date: date.at(second),
        };
        write_reply(&mut out, walk.ex, route, reply, facts, &walk.vars())
    });
    walk.ex.record.status = reply.status;
    let sent = walk.write_all(&out, walk.listener.send_timeout_ms).await;
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

/// Sends the request to a pool and the answer to the client.
async fn pass_to(walk: &mut Walk<'_>, route: &RoutePlan, pool: PoolId) -> Result<Next, Kind> {
    let mut attempt = forward(walk, route, pool).await?;
    answered(walk, pool, &attempt);
    if walk.ex.answer_framing.switching {
        return tunnel(walk, route, attempt).await;
    }
    let keep_alive = begin_answer(walk, route, pool, attempt.server)?;
    let outcome = pass_answer(walk, route, pool, &mut attempt).await;
    settle(walk, pool, &attempt);
    if let Err(kind) = outcome {
        if kind.blames_server() {
            let view = walk.view;
            let server = keel_types::ServerIndex(attempt.server as u32);
            view.metrics.server(pool, server).broken(error_kind(kind));
        }
        return Err(kind);
    }
    let up_done = walk.ex.up.is_done();
    if up_done {
        keep_server(walk, pool, attempt);
    }
    Ok(
        match (keep_alive && up_done && keeps_alive(walk), up_done) {
            (true, _) => Next::KeepAlive,
            (false, true) if walk.client.input.is_empty() => Next::Close,
            (false, _) => Next::Linger,
        },
    )
}

/// The head of the answer is there: counts it for the server.
pub fn answered(walk: &mut Walk<'_>, pool: PoolId, attempt: &Attempt) {
    let now_us = walk.worker.clock.tick();
    let ex = &mut *walk.ex;
    ex.record.answered_us = now_us;
    ex.record.server_status = ex.answer.status;
    let took = now_us.saturating_sub(ex.record.sent_us);
    let view = walk.view;
    let metrics = view
        .metrics
        .server(pool, keel_types::ServerIndex(attempt.server as u32));
    metrics.answered(ex.answer.status, took);
    if let Some(plan) = view.pool(pool) {
        attempt.permit.state().record_response(took, now_us / 1000);
        let _ = plan
            .pool
            .balancer
            .report(attempt.server, Outcome::Success, now_us / 1000);
    }
    let wants_copy = view.copies_answers(ex.record.route);
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
    server: usize,
) -> Result<bool, Kind> {
    let body = answer_body(walk.ex);
    // A request whose body is still coming may never end; its connection is not promised to anybody.
    let keep_alive = keeps_alive(walk) && walk.ex.up.is_done() && body != AnswerBody::UntilClose;
    let now_us = walk.worker.clock.now_us();
    let view = walk.view;
    let length = walk.ex.answer_framing.body;
    walk.ex.down.begin(
        &walk.worker.bufs,
        length,
        body.encode(),
        u64::MAX,
        now_us / 1000,
    );
    walk.ex.down.set_read_size(walk.client.read_size);
    let shown = route.show_backend.then(|| ShownBackend {
        server: view
            .pool(pool)
            .and_then(|plan| plan.pool.servers.get(server))
            .map_or("", |server| &server.name),
        response_ms: now_us.saturating_sub(walk.ex.record.sent_us) / 1000,
        total_ms: now_us.saturating_sub(walk.ex.record.start_us) / 1000,
    });
    let mut out = std::mem::take(walk.ex.down.head_mut());
    DATE.with_borrow_mut(|date| {
        let date = date.at(walk.worker.clock.unix_us(now_us) / 1_000_000);
        let plan = AnswerHeadPlan {
            listener: walk.listener,
            route,
            body,
            keep_alive,
            date,
            shown,
        };
        write_answer(&mut out, walk.ex, &plan, &walk.vars());
    });
    *walk.ex.down.head_mut() = out;
    walk.ex.record.status = walk.ex.answer.status;
    let ex = &mut *walk.ex;
    ex.record.server_bytes_received += ex.answer.len as u64;
    ex.answer_buf.consume(ex.answer.len);
    ex.down.preload(&mut ex.answer_buf).map_err(down_fault)?;
    Ok(keep_alive)
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
        BodyLength::Empty => AnswerBody::Fixed(0),
        BodyLength::Fixed(bytes) => AnswerBody::Fixed(bytes),
        // Chunks let the client see an answer that was cut off (RFC 9112, 8).
        BodyLength::Chunked | BodyLength::UntilClose if ex.head.version == Version::Http11 => {
            AnswerBody::Chunked
        }
        BodyLength::Chunked | BodyLength::UntilClose => AnswerBody::UntilClose,
    }
}

fn down_fault(fault: RelayFault) -> Kind {
    match fault {
        RelayFault::Source(_) | RelayFault::Cut => Kind::AnswerCut,
        RelayFault::Framing(_) | RelayFault::TooLarge => Kind::BadAnswerBody,
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
    let times = Times::of(walk, route, &plan.pool);
    let mut up_over = walk.ex.up.is_done();
    std::future::poll_fn(|cx| {
        let now_ms = walk.worker.clock.now_ms();
        let Walk {
            ex, client, worker, ..
        } = &mut *walk;
        let server = &mut attempt.connection.stream;
        if !up_over {
            let (stream, input) = (&mut client.stream, &mut client.input);
            // A request that cannot be sent to its end does not spoil the answer.
            up_over = ex
                .up
                .poll(cx, &worker.bufs, stream, input, server, now_ms)
                .is_ready();
        }
        let Exchange {
            down, answer_buf, ..
        } = &mut **ex;
        let stream = &mut client.stream;
        match down.poll(cx, &worker.bufs, server, answer_buf, stream, now_ms) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(fault)) => return Poll::Ready(Err(down_fault(fault))),
            Poll::Pending => {}
        }
        if up_over {
            client
                .poll_watch(cx, worker)
                .map_err(|_| Kind::ClientAborted)?;
        }
        let (due_ms, kind) = match down.waiting() {
            Waiting::Sink => (down.progress_ms + times.client_send_ms, Kind::ClientStalled),
            _ => (down.progress_ms + times.read_ms, Kind::AnswerStalled),
        };
        if now_ms >= due_ms {
            return Poll::Ready(Err(kind));
        }
        client.deadline.set(due_ms);
        let _ = client.deadline.poll_fired(cx);
        Poll::Pending
    })
    .await
}

/// Notes what the relays moved.
fn settle(walk: &mut Walk<'_>, pool: PoolId, attempt: &Attempt) {
    let ex = &mut *walk.ex;
    walk.client.read_size = ex.down.read_size();
    let received = ex.answer.len as u64 + ex.down.body_bytes;
    ex.record.bytes_sent += ex.down.written_bytes;
    ex.record.body_bytes_sent = ex.down.body_bytes;
    ex.record.server_bytes_received = received;
    let view = walk.view;
    let server = keel_types::ServerIndex(attempt.server as u32);
    view.metrics
        .server(pool, server)
        .bytes(ex.up.written_bytes, received);
}

/// Keeps the server's connection for the next request, when both messages ended cleanly.
fn keep_server(walk: &mut Walk<'_>, pool: PoolId, attempt: Attempt) {
    let ex = &mut *walk.ex;
    let clean = ex.answer_framing.keep_alive
        && ex.down.is_done()
        && ex.answer_buf.is_empty()
        && ex.answer_framing.body != BodyLength::UntilClose;
    let Some(plan) = walk.view.pool(pool) else {
        return;
    };
    if clean {
        let number = plan.pool.first_server + attempt.server;
        let now_ms = walk.worker.clock.now_ms();
        walk.worker
            .idle
            .keep(number, &plan.pool.keep_alive, attempt.connection, now_ms);
    }
}

/// Answers a failure when nothing of an answer has gone out, and says what becomes of the
/// connection.
async fn fail(walk: &mut Walk<'_>, kind: Kind) -> Next {
    let row = kind.row();
    walk.ex.record.termination = row.termination();
    let begun = walk.ex.record.bytes_sent > 0 && walk.ex.record.status > 0;
    if begun {
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
    let (content_type, body) = error_body(walk.ex, route, &row);
    let reply = Reply {
        status: row.status,
        content_type: &content_type,
        headers: if row.status == 405 {
            allow_header()
        } else {
            &[]
        },
        error: row.name,
        location: b"",
        body: &body,
    };
    match send_reply(walk, route, &reply).await {
        Ok(next) => next,
        Err(_) => Next::Close,
    }
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
