//! The socket below an engine of HTTP/2: bytes in, streams that were opened and bytes out.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use keel_http::H2Abuse;
use keel_http2::{Connection, Event, StreamRef};
use keel_net::{Buf, MEDIUM};
use keel_tls::Stream;
use tokio::io::AsyncWrite;

use crate::worker::Worker;

/// What is read at a time from a peer that has much to say.
const READ_BYTES_MAX: usize = 4 * MEDIUM;

/// Reads and writes at a time; then others have their turn.
const TURNS_MAX: usize = 8;

/// Why nothing more comes of a connection.
#[derive(Debug)]
pub enum PumpEnd {
    /// The peer said its end.
    Closed,
    /// The socket failed.
    Failed(io::Error),
    /// The peer did what ends a connection.
    Broken(H2Abuse),
}

/// Moves bytes between a socket and an engine.
#[derive(Debug)]
pub struct Pump {
    stream: Stream,
    /// What was read and not yet taken. It has memory only while it has bytes.
    input: Buf,
    /// What is read at a time.
    read_bytes: usize,
}

impl Pump {
    /// A pump for a socket of which `early` has been read already.
    pub fn new(stream: Stream, early: Buf) -> Pump {
        Pump {
            stream,
            input: early,
            read_bytes: MEDIUM,
        }
    }

    /// The socket.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Reads what has come, gives it to the engine, tells of the streams that it opens, and writes what there is to be
    /// written. Pending when nothing more can be done: the task is woken when something can, and when the engine has
    /// something to say. What the end means for the engine ([`Connection::lost`]) is the caller's to do, as is the last
    /// writing ([`Pump::poll_write`]).
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        engine: &RefCell<Connection>,
        mut opened: impl FnMut(StreamRef),
    ) -> Poll<PumpEnd> {
        let read = self.poll_read(cx, worker, engine, &mut opened);
        if self.input.is_empty() {
            worker.bufs.give(&mut self.input);
        }
        if let Poll::Ready(end) = read {
            return Poll::Ready(end);
        }
        if let Poll::Ready(Err(error)) = self.poll_write(cx, engine) {
            return Poll::Ready(PumpEnd::Failed(error));
        }
        let mut engine = engine.borrow_mut();
        engine.set_io_waker(cx.waker());
        if !self.input.is_empty() && engine.wants_bytes() {
            // What was written made room for what waits here.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        engine: &RefCell<Connection>,
        opened: &mut impl FnMut(StreamRef),
    ) -> Poll<PumpEnd> {
        for _ in 0..TURNS_MAX {
            if let Err(abuse) = self.feed(worker.clock.now_ms(), engine, opened) {
                return Poll::Ready(PumpEnd::Broken(abuse));
            }
            if !engine.borrow().wants_bytes() {
                return Poll::Pending;
            }
            if self.input.capacity() < self.read_bytes {
                worker.bufs.give(&mut self.input);
                self.input = worker.bufs.take(self.read_bytes);
            }
            let n = match ready!(keel_net::poll_read(&mut self.stream, cx, &mut self.input)) {
                Ok(0) => return Poll::Ready(PumpEnd::Closed),
                Ok(n) => n,
                Err(error) => return Poll::Ready(PumpEnd::Failed(error)),
            };
            self.read_bytes = match n {
                _ if self.input.space().is_empty() => READ_BYTES_MAX,
                _ if n < MEDIUM => MEDIUM,
                _ => self.read_bytes,
            };
        }
        // Fed at once: whoever looks at the engine next is to see it.
        if let Err(abuse) = self.feed(worker.clock.now_ms(), engine, opened) {
            return Poll::Ready(PumpEnd::Broken(abuse));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives the engine what was read, as far as it wants it.
    fn feed(
        &mut self,
        now_ms: u64,
        engine: &RefCell<Connection>,
        opened: &mut impl FnMut(StreamRef),
    ) -> Result<(), H2Abuse> {
        let mut bytes = self.input.filled();
        while !bytes.is_empty() && engine.borrow().wants_bytes() {
            let event = engine.borrow_mut().receive(&mut bytes, now_ms)?;
            match event {
                Some(Event::Opened(stream)) => opened(stream),
                None => break,
            }
        }
        let taken = self.input.len() - bytes.len();
        self.input.consume(taken);
        Ok(())
    }

    /// Writes what there is to be written; ready when nothing is left.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        engine: &RefCell<Connection>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURNS_MAX {
            let n = {
                let engine = engine.borrow();
                if engine.out().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                ready!(Pin::new(&mut self.stream).poll_write(cx, engine.out()))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            engine.borrow_mut().written(n);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
