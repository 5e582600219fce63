//! A connection of HTTP/2: the engine, which its task and its streams share, and the socket below it.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use keel_http2::{Connection, Event, H2Abuse, StreamRef};
use keel_net::MEDIUM;
use keel_tls::Stream;
use tokio::io::AsyncWrite;

use crate::worker::Worker;

/// What is read at a time when much comes.
const READ_BYTES_MAX: usize = 4 * MEDIUM;

/// Writes at a time; then others have their turn.
const WRITES_MAX: usize = 8;

/// The engine of one connection, as its task and its streams hold it.
pub struct H2Conn {
    pub(super) engine: RefCell<Connection>,
    pub(super) worker: Rc<Worker>,
    /// The task of the connection.
    io: RefCell<Option<Waker>>,
}

impl fmt::Debug for H2Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Conn").finish_non_exhaustive()
    }
}

impl H2Conn {
    /// A connection that begins.
    pub fn new(worker: Rc<Worker>, engine: Connection) -> Rc<H2Conn> {
        Rc::new(H2Conn {
            engine: RefCell::new(engine),
            worker,
            io: RefCell::default(),
        })
    }

    /// The engine, for one call: nobody else has it meanwhile.
    #[inline]
    pub fn engine(&self) -> RefMut<'_, Connection> {
        self.engine.borrow_mut()
    }

    /// The task of the connection is woken when there is something for it to do. To be called at each of its polls.
    pub fn watch(&self, cx: &Context<'_>) {
        self.engine().set_io_waker(cx.waker());
        let mut io = self.io.borrow_mut();
        match &mut *io {
            Some(io) => io.clone_from(cx.waker()),
            None => *io = Some(cx.waker().clone()),
        }
    }

    /// Has the task of the connection look at it.
    pub fn wake_io(&self) {
        if let Some(io) = &*self.io.borrow() {
            io.wake_by_ref();
        }
    }

    /// Now, in milliseconds of the worker's clock.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        self.worker.clock.now_ms()
    }

    /// Takes bytes of the peer; streams that it opened are told of in between.
    pub(super) fn feed(
        &self,
        mut bytes: &[u8],
        mut opened: impl FnMut(StreamRef),
    ) -> Result<(), H2Abuse> {
        let now_ms = self.now_ms();
        while !bytes.is_empty() {
            let event = self.engine().receive(&mut bytes, now_ms)?;
            if let Some(Event::Opened(stream)) = event {
                opened(stream);
            }
        }
        Ok(())
    }
}

/// What came of reading.
#[derive(Debug)]
pub(super) enum Came {
    /// Bytes, which the engine has taken.
    Bytes,
    /// The peer's end, or the socket is broken.
    End,
    /// Something for which the connection has to end.
    Abuse(H2Abuse),
}

/// The socket of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// What is read at a time.
    read_bytes: usize,
}

impl Wire {
    /// A connection on which the first bytes are about to go.
    pub(super) fn new(stream: Stream) -> Wire {
        Wire {
            stream,
            read_bytes: MEDIUM,
        }
    }

    /// Writes what waits; ready when nothing does.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        conn: &H2Conn,
    ) -> Poll<io::Result<()>> {
        let mut engine = conn.engine();
        for _ in 0..WRITES_MAX {
            if engine.out().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let stream = Pin::new(&mut self.stream);
            match ready!(stream.poll_write(cx, engine.offer()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => engine.written(n),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once. The memory for it is lent only for as long as that takes.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        conn: &H2Conn,
        opened: impl FnMut(StreamRef),
    ) -> Poll<Came> {
        let bufs = &conn.worker.bufs;
        let mut buf = bufs.take(self.read_bytes);
        let read = keel_net::poll_read(&mut self.stream, cx, &mut buf);
        let came = match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(n)) if n > 0 => {
                if n >= self.read_bytes {
                    self.read_bytes = READ_BYTES_MAX;
                } else if n < MEDIUM {
                    self.read_bytes = MEDIUM;
                }
                Poll::Ready(match conn.feed(buf.filled(), opened) {
                    Ok(()) => Came::Bytes,
                    Err(abuse) => Came::Abuse(abuse),
                })
            }
            Poll::Ready(_) => Poll::Ready(Came::End),
        };
        bufs.give(&mut buf);
        came
    }

    /// Says our end.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Reads once and forgets what came; false at the peer's end.
    pub(super) fn poll_forget(&mut self, cx: &mut Context<'_>, conn: &H2Conn) -> Poll<bool> {
        let bufs = &conn.worker.bufs;
        let mut buf = bufs.take(MEDIUM);
        let read = keel_net::poll_read(&mut self.stream, cx, &mut buf);
        bufs.give(&mut buf);
        read.map(|read| matches!(read, Ok(n) if n > 0))
    }
}
