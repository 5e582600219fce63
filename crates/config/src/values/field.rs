//! Names of things, header fields, cookies, methods and media types.

use super::Fault;
use crate::diagnostic::codes;
use crate::keys::NAME_CHARS_MAX;

/// Longest name of a server: a DNS name with a port and room.
const SERVER_NAME_CHARS_MAX: usize = 300;
/// Longest syslog tag, RFC 3164 section 4.1.3.
const TAG_CHARS_MAX: usize = 32;

/// A name of a listener, route, pool or log.
pub(crate) fn name(text: &str) -> Result<(), Fault> {
    named(text, NAME_CHARS_MAX, |c| matches!(c, '_' | '.' | '-'))
}

/// A server's name; an address is one too.
pub(crate) fn server_name(text: &str) -> Result<(), Fault> {
    let more = |c| matches!(c, '_' | '.' | '-' | ':' | '[' | ']');
    // `[::1]:80` starts with a bracket; what follows is judged as if there were none.
    let rest = text
        .strip_prefix('[')
        .map(|rest| rest.trim_start_matches(':'));
    named(rest.unwrap_or(text), SERVER_NAME_CHARS_MAX, more)
}

fn named(text: &str, chars_max: usize, more: fn(char) -> bool) -> Result<(), Fault> {
    let bad = |says: String| Fault::new(&codes::BAD_NAME, says);
    if text.is_empty() {
        return Err(bad("is empty".to_owned()));
    }
    if text.chars().count() > chars_max {
        return Err(bad(format!("is longer than {chars_max} characters")));
    }
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !more(*c))
    {
        return Err(bad(format!("has `{c}`, which a name cannot have"))
            .help("use letters, digits, `_`, `.` and `-`"));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(bad("does not start with a letter or digit".to_owned()));
    }
    Ok(())
}

/// A token of RFC 9110 section 5.6.2.
fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn token(text: &str, what: &str) -> Result<(), Fault> {
    let bad = |says: String| Fault::new(&codes::BAD_FIELD_NAME, says);
    if text.is_empty() {
        return Err(bad(format!("is empty, which {what} cannot be")));
    }
    match text
        .chars()
        .find(|c| !u8::try_from(*c).is_ok_and(is_token_byte))
    {
        Some(':') if text.ends_with(':') => {
            Err(bad("ends with a colon".to_owned()).guess(text.trim_end_matches(':')))
        }
        Some(c) => Err(bad(format!("has `{c}`, which {what} cannot have"))),
        None => Ok(()),
    }
}

/// Name of a header field.
pub(crate) fn field_name(text: &str) -> Result<(), Fault> {
    token(text, "the name of a header")
}

/// Name of a cookie.
pub(crate) fn cookie_name(text: &str) -> Result<(), Fault> {
    token(text, "the name of a cookie")
}

/// Name of a query parameter, as it stands between `&` and `=`.
pub(crate) fn query_name(text: &str) -> Result<(), Fault> {
    let bad = |says: String| Fault::new(&codes::BAD_FIELD_NAME, says);
    match text
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '&' | '=' | '#'))
    {
        Some(c) => Err(bad(format!(
            "has `{c}`, which the name of a query parameter cannot have"
        ))),
        None if text.is_empty() => Err(bad("is empty".to_owned())),
        None => Ok(()),
    }
}

/// Value of a header field: no control characters but the tab.
pub(crate) fn field_value(text: &str) -> Result<(), Fault> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some('\n' | '\r') => Err(Fault::new(&codes::BAD_FIELD_VALUE, "has a line break")
            .help("write it on one line; a block text (`|`, `>`) ends with a line break, `|-` and `>-` do not")),
        Some(c) => Err(Fault::new(
            &codes::BAD_FIELD_VALUE,
            format!("has the control character U+{:04X}", u32::from(c)),
        )),
        None => Ok(()),
    }
}

/// A method.
pub(crate) fn method(text: &str) -> Result<(), Fault> {
    const KNOWN: &[&str] = &[
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
    ];
    if text.is_empty() || !text.bytes().all(is_token_byte) {
        return Err(Fault::new(&codes::BAD_METHOD, "is not a method")
            .help("write one method, such as `GET`; several stand in a list: `[GET, HEAD]`"));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text && KNOWN.contains(&upper.as_str()) {
        return Err(Fault::new(
            &codes::BAD_METHOD,
            "is not in capitals, and methods are told apart by case",
        )
        .guess(upper));
    }
    Ok(())
}

/// `type/subtype` with parameters.
pub(crate) fn media_type(text: &str) -> Result<(), Fault> {
    let bad = |says: &str| {
        Err(Fault::new(&codes::BAD_FORMAT, says).help("write `text/html; charset=utf-8`"))
    };
    if text.contains(char::is_control) {
        return bad("has a control character");
    }
    let essence = text.split(';').next().unwrap_or_default().trim();
    let parts: Vec<&str> = essence.split('/').collect();
    match parts.as_slice() {
        [first, second]
            if [first, second]
                .iter()
                .all(|p| !p.is_empty() && p.bytes().all(is_token_byte)) =>
        {
            Ok(())
        }
        _ => bad("is not a media type"),
    }
}

/// A syslog tag, RFC 3164 section 4.1.3.
pub(crate) fn tag(text: &str) -> Result<(), Fault> {
    named(text, TAG_CHARS_MAX, |c| matches!(c, '_' | '.' | '-'))
}
