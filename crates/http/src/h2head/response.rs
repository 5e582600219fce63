//! The head of an answer of HTTP/2 (RFC 9113, 8.3.2).

use std::io::Write;

use super::{Lines, check_field};
use crate::fault::HeadFault;
use crate::framing::{BodyLength, ResponseFraming, content_length};
use crate::header::HeaderId;
use crate::method::{Method, Version};
use crate::request::HeadLimits;
use crate::response::ResponseHead;
use crate::span::Span;

impl ResponseHead {
    /// Reads an answer of HTTP/2: checks it, writes it into `out` in the form of HTTP/1.1 (`HTTP/1.1 200 ` and an
    /// empty reason), and fills this head with spans into `out`. What was in `out` and here before is forgotten;
    /// after a fault, which means 502, both are empty. `list` are the fields as they came, `:status` first. Limits are
    /// counted as in [`crate::RequestHead::read_h2`].
    ///
    /// `request_method` is the method that went to the server. [`Method::Connect`] stands for an extended CONNECT
    /// for websocket, the only CONNECT that we send: then an answer 2xx opens the tunnel and is written as `HTTP/1.1
    /// 101 ` with `Upgrade: websocket`, status 101, and `switching` set, as a server of HTTP/1.1 would say it.
    ///
    /// The framing: [`BodyLength::Chunked`] means that the length is unknown; keep_alive is always set, nominates
    /// never. Where a body is forbidden (HEAD, 204, 304) it is [`BodyLength::Empty`] even without `end_stream`; DATA
    /// that carries bytes after that is the server's fault (RFC 9113, 8.1.1).
    pub fn read_h2<'f>(
        &mut self,
        out: &mut Vec<u8>,
        list: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        end_stream: bool,
        request_method: Method,
        limits: &HeadLimits,
    ) -> Result<ResponseFraming, HeadFault> {
        self.clear();
        out.clear();
        let framing = self
            .write_h2(out, list, request_method, limits)
            .and_then(|switching| self.frame_h2(out, switching, end_stream, request_method));
        if framing.is_err() {
            self.clear();
            out.clear();
        }
        framing
    }

    fn write_h2<'f>(
        &mut self,
        out: &mut Vec<u8>,
        list: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        request_method: Method,
        limits: &HeadLimits,
    ) -> Result<bool, HeadFault> {
        let mut lines = Lines::new(out, &mut self.fields, limits);
        let mut told = None;
        let fields = lines.take_pseudo(list, |name, value| match (name, told.replace(value)) {
            (b":status", None) => Ok(()),
            _ => Err(HeadFault::PseudoField),
        })?;
        let status = read_status(told)?;
        let switching = request_method == Method::Connect && (200..300).contains(&status);
        self.status = if switching { 101 } else { status };
        self.version = Version::Http2;
        // Writing into a Vec cannot fail.
        drop(write!(lines.out, "HTTP/1.1 {} \r\n", self.status));
        self.line_end = lines.out.len() as u32;
        let reason = lines.out.len().saturating_sub(2);
        self.reason = Span::new(reason, reason);
        if switching {
            lines.count(b"upgrade", b"websocket")?;
            lines.push(b"Upgrade", b"websocket", HeaderId::Upgrade)?;
        }
        for (name, value) in fields {
            lines.count(name, value)?;
            let id = check_field(name, value)?;
            lines.push(name, value, id)?;
        }
        self.len = lines.finish();
        Ok(switching)
    }

    fn frame_h2(
        &self,
        buf: &[u8],
        switching: bool,
        end_stream: bool,
        request_method: Method,
    ) -> Result<ResponseFraming, HeadFault> {
        let length = content_length(&self.fields, buf)?;
        if self.is_interim() && end_stream {
            return Err(HeadFault::InterimEnds);
        }
        // The same rule as for HTTP/1; a 101 is a 2xx to CONNECT here, which has no content (RFC 9110, 9.3.6).
        let bodiless = self.status < 200 || self.status == 204;
        if bodiless && length.is_some_and(|bytes| bytes > 0 || self.status != 204) {
            return Err(HeadFault::BodyForbidden);
        }
        let body = if bodiless || self.status == 304 || request_method == Method::Head {
            BodyLength::Empty
        } else {
            match length {
                Some(1..) if end_stream => return Err(HeadFault::LengthWithoutBody),
                _ if end_stream => BodyLength::Empty,
                Some(bytes) => BodyLength::Fixed(bytes),
                None => BodyLength::Chunked,
            }
        };
        Ok(ResponseFraming {
            body,
            keep_alive: true,
            switching,
            nominates: false,
            declared_length: if bodiless { None } else { length },
        })
    }
}

/// The status of an answer from its `:status` (RFC 9113, 8.3.2).
fn read_status(told: Option<&[u8]>) -> Result<u16, HeadFault> {
    let digits = match told.ok_or(HeadFault::StatusMissing)? {
        [a, b, c] => [*a, *b, *c],
        _ => return Err(HeadFault::StatusLine),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeadFault::StatusLine);
    }
    let status = digits
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    match status {
        // RFC 9113, 8.6: HTTP/2 has no 101.
        101 => Err(HeadFault::SwitchUnasked),
        100..=599 => Ok(status),
        _ => Err(HeadFault::StatusRange),
    }
}
