//! Says in words why a condition holds or does not hold for a request.
//!
//! Asks [`Condition::holds`] for every decision, so that an explanation can never differ from what routing does.

use crate::condition::Condition;
use crate::value::{Field, Source, Test};
use crate::view::RequestView;

/// Alternatives named before the rest is only counted.
const NAMED_MAX: usize = 4;
/// Bytes of a request's text shown.
const SHOWN_BYTES_MAX: usize = 120;

/// Why a condition that does not hold does not.
pub(crate) fn failure(condition: &Condition, view: &RequestView<'_>) -> String {
    let path = || show(view.path);
    let host = || show_host(view.host);
    match condition {
        Condition::Always => "nothing is asked for".to_owned(),
        Condition::All(parts) => parts
            .iter()
            .find(|part| !part.holds(view))
            .map_or_else(String::new, |part| failure(part, view)),
        Condition::Any(parts) => any_failure(parts, view),
        Condition::Not(part) => format!("{}, which is excluded", success(part, view)),
        Condition::Listener(listeners) => {
            format!(
                "listener {} is not {}",
                view.listener,
                one_of(listeners.iter().map(u16::to_string))
            )
        }
        Condition::HostExact(name) => format!("{} is not {}", host(), show(name)),
        Condition::HostUnder(suffix) => format!("{} is not under {}", host(), wildcard(suffix)),
        Condition::PathExact(exact) => format!("path {} is not {}", path(), show(exact)),
        Condition::PathPrefix(prefix) => {
            format!("path {} does not begin with {}", path(), show(prefix))
        }
        Condition::PathSegments(prefix) => {
            format!("path {} is not {} or below it", path(), show(prefix))
        }
        Condition::PathGlob(glob) => {
            format!("path {} does not match the glob `{}`", path(), glob.source)
        }
        Condition::PathPattern(pattern) => {
            format!("path {} does not match `{}`", path(), pattern.source)
        }
        Condition::Method(methods) => {
            let names = one_of(methods.iter().map(|name| plain(name)));
            format!("method {} is not {names}", plain(view.method))
        }
        Condition::Value { field, test, shown } => value_failure(field, test, shown, view),
        Condition::Client(networks) => {
            format!(
                "client {} is not in {}",
                view.client.to_canonical(),
                networks.shown()
            )
        }
        Condition::Scheme(scheme) => {
            format!("scheme {} is not {scheme}", plain(view.scheme.as_bytes()))
        }
    }
}

/// Why a condition that holds does.
pub(crate) fn success(condition: &Condition, view: &RequestView<'_>) -> String {
    let path = || show(view.path);
    let host = || show_host(view.host);
    match condition {
        Condition::Always => "every request matches".to_owned(),
        Condition::All(parts) => {
            let named: Vec<_> = parts
                .iter()
                .take(NAMED_MAX)
                .map(|part| success(part, view))
                .collect();
            let more = parts.len().saturating_sub(NAMED_MAX);
            let rest = if more > 0 {
                format!(", and {more} more conditions hold")
            } else {
                String::new()
            };
            named.join(" and ") + &rest
        }
        Condition::Any(parts) => parts
            .iter()
            .find(|part| part.holds(view))
            .map_or_else(String::new, |part| success(part, view)),
        Condition::Not(part) => failure(part, view),
        Condition::Listener(_) => format!("listener is {}", view.listener),
        Condition::HostExact(_) if view.host.is_empty() => "the host is empty".to_owned(),
        Condition::HostExact(_) => format!("host is {}", show(view.host)),
        Condition::HostUnder(suffix) => format!("{} is under {}", host(), wildcard(suffix)),
        Condition::PathExact(_) => format!("path is {}", path()),
        Condition::PathPrefix(prefix) => format!("path {} begins with {}", path(), show(prefix)),
        Condition::PathSegments(prefix) if *view.path == **prefix => format!("path is {}", path()),
        Condition::PathSegments(prefix) => format!("path {} is below {}", path(), show(prefix)),
        Condition::PathGlob(glob) => format!("path {} matches the glob `{}`", path(), glob.source),
        Condition::PathPattern(pattern) => format!("path {} matches `{}`", path(), pattern.source),
        Condition::Method(_) => format!("method is {}", plain(view.method)),
        Condition::Value { field, test, shown } => {
            let name = kind_and_name(field, shown);
            match test {
                Test::Absent => format!("{name} is missing"),
                Test::Present => format!("{name} is present"),
                test => format!("{name} {}", passed(test)),
            }
        }
        Condition::Client(networks) => {
            format!(
                "client {} is in {}",
                view.client.to_canonical(),
                networks.shown()
            )
        }
        Condition::Scheme(scheme) => format!("scheme is {scheme}"),
    }
}

fn any_failure(parts: &[Condition], view: &RequestView<'_>) -> String {
    // A list of hosts or paths is the common case; it reads better as one sentence.
    let hosts = all_names(parts, |part| match part {
        Condition::HostExact(name) => Some(show(name)),
        Condition::HostUnder(suffix) => Some(wildcard(suffix)),
        _ => None,
    });
    if let Some(names) = hosts {
        return format!("{} is not {names}", show_host(view.host));
    }
    let paths = all_names(parts, |part| match part {
        Condition::PathExact(path)
        | Condition::PathPrefix(path)
        | Condition::PathSegments(path) => Some(show(path)),
        Condition::PathGlob(glob) => Some(format!("`{}`", glob.source)),
        Condition::PathPattern(pattern) => Some(format!("`{}`", pattern.source)),
        _ => None,
    });
    if let Some(names) = paths {
        return format!("path {} does not match {names}", show(view.path));
    }
    let named: Vec<_> = parts
        .iter()
        .take(NAMED_MAX)
        .map(|part| failure(part, view))
        .collect();
    let more = parts.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    format!("no alternative holds: {}{rest}", named.join("; "))
}

fn all_names(parts: &[Condition], name: impl Fn(&Condition) -> Option<String>) -> Option<String> {
    let names: Option<Vec<String>> = parts.iter().map(name).collect();
    names.map(|names| one_of(names.into_iter()))
}

fn value_failure(field: &Field, test: &Test, shown: &str, view: &RequestView<'_>) -> String {
    let name = kind_and_name(field, shown);
    let mut first = None;
    let mut more = 0usize;
    field.any(view, &mut |value| {
        match first {
            None => first = Some(show(value)),
            Some(_) => more += 1,
        }
        false
    });
    let Some(first) = first else {
        return format!("{name} is missing");
    };
    match test {
        Test::Present | Test::Absent => format!("{name} is present"),
        test if more > 0 => {
            format!(
                "no value of {name} {}; it has {first} and {more} more",
                passed(test)
            )
        }
        Test::Exact(text) => format!("{name} is {first}, not {}", show(text)),
        test => format!("{name} is {first} and does not {}", wanted(test)),
    }
}

/// What a value must do to pass, as in "does not ...".
fn wanted(test: &Test) -> String {
    match test {
        Test::Present | Test::Absent => "count".to_owned(),
        Test::Exact(text) => format!("equal {}", show(text)),
        Test::Prefix(text) => format!("begin with {}", show(text)),
        Test::Suffix(text) => format!("end with {}", show(text)),
        Test::Contains(finder) => format!("contain {}", show(finder.needle())),
        Test::Pattern(pattern) => format!("match `{}`", pattern.source),
    }
}

fn passed(test: &Test) -> String {
    match test {
        Test::Present | Test::Absent => "is as asked".to_owned(),
        Test::Exact(text) => format!("is {}", show(text)),
        Test::Prefix(text) => format!("begins with {}", show(text)),
        Test::Suffix(text) => format!("ends with {}", show(text)),
        Test::Contains(finder) => format!("contains {}", show(finder.needle())),
        Test::Pattern(pattern) => format!("matches `{}`", pattern.source),
    }
}

fn kind_and_name(field: &Field, shown: &str) -> String {
    let kind = match field.source {
        Source::Header => "header",
        Source::Cookie => "cookie",
        Source::Query => "query parameter",
        Source::Tls(_) => "TLS fact",
    };
    format!("{kind} {shown}")
}

fn one_of(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> = names.take(NAMED_MAX).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    match named.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        Some((last, _)) => last.clone(),
        None => "anything".to_owned(),
    }
}

fn wildcard(suffix: &[u8]) -> String {
    format!("\"*{}\"", plain(suffix))
}

fn show_host(host: &[u8]) -> String {
    if host.is_empty() {
        "the empty host".to_owned()
    } else {
        format!("host {}", show(host))
    }
}

fn show(text: &[u8]) -> String {
    format!("\"{}\"", plain(text))
}

/// Text of a peer made safe to print, and not too long.
fn plain(text: &[u8]) -> String {
    match text.get(..SHOWN_BYTES_MAX) {
        Some(start) if text.len() > SHOWN_BYTES_MAX => format!("{}...", start.escape_ascii()),
        _ => text.escape_ascii().to_string(),
    }
}
