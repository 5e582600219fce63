//! Reads what one end sends as a strict peer would, and knows what the end was allowed.

use std::collections::BTreeMap;

use crate::wire::*;

/// One stream as its sender left it.
#[derive(Debug, Default)]
struct Seen {
    ended: bool,
    reset: bool,
    /// What its sender may still send, but for changes of the setting.
    window: i64,
}

/// Frames of one direction.
pub struct Watch {
    name: &'static str,
    sent: FrameReader,
    heard: FrameReader,
    blocks: BlockReader,
    streams: BTreeMap<u32, Seen>,
    /// What the sender may send by what it has been told.
    window: i64,
    initial: i64,
    /// What the sender has let the other end send.
    pub granted: u64,
    /// What the other end has sent to it.
    pub taken: u64,
    last_goaway: u32,
    is_server: bool,
    /// Bytes of the client's preface that are still to come, of what is said and what is heard.
    preface: [usize; 2],
}

impl Watch {
    pub fn new(is_server: bool) -> Watch {
        Watch {
            name: if is_server { "server" } else { "client" },
            sent: FrameReader::default(),
            heard: FrameReader::default(),
            blocks: BlockReader::default(),
            streams: BTreeMap::new(),
            window: 65_535,
            initial: 65_535,
            granted: 65_535,
            taken: 0,
            last_goaway: u32::MAX,
            is_server,
            preface: match is_server {
                true => [0, PREFACE.len()],
                false => [PREFACE.len(), 0],
            },
        }
    }

    /// Bytes that the end has in its `out` now and had not before.
    pub fn says(&mut self, bytes: &[u8]) {
        let bytes = self.behind_preface(0, bytes);
        for frame in self.sent.feed(bytes) {
            self.said(&frame);
        }
    }

    /// Bytes that have arrived at the end.
    pub fn hears(&mut self, bytes: &[u8]) {
        let bytes = self.behind_preface(1, bytes);
        for frame in self.heard.feed(bytes) {
            match frame.kind {
                WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number(0)),
                WINDOW_UPDATE => {
                    let by = i64::from(frame.number(0));
                    if let Some(seen) = self.streams.get_mut(&frame.stream) {
                        seen.window += by;
                    }
                }
                SETTINGS => self.settings(&frame),
                DATA => {
                    self.taken += frame.payload.len() as u64;
                    self.window_of_peer();
                }
                HEADERS if self.is_server && !self.streams.contains_key(&frame.stream) => {
                    self.open(frame.stream);
                }
                _ => {}
            }
        }
    }

    fn behind_preface<'b>(&mut self, which: usize, bytes: &'b [u8]) -> &'b [u8] {
        let n = self.preface[which].min(bytes.len());
        self.preface[which] -= n;
        &bytes[n..]
    }

    fn open(&mut self, stream: u32) {
        let window = self.initial;
        self.streams.insert(
            stream,
            Seen {
                window,
                ..Seen::default()
            },
        );
    }

    fn settings(&mut self, frame: &Frame) {
        for (id, value) in frame.settings() {
            if id == INITIAL_WINDOW_SIZE {
                let more = i64::from(value) - self.initial;
                self.initial = i64::from(value);
                for seen in self.streams.values_mut() {
                    seen.window += more;
                }
            }
        }
    }

    fn window_of_peer(&self) {
        assert!(self.taken <= self.granted, "{}: {}", self.name, self.taken);
    }

    fn said(&mut self, frame: &Frame) {
        let (name, stream) = (self.name, frame.stream);
        assert!(
            frame.payload.len() <= FRAME_MAX,
            "{name}: too large {frame:?}"
        );
        let block = self.blocks.feed(frame);
        match frame.kind {
            SETTINGS | PING => assert_eq!(stream, 0),
            GOAWAY => {
                let last = frame.number(0);
                assert!(last <= self.last_goaway, "{name}: {frame:?}");
                self.last_goaway = last;
            }
            WINDOW_UPDATE => self.said_update(frame),
            DATA => self.said_data(frame),
            HEADERS | CONTINUATION => {
                if let Some((stream, _, ends)) = block {
                    self.said_block(stream, ends);
                }
            }
            RST_STREAM => {
                let seen = self.streams.get_mut(&stream).expect("a stream that was");
                assert!(!seen.reset, "{name}: reset twice {frame:?}");
                seen.reset = true;
            }
            kind => panic!("{name}: a frame of kind {kind}"),
        }
    }

    fn said_block(&mut self, stream: u32, ends: bool) {
        let name = self.name;
        if !self.is_server && !self.streams.contains_key(&stream) {
            let last = self.streams.last_key_value().map_or(0, |(last, _)| *last);
            assert!(stream % 2 == 1 && stream > last, "{name}: {stream}");
            self.open(stream);
        }
        let seen = self.streams.get_mut(&stream).expect("a stream that was");
        assert!(!seen.ended && !seen.reset, "{name}: HEADERS on {stream}");
        seen.ended = ends;
    }

    fn said_data(&mut self, frame: &Frame) {
        let name = self.name;
        let len = frame.payload.len() as i64;
        assert!(len > 0 || frame.ends(), "{name}: of no use: {frame:?}");
        let seen = self.streams.get_mut(&frame.stream).expect("a stream");
        assert!(!seen.ended && !seen.reset, "{name}: {frame:?}");
        seen.window -= len;
        seen.ended = frame.ends();
        self.window -= len;
        assert!(
            len == 0 || seen.window >= 0,
            "{name}: beyond the stream's window {frame:?}"
        );
        assert!(
            len == 0 || self.window >= 0,
            "{name}: beyond the window {frame:?}"
        );
    }

    fn said_update(&mut self, frame: &Frame) {
        let name = self.name;
        let by = u64::from(frame.number(0));
        assert!(by > 0 && by <= 0x7fff_ffff, "{name}: {frame:?}");
        if frame.stream == 0 {
            self.granted += by;
            return;
        }
        let seen = self.streams.get(&frame.stream).expect("a stream");
        assert!(!seen.reset, "{name}: {frame:?} behind a reset");
    }

    /// What the other end may still send on the connection.
    pub fn open_window(&self) -> u64 {
        self.granted - self.taken
    }
}
