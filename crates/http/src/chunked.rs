//! Chunked bodies (RFC 9112, section 7.1), read incrementally.
//!
//! The decoder sees each byte once, however the input is cut. Data is never copied: the caller gets its range.
//! Extensions are checked and dropped. Trailers are checked, bounded and kept as lines ready to be sent on. Framing
//! lines must be exact: white space around the size, a bare LF, a bare `;`, a sign or `0x` are all refused, because
//! each of them is read differently by some server.

use std::ops::Range;

use crate::fault::BodyFault;
use crate::header::{HeaderId, HeaderSet};
use crate::syntax::{hex_value, is_ows, is_token_byte, is_value_byte, trim_ows};

/// Digits of a chunk size: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// What the framing of a chunked body may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Bytes of chunk extensions in the whole body. Default 16384.
    pub extension_bytes_max: usize,
    /// Bytes of the trailer section. Default 16384.
    pub trailer_bytes_max: usize,
    /// Trailer fields. Default 64.
    pub trailer_fields_max: usize,
}

impl Default for ChunkLimits {
    fn default() -> ChunkLimits {
        ChunkLimits {
            extension_bytes_max: 16384,
            trailer_bytes_max: 16384,
            trailer_fields_max: 64,
        }
    }
}

/// What one step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkItem {
    /// Bytes of the body: a range of the input of this step, never empty.
    Data(Range<usize>),
    /// All input was used up; more is needed.
    More,
    /// The body has ended. Input after `consumed` belongs to the next message.
    End,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkStep {
    /// Bytes of the input that are done with; at least the end of a data range.
    pub consumed: usize,
    /// What was found.
    pub item: ChunkItem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    /// After at least one digit.
    Size,
    /// After `;`, possibly after white space.
    ExtensionStart,
    /// In the name of an extension.
    ExtensionName,
    /// After `=`.
    ExtensionValueStart,
    /// In an unquoted value.
    ExtensionValue,
    /// In a quoted value.
    ExtensionQuoted,
    /// After a backslash in a quoted value.
    ExtensionEscape,
    /// After the closing quote.
    ExtensionQuoteEnd,
    /// After the CR of a size line.
    SizeLf,
    /// In the data of a chunk, `left` bytes to go.
    Data,
    /// After the data.
    DataCr,
    /// After the CR that follows the data.
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    /// In a trailer line.
    Trailer,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the empty line.
    EndLf,
    /// The body has ended.
    End,
    /// A fault was found; it is found again on every step.
    Failed(BodyFault),
}

/// Reads one chunked body. [`ChunkedDecoder::reset`] makes it ready for the next.
#[derive(Debug, Clone)]
pub struct ChunkedDecoder {
    state: State,
    left: u64,
    digits: u8,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
    limits: ChunkLimits,
    /// The trailer line being read, without its CRLF.
    line: Vec<u8>,
    trailers: Vec<u8>,
}

impl Default for ChunkedDecoder {
    fn default() -> ChunkedDecoder {
        ChunkedDecoder::new()
    }
}

impl ChunkedDecoder {
    /// A decoder with the default limits. Allocates nothing until a trailer comes.
    pub fn new() -> ChunkedDecoder {
        ChunkedDecoder::with_limits(ChunkLimits::default())
    }

    /// A decoder with limits of its own.
    pub fn with_limits(limits: ChunkLimits) -> ChunkedDecoder {
        ChunkedDecoder {
            state: State::SizeStart,
            left: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailer_fields: 0,
            limits,
            line: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Makes the decoder ready for another body and keeps its memory and limits.
    pub fn reset(&mut self) {
        self.state = State::SizeStart;
        self.left = 0;
        self.digits = 0;
        self.extension_bytes = 0;
        self.trailer_bytes = 0;
        self.trailer_fields = 0;
        self.line.clear();
        self.trailers.clear();
    }

    /// The trailers so far: `Name: value\r\n` lines, checked, without the empty line. Whole after [`ChunkItem::End`].
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// Reads on. Call it again with the input after `consumed` until it says [`ChunkItem::More`] or
    /// [`ChunkItem::End`]. A fault stays: every later step gives it again.
    pub fn step(&mut self, input: &[u8]) -> Result<ChunkStep, BodyFault> {
        let mut at = 0;
        loop {
            match self.state {
                State::Data => {
                    let rest = input.len() - at;
                    if rest == 0 {
                        return Ok(ChunkStep {
                            consumed: at,
                            item: ChunkItem::More,
                        });
                    }
                    let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                    self.left -= take as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    let item = ChunkItem::Data(at..at + take);
                    return Ok(ChunkStep {
                        consumed: at + take,
                        item,
                    });
                }
                State::End => {
                    return Ok(ChunkStep {
                        consumed: at,
                        item: ChunkItem::End,
                    });
                }
                State::Failed(fault) => return Err(fault),
                _ => {}
            }
            let Some(&b) = input.get(at) else {
                return Ok(ChunkStep {
                    consumed: at,
                    item: ChunkItem::More,
                });
            };
            at += 1;
            match self.framing_byte(b) {
                Ok(next) => self.state = next,
                Err(fault) => {
                    self.state = State::Failed(fault);
                    return Err(fault);
                }
            }
        }
    }

    /// One byte that is not data.
    #[inline]
    fn framing_byte(&mut self, b: u8) -> Result<State, BodyFault> {
        match self.state {
            State::SizeStart => {
                (self.left, self.digits) = (0, 0);
                self.size_digit(b)
            }
            State::Size => match b {
                b'\r' => Ok(State::SizeLf),
                b';' => self.extension(State::ExtensionStart),
                _ => self.size_digit(b),
            },
            State::SizeLf => match (b, self.left) {
                (b'\n', 0) => Ok(State::TrailerStart),
                (b'\n', _) => Ok(State::Data),
                _ => Err(BodyFault::LineEnd),
            },
            State::DataCr if b == b'\r' => Ok(State::DataLf),
            State::DataCr => Err(BodyFault::ChunkEnd),
            State::DataLf if b == b'\n' => Ok(State::SizeStart),
            State::DataLf => Err(BodyFault::ChunkEnd),
            State::TrailerStart | State::Trailer | State::TrailerLf | State::EndLf => {
                self.trailer_byte(b)
            }
            State::Data | State::End => Ok(self.state),
            State::Failed(fault) => Err(fault),
            _ => self.extension_byte(b),
        }
    }

    #[inline]
    fn size_digit(&mut self, b: u8) -> Result<State, BodyFault> {
        let digit = match (hex_value(b), b) {
            (Some(digit), _) => digit,
            (None, b'\n') => return Err(BodyFault::LineEnd),
            (None, _) => return Err(BodyFault::ChunkSizeByte),
        };
        if self.digits == SIZE_DIGITS_MAX {
            return Err(BodyFault::ChunkSizeTooLong);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    #[inline]
    fn extension(&mut self, next: State) -> Result<State, BodyFault> {
        self.extension_bytes += 1;
        if self.extension_bytes > self.limits.extension_bytes_max {
            return Err(BodyFault::ExtensionsTooLong);
        }
        Ok(next)
    }

    /// RFC 9112, 7.1.1: `*( BWS ";" BWS name [ BWS "=" BWS value ] )`. Of the bad white space only that after `;`,
    /// which some clients do send, is taken.
    fn extension_byte(&mut self, b: u8) -> Result<State, BodyFault> {
        let next = match (self.state, b) {
            (State::ExtensionName | State::ExtensionValue | State::ExtensionQuoteEnd, b'\r') => {
                return Ok(State::SizeLf);
            }
            (_, b'\n') => return Err(BodyFault::LineEnd),
            (State::ExtensionStart, _) if is_ows(b) => State::ExtensionStart,
            (State::ExtensionStart | State::ExtensionName, _) if is_token_byte(b) => {
                State::ExtensionName
            }
            (State::ExtensionName, b'=') => State::ExtensionValueStart,
            (State::ExtensionName | State::ExtensionValue | State::ExtensionQuoteEnd, b';') => {
                State::ExtensionStart
            }
            (State::ExtensionValueStart, b'"') => State::ExtensionQuoted,
            (State::ExtensionValueStart | State::ExtensionValue, _) if is_token_byte(b) => {
                State::ExtensionValue
            }
            (State::ExtensionQuoted, b'"') => State::ExtensionQuoteEnd,
            (State::ExtensionQuoted, b'\\') => State::ExtensionEscape,
            (State::ExtensionQuoted | State::ExtensionEscape, _) if is_value_byte(b) => {
                State::ExtensionQuoted
            }
            _ => return Err(BodyFault::ExtensionMalformed),
        };
        self.extension(next)
    }

    fn trailer_byte(&mut self, b: u8) -> Result<State, BodyFault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > self.limits.trailer_bytes_max {
            return Err(BodyFault::TrailersTooLong);
        }
        match (self.state, b) {
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::End),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => {
                self.take_trailer()?;
                Ok(State::TrailerStart)
            }
            (State::EndLf | State::TrailerLf, _) | (_, b'\n') => Err(BodyFault::LineEnd),
            // White space at the start of a line would fold it into the line before (RFC 9112, 5.2).
            (State::TrailerStart, _) if !is_token_byte(b) => Err(BodyFault::TrailerMalformed),
            (_, _) if !is_value_byte(b) => Err(BodyFault::TrailerMalformed),
            _ => {
                self.line.push(b);
                Ok(State::Trailer)
            }
        }
    }

    /// Judges the trailer line that has just ended.
    fn take_trailer(&mut self) -> Result<(), BodyFault> {
        self.trailer_fields += 1;
        if self.trailer_fields > self.limits.trailer_fields_max {
            return Err(BodyFault::TooManyTrailers);
        }
        let colon = memchr::memchr(b':', &self.line).ok_or(BodyFault::TrailerMalformed)?;
        let (name, value) = self.line.split_at(colon);
        if !crate::syntax::is_token(name) {
            return Err(BodyFault::TrailerMalformed);
        }
        let id = HeaderId::of(name);
        if FORBIDDEN.contains(id) {
            return Err(BodyFault::TrailerForbidden);
        }
        if !DROPPED.contains(id) {
            let value = trim_ows(value.get(1..).unwrap_or_default());
            for part in [name, b": ", value, b"\r\n"] {
                self.trailers.extend_from_slice(part);
            }
        }
        self.line.clear();
        Ok(())
    }
}

/// Fields that a recipient might merge into the head, with force: framing, routing, control, credentials, trust
/// (RFC 9110, 6.5.1). One of them in a trailer section is an attack or a bad bug, so the body is refused.
pub(crate) const FORBIDDEN: HeaderSet = crate::framing::HOP_BY_HOP
    .with(HeaderId::ContentLength)
    .with(HeaderId::Host)
    .with(HeaderId::Expect)
    .with(HeaderId::MaxForwards)
    .with(HeaderId::Authorization)
    .with(HeaderId::WwwAuthenticate)
    .with(HeaderId::Cookie)
    .with(HeaderId::SetCookie)
    .with(HeaderId::Forwarded)
    .with(HeaderId::XForwardedFor)
    .with(HeaderId::XForwardedProto)
    .with(HeaderId::XForwardedHost)
    .with(HeaderId::XForwardedPort)
    .with(HeaderId::XRealIp)
    .with(HeaderId::CfConnectingIp)
    .with(HeaderId::XClientIp)
    .with(HeaderId::XRequestId);

/// Fields that mean nothing in a trailer section but that well-meaning senders put there: not passed on.
pub(crate) const DROPPED: HeaderSet = HeaderSet::new()
    .with(HeaderId::ContentType)
    .with(HeaderId::ContentEncoding)
    .with(HeaderId::ContentRange)
    .with(HeaderId::Range)
    .with(HeaderId::IfMatch)
    .with(HeaderId::IfNoneMatch)
    .with(HeaderId::IfModifiedSince)
    .with(HeaderId::IfUnmodifiedSince)
    .with(HeaderId::IfRange)
    .with(HeaderId::CacheControl)
    .with(HeaderId::Location)
    .with(HeaderId::Vary)
    .with(HeaderId::Age)
    .with(HeaderId::Expires)
    .with(HeaderId::Date)
    .with(HeaderId::RetryAfter);

/// Appends the size line of a chunk of `len` bytes: lower-case hexadecimal and CRLF.
#[inline]
pub fn write_chunk_size(out: &mut Vec<u8>, len: usize) {
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        let digit = (len >> (4 * at)) as u8 & 15;
        out.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
