//! The head of a request: httparse reads it, then every line is checked against the strict grammar.
//!
//! httparse is lenient where RFC 9112 lets a server be (bare LF, leading empty lines). The checks after it walk the
//! lines as a chain: each begins where the one before ended, and every separator must be exactly what the grammar
//! has. What breaks the chain is refused; `diagnose` then reads the head again, slowly, to name the fault.

use std::mem::MaybeUninit;

use crate::diagnose::{fault_in_lines, fault_in_request};
use crate::fault::HeadFault;
use crate::fields::{Field, Fields};
use crate::header::HeaderId;
use crate::method::{Method, Version};
use crate::span::Span;
use crate::syntax::is_ows;

/// The most fields that a head may have, whatever the configuration says.
pub const FIELDS_CEILING: usize = 256;

/// The longest method, in bytes. The longest registered one has 17.
pub const METHOD_BYTES_MAX: usize = 64;

/// What a head may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head with its last CRLF. Default 65536; 431 when exceeded.
    pub head_bytes_max: usize,
    /// Field lines. Default 128, ceiling [`FIELDS_CEILING`]; 431 when exceeded.
    pub fields_max: usize,
    /// Bytes of the target. Default 16384; 414 when exceeded.
    pub target_bytes_max: usize,
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits {
            head_bytes_max: 65536,
            fields_max: 128,
            target_bytes_max: 16384,
        }
    }
}

/// How far a parse came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadStatus {
    /// The head is whole and well-formed.
    Complete,
    /// So far so good; more bytes are needed.
    Partial,
}

/// The head of a request, as spans into the buffer that was parsed. Reused from request to request.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as it was sent.
    pub method_span: Span,
    /// The target as it was sent.
    pub target: Span,
    /// The version.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
    /// Bytes of the head with its last CRLF, and with the empty line before it if there was one.
    pub len: usize,
    /// Offset of the first byte of the first field line (of the last CRLF when there are no fields).
    pub line_end: u32,
    /// Whether this was an extended CONNECT of HTTP/2 (RFC 8441), written here as a GET that asks for an upgrade.
    /// The answer that takes it is 200 there, not 101. Never true for HTTP/1.
    pub extended_connect: bool,
}

impl RequestHead {
    /// An empty head; the memory comes with the first parse.
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    /// Forgets the head and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.method_span = Span::EMPTY;
        self.target = Span::EMPTY;
        self.version = Version::Http11;
        self.fields.clear();
        self.len = 0;
        self.line_end = 0;
        self.extended_connect = false;
    }

    /// Parses the head at the start of `buf`. What was here before is forgotten; the content is meaningful only
    /// after [`HeadStatus::Complete`]. Use [`crate::HeadScan`] to bound the number of tries on a growing buffer.
    pub fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<HeadStatus, HeadFault> {
        self.clear();
        let Some(skip) = leading_line(buf)? else {
            return Ok(HeadStatus::Partial);
        };
        let rest = buf.get(skip..).unwrap_or_default();
        let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_CEILING];
        let slots = slots
            .get_mut(..limits.fields_max.min(FIELDS_CEILING))
            .unwrap_or_default();
        let mut raw = httparse::Request::new(&mut []);
        match raw.parse_with_uninit_headers(rest, slots) {
            Ok(httparse::Status::Complete(len)) => {
                self.take(buf, skip, len, &raw, limits)?;
                Ok(HeadStatus::Complete)
            }
            Ok(httparse::Status::Partial) => {
                check_partial(&raw, rest.len(), buf.len(), limits)?;
                Ok(HeadStatus::Partial)
            }
            Err(error) => Err(fault_in_request(rest, error, limits)),
        }
    }

    /// Fills the head from httparse's reading, line by line.
    fn take(
        &mut self,
        buf: &[u8],
        skip: usize,
        len: usize,
        raw: &httparse::Request<'_, '_>,
        limits: &HeadLimits,
    ) -> Result<(), HeadFault> {
        let rest = buf.get(skip..).unwrap_or_default();
        let end = skip + len;
        let (method, target) = (raw.method.unwrap_or_default(), raw.path.unwrap_or_default());
        if method.len() > METHOD_BYTES_MAX {
            return Err(HeadFault::MethodTooLong);
        }
        if target.len() > limits.target_bytes_max {
            return Err(HeadFault::TargetTooLong);
        }
        if end > limits.head_bytes_max || end > u32::MAX as usize {
            return Err(HeadFault::HeadTooLong);
        }
        self.method = Method::of(method.as_bytes());
        self.method_span = Span::new(skip, skip + method.len());
        let at = skip + method.len() + 1;
        self.target = Span::new(at, at + target.len());
        let at = at + target.len();
        self.version = match buf.get(at..at + 11) {
            Some(b" HTTP/1.1\r\n") => Version::Http11,
            Some(b" HTTP/1.0\r\n") => Version::Http10,
            _ => return Err(fault_in_lines(rest)),
        };
        self.line_end = (at + 11) as u32;
        take_fields(&mut self.fields, raw.headers, buf, at + 11, end)
            .map_err(|()| fault_in_lines(rest))?;
        self.len = end;
        Ok(())
    }
}

/// The length of an empty line before the request line, which a server should skip (RFC 9112, 2.2): we allow one,
/// CRLF only. `None` when more bytes are needed to tell.
#[inline]
fn leading_line(buf: &[u8]) -> Result<Option<usize>, HeadFault> {
    match buf {
        [] | [b'\r'] => Ok(None),
        [b'\n', ..] => Err(HeadFault::BareLf),
        [b'\r', b'\n'] => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(HeadFault::LeadingBlankLines),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r', ..] => Err(HeadFault::BareCr),
        _ => Ok(Some(0)),
    }
}

/// Limits of a head that is not whole yet.
fn check_partial(
    raw: &httparse::Request<'_, '_>,
    rest_len: usize,
    buf_len: usize,
    limits: &HeadLimits,
) -> Result<(), HeadFault> {
    match (raw.method, raw.path) {
        (None, _) if rest_len > METHOD_BYTES_MAX => Err(HeadFault::MethodTooLong),
        (Some(method), _) if method.len() > METHOD_BYTES_MAX => Err(HeadFault::MethodTooLong),
        (Some(method), None)
            if rest_len.saturating_sub(method.len() + 1) > limits.target_bytes_max =>
        {
            Err(HeadFault::TargetTooLong)
        }
        (_, Some(target)) if target.len() > limits.target_bytes_max => {
            Err(HeadFault::TargetTooLong)
        }
        _ if buf_len >= limits.head_bytes_max => Err(HeadFault::HeadTooLong),
        _ => Ok(()),
    }
}

/// Walks the field lines from `start` to `end`; an error when a byte between the parts is not what the strict
/// grammar has there.
#[inline]
pub(crate) fn take_fields(
    fields: &mut Fields,
    raw: &[httparse::Header<'_>],
    buf: &[u8],
    start: usize,
    end: usize,
) -> Result<(), ()> {
    let buf = buf.get(..end).ok_or(())?;
    fields.reserve(raw.len());
    let mut at = start;
    for header in raw {
        let name = header.name.as_bytes();
        let name_end = at + name.len();
        if buf.get(name_end) != Some(&b':') || name.is_empty() {
            return Err(());
        }
        let value_start = skip_ows(buf, name_end + 1);
        let value_end = value_start + header.value.len();
        let line_break = skip_ows(buf, value_end);
        if buf.get(line_break..line_break + 2) != Some(b"\r\n") {
            return Err(());
        }
        debug_assert_eq!(buf.get(at..name_end), Some(name));
        debug_assert_eq!(buf.get(value_start..value_end), Some(header.value));
        fields.push(Field {
            name: Span::new(at, name_end),
            value: Span::new(value_start, value_end),
            line_end: (line_break + 2) as u32,
            id: HeaderId::of(name),
        });
        at = line_break + 2;
    }
    if buf.get(at..) == Some(b"\r\n") {
        Ok(())
    } else {
        Err(())
    }
}

#[inline]
fn skip_ows(buf: &[u8], mut at: usize) -> usize {
    while buf.get(at).is_some_and(|&b| is_ows(b)) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests;
