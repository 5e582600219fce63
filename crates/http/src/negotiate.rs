//! Which form an error page takes, by the client's Accept (RFC 9110, 12.5.1).

use crate::syntax::{list, trim_ows};

/// The form of an error page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorForm {
    /// `text/html`
    Html,
    /// `application/json`
    Json,
    /// `text/plain`
    Text,
}

impl ErrorForm {
    /// The value for Content-Type.
    pub const fn content_type(self) -> &'static str {
        match self {
            ErrorForm::Html => "text/html; charset=utf-8",
            ErrorForm::Json => "application/json",
            ErrorForm::Text => "text/plain; charset=utf-8",
        }
    }
}

/// The form that the client likes best; plain text when it does not say or takes anything. Of equals a named type
/// wins over a wildcard, then the one that stands first.
pub fn error_form(accept: Option<&[u8]>) -> ErrorForm {
    let mut best = (0, false, ErrorForm::Text);
    for range in list(accept.unwrap_or_default()) {
        let mut parts = range.split(|&b| b == b';').map(trim_ows);
        let media = parts.next().unwrap_or_default();
        let Some((form, named)) = form_of(media) else {
            continue;
        };
        let weight = parts.find_map(weight).unwrap_or(1000);
        if weight > 0 && (weight, named) > (best.0, best.1) {
            best = (weight, named, form);
        }
    }
    best.2
}

/// The form that serves a media range, and whether the range names it.
fn form_of(media: &[u8]) -> Option<(ErrorForm, bool)> {
    let is = |name: &str| media.eq_ignore_ascii_case(name.as_bytes());
    let json_suffix = || {
        let tail = media
            .len()
            .checked_sub(5)
            .and_then(|at| media.get(at..))
            .unwrap_or_default();
        tail.eq_ignore_ascii_case(b"+json")
    };
    if is("text/html") || is("application/xhtml+xml") {
        Some((ErrorForm::Html, true))
    } else if is("application/json") || json_suffix() {
        Some((ErrorForm::Json, true))
    } else if is("text/plain") {
        Some((ErrorForm::Text, true))
    } else if is("application/*") {
        Some((ErrorForm::Json, false))
    } else if is("text/*") || is("*/*") {
        Some((ErrorForm::Text, false))
    } else {
        None
    }
}

/// `q=0.8` as thousandths; a malformed weight counts as 0.
fn weight(parameter: &[u8]) -> Option<u32> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else {
        return None;
    };
    let (whole, fraction) = match value {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return Some(0),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Some(0);
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |b| u32::from(b - b'0'));
    let thousandths = u32::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    Some(thousandths.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (accept, form) in [
            ("", ErrorForm::Text),
            ("*/*", ErrorForm::Text),
            ("text/html", ErrorForm::Html),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                ErrorForm::Html,
            ),
            ("application/json", ErrorForm::Json),
            ("application/json, text/plain, */*", ErrorForm::Json),
            ("application/problem+json", ErrorForm::Json),
            ("Application/JSON; charset=utf-8", ErrorForm::Json),
            ("text/plain", ErrorForm::Text),
            ("text/html;q=0.5, application/json;q=0.9", ErrorForm::Json),
            (
                "text/html ; Q=0.500 ,application/json;q=0.499",
                ErrorForm::Html,
            ),
            ("*/*, application/json", ErrorForm::Json),
            ("text/html;q=0", ErrorForm::Text),
            ("text/html;q=2, application/json;q=0.1", ErrorForm::Json),
            ("text/html;q=x", ErrorForm::Text),
            ("image/png", ErrorForm::Text),
            (",;,q=1", ErrorForm::Text),
            ("+json", ErrorForm::Json),
        ] {
            assert_eq!(error_form(Some(accept.as_bytes())), form, "{accept}");
        }
        assert_eq!(error_form(None), ErrorForm::Text);
    }
}
