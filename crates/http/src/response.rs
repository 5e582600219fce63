//! The head of an answer; the same way of reading as for a request.

use std::mem::MaybeUninit;

use crate::diagnose::fault_in_response;
use crate::fault::HeadFault;
use crate::fields::Fields;
use crate::method::Version;
use crate::request::{FIELDS_CEILING, HeadLimits, HeadStatus, take_fields};
use crate::span::Span;
use crate::syntax::is_value_byte;

/// The head of an answer, as spans into the buffer that was parsed. Reused from answer to answer.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// The status code, 100 to 599.
    pub status: u16,
    /// The reason phrase as it was sent; often empty.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
    /// Bytes of the head with its last CRLF.
    pub len: usize,
    /// Offset of the first byte of the first field line (of the last CRLF when there are no fields).
    pub line_end: u32,
}

impl ResponseHead {
    /// An empty head; the memory comes with the first parse.
    pub fn new() -> ResponseHead {
        ResponseHead::default()
    }

    /// Forgets the head and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.status = 0;
        self.reason = Span::EMPTY;
        self.version = Version::Http11;
        self.fields.clear();
        self.len = 0;
        self.line_end = 0;
    }

    /// Whether this is an interim answer (1xx other than 101), which another head follows.
    #[inline]
    pub const fn is_interim(&self) -> bool {
        self.status >= 100 && self.status < 200 && self.status != 101
    }

    /// Parses the head at the start of `buf`. What was here before is forgotten; the content is meaningful only
    /// after [`HeadStatus::Complete`]. `target_bytes_max` plays no part. Any fault means 502.
    pub fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<HeadStatus, HeadFault> {
        self.clear();
        // httparse skips empty lines; no rule lets a client do so before a status line.
        match buf.first() {
            None => return Ok(HeadStatus::Partial),
            Some(b'\r' | b'\n') => return Err(HeadFault::LeadingBlankLines),
            Some(_) => {}
        }
        let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_CEILING];
        let slots = slots
            .get_mut(..limits.fields_max.min(FIELDS_CEILING))
            .unwrap_or_default();
        let mut raw = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut raw, buf, slots) {
            Ok(httparse::Status::Complete(len)) => {
                self.take(buf, len, raw.headers, limits)?;
                Ok(HeadStatus::Complete)
            }
            Ok(httparse::Status::Partial) if buf.len() >= limits.head_bytes_max => {
                Err(HeadFault::HeadTooLong)
            }
            Ok(httparse::Status::Partial) => Ok(HeadStatus::Partial),
            Err(error) => Err(fault_in_response(buf, Some(error))),
        }
    }

    fn take(
        &mut self,
        buf: &[u8],
        len: usize,
        raw: &[httparse::Header<'_>],
        limits: &HeadLimits,
    ) -> Result<(), HeadFault> {
        if len > limits.head_bytes_max || len > u32::MAX as usize {
            return Err(HeadFault::HeadTooLong);
        }
        let malformed = || fault_in_response(buf.get(..len).unwrap_or_default(), None);
        self.version = match buf.get(..9) {
            Some(b"HTTP/1.1 ") => Version::Http11,
            Some(b"HTTP/1.0 ") => Version::Http10,
            _ => return Err(malformed()),
        };
        let Some(&[a, b, c]) = buf.get(9..12) else {
            return Err(malformed());
        };
        if ![a, b, c].iter().all(u8::is_ascii_digit) {
            return Err(malformed());
        }
        self.status = [a, b, c]
            .iter()
            .fold(0, |n, d| n * 10 + u16::from(d - b'0'));
        // The reason phrase is optional, and so is in practice the space before it.
        let start = if buf.get(12) == Some(&b' ') { 13 } else { 12 };
        let reason = buf.get(start..len).unwrap_or_default();
        let reason_len = reason
            .iter()
            .position(|&b| !is_value_byte(b))
            .unwrap_or(reason.len());
        let end = start + reason_len;
        if buf.get(end..end + 2) != Some(b"\r\n") {
            return Err(malformed());
        }
        self.reason = Span::new(start, end);
        self.line_end = (end + 2) as u32;
        take_fields(&mut self.fields, raw, buf, end + 2, len).map_err(|()| malformed())?;
        if !(100..=599).contains(&self.status) {
            return Err(HeadFault::StatusRange);
        }
        self.len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
