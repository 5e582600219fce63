//! Texts of checks, persistence and operation: statuses, what is sent and expected, secrets, users.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::address::dns_name;
use super::{Fault, line, name};
use crate::diagnostic::codes;
use crate::guess::closest;
use crate::keys::Words;

/// Fewest characters of a token: 16 of letters and digits are 95 bits when they are random.
const TOKEN_CHARS_MIN: usize = 16;
/// Fewest characters of a secret that cookies are authenticated with.
const SECRET_CHARS_MIN: usize = 32;
/// Most bytes that are sent or waited for in a check.
const EXCHANGED_BYTES_MAX: usize = 4096;
/// Longest name of a user, as of Linux.
const USER_CHARS_MAX: usize = 32;
/// The port of DNS.
const DNS_PORT: u16 = 53;

/// Statuses of answers: `204`, `200-299`, `2xx`. `words`: what else could have been meant.
pub(crate) fn answer_status(text: &str, words: Words) -> Result<RangeInclusive<u16>, Fault> {
    let bad = |says: &str| {
        let names = words.iter().map(|(word, _)| *word);
        let fault = Fault::new(&codes::BAD_STATUS, says);
        match closest(text, names.clone()) {
            Some(guess) => fault.guess(guess),
            None if words.is_empty() => fault.help(
                "write a status (`204`), a range (`200-299`) or a class (`2xx`), from 100 to 599",
            ),
            None => fault.help(format!(
                "write a status (`503`), a range (`502-504`) or a class (`5xx`), or one of {}",
                crate::guess::join(names)
            )),
        }
    };
    let code = |text: &str| {
        let number = text.trim().parse::<u16>().ok();
        number.filter(|code| text.trim().len() == 3 && (100..600).contains(code))
    };
    if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        let class = class
            .parse::<u16>()
            .ok()
            .filter(|class| (1..=5).contains(class));
        let first = class.ok_or_else(|| bad("is no class of statuses"))? * 100;
        return Ok(first..=first + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (code(first), code(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => Err(bad("is a range that ends before it starts")),
        _ => Err(bad("is no status")),
    }
}

/// What is sent or waited for: `\r`, `\n`, `\t`, `\\` and `\xHH` stand for bytes.
pub(crate) fn exchanged(text: &str) -> Result<Vec<u8>, Fault> {
    let bad = |says: String| {
        Fault::new(&codes::BAD_TEXT, says)
            .help(r"escapes are `\r`, `\n`, `\t`, `\\` and `\xHH` with two hex digits")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        let (byte, length) = match escape.as_bytes().get(1) {
            Some(b'r') => (b'\r', 2),
            Some(b'n') => (b'\n', 2),
            Some(b't') => (b'\t', 2),
            Some(b'\\') => (b'\\', 2),
            Some(b'x') => {
                let digits = escape.get(2..4).unwrap_or_default();
                let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let byte = u8::from_str_radix(digits, 16).ok().filter(|_| hex);
                let Some(byte) = byte else {
                    return Err(bad(r"has `\x` without two hex digits after it".to_owned()));
                };
                (byte, 4)
            }
            _ => {
                let shown: String = escape.chars().take(2).collect();
                return Err(bad(format!("has `{shown}`, which is no escape")));
            }
        };
        bytes.push(byte);
        rest = escape.get(length..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    if bytes.len() > EXCHANGED_BYTES_MAX {
        return Err(bad(format!("is longer than {EXCHANGED_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Path and query of a request, as they are sent.
pub(crate) fn request_path(text: &str) -> Result<(), Fault> {
    let bad = |says: String| Fault::new(&codes::BAD_PATH, says);
    if let Some((_, rest)) = text.split_once("://") {
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
        return Err(bad("is a URL; the server is known already".to_owned()).guess(path));
    }
    if !text.starts_with('/') {
        return Err(bad("does not start with `/`".to_owned()).guess(format!("/{text}")));
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some('#') => Err(bad(
            "has a `#`; what follows it is never sent to a server".to_owned()
        )),
        Some(c) => Err(bad(format!(
            "has U+{:04X}, which no target of a request has",
            u32::from(c)
        ))
        .help("write it percent-encoded, such as `%20` for a space")),
        None => Ok(()),
    }
}

/// Names of fields with dots between them.
pub(crate) fn json_path(text: &str) -> Result<(), Fault> {
    line(text)?;
    if text.split('.').any(str::is_empty) {
        return Err(Fault::new(&codes::BAD_NAME, "has an empty part")
            .help("write the names of fields with a dot between them, such as `data.status`"));
    }
    Ok(())
}

/// A service of gRPC: a name of protocol buffers with its package.
pub(crate) fn grpc_service(text: &str) -> Result<(), Fault> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    match text.chars().find(|c| !sound(*c)) {
        Some(c) => Err(
            Fault::new(&codes::BAD_NAME, format!("has `{c}`, which no service has"))
                .help("write its full name, such as `shop.Orders`"),
        ),
        None => Ok(()),
    }
}

/// The name of SRV records.
pub(crate) fn srv_name(text: &str) -> Result<String, Fault> {
    if let Some((host, _)) = text.split_once(':') {
        let fault = Fault::new(
            &codes::BAD_HOST,
            "has a port; the port is in the SRV record",
        );
        return Err(fault.guess(host));
    }
    dns_name(text)
}

/// The address of a DNS server; the port is 53 unless it is written.
pub(crate) fn dns_server(text: &str) -> Result<SocketAddr, Fault> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, DNS_PORT));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err(
            Fault::new(&codes::BAD_ADDRESS, "is no IP address of a DNS server").help(
                "write `10.0.0.2`, `10.0.0.2:53` or `[fd00::2]:53`; a name could not be looked up",
            ),
        ),
    }
}

/// A user or group, by name or number.
pub(crate) fn user(text: &str) -> Result<(), Fault> {
    let bad = |says: String| Fault::new(&codes::BAD_USER, says);
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse::<u32>() {
            Ok(number) if number < u32::MAX => Ok(()),
            _ => Err(bad("is no number of a user".to_owned())),
        };
    }
    if text.chars().count() > USER_CHARS_MAX {
        return Err(bad(format!("is longer than {USER_CHARS_MAX} characters")));
    }
    let plain = text.strip_prefix('_').unwrap_or(text);
    name(plain).map_err(|fault| bad(fault.says))
}

/// What values are authenticated with.
pub(crate) fn secret(text: &str) -> Result<(), Fault> {
    let count = text.chars().count();
    if count < SECRET_CHARS_MIN {
        return Err(Fault::new(
            &codes::BAD_SECRET,
            format!("has {count} characters, it needs {SECRET_CHARS_MIN}"),
        )
        .help("make one: `openssl rand -hex 32`"));
    }
    Ok(())
}

/// A bearer token, RFC 6750 section 2.1.
pub(crate) fn token(text: &str) -> Result<(), Fault> {
    let bad = |says: String| {
        Fault::new(&codes::BAD_SECRET, says).help("make one: `openssl rand -hex 32`")
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !text.chars().all(sound) {
        return Err(bad("has a character that no token can have".to_owned()));
    }
    match text.len() {
        0..TOKEN_CHARS_MIN => Err(bad(format!(
            "has {} characters, it needs {TOKEN_CHARS_MIN}",
            text.len()
        ))),
        _ => Ok(()),
    }
}

/// `Domain` of a cookie.
pub(crate) fn cookie_domain(text: &str) -> Result<(), Fault> {
    if let Some(rest) = text.strip_prefix('.') {
        let fault = Fault::new(&codes::BAD_HOST, "starts with a dot, which browsers ignore");
        return Err(fault.guess(rest));
    }
    dns_name(text).map(drop)
}

/// `Path` of a cookie.
pub(crate) fn cookie_path(text: &str) -> Result<(), Fault> {
    request_path(text)?;
    if text.contains([';', '?']) {
        return Err(Fault::new(
            &codes::BAD_PATH,
            "has `;` or `?`, which no path of a cookie has",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(answer_status("204", &[]), Ok(204..=204));
        assert_eq!(answer_status("200-399", &[]), Ok(200..=399));
        assert_eq!(answer_status("5xx", &[]), Ok(500..=599));
        for wrong in [
            "", "20", "0200", "600", "99", "6xx", "0xx", "xx", "300-200", "200-", "2x", "+200",
        ] {
            assert!(answer_status(wrong, &[]).is_err(), "{wrong}");
        }
        let words: Words = &[("error", ""), ("timeout", "")];
        let fault = answer_status("eror", words).expect_err("a slip");
        assert_eq!(fault.guess.as_deref(), Some("error"));
    }

    #[test]
    fn escapes() {
        assert_eq!(exchanged(r"PING\r\n"), Ok(b"PING\r\n".to_vec()));
        assert_eq!(exchanged("PING\r\n"), Ok(b"PING\r\n".to_vec()));
        assert_eq!(exchanged(r"\x00\xfF\\\t"), Ok(vec![0, 255, b'\\', b'\t']));
        for wrong in [r"\", r"a\q", r"\x", r"\x1", r"\xg0", r"\x+1", "\\xé"] {
            assert!(exchanged(wrong).is_err(), "{wrong}");
        }
        assert!(exchanged(&"x".repeat(EXCHANGED_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn targets_of_checks() {
        for right in ["/", "/health?full=1", "/a%20b"] {
            assert_eq!(request_path(right), Ok(()), "{right}");
        }
        for wrong in [
            "health",
            "/a b",
            "/a#b",
            "/\u{e9}",
            "http://a/b",
            "/a\r\nX: y",
        ] {
            assert!(request_path(wrong).is_err(), "{wrong}");
        }
        assert!(json_path("data.status").is_ok() && json_path("a..b").is_err());
        assert!(cookie_path("/app").is_ok() && cookie_path("/a;b").is_err());
        assert!(cookie_domain("example.com").is_ok() && cookie_domain(".example.com").is_err());
    }

    #[test]
    fn names_servers_and_users() {
        assert_eq!(
            srv_name("_a._tcp.Example.com."),
            Ok("_a._tcp.example.com".to_owned())
        );
        assert!(srv_name("_a._tcp.example.com:80").is_err());
        let port = |text: &str| dns_server(text).map(|address| address.port());
        assert_eq!(port("10.0.0.2"), Ok(53));
        assert_eq!(port("10.0.0.2:5353"), Ok(5353));
        assert_eq!(port("[fd00::2]"), Ok(53));
        assert_eq!(port("fd00::2"), Ok(53));
        assert!(port("dns.internal").is_err() && port("10.0.0.2:0").is_err());
        for right in ["www-data", "_www", "33", "0"] {
            assert_eq!(user(right), Ok(()), "{right}");
        }
        for wrong in ["a b", "-1", "4294967295", "root\n", "*", &"a".repeat(33)] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_have_a_length() {
        assert!(token("0123456789abcdef").is_ok() && token("0123456789abcde").is_err());
        assert!(token("0123456789abcde f").is_err() && token("0123456789abcdef\r\n").is_err());
        assert!(secret(&"x".repeat(32)).is_ok() && secret(&"x".repeat(31)).is_err());
    }

    proptest! {
        /// Any bytes can be written, and are read as they were.
        #[test]
        fn any_bytes_come_through(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let written: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            prop_assert_eq!(exchanged(&written), Ok(bytes));
        }

        /// No text makes the readers panic.
        #[test]
        fn any_text_is_judged(text in any::<String>()) {
            let _ = (exchanged(&text), answer_status(&text, &[]), request_path(&text), user(&text));
            let _ = (dns_server(&text), srv_name(&text), token(&text), json_path(&text));
        }
    }
}
