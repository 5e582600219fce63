//! Answers of our own: errors, redirects, fixed answers, pages.

use keel_http::negotiate::{ErrorForm, error_form};
use keel_http::template::{Escape, Template};
use keel_http::{HeaderId, Method, Version};

use crate::error::Row;
use crate::exchange::Exchange;
use crate::heads::{write_edits, write_field, write_number};
use crate::snapshot::{Edits, FixedAnswer, ListenerPlan, RoutePlan};
use crate::vars::Vars;

/// An answer that is about to be written.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The status.
    pub status: u16,
    /// Value of `Content-Type`; none when empty.
    pub content_type: &'a str,
    /// More headers.
    pub headers: &'a [(String, String)],
    /// Value of `X-Error`; none when empty.
    pub error: &'a str,
    /// Value of `Location`; none when empty.
    pub location: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// What the connection adds to an answer of our own.
#[derive(Debug, Clone, Copy)]
pub struct ReplyFacts<'a> {
    /// The listener.
    pub listener: &'a ListenerPlan,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// Now, as `Date` writes it.
    pub date: &'a [u8],
}

/// Writes an answer of our own, head and body; gives the length of the body.
pub fn write_reply(
    out: &mut Vec<u8>,
    ex: &Exchange,
    route: Option<&RoutePlan>,
    reply: &Reply<'_>,
    facts: ReplyFacts<'_>,
    vars: &Vars<'_>,
) -> usize {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(out, u64::from(reply.status));
    out.push(b' ');
    out.extend_from_slice(reason(reply.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    write_field(out, b"Date", facts.date);
    if !reply.content_type.is_empty() {
        write_field(out, b"Content-Type", reply.content_type.as_bytes());
    }
    let no_body = matches!(reply.status, 100..=199 | 204 | 304);
    if !no_body {
        out.extend_from_slice(b"Content-Length: ");
        write_number(out, reply.body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    if !reply.location.is_empty() {
        write_field(out, b"Location", reply.location);
    }
    if !reply.error.is_empty() {
        write_field(out, b"X-Error", reply.error.as_bytes());
    }
    for (name, value) in reply.headers {
        write_field(out, name.as_bytes(), value.as_bytes());
    }
    if !facts.keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if ex.head.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    let none = Edits::default();
    let inner = route.map_or(&none, |route| &route.response_edits);
    write_edits(out, &[&facts.listener.response_edits, inner], vars);
    out.extend_from_slice(b"\r\n");
    if no_body || (!ex.record.bad_head && ex.head.method == Method::Head) {
        return 0;
    }
    out.extend_from_slice(reply.body);
    reply.body.len()
}

/// The body and type of an error: the route's page when it has one, else a small text in the form
/// that the client accepts.
pub fn error_body(ex: &Exchange, route: Option<&RoutePlan>, row: &Row) -> (String, Vec<u8>) {
    let page = route.and_then(|route| {
        route
            .error_pages
            .iter()
            .find(|page| (page.statuses.0..=page.statuses.1).contains(&row.status))
    });
    if let Some(page) = page {
        return (page.content_type.clone(), page.body.to_vec());
    }
    let accept = if ex.record.bad_head {
        None
    } else {
        ex.head.fields.first(HeaderId::Accept, ex.bytes())
    };
    let (status, text) = (row.status, row.text);
    match error_form(accept) {
        ErrorForm::Html => (
            "text/html; charset=utf-8".into(),
            format!(
                "<!doctype html>\n<html><head><title>{status} {text}</title></head>\n\
                 <body><h1>{status} {text}</h1></body></html>\n"
            )
            .into_bytes(),
        ),
        ErrorForm::Json => (
            "application/json".into(),
            format!(
                "{{\"error\":\"{text}\",\"status\":{status},\"code\":\"{}\"}}\n",
                row.name
            )
            .into_bytes(),
        ),
        ErrorForm::Text => (
            "text/plain; charset=utf-8".into(),
            format!("{text}\n").into_bytes(),
        ),
    }
}

/// A fixed answer as a reply.
pub fn fixed(answer: &FixedAnswer) -> Reply<'_> {
    Reply {
        status: answer.status,
        content_type: &answer.content_type,
        headers: &answer.headers,
        error: "",
        location: b"",
        body: &answer.body,
    }
}

/// Renders the `Location` of a redirect. Control bytes that a decoded value may bring in are made
/// harmless.
pub fn render_location(template: &Template, vars: &Vars<'_>, out: &mut Vec<u8>) {
    template.render(vars, out, Escape::None);
    for byte in out
        .iter_mut()
        .filter(|byte| byte.is_ascii_control() || **byte == b' ')
    {
        *byte = b'_';
    }
}

/// The usual phrase for a status (RFC 9110, 15).
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
