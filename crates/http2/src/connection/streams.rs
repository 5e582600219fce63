//! Streams from their first header block to their end, and what is received on them.

use std::task::{Context, Poll};

use keel_http::trailer_lines;

use super::receive::Block;
use super::{Connection, Event, Head, StreamRef};
use crate::frame::{self, HEADERS, WINDOW_DEFAULT};
use crate::priority::{Priority, read_priority};
use crate::stream::{Half, KEPT_BYTES, remember};
use crate::{ErrorCode, FieldList, H2Abuse, StreamError};

/// Heads of interim answers that wait to be taken.
const HEADS_WAITING_MAX: usize = 32;
/// Bytes of those, as RFC 9113, 6.5.2 counts them, from which on no further one is taken.
const HEADS_WAITING_BYTES_MAX: usize = 32 << 10;

impl Connection {
    /// A header block is whole.
    pub(super) fn block(
        &mut self,
        block: Block,
        text: &[u8],
        now_ms: u64,
    ) -> Result<Option<Event>, H2Abuse> {
        let mut fields = self.spare_fields.pop().unwrap_or_default();
        let max = self.config.header_list_bytes_max as usize;
        let decoded = self.decoder.decode(text, max, &mut fields);
        decoded.map_err(|_| H2Abuse::Compression)?;
        let id = block.stream;
        if self.as_server && id > self.last_stream && id % 2 == 1 {
            return self.opened(block, fields, now_ms);
        }
        match self.streams.find(id) {
            Some(stream) if block.on_itself => {
                self.give_fields(fields);
                self.refuse(stream.id, ErrorCode::PROTOCOL_ERROR, now_ms)?;
            }
            Some(stream) => self.more_fields(stream, block, fields, now_ms)?,
            None => {
                self.give_fields(fields);
                self.closed_stream(id, HEADERS, block.ended, now_ms)?;
            }
        }
        Ok(None)
    }

    /// A client opens a stream.
    fn opened(
        &mut self,
        block: Block,
        fields: FieldList,
        now_ms: u64,
    ) -> Result<Option<Event>, H2Abuse> {
        let id = block.stream;
        if self.is_beyond(id) {
            self.give_fields(fields);
            self.guard.reset(ErrorCode::STREAM_CLOSED.0, true, now_ms)?;
            return Ok(None);
        }
        let last = std::mem::replace(&mut self.last_stream, id);
        self.opened += 1;
        self.guard.opened(id, last, block.ended, now_ms);
        let full = self.streams.open_len() >= self.config.streams_max as usize;
        if full || block.on_itself {
            self.give_fields(fields);
            if !block.ended {
                self.late.gave_up(id);
            }
            let code = match full {
                true => ErrorCode::REFUSED_STREAM,
                false => ErrorCode::PROTOCOL_ERROR,
            };
            self.refuse(id, code, now_ms)?;
            return Ok(None);
        }
        let (expected, priority) = told_of_body(&fields);
        let stream = self.add_stream(id);
        if let Some(found) = self.streams.get_mut(stream) {
            found.has_head = true;
            found.expected = expected;
            found.priority = priority.unwrap_or_default();
            found.recv = if block.ended { Half::Ended } else { Half::Open };
            found.head = Some(Head {
                fields,
                ended: block.ended,
            });
        }
        Ok(Some(Event::Opened(stream)))
    }

    /// Takes a number for a stream.
    pub(super) fn add_stream(&mut self, id: u32) -> StreamRef {
        let mut recv_window = self.config.stream_window_bytes;
        if !self.settings_acked {
            // Until it has read our SETTINGS the peer goes by the default.
            recv_window = recv_window.max(WINDOW_DEFAULT);
        }
        let send_window = self.peer.stream_window;
        let stream = self.streams.add(id);
        if let Some(found) = self.streams.get_mut(stream) {
            found.recv_window = i64::from(recv_window);
            found.send_window = i64::from(send_window);
        }
        stream
    }

    /// A header block on a stream that is not closed: the head of an answer, or trailers.
    fn more_fields(
        &mut self,
        stream: StreamRef,
        block: Block,
        fields: FieldList,
        now_ms: u64,
    ) -> Result<(), H2Abuse> {
        let Some(found) = self.streams.get_mut(stream) else {
            return Ok(());
        };
        if found.recv != Half::Open {
            return Err(H2Abuse::ClosedStream);
        }
        if found.has_head {
            return self.trailers(stream, block, fields, now_ms);
        }
        let interim = is_interim(&fields);
        let waiting = found.later.len();
        let held = found.head.iter().chain(&found.later);
        let held: usize = held.map(|it| it.fields.listed_bytes()).sum();
        let too_many = waiting >= HEADS_WAITING_MAX || held > HEADS_WAITING_BYTES_MAX;
        if interim && (block.ended || too_many) {
            self.give_fields(fields);
            return self.refuse(stream.id, ErrorCode::PROTOCOL_ERROR, now_ms);
        }
        found.was_answered = true;
        if !interim {
            found.has_head = true;
            found.expected = match found.head_only || is_bodiless(&fields) {
                true => Some(0),
                false => told_of_body(&fields).0,
            };
        }
        // What its content-length says is of another answer then.
        let head = Head {
            fields,
            ended: block.ended,
        };
        if found.head.is_none() {
            found.head = Some(head);
        } else {
            found.later.push_back(head);
        }
        found.wake_receiver();
        if block.ended {
            // Whether its length fits is for who reads the head to say.
            found.expected = None;
            self.peer_ended(stream, now_ms)?;
        }
        Ok(())
    }

    fn trailers(
        &mut self,
        stream: StreamRef,
        block: Block,
        fields: FieldList,
        now_ms: u64,
    ) -> Result<(), H2Abuse> {
        let mut lines = Vec::new();
        let sound =
            block.ended && !fields.is_over() && trailer_lines(fields.iter(), &mut lines).is_ok();
        self.give_fields(fields);
        if !sound {
            return self.refuse(stream.id, ErrorCode::PROTOCOL_ERROR, now_ms);
        }
        if let Some(found) = self.streams.get_mut(stream) {
            found.trailers = lines;
        }
        self.peer_ended(stream, now_ms)
    }

    /// The peer's message on the stream is whole.
    pub(super) fn peer_ended(&mut self, stream: StreamRef, now_ms: u64) -> Result<(), H2Abuse> {
        let Some(found) = self.streams.get_mut(stream) else {
            return Ok(());
        };
        if found.expected.is_some_and(|left| left > 0) {
            // RFC 9113, 8.1.1. Nothing more comes of it.
            let refused = self.refuse(stream.id, ErrorCode::PROTOCOL_ERROR, now_ms);
            self.late.ended(stream.id);
            return refused;
        }
        found.recv = Half::Ended;
        found.wake_receiver();
        if found.is_closed() {
            self.streams.close(stream);
        }
        Ok(())
    }

    /// Resets a stream for what the peer did on it.
    pub(super) fn refuse(&mut self, id: u32, code: ErrorCode, now_ms: u64) -> Result<(), H2Abuse> {
        self.guard.reset(code.0, false, now_ms)?;
        frame::write_reset(&mut self.out, id, code);
        if let Some(stream) = self.streams.find(id) {
            self.close_failed(stream, StreamError::Ended(code));
        }
        Ok(())
    }

    /// Closes a stream for an error.
    pub(super) fn close_failed(&mut self, stream: StreamRef, error: StreamError) {
        let Some(found) = self.streams.get_mut(stream) else {
            return;
        };
        let was_open = found.recv == Half::Open;
        let error = match error {
            StreamError::Lost
                if !self.as_server && !found.was_answered && found.begins_at >= self.offered =>
            {
                StreamError::Refused
            }
            error => error,
        };
        // What came before is passed on: whether the failure came with it or later makes no difference. Only a client
        // that resets its request takes it back.
        let lost = found.fail(error, !self.as_server || error == StreamError::Lost);
        self.leave_line(stream);
        self.streams.close(stream);
        if !self.over {
            if was_open {
                self.late.gave_up(stream.id);
            }
            self.release_window(lost as u32);
        }
    }

    /// The peer may send so many bytes more on the connection; it is told when that is worth a frame.
    pub(super) fn release_window(&mut self, bytes: u32) {
        self.unreleased = self.unreleased.saturating_add(bytes);
        // What streams hold unread must not keep back what others have read: the less is left, the sooner it is told.
        let half = i64::from(self.config.connection_window_bytes / 2);
        let worth_it = i64::from(self.unreleased) >= self.recv_window.clamp(1, half.max(1));
        if worth_it && !self.over {
            frame::write_window(&mut self.out, 0, self.unreleased);
            self.recv_window += i64::from(self.unreleased);
            self.unreleased = 0;
        }
    }

    /// The same for a stream, and for the connection with it.
    pub(super) fn release_stream(&mut self, stream: StreamRef, bytes: u32) {
        self.release_window(bytes);
        let Some(found) = self.streams.get_mut(stream) else {
            return;
        };
        found.unreleased = found.unreleased.saturating_add(bytes);
        let worth_it = found.unreleased >= self.config.stream_window_bytes / 2;
        if worth_it && found.recv == Half::Open && !self.over {
            frame::write_window(&mut self.out, stream.id, found.unreleased);
            found.recv_window += i64::from(found.unreleased);
            found.unreleased = 0;
        }
    }

    /// The next head: of a request, of an interim answer, of the final one. On a server's end it is there at once after
    /// [`Event::Opened`].
    pub fn poll_head(
        &mut self,
        stream: StreamRef,
        cx: &Context<'_>,
    ) -> Poll<Result<Head, StreamError>> {
        let Some(found) = self.streams.get_mut(stream) else {
            return Poll::Ready(Err(StreamError::Lost));
        };
        if let Some(head) = found.head.take() {
            found.head = found.later.pop_front();
            return Poll::Ready(Ok(head));
        }
        if found.recv != Half::Open {
            return Poll::Ready(Err(found.error.unwrap_or(StreamError::Lost)));
        }
        remember(&mut found.receiver, cx);
        Poll::Pending
    }

    /// Reads DATA into `room`, and makes as much room in the windows. 0 is the end of the body, after which the trailers
    /// are known.
    pub fn poll_read(
        &mut self,
        stream: StreamRef,
        cx: &Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, StreamError>> {
        let Some(found) = self.streams.get_mut(stream) else {
            return Poll::Ready(Err(StreamError::Lost));
        };
        let unread = found.data.get(found.read..).unwrap_or_default();
        let n = unread.len().min(room.len());
        if n > 0 {
            if let (Some(to), Some(from)) = (room.get_mut(..n), unread.get(..n)) {
                to.copy_from_slice(from);
            }
            found.read += n;
            if found.read >= found.data.len() {
                found.data.clear();
                found.read = 0;
                if found.recv != Half::Open {
                    found.data.shrink_to(KEPT_BYTES);
                }
            }
            let before = self.out.len();
            self.release_stream(stream, n as u32);
            if self.out.len() != before {
                self.wake_io();
            }
            return Poll::Ready(Ok(n));
        }
        // What a burst took is not kept while nothing more is there.
        found.data.shrink_to(KEPT_BYTES);
        match found.recv {
            Half::Ended => Poll::Ready(Ok(0)),
            Half::Gone => Poll::Ready(Err(found.error.unwrap_or(StreamError::Lost))),
            Half::Open => {
                remember(&mut found.receiver, cx);
                Poll::Pending
            }
        }
    }

    /// Whether all has been received and read, and there are no trailers.
    pub fn is_received(&self, stream: StreamRef) -> bool {
        let found = self.streams.get(stream);
        found.is_some_and(|it| it.recv == Half::Ended && it.unread() == 0 && it.trailers.is_empty())
    }

    /// The trailers as `name: value` lines with CRLF (see [`trailer_lines`]); empty when there are none. Known when
    /// [`Connection::poll_read`] has given 0.
    pub fn take_trailers(&mut self, stream: StreamRef) -> Vec<u8> {
        let found = self.streams.get_mut(stream);
        found.map_or(Vec::new(), |it| std::mem::take(&mut it.trailers))
    }

    /// Why the stream failed, when it did; the task is woken when it does. For who watches for a peer that leaves.
    pub fn poll_failed(&mut self, stream: StreamRef, cx: &Context<'_>) -> Poll<StreamError> {
        let Some(found) = self.streams.get_mut(stream) else {
            return Poll::Ready(StreamError::Lost);
        };
        if let Some(error) = found.error {
            return Poll::Ready(error);
        }
        remember(&mut found.receiver, cx);
        Poll::Pending
    }

    /// Resets the stream, unless it is closed.
    pub fn reset(&mut self, stream: StreamRef, code: ErrorCode, now_ms: u64) {
        if self.over || self.streams.get(stream).is_none_or(|it| it.is_closed()) {
            return;
        }
        if let Err(abuse) = self.refuse(stream.id, code, now_ms) {
            self.condemn(abuse);
        }
        self.wake_io();
    }

    /// Nobody holds the stream any more. What is still open is reset: with NO_ERROR when a server's answer is complete
    /// (RFC 9113, 8.1), with CANCEL otherwise.
    pub fn release(&mut self, stream: StreamRef, now_ms: u64) {
        let Some(found) = self.streams.get_mut(stream) else {
            return;
        };
        let code = match self.as_server && found.send == Half::Ended {
            true => ErrorCode::NO_ERROR,
            false => ErrorCode::CANCEL,
        };
        let head = found.head.take();
        let before = self.out.len();
        self.leave_line(stream);
        self.reset(stream, code, now_ms);
        if let Some(found) = self.streams.get_mut(stream) {
            let lost = found.unread();
            found.held = false;
            self.release_window(lost as u32);
            self.streams.free_unheld(stream);
        }
        if let Some(head) = head {
            self.give_fields(head.fields);
        }
        // A drain may have waited for this one.
        if self.out.len() != before || self.is_over() {
            self.wake_io();
        }
    }

    /// Takes the `priority` field of our answer: what it says counts before what the client said (RFC 9218, 8).
    pub fn answer_priority(&mut self, stream: StreamRef, value: &[u8]) {
        let (urgency, incremental) = read_priority(value);
        if let Some(Priority {
            urgency: before,
            incremental: shared,
        }) = self.streams.get(stream).map(|it| it.priority)
        {
            let urgency = urgency.unwrap_or(before);
            self.set_priority(stream, urgency, incremental.unwrap_or(shared));
        }
    }

    /// Sets how urgent what we send is (RFC 9218): 0 is first, 7 is last. Incremental streams share with their equals.
    pub fn set_priority(&mut self, stream: StreamRef, urgency: u8, incremental: bool) {
        let priority = Priority {
            urgency,
            incremental,
        };
        if let Some(found) = self.streams.get_mut(stream) {
            found.priority = priority;
            self.line.change(stream, priority);
        }
    }
}

/// What a list says of the content's length and of its priority. A length that is no number is refused by who reads the
/// head.
fn told_of_body(fields: &FieldList) -> (Option<u64>, Option<Priority>) {
    let (mut length, mut priority, mut tunnel) = (None, None, false);
    for (name, value) in fields.iter() {
        match name {
            // What a tunnel carries is no content (RFC 9113, 8.5).
            b":method" => tunnel = value == b"CONNECT",
            b"content-length" => {
                length = std::str::from_utf8(value)
                    .ok()
                    .and_then(|it| it.parse().ok());
            }
            b"priority" => priority = Some(Priority::told(value)),
            _ => {}
        }
    }
    (length.filter(|_| !tunnel), priority)
}

fn status(fields: &FieldList) -> &[u8] {
    let status = fields.iter().find(|(name, _)| *name == b":status");
    status.map_or(b"", |(_, value)| value)
}

fn is_interim(fields: &FieldList) -> bool {
    matches!(status(fields), [b'1', b'0'..=b'9', b'0'..=b'9'])
}

/// RFC 9110, 6.4.1.
fn is_bodiless(fields: &FieldList) -> bool {
    matches!(status(fields), b"204" | b"304")
}
