//! The HTTP/1 side of a client connection: reading heads, and what lasts from request to request.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use keel_http::{HeadFault, HeadScan, HeadStatus, RequestHead};
use keel_net::{Buf, Deadline, MEDIUM, SMALL, TINY, poll_read};
use keel_types::ListenerId;
use tokio::net::TcpStream;

use crate::snapshot::ListenerPlan;
use crate::worker::Worker;

/// One client connection.
pub struct Client {
    /// The stream.
    pub stream: TcpStream,
    /// The far end.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// The far end's IP address as text, which most requests write twice.
    pub peer_text: Box<str>,
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
    /// Requests read so far.
    pub requests: u32,
    /// Number of the connection, unique in the process.
    pub number: u64,
    /// The client has closed its sending side.
    pub read_closed: bool,
    /// Size of reads that the last answer to this client reached; small until it was seen to keep up.
    pub read_size: usize,
}

/// What became of reading a head.
#[derive(Debug)]
pub enum HeadRead {
    /// The head is complete; it is at the front of the input.
    Complete,
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
            stream,
            peer,
            peer_text: peer.ip().to_string().into(),
            local,
            listener,
            input: Buf::default(),
            deadline: worker.deadlines.add(),
            scan: HeadScan::new(),
            head_due_ms: worker.clock.now_ms() + plan.head_timeout_ms,
            requests: 0,
            number: worker.next_connection(),
            read_closed: false,
            read_size: TINY,
        }
    }

    /// Whether the worker should close this connection now because of the drain: nothing of a
    /// request has come in.
    pub fn may_close_for_drain(&self, worker: &Worker) -> bool {
        worker.drain.is_draining() && self.input.is_empty()
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
            if self.scan.ready(self.input.filled()) {
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
                Poll::Pending if self.may_close_for_drain(worker) => {
                    return Poll::Ready(HeadRead::Closed);
                }
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
        let read = poll_read(&mut self.stream, cx, &mut self.input);
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
        if !self.input.is_empty() && now >= self.head_due_ms {
            return Poll::Ready(HeadRead::TimedOut);
        }
        if now >= quiet_at_ms {
            return Poll::Ready(HeadRead::Quiet);
        }
        self.deadline.set(quiet_at_ms);
        let _ = self.deadline.poll_fired(cx);
        Poll::Pending
    }

    /// Watches the client while it has nothing to send that we wait for: takes what it sends ahead
    /// (pipelining), notes that it closed its sending side, and fails when it is gone.
    pub fn poll_watch(&mut self, cx: &mut Context<'_>, worker: &Worker) -> io::Result<()> {
        if self.read_closed {
            return Ok(());
        }
        if self.input.is_unset() {
            match self.stream.poll_read_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ready) => ready?,
            }
            self.input = worker.bufs.take(SMALL);
        }
        // Until the buffer is full; behind that, only writing to the client tells that it is gone.
        while !self.input.space().is_empty() {
            match poll_read(&mut self.stream, cx, &mut self.input) {
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

        let shut = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
        if shut.is_err() || self.read_closed {
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
                let read = poll_read(&mut self.stream, cx, &mut scratch);
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
