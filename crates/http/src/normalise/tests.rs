//! Target and Host of whole requests.

use super::*;
use crate::request::HeadLimits;
use proptest::prelude::*;

fn read(request: &str) -> Result<(NormalRequest, Vec<u8>), HeadFault> {
    let buf = request.as_bytes().to_vec();
    let mut head = RequestHead::new();
    head.parse(&buf, &HeadLimits::default())?;
    let mut normal = NormalRequest::new();
    normal.read(&head, &buf)?;
    Ok((normal, buf))
}

fn get(target: &str) -> Result<(NormalRequest, Vec<u8>), HeadFault> {
    read(&format!(
        "GET {target} HTTP/1.1\r\nHost: Example.COM:8080\r\n\r\n"
    ))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn origin_form() {
    for (target, path, query, forwarded) in [
        ("/", "/", None, "/"),
        ("/a?b=c", "/a", Some("b=c"), "/a?b=c"),
        ("/a?", "/a", Some(""), "/a?"),
        ("/%61//b?x", "/a/b", Some("x"), "/%61//b?x"),
        ("/a/../b?x=%", "/b", Some("x=%"), "/b?x=%"),
        ("/a/..", "/", None, "/"),
        ("//example.org/x", "/example.org/x", None, "//example.org/x"),
        ("/http://x/", "/http:/x/", None, "/http://x/"),
    ] {
        let (normal, buf) = get(target).unwrap();
        assert_eq!(text(normal.path(&buf)), path);
        assert_eq!(normal.query(&buf).map(text), query);
        assert_eq!(text(normal.target(&buf)), forwarded);
        assert_eq!(text(normal.host(&buf)), "example.com");
        assert_eq!(text(normal.authority(&buf)), "Example.COM:8080");
        assert_eq!(normal.port(), Some(8080));
        assert!(!normal.is_absolute() && !normal.is_asterisk());
    }
}

#[test]
fn absolute_form_replaces_host() {
    for (target, authority, host, port, path, forwarded) in [
        ("http://a.b/c?d", "a.b", "a.b", None, "/c", "/c?d"),
        ("HTTPS://A.b:1/", "A.b:1", "a.b", Some(1), "/", "/"),
        ("http://a.b", "a.b", "a.b", None, "/", "/"),
        ("http://a.b:81?q=1", "a.b:81", "a.b", Some(81), "/", "/?q=1"),
        (
            "http://[::1]:8080/foo",
            "[::1]:8080",
            "[::1]",
            Some(8080),
            "/foo",
            "/foo",
        ),
        ("http://A.b/x/../%79", "A.b", "a.b", None, "/y", "/y"),
    ] {
        let (normal, buf) = get(target).unwrap();
        assert_eq!(text(normal.authority(&buf)), authority);
        assert_eq!(text(normal.host(&buf)), host, "{target}");
        assert_eq!(normal.port(), port);
        assert_eq!(text(normal.path(&buf)), path);
        assert_eq!(text(normal.target(&buf)), forwarded);
        assert!(normal.is_absolute());
    }
}

#[test]
fn refused_targets() {
    use HeadFault::*;
    for (target, fault) in [
        ("foo/bar", TargetForm),
        ("example.com:443", TargetForm),
        ("*", TargetForm),
        ("*/", TargetForm),
        ("?a", TargetForm),
        ("://a/", TargetForm),
        ("ftp://a/", TargetScheme),
        ("s://]ufd/:", TargetScheme),
        ("/a#b", TargetByte),
        ("http://a#b", TargetByte),
        ("http://a?b#c", TargetByte),
        ("http://u:p@a/", HostInvalid),
        ("http:///a", HostInvalid),
        ("http://a,b/", HostInvalid),
        ("http://a:99999/", HostInvalid),
        ("http:/a", TargetForm),
        ("x?y=http://a/", TargetForm),
        ("/..", AboveRoot),
        ("http://a/..%2f", HiddenDotSegment),
    ] {
        assert_eq!(get(target).unwrap_err(), fault, "{target}");
    }
}

#[test]
fn asterisk_only_for_options() {
    let (normal, buf) = read("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(normal.is_asterisk());
    assert_eq!(
        (normal.path(&buf), normal.target(&buf)),
        (&b"*"[..], &b"*"[..])
    );
    let (normal, buf) = read("OPTIONS http://B HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(normal.is_asterisk());
    assert_eq!(
        (normal.target(&buf), normal.host(&buf)),
        (&b"*"[..], &b"b"[..])
    );
    assert!(
        !read("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap()
            .0
            .is_asterisk()
    );
    for method in ["GET", "M-SEARCH", "PRI"] {
        let request = format!("{method} * HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(read(&request).unwrap_err(), HeadFault::TargetForm);
    }
}

#[test]
fn methods_of_a_forward_proxy_are_refused() {
    for line in ["CONNECT a:443", "CONNECT /", "TRACE /"] {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let fault = read(&request).unwrap_err();
        assert_eq!((fault, fault.status()), (HeadFault::MethodRefused, 405));
    }
}

#[test]
fn host_rules() {
    use HeadFault::*;
    for (host, fault) in [
        ("", HostMissing),
        ("Host: a\r\nHost: a\r\n", HostRepeated),
        ("Host:\r\n", HostInvalid),
        ("Host: a/b\r\n", HostInvalid),
        ("Host: u@a\r\n", HostInvalid),
        ("Host: a, b\r\n", HostInvalid),
        ("Host: a b\r\n", HostInvalid),
    ] {
        for target in ["/", "http://good/"] {
            let request = format!("GET {target} HTTP/1.1\r\n{host}\r\n");
            assert_eq!(read(&request).unwrap_err(), fault, "{request}");
        }
    }
    let (normal, buf) = read("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(
        (normal.host(&buf), normal.authority(&buf)),
        (&b""[..], &b""[..])
    );
    let (normal, buf) = read("GET http://x/ HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(normal.host(&buf), b"x");
    assert_eq!(
        read("GET / HTTP/1.0\r\nHost: a@b\r\n\r\n").unwrap_err(),
        HostInvalid
    );
}

#[test]
fn a_fault_leaves_nothing_behind() {
    let (mut normal, _) = get("/a/%62?c").unwrap();
    let buf = b"GET /.. HTTP/1.1\r\nHost: X\r\n\r\n";
    let mut head = RequestHead::new();
    head.parse(buf, &HeadLimits::default()).unwrap();
    assert!(normal.read(&head, buf).is_err());
    assert_eq!(normal.path(buf), b"");
    assert_eq!(normal.host(buf), b"");
    assert_eq!(normal.query(buf), None);
}

#[test]
fn a_clean_request_needs_no_memory() {
    let buf = b"GET /api/users?page=2 HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let mut head = RequestHead::new();
    head.parse(buf, &HeadLimits::default()).unwrap();
    let mut normal = NormalRequest::new();
    normal.read(&head, buf).unwrap();
    assert_eq!(normal.made.capacity(), 0);
}

proptest! {
    /// The normal form of a normal form is itself, and reading the forwarded target gives the same path and query.
    #[test]
    fn normalising_is_idempotent(tail in "([/.a;]|%2[eEfF]|%41|%5[cC]|%3b|//|\\.\\.|[ -~]){0,12}") {
        if let Ok((normal, buf)) = get(&format!("/{tail}")) {
            let path = text(normal.path(&buf)).to_string();
            let (again, again_buf) = get(&path).expect("a normal path is accepted");
            prop_assert_eq!(text(again.path(&again_buf)), &path);
            prop_assert_eq!(again.target(&again_buf), path.as_bytes());
            let (sent, sent_buf) = get(text(normal.target(&buf))).expect("what is forwarded is accepted");
            prop_assert_eq!(text(sent.path(&sent_buf)), &path);
            prop_assert_eq!(sent.query(&sent_buf), normal.query(&buf));
            prop_assert!(!path.contains("//") && !path.contains("/./") && !path.contains("/../"));
        }
    }
}
