//! One direction of an exchange: bytes come from a source, lose its framing, get the sink's, and go.
//!
//! A [`Relay`] holds at most one read's worth of data and reads only when all of it was written, so a
//! slow sink stops the source (back-pressure). Buffers grow while a transfer proves to be bulk, fall
//! back when the sink stalls, and are given back whenever nothing is held.

mod framing;
mod parts;
mod replay;

use std::io;
use std::task::{Context, Poll, ready};

use keel_http::{BodyLength, ChunkedDecoder};
use keel_net::{Buf, BufPool, LARGE, MEDIUM, TINY};

use parts::Decode;
pub use parts::{Encode, RelayFault, Sink, Source, Waiting, Web};
pub use replay::Keep;
use replay::Replay;

/// Data up to this size is copied behind a head rather than written as a part of its own.
const COPY_MAX: usize = 2048;
/// So many full reads must have been taken before the next size is tried.
const FULL_READS_TO_GROW: u64 = 4;

/// One direction of an exchange.
#[derive(Debug)]
pub struct Relay {
    decode: Decode,
    encode: Encode,
    /// Bytes to write before the data: a head, a chunk's size line.
    prefix: Vec<u8>,
    prefix_at: usize,
    /// Decoded data at the front of the input buffer.
    data_len: usize,
    data_at: usize,
    /// Bytes of the input buffer that the data came from.
    raw_len: usize,
    /// Bytes to write after the data: a chunk's end, the last chunk with trailers.
    suffix: Vec<u8>,
    suffix_at: usize,
    /// Field lines for after the body, where the sink frames the message.
    trailers: Option<Box<[u8]>>,
    /// What the body is turned into on the way.
    web: Option<Box<Web>>,
    /// The sink has been told where the message ends.
    ended: bool,
    /// A message was begun and not released yet.
    begun: bool,
    /// The source has given all of the body.
    source_ended: bool,
    /// Bytes of the body, or of its framing, have left the input.
    taken: bool,
    /// Where the body begins in `prefix`, when all of it is there and stays there.
    whole_at: Option<usize>,
    /// What went out of the body, for another attempt.
    replay: Replay,
    /// A decoder for the next chunked body.
    spare: Option<Box<ChunkedDecoder>>,
    waiting: Waiting,
    /// Size of the next read.
    read_size: usize,
    /// Bytes that full reads brought since the last stall.
    smooth_bytes: u64,
    /// Largest body that is let through.
    body_bytes_max: u64,
    /// Bytes of body passed on so far (without framing).
    pub body_bytes: u64,
    /// All bytes written, framing and head included.
    pub written_bytes: u64,
    /// When a byte last moved, in milliseconds of the worker's clock.
    pub progress_ms: u64,
}

impl Default for Relay {
    fn default() -> Relay {
        Relay {
            decode: Decode::Fixed(0),
            encode: Encode::Raw,
            prefix: Vec::new(),
            prefix_at: 0,
            data_len: 0,
            data_at: 0,
            raw_len: 0,
            suffix: Vec::new(),
            suffix_at: 0,
            trailers: None,
            web: None,
            ended: true,
            begun: false,
            source_ended: true,
            taken: false,
            whole_at: None,
            replay: Replay::default(),
            spare: None,
            waiting: Waiting::Nothing,
            read_size: MEDIUM,
            smooth_bytes: 0,
            body_bytes_max: u64::MAX,
            body_bytes: 0,
            written_bytes: 0,
            progress_ms: 0,
        }
    }
}

impl Relay {
    /// Begins a message: `prefix` (a head) is written first, then the body of `length` coming in.
    /// `framed` sources say themselves where the message ends (HTTP/2). The byte strings come from
    /// `bufs` and go back there in [`Relay::release`].
    pub fn begin(
        &mut self,
        bufs: &BufPool,
        (length, framed): (BodyLength, bool),
        encode: Encode,
        body_bytes_max: u64,
        now_ms: u64,
    ) {
        self.release(bufs);
        self.replay.count_in(bufs.kept_bytes());
        self.begun = true;
        self.decode = match length {
            BodyLength::Empty => Decode::Fixed(0),
            BodyLength::Fixed(bytes) if framed => Decode::Stream(Some(bytes)),
            BodyLength::Chunked | BodyLength::UntilClose if framed => Decode::Stream(None),
            BodyLength::Fixed(bytes) => Decode::Fixed(bytes),
            BodyLength::Chunked => Decode::Chunked(self.spare.take().unwrap_or_default()),
            BodyLength::UntilClose => Decode::UntilClose,
        };
        self.encode = encode;
        self.prefix = bufs.take_string();
        if encode == Encode::Chunked {
            self.suffix = bufs.take_string();
        }
        self.source_ended = matches!(self.decode, Decode::Fixed(0));
        self.ended = false;
        self.waiting = Waiting::Sink;
        self.body_bytes_max = body_bytes_max;
        self.progress_ms = now_ms;
    }

    /// What the body is turned into on the way: set it after [`Relay::begin`].
    pub fn set_web(&mut self, web: Option<Box<Web>>) {
        self.web = web;
    }

    /// The bytes that will be written before the body; write the head into it after
    /// [`Relay::begin`] and before the first poll.
    pub fn head_mut(&mut self) -> &mut Vec<u8> {
        &mut self.prefix
    }

    /// Gives the byte strings back; the relay is done with.
    pub fn release(&mut self, bufs: &BufPool) {
        if !self.begun {
            return;
        }
        self.begun = false;
        bufs.give_string(std::mem::take(&mut self.prefix));
        bufs.give_string(std::mem::take(&mut self.suffix));
        self.replay.forget(bufs);
        let decode = std::mem::replace(&mut self.decode, Decode::Fixed(0));
        if let Decode::Chunked(mut decoder) = decode {
            decoder.reset();
            self.spare = Some(decoder);
        }
        self.prefix_at = 0;
        self.suffix_at = 0;
        (self.data_len, self.data_at, self.raw_len) = (0, 0, 0);
        self.source_ended = true;
        self.ended = true;
        self.web = None;
        self.trailers = None;
        self.taken = false;
        self.whole_at = None;
        self.waiting = Waiting::Nothing;
        self.smooth_bytes = 0;
        self.body_bytes = 0;
        self.written_bytes = 0;
    }

    /// Starts the size of reads at `read_size` bytes, as the connection's last transfer ended.
    pub fn set_read_size(&mut self, read_size: usize) {
        self.read_size = read_size.clamp(TINY, LARGE);
    }

    /// The size that reads have reached.
    pub fn read_size(&self) -> usize {
        self.read_size
    }

    /// What the relay waited for when it was last polled.
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Whether the whole message has been read and written.
    pub fn is_done(&self) -> bool {
        self.source_ended && self.ended && self.is_flushed()
    }

    /// Whether the source has given the whole body.
    pub fn source_ended(&self) -> bool {
        self.source_ended
    }

    /// Whether no byte of the body, nor of its framing, has left the input yet.
    pub fn is_untouched(&self) -> bool {
        !self.taken
    }

    /// Gives up what was not written. When the source has given the whole body, takes the rest of it
    /// out of `input`, so that the next message is at its front, and says so.
    pub fn abandon(&mut self, input: &mut Buf) -> bool {
        if self.source_ended {
            input.consume(self.raw_len);
        }
        (self.data_len, self.data_at, self.raw_len) = (0, 0, 0);
        self.source_ended
    }

    fn is_flushed(&self) -> bool {
        self.prefix_at == self.prefix.len()
            && self.data_at == self.data_len
            && self.suffix_at == self.suffix.len()
    }

    /// Moves bytes until the message is done, the source has none, or the sink takes none.
    ///
    /// Cancel-safe: everything that was read and not written is in `input` and in `self`.
    pub fn poll<R: Source, W: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &BufPool,
        source: &mut R,
        input: &mut Buf,
        sink: &mut W,
        now_ms: u64,
    ) -> Poll<Result<(), RelayFault>> {
        loop {
            if !self.is_flushed() {
                match self.poll_flush(cx, input, sink, now_ms) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayFault::Sink(error))),
                    Poll::Pending => {
                        self.stalled(bufs, input);
                        return Poll::Pending;
                    }
                }
            }
            if self.source_ended {
                return self.poll_end(cx, sink);
            }
            if !input.is_empty() {
                self.decode_into_parts(input, None)?;
                self.end_with(source)?;
                if !self.is_flushed() || self.source_ended {
                    continue;
                }
            }
            if self.smooth_bytes >= FULL_READS_TO_GROW * self.read_size as u64 {
                self.try_to_grow(sink);
            }
            match self.poll_fill(cx, bufs, source, input, now_ms) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => {
                    self.waiting = Waiting::Source;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Tells the sink where the message ends, and waits until it holds nothing back.
    fn poll_end<W: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<Result<(), RelayFault>> {
        if !self.ended {
            self.waiting = Waiting::Sink;
            let told = match self.encode {
                Encode::Stream => sink.poll_end(cx, self.trailers.as_deref().unwrap_or(&[])),
                Encode::Raw | Encode::Chunked => sink.poll_flush(cx),
            };
            ready!(told).map_err(RelayFault::Sink)?;
            self.ended = true;
        }
        self.waiting = Waiting::Nothing;
        Poll::Ready(Ok(()))
    }

    /// Ends the message with its last data when the source says that nothing follows, so that both
    /// go out together.
    fn end_with<R: Source>(&mut self, source: &R) -> Result<(), RelayFault> {
        let complete = matches!(self.decode, Decode::Stream(None | Some(0)));
        if complete && !self.source_ended && source.is_at_end() {
            self.end_of_body(&[])?;
        }
        Ok(())
    }

    /// Writes what is decoded; ready when all of it is written.
    fn poll_flush<W: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut Buf,
        sink: &mut W,
        now_ms: u64,
    ) -> Poll<io::Result<()>> {
        while !self.is_flushed() {
            let data = input
                .filled()
                .get(self.data_at..self.data_len)
                .unwrap_or(&[]);
            let parts = [
                self.prefix.get(self.prefix_at..).unwrap_or(&[]),
                data,
                self.suffix.get(self.suffix_at..).unwrap_or(&[]),
            ];
            self.waiting = Waiting::Sink;
            let last = self.source_ended && self.trailers.is_none();
            let written = match sink.poll_write_parts(cx, parts, last) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
            };
            self.progress_ms = now_ms;
            self.written_bytes += written as u64;
            self.replay.written();
            self.advance(written);
        }
        input.consume(self.raw_len);
        (self.data_len, self.data_at, self.raw_len) = (0, 0, 0);
        if self.whole_at.is_none() {
            self.prefix.clear();
            self.prefix_at = 0;
        }
        self.suffix.clear();
        self.suffix_at = 0;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let of_prefix = written.min(self.prefix.len() - self.prefix_at);
        self.prefix_at += of_prefix;
        let of_data = (written - of_prefix).min(self.data_len - self.data_at);
        self.data_at += of_data;
        self.suffix_at += written - of_prefix - of_data;
    }

    /// The sink takes no more for now. A bulk transfer stalls all the time and goes on; any other
    /// reads less from now on.
    fn stalled(&mut self, bufs: &BufPool, input: &mut Buf) {
        self.smooth_bytes = 0;
        if self.read_size <= MEDIUM {
            self.shrink_stalled(bufs, input);
        }
    }

    /// The sink has taken nothing for a while: holds as little memory as what is left allows.
    pub fn shrink_stalled(&mut self, bufs: &BufPool, input: &mut Buf) {
        self.smooth_bytes = 0;
        self.read_size = TINY;
        if self.data_at > 0 && self.raw_len == input.len() {
            // What was written need not be kept until the rest is.
            input.consume(self.data_at);
            self.data_len -= self.data_at;
            self.raw_len -= self.data_at;
            self.data_at = 0;
        }
        bufs.shrink(input);
    }

    /// Gives back the byte strings that hold nothing: whoever is slow has no use for them.
    pub fn spare(&mut self, bufs: &BufPool) {
        if self.begun && self.prefix.is_empty() && self.prefix.capacity() > 0 {
            bufs.give_string(std::mem::take(&mut self.prefix));
        }
        if self.begun && self.suffix.is_empty() && self.suffix.capacity() > 0 {
            bufs.give_string(std::mem::take(&mut self.suffix));
        }
    }

    /// Reads once. Without bytes to hold the buffer goes back to the pool.
    fn poll_fill<R: Source>(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &BufPool,
        source: &mut R,
        input: &mut Buf,
        now_ms: u64,
    ) -> Poll<Result<(), RelayFault>> {
        if input.is_unset() {
            *input = bufs.take(self.read_size);
        } else if input.is_empty() && input.capacity() != self.read_size {
            bufs.give(input);
            *input = bufs.take(self.read_size);
        } else {
            // The rest of a chunk's size line, say: it must stay before what comes.
            input.compact();
            if input.space().is_empty() {
                bufs.resize(input, input.capacity() * 2);
            }
        }
        match source.poll_read(cx, input) {
            Poll::Pending => {
                bufs.shrink(input);
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(RelayFault::Source(error))),
            Poll::Ready(Ok(0)) => match self.decode {
                Decode::UntilClose => Poll::Ready(self.end_of_body(&[])),
                Decode::Stream(None | Some(0)) => {
                    Poll::Ready(self.end_of_body(&source.take_trailers()))
                }
                _ => Poll::Ready(Err(RelayFault::Cut)),
            },
            Poll::Ready(Ok(_)) => {
                self.progress_ms = now_ms;
                self.judge_read(input);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Reads that fill their buffer are a sign of bulk.
    fn judge_read(&mut self, input: &mut Buf) {
        let more_to_come = match self.decode {
            Decode::Fixed(left) | Decode::Stream(Some(left)) => left > self.read_size as u64,
            _ => true,
        };
        if input.space().is_empty() && more_to_come && self.read_size < LARGE {
            self.smooth_bytes += self.read_size as u64;
        }
    }

    /// Reads more at a time once the far end has really taken what went before. What only fills the
    /// kernel's queue is no sign of that, and whoever reads slowly would be found out too late.
    fn try_to_grow<W: Sink>(&mut self, sink: &W) {
        let taken = self.written_bytes.saturating_sub(sink.queued_bytes());
        if taken >= FULL_READS_TO_GROW * self.read_size as u64 {
            self.read_size = (self.read_size * 4).min(LARGE);
        }
        self.smooth_bytes = 0;
    }
}
