//! One end of a connection.
//!
//! [`receive`](Connection::receive) takes the peer's bytes; what is to be written gathers in [`out`](Connection::out).
//! Streams are used through their [`StreamRef`], by tasks that are woken when something comes or may be sent; whoever
//! owns the socket is woken when there is something to write. Nothing here calls back.

mod control;
mod data;
mod line;
mod receive;
mod send;
mod streams;

use std::task::Waker;

use thiserror::Error;

use crate::frame::{self, PREFACE, WINDOW_DEFAULT};
use crate::guard::Guard;
use crate::hpack::{Decoder, Encoder};
use crate::late::LateFrames;
use crate::settings::{self, PeerSettings};
use crate::stream::Streams;
use crate::{ErrorCode, FieldList, H2Abuse, H2GuardLimits};

use line::Line;
use receive::Input;

/// What the tables of HPACK may hold, each: what holds until SETTINGS say otherwise, and ours never do.
const TABLE_BYTES: u32 = 4096;
/// Lists of fields that are kept to be used again.
const FIELDS_KEPT: usize = 4;
/// Memory that a list may have to be kept.
const FIELDS_KEPT_BYTES: usize = 8192;
/// Bytes to the peer beyond what streams may put there, from which on nothing more is read: answers to PING and the like.
const ANSWERS_MAX: usize = 64 << 10;
/// What our PING says by which a drain finds out that its first GOAWAY has arrived.
const DRAIN_PING: [u8; 8] = *b"drained?";
/// What other PINGs of ours say.
const OUR_PING: [u8; 8] = *b"answer!!";

/// What we announce and hold to.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Bytes of DATA that the peer may send ahead on a stream (SETTINGS_INITIAL_WINDOW_SIZE).
    pub stream_window_bytes: u32,
    /// Bytes of DATA that the peer may send ahead on all streams; at least 65535.
    pub connection_window_bytes: u32,
    /// Streams that the peer may have open (SETTINGS_MAX_CONCURRENT_STREAMS); of no meaning for a client's end.
    pub streams_max: u32,
    /// Bytes of a list of fields, as RFC 9113, 6.5.2 counts them (SETTINGS_MAX_HEADER_LIST_SIZE).
    pub header_list_bytes_max: u32,
    /// Bytes to the peer that wait to be written, from which on streams have to wait.
    pub out_bytes_max: usize,
    /// What a client's frames may cost. Of a server's, only header blocks are held to it.
    pub limits: H2GuardLimits,
}

/// One stream. It stays valid until [`Connection::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRef {
    pub(crate) slot: u32,
    pub(crate) id: u32,
}

impl StreamRef {
    /// The stream's number.
    pub fn id(self) -> u32 {
        self.id
    }
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A client opened a stream; its head waits in [`Connection::poll_head`]. It has to be released in the end.
    Opened(StreamRef),
}

/// A list of fields that begins a message.
#[derive(Debug, Default)]
pub struct Head {
    /// The fields, pseudo-header fields among them. Give them back with [`Connection::give_fields`].
    pub fields: FieldList,
    /// Nothing follows.
    pub ended: bool,
}

/// Why a stream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StreamError {
    /// The peer reset it.
    #[error("the peer reset the stream: {0}")]
    Reset(ErrorCode),
    /// We reset it, because the peer broke its rules or because we were asked to.
    #[error("the stream was reset: {0}")]
    Ended(ErrorCode),
    /// The peer did not look at it (it says so by REFUSED_STREAM or by GOAWAY with a lower number, or nothing of it was
    /// sent): it may be sent again.
    #[error("the peer did not take the stream")]
    Refused,
    /// The connection is over.
    #[error("the connection was lost")]
    Lost,
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    /// Told, but what was under way is still taken.
    Told,
    /// Streams above this one are not looked at.
    After(u32),
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    as_server: bool,
    input: Input,
    decoder: Decoder,
    encoder: Encoder,
    guard: Guard,
    peer: PeerSettings,
    streams: Streams,
    late: LateFrames,
    line: Line,
    /// The highest stream that the client opened, whichever end is the client's.
    last_stream: u32,
    /// Streams that the client opened: fewer than their numbers say when it skipped some.
    opened: u32,
    /// What may still come, and what of it was read and the peer not told of.
    recv_window: i64,
    unreleased: u32,
    send_window: i64,
    out: Vec<u8>,
    written: usize,
    /// Where in all that we ever said `out` begins, and where what was offered to a write ends.
    said: u64,
    offered: u64,
    /// Bytes that the peer's frames made us answer since `out` was last empty.
    answers: usize,
    spare_fields: Vec<FieldList>,
    io: Option<Waker>,
    settings_acked: bool,
    drain: Drain,
    /// The peer sent GOAWAY.
    peer_leaves: bool,
    pong: bool,
    over: bool,
    fault: Option<H2Abuse>,
}

impl Connection {
    /// The server's end of a connection that begins `now_ms`. Its SETTINGS wait in [`Connection::out`] at once.
    pub fn server(config: Config, now_ms: u64) -> Connection {
        Connection::new(config, true, Guard::new(config.limits, now_ms))
    }

    /// The client's end. Its preface and SETTINGS wait in [`Connection::out`] at once.
    pub fn client(config: Config) -> Connection {
        Connection::new(config, false, Guard::off(config.limits))
    }

    fn new(config: Config, as_server: bool, guard: Guard) -> Connection {
        let mut out = Vec::new();
        if !as_server {
            out.extend_from_slice(PREFACE);
        }
        settings::announce(&config, as_server, &mut out);
        Connection {
            config,
            as_server,
            input: Input::new(as_server),
            decoder: Decoder::new(TABLE_BYTES),
            encoder: Encoder::new(TABLE_BYTES),
            guard,
            peer: PeerSettings::default(),
            streams: Streams::default(),
            late: LateFrames::default(),
            line: Line::default(),
            last_stream: 0,
            opened: 0,
            recv_window: i64::from(config.connection_window_bytes.max(WINDOW_DEFAULT)),
            unreleased: 0,
            send_window: i64::from(WINDOW_DEFAULT),
            out,
            written: 0,
            said: 0,
            offered: 0,
            answers: 0,
            spare_fields: Vec::new(),
            io: None,
            settings_acked: false,
            drain: Drain::No,
            peer_leaves: false,
            pong: false,
            over: false,
            fault: None,
        }
    }

    /// Whether bytes of the peer should be read: not while it does not take ours, and answers to its frames pile up. On a
    /// client's end only those count: a server that is slow to take requests may have to be read before it goes on.
    pub fn wants_bytes(&self) -> bool {
        if !self.as_server {
            return self.answers < ANSWERS_MAX;
        }
        self.waiting_out() < self.config.out_bytes_max.saturating_add(ANSWERS_MAX)
    }

    /// What is to be written.
    #[inline]
    pub fn out(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// The same, for a write that may take some of it even when it fails. A request of which nothing was offered fails
    /// with [`StreamError::Refused`] when the connection is lost, and may be sent again whatever it is.
    #[inline]
    pub fn offer(&mut self) -> &[u8] {
        self.offered = self.said + self.waiting_out() as u64;
        self.out()
    }

    #[inline]
    fn waiting_out(&self) -> usize {
        self.out.len() - self.written
    }

    /// So many bytes of it were written. Wakes streams that may send now.
    pub fn written(&mut self, bytes: usize) {
        let bytes = bytes.min(self.waiting_out());
        self.written += bytes;
        self.said += bytes as u64;
        self.offered = self.offered.max(self.said);
        self.answers = self.answers.saturating_sub(bytes);
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            self.answers = 0;
            self.line.forget_grants();
        } else if self.written >= self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
        self.grant();
    }

    /// Whom to wake when there is something to write, or the state of the connection has changed. It is forgotten when
    /// it was woken.
    pub fn set_io_waker(&mut self, waker: &Waker) {
        match &mut self.io {
            Some(io) => io.clone_from(waker),
            None => self.io = Some(waker.clone()),
        }
    }

    #[inline]
    fn wake_io(&mut self) {
        if let Some(io) = self.io.take() {
            io.wake();
        }
    }

    /// The peer sent its end, or the socket failed: streams that are not complete fail with [`StreamError::Lost`].
    pub fn lost(&mut self) {
        self.over = true;
        self.fail_all();
        self.wake_io();
    }

    /// Sends GOAWAY, with which everything ends; streams fail with [`StreamError::Lost`].
    pub fn end(&mut self, code: ErrorCode) {
        if self.over {
            return;
        }
        let last = match self.drain {
            Drain::After(last) => last,
            Drain::No | Drain::Told => self.last_of_peer(),
        };
        frame::write_goaway(&mut self.out, last, code);
        self.lost();
    }

    /// Ends the connection for what the peer did.
    fn condemn(&mut self, abuse: H2Abuse) {
        self.fault.get_or_insert(abuse);
        self.end(ErrorCode(abuse.code()));
    }

    /// What the peer did that ended the connection.
    pub fn fault(&self) -> Option<H2Abuse> {
        self.fault
    }

    fn last_of_peer(&self) -> u32 {
        if self.as_server { self.last_stream } else { 0 }
    }

    fn fail_all(&mut self) {
        // From the end, and nobody in line: either way round each would cost a look at all others.
        self.line = Line::default();
        while let Some(stream) = self.streams.last_open() {
            self.close_failed(stream, StreamError::Lost);
        }
    }

    /// Takes no more streams and lets those that are there end. A server's end sends GOAWAY with the highest number
    /// and PING, and when that is answered GOAWAY with the true last one (RFC 9113, 6.8); a client's end just says it.
    pub fn drain(&mut self) {
        if self.drain != Drain::No || self.over {
            return;
        }
        if self.as_server {
            self.drain = Drain::Told;
            frame::write_goaway(&mut self.out, frame::WINDOW_MAX, ErrorCode::NO_ERROR);
            frame::write(&mut self.out, frame::PING, 0, 0, &DRAIN_PING);
        } else {
            self.drain = Drain::After(0);
            frame::write_goaway(&mut self.out, 0, ErrorCode::NO_ERROR);
        }
        self.wake_io();
    }

    /// Whether nothing can happen any more: after an error, [`Connection::end`] or [`Connection::lost`]; or when no
    /// streams are left after a drain or the peer's GOAWAY. What is in [`Connection::out`] should still be written.
    pub fn is_over(&self) -> bool {
        let leaving = self.peer_leaves || matches!(self.drain, Drain::After(_));
        self.over || leaving && self.streams.open_len() == 0
    }

    /// Streams that are not closed on both sides.
    pub fn active(&self) -> usize {
        self.streams.open_len()
    }

    /// When the header block that is not whole yet began.
    pub fn block_since_ms(&self) -> Option<u64> {
        self.guard.block_since_ms()
    }

    /// Gives memory back that an idle connection does not need.
    pub fn trim(&mut self) {
        self.streams.trim();
        self.spare_fields = Vec::new();
        self.input.trim();
        self.line.trim();
        if self.streams.open_len() == 0 {
            self.late.trim(self.last_stream);
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Bytes of memory that are held, this struct left out.
    pub fn held_bytes(&self) -> usize {
        let lists = self.spare_fields.iter().map(FieldList::held_bytes);
        self.streams.held_bytes()
            + self.late.held_bytes()
            + self.line.held_bytes()
            + self.input.held_bytes()
            + self.decoder.held_bytes()
            + self.encoder.held_bytes()
            + self.out.capacity()
            + self.spare_fields.capacity() * size_of::<FieldList>()
            + lists.sum::<usize>()
    }

    /// Sends a PING of ours.
    pub fn ping(&mut self) {
        if !self.over {
            frame::write(&mut self.out, frame::PING, 0, 0, &OUR_PING);
            self.wake_io();
        }
    }

    /// Whether an answer to a PING of ours came since the last call.
    pub fn take_pong(&mut self) -> bool {
        std::mem::take(&mut self.pong)
    }

    /// Whether a client's end may open further streams: no GOAWAY was sent or came, and there are numbers left.
    pub fn is_open(&self) -> bool {
        let left = self.last_stream < frame::WINDOW_MAX - 2;
        !self.over && !self.peer_leaves && self.drain == Drain::No && left
    }

    /// Streams that the peer takes at a time; `usize::MAX` when it did not say.
    pub fn peer_streams_max(&self) -> usize {
        match self.peer.streams_max {
            u32::MAX => usize::MAX,
            streams => streams as usize,
        }
    }

    /// Whether the peer takes extended CONNECT (RFC 8441, 3). Not known before [`Connection::has_settings`].
    pub fn takes_extended_connect(&self) -> bool {
        self.peer.extended_connect
    }

    /// Whether the peer's SETTINGS came.
    pub fn has_settings(&self) -> bool {
        self.input.begun()
    }

    /// Gives the memory of a list back, to be used for the next head.
    pub fn give_fields(&mut self, mut fields: FieldList) {
        if self.spare_fields.len() < FIELDS_KEPT && fields.held_bytes() <= FIELDS_KEPT_BYTES {
            fields.clear();
            self.spare_fields.push(fields);
        }
    }
}
