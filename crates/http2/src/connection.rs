//! One end of a connection.
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use crate::{ErrorCode, FieldList, H2Abuse, H2GuardLimits};

/// What we announce and hold to.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Bytes of DATA that the peer may send ahead on a stream (SETTINGS_INITIAL_WINDOW_SIZE).
    pub stream_window_bytes: u32,
    /// Bytes of DATA that the peer may send ahead on all streams; at least 65535.
    pub connection_window_bytes: u32,
    /// Streams that the peer may have open (SETTINGS_MAX_CONCURRENT_STREAMS); for a client's end of no meaning.
    pub streams_max: u32,
    /// Bytes of a list of fields (SETTINGS_MAX_HEADER_LIST_SIZE).
    pub header_list_bytes_max: u32,
    /// Bytes to the peer that wait to be written, from which on streams have to wait.
    pub out_bytes_max: usize,
    /// What the peer's frames may cost.
    pub limits: H2GuardLimits,
}

/// One stream. It stays valid until [`Connection::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRef {
    slot: u32,
    id: u32,
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
    /// The peer said that it did not look at it (REFUSED_STREAM, or GOAWAY with a lower number): it may be sent again.
    #[error("the peer did not take the stream")]
    Refused,
    /// The connection is over.
    #[error("the connection was lost")]
    Lost,
}

impl Connection {
    /// The server's end of a connection. Its SETTINGS wait in [`Connection::out`] at once.
    pub fn server(config: Config, now_ms: u64) -> Connection;
    /// The client's end. Its preface and SETTINGS wait in [`Connection::out`] at once.
    pub fn client(config: Config, now_ms: u64) -> Connection;

    // ---- what the task that owns the socket does

    /// Takes bytes of the peer off `bytes`, up to and with the next event; all of them when there is none. After an
    /// error the connection is over: its GOAWAY waits in [`Connection::out`] and all streams have failed.
    pub fn receive(&mut self, bytes: &mut &[u8], now_ms: u64) -> Result<Option<Event>, H2Abuse>;
    /// Whether bytes of the peer should be read: not when it does not take ours.
    pub fn wants_bytes(&self) -> bool;
    /// The peer sent its end, or the socket failed: streams that are not complete fail with `Lost`.
    pub fn lost(&mut self);
    /// What is to be written.
    pub fn out(&self) -> &[u8];
    /// So many bytes of it were written. Wakes streams that may send now.
    pub fn written(&mut self, bytes: usize);
    /// Whom to wake when there is something to write, or the state of the connection changed.
    pub fn set_io_waker(&mut self, waker: &Waker);
    /// GOAWAY, with which everything ends; streams fail with `Lost`.
    pub fn end(&mut self, code: ErrorCode);
    /// Lets the streams that are there end, and takes no more: GOAWAY with the highest number and PING, then, when that is answered, GOAWAY with the true last number. On a client's end: GOAWAY at once.
    pub fn drain(&mut self);
    /// Whether nothing can happen any more: after an error, `end` or `lost`; or after `drain` or a GOAWAY of the peer when no streams are left. What is in `out` should still be written.
    pub fn is_over(&self) -> bool;
    /// Streams that are open (not yet closed on both sides).
    pub fn active(&self) -> usize;
    /// When the header block that is not whole yet began.
    pub fn block_since_ms(&self) -> Option<u64>;
    /// Gives memory back that an idle connection does not need.
    pub fn trim(&mut self);
    /// Sends a PING of ours.
    pub fn ping(&mut self);
    /// Whether an answer to a PING of ours came since the last call.
    pub fn take_pong(&mut self) -> bool;

    // ---- a client's end

    /// Whether further streams may be opened: no GOAWAY came, no error, and there are numbers left.
    pub fn is_open(&self) -> bool;
    /// Streams that the peer takes at a time (`usize::MAX` when it did not say).
    pub fn peer_streams_max(&self) -> usize;
    /// Whether the peer takes extended CONNECT (RFC 8441).
    pub fn takes_extended_connect(&self) -> bool;
    /// Opens a stream with this head, pseudo-header fields first; `ended` when nothing follows. The names may be in any case. `head_only`: the answer has no content (HEAD), whatever its content-length says.
    pub fn open<'f>(&mut self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, ended: bool, head_only: bool, now_ms: u64) -> Result<StreamRef, StreamError>;

    // ---- one stream: receiving

    /// The next head: of a request, of an interim answer, of the final one. Server's end: there at once after `Opened`.
    pub fn poll_head(&mut self, stream: StreamRef, cx: &mut Context<'_>) -> Poll<Result<Head, StreamError>>;
    /// Gives the memory of a list back, to be used for the next head.
    pub fn give_fields(&mut self, fields: FieldList);
    /// Reads DATA into `room`, and makes room in the windows; 0 is the end of the body, after which trailers are known.
    pub fn poll_read(&mut self, stream: StreamRef, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<Result<usize, StreamError>>;
    /// Whether all has been received and read, and there are no trailers.
    pub fn is_received(&self, stream: StreamRef) -> bool;
    /// The trailers as `name: value` lines with CRLF (`keel_http::trailer_lines`); empty when there are none.
    pub fn take_trailers(&mut self, stream: StreamRef) -> Vec<u8>;

    // ---- one stream: sending

    /// Sends a head: an interim answer or the final one. Pseudo-header fields come first; names may be in any case.
    pub fn send_head<'f>(&mut self, stream: StreamRef, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, ended: bool, now_ms: u64) -> Result<(), StreamError>;
    /// Sends as much of the parts as windows and room allow, and gives how much that was (never 0, unless all parts are empty). With `last`, END_STREAM stands on the frame that takes the last byte.
    pub fn poll_send(&mut self, stream: StreamRef, cx: &mut Context<'_>, parts: [&[u8]; 3], last: bool, now_ms: u64) -> Poll<Result<usize, StreamError>>;
    /// Ends the message without trailers (an empty DATA with END_STREAM), unless it has ended.
    pub fn end_stream(&mut self, stream: StreamRef, now_ms: u64) -> Result<(), StreamError>;
    /// Ends the message with trailers.
    pub fn send_trailers<'f>(&mut self, stream: StreamRef, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, now_ms: u64) -> Result<(), StreamError>;
    /// Whether END_STREAM was sent.
    pub fn has_ended(&self, stream: StreamRef) -> bool;

    // ---- one stream: its end

    /// Resets the stream, unless it is closed.
    pub fn reset(&mut self, stream: StreamRef, code: ErrorCode, now_ms: u64);
    /// Why the stream failed, when it did; the task is woken when it does. For who watches for a peer that leaves.
    pub fn poll_failed(&mut self, stream: StreamRef, cx: &mut Context<'_>) -> Poll<StreamError>;
    /// Nobody holds the stream any more. What is still open is reset: NO_ERROR when a server's answer is complete (RFC 9113, 8.1), CANCEL otherwise.
    pub fn release(&mut self, stream: StreamRef, now_ms: u64);
    /// Sets how urgent what we send is (RFC 9218): 0 is first, 7 last; incremental streams share.
    pub fn set_priority(&mut self, stream: StreamRef, urgency: u8, incremental: bool);
}
