//! How long the header block is that is being received.

use super::{H2Abuse, H2GuardLimits};

/// A header block that is being received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) since_ms: u64,
    bytes: u32,
    continuations: u32,
    empty: u32,
}

impl Block {
    /// HEADERS has come.
    pub(super) fn new(length: u32, now_ms: u64) -> Block {
        Block {
            since_ms: now_ms,
            bytes: length,
            continuations: 0,
            empty: 0,
        }
    }

    /// CONTINUATION has come.
    pub(super) fn go_on(&mut self, length: u32) {
        self.bytes = self.bytes.saturating_add(length);
        self.continuations = self.continuations.saturating_add(1);
        self.empty = self.empty.saturating_add(u32::from(length == 0));
    }

    pub(super) fn check(&self, limits: &H2GuardLimits) -> Result<(), H2Abuse> {
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
