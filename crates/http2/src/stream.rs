//! The streams of a connection: their states, in slots that are used again.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use crate::connection::{Head, StreamError, StreamRef};
use crate::priority::Priority;

/// Room for DATA that is kept when nothing is in it: for a frame of the usual length.
pub(crate) const KEPT_BYTES: usize = 16 << 10;

/// One direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Half {
    /// Its message has not ended.
    #[default]
    Open,
    /// Its message is whole.
    Ended,
    /// It was broken off.
    Gone,
}

/// One stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// 0 for a free slot.
    pub(crate) id: u32,
    /// Somebody holds it.
    pub(crate) held: bool,
    pub(crate) recv: Half,
    pub(crate) send: Half,
    /// Bytes that the peer may still send.
    pub(crate) recv_window: i64,
    /// Bytes that we may still send.
    pub(crate) send_window: i64,
    /// Bytes that were read and of which the peer has not been told.
    pub(crate) unreleased: u32,
    /// Bytes of content that content-length says are still to come.
    pub(crate) expected: Option<u64>,
    /// The answer has no content, whatever content-length says.
    pub(crate) head_only: bool,
    /// The final head came (of an answer; of a request it is what opened the stream).
    pub(crate) has_head: bool,
    /// A head came, of an interim answer or the final one.
    pub(crate) was_answered: bool,
    /// Where in all that we ever say its head begins; of a client's end.
    pub(crate) begins_at: u64,
    /// DATA that was not read; the first `read` bytes were.
    pub(crate) data: Vec<u8>,
    pub(crate) read: usize,
    /// The head that was not taken.
    pub(crate) head: Option<Head>,
    /// Those that came behind it.
    pub(crate) later: VecDeque<Head>,
    pub(crate) trailers: Vec<u8>,
    pub(crate) error: Option<StreamError>,
    pub(crate) priority: Priority,
    /// It stands in line to send.
    pub(crate) in_line: bool,
    /// It was told to send.
    pub(crate) granted: bool,
    pub(crate) receiver: Option<Waker>,
    pub(crate) sender: Option<Waker>,
}

impl Stream {
    /// Bytes that were not read.
    #[inline]
    pub(crate) fn unread(&self) -> usize {
        self.data.len() - self.read.min(self.data.len())
    }

    /// Takes in what came.
    pub(crate) fn take_data(&mut self, part: &[u8]) {
        // A reader that never quite catches up must not make it grow for ever.
        if self.read > 0 && self.read >= self.unread() {
            self.data.drain(..self.read);
            self.read = 0;
        }
        self.data.extend_from_slice(part);
        self.wake_receiver();
    }

    /// Whether no frame belongs to it any more.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.recv != Half::Open && self.send != Half::Open
    }

    /// Wakes who waits for what comes.
    #[inline]
    pub(crate) fn wake_receiver(&mut self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }

    /// Wakes who waits to send.
    #[inline]
    pub(crate) fn wake_sender(&mut self) {
        if let Some(waker) = self.sender.take() {
            waker.wake();
        }
    }

    /// Breaks off what has not ended, and says why. With `keeps` what came before can still be read. Gives how many bytes
    /// will never be read.
    pub(crate) fn fail(&mut self, error: StreamError, keeps: bool) -> usize {
        self.error.get_or_insert(error);
        if self.send == Half::Open {
            self.send = Half::Gone;
        }
        let mut lost = 0;
        if self.recv == Half::Open {
            self.recv = Half::Gone;
            if !keeps {
                lost = self.unread();
                self.data.clear();
                self.read = 0;
                self.head = None;
                self.later.clear();
            }
        }
        self.wake_receiver();
        self.wake_sender();
        lost
    }

    fn clear(&mut self) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        data.shrink_to(KEPT_BYTES);
        *self = Stream {
            data,
            ..Stream::default()
        };
    }
}

/// Remembers whom to wake; no count is touched when it is the same task as before.
#[inline]
pub(crate) fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// All streams of a connection.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Stream>,
    free: Vec<u32>,
    /// Number and slot of those that are not closed, in order.
    open: Vec<(u32, u32)>,
}

impl Streams {
    /// Streams that are not closed.
    #[inline]
    pub(crate) fn open_len(&self) -> usize {
        self.open.len()
    }

    /// Makes a stream whose number is above all others.
    pub(crate) fn add(&mut self, id: u32) -> StreamRef {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::default());
            self.slots.len() as u32 - 1
        });
        if let Some(stream) = self.slots.get_mut(slot as usize) {
            stream.id = id;
            stream.held = true;
        }
        debug_assert!(self.open.last().is_none_or(|last| last.0 < id), "in order");
        self.open.push((id, slot));
        StreamRef { slot, id }
    }

    /// A stream that is not closed, by its number.
    #[inline]
    pub(crate) fn find(&self, id: u32) -> Option<StreamRef> {
        let at = self.open.binary_search_by_key(&id, |it| it.0).ok()?;
        let (id, slot) = *self.open.get(at)?;
        Some(StreamRef { slot, id })
    }

    /// A stream, as long as somebody holds it or it is not closed.
    #[inline]
    pub(crate) fn get(&self, stream: StreamRef) -> Option<&Stream> {
        let found = self.slots.get(stream.slot as usize)?;
        (found.id == stream.id).then_some(found)
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, stream: StreamRef) -> Option<&mut Stream> {
        let found = self.slots.get_mut(stream.slot as usize)?;
        (found.id == stream.id).then_some(found)
    }

    /// The stream is closed: it counts no more, and its slot is free once nobody holds it.
    pub(crate) fn close(&mut self, stream: StreamRef) {
        if let Ok(at) = self.open.binary_search_by_key(&stream.id, |it| it.0) {
            self.open.remove(at);
        }
        self.free_unheld(stream);
    }

    /// Frees the slot when nobody holds the stream, which is closed.
    pub(crate) fn free_unheld(&mut self, stream: StreamRef) {
        if let Some(found) = self.get_mut(stream)
            && !found.held
        {
            found.clear();
            self.free.push(stream.slot);
        }
    }

    /// The streams that are not closed, from the place `at` on.
    #[inline]
    pub(crate) fn open_at(&self, at: usize) -> Option<StreamRef> {
        let (id, slot) = *self.open.get(at)?;
        Some(StreamRef { slot, id })
    }

    /// The last stream that is not closed.
    pub(crate) fn last_open(&self) -> Option<StreamRef> {
        let (id, slot) = *self.open.last()?;
        Some(StreamRef { slot, id })
    }

    /// Whether nothing is open and nobody holds anything.
    pub(crate) fn is_unused(&self) -> bool {
        self.open.is_empty() && self.free.len() == self.slots.len()
    }

    /// Gives memory back when nothing is used.
    pub(crate) fn trim(&mut self) {
        if self.is_unused() {
            *self = Streams::default();
        }
    }

    /// Bytes of memory that are held.
    pub(crate) fn held_bytes(&self) -> usize {
        let data = self.slots.iter().map(|it| it.data.capacity());
        self.slots.capacity() * size_of::<Stream>()
            + (self.open.capacity() * 2 + self.free.capacity()) * size_of::<u32>()
            + data.sum::<usize>()
    }
}
