//! Heads at the edge of HTTP/2: header lists of the library in, header lists out.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method as HttpMethod, Request, Response, StatusCode, Uri};
use keel_http::{
    H2RequestParts, HeadFault, HeadLimits, Method, RequestFraming, h2_fields, trailer_fields,
    trailer_lines, written_host,
};
use keel_net::BufPool;

use crate::exchange::Exchange;
use crate::heads::ANSWER_LIMITS;

/// Writes a request's head into the exchange, checked as RFC 9113, section 8, has it.
pub fn read_request(
    ex: &mut Exchange,
    bufs: &BufPool,
    parts: &http::request::Parts,
    ended: bool,
    limits: &HeadLimits,
) -> Result<RequestFraming, HeadFault> {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let told = H2RequestParts {
        method: parts.method.as_str().as_bytes(),
        // The library has checked `:scheme` and keeps it only beside an `:authority`.
        scheme: parts.uri.scheme_str().unwrap_or("http").as_bytes(),
        authority: parts.uri.authority().map(|it| it.as_str().as_bytes()),
        path: parts.uri.path_and_query().map(|it| it.as_str().as_bytes()),
        protocol: protocol.map(|it| it.as_str().as_bytes()),
    };
    let mut out = bufs.take_string();
    let framing = ex
        .head
        .read_h2(&mut out, told, fields_of(&parts.headers), ended, limits);
    bufs.give(&mut ex.head_buf);
    ex.head_buf = bufs.take(out.len());
    ex.head_buf.append(&out);
    bufs.give_string(out);
    framing
}

/// Writes an answer's head into the exchange, checked in the same way.
pub fn read_answer(
    ex: &mut Exchange,
    bufs: &BufPool,
    parts: &http::response::Parts,
    ended: bool,
) -> Result<(), HeadFault> {
    let mut out = bufs.take_string();
    let status = parts.status.as_u16();
    let fields = fields_of(&parts.headers);
    let method = match ex.framing.upgrade {
        // So a WebSocket is asked for over HTTP/2 (RFC 8441).
        true => Method::Connect,
        false => ex.head.method,
    };
    let framing = ex
        .answer
        .read_h2(&mut out, status, fields, ended, method, &ANSWER_LIMITS);
    bufs.give(&mut ex.answer_buf);
    ex.answer_buf = bufs.take(out.len());
    ex.answer_buf.append(&out);
    bufs.give_string(out);
    ex.answer_framing = framing?;
    Ok(())
}

fn fields_of(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

/// The header list of a head that we wrote. Its values share one copy of the head's bytes.
fn header_map(head: &[u8]) -> HeaderMap {
    let shared = Bytes::copy_from_slice(head);
    let mut map = HeaderMap::with_capacity(16);
    for (name, value) in h2_fields(&shared) {
        let value = shared.slice_ref(value);
        // What we wrote was checked when it came in or when the configuration was read.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_maybe_shared(value),
        ) {
            map.append(name, value);
        }
    }
    map
}

/// An answer's head that we wrote in the form of HTTP/1.1.
pub fn answer_head(status: u16, head: &[u8]) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *answer.headers_mut() = header_map(head);
    answer
}

/// The answer that opens a WebSocket over HTTP/2 (RFC 8441, 5), from the 101 that we wrote.
pub fn opening_head(head: &[u8]) -> Response<()> {
    let mut answer = answer_head(200, head);
    answer.headers_mut().remove("sec-websocket-accept");
    answer
}

/// A request's head that we wrote in the form of HTTP/1.1: `METHOD target HTTP/1.1`, `Host: …`, and
/// the fields. An upgrade becomes an extended CONNECT for a WebSocket (RFC 8441). `None` when the
/// library has no word for it.
pub fn request_head(head: &[u8], scheme: &str, upgrade: bool) -> Option<Request<()>> {
    let line_end = head.windows(2).position(|two| two == b"\r\n")?;
    let mut words = head.get(..line_end)?.split(|byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let host = written_host(head)?;
    let target = std::str::from_utf8(target).ok()?;
    let authority = std::str::from_utf8(host).ok()?;
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(target)
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = HttpMethod::from_bytes(method).ok()?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = header_map(head);
    if upgrade {
        *request.method_mut() = HttpMethod::CONNECT;
        let websocket = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(websocket);
        request.headers_mut().remove("sec-websocket-key");
    }
    Some(request)
}

/// Field lines of a trailer section as a header list.
pub(super) fn trailer_map(lines: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in trailer_fields(lines) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            map.append(name, value);
        }
    }
    map
}

/// A trailer section as field lines.
pub(super) fn write_trailers(trailers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), HeadFault> {
    trailer_lines(fields_of(trailers), out)
}
