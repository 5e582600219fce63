//! Sending the body of a request again: to another server, when the one that had it failed.
//!
//! A small body that came with its head stays in the prefix with it and costs nothing more. Of any
//! other, the bytes that were taken from the source are kept beside what goes out, up to a limit; the
//! source goes on where it was. What is kept has no framing, since the next server may want another.

use std::cell::Cell;
use std::rc::Rc;

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

/// How many bytes of bodies a worker keeps over all its requests: about a thousand of the default
/// `retry.body` at a time. Beyond it a request goes on without: it is sent, but not sent again.
pub const KEPT_BYTES_MAX: usize = 64 << 20;

/// A part of what a worker keeps; given back on drop.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    /// What the worker keeps; none before the first message.
    all: Option<Rc<Cell<usize>>>,
}

impl Share {
    /// Makes this part so large; false when that is too much for the worker.
    fn set(&mut self, bytes: usize) -> bool {
        let Some(all) = &self.all else {
            return bytes == 0;
        };
        let sum = all.get() - self.bytes + bytes;
        if bytes > self.bytes && sum > KEPT_BYTES_MAX {
            return false;
        }
        all.set(sum);
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What went out of a body.
#[derive(Debug, Default)]
pub(super) struct Replay {
    keep: Keep,
    bytes_max: usize,
    /// The body without framing.
    data: Vec<u8>,
    trailers: Vec<u8>,
    /// The memory of both.
    share: Share,
}

impl Replay {
    /// Counts what is kept from now on in `all`.
    pub(super) fn count_in(&mut self, all: &Rc<Cell<usize>>) {
        // A relay stays with its worker.
        self.share.all.get_or_insert_with(|| all.clone());
    }

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
            self.count();
        }
    }

    /// Keeps the field lines behind the body.
    pub(super) fn keep_trailers(&mut self, trailers: &[u8]) {
        if self.keep != Keep::Nothing && !trailers.is_empty() {
            self.trailers.extend_from_slice(trailers);
            self.count();
        }
    }

    /// Counts the memory, and gives up when it is too much.
    fn count(&mut self) {
        let bytes = self.data.capacity() + self.trailers.capacity();
        if bytes != self.share.bytes && !self.share.set(bytes) {
            self.give_up();
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
        self.share.set(0);
    }

    /// Gives the memory back; for the next message everything is as new.
    pub(super) fn forget(&mut self, bufs: &BufPool) {
        self.keep = Keep::Nothing;
        if self.data.capacity() > 0 {
            bufs.give_string(std::mem::take(&mut self.data));
        }
        self.trailers = Vec::new();
        self.share.set(0);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::task::{Context, Poll, Waker};

    use keel_http::BodyLength;

    use super::*;
    use crate::relay::Sink;

    /// Gives what it has, read by read.
    struct Reads(VecDeque<&'static [u8]>);

    impl Source for Reads {
        fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
            match self.0.pop_front() {
                Some(bytes) => Poll::Ready(Ok(buf.append(bytes))),
                None => Poll::Pending,
            }
        }

        fn is_at_end(&self) -> bool {
            false
        }

        fn take_trailers(&mut self) -> Vec<u8> {
            Vec::new()
        }
    }

    /// Takes so many bytes, then breaks.
    struct Takes {
        taken: Vec<u8>,
        most: usize,
    }

    impl Sink for Takes {
        fn poll_write_parts(
            &mut self,
            _: &mut Context<'_>,
            parts: [&[u8]; 3],
            _: bool,
        ) -> Poll<io::Result<usize>> {
            let all = parts.concat();
            let room = self.most - self.taken.len();
            if room == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let n = all.len().min(room);
            self.taken.extend_from_slice(all.get(..n).unwrap_or(&[]));
            Poll::Ready(Ok(n))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_end(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn queued_bytes(&self) -> u64 {
            0
        }
    }

    fn run(relay: &mut Relay, source: &mut Reads, input: &mut Buf, most: usize) -> (bool, String) {
        let mut cx = Context::from_waker(Waker::noop());
        let (bufs, taken) = (BufPool::new(), Vec::new());
        let mut sink = Takes { taken, most };
        let polled = relay.poll(&mut cx, &bufs, source, input, &mut sink, 0);
        let text = String::from_utf8_lossy(&sink.taken).into_owned();
        (
            matches!(polled, Poll::Ready(Err(RelayFault::Sink(_)))),
            text,
        )
    }

    fn begin(keep: Keep, bytes_max: usize, length: BodyLength) -> Relay {
        let mut relay = Relay::default();
        relay.begin(&BufPool::new(), (length, false), Encode::Raw, u64::MAX, 0);
        relay.keep(keep, bytes_max);
        relay.head_mut().extend_from_slice(b"head ");
        relay
    }

    #[test]
    fn what_was_taken_is_framed_anew_and_the_rest_follows() {
        let mut source = Reads(VecDeque::from([&b"0123456789"[..], b"abcde"]));
        let mut input = Buf::default();
        let mut relay = begin(Keep::UntilAnswered, 100, BodyLength::Fixed(20));
        let (broke, taken) = run(&mut relay, &mut source, &mut input, 8);
        assert_eq!((broke, taken.as_str()), (true, "head 012"));
        assert!(relay.is_replayable() && !relay.is_untouched());
        relay.begin_again(&mut input, Encode::Chunked, 0);
        relay.head_mut().extend_from_slice(b"HEAD ");
        relay.preload(&mut input, &source).expect("kept");
        let (broke, taken) = run(&mut relay, &mut source, &mut input, 1_000);
        assert!(!broke && !relay.is_done());
        assert_eq!(taken, "HEAD a\r\n0123456789\r\n5\r\nabcde\r\n");
        source.0.push_back(b"fghijnext");
        relay.begin_again(&mut input, Encode::Raw, 0);
        relay.preload(&mut input, &source).expect("kept");
        let (_, taken) = run(&mut relay, &mut source, &mut input, 1_000);
        assert_eq!(taken, "0123456789abcdefghij");
        assert!(relay.is_done());
        assert_eq!(input.filled(), b"next");
    }

    #[test]
    fn a_small_body_in_the_prefix_goes_to_a_sink_of_another_kind() {
        let mut input = BufPool::new().take(64);
        input.append(b"small");
        let mut source = Reads(VecDeque::new());
        let mut relay = begin(Keep::Nothing, 0, BodyLength::Fixed(5));
        relay.preload(&mut input, &source).expect("a body");
        let (broke, taken) = run(&mut relay, &mut source, &mut input, 6);
        assert_eq!((broke, taken.as_str()), (true, "head s"));
        relay.begin_again(&mut input, Encode::Chunked, 0);
        relay.preload(&mut input, &source).expect("kept");
        let (_, taken) = run(&mut relay, &mut source, &mut input, 100);
        assert_eq!(taken, "5\r\nsmall\r\n0\r\n\r\n");
    }

    #[test]
    fn beyond_the_limit_or_once_it_was_written_it_is_not_kept() {
        for (keep, bytes_max) in [(Keep::UntilAnswered, 9), (Keep::UntilWritten, 100)] {
            let mut source = Reads(VecDeque::from([&b"0123456789"[..]]));
            let mut relay = begin(keep, bytes_max, BodyLength::Fixed(20));
            run(&mut relay, &mut source, &mut Buf::default(), 8);
            assert!(!relay.is_replayable(), "{keep:?}");
        }
        let mut source = Reads(VecDeque::from([&b"0123456789"[..]]));
        let mut relay = begin(Keep::UntilAnswered, 100, BodyLength::Fixed(20));
        run(&mut relay, &mut source, &mut Buf::default(), 100);
        relay.forget(&BufPool::new());
        assert!(!relay.is_replayable());
    }

    #[test]
    fn all_requests_of_a_worker_keep_so_much_together() {
        let bufs = BufPool::new();
        let kept = bufs.kept_bytes();
        let run = |others: usize| {
            kept.set(others);
            let mut relay = Relay::default();
            let length = (BodyLength::Fixed(20), false);
            relay.begin(&bufs, length, Encode::Raw, u64::MAX, 0);
            relay.keep(Keep::UntilAnswered, 100);
            let mut source = Reads(VecDeque::from([&b"0123456789"[..]]));
            let (_, taken) = self::run(&mut relay, &mut source, &mut Buf::default(), 100);
            assert_eq!(taken, "0123456789", "it is sent in any case");
            relay
        };
        let mut relay = run(7);
        assert!(relay.is_replayable() && kept.get() >= 17);
        relay.forget(&bufs);
        assert_eq!(kept.get(), 7);
        let relay = run(7);
        assert!(kept.get() >= 17);
        drop(relay);
        assert_eq!(kept.get(), 7);
        let relay = run(KEPT_BYTES_MAX - 9);
        assert!(!relay.is_replayable());
        assert_eq!(kept.get(), KEPT_BYTES_MAX - 9);
    }
}
