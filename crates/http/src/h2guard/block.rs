//! The header block that is being received: how long it is, and whether it can be read.

use super::hpack::Blocks;
use super::walk::Frame;
use super::{END_HEADERS, H2Abuse, H2GuardLimits};

/// A header block that is being received.
#[derive(Debug, Clone, Copy)]
struct Open {
    stream: u32,
    since_ms: u64,
    bytes: u32,
    continuations: u32,
    empty: u32,
    /// Whether the frame that is being received is the last one.
    last: bool,
}

/// The header blocks of a connection, one after the other.
#[derive(Debug, Clone)]
pub(super) struct HeaderBlocks {
    open: Option<Open>,
    text: Blocks,
    /// Bytes of the frame that are still of the block; padding follows them. None when the block cannot be told from
    /// its padding, or belongs to nothing: that is the library's to refuse.
    left: Option<u32>,
}

impl HeaderBlocks {
    pub(super) fn new() -> HeaderBlocks {
        HeaderBlocks {
            open: None,
            text: Blocks::new(),
            left: None,
        }
    }

    /// HEADERS has come.
    pub(super) fn begin(
        &mut self,
        frame: &Frame,
        now_ms: u64,
        limits: &H2GuardLimits,
    ) -> Result<(), H2Abuse> {
        self.left = frame.content();
        self.text.begin();
        let open = Open {
            stream: frame.stream,
            since_ms: now_ms,
            bytes: frame.length,
            continuations: 0,
            empty: 0,
            last: frame.flags & END_HEADERS != 0,
        };
        self.open = Some(open);
        open.check(limits)
    }

    /// CONTINUATION has come.
    pub(super) fn go_on(
        &mut self,
        frame: &Frame,
        now_ms: u64,
        limits: &H2GuardLimits,
    ) -> Result<(), H2Abuse> {
        let fits = self.open.is_some_and(|open| open.stream == frame.stream);
        self.left = self.left.filter(|_| fits).map(|_| frame.length);
        let mut open = self.open.unwrap_or(Open {
            stream: frame.stream,
            since_ms: now_ms,
            bytes: 0,
            continuations: 0,
            empty: 0,
            last: false,
        });
        open.bytes = open.bytes.saturating_add(frame.length);
        open.continuations += 1;
        open.empty += u32::from(frame.length == 0);
        open.last = frame.flags & END_HEADERS != 0;
        self.open = Some(open);
        open.check(limits)
    }

    /// A part of the payload.
    pub(super) fn feed(&mut self, part: &[u8]) -> Result<(), H2Abuse> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        let n = part.len().min(*left as usize);
        *left -= n as u32;
        let text = part.get(..n).unwrap_or_default();
        self.text.feed(text).map_err(|_| H2Abuse::Compression)
    }

    /// The frame is over. Gives the stream of a block that is over too and has pseudo-header fields.
    pub(super) fn end_frame(&mut self) -> Result<Option<u32>, H2Abuse> {
        let Some(done) = self.open.take_if(|open| open.last) else {
            return Ok(None);
        };
        if self.left.take().is_none() {
            return Ok(None);
        }
        let pseudo = self.text.end().map_err(|_| H2Abuse::Compression)?;
        Ok(pseudo.then_some(done.stream))
    }

    /// When the block that is not whole yet began.
    pub(super) fn since_ms(&self) -> Option<u64> {
        self.open.map(|open| open.since_ms)
    }
}

impl Open {
    fn check(&self, limits: &H2GuardLimits) -> Result<(), H2Abuse> {
        if self.continuations > limits.continuations_max {
            Err(H2Abuse::ContinuationFlood)
        } else if self.empty > limits.empty_continuations_max {
            Err(H2Abuse::EmptyContinuation)
        } else if self.bytes > limits.header_block_bytes_max {
            Err(H2Abuse::HeaderBlockTooLong)
        } else {
            Ok(())
        }
    }
}
