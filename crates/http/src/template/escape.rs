//! Escaping of values, in place and without allocation beyond the growth of the output.

/// How values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escape {
    /// Not at all: for headers and redirects, whose values come from checked heads. A missing value is nothing.
    #[default]
    None,
    /// As nginx does in a log: `"`, `\`, control bytes and bytes above 0x7e become `\xHH`. A missing value is `-`.
    Log,
    /// For the inside of a JSON string: always valid JSON, bytes that are not UTF-8 are read as Latin-1. A missing
    /// value is nothing.
    Json,
}

const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";

/// Escapes the bytes of `out` from `start` to its end.
#[inline]
pub(crate) fn escape_tail(out: &mut Vec<u8>, start: usize, escape: Escape) {
    match escape {
        Escape::None => {}
        Escape::Log => expand(out, start, log_form),
        Escape::Json => {
            let tail = out.get(start..).unwrap_or_default();
            if std::str::from_utf8(tail).is_ok() {
                expand(out, start, json_form);
            } else {
                expand(out, start, json_latin1_form);
            }
        }
    }
}

/// A byte's escaped form: up to six bytes.
struct Form([u8; 6], usize);

impl Form {
    const fn plain(b: u8) -> Form {
        Form([b, 0, 0, 0, 0, 0], 1)
    }

    const fn short(b: u8) -> Form {
        Form([b'\\', b, 0, 0, 0, 0], 2)
    }
}

#[inline]
const fn log_form(b: u8) -> Form {
    match b {
        b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
            let (high, low) = (HEX_UPPER[b as usize >> 4], HEX_UPPER[b as usize & 15]);
            Form([b'\\', b'x', high, low, 0, 0], 4)
        }
        _ => Form::plain(b),
    }
}

#[inline]
const fn json_form(b: u8) -> Form {
    match b {
        b'"' | b'\\' => Form::short(b),
        b'\n' => Form::short(b'n'),
        b'\r' => Form::short(b'r'),
        b'\t' => Form::short(b't'),
        0..=0x1f | 0x7f => unicode(b),
        _ => Form::plain(b),
    }
}

#[inline]
const fn json_latin1_form(b: u8) -> Form {
    if b >= 0x80 { unicode(b) } else { json_form(b) }
}

const fn unicode(b: u8) -> Form {
    Form(
        [
            b'\\',
            b'u',
            b'0',
            b'0',
            HEX_LOWER[b as usize >> 4],
            HEX_LOWER[b as usize & 15],
        ],
        6,
    )
}

/// Replaces each byte from `start` by its form, from the end backwards so that nothing is overwritten unread.
#[inline]
fn expand(out: &mut Vec<u8>, start: usize, form: impl Fn(u8) -> Form) {
    let tail = out.get(start..).unwrap_or_default();
    let grown: usize = tail.iter().map(|&b| form(b).1).sum();
    let mut read = out.len();
    if grown == read - start {
        return;
    }
    let mut write = start + grown;
    out.resize(write, 0);
    while read > start && write > read {
        read -= 1;
        let Form(bytes, len) = form(out[read]);
        write -= len;
        out[write..write + len].copy_from_slice(&bytes[..len]);
    }
}
