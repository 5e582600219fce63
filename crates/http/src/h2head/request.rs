//! The head of a request of HTTP/2 (RFC 9113, 8.3.1; RFC 8441).

use super::{Lines, check_field};
use crate::authority::parse_authority;
use crate::fault::HeadFault;
use crate::framing::expects_continue;
use crate::framing::{BodyLength, RequestFraming, accepts_trailers, content_length};
use crate::header::HeaderId;
use crate::method::{Method, Version};
use crate::request::{HeadLimits, METHOD_BYTES_MAX, RequestHead};
use crate::span::Span;
use crate::syntax::is_token;

/// The pseudo-header fields of a request.
#[derive(Debug, Clone, Copy, Default)]
struct Pseudo<'a> {
    method: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    /// RFC 8441.
    protocol: Option<&'a [u8]>,
}

impl<'a> Pseudo<'a> {
    /// Takes one, which is known and was not there before.
    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), HeadFault> {
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            _ => return Err(HeadFault::PseudoField),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(HeadFault::PseudoField),
        }
    }
}

impl RequestHead {
    /// Reads a request of HTTP/2: checks it, writes it into `out` in the form of HTTP/1.1, and fills this head with
    /// spans into `out`. What was in `out` and here before is forgotten; after a fault both are empty.
    ///
    /// `list` are the fields as they came, pseudo-header fields among them: these come first, are known, and each is
    /// there at most once (RFC 9113, 8.3). `end_stream` says that no body follows. Of `limits`, `head_bytes_max` counts
    /// name, value and 32 bytes for each field of the list, as SETTINGS_MAX_HEADER_LIST_SIZE does (RFC 9113, 6.5.2),
    /// `fields_max` the lines as written.
    ///
    /// What is written: `:authority` as the first line, `Host: …` (without `:authority` the Host field where it came);
    /// cookie fields joined into one (RFC 9113, 8.2.3), empty ones left out; an extended CONNECT for websocket as `GET path` with `Upgrade:
    /// websocket`, without Sec-WebSocket-Key, which means nothing there (RFC 8441, 5), and with
    /// [`RequestHead::extended_connect`] set. Everything else is written as sent. The version is [`Version::Http2`].
    ///
    /// The framing: [`BodyLength::Chunked`] means that the length is unknown; nominates is never set and keep_alive
    /// always. Path and host are judged further by [`crate::NormalRequest::read`], as for HTTP/1.
    pub fn read_h2<'f>(
        &mut self,
        out: &mut Vec<u8>,
        list: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        end_stream: bool,
        limits: &HeadLimits,
    ) -> Result<RequestFraming, HeadFault> {
        self.clear();
        out.clear();
        let framing = self
            .write_h2(out, list, limits)
            .and_then(|()| self.frame_h2(out, end_stream));
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
        limits: &HeadLimits,
    ) -> Result<(), HeadFault> {
        self.version = Version::Http2;
        let mut lines = Lines::new(out, &mut self.fields, limits);
        let mut pseudo = Pseudo::default();
        let fields = lines.take_pseudo(list, |name, value| pseudo.take(name, value))?;
        let (method, target) = check_pseudo(&pseudo, limits)?;
        self.extended_connect = pseudo.protocol.is_some();
        let method = if self.extended_connect {
            b"GET"
        } else {
            method
        };
        lines.out.extend_from_slice(method);
        lines.out.push(b' ');
        lines.out.extend_from_slice(target);
        lines.out.extend_from_slice(b" HTTP/1.1\r\n");
        self.method = Method::of(method);
        self.method_span = Span::new(0, method.len());
        self.target = Span::new(method.len() + 1, method.len() + 1 + target.len());
        self.line_end = lines.out.len() as u32;
        if let Some(authority) = pseudo.authority {
            lines.push(b"Host", authority, HeaderId::Host)?;
        }
        if let Some(protocol) = pseudo.protocol {
            lines.push(b"Upgrade", protocol, HeaderId::Upgrade)?;
        }
        write_fields(&mut lines, &pseudo, fields)?;
        self.len = lines.finish();
        Ok(())
    }

    fn frame_h2(&self, buf: &[u8], end_stream: bool) -> Result<RequestFraming, HeadFault> {
        let length = content_length(&self.fields, buf)?;
        let body = match length {
            // RFC 9110, 9.3.6: a CONNECT has no content; what follows is the tunnel.
            Some(1..) if self.extended_connect => return Err(HeadFault::BodyForbidden),
            _ if self.extended_connect => BodyLength::Empty,
            Some(1..) if end_stream => return Err(HeadFault::LengthWithoutBody),
            _ if end_stream => BodyLength::Empty,
            Some(bytes) => BodyLength::Fixed(bytes),
            None => BodyLength::Chunked,
        };
        let has_body = !matches!(body, BodyLength::Empty | BodyLength::Fixed(0));
        if self.method == Method::Trace && has_body {
            return Err(HeadFault::BodyForbidden);
        }
        Ok(RequestFraming {
            body,
            keep_alive: true,
            expect_continue: expects_continue(&self.fields, buf)? && has_body,
            upgrade: self.extended_connect,
            te_trailers: accepts_trailers(&self.fields, buf),
            nominates: false,
        })
    }
}

/// Checks the pseudo-header fields and gives the method and the target.
fn check_pseudo<'a>(
    pseudo: &Pseudo<'a>,
    limits: &HeadLimits,
) -> Result<(&'a [u8], &'a [u8]), HeadFault> {
    let method = pseudo.method.ok_or(HeadFault::MethodMissing)?;
    if method.len() > METHOD_BYTES_MAX {
        return Err(HeadFault::MethodTooLong);
    }
    if !is_token(method) {
        return Err(HeadFault::MethodByte);
    }
    match (method, pseudo.protocol) {
        // RFC 9113, 8.5.
        (b"CONNECT", None) if pseudo.authority.is_none() => return Err(HeadFault::HostMissing),
        (b"CONNECT", None) => return Err(HeadFault::MethodRefused),
        (b"CONNECT", Some(b"websocket")) | (_, None) => {}
        (b"CONNECT", Some(_)) => return Err(HeadFault::ProtocolUnsupported),
        (_, Some(_)) => return Err(HeadFault::ProtocolMisplaced),
    }
    let scheme = pseudo.scheme.unwrap_or_default();
    if scheme.is_empty() {
        return Err(HeadFault::SchemeMissing);
    }
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(HeadFault::TargetScheme);
    }
    if let Some(authority) = pseudo.authority {
        check_authority(authority)?;
    }
    let target = pseudo.path.unwrap_or_default();
    if target.len() > limits.target_bytes_max {
        return Err(HeadFault::TargetTooLong);
    }
    match target {
        [] => Err(HeadFault::PathMissing),
        b"*" if method == b"OPTIONS" => Ok((method, target)),
        [b'/', ..] if target.iter().all(u8::is_ascii_graphic) => Ok((method, target)),
        [b'/', ..] => Err(HeadFault::TargetByte),
        _ => Err(HeadFault::TargetForm),
    }
}

fn check_authority(authority: &[u8]) -> Result<(), HeadFault> {
    parse_authority(authority).map(drop).map_err(|fault| {
        if authority.contains(&b'@') {
            HeadFault::HostUserinfo
        } else {
            fault
        }
    })
}

/// Checks and writes the fields.
fn write_fields<'f>(
    lines: &mut Lines<'_>,
    pseudo: &Pseudo<'_>,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) -> Result<(), HeadFault> {
    let mut host_seen = false;
    let mut cookies = Cookies::default();
    for (name, value) in fields {
        lines.count(name, value)?;
        match check_field(name, value)? {
            HeaderId::Host => {
                if std::mem::replace(&mut host_seen, true) {
                    return Err(HeadFault::HostRepeated);
                }
                match pseudo.authority {
                    Some(authority) if authority.eq_ignore_ascii_case(value) => {}
                    Some(_) => return Err(HeadFault::HostConflict),
                    None => {
                        check_authority(value)?;
                        lines.push(name, value, HeaderId::Host)?;
                    }
                }
            }
            HeaderId::Cookie => cookies.take(lines, name, value)?,
            HeaderId::SecWebsocketKey if pseudo.protocol.is_some() => {}
            id => lines.push(name, value, id)?,
        }
    }
    if pseudo.authority.is_none() && !host_seen {
        return Err(HeadFault::HostMissing);
    }
    cookies.finish(lines);
    Ok(())
}

/// Joins cookie fields into one line (RFC 9113, 8.2.3): senders split them for HPACK, and HTTP/1 servers read one.
#[derive(Default)]
struct Cookies {
    /// Index of the line.
    line: Option<usize>,
    /// What came after the line was no longer the last one, each with `; ` before it. Senders keep cookies together,
    /// so this is empty and allocates nothing; were each inserted at once, a request could make us move its head
    /// once for every field.
    late: Vec<u8>,
}

impl Cookies {
    fn take(&mut self, lines: &mut Lines<'_>, name: &[u8], value: &[u8]) -> Result<(), HeadFault> {
        match self.line {
            // Joined, an empty one would leave white space at the end.
            _ if value.is_empty() => {}
            None => {
                self.line = Some(lines.fields.len());
                lines.push(name, value, HeaderId::Cookie)?;
            }
            Some(line) if line + 1 == lines.fields.len() => {
                lines.out.truncate(lines.out.len().saturating_sub(2));
                for part in [b"; ", value, b"\r\n"] {
                    lines.out.extend_from_slice(part);
                }
                lines.fields.grow_value(line, value.len() as u32 + 2);
            }
            Some(_) => {
                self.late.extend_from_slice(b"; ");
                self.late.extend_from_slice(value);
            }
        }
        Ok(())
    }

    fn finish(self, lines: &mut Lines<'_>) {
        let Some(line) = self.line.filter(|_| !self.late.is_empty()) else {
            return;
        };
        if let Some(field) = lines.fields.iter().nth(line) {
            let at = field.value.end as usize;
            lines.fields.grow_value(line, self.late.len() as u32);
            lines.out.splice(at..at, self.late);
        }
    }
}
