//! From a head in the form of HTTP/1.1 that we wrote to the fields of HTTP/2, and trailers the other way.

use super::{check_bytes, write_line};
use crate::chunked::{ChunkLimits, DROPPED, FORBIDDEN};
use crate::fault::HeadFault;
use crate::header::{HeaderId, HeaderSet};
use crate::syntax::trim_ows;

/// Fields of our heads that HTTP/2 does not have (RFC 9113, 8.2.2), and Host, which becomes `:authority`.
const LEFT_OUT: HeaderSet = super::CONNECTION_FIELDS.with(HeaderId::Host);

/// The fields for HTTP/2 of a head in the form of HTTP/1.1 that we wrote: names as written, which the caller must
/// make lower case, and values without white space around.
/// Left out are Host (see [`written_host`]) and all that belongs to one connection; HTTP2-Settings too. The walk
/// ends at the empty line or at the end of the bytes. Not for bytes of a peer: only a head that has passed our
/// checks has lines that can be told apart this simply.
pub fn h2_fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field_lines(after_first_line(head)).filter(|(name, _)| {
        !LEFT_OUT.contains(HeaderId::of(name)) && !name.eq_ignore_ascii_case(b"http2-settings")
    })
}

/// The value of Host in a head that we wrote, for `:authority`.
pub fn written_host(head: &[u8]) -> Option<&[u8]> {
    field_lines(after_first_line(head))
        .find(|(name, _)| HeaderId::of(name) == HeaderId::Host)
        .map(|(_, value)| value)
}

/// The fields of trailers as [`trailer_lines`] and [`crate::ChunkedDecoder::trailers`] give them: names as written,
/// which the caller must make lower case, and values.
pub fn trailer_fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field_lines(lines)
}

fn after_first_line(mut head: &[u8]) -> &[u8] {
    next_line(&mut head);
    head
}

/// Names and values of lines up to the empty one.
fn field_lines(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let line = next_line(&mut rest)?;
            if line.is_empty() {
                rest = &[];
                return None;
            }
            if let Some(colon) = memchr::memchr(b':', line)
                && let Some((name, value)) = line.split_at_checked(colon)
            {
                return Some((name, trim_ows(value.get(1..).unwrap_or_default())));
            }
        }
    })
}

/// Takes the next line off `rest`, without its line break; `None` at the end.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
    let (line, after) = rest.split_at(end);
    *rest = after;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// `name` in lower case, in `buffer`, which is cleared first.
#[inline]
pub fn lower_name<'a>(name: &[u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    buffer.clear();
    buffer.extend(name.iter().map(u8::to_ascii_lowercase));
    buffer
}

/// Appends the trailers of an HTTP/2 message as `name: value` lines with CRLF, without the empty line. The rules are
/// those of [`crate::ChunkedDecoder`] with the default [`ChunkLimits`]: what frames, routes, authenticates or belongs
/// to one connection is a fault, and so is a pseudo-header (RFC 9113, 8.1); what means nothing in trailers is left
/// out. After a fault `out` is as it was.
pub fn trailer_lines<'f>(
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), HeadFault> {
    let start = out.len();
    let done = write_trailers(fields, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn write_trailers<'f>(
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), HeadFault> {
    let limits = ChunkLimits::default();
    // As if they stood as lines of a chunked body: a colon, a space and a line break each.
    let mut bytes = 0usize;
    for (count, (name, value)) in fields.enumerate() {
        bytes = bytes.saturating_add(name.len() + value.len() + 4);
        if bytes > limits.trailer_bytes_max {
            return Err(HeadFault::TrailersTooLong);
        }
        if count >= limits.trailer_fields_max {
            return Err(HeadFault::TooManyTrailers);
        }
        check_bytes(name, value)?;
        let id = HeaderId::of(name);
        if FORBIDDEN.contains(id) {
            return Err(HeadFault::TrailerForbidden);
        }
        if !DROPPED.contains(id) {
            write_line(out, name, value);
        }
    }
    Ok(())
}
