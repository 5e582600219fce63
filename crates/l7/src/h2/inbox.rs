//! What a stream receives.
//!
//! The library keeps each frame of DATA by itself, at some 300 bytes beyond its content: a window full of tiny
//! frames would take a hundred times what it says. So when many frames of a connection wait, their contents are
//! packed together here. The window is not given back by that, so that it bounds what is packed.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;

use super::guarded::Watch;

/// The receiving half of a stream on which a client sends more than a head.
#[derive(Debug)]
pub struct Inbox {
    stream: u32,
    recv: RefCell<RecvStream>,
    packed: RefCell<BytesMut>,
    /// Who waits for more.
    reader: RefCell<Option<Waker>>,
}

impl Inbox {
    /// The stream's number.
    pub fn stream(&self) -> u32 {
        self.stream
    }

    /// Takes what has come from the library; gives how many frames that were.
    pub fn pack(&self) -> u32 {
        let mut frames = 0;
        let mut recv = self.recv.borrow_mut();
        let mut packed = self.packed.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        // The end, trailers and errors stay there and are told again.
        while let Poll::Ready(Some(Ok(data))) = recv.poll_data(&mut cx) {
            packed.extend_from_slice(&data);
            frames += 1;
        }
        // The library knows only whom asked last.
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
        frames
    }
}

/// The receiving half of any stream.
#[derive(Debug)]
pub enum Received {
    /// Of a server, or of a request that was whole with its head.
    Plain(RecvStream),
    /// Of a client that sends more.
    Watched(Rc<Inbox>, Rc<Watch>),
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Received::Watched(inbox, watch) = self {
            watch.remove(inbox.stream);
        }
    }
}

impl Received {
    /// What comes on a stream that a client opened.
    pub fn of_client(stream: u32, recv: RecvStream, watch: Rc<Watch>) -> Received {
        if recv.is_end_stream() {
            return Received::Plain(recv);
        }
        let inbox = Rc::new(Inbox {
            stream,
            recv: RefCell::new(recv),
            packed: RefCell::default(),
            reader: RefCell::default(),
        });
        watch.add(inbox.clone());
        Received::Watched(inbox, watch)
    }

    /// The next part of the body; none at its end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let (inbox, watch) = match self {
            Received::Plain(recv) => return recv.poll_data(cx),
            Received::Watched(inbox, watch) => (inbox, watch),
        };
        let packed = std::mem::take(&mut *inbox.packed.borrow_mut());
        if !packed.is_empty() {
            return Poll::Ready(Some(Ok(packed.freeze())));
        }
        let polled = inbox.recv.borrow_mut().poll_data(cx);
        match &polled {
            Poll::Pending => *inbox.reader.borrow_mut() = Some(cx.waker().clone()),
            Poll::Ready(Some(Ok(_))) => watch.data_taken(inbox.stream, 1),
            Poll::Ready(_) => {}
        }
        polled
    }

    /// The field lines behind the body. `Err(None)` when they are malformed in a way that the
    /// library does not tell.
    pub fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, Option<h2::Error>>> {
        let (inbox, watch) = match self {
            Received::Plain(recv) => return recv.poll_trailers(cx).map_err(Some),
            Received::Watched(inbox, watch) => (inbox, watch),
        };
        let trailers = ready!(inbox.recv.borrow_mut().poll_trailers(cx));
        if trailers.is_ok() && watch.has_malformed_trailers(inbox.stream) {
            return Poll::Ready(Err(None));
        }
        Poll::Ready(trailers.map_err(Some))
    }

    /// The bytes have left our memory: the far end may send as many more.
    pub fn release(&mut self, bytes: usize) {
        // It fails for a stream that is over, which has no window.
        let _ = match self {
            Received::Plain(recv) => recv.flow_control().release_capacity(bytes),
            Received::Watched(inbox, _) => {
                let mut recv = inbox.recv.borrow_mut();
                recv.flow_control().release_capacity(bytes)
            }
        };
    }

    /// Whether all has been taken, and no trailers are to come.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Received::Plain(recv) => recv.is_end_stream(),
            Received::Watched(inbox, _) => {
                inbox.packed.borrow().is_empty() && inbox.recv.borrow().is_end_stream()
            }
        }
    }
}
