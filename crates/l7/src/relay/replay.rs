//! Sending the body of a request again: to another server, when the one that had it failed.
//!
//! A small body that came with its head stays in the prefix with it and costs nothing more. Of any
//! other, the bytes that were taken from the source are kept beside what goes out, up to a limit; the
//! source goes on where it was. What is kept has no framing, since the next server may want another.

use keel_http::{ChunkedDecoder, write_chunk_size};
use keel_net::{Buf, BufPool};

use super::parts::{decode_chunks, write_body_end};
use super::{Encode, Relay, RelayFault, Source};

/// How long the bytes of a body are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Not at all.
    #[default]
    Nothing,
    /// Until the first byte of the message went out: after that nobody may send it again.
    UntilWritten,
    /// Until [`Relay::forget`].
    UntilAnswered,
}

/// What went out of a body.
#[derive(Debug, Default)]
pub(super) struct Replay {
    keep: Keep,
    bytes_max: usize,
    /// The body without framing.
    data: Vec<u8>,
    trailers: Vec<u8>,
}

impl Replay {
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.keep != Keep::Nothing
    }

    /// Keeps bytes of the body that leave the source.
    #[inline]
    pub(super) fn keep(&mut self, data: &[u8]) {
        if self.keep != Keep::Nothing {
            self.append(data);
        }
    }

    fn append(&mut self, data: &[u8]) {
        if self.data.len() + data.len() > self.bytes_max {
            self.give_up();
        } else {
            self.data.extend_from_slice(data);
        }
    }

    /// Keeps the field lines behind the body.
    pub(super) fn keep_trailers(&mut self, trailers: &[u8]) {
        if self.keep != Keep::Nothing && !trailers.is_empty() {
            self.trailers.extend_from_slice(trailers);
        }
    }

    /// Something of the message went out.
    #[inline]
    pub(super) fn written(&mut self) {
        if self.keep == Keep::UntilWritten {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.keep = Keep::Nothing;
        self.data = Vec::new();
        self.trailers = Vec::new();
    }

    /// Gives the memory back; for the next message everything is as new.
    pub(super) fn forget(&mut self, bufs: &BufPool) {
        self.keep = Keep::Nothing;
        if self.data.capacity() > 0 {
            bufs.give_string(std::mem::take(&mut self.data));
        }
        self.trailers.clear();
    }
}

impl Relay {
    /// Keeps up to `bytes_max` bytes of the body, so that the message can be sent again. After
    /// [`Relay::begin`].
    pub fn keep(&mut self, keep: Keep, bytes_max: usize) {
        self.replay.keep = keep;
        self.replay.bytes_max = bytes_max;
    }

    /// The message will not be sent again: gives the memory for that back.
    pub fn forget(&mut self, bufs: &BufPool) {
        if self.replay.is_wanted() {
            self.replay.forget(bufs);
        }
    }

    /// Whether the message could be sent again to somebody else: its body is untouched, or what was
    /// taken of it is still here.
    pub fn is_replayable(&self) -> bool {
        !self.taken || self.whole_at.is_some() || self.replay.is_wanted()
    }

    /// Begins the same message again, for another sink. Only after [`Relay::is_replayable`]. What is
    /// in `input` and was taken already is here too, and leaves it.
    pub fn begin_again(&mut self, input: &mut Buf, encode: Encode, now_ms: u64) {
        debug_assert!(self.is_replayable(), "the body is gone");
        if let Some(at) = self.whole_at.take() {
            self.keep_prefix(at);
        }
        input.consume(self.raw_len);
        (self.data_len, self.data_at, self.raw_len) = (0, 0, 0);
        self.encode = encode;
        self.prefix.clear();
        self.prefix_at = 0;
        self.suffix.clear();
        self.suffix_at = 0;
        self.trailers = None;
        self.written_bytes = 0;
        self.ended = false;
        self.waiting = super::Waiting::Sink;
        self.progress_ms = now_ms;
    }

    /// Keeps the body that stands in the prefix as it was framed for the sink before.
    fn keep_prefix(&mut self, at: usize) {
        let framed = self.prefix.split_off(at.min(self.prefix.len()));
        let replay = &mut self.replay;
        replay.keep = Keep::UntilAnswered;
        replay.bytes_max = replay.bytes_max.max(framed.len());
        replay.data = framed;
        match self.encode {
            Encode::Chunked => {
                let mut decoder = ChunkedDecoder::default();
                // We wrote these chunks ourselves.
                let read = decode_chunks(&mut decoder, &mut replay.data);
                replay.data.truncate(read.map_or(0, |read| read.0));
                replay.trailers = decoder.trailers().to_vec();
            }
            Encode::Stream => {
                replay.trailers = self.trailers.take().map_or_else(Vec::new, Vec::from);
            }
            Encode::Raw => {}
        }
    }

    /// Takes what is already in `input` along with the head, so that a head and a small body go out
    /// in one write, and so that such a body can be sent again. Call it once for each attempt, after
    /// the head was written into [`Relay::head_mut`].
    pub fn preload<R: Source>(&mut self, input: &mut Buf, source: &R) -> Result<(), RelayFault> {
        if self.taken {
            self.write_kept();
        } else if !self.source_ended && !input.is_empty() {
            let head = self.prefix.len();
            self.decode_into_parts(input, Some(source.is_at_end()))?;
            self.end_with(source)?;
            if self.source_ended && self.data_len == 0 && self.raw_len == 0 {
                self.whole_at = Some(head);
                self.prefix.append(&mut self.suffix);
            }
        }
        Ok(())
    }

    /// Writes what is kept of the body behind the head, framed for this sink.
    fn write_kept(&mut self) {
        let replay = &self.replay;
        if self.encode != Encode::Chunked {
            self.prefix.extend_from_slice(&replay.data);
        } else if !replay.data.is_empty() {
            write_chunk_size(&mut self.prefix, replay.data.len());
            self.prefix.extend_from_slice(&replay.data);
            self.prefix.extend_from_slice(b"\r\n");
        }
        if self.source_ended {
            self.trailers = write_body_end(self.encode, &replay.trailers, &mut self.prefix);
        }
    }
}
