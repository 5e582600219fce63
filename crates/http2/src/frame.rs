//! Frames: their heads, and the short ones whole (RFC 9113, 4.1 and 6).

use crate::{ErrorCode, H2Abuse};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// RFC 9218, 7.1.
pub(crate) const PRIORITY_UPDATE: u8 = 16;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITY_FLAG: u8 = 0x20;

/// With what a client begins (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's head.
pub(crate) const HEAD_BYTES: usize = 9;
/// The largest payload either way: what holds until a peer is told otherwise, and we tell nothing else.
pub(crate) const PAYLOAD_MAX: usize = 16_384;
/// What a window is until SETTINGS say otherwise (RFC 9113, 6.9.2).
pub(crate) const WINDOW_DEFAULT: u32 = 65_535;
/// What a window is at most (RFC 9113, 6.9.1).
pub(crate) const WINDOW_MAX: u32 = (1 << 31) - 1;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameHead {
    /// Bytes of the payload.
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHead {
    /// Reads a head.
    #[inline]
    pub(crate) fn read(bytes: [u8; HEAD_BYTES]) -> FrameHead {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        FrameHead {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }

    /// The head as bytes.
    #[inline]
    pub(crate) fn bytes(self) -> [u8; HEAD_BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Whether a flag is set.
    #[inline]
    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The lengths that frames may have (RFC 9113, 4.2 and 6).
    pub(crate) fn check_length(self) -> Result<(), H2Abuse> {
        if self.length as usize > PAYLOAD_MAX {
            return Err(H2Abuse::FrameTooLong);
        }
        let padded = u32::from(self.has(PADDED));
        let right = match self.kind {
            DATA => self.length >= padded,
            HEADERS if self.has(PRIORITY_FLAG) => self.length >= padded + 5,
            HEADERS => self.length >= padded,
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            SETTINGS if self.has(ACK) => self.length == 0,
            SETTINGS => self.length.is_multiple_of(6),
            PING => self.length == 8,
            GOAWAY => self.length >= 8,
            PRIORITY_UPDATE => self.length >= 4,
            _ => true,
        };
        match right {
            true => Ok(()),
            false => Err(H2Abuse::FrameLength),
        }
    }
}

/// Appends a frame.
pub(crate) fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let head = FrameHead {
        length: payload.len() as u32,
        kind,
        flags,
        stream,
    };
    out.extend_from_slice(&head.bytes());
    out.extend_from_slice(payload);
}

/// Appends RST_STREAM.
pub(crate) fn write_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    write(out, RST_STREAM, 0, stream, &code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE.
pub(crate) fn write_window(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    write(out, WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

/// Appends GOAWAY.
pub(crate) fn write_goaway(out: &mut Vec<u8>, last: u32, code: ErrorCode) {
    let [l0, l1, l2, l3] = last.to_be_bytes();
    let [c0, c1, c2, c3] = code.0.to_be_bytes();
    write(out, GOAWAY, 0, 0, &[l0, l1, l2, l3, c0, c1, c2, c3]);
}

/// The number at the beginning of a payload.
#[inline]
pub(crate) fn number(payload: &[u8]) -> u32 {
    payload
        .first_chunk::<4>()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
