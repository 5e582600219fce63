//! DATA, as it comes in pieces.

use super::receive::Phase;
use super::{Connection, StreamRef};
use crate::frame::{DATA, END_STREAM, FrameHead, PADDED};
use crate::stream::Half;
use crate::{ErrorCode, H2Abuse};

impl Connection {
    /// DATA begins: what it takes of the windows is judged by its whole length (RFC 9113, 6.9).
    pub(super) fn data_head(&mut self, frame: FrameHead, now_ms: u64) -> Result<(), H2Abuse> {
        let length = i64::from(frame.length);
        if length > self.recv_window {
            return Err(H2Abuse::FlowControl);
        }
        self.recv_window -= length;
        self.input.data_of = None;
        let ended = frame.has(END_STREAM);
        match self.streams.find(frame.stream) {
            Some(stream) => self.data_of(stream, frame, now_ms)?,
            None if self.is_beyond(frame.stream) => {}
            None => self.closed_stream(frame.stream, DATA, ended, now_ms)?,
        }
        if self.input.data_of.is_none() {
            self.release_window(frame.length);
        }
        if frame.has(PADDED) {
            self.input.phase = Phase::PadLength;
            Ok(())
        } else {
            self.data_begins(0, 0, now_ms)
        }
    }

    /// DATA begins on a stream that is not closed.
    fn data_of(&mut self, stream: StreamRef, frame: FrameHead, now_ms: u64) -> Result<(), H2Abuse> {
        let Some(found) = self.streams.get_mut(stream) else {
            return Ok(());
        };
        let code = match found.recv {
            Half::Ended | Half::Gone => return Err(H2Abuse::ClosedStream),
            // An answer begins with its head.
            Half::Open if !found.has_head => ErrorCode::PROTOCOL_ERROR,
            Half::Open if i64::from(frame.length) > found.recv_window => {
                ErrorCode::FLOW_CONTROL_ERROR
            }
            Half::Open => {
                found.recv_window -= i64::from(frame.length);
                self.input.data_of = Some(stream);
                return Ok(());
            }
        };
        self.refuse(frame.stream, code, now_ms)
    }

    /// The length of the padding is known. `before` is what stands before the content.
    pub(super) fn data_begins(
        &mut self,
        padding: u32,
        before: u32,
        now_ms: u64,
    ) -> Result<(), H2Abuse> {
        let frame = self.input.frame;
        let around = padding + before;
        let content = frame.length.checked_sub(around).ok_or(H2Abuse::Protocol)?;
        let ended = frame.has(END_STREAM);
        self.guard.data(content, ended, now_ms)?;
        self.input.left = content;
        self.input.padding = padding;
        self.input.phase = Phase::Data;
        let Some(stream) = self.input.data_of else {
            return Ok(());
        };
        if around > 0 {
            self.release_stream(stream, around);
        }
        let found = self.streams.get_mut(stream);
        // It may have been given up since the frame's head came.
        let Some(found) = found.filter(|it| it.recv == Half::Open) else {
            return Ok(());
        };
        let Some(expected) = &mut found.expected else {
            return Ok(());
        };
        match expected.checked_sub(u64::from(content)) {
            Some(left) => *expected = left,
            None => {
                self.input.data_of = None;
                self.release_window(content);
                self.refuse(frame.stream, ErrorCode::PROTOCOL_ERROR, now_ms)?;
            }
        }
        Ok(())
    }

    pub(super) fn data_part(&mut self, part: &[u8]) {
        let Some(stream) = self.input.data_of else {
            return;
        };
        match self.streams.get_mut(stream) {
            Some(found) if found.recv == Half::Open => found.take_data(part),
            // It was given up in the middle of the frame.
            _ => self.release_window(part.len() as u32),
        }
    }

    pub(super) fn data_ends(&mut self, now_ms: u64) -> Result<(), H2Abuse> {
        let frame = self.input.frame;
        match self.input.data_of.take() {
            Some(stream) if frame.has(END_STREAM) => {
                let open = self
                    .streams
                    .get(stream)
                    .is_some_and(|it| it.recv == Half::Open);
                match open {
                    true => self.peer_ended(stream, now_ms),
                    false => {
                        self.late.ended(frame.stream);
                        Ok(())
                    }
                }
            }
            None if frame.has(END_STREAM) => {
                self.late.ended(frame.stream);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
