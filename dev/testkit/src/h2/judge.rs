//! Reading what comes, with every rule of RFC 9113 that a receiver can check.

use super::Frame;
use super::connection::{Connection, Event, Open, Role};
use super::fields::{self, Block};
use super::frame::{self, setting};
use crate::strict::{Fault, Fields};

/// Largest window (section 6.9.1).
const WINDOW_MAX: i64 = 0x7fff_ffff;

impl Connection {
    /// Takes a frame; `None` when it is a part of something that is not whole.
    pub(super) fn judge(&mut self, frame: Frame) -> Option<Event> {
        if !std::mem::replace(&mut self.greeted, true)
            && (frame.kind != frame::SETTINGS || frame.has(frame::ACK))
        {
            self.fault("the first frame is not SETTINGS");
        }
        if frame.stream > 0x7fff_ffff {
            return self.wrong(frame, Fault("the reserved bit is set"));
        }
        if let Some(open) = &self.open
            && (frame.kind != frame::CONTINUATION || frame.stream != open.stream)
        {
            self.open = None;
            return self.wrong(frame, Fault("a frame inside a header block"));
        }
        match frame.kind {
            frame::DATA => self.judge_data(frame),
            frame::HEADERS => self.judge_headers(frame),
            frame::CONTINUATION => self.judge_continuation(frame),
            frame::RST_STREAM => self.judge_reset(frame),
            frame::SETTINGS => self.judge_settings(frame),
            frame::PING => self.judge_ping(frame),
            frame::GOAWAY => self.judge_goaway(frame),
            frame::WINDOW_UPDATE => self.judge_window_update(frame),
            frame::PUSH_PROMISE => self.wrong(frame, Fault("server push")),
            frame::PRIORITY if frame.stream == 0 => self.wrong(frame, Fault("PRIORITY on 0")),
            frame::PRIORITY if frame.payload.len() != 5 => {
                self.wrong(frame, Fault("PRIORITY of a wrong size"))
            }
            _ => Some(Event::Other(frame)),
        }
    }

    /// The frame without its padding (and priority); its payload keeps only what counts.
    fn without_padding(frame: &Frame) -> Result<Vec<u8>, Fault> {
        let mut rest = frame.payload.as_slice();
        let mut padding = 0;
        if frame.has(frame::PADDED) {
            let (&len, after) = rest.split_first().ok_or(Fault("no length of padding"))?;
            (padding, rest) = (usize::from(len), after);
        }
        if frame.kind == frame::HEADERS && frame.has(frame::WITH_PRIORITY) {
            rest = rest.get(5..).ok_or(Fault("no bytes of priority"))?;
        }
        let len = rest
            .len()
            .checked_sub(padding)
            .ok_or(Fault("more padding than frame"))?;
        Ok(rest[..len].to_vec())
    }

    fn judge_data(&mut self, frame: Frame) -> Option<Event> {
        let used = i64::try_from(frame.payload.len()).unwrap_or(WINDOW_MAX);
        let bytes = match Self::without_padding(&frame) {
            Ok(bytes) => bytes,
            Err(fault) => return self.wrong(frame, fault),
        };
        let end = frame.has(frame::END_STREAM);
        self.recv_window -= used;
        if self.recv_window < 0 {
            return self.wrong(frame, Fault("DATA beyond the window of the connection"));
        }
        let Some(stream) = self.streams.get_mut(&frame.stream) else {
            return self.wrong(frame, Fault("DATA on an idle stream"));
        };
        stream.recv -= used;
        let late = stream.reset_by_us;
        let fault = match () {
            () if stream.got_end || stream.reset_by_peer => Some("DATA after the end of a stream"),
            () if !stream.got_head => Some("DATA before the head"),
            () if stream.recv < 0 => Some("DATA beyond the window of the stream"),
            () => None,
        };
        if let Some(fault) = fault
            && !late
        {
            return self.wrong(frame, Fault(fault));
        }
        stream.got += bytes.len() as u64;
        stream.got_end |= end;
        let short = stream.length.is_some_and(|length| match end {
            true => length != stream.got,
            false => length < stream.got,
        });
        if short && !late {
            self.fault("DATA that is not as long as Content-Length");
        }
        if self.auto.windows {
            self.give_back(frame.stream, used, end || late);
        }
        match late {
            true => None,
            false => Some(Event::Data {
                stream: frame.stream,
                bytes,
                end,
            }),
        }
    }

    fn judge_headers(&mut self, frame: Frame) -> Option<Event> {
        let block = match Self::without_padding(&frame) {
            Ok(block) => block,
            Err(fault) => return self.wrong(frame, fault),
        };
        let known = self.streams.contains_key(&frame.stream);
        if !known {
            let fault = match self.role {
                Role::Client => Some("HEADERS on an idle stream"),
                Role::Server if frame.stream.is_multiple_of(2) => {
                    Some("an even stream of a client")
                }
                Role::Server if frame.stream <= self.last_of_peer => {
                    Some("a stream that is not above the last")
                }
                Role::Server => None,
            };
            if let Some(fault) = fault {
                return self.wrong(frame, Fault(fault));
            }
            self.last_of_peer = frame.stream;
            self.stream_begins(frame.stream);
            self.count_streams();
        }
        self.open = Some(Open {
            stream: frame.stream,
            end: frame.has(frame::END_STREAM),
            block,
        });
        if frame.has(frame::END_HEADERS) {
            return self.block_done();
        }
        None
    }

    /// A peer that keeps to our limit of streams opens none beyond it.
    fn count_streams(&mut self) {
        let Some(most) = self.own_streams_max else {
            return;
        };
        let is_open = |stream: &&super::connection::Stream| {
            !(stream.reset_by_peer || stream.reset_by_us || (stream.got_end && stream.sent_end))
        };
        if self.streams.values().filter(is_open).count() > most {
            self.fault("more streams than our SETTINGS allow");
        }
    }

    fn judge_continuation(&mut self, frame: Frame) -> Option<Event> {
        let Some(open) = &mut self.open else {
            return self.wrong(frame, Fault("CONTINUATION without a header block"));
        };
        open.block.extend_from_slice(&frame.payload);
        if frame.has(frame::END_HEADERS) {
            return self.block_done();
        }
        None
    }

    fn block_done(&mut self) -> Option<Event> {
        let Open {
            stream: id,
            end,
            block,
        } = self.open.take()?;
        let whole = Frame::headers(id, block.as_slice(), end);
        let pairs = match self.decoder.decode(&block) {
            Ok(pairs) => pairs,
            Err(fault) => return self.wrong(whole, fault),
        };
        let stream = self.streams.get_mut(&id)?;
        if stream.reset_by_us {
            return None;
        }
        if stream.got_end || stream.reset_by_peer {
            return self.wrong(whole, Fault("HEADERS after the end of a stream"));
        }
        let kind = match (stream.got_head, self.role) {
            (true, _) => Block::Trailers,
            (false, Role::Client) => Block::Answer,
            (false, Role::Server) => Block::Request,
        };
        stream.got_end |= end;
        let fields = match fields::judge(pairs, kind) {
            Ok(fields) => fields,
            Err(fault) => return self.wrong(whole, fault),
        };
        let status = fields.first(":status");
        let interim = status.is_some_and(|status| status.starts_with('1'));
        let fault = match () {
            () if kind == Block::Trailers && !end => Some("trailers without END_STREAM"),
            () if interim && end => Some("an interim answer with END_STREAM"),
            () => None,
        };
        if let Some(fault) = fault {
            return self.wrong(whole, Fault(fault));
        }
        self.note_length(id, &fields, kind, interim, end);
        Some(Event::Head {
            stream: id,
            fields,
            end,
        })
    }

    /// Keeps what Content-Length promises, and looks whether an end without DATA fits.
    fn note_length(&mut self, id: u32, fields: &Fields, kind: Block, interim: bool, end: bool) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.got_head |= !interim;
        if kind != Block::Trailers && !interim {
            let length = fields.first("content-length");
            stream.length = length.and_then(|text| text.parse().ok());
        }
        // An answer to HEAD, and 304, promise what does not come.
        let promised = stream.length.unwrap_or(stream.got);
        let short = end && promised != stream.got && (kind != Block::Answer);
        if short {
            self.fault("DATA that is not as long as Content-Length");
        }
    }

    fn judge_reset(&mut self, frame: Frame) -> Option<Event> {
        let (Some(code), 4) = (frame.number(0), frame.payload.len()) else {
            return self.wrong(frame, Fault("RST_STREAM of a wrong size"));
        };
        let Some(stream) = self.streams.get_mut(&frame.stream) else {
            return self.wrong(frame, Fault("RST_STREAM on an idle stream"));
        };
        stream.reset_by_peer = true;
        stream.out.clear();
        Some(Event::Reset {
            stream: frame.stream,
            code,
        })
    }

    fn judge_settings(&mut self, frame: Frame) -> Option<Event> {
        if frame.stream != 0 {
            return self.wrong(frame, Fault("SETTINGS on a stream"));
        }
        if frame.has(frame::ACK) {
            if !frame.payload.is_empty() {
                return self.wrong(frame, Fault("SETTINGS with ACK and a payload"));
            }
            let Some(taken) = self.pending.pop_front() else {
                return self.wrong(frame, Fault("SETTINGS with ACK that answer none"));
            };
            self.settings_taken(&taken);
            return Some(Event::SettingsAck);
        }
        if !frame.payload.len().is_multiple_of(6) {
            return self.wrong(frame, Fault("SETTINGS of a wrong size"));
        }
        let mut settings = Vec::new();
        for entry in frame.payload.chunks_exact(6) {
            let id = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            if let Err(fault) = self.setting_comes(id, value) {
                self.fault(fault);
            }
            settings.push((id, value));
        }
        if self.auto.settings {
            self.send(&Frame::settings_ack());
        }
        Some(Event::Settings(settings))
    }

    fn settings_taken(&mut self, settings: &[(u16, u32)]) {
        for (id, value) in settings {
            let number = usize::try_from(*value).unwrap_or(usize::MAX);
            match *id {
                setting::HEADER_TABLE_SIZE => self.decoder.allow(number),
                setting::INITIAL_WINDOW_SIZE => self.own_window_is(i64::from(*value)),
                setting::MAX_FRAME_SIZE => self.own_frame_len = number,
                setting::MAX_CONCURRENT_STREAMS => self.own_streams_max = Some(number),
                _ => {}
            }
        }
    }

    fn setting_comes(&mut self, id: u16, value: u32) -> Result<(), Fault> {
        match id {
            setting::ENABLE_PUSH if value > 1 => Err(Fault("ENABLE_PUSH above 1"))?,
            setting::ENABLE_PUSH if value == 1 && self.role == Role::Client => {
                Err(Fault("ENABLE_PUSH from a server"))?;
            }
            setting::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                Err(Fault("MAX_FRAME_SIZE out of bounds"))?;
            }
            setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                Err(Fault("ENABLE_CONNECT_PROTOCOL above 1"))?;
            }
            setting::INITIAL_WINDOW_SIZE => {
                if i64::from(value) > WINDOW_MAX {
                    return Err(Fault("INITIAL_WINDOW_SIZE out of bounds"));
                }
                let before = self
                    .setting(id)
                    .map_or(super::connection::WINDOW, i64::from);
                for stream in self.streams.values_mut() {
                    stream.send += i64::from(value) - before;
                }
            }
            _ => {}
        }
        self.theirs.insert(id, value);
        Ok(())
    }

    fn judge_ping(&mut self, frame: Frame) -> Option<Event> {
        let Ok(data) = <[u8; 8]>::try_from(frame.payload.as_slice()) else {
            return self.wrong(frame, Fault("PING of a wrong size"));
        };
        if frame.stream != 0 {
            return self.wrong(frame, Fault("PING on a stream"));
        }
        let ack = frame.has(frame::ACK);
        if !ack && self.auto.pong {
            self.send(&Frame::pong(data));
        }
        Some(Event::Ping { ack, data })
    }

    fn judge_goaway(&mut self, frame: Frame) -> Option<Event> {
        let (Some(last), Some(code)) = (frame.number(0), frame.number(4)) else {
            return self.wrong(frame, Fault("GOAWAY of a wrong size"));
        };
        if frame.stream != 0 {
            return self.wrong(frame, Fault("GOAWAY on a stream"));
        }
        let debug = frame.payload[8..].to_vec();
        Some(Event::GoAway { last, code, debug })
    }

    fn judge_window_update(&mut self, frame: Frame) -> Option<Event> {
        let (Some(by), 4) = (frame.number(0), frame.payload.len()) else {
            return self.wrong(frame, Fault("WINDOW_UPDATE of a wrong size"));
        };
        if by == 0 || by > 0x7fff_ffff {
            return self.wrong(frame, Fault("WINDOW_UPDATE of nothing"));
        }
        let window = match self.streams.get_mut(&frame.stream) {
            Some(stream) => &mut stream.send,
            None if frame.stream == 0 => &mut self.send_window,
            None => return self.wrong(frame, Fault("WINDOW_UPDATE on an idle stream")),
        };
        *window += i64::from(by);
        if *window > WINDOW_MAX {
            return self.wrong(frame, Fault("a window above 2^31-1"));
        }
        Some(Event::WindowUpdate {
            stream: frame.stream,
            by,
        })
    }
}
