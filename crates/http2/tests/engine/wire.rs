//! Frames and header blocks, written and read by hand: the tests share no code with what they judge.

use loona_hpack::Decoder;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const PRIORITY_UPDATE: u8 = 16;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

pub const HEADER_TABLE_SIZE: u16 = 1;
pub const ENABLE_PUSH: u16 = 2;
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_FRAME_SIZE: u16 = 5;
pub const MAX_HEADER_LIST_SIZE: u16 = 6;
pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
pub const NO_RFC7540_PRIORITIES: u16 = 9;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Largest payload that nobody has to announce.
pub const FRAME_MAX: usize = 16_384;

pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A frame as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Frame {
            kind,
            flags,
            stream,
            payload,
        } = self;
        let shown = &payload[..payload.len().min(24)];
        write!(
            f,
            "[{kind} {flags:#x} {stream} {}: {}]",
            payload.len(),
            shown.escape_ascii()
        )
    }
}

impl Frame {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether its sender sends nothing more on the stream.
    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.has(END_STREAM)
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.number(at)
    }

    /// The four bytes at `at` as a number.
    pub fn number(&self, at: usize) -> u32 {
        let bytes = self.payload[at..at + 4].try_into().unwrap();
        u32::from_be_bytes(bytes)
    }

    /// Identifiers and values of SETTINGS.
    pub fn settings(&self) -> Vec<(u16, u32)> {
        let pair = |six: &[u8]| {
            let id = u16::from_be_bytes(six[..2].try_into().unwrap());
            (id, u32::from_be_bytes(six[2..].try_into().unwrap()))
        };
        self.payload.chunks_exact(6).map(pair).collect()
    }
}

/// A frame as bytes, with the length that the payload has.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

pub fn data(stream: u32, content: impl AsRef<[u8]>, ends: bool) -> Vec<u8> {
    frame(DATA, u8::from(ends), stream, content.as_ref())
}

/// HEADERS with a whole block.
pub fn headers(stream: u32, block: impl AsRef<[u8]>, ends: bool) -> Vec<u8> {
    let flags = END_HEADERS | u8::from(ends);
    frame(HEADERS, flags, stream, block.as_ref())
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in pairs {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

pub fn settings_ack() -> Vec<u8> {
    frame(SETTINGS, ACK, 0, b"")
}

pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub fn ping(ack: bool, payload: [u8; 8]) -> Vec<u8> {
    frame(PING, u8::from(ack), 0, &payload)
}

/// Stream, exclusive and weight, as PRIORITY and HEADERS carry them.
pub fn dependency(on: u32, exclusive: bool, weight: u8) -> Vec<u8> {
    let word = on | (u32::from(exclusive) << 31);
    [&word.to_be_bytes()[..], &[weight]].concat()
}

/// A header block of literals that change no table.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        string(&mut out, name.as_ref());
        string(&mut out, value.as_ref());
    }
    out
}

/// A string without the Huffman code (RFC 7541, 5.1 and 5.2).
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    let mut len = text.len();
    if len < 0x7f {
        out.push(len as u8);
    } else {
        out.push(0x7f);
        len -= 0x7f;
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
    }
    out.extend(text);
}

/// Cuts a stream of bytes into frames.
#[derive(Default)]
pub struct FrameReader {
    have: Vec<u8>,
}

impl FrameReader {
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.have.extend(bytes);
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some(head) = self.have.get(at..at + 9) {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
            let (kind, flags) = (head[3], head[4]);
            let Some(payload) = self.have.get(at + 9..at + 9 + len) else {
                break;
            };
            frames.push(Frame {
                kind,
                flags,
                stream,
                payload: payload.to_vec(),
            });
            at += 9 + len;
        }
        self.have.drain(..at);
        frames
    }

    /// Whether all that came were whole frames.
    pub fn is_at_boundary(&self) -> bool {
        self.have.is_empty()
    }
}

/// Puts header blocks together and decodes them.
pub struct BlockReader {
    decoder: Decoder<'static>,
    open: Option<(u32, bool, Vec<u8>)>,
}

impl Default for BlockReader {
    fn default() -> BlockReader {
        BlockReader {
            decoder: Decoder::new(),
            open: None,
        }
    }
}

impl BlockReader {
    /// Gives stream, fields and END_STREAM when `frame` ends a block.
    pub fn feed(&mut self, frame: &Frame) -> Option<(u32, Fields, bool)> {
        match frame.kind {
            HEADERS => {
                assert!(self.open.is_none(), "a block within a block");
                assert!(!frame.has(PADDED | WITH_PRIORITY), "we send neither");
                self.open = Some((frame.stream, frame.has(END_STREAM), frame.payload.clone()));
            }
            CONTINUATION => {
                let (stream, _, block) = self.open.as_mut().expect("a block goes on");
                assert_eq!(*stream, frame.stream);
                block.extend(&frame.payload);
            }
            _ => {
                assert!(self.open.is_none(), "{frame:?} within a block");
                return None;
            }
        }
        if !frame.has(END_HEADERS) {
            return None;
        }
        let (stream, ends, block) = self.open.take()?;
        let fields = self.decoder.decode(&block).expect("a block of ours");
        Some((stream, fields, ends))
    }
}
