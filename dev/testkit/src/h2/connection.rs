//! One connection of HTTP/2, either side: what was sent and received, windows, and what is still to be sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::{HEAD_LEN, setting};
use super::{Decoder, Frame, encode};
use crate::client::{End, Wire};
use crate::strict::{Fault, Fields};

/// What stream and connection windows begin with (RFC 9113 section 6.9.2).
pub(super) const WINDOW: i64 = 65_535;

/// Largest payload when nobody has said anything.
pub(super) const FRAME_LEN: usize = 16_384;

/// Most bytes of bodies that are sent before we look whether something has come.
const BURST: usize = 256 * 1024;

/// Pause between two bursts.
const GLANCE: Duration = Duration::from_millis(1);

/// Which side we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// What we do without being told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auto {
    /// Acknowledge SETTINGS.
    pub settings: bool,
    /// Answer PING.
    pub pong: bool,
    /// Give back what DATA took from the windows: once it is half of a window, as most clients do.
    pub windows: bool,
    /// Give it back frame by frame instead.
    pub eager: bool,
}

/// What has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole header block: a request, an answer, or trailers.
    Head {
        /// Its stream.
        stream: u32,
        /// With pseudo-fields.
        fields: Fields,
        /// END_STREAM.
        end: bool,
    },
    /// DATA without its padding.
    Data {
        /// Its stream.
        stream: u32,
        /// A piece of the body.
        bytes: Vec<u8>,
        /// END_STREAM.
        end: bool,
    },
    /// RST_STREAM.
    Reset {
        /// Its stream.
        stream: u32,
        /// Error code.
        code: u32,
    },
    /// GOAWAY.
    GoAway {
        /// The last stream that was, or may be, served.
        last: u32,
        /// Error code.
        code: u32,
        /// What the peer says about it.
        debug: Vec<u8>,
    },
    /// SETTINGS.
    Settings(Vec<(u16, u32)>),
    /// Ours were taken.
    SettingsAck,
    /// PING.
    Ping {
        /// True for an answer.
        ack: bool,
        /// Eight bytes.
        data: [u8; 8],
    },
    /// WINDOW_UPDATE.
    WindowUpdate {
        /// Its stream; 0 is the connection.
        stream: u32,
        /// Bytes.
        by: u32,
    },
    /// PRIORITY, frames of unknown types, and those that were faulty.
    Other(Frame),
    /// Nothing in time, or nothing more.
    End(End),
}

/// A piece of what is to be sent on a stream, in order.
#[derive(Debug)]
pub(super) enum Out {
    Data(Vec<u8>, usize, bool),
    Head(Vec<u8>, bool),
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) send: i64,
    pub(super) recv: i64,
    /// Taken from its window and not given back yet.
    pub(super) taken: i64,
    pub(super) got_head: bool,
    pub(super) got_end: bool,
    pub(super) sent_end: bool,
    pub(super) reset_by_us: bool,
    pub(super) reset_by_peer: bool,
    pub(super) length: Option<u64>,
    pub(super) got: u64,
    pub(super) out: VecDeque<Out>,
}

/// A header block that is coming in.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) stream: u32,
    pub(super) end: bool,
    pub(super) block: Vec<u8>,
}

/// A connection. Frames that are sent with [`Connection::send`] and the like go out as they are, right or wrong.
#[derive(Debug)]
pub struct Connection {
    pub(super) wire: Wire,
    pub(super) role: Role,
    /// What is done without being told to.
    pub auto: Auto,
    pub(super) decoder: Decoder,
    pub(super) open: Option<Open>,
    pub(super) streams: BTreeMap<u32, Stream>,
    pub(super) last_of_peer: u32,
    pub(super) send_window: i64,
    pub(super) recv_window: i64,
    /// Taken from the connection's window and not given back yet.
    pub(super) taken: i64,
    pub(super) theirs: BTreeMap<u16, u32>,
    /// SETTINGS that we sent, oldest first, and that were not acknowledged yet.
    pub(super) pending: VecDeque<Vec<(u16, u32)>>,
    pub(super) own_window: i64,
    pub(super) own_frame_len: usize,
    pub(super) own_streams_max: Option<usize>,
    pub(super) greeted: bool,
    pub(super) faults: Vec<String>,
}

impl Connection {
    pub(super) fn new(wire: Wire, role: Role) -> Connection {
        Connection {
            wire,
            role,
            auto: Auto {
                settings: true,
                pong: true,
                windows: true,
                eager: false,
            },
            decoder: Decoder::default(),
            open: None,
            streams: BTreeMap::new(),
            last_of_peer: 0,
            send_window: WINDOW,
            recv_window: WINDOW,
            taken: 0,
            theirs: BTreeMap::new(),
            pending: VecDeque::new(),
            own_window: WINDOW,
            own_frame_len: FRAME_LEN,
            own_streams_max: None,
            greeted: false,
            faults: Vec::new(),
        }
    }

    /// The bytes below.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The bytes below, to send or to close.
    pub fn wire_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// A setting of the peer, when it sent one.
    pub fn setting(&self, id: u16) -> Option<u32> {
        self.theirs.get(&id).copied()
    }

    /// Bytes that we may send on the connection.
    pub fn window(&self) -> i64 {
        self.send_window
    }

    /// Bytes that we may send on a stream.
    pub fn window_of(&self, stream: u32) -> i64 {
        self.streams.get(&stream).map_or(0, |stream| stream.send)
    }

    /// Breaches of the protocol so far; they are forgotten here.
    pub fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    pub(super) fn fault(&mut self, what: impl std::fmt::Display) {
        self.faults.push(what.to_string());
    }

    pub(super) fn wrong(&mut self, frame: Frame, fault: Fault) -> Option<Event> {
        let what = format!(
            "{fault}: frame of type {} on stream {}",
            frame.kind, frame.stream
        );
        self.faults.push(what);
        Some(Event::Other(frame))
    }

    /// Sends bytes as they are; false when the peer takes none.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.try_send(bytes).is_ok()
    }

    /// Sends a frame as it is; the state of its stream is not touched.
    pub fn send(&mut self, frame: &Frame) -> bool {
        self.raw(frame.to_bytes())
    }

    /// Sends SETTINGS and keeps to them.
    pub fn settings(&mut self, settings: &[(u16, u32)]) -> bool {
        self.pending.push_back(settings.to_vec());
        for (id, value) in settings {
            // What is larger than before may be used by the peer before it says so; what is smaller only binds afterwards.
            match *id {
                setting::INITIAL_WINDOW_SIZE if i64::from(*value) > self.own_window => {
                    self.own_window_is(i64::from(*value));
                }
                setting::MAX_FRAME_SIZE => {
                    let len = usize::try_from(*value).unwrap_or(FRAME_LEN);
                    self.own_frame_len = self.own_frame_len.max(len);
                }
                _ => {}
            }
        }
        self.send(&Frame::settings(settings))
    }

    pub(super) fn own_window_is(&mut self, window: i64) {
        for stream in self.streams.values_mut() {
            stream.recv += window - self.own_window;
        }
        self.own_window = window;
    }

    /// Gives the peer more to send, on a stream or on the connection (0).
    pub fn give(&mut self, stream: u32, by: u32) -> bool {
        match self.streams.get_mut(&stream) {
            Some(stream) => stream.recv += i64::from(by),
            None if stream == 0 => self.recv_window += i64::from(by),
            None => {}
        }
        self.send(&Frame::window_update(stream, by))
    }

    /// Gives back what DATA took, as [`Auto`] says; nothing more for a stream that is over.
    pub(super) fn give_back(&mut self, id: u32, used: i64, over: bool) {
        let (eager, half) = (self.auto.eager, self.own_window / 2);
        let number = |bytes: i64| u32::try_from(bytes).unwrap_or(0);
        self.taken += used;
        if self.taken > 0 && (eager || self.taken >= WINDOW / 2) {
            let by = number(std::mem::take(&mut self.taken));
            self.give(0, by);
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.taken += used;
        if !over && stream.taken > 0 && (eager || stream.taken >= half) {
            let by = number(std::mem::take(&mut stream.taken));
            self.give(id, by);
        }
    }

    /// Resets a stream.
    pub fn reset(&mut self, stream: u32, code: u32) -> bool {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.reset_by_us = true;
            stream.out.clear();
        }
        self.send(&Frame::reset(stream, code))
    }

    pub(super) fn stream_begins(&mut self, id: u32) -> &mut Stream {
        let window = self
            .setting(setting::INITIAL_WINDOW_SIZE)
            .map_or(WINDOW, i64::from);
        let recv = self.own_window;
        self.streams.entry(id).or_insert(Stream {
            send: window,
            recv,
            taken: 0,
            got_head: false,
            got_end: false,
            sent_end: false,
            reset_by_us: false,
            reset_by_peer: false,
            length: None,
            got: 0,
            out: VecDeque::new(),
        })
    }

    /// Sends a header block at once, or after the body that still waits on that stream.
    pub fn head<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u32,
        fields: &[(N, V)],
        end: bool,
    ) -> bool {
        let block = encode(fields);
        self.stream_begins(stream)
            .out
            .push_back(Out::Head(block, end));
        self.flush().is_some()
    }

    /// Sends a piece of a body as fast as the windows allow; the rest goes out while events are read.
    pub fn data(&mut self, stream: u32, bytes: impl Into<Vec<u8>>, end: bool) -> bool {
        let out = Out::Data(bytes.into(), 0, end);
        self.stream_begins(stream).out.push_back(out);
        self.flush().is_some()
    }

    /// Bytes of bodies and header blocks that wait for windows, on all streams.
    pub fn unsent(&self) -> usize {
        let len = |out: &Out| match out {
            Out::Data(bytes, at, _) => bytes.len() - at,
            Out::Head(block, _) => block.len(),
        };
        let all = self.streams.values().flat_map(|stream| &stream.out);
        all.map(len).sum()
    }

    /// Sends what may be sent, one frame of each stream in turn. True when more could go, `None` when the peer takes none.
    pub(super) fn flush(&mut self) -> Option<bool> {
        let mut sent = 0;
        while sent < BURST {
            let ready = self.streams.iter().filter(|(_, s)| !s.out.is_empty());
            let ids: Vec<u32> = ready.map(|(id, _)| *id).collect();
            let mut moved = false;
            for id in ids {
                let Some(bytes) = self.next_frames(id) else {
                    continue;
                };
                sent += bytes.len();
                moved = true;
                if !self.raw(bytes) {
                    return None;
                }
            }
            if !moved {
                return Some(false);
            }
        }
        Some(true)
    }

    /// The next frame of a stream, or the frames of a header block.
    fn next_frames(&mut self, id: u32) -> Option<Vec<u8>> {
        let most = self
            .setting(setting::MAX_FRAME_SIZE)
            .map_or(FRAME_LEN, |len| usize::try_from(len).unwrap_or(FRAME_LEN));
        let stream = self.streams.get_mut(&id)?;
        match stream.out.front_mut()? {
            Out::Head(block, end) => {
                let bytes = block_frames(id, block, *end, most);
                stream.sent_end |= *end;
                stream.out.pop_front();
                Some(bytes)
            }
            Out::Data(bytes, at, end) => {
                let room = self.send_window.min(stream.send).max(0);
                let left = bytes.len() - *at;
                let take = left.min(most).min(usize::try_from(room).unwrap_or(0));
                if take == 0 && left > 0 {
                    return None;
                }
                let last = take == left;
                let frame = Frame::data(id, &bytes[*at..*at + take], last && *end);
                *at += take;
                let used = i64::try_from(take).unwrap_or(0);
                self.send_window -= used;
                stream.send -= used;
                if last {
                    stream.sent_end |= *end;
                    stream.out.pop_front();
                }
                Some(frame.to_bytes())
            }
        }
    }

    /// What comes next; waiting bodies are sent meanwhile.
    pub fn event(&mut self, limit: Duration) -> Event {
        let end = Instant::now() + limit;
        loop {
            let more = self.flush() == Some(true);
            let left = end.saturating_duration_since(Instant::now());
            let wait = if more { left.min(GLANCE) } else { left };
            let frame = match self.frame(wait) {
                Ok(frame) => frame,
                Err(End::Deadline) if more && !left.is_zero() => continue,
                Err(end) => return Event::End(end),
            };
            if let Some(event) = self.judge(frame) {
                return event;
            }
        }
    }

    /// The next frame, of any kind.
    fn frame(&mut self, limit: Duration) -> Result<Frame, End> {
        self.wire.await_bytes(HEAD_LEN, limit)?;
        let (len, mut frame) = Frame::head(self.wire.unread()).ok_or(End::Deadline)?;
        if len > self.own_frame_len {
            self.fault(format!("a frame of {len} bytes, above our SETTINGS"));
        }
        let whole = self.wire.try_bytes(HEAD_LEN + len, limit)?;
        frame.payload = whole[HEAD_LEN..].to_vec();
        Ok(frame)
    }
}

/// HEADERS, and CONTINUATION when the block is longer than a frame.
fn block_frames(stream: u32, block: &[u8], end: bool, most: usize) -> Vec<u8> {
    if block.len() <= most {
        return Frame::headers(stream, block, end).to_bytes();
    }
    let (first, mut rest) = block.split_at(most);
    let mut head = Frame::headers(stream, first, end);
    head.flags &= !super::frame::END_HEADERS;
    let mut bytes = head.to_bytes();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(most));
        bytes.extend(Frame::continuation(stream, piece, after.is_empty()).to_bytes());
        rest = after;
    }
    bytes
}
