//! Requests of HTTP/2: every rule.

use super::*;
use crate::framing::{BodyLength, RequestFraming};
use crate::method::{Method, Version};
use crate::request::{HeadStatus, RequestHead};
use HeadFault::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// The pseudo-header fields of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct H2RequestParts<'a> {
    pub(super) method: &'a [u8],
    pub(super) scheme: &'a [u8],
    pub(super) authority: Option<&'a [u8]>,
    pub(super) path: Option<&'a [u8]>,
    pub(super) protocol: Option<&'a [u8]>,
}

impl<'a> H2RequestParts<'a> {
    pub(super) fn list(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        [
            (&b":method"[..], Some(self.method)),
            (b":scheme", Some(self.scheme)),
            (b":authority", self.authority),
            (b":path", self.path),
            (b":protocol", self.protocol),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

fn parts() -> H2RequestParts<'static> {
    H2RequestParts {
        method: b"GET",
        scheme: b"https",
        authority: Some(b"a.example"),
        path: Some(b"/x?y"),
        protocol: None,
    }
}

fn websocket() -> H2RequestParts<'static> {
    H2RequestParts {
        method: b"CONNECT",
        protocol: Some(b"websocket"),
        ..parts()
    }
}

fn read_all(
    parts: H2RequestParts<'_>,
    fields: Pairs<'_>,
    end_stream: bool,
    limits: &HeadLimits,
) -> Result<(RequestHead, RequestFraming, Vec<u8>), HeadFault> {
    let (mut head, mut out) = (RequestHead::new(), b"left over".to_vec());
    let pairs = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    let framing = head.read_h2(&mut out, parts.list().chain(pairs), end_stream, limits);
    if framing.is_err() {
        assert!(out.is_empty() && head.fields.is_empty() && head.len == 0);
    }
    Ok((head, framing?, out))
}

fn read(
    parts: H2RequestParts<'_>,
    fields: Pairs<'_>,
) -> Result<(RequestHead, RequestFraming, Vec<u8>), HeadFault> {
    read_all(parts, fields, false, &HeadLimits::default())
}

fn fault(parts: H2RequestParts<'_>, fields: Pairs<'_>) -> Option<HeadFault> {
    read(parts, fields).err()
}

fn text(parts: H2RequestParts<'_>, fields: Pairs<'_>) -> String {
    String::from_utf8(read(parts, fields).unwrap().2).unwrap()
}

#[test]
fn a_request_is_written_as_http1() {
    let (head, framing, out) = read_all(
        parts(),
        &[("accept", "*/*"), ("empty", ""), ("x-b", "a\tb \u{e9}")],
        true,
        &HeadLimits::default(),
    )
    .unwrap();
    let expected = "GET /x?y HTTP/1.1\r\nHost: a.example\r\naccept: */*\r\nempty: \r\n\
                    x-b: a\tb \u{e9}\r\n\r\n";
    assert_eq!(out, expected.as_bytes());
    assert_eq!(head.len, out.len());
    assert_eq!((head.method, head.version), (Method::Get, Version::Http2));
    assert_eq!(head.version.as_str(), "HTTP/2.0");
    assert_eq!(head.method_span.of(&out), b"GET");
    assert_eq!(head.target.of(&out), b"/x?y");
    assert!(out[head.line_end as usize..].starts_with(b"Host"));
    assert_eq!(head.fields.first(HeaderId::Accept, &out), Some(&b"*/*"[..]));
    assert!(!head.extended_connect);
    let plain = RequestFraming {
        body: BodyLength::Empty,
        keep_alive: true,
        expect_continue: false,
        upgrade: false,
        te_trailers: false,
        nominates: false,
    };
    assert_eq!(framing, plain);
}

#[test]
fn names_and_values() {
    for (name, value, expected) in [
        ("", "x", EmptyName),
        ("Accept", "x", NameUpperCase),
        ("accepT", "x", NameUpperCase),
        (":path", "/", PseudoField),
        (":Foo", "x", PseudoField),
        ("a b", "x", NameByte),
        ("a:b", "x", NameByte),
        ("a\r\nb", "x", NameByte),
        ("a\0", "x", NameByte),
        ("caf\u{e9}", "x", NameByte),
        ("a", "x\r\ny: z", ValueByte),
        ("a", "x\n", ValueByte),
        ("a", "x\r", ValueByte),
        ("a", "\0", ValueByte),
        ("a", "\x7f", ValueByte),
        ("a", " x", ValuePadded),
        ("a", "x ", ValuePadded),
        ("a", "\tx", ValuePadded),
        ("a", "x\t", ValuePadded),
        ("a", " ", ValuePadded),
        ("connection", "close", ConnectionField),
        ("connection", "", ConnectionField),
        ("keep-alive", "timeout=5", ConnectionField),
        ("proxy-connection", "keep-alive", ConnectionField),
        ("transfer-encoding", "chunked", ConnectionField),
        ("upgrade", "websocket", ConnectionField),
        ("te", "gzip", TeInvalid),
        ("te", "trailers, gzip", TeInvalid),
        ("te", "", TeInvalid),
        ("expect", "200-ok", ExpectUnknown),
    ] {
        assert_eq!(fault(parts(), &[(name, value)]), Some(expected), "{name}");
    }
    assert!(read(parts(), &[("te", "trailers")]).unwrap().1.te_trailers);
    // Dropped on the way to a server, as in HTTP/1.
    let head = read(parts(), &[("transfer_encoding", "chunked")])
        .unwrap()
        .0;
    assert!(head.fields.contains(HeaderId::LookAlike));
}

#[test]
fn pseudo_headers() {
    let long = "M".repeat(65);
    let (get, https, web) = ("GET", "https", Some("websocket"));
    for (method, scheme, path, protocol, expected) in [
        ("", https, "/", None, MethodByte),
        ("G T", https, "/", None, MethodByte),
        ("GET / HTTP/1.1\r\nA: b", https, "/", None, MethodByte),
        (&long, https, "/", None, MethodTooLong),
        ("CONNECT", https, "/", None, MethodRefused),
        (get, "", "/", None, SchemeMissing),
        (get, "ftp", "/", None, TargetScheme),
        (get, https, "", None, PathMissing),
        (get, https, "*", None, TargetForm),
        (get, https, "x", None, TargetForm),
        (get, https, "http://a.example/", None, TargetForm),
        (get, https, "/ HTTP/1.1\r\nA: b", None, TargetByte),
        (get, https, "/\u{e9}", None, TargetByte),
        (get, https, "/\x7f", None, TargetByte),
        (get, https, "/", web, ProtocolMisplaced),
        (
            "CONNECT",
            https,
            "/",
            Some("connect-udp"),
            ProtocolUnsupported,
        ),
        ("CONNECT", https, "/", Some(""), ProtocolUnsupported),
        ("CONNECT", https, "", web, PathMissing),
    ] {
        let parts = H2RequestParts {
            method: method.as_bytes(),
            scheme: scheme.as_bytes(),
            path: Some(path.as_bytes()),
            protocol: protocol.map(str::as_bytes),
            ..parts()
        };
        assert_eq!(fault(parts, &[]), Some(expected), "{parts:?}");
    }
    let without = H2RequestParts {
        path: None,
        ..parts()
    };
    assert_eq!(fault(without, &[]), Some(PathMissing));
    assert_eq!(ProtocolUnsupported.status(), 501);
    let options = H2RequestParts {
        method: b"OPTIONS",
        path: Some(b"*"),
        ..parts()
    };
    assert!(text(options, &[]).starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn pseudo_headers_in_the_list() {
    let read = |list: Pairs<'_>| {
        let list = list.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        let (mut head, mut out) = (RequestHead::new(), Vec::new());
        let done = head.read_h2(&mut out, list, true, &HeadLimits::default());
        done.map(|_| String::from_utf8(out).unwrap())
    };
    let (method, scheme) = ((":method", "GET"), (":scheme", "https"));
    let (authority, path) = ((":authority", "a"), (":path", "/"));
    let any_order = read(&[path, authority, scheme, method, ("a", "b")]);
    assert_eq!(
        any_order.unwrap(),
        "GET / HTTP/1.1\r\nHost: a\r\na: b\r\n\r\n"
    );
    for (list, expected) in [
        (&[][..], MethodMissing),
        (&[("a", "b")], MethodMissing),
        (&[scheme, authority, path], MethodMissing),
        (&[method, authority, path], SchemeMissing),
        (&[method, scheme, authority], PathMissing),
        (&[method, scheme, path], HostMissing),
        (&[method, scheme, authority, path, path], PseudoField),
        (&[method, method, scheme, authority, path], PseudoField),
        (
            &[method, scheme, authority, path, ("a", "b"), path],
            PseudoField,
        ),
        (&[method, scheme, authority, ("a", "b"), path], PathMissing),
        (
            &[method, scheme, authority, path, (":status", "200")],
            PseudoField,
        ),
        (&[method, scheme, authority, path, (":x", "")], PseudoField),
        (&[method, scheme, authority, path, (":", "")], PseudoField),
        (
            &[method, scheme, authority, path, (":Path", "/")],
            PseudoField,
        ),
        (&[method, scheme, authority, path, ("", "")], EmptyName),
    ] {
        assert_eq!(read(list).err(), Some(expected), "{list:?}");
    }
}

#[test]
fn authority_and_host() {
    let with = |authority| H2RequestParts {
        authority,
        ..parts()
    };
    for (authority, hosts, expected) in [
        (None, &[][..], HostMissing),
        (None, &["a", "a"], HostRepeated),
        (Some("a"), &["a", "a"], HostRepeated),
        (Some("a"), &["b"], HostConflict),
        (Some("a:443"), &["a"], HostConflict),
        (Some("a"), &[""], HostConflict),
        (Some(""), &[], HostInvalid),
        (Some("a b"), &[], HostInvalid),
        (Some("a\r\nb: c"), &[], HostInvalid),
        (Some("a/b"), &[], HostInvalid),
        (Some("u@a"), &[], HostUserinfo),
        (Some("u:p@a"), &[], HostUserinfo),
        (None, &["u@a"], HostUserinfo),
        (None, &[""], HostInvalid),
    ] {
        let fields: Vec<_> = hosts.iter().map(|&host| ("host", host)).collect();
        let parts = with(authority.map(str::as_bytes));
        assert_eq!(fault(parts, &fields), Some(expected), "{authority:?}");
    }
    assert_eq!(
        text(
            with(Some(b"A.example:81")),
            &[("a", "b"), ("host", "a.EXAMPLE:81")]
        ),
        "GET /x?y HTTP/1.1\r\nHost: A.example:81\r\na: b\r\n\r\n"
    );
    assert_eq!(
        text(with(None), &[("a", "b"), ("host", "h")]),
        "GET /x?y HTTP/1.1\r\na: b\r\nhost: h\r\n\r\n"
    );
}

#[test]
fn websocket_by_extended_connect() {
    for end_stream in [false, true] {
        let fields = &[
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("content-length", "0"),
        ];
        let limits = HeadLimits::default();
        let (head, framing, out) = read_all(websocket(), fields, end_stream, &limits).unwrap();
        let expected = "GET /x?y HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\
                        sec-websocket-version: 13\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(out, expected.as_bytes());
        assert!(head.extended_connect && framing.upgrade && framing.keep_alive);
        assert_eq!(
            (head.method, framing.body),
            (Method::Get, BodyLength::Empty)
        );
        assert_eq!(
            head.fields.first(HeaderId::Upgrade, &out),
            Some(&b"websocket"[..])
        );
    }
    assert_eq!(
        fault(websocket(), &[("content-length", "1")]),
        Some(BodyForbidden)
    );
}

#[test]
fn bodies() {
    let post = H2RequestParts {
        method: b"POST",
        ..parts()
    };
    let length = |value| -> Vec<(&str, &str)> { vec![("content-length", value)] };
    for (fields, end_stream, expected) in [
        (vec![], true, Ok(BodyLength::Empty)),
        (vec![], false, Ok(BodyLength::Chunked)),
        (length("0"), true, Ok(BodyLength::Empty)),
        (length("0"), false, Ok(BodyLength::Fixed(0))),
        (length("7"), false, Ok(BodyLength::Fixed(7))),
        (length("7"), true, Err(LengthWithoutBody)),
        (length(""), false, Err(ContentLengthMalformed)),
        (length("+7"), false, Err(ContentLengthMalformed)),
        (length("7,7"), false, Err(ContentLengthConflict)),
        (
            [length("7"), length("7")].concat(),
            false,
            Err(ContentLengthConflict),
        ),
        (
            length("18446744073709551616"),
            false,
            Err(ContentLengthOverflow),
        ),
    ] {
        let found = read_all(post, &fields, end_stream, &HeadLimits::default());
        assert_eq!(found.map(|found| found.1.body), expected, "{fields:?}");
    }
    let expect = |end_stream| {
        let fields = &[("expect", "100-Continue")];
        let found = read_all(post, fields, end_stream, &HeadLimits::default());
        found.unwrap().1.expect_continue
    };
    assert!(expect(false) && !expect(true));
    let trace = H2RequestParts {
        method: b"TRACE",
        ..parts()
    };
    assert_eq!(fault(trace, &[]), Some(BodyForbidden));
}

#[test]
fn cookies_become_one_line() {
    for (fields, lines) in [
        (
            &[("cookie", ""), ("cookie", "a=1"), ("cookie", "")][..],
            "cookie: a=1\r\n",
        ),
        (&[("cookie", "")], ""),
        (&[("cookie", "a=1")], "cookie: a=1\r\n"),
        (
            &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c")],
            "cookie: a=1; b=2; c\r\n",
        ),
        (
            &[
                ("cookie", "a"),
                ("x", "1"),
                ("cookie", "b"),
                ("y", "2"),
                ("cookie", "c"),
            ],
            "cookie: a; b; c\r\nx: 1\r\ny: 2\r\n",
        ),
    ] {
        let (head, _, out) = read(parts(), fields).unwrap();
        let expected = format!("GET /x?y HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n");
        assert_eq!(out, expected.as_bytes());
        assert_as_parsed(&head, &out);
        assert!(!head.fields.is_repeated(HeaderId::Cookie));
    }
}

#[test]
fn limits() {
    let limits = HeadLimits {
        head_bytes_max: 400,
        fields_max: 3,
        target_bytes_max: 10,
    };
    let read = |parts, fields: Pairs<'_>| read_all(parts, fields, true, &limits).err();
    assert_eq!(read(parts(), &[("a", "1"), ("b", "2")]), None);
    // The line of Host counts, joined cookies count once.
    let three = [("a", "1"), ("b", "2"), ("c", "3")];
    assert_eq!(read(parts(), &three), Some(TooManyFields));
    let cookies = [("a", "1"), ("cookie", "2"), ("cookie", "3")];
    assert_eq!(read(parts(), &cookies), None);
    let path = |path| H2RequestParts {
        path: Some(path),
        ..parts()
    };
    assert_eq!(read(path(b"/234567890"), &[]), None);
    assert_eq!(read(path(b"/2345678901"), &[]), Some(TargetTooLong));
    // :method GET, :scheme https, :path /x?y and :authority a.example cost 42 + 44 + 41 + 51.
    let long = "v".repeat(400 - 178 - 33);
    assert_eq!(read(parts(), &[("a", &long)]), None);
    assert_eq!(read(parts(), &[("aa", &long)]), Some(HeadTooLong));
    let empty = [("cookie", ""); 7];
    assert_eq!(read(parts(), &empty), Some(HeadTooLong), "32 bytes each");
}

/// What the parser of HTTP/1 makes of `out` is what the writer said.
pub(super) fn assert_as_parsed(head: &RequestHead, out: &[u8]) -> RequestHead {
    let mut parsed = RequestHead::new();
    let limits = HeadLimits {
        fields_max: FIELDS_CEILING,
        ..HeadLimits::default()
    };
    assert_eq!(parsed.parse(out, &limits), Ok(HeadStatus::Complete));
    assert_eq!((parsed.len, parsed.line_end), (head.len, head.line_end));
    assert_eq!(
        (parsed.method, parsed.method_span, parsed.target),
        (head.method, head.method_span, head.target)
    );
    assert!(parsed.fields.iter().eq(head.fields.iter()));
    assert_eq!(parsed.fields.present(), head.fields.present());
    parsed
}
