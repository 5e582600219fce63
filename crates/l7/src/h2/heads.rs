//! Heads at the edge of HTTP/2: lists of fields in, lists of fields out, and between them the form of HTTP/1.1.

use keel_http::{HeadFault, HeadLimits, Method, RequestFraming, h2_fields, written_host};
use keel_http2::Head;
use keel_net::BufPool;

use crate::exchange::Exchange;
use crate::heads::ANSWER_LIMITS;

/// Writes a request's head into the exchange, checked as RFC 9113, section 8, has it.
pub fn read_request(
    ex: &mut Exchange,
    bufs: &BufPool,
    head: &Head,
    limits: &HeadLimits,
) -> Result<RequestFraming, HeadFault> {
    if head.fields.is_over() {
        return Err(HeadFault::HeadTooLong);
    }
    let mut out = bufs.take_string();
    let framing = ex
        .head
        .read_h2(&mut out, head.fields.iter(), head.ended, limits);
    bufs.give(&mut ex.head_buf);
    ex.head_buf = bufs.take(out.len());
    ex.head_buf.append(&out);
    bufs.give_string(out);
    framing
}

/// Writes an answer's head into the exchange, checked in the same way.
pub fn read_answer(ex: &mut Exchange, bufs: &BufPool, head: &Head) -> Result<(), HeadFault> {
    if head.fields.is_over() {
        return Err(HeadFault::HeadTooLong);
    }
    let mut out = bufs.take_string();
    let method = match ex.framing.upgrade {
        // So a WebSocket is asked for over HTTP/2 (RFC 8441).
        true => Method::Connect,
        false => ex.head.method,
    };
    let framing = ex.answer.read_h2(
        &mut out,
        head.fields.iter(),
        head.ended,
        method,
        &ANSWER_LIMITS,
    );
    bufs.give(&mut ex.answer_buf);
    ex.answer_buf = bufs.take(out.len());
    ex.answer_buf.append(&out);
    bufs.give_string(out);
    ex.answer_framing = framing?;
    Ok(())
}

/// The fields of an answer whose head we wrote in the form of HTTP/1.1.
pub struct AnswerFields<'a> {
    status: [u8; 3],
    head: &'a [u8],
}

impl<'a> AnswerFields<'a> {
    /// Of an answer with this status.
    pub fn new(status: u16, head: &'a [u8]) -> AnswerFields<'a> {
        let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
        AnswerFields {
            status: [digit(100), digit(10), digit(1)],
            head,
        }
    }

    /// The fields, `:status` first; names as written.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::once((&b":status"[..], &self.status[..])).chain(h2_fields(self.head))
    }
}

/// The fields of the answer that opens a WebSocket over HTTP/2 (RFC 8441, 5), from the 101 that we wrote.
pub fn opening_fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let fields = h2_fields(head);
    std::iter::once((&b":status"[..], &b"200"[..]))
        .chain(fields.filter(|(name, _)| !name.eq_ignore_ascii_case(b"sec-websocket-accept")))
}

/// The fields of a request whose head we wrote in the form of HTTP/1.1.
pub struct RequestFields<'a> {
    method: &'a [u8],
    scheme: &'a [u8],
    authority: &'a [u8],
    path: &'a [u8],
    head: &'a [u8],
    upgrade: bool,
}

/// Reads a request's head that we wrote in the form of HTTP/1.1: `METHOD target HTTP/1.1`, `Host: …`, and
/// the fields. An upgrade becomes an extended CONNECT for a WebSocket (RFC 8441). `None` when it is no such head.
pub fn request_head<'a>(
    head: &'a [u8],
    scheme: &'a str,
    upgrade: bool,
) -> Option<RequestFields<'a>> {
    let line_end = memchr::memchr(b'\r', head)?;
    let mut words = head.get(..line_end)?.split(|byte| *byte == b' ');
    let (method, path) = (words.next()?, words.next()?);
    Some(RequestFields {
        method: if upgrade { b"CONNECT" } else { method },
        scheme: scheme.as_bytes(),
        authority: written_host(head)?,
        path,
        head,
        upgrade,
    })
}

impl RequestFields<'_> {
    /// Whether the answer has no content.
    pub fn is_head(&self) -> bool {
        self.method == b"HEAD"
    }

    /// The fields, pseudo-header fields first; names as written.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let upgrade = self.upgrade;
        let told = [
            (&b":method"[..], self.method),
            (b":scheme", self.scheme),
            (b":authority", self.authority),
            (b":path", self.path),
        ];
        // Extended CONNECT has no key: the answer is no handshake of its own.
        let kept = move |name: &[u8]| !upgrade || !name.eq_ignore_ascii_case(b"sec-websocket-key");
        told.into_iter()
            .chain(upgrade.then_some((&b":protocol"[..], &b"websocket"[..])))
            .chain(h2_fields(self.head).filter(move |(name, _)| kept(name)))
    }
}
