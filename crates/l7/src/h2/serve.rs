//! A client's HTTP/2 connection: streams come in, each becomes an exchange of its own task.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use keel_http::{HeadFault, RequestFraming};
use keel_http2::{Config, Connection, ErrorCode, StreamRef};
use keel_net::{Buf, Deadline};
use keel_tls::{Stream, TlsFacts};
use keel_types::ListenerId;

use super::conn::{Came, H2Conn, Wire};
use super::leave::{Ending, FAREWELL_MS, leave};
use super::{H2Body, abuse, read_request};
use crate::client::Client;
use crate::driver::{Next, exchange_stream, refuse};
use crate::error::Kind;
use crate::exchange::Exchange;
use crate::io::Io;
use crate::session::HOT_IDLE_MS;
use crate::snapshot::Http2Plan;
use crate::worker::{View, Worker};

/// How long after the end of a drain streams may still say their own end before the connection does, in milliseconds: less
/// than the worker waits for that.
const STREAMS_END_MS: u64 = 250;

/// Reads at a time; then others have their turn.
const READS_MAX: u32 = 8;

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
    requests: Cell<u32>,
    active: Cell<u32>,
    /// Nothing runs, and the client has all that ran.
    settled: Cell<bool>,
    /// When that began; before, when the client last took something.
    quiet_since_ms: Cell<u64>,
}

impl Shared {
    /// What is shared by the streams of the connection that `client` was until now.
    pub fn new(worker: &Worker, client: &Client) -> Shared {
        Shared {
            peer: client.peer,
            local: client.local,
            peer_text: client.peer_text.clone(),
            listener: client.listener,
            number: client.number,
            tls: client.tls.clone(),
            requests: Cell::new(0),
            active: Cell::new(0),
            settled: Cell::new(true),
            quiet_since_ms: Cell::new(worker.clock.now_ms()),
        }
    }
}

/// Serves an HTTP/2 connection of which `early` has been read already, until it is over.
pub async fn serve_h2(worker: &Rc<Worker>, shared: Shared, stream: Stream, early: Buf) {
    let config = {
        let view = worker.view();
        let plan = view.snapshot.listeners.get(usize::from(shared.listener.0));
        match plan.and_then(|plan| plan.http2.as_ref()) {
            Some(http2) => config(http2),
            None => return,
        }
    };
    let engine = Connection::server(config, worker.clock.now_ms());
    let mut serving = Serving {
        conn: H2Conn::new(worker.clone(), engine),
        wire: Wire::new(stream),
        early,
        deadline: worker.deadlines.add(),
        shared: Rc::new(shared),
        unsent: 0,
        trimmed: false,
    };
    let ending = poll_fn(|cx| serving.poll(cx)).await;
    let Serving {
        conn,
        wire,
        deadline,
        shared,
        ..
    } = serving;
    if let Ending::Abuse(abuse) = ending {
        abuse::note(worker, shared.listener, shared.peer, abuse);
    }
    leave(conn, wire, deadline, ending).await;
}

/// What we announce, and what clients are held to.
fn config(plan: &Http2Plan) -> Config {
    Config {
        stream_window_bytes: plan.stream_window_bytes,
        connection_window_bytes: plan.connection_window_bytes,
        streams_max: plan.streams_max,
        header_list_bytes_max: plan.header_list_bytes_max,
        out_bytes_max: plan.out_bytes_max,
        limits: plan.guard,
    }
}

/// A connection on which streams may run.
struct Serving {
    conn: Rc<H2Conn>,
    wire: Wire,
    /// What was read before it was known that this is HTTP/2.
    early: Buf,
    deadline: Deadline,
    shared: Rc<Shared>,
    /// What waited to be written when it was last looked.
    unsent: usize,
    /// Memory was given back since something ran.
    trimmed: bool,
}

impl Serving {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.conn.watch(cx);
        if let Err(ending) = self.move_bytes(cx) {
            // What a stream found out counts, even if the client is gone by now.
            let fault = self.conn.engine().fault();
            return Poll::Ready(fault.map_or(ending, Ending::Abuse));
        }
        let now_ms = self.conn.now_ms();
        self.note_progress(now_ms);
        let mut engine = self.conn.engine();
        if engine.is_over() {
            match engine.fault() {
                Some(abuse) => return Poll::Ready(Ending::Abuse(abuse)),
                None if engine.out().is_empty() => return Poll::Ready(Ending::Over),
                None => {}
            }
        } else if self.conn.worker.is_leaving(self.shared.listener) {
            engine.drain();
        }
        let Some(due_ms) = self.due_ms(&engine) else {
            return Poll::Ready(Ending::End);
        };
        if now_ms >= due_ms {
            return Poll::Ready(Ending::End);
        }
        let trim_due_ms = self.shared.quiet_since_ms.get() + HOT_IDLE_MS;
        let mut look_ms = due_ms;
        if self.shared.settled.get() && !self.trimmed {
            if now_ms >= trim_due_ms {
                engine.trim();
                self.trimmed = true;
            } else {
                look_ms = look_ms.min(trim_due_ms);
            }
        }
        self.deadline.set(look_ms);
        let _ = self.deadline.poll_fired(cx);
        Poll::Pending
    }

    /// Reads and writes for as long as that goes without waiting, but not for ever.
    fn move_bytes(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Serving {
            conn, wire, shared, ..
        } = self;
        if !self.early.is_empty() {
            let fed = conn.feed(self.early.filled(), |it| open_stream(conn, shared, it));
            conn.worker.bufs.give(&mut self.early);
            fed.map_err(Ending::Abuse)?;
        }
        for turn in 0.. {
            if let Poll::Ready(Err(_)) = wire.poll_write(cx, conn) {
                return Err(Ending::Closed);
            }
            // When it is not wanted, a write is pending.
            if !conn.engine().wants_bytes() {
                break;
            }
            if turn == READS_MAX {
                cx.waker().wake_by_ref();
                break;
            }
            match wire.poll_read(cx, conn, |it| open_stream(conn, shared, it)) {
                Poll::Ready(Came::Bytes) => {}
                Poll::Ready(Came::End) => return Err(Ending::Closed),
                Poll::Ready(Came::Abuse(abuse)) => return Err(Ending::Abuse(abuse)),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// The connection idles once the client has taken the last of what ran on it.
    fn note_progress(&mut self, now_ms: u64) {
        let shared = &self.shared;
        if shared.settled.get() {
            return;
        }
        self.trimmed = false;
        let unsent = self.conn.engine().out().len();
        if shared.active.get() == 0 {
            if unsent < self.unsent || unsent == 0 {
                shared.quiet_since_ms.set(now_ms);
            }
            shared.settled.set(unsent == 0);
        }
        self.unsent = unsent;
    }

    /// When the connection is overdue: a header block that does not end, nothing asked for after the
    /// preface, idle for too long, nothing taken of the last answer. `None` when its listener is gone.
    fn due_ms(&self, engine: &Connection) -> Option<u64> {
        let shared = &*self.shared;
        let worker = &self.conn.worker;
        let view = worker.view();
        let plan = view
            .snapshot
            .listeners
            .get(usize::from(shared.listener.0))?;
        let block_ms = match engine.block_since_ms() {
            Some(since) => since + plan.head_timeout_ms,
            None => u64::MAX,
        };
        let wait_ms = match (shared.active.get(), shared.requests.get()) {
            (1.., _) => u64::MAX,
            // Who has just come has been told to go, and that it may ask elsewhere.
            (0, 0) if !engine.has_settings() && worker.is_leaving(shared.listener) => {
                plan.head_timeout_ms.min(FAREWELL_MS)
            }
            (0, 0) => plan.head_timeout_ms,
            (0, _) if !shared.settled.get() => plan.send_timeout_ms,
            (0, _) => plan.idle_timeout_ms,
        };
        let idle_ms = shared.quiet_since_ms.get().saturating_add(wait_ms);
        // Each stream ends by itself, with an answer, when its own time is over; this is the last of them.
        let drain_due_ms = worker.drain_due_ms().max(worker.tunnels_due_ms());
        let drain_due_ms = match shared.active.get() {
            0 => drain_due_ms,
            _ => drain_due_ms.saturating_add(STREAMS_END_MS),
        };
        Some(block_ms.min(idle_ms).min(drain_due_ms))
    }
}

/// A stream was opened: reads its head, and has it served by a task of its own.
fn open_stream(conn: &Rc<H2Conn>, shared: &Rc<Shared>, stream: StreamRef) {
    let worker = &conn.worker;
    let mut body = H2Body::new(conn.clone(), stream);
    let view = worker.view();
    let Some(plan) = view.snapshot.listeners.get(usize::from(shared.listener.0)) else {
        return;
    };
    let requests = shared.requests.get().saturating_add(1);
    shared.requests.set(requests);
    if requests >= plan.requests_max {
        conn.engine().drain();
    }
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(head)) = body.poll_head(&mut cx) else {
        return;
    };
    let mut ex = worker.take_exchange();
    let read = read_request(&mut ex, &worker.bufs, &head, &plan.head_limits);
    body.give_head(head);
    let stream = StreamOf::new(conn.clone(), shared.clone());
    tokio::task::spawn_local(serve_stream(stream, view, body, ex, read, requests));
}

/// A stream that is being served; counted while it is.
struct StreamOf {
    conn: Rc<H2Conn>,
    shared: Rc<Shared>,
}

impl StreamOf {
    fn new(conn: Rc<H2Conn>, shared: Rc<Shared>) -> StreamOf {
        shared.active.set(shared.active.get() + 1);
        shared.settled.set(false);
        StreamOf { conn, shared }
    }
}

impl Drop for StreamOf {
    fn drop(&mut self) {
        let active = self.shared.active.get().saturating_sub(1);
        self.shared.active.set(active);
        if active == 0 {
            self.shared.quiet_since_ms.set(self.conn.now_ms());
            self.conn.wake_io();
        }
    }
}

/// One stream: a request and its answer.
async fn serve_stream(
    stream: StreamOf,
    view: Rc<View>,
    body: H2Body,
    mut ex: Box<Exchange>,
    read: Result<RequestFraming, HeadFault>,
    requests: u32,
) {
    let shared = &*stream.shared;
    let worker = &stream.conn.worker;
    let mut client = Client::of_stream(worker, shared, body);
    client.requests = requests;
    let plan = view.snapshot.listeners.get(usize::from(shared.listener.0));
    // Reset before anybody looked at it: no server hears of it.
    if !is_gone(&mut client.io)
        && let Some(plan) = plan
    {
        let (client, ex) = (&mut client, &mut *ex);
        let next = match read {
            Ok(framing) => {
                ex.framing = framing;
                exchange_stream(worker, &view, plan, client, ex).await
            }
            Err(fault) => refuse(worker, &view, plan, client, ex, Kind::BadHead(fault)).await,
        };
        settle(&mut client.io, next);
    }
    worker.bufs.give(&mut client.input);
    worker.give_exchange(ex);
}

fn is_gone(io: &mut Io) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    io.h2().is_some_and(|body| body.poll_gone(&mut cx).is_err())
}

/// Ends what the driver left open of a stream.
fn settle(io: &mut Io, next: Next) {
    let Some(body) = io.h2() else {
        return;
    };
    match next {
        Next::Reset => body.reset(ErrorCode::INTERNAL_ERROR),
        Next::Malformed => body.reset(ErrorCode::PROTOCOL_ERROR),
        // Whatever was not said by now will not be.
        _ if !body.has_ended() => body.reset(ErrorCode::CANCEL),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection takes while nothing runs on it, but for TLS, the tables of HPACK and the socket.
    #[test]
    fn an_idle_connection_is_small() {
        fn future<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
            size_of::<F>()
        }
        let all = size_of::<H2Conn>()
            + size_of::<Shared>()
            + future(|worker: &'static Rc<Worker>, (shared, stream, early)| {
                serve_h2(worker, shared, stream, early)
            })
            + future(|worker, (client, held)| crate::session::serve(worker, client, held));
        assert!(all <= 2560, "{all}");
    }
}
