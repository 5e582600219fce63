//! What is sent on streams.

use std::task::{Context, Poll};

use super::{Connection, StreamRef};
use crate::frame::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, HEAD_BYTES, HEADERS, PAYLOAD_MAX,
};
use crate::stream::{Half, Stream, remember};
use crate::{ErrorCode, StreamError};

/// Less room than this in what waits to be written is none: it would make small frames.
const ROOM_MIN: usize = 4096;

impl Connection {
    /// Opens a stream with this head, pseudo-header fields first; `ended` when nothing follows. Names may be in any case.
    /// `head_only` says that the answer has no content (HEAD), whatever its content-length says. Fails with
    /// [`StreamError::Refused`] when no further streams may be opened.
    pub fn open<'f>(
        &mut self,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        ended: bool,
        head_only: bool,
        now_ms: u64,
    ) -> Result<StreamRef, StreamError> {
        if !self.is_open() || self.as_server {
            return Err(StreamError::Refused);
        }
        let id = match self.last_stream {
            0 => 1,
            last => last + 2,
        };
        self.last_stream = id;
        self.opened += 1;
        let stream = self.add_stream(id);
        let begins_at = self.said + self.waiting_out() as u64;
        if let Some(found) = self.streams.get_mut(stream) {
            found.head_only = head_only;
            found.begins_at = begins_at;
        }
        self.send_head(stream, fields, ended, now_ms)?;
        Ok(stream)
    }

    /// Sends a head: of an interim answer or the final one. Pseudo-header fields come first; names may be in any case.
    pub fn send_head<'f>(
        &mut self,
        stream: StreamRef,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        ended: bool,
        now_ms: u64,
    ) -> Result<(), StreamError> {
        self.sending(stream)?;
        self.write_block(stream.id, fields, ended);
        self.guard.sent_headers(ended, now_ms);
        if ended {
            self.sent_end(stream);
        }
        self.wake_io();
        Ok(())
    }

    /// Ends the message with trailers.
    pub fn send_trailers<'f>(
        &mut self,
        stream: StreamRef,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        now_ms: u64,
    ) -> Result<(), StreamError> {
        self.send_head(stream, fields, true, now_ms)
    }

    /// Ends the message without trailers, unless it has ended.
    pub fn end_stream(&mut self, stream: StreamRef, now_ms: u64) -> Result<(), StreamError> {
        if self.has_ended(stream) {
            return Ok(());
        }
        self.sending(stream)?;
        frame::write(&mut self.out, DATA, END_STREAM, stream.id, &[]);
        self.guard.sent_data(0, true, now_ms);
        self.sent_end(stream);
        self.wake_io();
        Ok(())
    }

    /// Whether END_STREAM was sent.
    pub fn has_ended(&self, stream: StreamRef) -> bool {
        let found = self.streams.get(stream);
        found.is_some_and(|it| it.send == Half::Ended)
    }

    /// Sends as much of the parts as the windows and what waits to be written have room for, and gives how much that was:
    /// never 0, unless all parts are empty. With `last`, END_STREAM stands on the frame that takes the last byte.
    pub fn poll_send(
        &mut self,
        stream: StreamRef,
        cx: &Context<'_>,
        parts: [&[u8]; 3],
        last: bool,
        now_ms: u64,
    ) -> Poll<Result<usize, StreamError>> {
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = self.room();
        let in_turn = self.is_in_turn(stream, room);
        let (window, contested) = (self.send_window, self.line.is_contested());
        let found = match self.sending(stream) {
            Ok(found) => found,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if found.send_window <= 0 {
            // Woken by the stream's window; it stands in no line till then.
            remember(&mut found.sender, cx);
            self.leave_line(stream);
            return Poll::Pending;
        }
        if !in_turn {
            remember(&mut found.sender, cx);
            self.stand_in_line(stream);
            if room >= PAYLOAD_MAX && self.waiting_out() == 0 {
                // Nothing is written whose end would tell the next: those who were told hold nobody up.
                self.line.forget_grants();
                self.grant();
            }
            return Poll::Pending;
        }
        let allowed = found.send_window.min(window);
        let allowed = usize::try_from(allowed).unwrap_or(0).min(room);
        let allowed = match contested {
            true => allowed.min(PAYLOAD_MAX),
            false => allowed,
        };
        let taken = wanted.min(allowed);
        found.send_window -= taken as i64;
        self.send_window -= taken as i64;
        self.take_turn(stream);
        let ends = last && taken == wanted;
        self.write_data(stream.id, parts, taken, ends, now_ms);
        if ends {
            self.sent_end(stream);
        }
        self.wake_io();
        Poll::Ready(Ok(taken))
    }

    /// Bytes that streams may send now, as far as the connection goes; 0 when that is too little to be worth a frame.
    pub(super) fn room(&self) -> usize {
        let window = usize::try_from(self.send_window).unwrap_or(0);
        let free = self.config.out_bytes_max.saturating_sub(self.waiting_out());
        match free < ROOM_MIN {
            true => 0,
            false => free.min(window),
        }
    }

    /// The stream, when something may be sent on it.
    fn sending(&mut self, stream: StreamRef) -> Result<&mut Stream, StreamError> {
        let found = self.streams.get_mut(stream).ok_or(StreamError::Lost)?;
        match found.send {
            Half::Open => Ok(found),
            Half::Ended => Err(found
                .error
                .unwrap_or(StreamError::Ended(ErrorCode::NO_ERROR))),
            Half::Gone => Err(found.error.unwrap_or(StreamError::Lost)),
        }
    }

    fn sent_end(&mut self, stream: StreamRef) {
        let Some(found) = self.streams.get_mut(stream) else {
            return;
        };
        found.send = Half::Ended;
        let closed = found.is_closed();
        self.leave_line(stream);
        if closed {
            self.streams.close(stream);
        }
    }

    /// Appends a header block, in as many frames as it needs.
    fn write_block<'f>(
        &mut self,
        id: u32,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        ended: bool,
    ) {
        let out = &mut self.out;
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        self.encoder.begin(out);
        for (name, value) in fields {
            self.encoder.field(name, value, out);
        }
        let end_stream = if ended { END_STREAM } else { 0 };
        let length = out.len() - start - HEAD_BYTES;
        if length <= PAYLOAD_MAX {
            let head = FrameHead {
                length: length as u32,
                kind: HEADERS,
                flags: END_HEADERS | end_stream,
                stream: id,
            };
            if let Some(place) = out.get_mut(start..start + HEAD_BYTES) {
                place.copy_from_slice(&head.bytes());
            }
            return;
        }
        let block = out.split_off(start + HEAD_BYTES);
        out.truncate(start);
        let mut parts = block.chunks(PAYLOAD_MAX).peekable();
        let (mut kind, mut flags) = (HEADERS, end_stream);
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                flags |= END_HEADERS;
            }
            frame::write(out, kind, flags, id, part);
            (kind, flags) = (CONTINUATION, 0);
        }
    }

    /// Appends the first `taken` bytes of the parts.
    fn write_data(&mut self, id: u32, parts: [&[u8]; 3], taken: usize, ends: bool, now_ms: u64) {
        let frames = taken.div_ceil(PAYLOAD_MAX);
        self.out.reserve(taken + frames * HEAD_BYTES);
        let mut parts = parts.into_iter();
        let mut part: &[u8] = &[];
        let mut left = taken;
        while left > 0 {
            let length = left.min(PAYLOAD_MAX);
            left -= length;
            let ended = ends && left == 0;
            let head = FrameHead {
                length: length as u32,
                kind: DATA,
                flags: if ended { END_STREAM } else { 0 },
                stream: id,
            };
            self.out.extend_from_slice(&head.bytes());
            let mut open = length;
            while open > 0 {
                if part.is_empty() {
                    match parts.next() {
                        Some(next) => part = next,
                        None => break,
                    }
                }
                let (now, rest) = part.split_at(open.min(part.len()));
                self.out.extend_from_slice(now);
                part = rest;
                open -= now.len();
            }
            self.guard.sent_data(length as u32, ended, now_ms);
        }
    }
}
