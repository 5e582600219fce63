//! Where a message ends, and whether its connection may be used again (RFC 9112, sections 6, 7 and 9).
//!
//! Two readings of one message are what request smuggling is made of, so every form that any known server reads
//! otherwise is refused, even where RFC 9112 lets a recipient repair it. Nothing here changes the head.

use crate::fault::HeadFault;
use crate::fields::Fields;
use crate::header::{HeaderId, HeaderSet};
use crate::method::{Method, Version};
use crate::request::RequestHead;
use crate::response::ResponseHead;
use crate::syntax::list;

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// This many bytes; `Content-Length: 0` is `Fixed(0)`.
    Fixed(u64),
    /// Chunked, see [`crate::ChunkedDecoder`].
    Chunked,
    /// Until the sender closes (answers only).
    UntilClose,
}

/// The framing of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFraming {
    /// The length of the body.
    pub body: BodyLength,
    /// Whether the client wants the connection to stay open.
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body. Only HTTP/1.1 with a body.
    pub expect_continue: bool,
    /// Whether the client asks to switch protocols in a way that we pass on: HTTP/1.1, `Connection: upgrade`, one
    /// Upgrade field that does not name HTTP/2 in clear text, no body, and GET if it names websocket.
    pub upgrade: bool,
    /// Whether the client accepts trailers (`TE: trailers`).
    pub te_trailers: bool,
    /// Whether Connection names a field other than the options that every proxy removes by itself.
    pub nominates: bool,
}

/// The framing of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFraming {
    /// The length of the body that follows on this connection.
    pub body: BodyLength,
    /// Whether the server keeps the connection open after this answer.
    pub keep_alive: bool,
    /// 101 that was asked for: the connection is a tunnel from here on.
    pub switching: bool,
    /// Whether Connection names a field other than the options that every proxy removes by itself.
    pub nominates: bool,
    /// Content-Length as declared. In an answer to HEAD and in a 304 no body follows it, but it may be passed on.
    pub declared_length: Option<u64>,
}

/// Fields that end at this hop (RFC 9110, 7.6.1), in both directions, and the look-alikes, which must never pass.
/// Fields named in Connection come on top: [`is_nominated`].
pub const HOP_BY_HOP: HeaderSet = HeaderSet::new()
    .with(HeaderId::Connection)
    .with(HeaderId::KeepAlive)
    .with(HeaderId::ProxyConnection)
    .with(HeaderId::ProxyAuthenticate)
    .with(HeaderId::ProxyAuthorization)
    .with(HeaderId::Te)
    .with(HeaderId::Trailer)
    .with(HeaderId::TransferEncoding)
    .with(HeaderId::Upgrade)
    .with(HeaderId::LookAlike);

/// Fields that Connection cannot remove: a client must not be able to strip what routing, framing, caching or the
/// backend's trust rests on.
const NEVER_NOMINATED: HeaderSet = HeaderSet::new()
    .with(HeaderId::Host)
    .with(HeaderId::ContentLength)
    .with(HeaderId::TransferEncoding)
    .with(HeaderId::ContentType)
    .with(HeaderId::ContentEncoding)
    .with(HeaderId::ContentRange)
    .with(HeaderId::Authorization)
    .with(HeaderId::WwwAuthenticate)
    .with(HeaderId::Cookie)
    .with(HeaderId::SetCookie)
    .with(HeaderId::CacheControl)
    .with(HeaderId::Vary)
    .with(HeaderId::Via)
    .with(HeaderId::Date)
    .with(HeaderId::Origin)
    .with(HeaderId::XForwardedFor)
    .with(HeaderId::XForwardedProto)
    .with(HeaderId::XForwardedHost)
    .with(HeaderId::XForwardedPort)
    .with(HeaderId::XRealIp)
    .with(HeaderId::CfConnectingIp)
    .with(HeaderId::XClientIp)
    .with(HeaderId::Forwarded)
    .with(HeaderId::XRequestId);

/// The framing of a request whose head has been parsed. For HTTP/1 only: [`RequestHead::read_h2`] gives its own.
pub fn frame_request(head: &RequestHead, buf: &[u8]) -> Result<RequestFraming, HeadFault> {
    let fields = &head.fields;
    check_host_count(head)?;
    let body = request_body(head, buf)?;
    let options = connection_options(fields, buf);
    let http11 = head.version == Version::Http11;
    let has_body = !matches!(body, BodyLength::Empty | BodyLength::Fixed(0));
    if head.method == Method::Trace && has_body {
        return Err(HeadFault::BodyForbidden);
    }
    let expect_continue = expects_continue(fields, buf)? && http11 && has_body;
    Ok(RequestFraming {
        body,
        keep_alive: keep_alive(head.version, options),
        expect_continue,
        upgrade: http11 && options.upgrade && !has_body && upgrade_passes(head, buf),
        te_trailers: http11 && accepts_trailers(fields, buf),
        nominates: options.nominates,
    })
}

/// The framing of an answer whose head has been parsed. Any fault means that the answer cannot be trusted: 502.
pub fn frame_response(
    head: &ResponseHead,
    buf: &[u8],
    request_method: Method,
    upgrade_asked: bool,
) -> Result<ResponseFraming, HeadFault> {
    let fields = &head.fields;
    let chunked = is_chunked(fields, buf, head.version)?;
    let length = content_length(fields, buf)?;
    if chunked && length.is_some() {
        return Err(HeadFault::LengthAndCoding);
    }
    let options = connection_options(fields, buf);
    let switching = head.status == 101;
    if switching && !(upgrade_asked && switch_is_sound(head, options)) {
        return Err(HeadFault::SwitchUnasked);
    }
    let bodiless = head.status < 200 || head.status == 204;
    // Some servers send `Content-Length: 0` with 204; it changes nothing, and the field is not passed on.
    if bodiless && (chunked || length.is_some_and(|n| n > 0 || head.status != 204)) {
        return Err(HeadFault::BodyForbidden);
    }
    let body = if bodiless || head.status == 304 || request_method == Method::Head {
        BodyLength::Empty
    } else if chunked {
        BodyLength::Chunked
    } else {
        length.map_or(BodyLength::UntilClose, BodyLength::Fixed)
    };
    Ok(ResponseFraming {
        body,
        keep_alive: keep_alive(head.version, options)
            && body != BodyLength::UntilClose
            && !switching,
        switching,
        nominates: options.nominates,
        declared_length: if bodiless { None } else { length },
    })
}

/// Whether Connection names the field `name`, so that it ends at this hop. Never true for fields that a peer must
/// not be able to strip (Host, the framing fields, Content-Type, Authorization, the forwarding fields, …).
pub fn is_nominated(fields: &Fields, buf: &[u8], name: &[u8]) -> bool {
    if !fields.contains(HeaderId::Connection) || NEVER_NOMINATED.contains(HeaderId::of(name)) {
        return false;
    }
    fields
        .all(HeaderId::Connection, buf)
        .flat_map(list)
        .any(|option| !option.is_empty() && option.eq_ignore_ascii_case(name))
}

/// RFC 9112, 3.2: one Host, and HTTP/1.1 must have it. Its value is judged by [`crate::NormalRequest::read`].
#[inline]
fn check_host_count(head: &RequestHead) -> Result<(), HeadFault> {
    if head.fields.is_repeated(HeaderId::Host) {
        return Err(HeadFault::HostRepeated);
    }
    if !head.fields.contains(HeaderId::Host) && head.version != Version::Http10 {
        return Err(HeadFault::HostMissing);
    }
    Ok(())
}

#[inline]
fn request_body(head: &RequestHead, buf: &[u8]) -> Result<BodyLength, HeadFault> {
    let fields = &head.fields;
    if fields.contains(HeaderId::TransferEncoding) {
        if fields.contains(HeaderId::ContentLength) {
            return Err(HeadFault::LengthAndCoding);
        }
        is_chunked(fields, buf, head.version)?;
        return Ok(BodyLength::Chunked);
    }
    Ok(content_length(fields, buf)?.map_or(BodyLength::Empty, BodyLength::Fixed))
}

/// The declared length. One field with 1*DIGIT; a list is refused even when its members agree (RFC 9112, 6.3, rule 5
/// lets a recipient repair that, and recipients differ in how).
#[inline]
pub(crate) fn content_length(fields: &Fields, buf: &[u8]) -> Result<Option<u64>, HeadFault> {
    let Some(value) = fields.first(HeaderId::ContentLength, buf) else {
        return Ok(None);
    };
    if fields.is_repeated(HeaderId::ContentLength) || value.contains(&b',') {
        return Err(HeadFault::ContentLengthConflict);
    }
    if value.is_empty() {
        return Err(HeadFault::ContentLengthMalformed);
    }
    let mut length = 0u64;
    for &b in value {
        if !b.is_ascii_digit() {
            return Err(HeadFault::ContentLengthMalformed);
        }
        length = length
            .checked_mul(10)
            .and_then(|n| n.checked_add(u64::from(b - b'0')))
            .ok_or(HeadFault::ContentLengthOverflow)?;
    }
    Ok(Some(length))
}

/// Whether the coding is `chunked`, in any case and alone; every other list is a fault (RFC 9112, 6.1).
fn is_chunked(fields: &Fields, buf: &[u8], version: Version) -> Result<bool, HeadFault> {
    if !fields.contains(HeaderId::TransferEncoding) {
        return Ok(false);
    }
    if version == Version::Http10 {
        return Err(HeadFault::CodingInHttp10);
    }
    let mut codings = fields.all(HeaderId::TransferEncoding, buf).flat_map(list);
    let first = codings.next().unwrap_or_default();
    if codings.next().is_none() && first.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    Err(coding_fault(fields, buf))
}

/// Names the fault of a coding list: 501 for a well-formed list that ends in chunked, 400 for anything ambiguous.
#[cold]
fn coding_fault(fields: &Fields, buf: &[u8]) -> HeadFault {
    let mut unknown = false;
    let mut chunked = 0;
    let mut last_chunked = false;
    for coding in fields.all(HeaderId::TransferEncoding, buf).flat_map(list) {
        if !crate::syntax::is_token(coding) {
            return HeadFault::CodingMalformed;
        }
        last_chunked = coding.eq_ignore_ascii_case(b"chunked");
        unknown |= !last_chunked;
        chunked += usize::from(last_chunked);
    }
    if unknown && (chunked == 0 || (chunked == 1 && last_chunked)) {
        HeadFault::CodingUnsupported
    } else {
        HeadFault::CodingMalformed
    }
}

/// What the Connection fields say.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    nominates: bool,
}

#[inline]
fn connection_options(fields: &Fields, buf: &[u8]) -> Options {
    let mut options = Options::default();
    if !fields.contains(HeaderId::Connection) {
        return options;
    }
    for option in fields.all(HeaderId::Connection, buf).flat_map(list) {
        if option.eq_ignore_ascii_case(b"keep-alive") {
            options.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"close") {
            options.close = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            options.upgrade = true;
        } else if !option.is_empty() && !HOP_BY_HOP.contains(HeaderId::of(option)) {
            options.nominates = true;
        }
    }
    options
}

/// RFC 9112, 9.3: close wins; HTTP/1.0 stays open only when asked to.
#[inline]
const fn keep_alive(version: Version, options: Options) -> bool {
    match version {
        Version::Http11 | Version::Http2 => !options.close,
        Version::Http10 => options.keep_alive && !options.close,
    }
}

/// RFC 9110, 10.1.1: 100-continue is the only expectation there is.
#[inline]
pub(crate) fn expects_continue(fields: &Fields, buf: &[u8]) -> Result<bool, HeadFault> {
    if !fields.contains(HeaderId::Expect) {
        return Ok(false);
    }
    let known = fields
        .all(HeaderId::Expect, buf)
        .all(|v| v.eq_ignore_ascii_case(b"100-continue"));
    if known {
        Ok(true)
    } else {
        Err(HeadFault::ExpectUnknown)
    }
}

/// Whether the Upgrade field is one that we pass on. HTTP/2 in clear text is not: through such a tunnel a client
/// would reach the backend past all routing (the "h2c smuggling" attack), and RFC 9113 has given the form up.
fn upgrade_passes(head: &RequestHead, buf: &[u8]) -> bool {
    let fields = &head.fields;
    let Some(value) = fields.first(HeaderId::Upgrade, buf) else {
        return false;
    };
    if fields.is_repeated(HeaderId::Upgrade) || value.is_empty() {
        return false;
    }
    list(value).all(|protocol| {
        let name = protocol.split(|&b| b == b'/').next().unwrap_or_default();
        crate::syntax::is_token(name)
            && !name.eq_ignore_ascii_case(b"h2c")
            && !name.eq_ignore_ascii_case(b"h2")
            && !name.eq_ignore_ascii_case(b"http")
            && (head.method == Method::Get || !name.eq_ignore_ascii_case(b"websocket"))
    })
}

/// RFC 9110, 7.8: a 101 is an HTTP/1.1 answer that says what it switches to.
fn switch_is_sound(head: &ResponseHead, options: Options) -> bool {
    head.version == Version::Http11
        && options.upgrade
        && head.fields.contains(HeaderId::Upgrade)
        && !head.fields.is_repeated(HeaderId::Upgrade)
}

pub(crate) fn accepts_trailers(fields: &Fields, buf: &[u8]) -> bool {
    fields.contains(HeaderId::Te)
        && fields
            .all(HeaderId::Te, buf)
            .flat_map(list)
            .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod tests;
