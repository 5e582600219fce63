//! Writing the two heads of an exchange: the request's for the server, the answer's for the client.
//!
//! The bytes that came are kept in place and copied in runs; what must not pass is left out, and the
//! framing and forwarding fields are always written anew.

use std::io::Write;
use std::net::IpAddr;

use keel_http::template::{Escape, Template};
use keel_http::{
    BodyLength, FIELDS_CEILING, Field, Fields, HOP_BY_HOP, HeadLimits, HeaderId, HeaderSet, Method,
    Version, is_nominated, websocket,
};

use crate::exchange::Exchange;
use crate::forwarded::{dropped_claims, write_forwarded};
use crate::relay::Encode;
use crate::reply::reason;
use crate::snapshot::{Edits, HostPlan, ListenerPlan, RequestIdPlan, RoutePlan};
use crate::sticky::SetCookie;
use crate::vars::Vars;

/// Limits of the head of a server's answer, whatever it speaks. An answer has no target.
pub const ANSWER_LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 64 << 10,
    fields_max: FIELDS_CEILING,
    target_bytes_max: 0,
};

const FRAMING: HeaderSet = HOP_BY_HOP
    .with(HeaderId::ContentLength)
    .with(HeaderId::TransferEncoding);

/// What a request's head needs to know besides the exchange.
pub struct RequestHeadPlan<'a> {
    /// The route.
    pub route: &'a RoutePlan,
    /// The listener.
    pub listener: &'a ListenerPlan,
    /// Edits of the pool.
    pub pool_edits: &'a Edits,
    /// `Host` for the server.
    pub host: &'a HostPlan,
    /// `host:port` of the server.
    pub server_address: &'a str,
    /// The socket's far end.
    pub peer: IpAddr,
    /// The same as text.
    pub peer_text: &'a str,
    /// Whether its forwarding headers are believed.
    pub trusted: bool,
    /// How the request's id is written.
    pub request_id: &'a RequestIdPlan,
    /// `Sec-WebSocket-Key` for a WebSocket that came over HTTP/2, which has none (RFC 8441, 5).
    pub websocket_key: Option<&'a [u8; 24]>,
    /// `Content-Type` in place of the client's: gRPC-Web is bridged.
    pub content_type: Option<Vec<u8>>,
    /// The length of the body, as the server is told.
    pub body: BodyLength,
}

/// Writes the head of the request for the server.
pub fn write_request(
    out: &mut Vec<u8>,
    ex: &Exchange,
    plan: &RequestHeadPlan<'_>,
    vars: &Vars<'_>,
) {
    let buf = ex.bytes();
    out.extend_from_slice(ex.head.method_span.of(buf));
    out.push(b' ');
    out.extend_from_slice(ex.normal.target(buf));
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    match plan.host {
        HostPlan::Keep if !ex.normal.authority(buf).is_empty() => {
            out.extend_from_slice(ex.normal.authority(buf));
        }
        HostPlan::Keep | HostPlan::Server => out.extend_from_slice(plan.server_address.as_bytes()),
        HostPlan::Literal(host) => out.extend_from_slice(host.as_bytes()),
    }
    out.extend_from_slice(b"\r\n");

    let forwarded = plan.route.forwarded;
    let mut drop = FRAMING
        .with(HeaderId::Host)
        .union(dropped_claims(forwarded, plan.trusted));
    if plan.content_type.is_some() {
        drop = drop.with(HeaderId::ContentType);
    }
    let edits = [
        &plan.request_id.replaces,
        &plan.listener.request_edits,
        &plan.route.request_edits,
        plan.pool_edits,
    ];
    let [replaces, own @ ..] = edits;
    copy_kept(
        out,
        buf,
        &ex.head.fields,
        drop,
        &edits,
        ex.framing.nominates,
    );

    write_body_framing(out, plan.body, ex.head.method);
    if let Some(content_type) = &plan.content_type {
        write_field(out, b"Content-Type", content_type);
    }
    if ex.framing.upgrade
        && let Some(protocol) = ex.head.fields.first(HeaderId::Upgrade, buf)
    {
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
        out.extend_from_slice(protocol);
        out.extend_from_slice(b"\r\n");
        if let Some(key) = plan.websocket_key {
            write_field(out, b"Sec-WebSocket-Key", key);
        }
    } else if ex.framing.te_trailers || plan.content_type.is_some() {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    write_forwarded(out, ex, plan, edited(&own));
    if !ex.record.request_id().is_empty() && !edits_any_of(&own, replaces) {
        write_field(
            out,
            plan.request_id.header.as_bytes(),
            ex.record.request_id(),
        );
    }
    write_edits(out, &edits, vars);
    out.extend_from_slice(b"\r\n");
}

/// Known headers that edits set or remove: where there is an edit, we write none of our own.
fn edited(levels: &[&Edits]) -> HeaderSet {
    levels.iter().fold(HeaderSet::new(), |known, edits| {
        known.union(edits.remove_known)
    })
}

/// Whether edits set or remove a header that `ours` is about.
fn edits_any_of(levels: &[&Edits], ours: &Edits) -> bool {
    edited(levels).intersects(ours.remove_known)
        || ours.remove_named.iter().any(|name| {
            let removes = |edits: &&Edits| edits.removes(HeaderId::Other, name.as_bytes());
            levels.iter().any(removes)
        })
}

/// Copies the fields that pass, whole lines in as few pieces as possible.
fn copy_kept(
    out: &mut Vec<u8>,
    buf: &[u8],
    fields: &Fields,
    drop: HeaderSet,
    edits: &[&Edits],
    nominates: bool,
) {
    let drop = edits
        .iter()
        .fold(drop, |drop, edits| drop.union(edits.remove_known));
    let by_name = nominates || edits.iter().any(|edits| !edits.remove_named.is_empty());
    let passes = |field: &Field| {
        if drop.contains(field.id) {
            return false;
        }
        if !by_name {
            return true;
        }
        let name = field.name.of(buf);
        !(edits
            .iter()
            .any(|edits| field.id == HeaderId::Other && edits.removes(field.id, name))
            || nominates && is_nominated(fields, buf, name))
    };
    let mut run = 0..0;
    for field in fields {
        if !passes(field) {
            continue;
        }
        let line = field.name.start as usize..field.line_end as usize;
        if line.start == run.end {
            run.end = line.end;
        } else {
            out.extend_from_slice(buf.get(run).unwrap_or(&[]));
            run = line;
        }
    }
    out.extend_from_slice(buf.get(run).unwrap_or(&[]));
}

fn write_body_framing(out: &mut Vec<u8>, body: BodyLength, method: Method) {
    match body {
        BodyLength::Fixed(bytes) => write_length(out, bytes),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        // RFC 9110, 8.6: a method that usually has a body says that there is none.
        BodyLength::Empty if matches!(method, Method::Post | Method::Put | Method::Patch) => {
            write_length(out, 0);
        }
        BodyLength::Empty | BodyLength::UntilClose => {}
    }
}

/// Appends `Content-Length`.
pub fn write_length(out: &mut Vec<u8>, bytes: u64) {
    out.extend_from_slice(b"Content-Length: ");
    write_number(out, bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a decimal number.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or(&[]));
}

/// Appends one field line.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends an IP address as text. IPv4 is what most requests have and is written without `fmt`.
pub fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (position, octet) in ip.octets().into_iter().enumerate() {
                if position > 0 {
                    out.push(b'.');
                }
                write_number(out, u64::from(octet));
            }
        }
        // Writing into a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// Appends the fields that the levels of edits write. A value that renders empty is left out, and so
/// is a field that an inner level sets or removes.
pub fn write_edits(out: &mut Vec<u8>, levels: &[&Edits], vars: &Vars<'_>) {
    for (position, edits) in levels.iter().enumerate() {
        let inner = levels.get(position + 1..).unwrap_or(&[]);
        for field in &edits.write {
            let name = field.name.as_bytes();
            if !inner.iter().any(|edits| edits.removes(field.id, name)) {
                write_rendered(out, name, &field.value, vars);
            }
        }
    }
}

fn write_rendered(out: &mut Vec<u8>, name: &[u8], value: &Template, vars: &Vars<'_>) {
    let line = out.len();
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    let start = out.len();
    value.render(vars, out, Escape::None);
    if out.len() == start {
        out.truncate(line);
        return;
    }
    // Values of a peer are clean already, but decoded ones may hold anything.
    if let Some(value) = out.get_mut(start..) {
        for byte in value
            .iter_mut()
            .filter(|byte| matches!(byte, 0..=8 | 10..=31 | 127))
        {
            *byte = b'_';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// What an answer's head needs to know besides the exchange.
pub struct AnswerHeadPlan<'a> {
    /// The listener.
    pub listener: &'a ListenerPlan,
    /// The route.
    pub route: &'a RoutePlan,
    /// The framing that the client gets.
    pub body: AnswerBody,
    /// Whether the connection stays open after this answer.
    pub keep_alive: bool,
    /// Now, as `Date` writes it.
    pub date: &'a [u8],
    /// `Content-Type` in place of the server's: gRPC-Web is bridged.
    pub content_type: Option<Vec<u8>>,
    /// Name of the server and times since the start, when the route shows them.
    pub shown: Option<ShownBackend<'a>>,
    /// The cookie that binds the client to the server.
    pub cookie: Option<SetCookie<'a>>,
}

/// The switch of the `X-Served-By` family.
#[derive(Debug, Clone, Copy)]
pub struct ShownBackend<'a> {
    /// The server's name.
    pub server: &'a str,
    /// Milliseconds until the server's head was there, from sending.
    pub response_ms: u64,
    /// Milliseconds since the request began.
    pub total_ms: u64,
}

/// How an answer's body goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// None, and no length either (1xx, 204).
    None,
    /// None, but the length that a GET would have had (HEAD, 304), when the server told one.
    Declared(Option<u64>),
    /// So many bytes.
    Fixed(u64),
    /// Chunks.
    Chunked,
    /// Until we close.
    UntilClose,
}

impl AnswerBody {
    /// The framing that a relay writes for it.
    pub fn encode(self) -> Encode {
        if self == AnswerBody::Chunked {
            Encode::Chunked
        } else {
            Encode::Raw
        }
    }
}

/// Writes the head of the server's answer for the client.
pub fn write_answer(out: &mut Vec<u8>, ex: &Exchange, plan: &AnswerHeadPlan<'_>, vars: &Vars<'_>) {
    let buf = ex.answer_buf.filled();
    let phrase = match ex.answer.version {
        // HTTP/2 has none.
        Version::Http2 => reason(ex.answer.status).as_bytes(),
        _ => ex.answer.reason.of(buf),
    };
    write_status_line(out, ex.answer.status, phrase);
    let edits = [&plan.listener.response_edits, &plan.route.response_edits];
    let drop = match plan.content_type {
        Some(_) => FRAMING.with(HeaderId::ContentType),
        None => FRAMING,
    };
    copy_kept(
        out,
        buf,
        &ex.answer.fields,
        drop,
        &edits,
        ex.answer_framing.nominates,
    );
    if let Some(content_type) = &plan.content_type {
        write_field(out, b"Content-Type", content_type);
    }
    if !ex.answer.fields.contains(HeaderId::Date) && !edited(&edits).contains(HeaderId::Date) {
        write_field(out, b"Date", plan.date);
    }
    match plan.body {
        AnswerBody::Fixed(bytes) | AnswerBody::Declared(Some(bytes)) => write_length(out, bytes),
        AnswerBody::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        AnswerBody::None | AnswerBody::Declared(None) | AnswerBody::UntilClose => {}
    }
    write_connection(out, ex, plan.keep_alive);
    if let Some(shown) = &plan.shown {
        write_shown(out, shown, &edits);
    }
    if let Some(cookie) = &plan.cookie {
        cookie.write(out);
    }
    write_edits(out, &edits, vars);
    out.extend_from_slice(b"\r\n");
}

fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

fn write_connection(out: &mut Vec<u8>, ex: &Exchange, keep_alive: bool) {
    let http10 = ex.head.version == Version::Http10;
    if ex.answer_framing.switching {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        if let Some(protocol) = ex
            .answer
            .fields
            .first(HeaderId::Upgrade, ex.answer_buf.filled())
        {
            write_field(out, b"Upgrade", protocol);
        }
        if ex.answer.version == Version::Http2 {
            write_accept(out, ex);
        }
    } else if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

/// Writes `Sec-WebSocket-Accept`, which a server of HTTP/2 does not give (RFC 8441, 5).
fn write_accept(out: &mut Vec<u8>, ex: &Exchange) {
    let key = ex.head.fields.first_named(b"sec-websocket-key", ex.bytes());
    if let Some(key) = key {
        write_field(out, b"Sec-WebSocket-Accept", &websocket::accept(key));
    }
}

/// Writes who answered and when, but for what is edited.
fn write_shown(out: &mut Vec<u8>, shown: &ShownBackend<'_>, edits: &[&Edits]) {
    let is_edited = |name: &[u8]| {
        let id = HeaderId::of(name);
        edits.iter().any(|edits| edits.removes(id, name))
    };
    for name in [&b"X-Served-By"[..], b"X-Backend"] {
        if !is_edited(name) {
            write_field(out, name, shown.server.as_bytes());
        }
    }
    for (name, ms) in [
        (&b"X-Response-Time-Ms"[..], shown.response_ms),
        (b"X-Total-Time-Ms", shown.total_ms),
    ] {
        if !is_edited(name) {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            write_number(out, ms);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Writes an interim answer (RFC 9110, 15.2) for the client: status and end-to-end fields.
pub fn write_interim(out: &mut Vec<u8>, ex: &Exchange) {
    let buf = ex.answer_buf.filled();
    write_status_line(out, ex.answer.status, ex.answer.reason.of(buf));
    copy_kept(
        out,
        buf,
        &ex.answer.fields,
        FRAMING,
        &[],
        ex.answer_framing.nominates,
    );
    out.extend_from_slice(b"\r\n");
}
