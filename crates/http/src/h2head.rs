//! Heads that come as lists of fields (HTTP/2), checked here and kept in the form of HTTP/1.1; and the way back.
//!
//! All strict checks are here, HPACK has none: what could be read as two messages after a translation to HTTP/1
//! (RFC 9113, 10.3) is refused where the fields are still apart, and so are pseudo-header fields out of place. The
//! head is written out as text with the spans beside it, so that all that follows is the same as for HTTP/1.1. A
//! head is never parsed again; a property test holds this writer and the parser of HTTP/1 together.

mod out;
mod request;
mod response;

pub use out::{h2_fields, lower_name, trailer_fields, trailer_lines, written_host};

use std::iter::Chain;
use std::option::IntoIter;

use crate::fault::HeadFault;
use crate::fields::{Field, Fields};
use crate::header::{HeaderId, HeaderSet};
use crate::request::{FIELDS_CEILING, HeadLimits};
use crate::span::Span;
use crate::syntax::{is_ows, is_token_byte, is_value_byte};

/// What a field costs beyond its name and value (RFC 9113, 6.5.2). More than any line that we write has around them.
const FIELD_OVERHEAD: usize = 32;

/// Fields that belong to one HTTP/1 connection (RFC 9113, 8.2.2). TE has a rule of its own.
const CONNECTION_FIELDS: HeaderSet = HeaderSet::new()
    .with(HeaderId::Connection)
    .with(HeaderId::KeepAlive)
    .with(HeaderId::ProxyConnection)
    .with(HeaderId::TransferEncoding)
    .with(HeaderId::Upgrade);

/// A name and a value.
type FieldPair<'f> = (&'f [u8], &'f [u8]);

/// A head in the making: its text and its fields.
struct Lines<'a> {
    out: &'a mut Vec<u8>,
    fields: &'a mut Fields,
    limits: &'a HeadLimits,
    /// Size of the list so far, as RFC 9113, 6.5.2 counts it. The text is never longer.
    listed: usize,
}

impl<'a> Lines<'a> {
    fn new(out: &'a mut Vec<u8>, fields: &'a mut Fields, limits: &'a HeadLimits) -> Lines<'a> {
        Lines {
            out,
            fields,
            limits,
            listed: 0,
        }
    }

    /// Counts and gives away the pseudo-header fields, which come first; what is behind them is left. Another one
    /// there is a fault of the names ([`check_field`]).
    fn take_pseudo<'f, I>(
        &mut self,
        mut list: I,
        mut take: impl FnMut(&'f [u8], &'f [u8]) -> Result<(), HeadFault>,
    ) -> Result<Chain<IntoIter<FieldPair<'f>>, I>, HeadFault>
    where
        I: Iterator<Item = FieldPair<'f>>,
    {
        let mut first = None;
        for (name, value) in list.by_ref() {
            if !name.starts_with(b":") {
                first = Some((name, value));
                break;
            }
            self.count(name, value)?;
            take(name, value)?;
        }
        Ok(first.into_iter().chain(list))
    }

    /// Counts a field against `head_bytes_max`; to be done before its bytes are looked at.
    #[inline]
    fn count(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadFault> {
        let size = name.len() + value.len() + FIELD_OVERHEAD;
        self.listed = self.listed.saturating_add(size);
        if self.listed > self.limits.head_bytes_max.min(u32::MAX as usize) {
            Err(HeadFault::HeadTooLong)
        } else {
            Ok(())
        }
    }

    /// Writes a line whose parts have been counted and checked.
    #[inline]
    fn push(&mut self, name: &[u8], value: &[u8], id: HeaderId) -> Result<(), HeadFault> {
        if self.fields.len() >= self.limits.fields_max.min(FIELDS_CEILING) {
            return Err(HeadFault::TooManyFields);
        }
        let start = self.out.len();
        let name_end = start + name.len();
        let value_start = name_end + 2;
        let value_end = value_start + value.len();
        write_line(self.out, name, value);
        self.fields.push(Field {
            name: Span::new(start, name_end),
            value: Span::new(value_start, value_end),
            line_end: (value_end + 2) as u32,
            id,
        });
        Ok(())
    }

    /// Writes the end of the head and gives its length.
    #[inline]
    fn finish(self) -> usize {
        self.out.extend_from_slice(b"\r\n");
        debug_assert!(self.out.len() <= self.listed, "one count is enough");
        self.out.len()
    }
}

#[inline]
fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Checks the name and value of one field that is not a pseudo-header, in a head of either direction.
#[inline]
fn check_field(name: &[u8], value: &[u8]) -> Result<HeaderId, HeadFault> {
    check_bytes(name, value)?;
    let id = HeaderId::of(name);
    if CONNECTION_FIELDS.contains(id) {
        return Err(HeadFault::ConnectionField);
    }
    if id == HeaderId::Te && !value.eq_ignore_ascii_case(b"trailers") {
        return Err(HeadFault::TeInvalid);
    }
    Ok(id)
}

/// RFC 9113, 8.2.1, and beyond it what HTTP/1 forbids: a name is a token, a value has no control byte.
#[inline]
fn check_bytes(name: &[u8], value: &[u8]) -> Result<(), HeadFault> {
    let sound = |b: &u8| is_token_byte(*b) && !b.is_ascii_uppercase();
    if name.is_empty() || !name.iter().all(sound) {
        return Err(fault_in_name(name));
    }
    if !value.iter().all(|&b| is_value_byte(b)) {
        return Err(HeadFault::ValueByte);
    }
    if let (Some(&first), Some(&last)) = (value.first(), value.last())
        && (is_ows(first) || is_ows(last))
    {
        return Err(HeadFault::ValuePadded);
    }
    Ok(())
}

#[cold]
fn fault_in_name(name: &[u8]) -> HeadFault {
    match name {
        [] => HeadFault::EmptyName,
        [b':', ..] => HeadFault::PseudoField,
        _ if name.iter().all(|&b| is_token_byte(b)) => HeadFault::NameUpperCase,
        _ => HeadFault::NameByte,
    }
}

#[cfg(test)]
mod agree_tests;
#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod tests;
