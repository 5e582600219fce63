//! Escapes in the text forms of the suites.

/// Which escapes a suite knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `\r \n \t \0 \xHH`
    Plain,
    /// `\r \n \t \f \xHH` and one to three octal digits
    Octal,
}

/// Reads escapes as bytes; any other backslash is itself.
pub fn unescape(text: &[u8], style: Style) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let (byte, used) = one(&text[at..], style);
        out.push(byte);
        at += used;
    }
    out
}

fn one(rest: &[u8], style: Style) -> (u8, usize) {
    let hex = |at: usize| rest.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    match (rest[0], rest.get(1)) {
        (b'\\', Some(b'r')) => (b'\r', 2),
        (b'\\', Some(b'n')) => (b'\n', 2),
        (b'\\', Some(b't')) => (b'\t', 2),
        (b'\\', Some(b'f')) if style == Style::Octal => (0x0c, 2),
        (b'\\', Some(b'0')) if style == Style::Plain => (0, 2),
        (b'\\', Some(b'0'..=b'7')) if style == Style::Octal => octal(rest),
        (b'\\', Some(b'x')) => match (hex(2), hex(3)) {
            (Some(high), Some(low)) => (u8::try_from(high * 16 + low).expect("two digits"), 4),
            _ => (b'\\', 1),
        },
        (byte, _) => (byte, 1),
    }
}

fn octal(rest: &[u8]) -> (u8, usize) {
    let digits = rest[1..]
        .iter()
        .take(3)
        .take_while(|byte| (b'0'..=b'7').contains(byte))
        .count();
    let sum = rest[1..=digits]
        .iter()
        .fold(0_u32, |sum, byte| sum * 8 + u32::from(byte - b'0'));
    (
        u8::try_from(sum & 0xff).expect("masked to a byte"),
        digits + 1,
    )
}

#[test]
fn escapes() {
    assert_eq!(
        unescape(b"a\\r\\n\\t\\0\\x41\\q", Style::Plain),
        b"a\r\n\t\0A\\q"
    );
    assert_eq!(
        unescape(b"\\033\\f\\325\\01\\\"", Style::Octal),
        b"\x1b\x0c\xd5\x01\\\""
    );
}
