//! A second, naive reading of matchers, written from their documentation: strings and regular expressions only. It shares
//! no code with the compiled conditions or the index.

use super::*;

/// Normal form of the paths that the random tests write.
fn normal(path: &str) -> String {
    let mut path = path.replace("%61", "a").replace("%2f", "%2F");
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

pub(super) fn holds(matcher: &Matcher, request: &Request) -> bool {
    match matcher {
        Matcher::Always => true,
        Matcher::All(parts) => parts.iter().all(|part| holds(part, request)),
        Matcher::Any(parts) => parts.iter().any(|part| holds(part, request)),
        Matcher::Not(part) => !holds(part, request),
        Matcher::Listener(listeners) => listeners.contains(&request.listener),
        Matcher::Host(pattern) => host_holds(pattern, &request.host),
        Matcher::Path(pattern) => path_holds(pattern, &request.path),
        Matcher::Method(methods) => methods.contains(&request.method),
        Matcher::Header { name, test } => {
            let values = request
                .headers
                .iter()
                .filter(|pair| pair.0.eq_ignore_ascii_case(name));
            value_holds(test, values.map(|pair| pair.1.clone()).collect())
        }
        Matcher::Cookie { name, test } => {
            let mut values = Vec::new();
            for (field, line) in &request.headers {
                if field.eq_ignore_ascii_case("cookie") {
                    for pair in line.split(';') {
                        if let Some((key, value)) = pair.split_once('=')
                            && key.trim() == name
                        {
                            values.push(value.trim().to_owned());
                        }
                    }
                }
            }
            value_holds(test, values)
        }
        Matcher::Query { name, test } => {
            let mut values = Vec::new();
            for piece in request.query.as_deref().unwrap_or("").split('&') {
                let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
                if !piece.is_empty() && decode(key) == *name {
                    values.push(decode(value));
                }
            }
            value_holds(test, values)
        }
        // The requests of these tests come over plain connections.
        Matcher::Tls { test, .. } => value_holds(test, Vec::new()),
        Matcher::Client(networks) => networks
            .iter()
            .any(|network| network.contains(&request.client.to_canonical())),
        Matcher::Scheme(scheme) => scheme == request.scheme,
    }
}

fn decode(text: &str) -> String {
    text.replace('+', " ")
        .replace("%41", "A")
        .replace("%20", " ")
}

fn host_holds(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name.to_ascii_lowercase() == host,
        HostPattern::Wildcard(name) => {
            let suffix = name.trim_start_matches('*').to_ascii_lowercase();
            host.ends_with(&suffix) && host != suffix
        }
    }
}

fn path_holds(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => normal(exact) == path,
        PathPattern::Prefix {
            path: prefix,
            segment: false,
        } => path.starts_with(&normal(prefix)),
        PathPattern::Prefix {
            path: prefix,
            segment: true,
        } => {
            let prefix = normal(prefix);
            let below = format!("{}/", prefix.trim_end_matches('/'));
            path == prefix || path.starts_with(&below)
        }
        PathPattern::Glob(glob) => {
            let text = regex::escape(&normal(glob))
                .replace(r"/\*\*/", "/(?:.{0,}/)?")
                .replace(r"\*\*", ".{0,}")
                .replace(r"\*", "[^/]{0,}");
            regex::Regex::new(&format!("^(?:{text})$"))
                .unwrap()
                .is_match(path)
        }
        PathPattern::Regex(source) => regex::Regex::new(source).unwrap().is_match(path),
        PathPattern::RegexStart(source) => starts(source, path),
    }
}

/// A match that begins at the start: found by trying every end.
fn starts(source: &str, text: &str) -> bool {
    regex::Regex::new(&format!(r"\A(?:{source})"))
        .unwrap()
        .is_match(text)
}

fn value_holds(test: &ValueTest, values: Vec<String>) -> bool {
    values.iter().any(|value| match test {
        ValueTest::Present => true,
        ValueTest::Absent => false,
        ValueTest::Exact(text) => value == text,
        ValueTest::Prefix(text) => value.starts_with(text.as_str()),
        ValueTest::Suffix(text) => value.ends_with(text.as_str()),
        ValueTest::Contains(text) => value.contains(text.as_str()),
        ValueTest::Regex(source) => regex::Regex::new(source).unwrap().is_match(value),
        ValueTest::RegexStart(source) => starts(source, value),
    }) || *test == ValueTest::Absent && values.is_empty()
}
