//! A client: its HTTP/1 connection with what lasts from request to request, or one stream of its
//! HTTP/2 connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keel_http::{HeadFault, HeadScan, HeadStatus, RequestHead};
use keel_net::{Buf, BufPool, Deadline, MEDIUM, SMALL, TINY};
use keel_tls::{Stream, TlsFacts};
use keel_types::ListenerId;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::h2::{H2Body, Shared};
use crate::io::Io;
use crate::relay::Source;
use crate::snapshot::ListenerPlan;
use crate::worker::Worker;

/// One client connection, or one stream of HTTP/2.
pub struct Client {
    /// What requests come out of and answers go into.
    pub io: Io,
    /// The far end.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// The far end's IP address as text, which most requests write twice.
    pub peer_text: Rc<str>,
    /// What is known of the TLS session.
    pub tls: Option<Rc<TlsFacts>>,
    /// The listener that took it.
    pub listener: ListenerId,
    /// Bytes read and not yet used.
    pub input: Buf,
    /// The one deadline of this connection.
    pub deadline: Deadline,
    /// How far the head in `input` has been looked at.
    pub scan: HeadScan,
    /// When the head must be complete, in milliseconds of the worker's clock.
    pub head_due_ms: u64,
    /// Until when a client that has sent nothing yet is waited for at a drain, in milliseconds.
    welcome_until_ms: u64,
    /// Requests read so far.
    pub requests: u32,
    /// Number of the connection, unique in the process.
    pub number: u64,
    /// The client has closed its sending side.
    pub read_closed: bool,
    /// Size of reads that the last answer to this client reached; small until it was seen to keep up.
    pub read_size: usize,
}

/// How long a client that has just connected has for its first request when its listener goes or the
/// process drains, in milliseconds.
const WELCOME_MS: u64 = 1_000;

/// What became of reading a head.
#[derive(Debug)]
pub enum HeadRead {
    /// The head is complete; it is at the front of the input.
    Complete,
    /// What came is the preface of HTTP/2 with prior knowledge (RFC 9113, 3.3).
    Http2,
    /// Nothing happened for a while; wait in the memory-saving way.
    Quiet,
    /// The client closed between two requests, or the connection broke.
    Closed,
    /// The client closed within a head.
    Cut,
    /// The head did not come in time.
    TimedOut,
    /// The head is no good.
    Fault(HeadFault),
}

/// What the first bytes of a connection are, as far as HTTP/2 is concerned.
enum Preface {
    /// All of its preface.
    Whole,
    /// The beginning of it.
    Partial,
    /// Its first line, and something else behind it.
    Broken,
    /// Something else.
    Other,
}

/// RFC 9113, 3.4. Until its first lines are whole, a preface reads like a head that is not.
fn preface(bytes: &[u8]) -> Preface {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const LINES: usize = 18;

    if bytes.starts_with(PREFACE) {
        return Preface::Whole;
    }
    if PREFACE.starts_with(bytes) && !bytes.is_empty() {
        return Preface::Partial;
    }
    match bytes.get(..LINES) == PREFACE.get(..LINES) {
        true => Preface::Broken,
        false => Preface::Other,
    }
}

impl Client {
    /// A connection that was just accepted.
    pub fn new(
        worker: &Worker,
        stream: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        listener: ListenerId,
        plan: &ListenerPlan,
    ) -> Client {
        Client {
            tls: None,
            io: Io::Bytes(stream.into()),
            peer,
            peer_text: peer.ip().to_string().into(),
            local,
            listener,
            input: Buf::default(),
            deadline: worker.deadlines.add(),
            scan: HeadScan::new(),
            head_due_ms: worker.clock.now_ms() + plan.head_timeout_ms,
            welcome_until_ms: worker.clock.now_ms() + WELCOME_MS,
            requests: 0,
            number: worker.next_connection(),
            read_closed: false,
            read_size: TINY,
        }
    }

    /// The handshake is over: what goes on goes over `stream`, and the time for the first head begins.
    pub fn secure(&mut self, worker: &Worker, stream: Stream) {
        let view = worker.view();
        if let Some(plan) = view.snapshot.listeners.get(usize::from(self.listener.0)) {
            self.head_due_ms = worker.clock.now_ms() + plan.head_timeout_ms;
        }
        self.welcome_until_ms = worker.clock.now_ms() + WELCOME_MS;
        self.tls = stream.facts().map(|facts| Rc::new(facts.clone()));
        self.io = Io::Bytes(stream);
    }

    /// A stream that was just opened.
    pub fn of_stream(worker: &Worker, shared: &Shared, body: H2Body) -> Client {
        Client {
            io: Io::H2(body),
            peer: shared.peer,
            peer_text: shared.peer_text.clone(),
            tls: shared.tls.clone(),
            local: shared.local,
            listener: shared.listener,
            input: Buf::default(),
            deadline: worker.deadlines.add(),
            scan: HeadScan::new(),
            head_due_ms: u64::MAX,
            welcome_until_ms: 0,
            requests: 0,
            number: shared.number,
            read_closed: false,
            // The window keeps an answer from piling up for a slow reader.
            read_size: MEDIUM,
        }
    }

    /// When the connection is to be closed because of the drain or because its listener is gone, in
    /// milliseconds: at once when nothing of a request has come in and nobody serves in our place. A client that has just
    /// connected has a moment for its first request, which it could not know to send elsewhere.
    pub fn leaves_at_ms(&self, worker: &Worker) -> u64 {
        match self.requests {
            _ if !self.input.is_empty() || !worker.is_leaving(self.listener) => u64::MAX,
            0 => self.welcome_until_ms,
            _ if worker.drain.is_draining() => worker.quiet_due_ms(),
            _ => 0,
        }
    }

    /// Reads until a head is complete, or `quiet_at_ms` has come and nothing more has.
    ///
    /// Cancel-safe: what was read is in the input.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        plan: &ListenerPlan,
        head: &mut RequestHead,
        quiet_at_ms: u64,
    ) -> Poll<HeadRead> {
        loop {
            let mut may_be_head = true;
            if self.requests == 0 && plan.http2.is_some() {
                match preface(self.input.filled()) {
                    Preface::Whole => return Poll::Ready(HeadRead::Http2),
                    Preface::Broken => return Poll::Ready(HeadRead::Cut),
                    Preface::Partial => may_be_head = false,
                    Preface::Other => {}
                }
            }
            if may_be_head && self.scan.ready(self.input.filled()) {
                match head.parse(self.input.filled(), &plan.head_limits) {
                    Ok(HeadStatus::Complete) => return Poll::Ready(HeadRead::Complete),
                    Ok(HeadStatus::Partial) => {}
                    Err(fault) => return Poll::Ready(HeadRead::Fault(fault)),
                }
            }
            if self.read_closed {
                let closed = if self.input.is_empty() {
                    HeadRead::Closed
                } else {
                    HeadRead::Cut
                };
                return Poll::Ready(closed);
            }
            if self.input.len() > plan.head_limits.head_bytes_max {
                return Poll::Ready(HeadRead::Fault(HeadFault::HeadTooLong));
            }
            match self.poll_more(cx, worker, plan) {
                Poll::Ready(Ok(0)) => self.read_closed = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(HeadRead::Closed),
                Poll::Pending => return self.poll_waiting(cx, worker, quiet_at_ms),
            }
        }
    }

    /// Reads once, into as small a buffer as will do.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        plan: &ListenerPlan,
    ) -> Poll<io::Result<usize>> {
        if self.input.is_unset() {
            self.input = worker.bufs.take(SMALL);
        } else {
            self.input.compact();
            if self.input.space().is_empty() {
                // The parser refuses a head over the limit, so this grows to twice that at most.
                let capacity = self.input.capacity();
                let size = (capacity * 4).min(2 * plan.head_limits.head_bytes_max);
                worker.bufs.resize(&mut self.input, size.max(capacity + 1));
            }
        }
        let was_empty = self.input.is_empty();
        let read = self.io.poll_read(cx, &mut self.input);
        match &read {
            Poll::Ready(Ok(n)) if *n > 0 && was_empty => {
                if self.requests > 0 {
                    self.head_due_ms = worker.clock.now_ms() + plan.head_timeout_ms;
                }
            }
            Poll::Ready(Ok(_)) => {}
            _ => worker.bufs.shrink(&mut self.input),
        }
        read
    }

    fn poll_waiting(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        quiet_at_ms: u64,
    ) -> Poll<HeadRead> {
        let now = worker.clock.now_ms();
        let leaves_at_ms = self.leaves_at_ms(worker);
        if now >= leaves_at_ms {
            return Poll::Ready(HeadRead::Closed);
        }
        if !self.input.is_empty() && now >= self.head_due_ms {
            return Poll::Ready(HeadRead::TimedOut);
        }
        if now >= quiet_at_ms {
            return Poll::Ready(HeadRead::Quiet);
        }
        self.deadline.set(quiet_at_ms.min(leaves_at_ms));
        let _ = self.deadline.poll_fired(cx);
        Poll::Pending
    }

    /// Takes what is already here of a stream's body, as far as a small buffer has room: most requests
    /// with a body come with all of it.
    pub fn read_ready(&mut self, bufs: &BufPool) {
        let mut cx = Context::from_waker(Waker::noop());
        if self.input.is_unset() {
            self.input = bufs.take(SMALL);
        }
        while !self.input.space().is_empty() {
            match self.io.poll_read(&mut cx, &mut self.input) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                // The relay asks again, with a waker, and is told the same.
                _ => break,
            }
        }
        if self.input.is_empty() {
            bufs.give(&mut self.input);
        }
    }

    /// Ready when bytes are here, or the end.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.io {
            Io::Bytes(stream) => stream.poll_read_ready(cx).map(drop),
            Io::H2(_) | Io::Away => Poll::Pending,
        }
    }

    /// Says the end in TLS, as far as that goes without waiting.
    pub fn say_end(&mut self) {
        if let Io::Bytes(stream) = &mut self.io
            && stream.is_tls()
        {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(stream).poll_shutdown(&mut cx);
        }
    }

    /// Watches the client while it has nothing to send that we wait for: takes what it sends ahead
    /// (pipelining), notes that it closed its sending side, and fails when it is gone.
    pub fn poll_watch(&mut self, cx: &mut Context<'_>, worker: &Worker) -> io::Result<()> {
        let stream = match &mut self.io {
            // Of a stream every wait sees by itself that it was given up.
            Io::H2(_) | Io::Away => return Ok(()),
            Io::Bytes(stream) => stream,
        };
        if self.read_closed {
            return Ok(());
        }
        if self.input.is_unset() {
            match stream.poll_read_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ready) => ready?,
            }
            self.input = worker.bufs.take(SMALL);
        }
        // Until the buffer is full; behind that, only writing to the client tells that it is gone.
        while !self.input.space().is_empty() {
            match keel_net::poll_read(stream, cx, &mut self.input) {
                Poll::Ready(Ok(0)) => {
                    self.read_closed = true;
                    break;
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    worker.bufs.give(&mut self.input);
                    return Err(error);
                }
                Poll::Pending => break,
            }
        }
        if self.input.is_empty() {
            worker.bufs.give(&mut self.input);
        }
        Ok(())
    }

    /// Closes our sending side and reads on for a moment, so that what we sent last is not lost to
    /// a reset because the client had more to say (RFC 9112, 9.6).
    pub async fn linger(&mut self, worker: &Worker) {
        /// How long in all, in milliseconds.
        const LINGER_MS: u64 = 30_000;
        /// How long without a byte, in milliseconds.
        const LINGER_IDLE_MS: u64 = 2_000;
        /// The same, for saying the end.
        const LINGER_IDLE: Duration = Duration::from_millis(LINGER_IDLE_MS);

        let Io::Bytes(stream) = &mut self.io else {
            return;
        };
        let shut = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx));
        if tokio::time::timeout(LINGER_IDLE, shut).await.is_err() || self.read_closed {
            return;
        }
        let end_ms = (worker.clock.tick() / 1000 + LINGER_MS).min(worker.drain_due_ms());
        let mut due_ms = worker.clock.now_ms() + LINGER_IDLE_MS;
        worker.bufs.give(&mut self.input);
        std::future::poll_fn(|cx| {
            loop {
                let now_ms = worker.clock.now_ms();
                if now_ms >= due_ms.min(end_ms) {
                    return Poll::Ready(());
                }
                let mut scratch = worker.bufs.take(MEDIUM);
                let read = keel_net::poll_read(stream, cx, &mut scratch);
                worker.bufs.give(&mut scratch);
                match read {
                    Poll::Ready(Ok(n)) if n > 0 => due_ms = now_ms + LINGER_IDLE_MS,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => {
                        self.deadline.set(due_ms.min(end_ms));
                        let _ = self.deadline.poll_fired(cx);
                        return Poll::Pending;
                    }
                }
            }
        })
        .await;
    }
}
