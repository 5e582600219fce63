//! One end of a connection with a hand-written peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use keel_http2::{
    Config, Connection, Event, FieldList, H2Abuse, H2GuardLimits, StreamError, StreamRef,
};

use crate::wire::*;

/// `:method: POST`, `:scheme: http`, `:path: /`, and an authority that is kept in the table.
pub const POST: &[u8] = b"\x83\x86\x84\x41\x0ctest.example";

/// `:status: 200`.
pub const OK: &[u8] = b"\x88";

pub fn config() -> Config {
    Config {
        stream_window_bytes: 65_536,
        connection_window_bytes: 131_072,
        streams_max: 100,
        header_list_bytes_max: 65_536,
        out_bytes_max: 65_536,
        limits: H2GuardLimits::default(),
    }
}

/// Counts how often it was woken.
#[derive(Debug, Default)]
pub struct Woken(AtomicUsize);

impl Woken {
    pub fn new() -> Arc<Woken> {
        Arc::default()
    }

    /// How often since the last call.
    pub fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }

    /// Whether it was woken since the last [`Woken::take`].
    pub fn is_woken(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Woken>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

pub fn list(fields: &FieldList) -> Fields {
    fields
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

pub fn pairs<'a>(fields: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// The text of fields, for comparisons.
pub fn text(fields: &Fields) -> Vec<(String, String)> {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields
        .iter()
        .map(|(name, value)| (string(name), string(value)))
        .collect()
}

pub struct Side {
    pub conn: Connection,
    frames: FrameReader,
    pub blocks: BlockReader,
    pub opened: Vec<StreamRef>,
    pub failed: Option<H2Abuse>,
    pub now_ms: u64,
}

impl Side {
    fn new(conn: Connection) -> Side {
        Side {
            conn,
            frames: FrameReader::default(),
            blocks: BlockReader::default(),
            opened: Vec::new(),
            failed: None,
            now_ms: 0,
        }
    }

    /// A server's end that has said and heard nothing.
    pub fn fresh_server(config: Config) -> Side {
        Side::new(Connection::server(config, 0))
    }

    /// A client's end that has said and heard nothing.
    pub fn fresh_client(config: Config) -> Side {
        Side::new(Connection::client(config))
    }

    /// A server's end after the prefaces, with these settings of the client.
    pub fn server_with(config: Config, pairs: &[(u16, u32)]) -> Side {
        let mut side = Side::fresh_server(config);
        side.feed(PREFACE);
        side.feed(&[settings(pairs), settings_ack()].concat());
        assert_eq!(side.failed, None);
        side.take();
        side
    }

    pub fn server() -> Side {
        Side::server_with(config(), &[])
    }

    /// A client's end after the prefaces, with these settings of the server.
    pub fn client_with(config: Config, pairs: &[(u16, u32)]) -> Side {
        let mut side = Side::fresh_client(config);
        let out = side.conn.out().to_vec();
        assert!(out.starts_with(PREFACE), "{:?}", out.escape_ascii());
        side.conn.written(PREFACE.len());
        side.feed(&[settings(pairs), settings_ack()].concat());
        assert_eq!(side.failed, None);
        side.take();
        side
    }

    pub fn client() -> Side {
        Side::client_with(config(), &[])
    }

    /// Bytes of the peer; all of them are taken, unless the connection fails.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        let rest = &mut bytes;
        while !rest.is_empty() && self.failed.is_none() {
            let before = rest.len();
            match self.conn.receive(rest, self.now_ms) {
                Ok(Some(Event::Opened(stream))) => {
                    assert!(rest.len() < before);
                    self.opened.push(stream);
                }
                Ok(None) => assert!(rest.is_empty(), "bytes are left without an event"),
                Err(abuse) => self.failed = Some(abuse),
            }
        }
    }

    /// The frames that wait to be written.
    pub fn take(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        // What is written may make room for more.
        while !self.conn.out().is_empty() {
            let out = self.conn.out();
            let len = out.len();
            frames.extend(self.frames.feed(out));
            self.conn.written(len);
        }
        assert!(self.frames.is_at_boundary(), "half a frame");
        frames
    }

    /// Frames that wait, without answers to SETTINGS and PING, and WINDOW_UPDATE.
    pub fn take_essential(&mut self) -> Vec<Frame> {
        let mut frames = self.take();
        frames.retain(|frame| !matches!(frame.kind, SETTINGS | PING | WINDOW_UPDATE));
        frames
    }

    /// Whether a PING is answered and nothing else said.
    pub fn is_alive(&mut self) -> bool {
        let payload = *b"are you?";
        self.feed(&ping(false, payload));
        let frames = self.take();
        self.failed.is_none()
            && frames
                .iter()
                .any(|frame| frame.kind == PING && frame.has(ACK) && frame.payload == payload)
    }

    /// Opens a request of a client's end.
    pub fn open(&mut self, ended: bool) -> StreamRef {
        self.open_with(&[], ended)
    }

    pub fn open_with(&mut self, more: &[(&str, &str)], ended: bool) -> StreamRef {
        let base = [
            (":method", if ended { "GET" } else { "POST" }),
            (":scheme", "http"),
            (":authority", "test.example"),
            (":path", "/"),
        ];
        let fields = [&base[..], more].concat();
        let opened = self.conn.open(pairs(&fields), ended, false, self.now_ms);
        // As if a write had been tried.
        let _ = self.conn.offer();
        opened.expect("a stream")
    }

    pub fn head(&mut self, stream: StreamRef) -> Poll<Result<(Fields, bool), StreamError>> {
        let head = self.conn.poll_head(stream, &noop());
        head.map_ok(|head| {
            let fields = list(&head.fields);
            self.conn.give_fields(head.fields);
            (fields, head.ended)
        })
    }

    pub fn answer(&mut self, stream: StreamRef, fields: &[(&str, &str)], ended: bool) {
        let sent = self
            .conn
            .send_head(stream, pairs(fields), ended, self.now_ms);
        sent.expect("a head is sent");
    }

    /// Reads what is there: content, and what ended the reading.
    pub fn read(&mut self, stream: StreamRef) -> (Vec<u8>, Poll<Result<(), StreamError>>) {
        let (mut content, mut room) = (Vec::new(), [0; 4096]);
        loop {
            match self.conn.poll_read(stream, &noop(), &mut room) {
                Poll::Pending => return (content, Poll::Pending),
                Poll::Ready(Ok(0)) => return (content, Poll::Ready(Ok(()))),
                Poll::Ready(Ok(len)) => content.extend(&room[..len]),
                Poll::Ready(Err(error)) => return (content, Poll::Ready(Err(error))),
            }
        }
    }

    pub fn send(
        &mut self,
        stream: StreamRef,
        content: &[u8],
        last: bool,
    ) -> Poll<Result<usize, StreamError>> {
        let parts = [content, &[][..], &[][..]];
        self.conn
            .poll_send(stream, &noop(), parts, last, self.now_ms)
    }

    pub fn failure(&mut self, stream: StreamRef) -> Option<StreamError> {
        match self.conn.poll_failed(stream, &noop()) {
            Poll::Ready(error) => Some(error),
            Poll::Pending => None,
        }
    }
}
