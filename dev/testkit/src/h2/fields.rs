//! The rules for fields of RFC 9113, section 8.

use crate::strict::{Fault, Fields, is_token_byte};

/// What a header block stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Request,
    Answer,
    Trailers,
}

const CONNECTION_SPECIFIC: [&str; 5] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
];

/// Turns decoded pairs into fields, or names the first rule that they break.
pub(super) fn judge(pairs: Vec<(Vec<u8>, Vec<u8>)>, block: Block) -> Result<Fields, Fault> {
    let mut fields = Fields::default();
    let mut regular = false;
    for (name, value) in pairs {
        let pseudo = name.first() == Some(&b':');
        let rest = if pseudo { &name[1..] } else { &name[..] };
        let lower = |byte: &u8| is_token_byte(*byte) && !byte.is_ascii_uppercase();
        if rest.is_empty() || !rest.iter().all(lower) {
            return Err(Fault("a field name that is not a token in lower case"));
        }
        if pseudo && regular {
            return Err(Fault("a pseudo-field after a regular one"));
        }
        regular |= !pseudo;
        if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err(Fault("NUL, CR or LF in a field value"));
        }
        let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if space(value.first()) || space(value.last()) {
            return Err(Fault("space around a field value"));
        }
        let name = String::from_utf8_lossy(&name).into_owned();
        if CONNECTION_SPECIFIC.contains(&name.as_str()) {
            return Err(Fault("a field of the connection (section 8.2.2)"));
        }
        if name == "te" && value != b"trailers" {
            return Err(Fault("TE other than trailers"));
        }
        fields.0.push((name, value));
    }
    pseudo_fields(&fields, block)?;
    content_length(&fields)?;
    Ok(fields)
}

fn pseudo_fields(fields: &Fields, block: Block) -> Result<(), Fault> {
    let names: Vec<&str> = fields
        .0
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with(':'))
        .collect();
    let known: &[&str] = match block {
        Block::Request => &[":method", ":scheme", ":path", ":authority", ":protocol"],
        Block::Answer => &[":status"],
        Block::Trailers => &[],
    };
    for (at, name) in names.iter().enumerate() {
        if !known.contains(name) {
            return Err(Fault("a pseudo-field that does not belong there"));
        }
        if names[..at].contains(name) {
            return Err(Fault("a pseudo-field twice"));
        }
    }
    let has = |name: &str| fields.first(name).is_some_and(|value| !value.is_empty());
    match block {
        Block::Trailers => Ok(()),
        Block::Answer => match fields.first(":status").map(|text| text.parse::<u16>()) {
            Some(Ok(100..600)) => Ok(()),
            _ => Err(Fault("no :status, or one that is none")),
        },
        Block::Request if fields.first(":method").as_deref() == Some("CONNECT") => {
            match (has(":protocol"), has(":scheme") && has(":path")) {
                _ if !has(":authority") => Err(Fault("CONNECT without :authority")),
                (true, false) => Err(Fault("an extended CONNECT without :scheme or :path")),
                (false, _) if has(":scheme") || has(":path") => {
                    Err(Fault("a CONNECT with :scheme or :path"))
                }
                _ => Ok(()),
            }
        }
        Block::Request if !(has(":method") && has(":scheme") && has(":path")) => {
            Err(Fault("no :method, :scheme or :path"))
        }
        Block::Request if has(":protocol") => Err(Fault(":protocol without CONNECT")),
        Block::Request => host(fields),
    }
}

fn host(fields: &Fields) -> Result<(), Fault> {
    let (authority, host) = (fields.first(":authority"), fields.first("host"));
    match (authority, host) {
        (None, None) => Err(Fault("neither :authority nor Host")),
        (Some(authority), Some(host)) if authority != host => {
            Err(Fault("a Host other than :authority"))
        }
        _ => Ok(()),
    }
}

fn content_length(fields: &Fields) -> Result<(), Fault> {
    let mut values = fields.all("content-length");
    let digits = |value: &[u8]| {
        !value.is_empty() && value.len() < 20 && value.iter().all(u8::is_ascii_digit)
    };
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(Fault("more than one Content-Length")),
        (Some(value), None) if !digits(value) => Err(Fault("a Content-Length that is no number")),
        _ => Ok(()),
    }
}
