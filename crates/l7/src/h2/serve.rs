//! A client's HTTP/2 connection: streams come in, each becomes an exchange of its own task.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use keel_http::{FrameMeter, H2Abuse};
use keel_net::{Buf, Deadline};
use keel_tls::{Stream, TlsFacts};
use keel_types::ListenerId;

use super::guarded::{Guarded, Watch};
use super::{H2Body, abuse, read_request};
use crate::client::Client;
use crate::driver::{Next, exchange_stream, refuse};
use crate::error::Kind;
use crate::io::Io;
use crate::snapshot::Http2Plan;
use crate::worker::Worker;

/// How long what is left may take to go out once a connection is given up, in milliseconds.
const FAREWELL_MS: u64 = 1_000;

/// Streams that we ended and of which more may be under way; of others it is answered with STREAM_CLOSED.
const RESETS_REMEMBERED: usize = 64;

/// What the streams of a connection share.
pub struct Shared {
    /// The far end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// The far end's address as text.
    pub peer_text: Rc<str>,
    /// The listener that took it.
    pub listener: ListenerId,
    /// Number of the connection.
    pub number: u64,
    /// What is known of its TLS session.
    pub tls: Option<Rc<TlsFacts>>,
    worker: Rc<Worker>,
    requests: Cell<u32>,
    active: Cell<u32>,
    quiet_since_ms: Cell<u64>,
}

impl Shared {
    /// What is shared by the streams of the connection that `client` was until now.
    pub fn new(worker: Rc<Worker>, client: &Client) -> Shared {
        let now_ms = worker.clock.now_ms();
        Shared {
            peer: client.peer,
            local: client.local,
            peer_text: client.peer_text.clone(),
            listener: client.listener,
            number: client.number,
            tls: client.tls.clone(),
            worker,
            requests: Cell::new(0),
            active: Cell::new(0),
            quiet_since_ms: Cell::new(now_ms),
        }
    }
}

/// What happened on the connection.
#[expect(clippy::large_enum_variant, reason = "looked at once, never kept")]
enum Step {
    Opened(Request<RecvStream>, SendResponse<Bytes>),
    Over,
    /// It is to be ended for this.
    End(Reason),
    Drain,
}

/// Serves an HTTP/2 connection of which `early` has been read already, until it is over.
pub async fn serve_h2(worker: &Rc<Worker>, shared: Shared, stream: Stream, early: Buf) {
    let (http2, head_timeout_ms) = {
        let view = worker.view();
        let plan = view.snapshot.listeners.get(usize::from(shared.listener.0));
        match plan.and_then(|plan| Some((plan.http2.clone()?, plan.head_timeout_ms))) {
            Some(found) => found,
            None => return,
        }
    };
    let meter = FrameMeter::new(http2.guard, true, worker.clock.now_ms());
    let io = Guarded::new(worker.clone(), stream, early, meter);
    let watch = io.watch();
    let deadline = worker.deadlines.add();
    let shared = Rc::new(shared);
    let due_ms = worker.clock.now_ms() + head_timeout_ms;
    // Boxed, both: what a connection needs at its start is given back, and it does not move.
    let shaken = Box::pin(shake(&shared, &http2, io, &watch, &deadline, due_ms)).await;
    if let Some(connection) = shaken {
        run(&shared, &watch, &deadline, connection).await;
    }
    if let Some(abuse) = watch.abuse() {
        abuse::note(worker, shared.listener, shared.peer, abuse);
    }
}

/// Exchanges the prefaces and first settings.
async fn shake(
    shared: &Shared,
    http2: &Http2Plan,
    io: Guarded,
    watch: &Watch,
    deadline: &Deadline,
    due_ms: u64,
) -> Option<Box<Connection<Guarded, Bytes>>> {
    let worker = &shared.worker;
    let mut shaking = std::pin::pin!(builder(http2).handshake::<_, Bytes>(io));
    poll_fn(|cx| {
        if let Poll::Ready(done) = shaking.as_mut().poll(cx) {
            return Poll::Ready(done.ok().map(Box::new));
        }
        // Who has just come is told to go with a GOAWAY, which says that it may ask elsewhere.
        let due_ms = match worker.is_leaving(shared.listener) {
            true => due_ms.min(shared.quiet_since_ms.get() + FAREWELL_MS),
            false => due_ms,
        };
        match watch.abuse().is_some() || worker.clock.now_ms() >= due_ms {
            true => Poll::Ready(None),
            false => wait_until(deadline, cx, due_ms),
        }
    })
    .await
}

fn wait_until<T>(deadline: &Deadline, cx: &Context<'_>, due_ms: u64) -> Poll<T> {
    deadline.set(due_ms);
    let _ = deadline.poll_fired(cx);
    Poll::Pending
}

/// The settings that we announce, and the library's own limits.
fn builder(plan: &Http2Plan) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(plan.stream_window_bytes)
        .initial_connection_window_size(plan.connection_window_bytes)
        .max_concurrent_streams(plan.streams_max)
        .max_header_list_size(plan.header_list_bytes_max)
        .max_send_buffer_size(plan.send_buffer_bytes)
        .max_frame_size(16_384)
        .max_pending_accept_reset_streams(plan.pending_resets_max)
        .max_local_error_reset_streams(Some(plan.local_resets_max))
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .enable_connect_protocol();
    builder
}

/// Takes streams until the connection is over.
async fn run(
    shared: &Rc<Shared>,
    watch: &Rc<Watch>,
    deadline: &Deadline,
    mut connection: Box<Connection<Guarded, Bytes>>,
) {
    let worker = &shared.worker;
    let mut draining = false;
    loop {
        let step = poll_fn(|cx| poll_step(shared, watch, deadline, &mut connection, draining, cx));
        match step.await {
            Step::Opened(request, respond) => {
                if shared.open() && !draining {
                    draining = true;
                    connection.graceful_shutdown();
                }
                let stream = StreamOf::new(shared.clone());
                let watch = watch.clone();
                tokio::task::spawn_local(serve_stream(stream, watch, request, respond));
            }
            Step::Drain => {
                draining = true;
                connection.graceful_shutdown();
            }
            Step::Over => return,
            Step::End(reason) => {
                connection.abrupt_shutdown(reason);
                let due_ms = worker.clock.now_ms() + FAREWELL_MS;
                poll_fn(|cx| match connection.poll_closed(cx) {
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending if worker.clock.now_ms() >= due_ms => Poll::Ready(()),
                    Poll::Pending => wait_until(deadline, cx, due_ms),
                })
                .await;
                return;
            }
        }
    }
}

fn poll_step(
    shared: &Shared,
    watch: &Watch,
    deadline: &Deadline,
    connection: &mut Connection<Guarded, Bytes>,
    draining: bool,
    cx: &mut Context<'_>,
) -> Poll<Step> {
    let worker = &shared.worker;
    match connection.poll_accept(cx) {
        Poll::Ready(Some(Ok((request, respond)))) => {
            return Poll::Ready(Step::Opened(request, respond));
        }
        Poll::Ready(Some(Err(error))) => {
            if error.is_go_away() && error.is_library() {
                watch.set_fault(H2Abuse::Protocol);
            }
            return Poll::Ready(Step::Over);
        }
        Poll::Ready(None) => return Poll::Ready(Step::Over),
        Poll::Pending => watch.relieve(),
    }
    if let Some(abuse) = watch.abuse() {
        return Poll::Ready(Step::End(Reason::from(abuse.code())));
    }
    if worker.is_leaving(shared.listener) && !draining {
        return Poll::Ready(Step::Drain);
    }
    let now_ms = worker.clock.now_ms();
    // Each stream ends by itself when its own time is over; this is the last of them.
    let drain_due_ms = worker.drain_due_ms().max(worker.tunnels_due_ms());
    let due_ms = shared.due_ms(watch).min(drain_due_ms);
    if now_ms >= due_ms {
        return Poll::Ready(Step::End(Reason::NO_ERROR));
    }
    wait_until(deadline, cx, due_ms)
}

impl Shared {
    /// A stream was opened. Gives whether it is the last one that the connection may carry.
    fn open(&self) -> bool {
        let requests = self.requests.get().saturating_add(1);
        self.requests.set(requests);
        let view = self.worker.view();
        let plan = view.snapshot.listeners.get(usize::from(self.listener.0));
        plan.is_some_and(|plan| requests >= plan.requests_max)
    }

    /// When the connection is overdue: a header block that does not end, nothing asked for after the
    /// preface, idle for too long.
    fn due_ms(&self, watch: &Watch) -> u64 {
        let view = self.worker.view();
        let Some(plan) = view.snapshot.listeners.get(usize::from(self.listener.0)) else {
            return 0;
        };
        let block = match watch.block_since_ms() {
            Some(since) => since + plan.head_timeout_ms,
            None => u64::MAX,
        };
        let idle = match (self.active.get(), self.requests.get()) {
            (0, 0) => self.quiet_since_ms.get() + plan.head_timeout_ms,
            (0, _) => self.quiet_since_ms.get() + plan.idle_timeout_ms,
            _ => u64::MAX,
        };
        block.min(idle).min(watch.linger_due_ms())
    }
}

/// A stream that is being served; counted while it is.
struct StreamOf(Rc<Shared>);

impl StreamOf {
    fn new(shared: Rc<Shared>) -> StreamOf {
        shared.active.set(shared.active.get() + 1);
        StreamOf(shared)
    }
}

impl Drop for StreamOf {
    fn drop(&mut self) {
        let active = self.0.active.get().saturating_sub(1);
        self.0.active.set(active);
        if active == 0 {
            self.0.quiet_since_ms.set(self.0.worker.clock.now_ms());
        }
    }
}

/// One stream: a request and its answer.
async fn serve_stream(
    stream: StreamOf,
    watch: Rc<Watch>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let shared = &*stream.0;
    let worker = &shared.worker;
    let gone = poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await;
    if gone {
        // Reset before anybody looked at it: no server hears of it.
        return;
    }
    let view = worker.view();
    let Some(plan) = view.snapshot.listeners.get(usize::from(shared.listener.0)) else {
        return;
    };
    let (parts, recv) = request.into_parts();
    let ended = recv.is_end_stream();
    let body = H2Body::of_client(recv, respond, watch);
    let mut client = Client::of_stream(worker, shared, body);
    client.requests = shared.requests.get();
    let mut ex = worker.take_exchange();
    let read = read_request(&mut ex, &worker.bufs, &parts, ended, &plan.head_limits);
    drop(parts);
    let next = match read {
        Ok(framing) => {
            ex.framing = framing;
            exchange_stream(worker, &view, plan, &mut client, &mut ex).await
        }
        Err(fault) => {
            refuse(
                worker,
                &view,
                plan,
                &mut client,
                &mut ex,
                Kind::BadHead(fault),
            )
            .await
        }
    };
    settle(&mut client.io, next);
    worker.bufs.give(&mut client.input);
    worker.give_exchange(ex);
}

/// Ends what the driver left open of a stream.
fn settle(io: &mut Io, next: Next) {
    let Some(body) = io.h2() else {
        return;
    };
    match next {
        Next::Reset => body.reset(Reason::INTERNAL_ERROR),
        Next::Malformed => body.reset(Reason::PROTOCOL_ERROR),
        // Whatever was not said by now will not be.
        _ if !body.has_ended() => body.reset(Reason::CANCEL),
        _ => {}
    }
}
