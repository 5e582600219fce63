//! What frames do that carry no message: RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, PRIORITY_UPDATE; and what a
//! frame on a closed stream means.

use super::{Connection, DRAIN_PING, Drain, OUR_PING, StreamRef};
use crate::frame::{self, ACK, DATA, FrameHead, HEADERS, PAYLOAD_MAX, PING, SETTINGS, WINDOW_MAX};
use crate::late::Late;
use crate::priority::Priority;
use crate::{ErrorCode, H2Abuse, StreamError};

impl Connection {
    /// Whether a client has used the number for a stream.
    pub(super) fn was_opened(&self, stream: u32) -> bool {
        stream % 2 == 1 && stream <= self.last_stream
    }

    /// Whether streams with this number are not looked at any more.
    pub(super) fn is_beyond(&self, stream: u32) -> bool {
        matches!(self.drain, Drain::After(last) if self.as_server && stream > last)
    }

    /// The peer ended or reset a stream that is closed, or sent on it. `Ok` when that is fair and to be ignored.
    pub(super) fn closed_stream(
        &mut self,
        stream: u32,
        kind: u8,
        ended: bool,
        now_ms: u64,
    ) -> Result<(), H2Abuse> {
        if !self.was_opened(stream) {
            // RFC 9113, 5.1: it is idle.
            return Err(H2Abuse::Protocol);
        }
        match self.late.judge(stream) {
            Late::Fair => {
                if ended {
                    self.late.ended(stream);
                }
                if kind == HEADERS {
                    // It was read for the table's sake. One of a stream is fair.
                    self.guard.reset(ErrorCode::STREAM_CLOSED.0, true, now_ms)?;
                }
                Ok(())
            }
            Late::AfterReset if kind == DATA => {
                self.guard.reset(ErrorCode::STREAM_CLOSED.0, true, now_ms)?;
                frame::write_reset(&mut self.out, stream, ErrorCode::STREAM_CLOSED);
                Ok(())
            }
            // A number that was skipped was never used, and may not be any more (RFC 9113, 5.1.1).
            Late::Breach if kind == HEADERS && self.has_skipped() => Err(H2Abuse::Protocol),
            Late::AfterReset | Late::Breach => Err(H2Abuse::ClosedStream),
        }
    }

    fn has_skipped(&self) -> bool {
        self.opened != self.last_stream.div_ceil(2)
    }

    pub(super) fn peer_reset(&mut self, id: u32, code: ErrorCode) -> Result<(), H2Abuse> {
        if let Some(stream) = self.streams.find(id) {
            let error = match code {
                ErrorCode::REFUSED_STREAM if self.is_untouched(stream) => StreamError::Refused,
                code => StreamError::Reset(code),
            };
            self.close_failed(stream, error);
            self.late.was_reset(id);
        } else if self.was_opened(id) {
            self.late.ended(id);
        } else if !self.is_beyond(id) {
            return Err(H2Abuse::Protocol);
        }
        Ok(())
    }

    /// Whether a server has said nothing yet of a stream: whoever has answered, be it with 103, has looked at it.
    fn is_untouched(&self, stream: StreamRef) -> bool {
        let found = self.streams.get(stream);
        !self.as_server && found.is_some_and(|it| !it.was_answered)
    }

    pub(super) fn peer_settings(
        &mut self,
        frame: FrameHead,
        payload: &[u8],
    ) -> Result<(), H2Abuse> {
        if frame.has(ACK) {
            self.settings_acked = true;
            return Ok(());
        }
        self.input.begun = true;
        let before = i64::from(self.peer.stream_window);
        let encoder = &mut self.encoder;
        self.peer
            .read(payload, self.as_server, |bytes| encoder.set_peer_max(bytes))?;
        let more = i64::from(self.peer.stream_window) - before;
        if more != 0 {
            self.widen_all(more)?;
        }
        frame::write(&mut self.out, SETTINGS, ACK, 0, &[]);
        Ok(())
    }

    /// RFC 9113, 6.9.2: the windows of all streams change with the setting.
    fn widen_all(&mut self, more: i64) -> Result<(), H2Abuse> {
        let mut at = 0;
        while let Some(stream) = self.streams.open_at(at) {
            at += 1;
            if let Some(found) = self.streams.get_mut(stream) {
                found.send_window += more;
                if found.send_window > i64::from(WINDOW_MAX) {
                    return Err(H2Abuse::FlowControl);
                }
                if found.send_window > 0 {
                    found.wake_sender();
                }
            }
        }
        Ok(())
    }

    pub(super) fn peer_ping(&mut self, frame: FrameHead, payload: &[u8]) {
        if !frame.has(ACK) {
            frame::write(&mut self.out, PING, ACK, 0, payload);
        } else if payload == OUR_PING {
            self.pong = true;
        } else if payload == DRAIN_PING && self.drain == Drain::Told {
            let last = self.last_of_peer();
            self.drain = Drain::After(last);
            frame::write_goaway(&mut self.out, last, ErrorCode::NO_ERROR);
        }
    }

    pub(super) fn peer_goaway(&mut self, last: u32) {
        self.peer_leaves = true;
        if self.as_server {
            return;
        }
        // From the end: closing takes them out of the list.
        let mut at = self.streams.open_len();
        while at > 0 {
            at -= 1;
            if let Some(stream) = self.streams.open_at(at)
                && stream.id > last
            {
                let error = match self.is_untouched(stream) {
                    true => StreamError::Refused,
                    false => StreamError::Lost,
                };
                self.close_failed(stream, error);
            }
        }
    }

    pub(super) fn peer_window(&mut self, id: u32, bytes: u32, now_ms: u64) -> Result<(), H2Abuse> {
        let max = i64::from(WINDOW_MAX);
        if id == 0 {
            if bytes == 0 {
                return Err(H2Abuse::Protocol);
            }
            self.send_window += i64::from(bytes);
            if self.send_window > max {
                return Err(H2Abuse::FlowControl);
            }
            if self.waiting_out() == 0 && self.room() >= PAYLOAD_MAX {
                // Nothing is written whose end would tell the next: those who were told hold nobody up.
                self.line.forget_grants();
            }
            self.grant();
            return Ok(());
        }
        let Some(stream) = self.streams.find(id) else {
            let idle = !self.was_opened(id) && !self.is_beyond(id);
            return if idle { Err(H2Abuse::Protocol) } else { Ok(()) };
        };
        if bytes == 0 {
            return self.refuse(id, ErrorCode::PROTOCOL_ERROR, now_ms);
        }
        let Some(found) = self.streams.get_mut(stream) else {
            return Ok(());
        };
        found.send_window += i64::from(bytes);
        if found.send_window > max {
            return self.refuse(id, ErrorCode::FLOW_CONTROL_ERROR, now_ms);
        }
        if found.send_window > 0 {
            found.wake_sender();
        }
        Ok(())
    }

    /// RFC 9218, 7.1.
    pub(super) fn peer_priority(&mut self, payload: &[u8]) -> Result<(), H2Abuse> {
        let id = frame::number(payload) & WINDOW_MAX;
        if id == 0 {
            return Err(H2Abuse::Protocol);
        }
        if let Some(stream) = self.streams.find(id) {
            let told = Priority::told(payload.get(4..).unwrap_or_default());
            self.set_priority(stream, told.urgency, told.incremental);
        }
        Ok(())
    }
}
