//! The bytes of an HTTP/2 connection under watch: frames that cost us more than they cost their
//! sender are counted before the library sees them.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use keel_http::{FrameMeter, H2Abuse};
use keel_net::Buf;
use keel_tls::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::worker::Worker;

/// What the connection's task has to know of what was read.
#[derive(Debug, Default)]
pub struct Watch {
    /// The client overdid it; nothing more is read.
    pub abuse: Cell<Option<H2Abuse>>,
    /// Since when a header block is unfinished, in milliseconds of the worker's clock.
    pub block_since_ms: Cell<Option<u64>>,
}

/// A client's connection as the HTTP/2 library reads it.
pub struct Guarded {
    stream: Stream,
    /// What was read before it was known that this is HTTP/2.
    early: Buf,
    meter: FrameMeter,
    watch: Rc<Watch>,
    worker: Rc<Worker>,
}

impl Guarded {
    /// A connection of which `early` has been read already.
    pub fn new(worker: Rc<Worker>, stream: Stream, early: Buf, meter: FrameMeter) -> Guarded {
        Guarded {
            stream,
            early,
            meter,
            watch: Rc::default(),
            worker,
        }
    }

    /// What is seen of it.
    pub fn watch(&self) -> Rc<Watch> {
        self.watch.clone()
    }

    /// Judges what was read; false when nothing more may be.
    fn judge(&mut self, bytes: &[u8]) -> bool {
        let judged = self.meter.feed(bytes, self.worker.clock.now_ms());
        self.watch
            .block_since_ms
            .set(self.meter.header_block_since_ms());
        match judged {
            Ok(()) => true,
            Err(abuse) => {
                self.watch.abuse.set(Some(abuse));
                false
            }
        }
    }
}

impl Guarded {
    /// Judges what the client made us send.
    fn judge_sent(&mut self, bytes: &[u8]) {
        if let Err(abuse) = self.meter.feed_sent(bytes, self.worker.clock.now_ms()) {
            self.watch.abuse.set(Some(abuse));
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.abuse.get().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.early.is_empty() {
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
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
