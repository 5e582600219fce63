//! Brings user-written hosts and paths into the form that requests have after normalising.
//!
//! A request path has its unreserved escapes decoded, other escapes in upper case, dot segments removed and slashes
//! merged. A pattern in any other form could never match, so patterns are treated in the same way; bytes that a request
//! can only carry escaped (a space, non-ASCII) are escaped here.

use std::net::Ipv6Addr;

/// Longest host that a request can have, in bytes; a longer pattern never matches.
const HOST_BYTES_MAX: usize = 255;

const CONTROL_ESCAPED: &str =
    "escaped control characters are refused in every request, so this path can never match";

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([
        b'%',
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]);
}

/// Escapes of a pattern's path in the normal form; slashes and dots stay as they are.
pub(crate) fn normal_escapes(raw: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = bytes.next().and_then(hex_value);
                let low = bytes.next().and_then(hex_value);
                let (Some(high), Some(low)) = (high, low) else {
                    return Err("`%` in a path must be followed by two hexadecimal digits; write `%25` for a percent sign"
                        .to_owned());
                };
                match high << 4 | low {
                    0..b' ' | 0x7f => return Err(CONTROL_ESCAPED.to_owned()),
                    byte if is_unreserved(byte) => out.push(byte),
                    byte => push_escape(byte, &mut out),
                }
            }
            b'?' => {
                return Err("a path has no query; match parameters with `query`".to_owned());
            }
            b'#' => return Err("a path has no `#`; fragments are never sent".to_owned()),
            b'\\' => {
                return Err("requests with a backslash in the path are refused, so this path can never match".to_owned());
            }
            0..b' ' | 0x7f => return Err("a path has no control characters".to_owned()),
            b' ' | 0x80.. => push_escape(byte, &mut out),
            _ => out.push(byte),
        }
    }
    Ok(out)
}

/// A user-written path in normal form.
pub(crate) fn normal_path(raw: &str) -> Result<Vec<u8>, String> {
    if !raw.starts_with('/') {
        return Err(format!("a path begins with a slash; write `/{raw}`"));
    }
    let escaped = normal_escapes(raw)?;
    let mut out: Vec<u8> = Vec::with_capacity(escaped.len());
    let mut segments = escaped.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" => {}
            b"." => {}
            b".." => {
                let Some(parent) = memchr::memrchr(b'/', &out) else {
                    return Err("the path goes above the root".to_owned());
                };
                out.truncate(parent);
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                continue;
            }
        }
        if last {
            out.push(b'/');
        }
    }
    Ok(out)
}

/// A user-written host in normal form: lowercase, without trailing dot. `what` names it in messages.
pub(crate) fn normal_host(raw: &str) -> Result<Vec<u8>, String> {
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(inner) = raw.strip_prefix('[') {
        return match inner.strip_suffix(']').map(str::parse::<Ipv6Addr>) {
            // As browsers write it (RFC 5952).
            Some(Ok(address)) => Ok(format!("[{address}]").into_bytes()),
            _ if inner.contains("]:") => Err(port_message(raw)),
            _ => Err(format!("`{raw}` is not an IPv6 address in brackets")),
        };
    }
    if raw.parse::<Ipv6Addr>().is_ok() {
        return Err(format!(
            "an IPv6 address as a host is written in brackets: `[{raw}]`"
        ));
    }
    if raw.contains("://") || raw.contains('/') {
        return Err(format!(
            "`{raw}` is not a host; write only the name, without scheme and path"
        ));
    }
    if raw.contains(':') {
        return Err(port_message(raw));
    }
    if raw.contains('*') {
        return Err(format!(
            "`{raw}` has a `*`; only `*.` at the start of a name is a wildcard"
        ));
    }
    if !raw.is_ascii() {
        return Err(format!(
            "`{raw}` must be written in its ASCII form (`xn--...`), as browsers send it"
        ));
    }
    let name = raw.strip_suffix('.').unwrap_or(raw);
    let is_name_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if !name.bytes().all(is_name_byte) {
        return Err(format!("`{raw}` has a character that no host name has"));
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(format!(
            "`{raw}` is longer than any host: at most {HOST_BYTES_MAX} characters"
        ));
    }
    if name.split('.').any(str::is_empty) {
        return Err(format!("`{raw}` has an empty label"));
    }
    Ok(name.to_ascii_lowercase().into_bytes())
}

fn port_message(raw: &str) -> String {
    let host = raw.rsplit_once(':').map_or(raw, |(host, _)| host);
    format!(
        "hosts are matched without their port; write `{host}`, and `listener` to tell ports apart"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_into_request_form() {
        for (raw, normal) in [
            ("/", "/"),
            ("/api", "/api"),
            ("/api/", "/api/"),
            ("//api///x", "/api/x"),
            ("/%61pi/%7Euser", "/api/~user"),
            ("/a%2fb", "/a%2Fb"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/%2e%2E/", "/a/"),
            ("/a//../b", "/b"),
            ("/caf\u{e9} x", "/caf%C3%A9%20x"),
            ("/.well-known/..x", "/.well-known/..x"),
        ] {
            assert_eq!(normal_path(raw).unwrap(), normal.as_bytes(), "{raw}");
        }
        for raw in [
            "",
            "api",
            "/..",
            "/a/../../b",
            "/%",
            "/%2",
            "/%zz",
            "/%00",
            "/%7f",
            "/a?b",
            "/a#b",
            "/a\\b",
            "/a\nb",
        ] {
            assert!(normal_path(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn normal_form_is_stable() {
        for raw in ["/a%2fb/%C3%a9", "/x/../y/", "/%25%32%35"] {
            let once = normal_path(raw).unwrap();
            let twice = normal_path(std::str::from_utf8(&once).unwrap()).unwrap();
            assert_eq!(once, twice, "{raw}");
        }
    }

    #[test]
    fn hosts_come_into_request_form() {
        assert_eq!(normal_host("API.Example.com.").unwrap(), b"api.example.com");
        assert_eq!(normal_host("[2001:DB8:0::1]").unwrap(), b"[2001:db8::1]");
        assert_eq!(normal_host("").unwrap(), b"");
        assert!(normal_host(&"a".repeat(256)).is_err());
        for raw in [
            "a:80",
            "[::1]:80",
            "::1",
            "[::1",
            "http://a",
            "a/b",
            "a*b",
            "b\u{fc}cher.de",
            "a..b",
            ".a",
            "a b",
        ] {
            assert!(normal_host(raw).is_err(), "{raw}");
        }
    }
}
