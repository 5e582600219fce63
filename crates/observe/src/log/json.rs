//! The named format `json`: one object per line, always valid JSON.
//!
//! A value that is missing is `null`; a figure that is not a plain number (such as the times of
//! several servers, `0.001, 0.002`) is a string. Peers may send any bytes: what is not UTF-8 is
//! written with each byte above 0x7F as the code point of the same number, so that the line stays
//! readable to every JSON reader.

use keel_http::template::{Var, Variables};

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
}

/// The line of the `json` format, prepared.
#[derive(Debug)]
pub(crate) struct JsonLine {
    fields: Vec<(Vec<u8>, Var, Kind)>,
}

/// Keys, variables and kinds, in the order of the line.
fn fields() -> Vec<(&'static str, Var, Kind)> {
    use Kind::{Number, Text};
    vec![
        ("time", Var::TimeIso8601, Text),
        ("listener", Var::Listener, Text),
        ("client", Var::RemoteAddr, Text),
        ("method", Var::RequestMethod, Text),
        ("scheme", Var::Scheme, Text),
        ("host", Var::Host, Text),
        ("uri", Var::RequestUri, Text),
        ("protocol", Var::ServerProtocol, Text),
        ("status", Var::Status, Number),
        ("bytes", Var::BodyBytesSent, Number),
        ("request_bytes", Var::RequestLength, Number),
        ("request_time", Var::RequestTime, Number),
        ("connect_time", Var::UpstreamConnectTime, Number),
        ("header_time", Var::UpstreamHeaderTime, Number),
        ("response_time", Var::UpstreamResponseTime, Number),
        ("route", Var::Route, Text),
        ("pool", Var::Pool, Text),
        ("server", Var::Server, Text),
        ("upstream", Var::UpstreamAddr, Text),
        ("upstream_status", Var::UpstreamStatus, Number),
        ("retries", Var::Retries, Number),
        ("termination", Var::Termination, Text),
        ("request_id", Var::RequestId, Text),
        ("referer", Var::Http("referer".to_owned()), Text),
        ("user_agent", Var::Http("user-agent".to_owned()), Text),
    ]
}

/// The keys of the `json` format, in order; for the reference page.
pub fn json_keys() -> Vec<&'static str> {
    fields().into_iter().map(|(key, ..)| key).collect()
}

impl JsonLine {
    pub(crate) fn new() -> JsonLine {
        let prepare = |(at, (key, var, kind)): (usize, (&str, Var, Kind))| {
            let opening = if at == 0 { '{' } else { ',' };
            (format!("{opening}\"{key}\":").into_bytes(), var, kind)
        };
        JsonLine {
            fields: fields().into_iter().enumerate().map(prepare).collect(),
        }
    }

    /// Appends the object, without a line feed.
    pub(crate) fn render(&self, vars: &dyn Variables, out: &mut Vec<u8>) {
        for (key, var, kind) in &self.fields {
            out.extend_from_slice(key);
            let start = out.len();
            // Room for the quote first, so that a string that needs no escape is never moved.
            out.push(b'"');
            if !vars.write(var, out) {
                out.truncate(start);
                out.extend_from_slice(b"null");
                continue;
            }
            if *kind == Kind::Number {
                let value = &out[start + 1..];
                if is_number(value) {
                    out.remove(start);
                    continue;
                }
                if value.is_empty() || value == b"-" {
                    out.truncate(start);
                    out.extend_from_slice(b"null");
                    continue;
                }
            }
            escape_tail(out, start + 1);
            out.push(b'"');
        }
        out.push(b'}');
    }
}

/// A JSON number without sign and exponent: `0`, `12`, `0.250`.
fn is_number(value: &[u8]) -> bool {
    let (whole, fraction) = match value.iter().position(|b| *b == b'.') {
        Some(dot) => (&value[..dot], Some(&value[dot + 1..])),
        None => (value, None),
    };
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    digits(whole) && (whole.len() == 1 || whole[0] != b'0') && fraction.is_none_or(digits)
}

/// Escapes the bytes of `out` from `start` on as the inside of a JSON string.
fn escape_tail(out: &mut Vec<u8>, start: usize) {
    // Without an early end this is a few vector instructions, and nearly always all there is to do.
    if !out[start..]
        .iter()
        .fold(false, |any, b| any | needs_care(*b))
    {
        return;
    }
    let first = out[start..]
        .iter()
        .position(|b| needs_care(*b))
        .unwrap_or(0);
    let tail = start + first;
    let is_utf8 = std::str::from_utf8(&out[tail..]).is_ok();
    // The escaped text is appended behind the raw one, which is then cut out: no second buffer.
    let raw_end = out.len();
    for at in tail..raw_end {
        let byte = out[at];
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x00..0x20 | 0x7f => escape_code(out, byte),
            0x80.. if !is_utf8 => escape_code(out, byte),
            _ => out.push(byte),
        }
    }
    out.drain(tail..raw_end);
}

/// Whether a byte is escaped or may be a part of invalid UTF-8.
#[inline]
fn needs_care(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\')
}

fn escape_code(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u00");
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives the same bytes for every variable, or none.
    struct Same(Option<Vec<u8>>);

    impl Variables for Same {
        fn write(&self, _var: &Var, out: &mut Vec<u8>) -> bool {
            self.0.as_ref().is_some_and(|value| {
                out.extend_from_slice(value);
                true
            })
        }
    }

    fn line(value: Option<&[u8]>) -> serde_json::Value {
        let mut out = Vec::new();
        JsonLine::new().render(&Same(value.map(<[u8]>::to_vec)), &mut out);
        assert!(!out.iter().any(|b| *b < 0x20), "{out:?}");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_keys_are_all_there_in_order() {
        let mut out = Vec::new();
        JsonLine::new().render(&Same(None), &mut out);
        let text = String::from_utf8(out).unwrap();
        let expected: Vec<String> = json_keys()
            .iter()
            .map(|key| format!("\"{key}\":null"))
            .collect();
        assert_eq!(text, format!("{{{}}}", expected.join(",")));
    }

    #[test]
    fn numbers_stay_numbers_and_the_rest_is_text() {
        assert_eq!(line(Some(b"200"))["status"], serde_json::json!(200));
        assert_eq!(
            line(Some(b"0.042"))["request_time"],
            serde_json::json!(0.042)
        );
        assert_eq!(line(Some(b"0.001, 0.002"))["connect_time"], "0.001, 0.002");
        assert_eq!(line(Some(b"000"))["status"], "000");
        assert_eq!(line(Some(b"-"))["upstream_status"], serde_json::Value::Null);
        assert_eq!(line(Some(b"200"))["uri"], "200");
        for bad in ["", ".5", "5.", "1.2.3", "1e3", "+1", "01"] {
            assert!(!is_number(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn text_of_peers_is_escaped() {
        assert_eq!(
            line(Some(b"a\"b\\c\nd\te\x01\x7f"))["uri"],
            "a\"b\\c\nd\te\u{1}\u{7f}"
        );
        assert_eq!(line(Some("é ✓".as_bytes()))["uri"], "é ✓");
        assert_eq!(line(Some(b"\xff\xfe"))["uri"], "\u{ff}\u{fe}");
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_valid_line(value: Vec<u8>) {
            let json = line(Some(&value));
            if let Ok(text) = std::str::from_utf8(&value) {
                prop_assert_eq!(json["uri"].as_str(), Some(text));
            }
            prop_assert_eq!(json.as_object().unwrap().len(), json_keys().len());
        }
    }
}
