//! Frames (RFC 9113 sections 4 and 6).

/// Frame types.
pub const DATA: u8 = 0;
/// A header block begins.
pub const HEADERS: u8 = 1;
/// Deprecated priority.
pub const PRIORITY: u8 = 2;
/// A stream ends early.
pub const RST_STREAM: u8 = 3;
/// Settings, or that they were taken.
pub const SETTINGS: u8 = 4;
/// Server push.
pub const PUSH_PROMISE: u8 = 5;
/// Ping, or its answer.
pub const PING: u8 = 6;
/// The connection ends.
pub const GOAWAY: u8 = 7;
/// More may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// A header block goes on.
pub const CONTINUATION: u8 = 9;
/// RFC 9218.
pub const PRIORITY_UPDATE: u8 = 0x10;

/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// Flag of DATA and HEADERS.
pub const PADDED: u8 = 8;
/// Flag of HEADERS: five bytes of priority come first.
pub const WITH_PRIORITY: u8 = 0x20;

/// Settings (section 6.5.2, RFC 8441).
pub mod setting {
    /// Size of the table for header compression.
    pub const HEADER_TABLE_SIZE: u16 = 1;
    /// Server push.
    pub const ENABLE_PUSH: u16 = 2;
    /// Streams at once.
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    /// Window that a stream begins with.
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    /// Largest payload of a frame.
    pub const MAX_FRAME_SIZE: u16 = 5;
    /// Largest list of fields.
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// Extended CONNECT.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// Error codes (section 7).
pub mod code {
    /// All is well.
    pub const NO_ERROR: u32 = 0;
    /// A breach of the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// A fault of the sender.
    pub const INTERNAL_ERROR: u32 = 2;
    /// More was sent than the window allowed.
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    /// SETTINGS were not answered.
    pub const SETTINGS_TIMEOUT: u32 = 4;
    /// A frame for a stream that is closed.
    pub const STREAM_CLOSED: u32 = 5;
    /// A frame of a wrong size.
    pub const FRAME_SIZE_ERROR: u32 = 6;
    /// Nothing was done with it.
    pub const REFUSED_STREAM: u32 = 7;
    /// No longer wanted.
    pub const CANCEL: u32 = 8;
    /// Header compression is out of step.
    pub const COMPRESSION_ERROR: u32 = 9;
    /// The far side of a CONNECT went away.
    pub const CONNECT_ERROR: u32 = 10;
    /// Too much.
    pub const ENHANCE_YOUR_CALM: u32 = 11;
    /// TLS is not good enough.
    pub const INADEQUATE_SECURITY: u32 = 12;
    /// HTTP/1.1 is wanted.
    pub const HTTP_1_1_REQUIRED: u32 = 13;
}

/// What a client begins with (section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes before the payload.
pub const HEAD_LEN: usize = 9;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream, with the reserved bit when that is set.
    pub stream: u32,
    /// All after the nine bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Any frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// DATA.
    pub fn data(stream: u32, bytes: impl Into<Vec<u8>>, end: bool) -> Frame {
        Frame::new(DATA, u8::from(end) * END_STREAM, stream, bytes)
    }

    /// HEADERS with the whole block.
    pub fn headers(stream: u32, block: impl Into<Vec<u8>>, end: bool) -> Frame {
        Frame::new(
            HEADERS,
            END_HEADERS | (u8::from(end) * END_STREAM),
            stream,
            block,
        )
    }

    /// CONTINUATION, the last one or not.
    pub fn continuation(stream: u32, block: impl Into<Vec<u8>>, last: bool) -> Frame {
        Frame::new(CONTINUATION, u8::from(last) * END_HEADERS, stream, block)
    }

    /// PRIORITY.
    pub fn priority(stream: u32, parent: u32, weight: u8) -> Frame {
        let mut payload = parent.to_be_bytes().to_vec();
        payload.push(weight);
        Frame::new(PRIORITY, 0, stream, payload)
    }

    /// RST_STREAM.
    pub fn reset(stream: u32, code: u32) -> Frame {
        Frame::new(RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// SETTINGS.
    pub fn settings(settings: &[(u16, u32)]) -> Frame {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        Frame::new(SETTINGS, 0, 0, payload)
    }

    /// SETTINGS with ACK.
    pub fn settings_ack() -> Frame {
        Frame::new(SETTINGS, ACK, 0, [])
    }

    /// PING.
    pub fn ping(data: [u8; 8]) -> Frame {
        Frame::new(PING, 0, 0, data)
    }

    /// PING with ACK.
    pub fn pong(data: [u8; 8]) -> Frame {
        Frame::new(PING, ACK, 0, data)
    }

    /// GOAWAY.
    pub fn goaway(last: u32, code: u32) -> Frame {
        Frame::new(
            GOAWAY,
            0,
            0,
            [last.to_be_bytes(), code.to_be_bytes()].concat(),
        )
    }

    /// WINDOW_UPDATE.
    pub fn window_update(stream: u32, by: u32) -> Frame {
        Frame::new(WINDOW_UPDATE, 0, stream, by.to_be_bytes())
    }

    /// True when the flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = u32::try_from(self.payload.len()).expect("a payload below 16 MiB");
        let mut bytes = len.to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Length of the payload, and the frame without it, of nine bytes.
    pub(super) fn head(bytes: &[u8]) -> Option<(usize, Frame)> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<HEAD_LEN>()?;
        let len = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Some((
            usize::try_from(len).ok()?,
            Frame::new(kind, flags, stream, []),
        ))
    }

    /// Four bytes of the payload as a number.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}
