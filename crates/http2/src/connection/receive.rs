//! What the peer sends: from bytes in any pieces to frames, and what each frame does.

use super::{Connection, Event, StreamRef};
use crate::frame::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, GOAWAY, HEAD_BYTES, HEADERS,
    PADDED, PING, PREFACE, PRIORITY, PRIORITY_FLAG, PRIORITY_UPDATE, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_MAX, WINDOW_UPDATE,
};
use crate::{ErrorCode, H2Abuse};

/// Memory for what came of a frame that is kept for the next one.
const KEPT_BYTES: usize = 1024;

/// Where in the peer's bytes we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Preface,
    Head,
    /// Before the length of a DATA frame's padding.
    PadLength,
    Data,
    /// What means nothing to us.
    Skip,
    /// A payload that is looked at when it is whole.
    Gather,
}

/// A header block that is not whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ended: bool,
    /// It says that it depends on itself.
    pub(super) on_itself: bool,
}

/// What came and has not been used.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) phase: Phase,
    /// The peer's first SETTINGS came.
    pub(super) begun: bool,
    have: u8,
    head: [u8; HEAD_BYTES],
    pub(super) frame: FrameHead,
    /// Bytes of this phase that are still to come.
    pub(super) left: u32,
    pub(super) padding: u32,
    /// Whose DATA it is; of nobody when the stream is gone.
    pub(super) data_of: Option<StreamRef>,
    partial: Vec<u8>,
    block: Option<Block>,
    block_bytes: Vec<u8>,
}

impl Input {
    pub(super) fn new(preface: bool) -> Input {
        Input {
            phase: if preface { Phase::Preface } else { Phase::Head },
            begun: false,
            have: 0,
            head: [0; HEAD_BYTES],
            frame: FrameHead::default(),
            left: 0,
            padding: 0,
            data_of: None,
            partial: Vec::new(),
            block: None,
            block_bytes: Vec::new(),
        }
    }

    /// Whether the peer's SETTINGS came.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    pub(super) fn trim(&mut self) {
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        if self.block_bytes.is_empty() {
            self.block_bytes = Vec::new();
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.block_bytes.capacity()
    }

    /// Compares what came of the preface; whether it is whole.
    fn take_preface(&mut self, bytes: &mut &[u8]) -> Result<bool, H2Abuse> {
        let expected = PREFACE.get(usize::from(self.have)..).unwrap_or_default();
        let n = expected.len().min(bytes.len());
        let (came, rest) = bytes.split_at(n);
        if !expected.starts_with(came) {
            return Err(H2Abuse::Protocol);
        }
        *bytes = rest;
        self.have += n as u8;
        if usize::from(self.have) < PREFACE.len() {
            return Ok(false);
        }
        self.have = 0;
        self.phase = Phase::Head;
        Ok(true)
    }

    /// The next frame's head, when it is whole.
    #[inline]
    fn take_head(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        if self.have == 0
            && let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>()
        {
            *bytes = rest;
            return Some(FrameHead::read(*head));
        }
        let at = usize::from(self.have);
        let n = (HEAD_BYTES - at.min(HEAD_BYTES)).min(bytes.len());
        let (came, rest) = bytes.split_at(n);
        self.head.get_mut(at..at + n)?.copy_from_slice(came);
        *bytes = rest;
        self.have += n as u8;
        if usize::from(self.have) < HEAD_BYTES {
            return None;
        }
        self.have = 0;
        Some(FrameHead::read(self.head))
    }

    /// Takes what there is of this phase off `bytes`.
    #[inline]
    fn take_part<'a>(&mut self, bytes: &mut &'a [u8]) -> &'a [u8] {
        let (part, rest) = bytes.split_at(bytes.len().min(self.left as usize));
        *bytes = rest;
        self.left -= part.len() as u32;
        part
    }
}

impl Connection {
    /// Takes bytes of the peer off `bytes`, up to and with the next event; all of them when there is none. After an
    /// error the connection is over: its GOAWAY waits in [`Connection::out`] and all streams have failed.
    pub fn receive(&mut self, bytes: &mut &[u8], now_ms: u64) -> Result<Option<Event>, H2Abuse> {
        if self.over {
            *bytes = &[];
            return self.fault.map_or(Ok(None), Err);
        }
        let before = self.out.len();
        let walked = self.walk(bytes, now_ms);
        self.answers = self.answers.saturating_add(self.out.len() - before);
        if let Err(abuse) = walked {
            self.condemn(abuse);
        }
        // What a stream's reset found out on the way.
        self.fault.map_or(walked, Err)
    }

    fn walk(&mut self, bytes: &mut &[u8], now_ms: u64) -> Result<Option<Event>, H2Abuse> {
        loop {
            match self.input.phase {
                Phase::Preface => {
                    if !self.input.take_preface(bytes)? {
                        return Ok(None);
                    }
                }
                Phase::Head => {
                    let Some(frame) = self.input.take_head(bytes) else {
                        return Ok(None);
                    };
                    self.frame_begins(frame, now_ms)?;
                }
                Phase::PadLength => {
                    let Some((&padding, rest)) = bytes.split_first() else {
                        return Ok(None);
                    };
                    *bytes = rest;
                    self.data_begins(u32::from(padding), 1, now_ms)?;
                }
                Phase::Data => {
                    let part = self.input.take_part(bytes);
                    if !part.is_empty() {
                        self.data_part(part);
                    }
                    if self.input.left > 0 {
                        return Ok(None);
                    }
                    self.data_ends(now_ms)?;
                    self.input.left = self.input.padding;
                    self.input.phase = Phase::Skip;
                }
                Phase::Skip => {
                    self.input.take_part(bytes);
                    if self.input.left > 0 {
                        return Ok(None);
                    }
                    self.input.phase = Phase::Head;
                }
                Phase::Gather => {
                    if self.input.left as usize > bytes.len() {
                        let part = self.input.take_part(bytes);
                        self.input.partial.extend_from_slice(part);
                        return Ok(None);
                    }
                    let part = self.input.take_part(bytes);
                    self.input.phase = Phase::Head;
                    let event = self.gathered(part, now_ms)?;
                    if event.is_some() || self.over {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// The last part of a payload came.
    fn gathered(&mut self, part: &[u8], now_ms: u64) -> Result<Option<Event>, H2Abuse> {
        if self.input.partial.is_empty() {
            return self.payload(part, now_ms);
        }
        let mut payload = std::mem::take(&mut self.input.partial);
        payload.extend_from_slice(part);
        let event = self.payload(&payload, now_ms);
        if payload.capacity() <= KEPT_BYTES {
            payload.clear();
            self.input.partial = payload;
        }
        event
    }

    /// A frame's head came: what can be judged by it is, before any of its payload.
    fn frame_begins(&mut self, frame: FrameHead, now_ms: u64) -> Result<(), H2Abuse> {
        frame.check_length()?;
        if !self.input.begun && (frame.kind != SETTINGS || frame.has(ACK)) {
            // RFC 9113, 3.4.
            return Err(H2Abuse::Protocol);
        }
        // RFC 9113, 6.10: nothing comes between.
        let continues = self.input.block.map(|block| block.stream);
        let fits = match frame.kind {
            CONTINUATION => continues == Some(frame.stream),
            _ => continues.is_none(),
        };
        if !fits {
            return Err(H2Abuse::Protocol);
        }
        self.input.frame = frame;
        self.input.left = frame.length;
        self.input.padding = 0;
        self.input.phase = Phase::Gather;
        let of_stream = matches!(frame.kind, DATA | HEADERS | PRIORITY | RST_STREAM);
        let of_connection = matches!(frame.kind, SETTINGS | PING | GOAWAY | PRIORITY_UPDATE);
        if of_stream && frame.stream == 0 || of_connection && frame.stream != 0 {
            return Err(H2Abuse::Protocol);
        }
        match frame.kind {
            DATA => self.data_head(frame, now_ms),
            HEADERS => self.guard.block_begins(frame.length, now_ms),
            CONTINUATION => self.guard.block_goes_on(frame.length, now_ms),
            PUSH_PROMISE => Err(H2Abuse::PushPromise),
            RST_STREAM => self.guard.was_reset(frame.stream, now_ms),
            PRIORITY | SETTINGS | PING | GOAWAY | WINDOW_UPDATE => {
                self.guard.control(frame.kind, now_ms)
            }
            PRIORITY_UPDATE if self.as_server => self.guard.control(frame.kind, now_ms),
            // RFC 9218, 7.1: only clients send it.
            PRIORITY_UPDATE => Err(H2Abuse::Protocol),
            _ => {
                self.input.phase = Phase::Skip;
                self.guard.control(frame.kind, now_ms)
            }
        }
    }

    /// A payload is whole.
    fn payload(&mut self, payload: &[u8], now_ms: u64) -> Result<Option<Event>, H2Abuse> {
        let frame = self.input.frame;
        match frame.kind {
            HEADERS => return self.headers(frame, payload, now_ms),
            CONTINUATION => return self.continuation(frame, payload, now_ms),
            PRIORITY => {
                let on = frame::number(payload) & WINDOW_MAX;
                // RST_STREAM must not be sent for an idle stream (RFC 9113, 6.4).
                if on == frame.stream && self.was_opened(frame.stream) {
                    self.refuse(frame.stream, ErrorCode::PROTOCOL_ERROR, now_ms)?;
                }
            }
            RST_STREAM => self.peer_reset(frame.stream, ErrorCode(frame::number(payload)))?,
            SETTINGS => self.peer_settings(frame, payload)?,
            PING => self.peer_ping(frame, payload),
            GOAWAY => self.peer_goaway(frame::number(payload) & WINDOW_MAX),
            WINDOW_UPDATE => {
                let bytes = frame::number(payload) & WINDOW_MAX;
                self.peer_window(frame.stream, bytes, now_ms)?;
            }
            PRIORITY_UPDATE => self.peer_priority(payload)?,
            _ => {}
        }
        Ok(None)
    }

    fn headers(
        &mut self,
        frame: FrameHead,
        payload: &[u8],
        now_ms: u64,
    ) -> Result<Option<Event>, H2Abuse> {
        let mut text = payload;
        if frame.has(PADDED) {
            let (&padding, rest) = text.split_first().ok_or(H2Abuse::FrameLength)?;
            let end = rest.len().checked_sub(usize::from(padding));
            text = end
                .and_then(|end| rest.get(..end))
                .ok_or(H2Abuse::Protocol)?;
        }
        let mut on_itself = false;
        if frame.has(PRIORITY_FLAG) {
            on_itself = frame::number(text) & WINDOW_MAX == frame.stream;
            // The padding may reach into the priority.
            text = text.get(5..).ok_or(H2Abuse::Protocol)?;
        }
        let block = Block {
            stream: frame.stream,
            ended: frame.has(END_STREAM),
            on_itself,
        };
        if frame.has(END_HEADERS) {
            self.guard.block_ends();
            return self.block(block, text, now_ms);
        }
        self.input.block = Some(block);
        self.input.block_bytes.clear();
        self.input.block_bytes.extend_from_slice(text);
        Ok(None)
    }

    fn continuation(
        &mut self,
        frame: FrameHead,
        payload: &[u8],
        now_ms: u64,
    ) -> Result<Option<Event>, H2Abuse> {
        self.input.block_bytes.extend_from_slice(payload);
        if !frame.has(END_HEADERS) {
            return Ok(None);
        }
        let Some(block) = self.input.block.take() else {
            return Err(H2Abuse::Protocol);
        };
        self.guard.block_ends();
        // So long a block is rare: its memory is not kept.
        let text = std::mem::take(&mut self.input.block_bytes);
        self.block(block, &text, now_ms)
    }
}
