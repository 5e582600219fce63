//! User-written hosts and paths come into the very form that requests have.

use keel_http::{HeadLimits, HeadStatus, NormalRequest, RequestHead};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

use super::*;
use crate::normal::{normal_host, normal_path};

/// Host and path of a request for these, if it is not refused.
fn normalised(host: &str, path: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let buf = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let mut head = RequestHead::new();
    let status = head.parse(&buf, &HeadLimits::default()).ok()?;
    assert!(matches!(status, HeadStatus::Complete));
    let mut request = NormalRequest::new();
    request.read(&head, &buf).ok()?;
    Some((request.host(&buf).to_vec(), request.path(&buf).to_vec()))
}

#[test]
fn a_pattern_takes_the_request_that_it_spells() {
    for (host_name, path) in [
        ("API.example.com", "/a/./b/../%7euser"),
        ("example.com.", "//x///y/"),
        ("[2001:DB8::1]", "/%c3%a9%2f%41"),
        ("a_b-c~d", "/a;v=1.2/\"{}|^`<>"),
        ("127.0.0.1", "/a..b/..c/..."),
    ] {
        let (asked, normal) = normalised(host_name, path).unwrap();
        let request = Request::new(
            "GET",
            std::str::from_utf8(&asked).unwrap(),
            std::str::from_utf8(&normal).unwrap(),
        );
        assert!(
            takes(all([host(host_name), exact(path)]), &request),
            "{host_name} {path}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn paths(path in "/((a|b|x\\.y|%41|%7E|%2f|%c3%A9|%25|\\.|\\.\\.|%2e|;|=|:|@|\\(|~|,|//|/){0,3}/){0,4}[ab]?") {
        if let Some((_, normal)) = normalised("x", &path) {
            prop_assert_eq!(normal_path(&path), Ok(normal));
        }
    }

    #[test]
    fn hosts(host in "([a-cA-C0-9_~-]{1,3}\\.){0,4}[a-cA-C0-9]{1,2}\\.?") {
        if let Some((normal, _)) = normalised(&host, "/") {
            prop_assert_eq!(normal_host(&host), Ok(normal));
        }
    }
}
