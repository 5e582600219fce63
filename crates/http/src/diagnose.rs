//! Names the fault of a head that was refused. Slow and plain on purpose: it runs once per refused head.
//!
//! The head may be incomplete. The first fault in reading order is the one that is named.

use crate::fault::HeadFault;
use crate::request::{HeadLimits, METHOD_BYTES_MAX};
use crate::syntax::{is_ows, is_token, is_token_byte, is_value_byte};

/// The fault of a request head that httparse refused.
#[cold]
pub(crate) fn fault_in_request(
    head: &[u8],
    error: httparse::Error,
    limits: &HeadLimits,
) -> HeadFault {
    if error == httparse::Error::TooManyHeaders {
        return HeadFault::TooManyFields;
    }
    let (line, rest) = split_line(head);
    if let Some(fault) = fault_in_request_line(line, limits) {
        return fault;
    }
    fault_in_fields(rest).unwrap_or_else(|| fallback(error))
}

/// The fault of a request head that httparse took but that breaks the chain of lines.
#[cold]
pub(crate) fn fault_in_lines(head: &[u8]) -> HeadFault {
    let (line, rest) = split_line(head);
    fault_in_line_end(line)
        .or_else(|| fault_in_fields(rest))
        .unwrap_or(HeadFault::RequestLine)
}

/// The fault of an answer's head that httparse refused, or took although it breaks the chain of lines.
#[cold]
pub(crate) fn fault_in_response(head: &[u8], error: Option<httparse::Error>) -> HeadFault {
    if error == Some(httparse::Error::TooManyHeaders) {
        return HeadFault::TooManyFields;
    }
    let (line, rest) = split_line(head);
    if let Some(fault) = fault_in_status_line(line) {
        return fault;
    }
    fault_in_fields(rest).unwrap_or_else(|| error.map_or(HeadFault::StatusLine, fallback))
}

fn fallback(error: httparse::Error) -> HeadFault {
    match error {
        httparse::Error::HeaderName => HeadFault::NameByte,
        httparse::Error::HeaderValue => HeadFault::ValueByte,
        httparse::Error::NewLine => HeadFault::BareCr,
        httparse::Error::Status => HeadFault::StatusLine,
        httparse::Error::Token => HeadFault::RequestLine,
        httparse::Error::TooManyHeaders => HeadFault::TooManyFields,
        httparse::Error::Version => HeadFault::VersionMalformed,
    }
}

/// The first line with its LF if it has one, and what follows.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    bytes.split_at(end)
}

/// The line without its line break; a fault when the break is not CRLF or a CR stands elsewhere.
fn line_body(line: &[u8]) -> Result<&[u8], HeadFault> {
    let body = match line {
        [body @ .., b'\r', b'\n'] => body,
        [_body @ .., b'\n'] => return Err(HeadFault::BareLf),
        [body @ .., b'\r'] => body,
        body => body,
    };
    if body.contains(&b'\r') {
        Err(HeadFault::BareCr)
    } else {
        Ok(body)
    }
}

fn fault_in_line_end(line: &[u8]) -> Option<HeadFault> {
    line_body(line).err()
}

fn fault_in_request_line(line: &[u8], limits: &HeadLimits) -> Option<HeadFault> {
    let method_end = line
        .iter()
        .position(|&b| !is_token_byte(b))
        .unwrap_or(line.len());
    if method_end > METHOD_BYTES_MAX {
        return Some(HeadFault::MethodTooLong);
    }
    if method_end == 0 || line.get(method_end) != Some(&b' ') {
        return Some(match line_body(line) {
            Err(fault) if method_end > 0 => fault,
            Ok(body) if is_token(body) => HeadFault::RequestLine,
            _ if matches!(line.get(method_end), Some(b'\t' | b' ')) => HeadFault::RequestLine,
            _ => HeadFault::MethodByte,
        });
    }
    let after = line.get(method_end + 1..).unwrap_or_default();
    let target_end = after
        .iter()
        .position(|&b| b <= b' ' || b == 0x7f)
        .unwrap_or(after.len());
    if target_end > limits.target_bytes_max {
        return Some(HeadFault::TargetTooLong);
    }
    match after.get(target_end) {
        Some(b' ') if target_end > 0 => {}
        Some(b' ' | b'\t') | None => return Some(HeadFault::RequestLine),
        Some(b'\r' | b'\n') => {
            return Some(fault_in_line_end(line).unwrap_or(HeadFault::RequestLine));
        }
        Some(_) => return Some(HeadFault::TargetByte),
    }
    if after
        .get(..target_end)
        .is_some_and(|target| std::str::from_utf8(target).is_err())
    {
        return Some(HeadFault::TargetByte);
    }
    let (version, end) = split_version(after.get(target_end + 1..).unwrap_or_default());
    let at_end = matches!(end, [] | [b'\r'] | [b'\r', b'\n']);
    match fault_in_version(version) {
        Some(HeadFault::VersionMalformed) if !at_end && !version.starts_with(b"HTTP/") => {
            Some(fault_in_line_end(line).unwrap_or(HeadFault::RequestLine))
        }
        Some(fault) => Some(fault),
        None => fault_in_line_end(line).or((!at_end).then_some(HeadFault::RequestLine)),
    }
}

/// Splits what should be a version off its line.
fn split_version(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&b| b <= b' ').unwrap_or(bytes.len());
    bytes.split_at(end)
}

fn fault_in_version(version: &[u8]) -> Option<HeadFault> {
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => None,
        [b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', b'0'..=b'9'] => {
            Some(HeadFault::VersionUnsupported)
        }
        _ if version.contains(&b'/') => Some(HeadFault::VersionMalformed),
        _ => Some(HeadFault::RequestLine),
    }
}

fn fault_in_status_line(line: &[u8]) -> Option<HeadFault> {
    let (version, after) = split_version(line);
    match fault_in_version(version) {
        Some(HeadFault::RequestLine) => return Some(HeadFault::StatusLine),
        Some(fault) => return Some(fault),
        None => {}
    }
    let body = match line_body(after) {
        Ok(body) => body,
        Err(fault) => return Some(fault),
    };
    match body {
        [b' ', a, b, c] | [b' ', a, b, c, b' ', ..]
            if [a, b, c].iter().all(|d| d.is_ascii_digit()) =>
        {
            let reason = body.get(5..).unwrap_or_default();
            (!reason.iter().all(|&b| is_value_byte(b))).then_some(HeadFault::ControlByte)
        }
        _ => Some(HeadFault::StatusLine),
    }
}

fn fault_in_fields(mut lines: &[u8]) -> Option<HeadFault> {
    let mut first = true;
    while !lines.is_empty() {
        let (line, rest) = split_line(lines);
        if line == b"\r\n" || line == b"\r" {
            return None;
        }
        if let Some(fault) = fault_in_field(line, first) {
            return Some(fault);
        }
        (lines, first) = (rest, false);
    }
    None
}

fn fault_in_field(line: &[u8], first: bool) -> Option<HeadFault> {
    if line.first().is_some_and(|&b| is_ows(b)) {
        return Some(if first {
            HeadFault::SpaceBeforeFields
        } else {
            HeadFault::ObsFold
        });
    }
    let whole = line.ends_with(b"\n");
    let body = match line_body(line) {
        Ok(body) => body,
        Err(fault) => return Some(fault),
    };
    let Some(colon) = memchr::memchr(b':', body) else {
        return match (whole, body.iter().all(|&b| is_token_byte(b))) {
            (false, true) => None,
            (_, false) if body.iter().any(|b| !(b' '..0x7f).contains(b)) => {
                Some(HeadFault::NameByte)
            }
            _ => Some(HeadFault::NoColon),
        };
    };
    let (name, value) = body.split_at(colon);
    if name.is_empty() {
        return Some(HeadFault::EmptyName);
    }
    if !is_token(name) {
        let spaces = name.iter().rev().take_while(|&&b| is_ows(b)).count();
        let tight = name.get(..name.len() - spaces).unwrap_or_default();
        return Some(match is_token(tight) {
            true => HeadFault::SpaceBeforeColon,
            false => HeadFault::NameByte,
        });
    }
    (!value.iter().all(|&b| is_value_byte(b))).then_some(HeadFault::ValueByte)
}
