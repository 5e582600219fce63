//! Heads: request line or status line, field lines, and the framing that follows from them.

use super::{Fault, Framing, Mode, Step, is_token, list};

/// Fields in order, names as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, Vec<u8>)>);

impl Fields {
    /// All values of a name, in order; case does not matter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The first value of a name, as text.
    pub fn first(&self, name: &str) -> Option<String> {
        self.all(name)
            .next()
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// True when a comma list of that name holds the token.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .any(|value| list(value).any(|part| part == token.as_bytes()))
    }
}

/// A request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent.
    pub method: String,
    /// As sent.
    pub target: String,
    /// 0 or 1.
    pub minor: u8,
    /// As sent.
    pub fields: Fields,
    /// What follows.
    pub framing: Framing,
}

impl RequestHead {
    /// True when the connection may carry another request (RFC 9112 section 9.3).
    pub fn keeps_alive(&self) -> bool {
        match self.minor {
            0 => self.fields.lists("connection", "keep-alive"),
            _ => !self.fields.lists("connection", "close"),
        }
    }
}

/// An answer's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// 0 or 1.
    pub minor: u8,
    /// As sent.
    pub fields: Fields,
    /// What follows.
    pub framing: Framing,
}

/// Reads the head of a request.
pub fn take_request_head(bytes: &[u8], mode: Mode) -> Result<Step<RequestHead>, Fault> {
    let mut at = 0;
    if mode == Mode::FromClient && bytes.starts_with(b"\r\n") {
        at = 2; // RFC 9112 section 2.2: at least one empty line before a request should be ignored
    } else if mode == Mode::FromClient && bytes == b"\r" {
        return Ok(Step::NeedMore);
    }
    let Some(line) = take_line(bytes, &mut at)? else {
        return Ok(Step::NeedMore);
    };
    let (method, target, minor) = request_line(line, mode)?;
    let Some(fields) = take_fields(bytes, &mut at)? else {
        return Ok(Step::NeedMore);
    };
    let framing = request_framing(&fields, minor)?;
    check_host(&fields, minor)?;
    if mode == Mode::ToBackend {
        check_written_anew(&fields)?;
    }
    Ok(Step::Done(
        RequestHead {
            method,
            target,
            minor,
            fields,
            framing,
        },
        at,
    ))
}

/// Reads the head of an answer to a request with `method`.
pub fn take_response_head(bytes: &[u8], method: &str) -> Result<Step<ResponseHead>, Fault> {
    let mut at = 0;
    let Some(line) = take_line(bytes, &mut at)? else {
        return Ok(Step::NeedMore);
    };
    let (minor, status, reason) = status_line(line)?;
    let Some(fields) = take_fields(bytes, &mut at)? else {
        return Ok(Step::NeedMore);
    };
    let framing = response_framing(&fields, minor, status, method)?;
    Ok(Step::Done(
        ResponseHead {
            status,
            reason,
            minor,
            fields,
            framing,
        },
        at,
    ))
}

/// A line without its CRLF. `None` when it is not whole. Bare CR, bare LF and NUL are faults.
pub(crate) fn take_line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Fault> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let Some(end) = rest
        .iter()
        .position(|&byte| matches!(byte, b'\r' | b'\n' | 0))
    else {
        return Ok(None);
    };
    match (rest[end], rest.get(end + 1)) {
        (b'\n', _) => Err(Fault("a bare LF")),
        (0, _) => Err(Fault("a NUL")),
        (_, None) => Ok(None),
        (_, Some(b'\n')) => {
            *at += end + 2;
            Ok(Some(&rest[..end]))
        }
        (_, Some(_)) => Err(Fault("a bare CR")),
    }
}

fn request_line(line: &[u8], mode: Mode) -> Result<(String, String, u8), Fault> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault(
            "a request line that is not three words with single spaces",
        ));
    };
    if !is_token(method) {
        return Err(Fault("a method that is not a token"));
    }
    let minor = version_minor(version)?;
    if target.is_empty() || !target.iter().all(|byte| (0x21..0x7f).contains(byte)) {
        return Err(Fault("a target with bytes that are not visible ASCII"));
    }
    if target.contains(&b'#') {
        return Err(Fault("a target with a fragment"));
    }
    let (method, target) = (ascii(method), ascii(target));
    target_form(&method, &target, mode)?;
    Ok((method, target, minor))
}

/// RFC 9112 section 3.2.
fn target_form(method: &str, target: &str, mode: Mode) -> Result<(), Fault> {
    if target == "*" {
        return if method == "OPTIONS" {
            Ok(())
        } else {
            Err(Fault("* without OPTIONS"))
        };
    }
    if method == "CONNECT" {
        return Err(Fault("CONNECT, which a reverse proxy does not serve"));
    }
    if target.starts_with('/') {
        let path = target.split('?').next().unwrap_or_default();
        let dots = path
            .split('/')
            .any(|segment| segment == "." || segment == "..");
        return match mode {
            Mode::ToBackend if dots => Err(Fault("a dot segment towards a backend")),
            _ => Ok(()),
        };
    }
    let lower = target.to_ascii_lowercase();
    let absolute = lower
        .strip_prefix("http://")
        .or_else(|| lower.strip_prefix("https://"));
    match (absolute, mode) {
        (Some(_), Mode::ToBackend) => Err(Fault("absolute-form towards a backend")),
        (Some(rest), Mode::FromClient) => {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            valid_host(authority.as_bytes())
                .then_some(())
                .filter(|()| !authority.is_empty())
                .ok_or(Fault("absolute-form with an invalid authority"))
        }
        (None, _) => Err(Fault("a target of no known form")),
    }
}

fn version_minor(version: &[u8]) -> Result<u8, Fault> {
    match version {
        b"HTTP/1.0" => Ok(0),
        b"HTTP/1.1" => Ok(1),
        _ => Err(Fault("a version other than HTTP/1.0 and HTTP/1.1")),
    }
}

fn status_line(line: &[u8]) -> Result<(u8, u16, String), Fault> {
    let minor = version_minor(line.get(..8).unwrap_or_default())?;
    let digits = line.get(9..12).unwrap_or_default();
    if line.get(8) != Some(&b' ') || digits.len() != 3 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault("a status that is not three digits after one space"));
    }
    let status = digits
        .iter()
        .fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if !(100..600).contains(&status) {
        return Err(Fault("a status outside of 100 to 599"));
    }
    match line.get(12) {
        Some(b' ') if line[13..].iter().all(|&byte| is_value_byte(byte)) => Ok((
            minor,
            status,
            String::from_utf8_lossy(&line[13..]).into_owned(),
        )),
        // Strictly the space is required; its absence has one meaning only and is common.
        None => Ok((minor, status, String::new())),
        Some(_) => Err(Fault("rubbish after the status")),
    }
}

fn take_fields(bytes: &[u8], at: &mut usize) -> Result<Option<Fields>, Fault> {
    let mut fields = Fields::default();
    while let Some(line) = take_line(bytes, at)? {
        if line.is_empty() {
            return Ok(Some(fields));
        }
        fields.0.push(field_line(line)?);
    }
    Ok(None)
}

pub(crate) fn field_line(line: &[u8]) -> Result<(String, Vec<u8>), Fault> {
    if line
        .first()
        .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
    {
        return Err(Fault("an obsolete fold, or space before a field"));
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Err(Fault("a field line without a colon"));
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err(Fault("a field name that is not a token"));
    }
    if !value.iter().all(|&byte| is_value_byte(byte)) {
        return Err(Fault("a control byte in a field value"));
    }
    let from = value
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'))
        .unwrap_or(value.len());
    let to = value
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t'))
        .map_or(from, |at| at + 1);
    Ok((ascii(name), value[from..to].to_vec()))
}

fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// Content-Length as one number, or a fault when there is more than one or it is not 1*DIGIT.
fn content_length(fields: &Fields) -> Result<Option<u64>, Fault> {
    let mut values = fields.all("content-length");
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Fault("more than one Content-Length"));
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault("a Content-Length that is not digits only"));
    }
    ascii(value)
        .parse()
        .map(Some)
        .map_err(|_| Fault("a Content-Length that overflows"))
}

/// True when chunked is the only coding.
fn transfer_encoding(fields: &Fields, minor: u8) -> Result<bool, Fault> {
    let mut values = fields.all("transfer-encoding");
    let Some(value) = values.next() else {
        return Ok(false);
    };
    if values.next().is_some() {
        return Err(Fault("more than one Transfer-Encoding"));
    }
    if minor == 0 {
        return Err(Fault("a Transfer-Encoding in HTTP/1.0"));
    }
    if !value.eq_ignore_ascii_case(b"chunked") {
        return Err(Fault("a Transfer-Encoding other than chunked"));
    }
    Ok(true)
}

fn request_framing(fields: &Fields, minor: u8) -> Result<Framing, Fault> {
    match (transfer_encoding(fields, minor)?, content_length(fields)?) {
        (true, Some(_)) => Err(Fault("both Transfer-Encoding and Content-Length")),
        (true, None) => Ok(Framing::Chunked),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) => Ok(Framing::Empty),
    }
}

/// RFC 9112 section 6.3.
fn response_framing(
    fields: &Fields,
    minor: u8,
    status: u16,
    method: &str,
) -> Result<Framing, Fault> {
    let (chunked, length) = (transfer_encoding(fields, minor)?, content_length(fields)?);
    if chunked && length.is_some() {
        return Err(Fault("both Transfer-Encoding and Content-Length"));
    }
    if status < 200 || status == 204 {
        return match (chunked, length) {
            (false, None) => Ok(Framing::Empty),
            _ => Err(Fault("a 1xx or 204 with framing fields")),
        };
    }
    if method == "HEAD" || status == 304 {
        return Ok(Framing::Empty);
    }
    Ok(match (chunked, length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

fn check_host(fields: &Fields, minor: u8) -> Result<(), Fault> {
    let mut values = fields.all("host");
    match (values.next(), values.next()) {
        (None, _) if minor == 0 => Ok(()),
        (None, _) => Err(Fault("no Host")),
        (Some(_), Some(_)) => Err(Fault("more than one Host")),
        (Some(host), None) if valid_host(host) => Ok(()),
        (Some(_), None) => Err(Fault("an invalid Host")),
    }
}

/// uri-host [":" port]; no userinfo, no path, no list.
fn valid_host(host: &[u8]) -> bool {
    let (name, port) = match host.first() {
        Some(b'[') => match host.iter().position(|&byte| byte == b']') {
            Some(end) => (&host[1..end], &host[end + 1..]),
            None => return false,
        },
        _ => host.split_at(
            host.iter()
                .position(|&byte| byte == b':')
                .unwrap_or(host.len()),
        ),
    };
    let port = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    let literal = host.first() == Some(&b'[');
    let name = name.iter().all(|&byte| match literal {
        true => byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'v'),
        false => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte),
    });
    name && port
}

/// What a proxy must have removed or put in its own words before a backend sees it.
fn check_written_anew(fields: &Fields) -> Result<(), Fault> {
    for (name, value) in &fields.0 {
        match name.to_ascii_lowercase().as_str() {
            "keep-alive" | "proxy-connection" | "proxy-authorization" | "trailers" => {
                return Err(Fault("a hop-by-hop field towards a backend"));
            }
            "te" if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(Fault("a TE other than trailers towards a backend"));
            }
            "connection" => {
                let known = [&b"close"[..], b"keep-alive", b"upgrade", b"te"];
                if list(value).any(|token| !known.contains(&token.as_slice())) {
                    return Err(Fault("a Connection option of the client towards a backend"));
                }
            }
            "transfer-encoding" if value != b"chunked" => {
                return Err(Fault("a Transfer-Encoding that was not written anew"));
            }
            "upgrade" if !fields.lists("connection", "upgrade") => {
                return Err(Fault(
                    "Upgrade without Connection: upgrade towards a backend",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn ascii(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
