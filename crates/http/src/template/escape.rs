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

/// A hexadecimal digit whose letters begin at `letter`.
const fn hex(value: u8, letter: u8) -> u8 {
    if value < 10 {
        b'0' + value
    } else {
        letter + value - 10
    }
}

/// Whether no byte needs an escape in either form: the usual case, in a loop without branches.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &b| {
        plain & (b' '..0x7f).contains(&b) & (b != b'"') & (b != b'\\')
    })
}

/// Escapes the bytes of `out` from `start` to its end.
#[inline]
pub(crate) fn escape_tail(out: &mut Vec<u8>, start: usize, escape: Escape) {
    if escape == Escape::None || is_plain(out.get(start..).unwrap_or_default()) {
        return;
    }
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
            Form([b'\\', b'x', hex(b >> 4, b'A'), hex(b & 15, b'A'), 0, 0], 4)
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
            hex(b >> 4, b'a'),
            hex(b & 15, b'a'),
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
        let Form(bytes, len) = form(out.get(read).copied().unwrap_or_default());
        write -= len;
        for (to, from) in out.iter_mut().skip(write).zip(bytes.iter().take(len)) {
            *to = *from;
        }
    }
}
