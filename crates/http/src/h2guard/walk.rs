//! From bytes in any pieces to the heads of frames (RFC 9113, 4.1).

use super::{DATA, PADDED, RST_STREAM};

/// Length of a frame's head.
const HEAD_BYTES: u8 = 9;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The first bytes of the payload, as far as [`Frame::lead_len`] asks for them.
    lead: [u8; 4],
}

impl Frame {
    fn of(head: [u8; HEAD_BYTES as usize]) -> Frame {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        Frame {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
            lead: [0; 4],
        }
    }

    /// How much of the payload is read: the length of the padding, or an error code.
    fn lead_len(&self) -> u8 {
        let wanted = match self.kind {
            DATA if self.flags & PADDED != 0 => 1,
            RST_STREAM => 4,
            _ => 0,
        };
        self.length.min(wanted) as u8
    }

    /// Bytes of DATA without padding.
    pub(super) fn content(&self) -> u32 {
        if self.kind == DATA && self.flags & PADDED != 0 {
            let [padding, ..] = self.lead;
            self.length.saturating_sub(1 + u32::from(padding))
        } else {
            self.length
        }
    }

    /// The error code of RST_STREAM (RFC 9113, 7).
    pub(super) fn error_code(&self) -> u32 {
        u32::from_be_bytes(self.lead)
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A frame has begun.
    Begin(Frame),
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

    /// Reads on; `None` when `bytes` are used up. What needs no more bytes is told at once, so that the cut of the
    /// input makes no difference.
    pub(super) fn step(&mut self, bytes: &mut &[u8]) -> Option<Step> {
        loop {
            match self.phase {
                Phase::Preface | Phase::Payload => {
                    let skip = bytes.len().min(self.count as usize);
                    *bytes = bytes.get(skip..).unwrap_or_default();
                    self.count -= skip as u32;
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
