//! Is the request that a backend got the one that the client sent?

use super::{Fields, Request, list};

/// The first way in which two requests differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference(pub String);

/// Fields that a proxy may add, drop or rewrite by its configuration.
const EDITED: [&str; 23] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "expect",
    "http2-settings",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "x-request-id",
    "x-client-ip",
];

/// Compares what a client sent with what a backend got: method, target, end-to-end fields and body must be the same.
/// A `got` that is not complete must be the beginning of `sent`.
pub fn compare(sent: &Request, got: &Request) -> Result<(), Difference> {
    if sent.head.method != got.head.method {
        return differ("method", &sent.head.method, &got.head.method);
    }
    let (want, have) = (
        normal_target(&sent.head.target),
        normal_target(&got.head.target),
    );
    if want != have {
        return differ("target", &want, &have);
    }
    let (want, have) = (end_to_end(sent, sent), end_to_end(sent, got));
    if want != have {
        return differ("fields", &format!("{want:?}"), &format!("{have:?}"));
    }
    let same_body = match got.complete {
        true => sent.complete && sent.body == got.body,
        false => sent.body.starts_with(&got.body),
    };
    if !same_body {
        let note = |r: &Request| format!("{} bytes, complete: {}", r.body.len(), r.complete);
        return differ("body", &note(sent), &note(got));
    }
    if got.complete && !trailers_are_of(&sent.trailers, &got.trailers) {
        let (want, have) = (&sent.trailers, &got.trailers);
        return differ("trailers", &format!("{want:?}"), &format!("{have:?}"));
    }
    Ok(())
}

fn differ(what: &str, sent: &str, got: &str) -> Result<(), Difference> {
    Err(Difference(format!(
        "{what}: the client sent {sent}, the backend got {got}"
    )))
}

/// Trailers may be dropped, never invented.
fn trailers_are_of(sent: &Fields, got: &Fields) -> bool {
    got.0
        .iter()
        .all(|(name, value)| sent.all(name).any(|have| have == value.as_slice()))
}

/// `content_length` and the like: an application may take them for the real ones, so a proxy may drop them.
fn is_mangled_framing(name: &str) -> bool {
    matches!(
        name.replace('_', "-").as_str(),
        "content-length" | "transfer-encoding"
    ) && name.contains('_')
}

fn end_to_end(sent: &Request, of: &Request) -> Vec<(String, Vec<u8>)> {
    let nominated: Vec<Vec<u8>> = sent.head.fields.all("connection").flat_map(list).collect();
    let mut fields: Vec<(String, Vec<u8>)> = of.head.fields.0.clone();
    for (name, _) in &mut fields {
        name.make_ascii_lowercase();
    }
    fields.retain(|(name, _)| {
        !EDITED.contains(&name.as_str())
            && name != "cf-connecting-ip"
            && !is_mangled_framing(name)
            && !nominated.iter().any(|token| token == name.as_bytes())
    });
    fields
}

/// Origin-form with the path normalised as RFC 3986 section 6.2.2 has it, and empty segments merged.
pub(crate) fn normal_target(target: &str) -> String {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    if origin == "*" {
        return origin.to_owned();
    }
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    let decoded = decode_unreserved(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = decoded.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | "" if !last => {}
            ".." => {
                segments.pop();
                if last {
                    segments.push("");
                }
            }
            "." => segments.push(""),
            _ => segments.push(part),
        }
    }
    let path = format!("/{}", segments.join("/"));
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

fn decode_unreserved(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
                at += 3;
            }
            Some(byte) => {
                out.push_str(&format!("%{byte:02X}"));
                at += 3;
            }
            None => {
                out.push(char::from(bytes[at]));
                at += 1;
            }
        }
    }
    out
}
