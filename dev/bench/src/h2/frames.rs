//! Frames (RFC 9113, 4): reading them as their bytes come, and the few that a client writes.

use std::io;

/// What a client sends first (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before a frame's payload.
const HEAD_BYTES: usize = 9;
/// Most bytes of a payload, as nothing else is announced.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Largest window (RFC 9113, 6.9.1).
pub const WINDOW_MAX: u32 = (1 << 31) - 1;
/// Window of a connection at its start.
pub const WINDOW_START: u32 = 65_535;

/// Type of a frame with bytes of a body.
pub const DATA: u8 = 0;
/// Type of a frame with a header block.
pub const HEADERS: u8 = 1;
/// Type of a frame that ends a stream early.
pub const RST_STREAM: u8 = 3;
/// Type of a frame with settings.
pub const SETTINGS: u8 = 4;
/// Type of a frame that asks for an echo.
pub const PING: u8 = 6;
/// Type of a frame that announces the end of a connection.
pub const GOAWAY: u8 = 7;
/// Type of a frame that allows more bytes.
pub const WINDOW_UPDATE: u8 = 8;
/// Type of a frame that continues a header block.
pub const CONTINUATION: u8 = 9;

/// Flag of HEADERS and DATA: the last frame of its stream.
pub const END_STREAM: u8 = 1;
/// Flag of SETTINGS and PING: an answer to one.
pub const ACK: u8 = 1;
/// Flag of HEADERS: the block is complete.
pub const END_HEADERS: u8 = 4;
/// Flag of HEADERS and DATA: there is padding.
pub const PADDED: u8 = 8;
/// Flag of HEADERS: there is a priority.
const PRIORITY: u8 = 32;

const SETTING_HEADER_TABLE_SIZE: u16 = 1;
const SETTING_ENABLE_PUSH: u16 = 2;
const SETTING_INITIAL_WINDOW_SIZE: u16 = 4;
/// Size of the table of headers that both sides have unless a setting says otherwise (RFC 9113, 6.5.2).
const HEADER_TABLE_SIZE: u32 = 4096;

/// What is before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload.
    pub len: usize,
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream; 0 for the connection.
    pub stream: u32,
}

impl FrameHead {
    fn parse(b: &[u8; HEAD_BYTES]) -> FrameHead {
        FrameHead {
            len: u32::from_be_bytes([0, b[0], b[1], b[2]]) as usize,
            kind: b[3],
            flags: b[4],
            stream: u32::from_be_bytes([b[5], b[6], b[7], b[8]]) & WINDOW_MAX,
        }
    }

    /// This flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let len = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[len[1], len[2], len[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// What a client begins with: preface, settings, and a window of `window` bytes for each stream; the connection's is the
/// largest one unless streams have none.
pub fn opening(window: u32) -> Vec<u8> {
    let mut settings = Vec::new();
    for (id, value) in [
        (SETTING_ENABLE_PUSH, 0),
        (SETTING_INITIAL_WINDOW_SIZE, window),
    ] {
        settings.extend_from_slice(&u16::to_be_bytes(id));
        settings.extend_from_slice(&u32::to_be_bytes(value));
    }
    let mut out = PREFACE.to_vec();
    put(&mut out, SETTINGS, 0, 0, &settings);
    if window > 0 {
        put_window(&mut out, WINDOW_MAX - WINDOW_START);
    }
    out
}

/// Appends a frame that allows so many bytes more on the connection.
pub fn put_window(out: &mut Vec<u8>, bytes: u32) {
    put(out, WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
}

/// Appends the answer to a frame that every client answers, if it is one of these: SETTINGS and PING. Fails when the peer
/// ends the connection, or limits the table of headers, on which prepared requests rely.
pub fn put_duty(out: &mut Vec<u8>, head: FrameHead, payload: &[u8]) -> io::Result<()> {
    match head.kind {
        SETTINGS if !head.has(ACK) => {
            let entry = |part: &[u8]| {
                let id = u16::from_be_bytes([part[0], part[1]]);
                (id, u32::from_be_bytes([part[2], part[3], part[4], part[5]]))
            };
            let is_small =
                |(id, value)| id == SETTING_HEADER_TABLE_SIZE && value < HEADER_TABLE_SIZE;
            if payload.chunks_exact(6).map(entry).any(is_small) {
                return Err(fault("the proxy wants a smaller table of headers"));
            }
            put(out, SETTINGS, ACK, 0, &[]);
        }
        PING if !head.has(ACK) => put(out, PING, ACK, 0, payload),
        GOAWAY => {
            let code = payload.get(7).copied().unwrap_or(0);
            return Err(fault(&format!("GOAWAY with code {code}")));
        }
        _ => {}
    }
    Ok(())
}

/// Status of the header block in a HEADERS frame, from its first byte; 0 when it is not one of the seven of the static
/// table (RFC 7541, appendix A), which no document of ours has.
pub fn status(head: FrameHead, payload: &[u8]) -> u16 {
    let mut start = usize::from(head.has(PADDED));
    if head.has(PRIORITY) {
        start += 5;
    }
    let mut block = payload.get(start..).unwrap_or_default();
    // A change of the table's size comes before the fields; sizes of some thousands take three bytes.
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
        if first & 0x1f == 0x1f {
            let end = block.iter().position(|byte| byte & 0x80 == 0);
            block = block
                .get(end.map_or(block.len(), |at| at + 1)..)
                .unwrap_or_default();
        }
    }
    match block.first() {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8a) => 206,
        Some(0x8b) => 304,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

/// Bytes of a frame: all of its payload, or for DATA a part of it.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// The frame.
    pub head: FrameHead,
    /// Its bytes.
    pub payload: &'a [u8],
    /// The payload ends with them.
    pub is_last: bool,
}

/// Cuts bytes into frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    partial: [u8; HEAD_BYTES],
    filled: usize,
    head: Option<FrameHead>,
    /// Bytes of the payload still to come.
    left: usize,
    carry: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes as they came and gives what they complete to `visit`.
    pub fn read(
        &mut self,
        mut bytes: &[u8],
        mut visit: impl FnMut(Piece<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let Some(head) = self.head else {
                let wanted = (HEAD_BYTES - self.filled).min(bytes.len());
                self.partial[self.filled..self.filled + wanted].copy_from_slice(&bytes[..wanted]);
                self.filled += wanted;
                bytes = &bytes[wanted..];
                if self.filled < HEAD_BYTES {
                    return Ok(());
                }
                self.begin()?;
                continue;
            };
            let count = self.left.min(bytes.len());
            let (payload, rest) = bytes.split_at(count);
            bytes = rest;
            self.left -= count;
            let is_last = self.left == 0;
            if head.kind == DATA || (is_last && self.carry.is_empty()) {
                if count > 0 || is_last {
                    visit(Piece {
                        head,
                        payload,
                        is_last,
                    })?;
                }
            } else {
                self.carry.extend_from_slice(payload);
                if is_last {
                    let payload = &self.carry;
                    visit(Piece {
                        head,
                        payload,
                        is_last,
                    })?;
                    self.carry.clear();
                }
            }
            if !is_last {
                return Ok(());
            }
            self.head = None;
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let head = FrameHead::parse(&self.partial);
        if head.len > PAYLOAD_BYTES_MAX {
            return Err(fault("a frame is longer than 16 KiB"));
        }
        self.filled = 0;
        self.left = head.len;
        self.head = Some(head);
        Ok(())
    }
}

/// An error of the peer.
pub fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("HTTP/2: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(parts: &[&[u8]]) -> Vec<(u8, u32, Vec<u8>, bool)> {
        let mut reader = FrameReader::default();
        let mut found = Vec::new();
        for part in parts {
            let seen = reader.read(part, |piece| {
                let Piece {
                    head,
                    payload,
                    is_last,
                } = piece;
                found.push((head.kind, head.stream, payload.to_vec(), is_last));
                Ok(())
            });
            seen.unwrap();
        }
        found
    }

    #[test]
    fn frames_are_read_whole_at_every_cut() {
        let mut bytes = Vec::new();
        put(&mut bytes, SETTINGS, 0, 0, &[1, 2, 3]);
        put(&mut bytes, HEADERS, END_HEADERS, 7, &[0x88]);
        put(&mut bytes, SETTINGS, ACK, 0, &[]);
        let whole = vec![
            (SETTINGS, 0, vec![1, 2, 3], true),
            (HEADERS, 7, vec![0x88], true),
            (SETTINGS, 0, vec![], true),
        ];
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(pieces(&[first, second]), whole, "{cut}");
        }
    }

    #[test]
    fn data_comes_in_parts() {
        let mut bytes = Vec::new();
        put(&mut bytes, DATA, END_STREAM, 5, b"abcdef");
        put(&mut bytes, DATA, END_STREAM, 7, b"");
        let found = pieces(&[&bytes[..12], &bytes[12..]]);
        let wanted = vec![
            (DATA, 5, b"abc".to_vec(), false),
            (DATA, 5, b"def".to_vec(), true),
            (DATA, 7, vec![], true),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn too_long_frames_are_refused() {
        let mut reader = FrameReader::default();
        let head = [0, 0x40, 1, 0, 0, 0, 0, 0, 1];
        assert!(reader.read(&head, |_| Ok(())).is_err());
    }

    #[test]
    fn a_status_is_the_first_field() {
        let head = |flags| FrameHead {
            len: 0,
            kind: HEADERS,
            flags,
            stream: 1,
        };
        assert_eq!(status(head(0), &[0x88, 1]), 200);
        assert_eq!(
            status(head(PADDED | PRIORITY), &[0, 0, 0, 0, 0, 9, 0x8d]),
            404
        );
        // The table becomes 4096 bytes, then 0 bytes, then the field.
        assert_eq!(status(head(0), &[0x3f, 0xe1, 0x1f, 0x20, 0x88]), 200);
        assert_eq!(status(head(0), &[0x48, 3]), 0);
        assert_eq!(status(head(0), &[]), 0);
        assert_eq!(status(head(0), &[0x3f, 0xe1]), 0);
    }

    #[test]
    fn duties() {
        let mut out = Vec::new();
        let head = |kind, flags| FrameHead {
            len: 0,
            kind,
            flags,
            stream: 0,
        };
        put_duty(&mut out, head(PING, 0), b"12345678").unwrap();
        put_duty(&mut out, head(PING, ACK), b"12345678").unwrap();
        put_duty(&mut out, head(SETTINGS, ACK), &[]).unwrap();
        put_duty(&mut out, head(SETTINGS, 0), &[0, 3, 0, 0, 0, 100]).unwrap();
        let mut wanted = Vec::new();
        put(&mut wanted, PING, ACK, 0, b"12345678");
        put(&mut wanted, SETTINGS, ACK, 0, &[]);
        assert_eq!(out, wanted);
        assert!(put_duty(&mut out, head(SETTINGS, 0), &[0, 1, 0, 0, 0, 0]).is_err());
        assert!(put_duty(&mut out, head(GOAWAY, 0), &[0; 8]).is_err());
    }
}
