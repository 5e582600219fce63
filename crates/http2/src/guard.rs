//! Counts what a client sends, and says when it is an attack.
pub use keel_http::{H2Abuse, H2GuardLimits};

/// What became of a frame of ours.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: H2GuardLimits,
}

impl Guard {
    /// A guard for a connection that begins `now_ms`.
    pub(crate) fn new(limits: H2GuardLimits, now_ms: u64) -> Guard {
        let _ = now_ms;
        Guard { limits }
    }

    /// The limits.
    pub(crate) fn limits(&self) -> &H2GuardLimits {
        &self.limits
    }

    /// A frame of `kind` begins (any but DATA, HEADERS, CONTINUATION and RST_STREAM, which have calls of their own).
    pub(crate) fn control(&mut self, kind: u8, now_ms: u64) -> Result<(), H2Abuse> {
        let _ = (kind, now_ms);
        Ok(())
    }

    /// DATA with `content` bytes (without padding).
    pub(crate) fn data(&mut self, content: u32, ends: bool, now_ms: u64) -> Result<(), H2Abuse> {
        let _ = (content, ends, now_ms);
        Ok(())
    }

    /// The client opened `stream`; `last` is the number of the one before. `ends`: no body follows.
    pub(crate) fn opened(&mut self, stream: u32, last: u32, ends: bool, now_ms: u64) {
        let _ = (stream, last, ends, now_ms);
    }

    /// The client reset a stream.
    pub(crate) fn was_reset(&mut self, stream: u32, now_ms: u64) -> Result<(), H2Abuse> {
        let _ = (stream, now_ms);
        Ok(())
    }

    /// We reset a stream with `code`; `late` when that answers DATA that came after we had given the stream up.
    pub(crate) fn reset(&mut self, code: u32, late: bool, now_ms: u64) -> Result<(), H2Abuse> {
        let _ = (code, late, now_ms);
        Ok(())
    }

    /// We sent HEADERS.
    pub(crate) fn sent_headers(&mut self, ends: bool, now_ms: u64) {
        let _ = (ends, now_ms);
    }

    /// We sent DATA with so many bytes.
    pub(crate) fn sent_data(&mut self, bytes: u32, ends: bool, now_ms: u64) {
        let _ = (bytes, ends, now_ms);
    }
}
