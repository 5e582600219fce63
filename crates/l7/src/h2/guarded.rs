//! The bytes of an HTTP/2 connection under watch: frames that cost us more than they cost their
//! sender are counted before the library sees them.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use keel_http::{FrameMeter, H2Abuse};
use keel_net::Buf;
use keel_tls::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbox::Inbox;
use crate::worker::Worker;

/// What is read at a time while many frames wait: some 50 of the shortest with something in them.
const READ_BYTES_WHEN_BUSY: usize = 512;

/// How long we read on after our own end, in milliseconds, in all.
const LINGER_MS: u64 = 30_000;

/// The same, without a byte.
const LINGER_IDLE_MS: u64 = 2_000;

/// What is known of the frames of a connection, for its task and its streams.
#[derive(Debug)]
pub struct Watch {
    meter: RefCell<FrameMeter>,
    /// Found by the library, not by the meter.
    fault: Cell<Option<H2Abuse>>,
    /// The streams that receive bodies.
    inboxes: RefCell<Vec<Rc<Inbox>>>,
    /// Who reads on when enough was taken of what came.
    reader: RefCell<Option<Waker>>,
    /// Until when the client's last bytes are read and forgotten, in milliseconds; set once we have said our end.
    linger_due_ms: Cell<Option<u64>>,
}

impl Watch {
    /// What the connection has to end for.
    pub fn abuse(&self) -> Option<H2Abuse> {
        self.meter.borrow().verdict().or(self.fault.get())
    }

    /// The library ended the connection for what the client did.
    pub fn set_fault(&self, fault: H2Abuse) {
        self.fault.set(Some(fault));
    }

    /// When the wait for the client's end is over, in milliseconds of the worker's clock; for ever before our own end.
    pub fn linger_due_ms(&self) -> u64 {
        self.linger_due_ms.get().unwrap_or(u64::MAX)
    }

    /// Since when a header block is unfinished, in milliseconds of the worker's clock.
    pub fn block_since_ms(&self) -> Option<u64> {
        self.meter.borrow().header_block_since_ms()
    }

    /// A stream with a body is there.
    pub fn add(&self, inbox: Rc<Inbox>) {
        self.inboxes.borrow_mut().push(inbox);
        // What came before may have filled the connection up.
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    /// Nobody reads the stream any more.
    pub fn remove(&self, stream: u32) {
        self.inboxes.borrow_mut().retain(|it| it.stream() != stream);
        self.meter.borrow_mut().stream_over(stream);
        self.wake();
    }

    /// Frames of DATA of the stream were taken from the library.
    pub fn data_taken(&self, stream: u32, frames: u32) {
        self.meter.borrow_mut().data_taken(stream, frames);
        self.wake();
    }

    /// Takes what has come from the library when it is so much that nothing more is read. To be
    /// called when nothing of the connection is being polled.
    pub fn relieve(&self) {
        if !self.meter.borrow().is_full() {
            return;
        }
        for inbox in self.inboxes.borrow().iter() {
            let frames = inbox.pack();
            let mut meter = self.meter.borrow_mut();
            meter.data_taken(inbox.stream(), frames);
        }
        self.wake();
    }

    /// Whether the trailers of the stream have what the library dropped.
    pub fn has_malformed_trailers(&self, stream: u32) -> bool {
        self.meter.borrow().has_malformed_trailers(stream)
    }

    fn wake(&self) {
        let full = self.meter.borrow().is_full();
        let waiting = self.reader.borrow_mut().take_if(|_| !full);
        if let Some(reader) = waiting {
            reader.wake();
        }
    }
}

/// A client's connection as the HTTP/2 library reads it.
pub struct Guarded {
    stream: Stream,
    /// What was read before it was known that this is HTTP/2.
    early: Buf,
    watch: Rc<Watch>,
    worker: Rc<Worker>,
    /// When lingering is over whatever comes.
    linger_end_ms: u64,
}

impl Guarded {
    /// A connection of which `early` has been read already.
    pub fn new(worker: Rc<Worker>, stream: Stream, early: Buf, meter: FrameMeter) -> Guarded {
        Guarded {
            stream,
            early,
            watch: Rc::new(Watch {
                meter: RefCell::new(meter),
                fault: Cell::new(None),
                inboxes: RefCell::default(),
                reader: RefCell::new(None),
                linger_due_ms: Cell::new(None),
            }),
            worker,
            linger_end_ms: u64::MAX,
        }
    }

    /// What is seen of it.
    pub fn watch(&self) -> Rc<Watch> {
        self.watch.clone()
    }

    /// Reads and forgets until the client ends too. A socket that is closed with its frames unread, and a client that takes
    /// an answer sends WINDOW_UPDATE, is reset, and the rest of the answer is lost with that.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; READ_BYTES_WHEN_BUSY];
        loop {
            let now_ms = self.worker.clock.now_ms();
            if self.watch.abuse().is_some() || now_ms >= self.watch.linger_due_ms() {
                return Poll::Ready(());
            }
            let mut room = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room));
            if read.is_err() || room.filled().is_empty() {
                return Poll::Ready(());
            }
            self.await_end(now_ms);
        }
    }

    fn await_end(&self, now_ms: u64) {
        let due_ms = (now_ms + LINGER_IDLE_MS).min(self.linger_end_ms);
        self.watch.linger_due_ms.set(Some(due_ms));
    }

    /// Judges what was read; false when nothing more may be.
    fn judge(&self, bytes: &[u8]) -> bool {
        let now_ms = self.worker.clock.now_ms();
        self.watch.meter.borrow_mut().feed(bytes, now_ms).is_ok()
    }

    /// Judges what the client made us send. What is found is seen where the connection is.
    fn judge_sent(&self, bytes: &[u8]) {
        let now_ms = self.worker.clock.now_ms();
        let _ = self.watch.meter.borrow_mut().feed_sent(bytes, now_ms);
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.abuse().is_some() {
            return Poll::Pending;
        }
        if this.watch.meter.borrow().is_full() {
            *this.watch.reader.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.early.is_empty() && this.watch.meter.borrow().is_busy() {
            let mut few = [0; READ_BYTES_WHEN_BUSY];
            let room = few.get_mut(..buf.remaining().min(READ_BYTES_WHEN_BUSY));
            let mut room = ReadBuf::new(room.unwrap_or_default());
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut room))?;
            buf.put_slice(room.filled());
        } else if this.early.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let n = this.early.len().min(buf.remaining());
            buf.put_slice(this.early.filled().get(..n).unwrap_or(&[]));
            this.early.consume(n);
            if this.early.is_empty() {
                this.worker.bufs.give(&mut this.early);
            }
        }
        let read = buf.filled().get(before..).unwrap_or(&[]);
        if this.judge(read) {
            return Poll::Ready(Ok(()));
        }
        buf.set_filled(before);
        // The task looks at the watch when it has been polled; nothing will wake it for a read.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.judge_sent(buf.get(..n).unwrap_or(&[]));
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        let mut left = n;
        for part in bufs {
            let of_part = left.min(part.len());
            this.judge_sent(part.get(..of_part).unwrap_or(&[]));
            left -= of_part;
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.linger_due_ms.get().is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            let now_ms = this.worker.clock.now_ms();
            this.linger_end_ms = (now_ms + LINGER_MS).min(this.worker.drain_due_ms());
            this.await_end(now_ms);
        }
        this.poll_linger(cx).map(Ok)
    }
}
