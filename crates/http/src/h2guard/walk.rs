//! From bytes in any pieces to the heads of frames (RFC 9113, 4.1).

use super::{CONTINUATION, DATA, HEADERS, PADDED, PRIORITY_FLAG, RST_STREAM, SETTINGS};

/// Length of a frame's head.
const HEAD_BYTES: u8 = 9;
/// The most that is read before a frame is told.
const LEAD_BYTES: usize = 6;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The first bytes of the payload, as far as [`Frame::lead_len`] asks for them.
    lead: [u8; LEAD_BYTES],
}

impl Frame {
    fn of(head: [u8; HEAD_BYTES as usize]) -> Frame {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        Frame {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
            lead: [0; LEAD_BYTES],
        }
    }

    /// What stands before the content, where it has a fixed length: the length of the padding, a priority, or an
    /// error code.
    fn lead_wanted(&self) -> u32 {
        let padded = u32::from(self.flags & PADDED != 0);
        match self.kind {
            DATA => padded,
            HEADERS if self.flags & PRIORITY_FLAG != 0 => padded + 5,
            HEADERS => padded,
            RST_STREAM => 4,
            _ => 0,
        }
    }

    fn lead_len(&self) -> u8 {
        self.length.min(self.lead_wanted()) as u8
    }

    /// Whether it is too short for what stands before its content.
    pub(super) fn is_cut(&self) -> bool {
        self.length < self.lead_wanted()
    }

    /// Bytes of DATA or of a header block, without padding and what stands before; none when the padding is longer
    /// than the frame.
    pub(super) fn content(&self) -> Option<u32> {
        let [first, ..] = self.lead;
        let padded = matches!(self.kind, DATA | HEADERS) && self.flags & PADDED != 0;
        let padding = if padded { u32::from(first) } else { 0 };
        let before = u32::from(self.lead_len());
        self.length.checked_sub(before)?.checked_sub(padding)
    }

    /// The error code of RST_STREAM (RFC 9113, 7).
    pub(super) fn error_code(&self) -> u32 {
        let [a, b, c, d, ..] = self.lead;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether the payload is told too.
    fn is_read(&self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION | SETTINGS)
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A frame has begun.
    Begin(Frame),
    /// A part of the payload behind what came with the beginning: only of header blocks and settings.
    Part(&'a [u8]),
    /// Its payload is over.
    End,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Preface,
    Head,
    Lead,
    Payload,
}

/// Walks the frames of one direction.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    phase: Phase,
    /// Bytes of this phase that are here, or are still to come (preface and payload).
    count: u32,
    head: [u8; HEAD_BYTES as usize],
    frame: Frame,
}

impl Walk {
    /// `preface` bytes are skipped first.
    pub(super) fn new(preface: u8) -> Walk {
        Walk {
            phase: Phase::Preface,
            count: u32::from(preface),
            head: [0; HEAD_BYTES as usize],
            frame: Frame::default(),
        }
    }

    /// The kind of the frame that is being read.
    pub(super) fn kind(&self) -> u8 {
        self.frame.kind
    }

    /// Reads on; `None` when `bytes` are used up. What needs no more bytes is told at once, so that the cut of the
    /// input makes no difference.
    pub(super) fn step<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Step<'a>> {
        loop {
            match self.phase {
                Phase::Preface | Phase::Payload => {
                    let (part, rest) = bytes.split_at(bytes.len().min(self.count as usize));
                    *bytes = rest;
                    self.count -= part.len() as u32;
                    let told = self.frame.is_read() && matches!(self.phase, Phase::Payload);
                    if told && !part.is_empty() {
                        return Some(Step::Part(part));
                    }
                    if self.count > 0 {
                        return None;
                    }
                    if matches!(
                        std::mem::replace(&mut self.phase, Phase::Head),
                        Phase::Payload
                    ) {
                        return Some(Step::End);
                    }
                }
                Phase::Head => {
                    if !gather(&mut self.head, HEAD_BYTES, &mut self.count, bytes) {
                        return None;
                    }
                    self.frame = Frame::of(self.head);
                    (self.phase, self.count) = (Phase::Lead, 0);
                }
                Phase::Lead => {
                    let wanted = self.frame.lead_len();
                    if !gather(&mut self.frame.lead, wanted, &mut self.count, bytes) {
                        return None;
                    }
                    self.count = self.frame.length - u32::from(wanted);
                    self.phase = Phase::Payload;
                    return Some(Step::Begin(self.frame));
                }
            }
        }
    }
}

/// Fills `room` up to `wanted` bytes; whether they are there.
fn gather(room: &mut [u8], wanted: u8, have: &mut u32, bytes: &mut &[u8]) -> bool {
    let missing = u32::from(wanted).saturating_sub(*have) as usize;
    let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
    let at = *have as usize;
    if let Some(room) = room.get_mut(at..at + taken.len()) {
        room.copy_from_slice(taken);
    }
    *bytes = rest;
    *have += taken.len() as u32;
    taken.len() == missing
}
