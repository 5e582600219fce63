//! Patterns of hosts and paths.

use std::net::IpAddr;

use super::Fault;
use super::address::dns_name;
use crate::diagnostic::codes;
use crate::model::HostPattern;

/// A host name, `*.suffix` or `*`.
pub(crate) fn host_pattern(text: &str) -> Result<HostPattern, Fault> {
    let bad = |says: &str| Fault::new(&codes::BAD_HOST, says);
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(bad(&format!("has `{scheme}://`; only the host is tested here")).guess(host));
    }
    if let Some((host, _)) = text.split_once('/') {
        return Err(bad("has a `/`; only the host is tested here").guess(host));
    }
    if let Some(inner) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match inner.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => Ok(HostPattern::Exact(format!("[{ip}]"))),
            _ => Err(bad(
                "has brackets around something that is not an IPv6 address",
            )),
        };
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(bad("is an IPv6 address without brackets").guess(format!("[{text}]")));
    }
    if let Some((host, port)) = text.split_once(':') {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("has a port, and the port of a request does not count").guess(host));
        }
        return Err(bad("has a `:`, which no host name has"));
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return dns_name(suffix).map(HostPattern::Wildcard);
    }
    if let Some(suffix) = text.strip_prefix('.') {
        return Err(bad("starts with a dot").guess(format!("*.{suffix}")));
    }
    if text.starts_with('~') {
        return Err(bad(
            "starts with `~`: hosts are not matched by regular expressions",
        ));
    }
    if text.contains('*') {
        return Err(bad("has `*` elsewhere than as the whole first part")
            .help("write `*.example.com`, which stands for one or more parts before the suffix"));
    }
    dns_name(text).map(HostPattern::Exact)
}

/// A path as it can occur in a request in normal form.
pub(crate) fn path(text: &str) -> Result<(), Fault> {
    let bad = |says: &str| Fault::new(&codes::BAD_PATH, says);
    if !text.starts_with('/') {
        return Err(match text.strip_prefix('^').or(text.strip_prefix('~')) {
            Some(_) => bad("looks like a regular expression").help(format!(
                "write `path: {{ regex: '{}' }}`",
                text.trim_start_matches(['~', ' '])
            )),
            None if text == "*" => bad("is no prefix of a path").help(
                "leave `path` out for any path; write `path: { exact: \"*\" }` for `OPTIONS *`",
            ),
            None if text.contains("://") => bad("is a URL; only the path is tested here"),
            None => bad("does not start with `/`").guess(format!("/{text}")),
        });
    }
    if let Some(c) = text.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(
            bad(&format!("has `{c}`, and the query is not part of the path"))
                .help("test query parameters with `query: { name: value }`"),
        );
    }
    if text.ends_with('*') {
        return Err(
            bad("ends with `*`, which is not special here").help(format!(
                "a prefix needs no star: write `{}`; or write `{{ glob: \"{text}\" }}`",
                text.trim_end_matches('*')
            )),
        );
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '\\') {
        return Err(bad(&format!(
            "has `{}`, which no path in a request has",
            c.escape_default()
        ))
        .help("write it percent-encoded, such as `%20` for a space"));
    }
    escapes(text)?;
    if text.contains("//") {
        let merged = text.split('/').filter(|segment| !segment.is_empty());
        let merged: String = merged.flat_map(|segment| ["/", segment]).collect();
        let end = if text.ends_with('/') { "/" } else { "" };
        return Err(
            bad("has `//`, which is merged to `/` before routes are tried")
                .guess(format!("{merged}{end}")),
        );
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(
            bad("has a `.` or `..` segment, which are resolved before routes are tried")
                .help("write the path to which it leads"),
        );
    }
    Ok(())
}

/// A whole path, or the `*` of `OPTIONS *` (RFC 9112, 3.2.4).
pub(crate) fn exact_path(text: &str) -> Result<(), Fault> {
    match text {
        "*" => Ok(()),
        _ => path(text),
    }
}

/// Percent escapes must be whole; the router brings patterns into the normal form of paths.
fn escapes(text: &str) -> Result<(), Fault> {
    for (at, _) in text.match_indices('%') {
        let digits = text.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            let says = "has a `%` without two hexadecimal digits";
            return Err(Fault::new(&codes::BAD_PATH, says).help("write `%25` for a percent sign"));
        }
    }
    Ok(())
}

/// A glob over paths; that it compiles is found out later.
pub(crate) fn glob(text: &str) -> Result<(), Fault> {
    if !text.starts_with('/') {
        return Err(Fault::new(&codes::BAD_PATH, "does not start with `/`")
            .help(format!("write `/{text}`, or `/**/{text}` for any folder")));
    }
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '\\'))
    {
        let says = format!(
            "has `{}`, which no path in a request has",
            c.escape_default()
        );
        return Err(Fault::new(&codes::BAD_PATH, says).help(
            "stars are the only special characters: `*` within a segment, `**` across segments",
        ));
    }
    Ok(())
}

/// How deep groups of a regular expression may be nested, as the router has it.
const REGEX_NEST_MAX: u32 = 64;

/// A regular expression, read as the router reads it. That it is not too large is found out later.
pub(crate) fn regex(text: &str) -> Result<(), Fault> {
    super::line(text)?;
    let read = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(REGEX_NEST_MAX)
        .build()
        .parse(text);
    let (cause, at) = match read {
        Ok(_) => return Ok(()),
        Err(regex_syntax::Error::Parse(fault)) => (fault.kind().to_string(), fault.span().start),
        Err(regex_syntax::Error::Translate(fault)) => {
            (fault.kind().to_string(), fault.span().start)
        }
        Err(fault) => {
            let says = format!("is no regular expression: {fault}");
            return Err(Fault::new(&codes::BAD_REGEX, says));
        }
    };
    let says = format!(
        "is no regular expression: {cause} (character {})",
        at.column
    );
    let fault = Fault::new(&codes::BAD_REGEX, says);
    Err(match at.offset == 0 && text.starts_with('*') {
        true => fault.help("`.*` stands for anything; a pattern with stars alone is a `glob`"),
        false => fault.help("write it in the syntax of Rust's regex crate; `\\` takes the meaning from the character behind it"),
    })
}
