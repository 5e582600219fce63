//! Where requests end. The list of smuggling forms is the point of this file.

use super::*;
use crate::request::HeadLimits;
use HeadFault::*;

fn request(line: &str, fields: &str) -> Result<RequestFraming, HeadFault> {
    let buf = format!("{line}\r\n{fields}\r\n").into_bytes();
    let mut head = RequestHead::new();
    head.parse(&buf, &HeadLimits::default())?;
    frame_request(&head, &buf)
}

fn post(fields: &str) -> Result<RequestFraming, HeadFault> {
    request("POST / HTTP/1.1", &format!("Host: a\r\n{fields}"))
}

#[test]
fn bodies_of_requests() {
    for (fields, body) in [
        ("", BodyLength::Empty),
        ("Content-Length: 0\r\n", BodyLength::Fixed(0)),
        ("Content-Length: 5\r\n", BodyLength::Fixed(5)),
        ("content-LENGTH:\t 5 \t\r\n", BodyLength::Fixed(5)),
        ("Content-Length: 003\r\n", BodyLength::Fixed(3)),
        (
            "Content-Length: 18446744073709551615\r\n",
            BodyLength::Fixed(u64::MAX),
        ),
        ("Content-Length-X: 5\r\n", BodyLength::Empty),
        ("Transfer-Encoding: chunked\r\n", BodyLength::Chunked),
        ("TRANSFER-ENCODING:CHUNKED \r\n", BodyLength::Chunked),
    ] {
        assert_eq!(post(fields).map(|f| f.body), Ok(body), "{fields}");
    }
    assert_eq!(
        request("GET / HTTP/1.1", "Host: a\r\nContent-Length: 5\r\n")
            .unwrap()
            .body,
        BodyLength::Fixed(5)
    );
    assert_eq!(
        request("POST / HTTP/1.0", "Content-Length: 5\r\n")
            .unwrap()
            .body,
        BodyLength::Fixed(5)
    );
    assert_eq!(
        request("POST / HTTP/1.0", "").unwrap().body,
        BodyLength::Empty
    );
}

#[test]
fn smuggling_forms() {
    for (fields, fault, status) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            LengthAndCoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            LengthAndCoding,
            400,
        ),
        (
            "Transfer-Encoding:\r\nContent-Length: 5\r\n",
            LengthAndCoding,
            400,
        ),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
            LengthAndCoding,
            400,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            ContentLengthConflict,
            400,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            ContentLengthConflict,
            400,
        ),
        (
            "Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n",
            ContentLengthConflict,
            400,
        ),
        ("Content-Length: 5, 5\r\n", ContentLengthConflict, 400),
        ("Content-Length: 5,6\r\n", ContentLengthConflict, 400),
        ("Content-Length: 5,\r\n", ContentLengthConflict, 400),
        ("Content-Length:\r\n", ContentLengthMalformed, 400),
        ("Content-Length: +5\r\n", ContentLengthMalformed, 400),
        ("Content-Length: -5\r\n", ContentLengthMalformed, 400),
        ("Content-Length: -0\r\n", ContentLengthMalformed, 400),
        ("Content-Length: 0x5\r\n", ContentLengthMalformed, 400),
        ("Content-Length: 5 5\r\n", ContentLengthMalformed, 400),
        ("Content-Length: 5_0\r\n", ContentLengthMalformed, 400),
        ("Content-Length: 5.0\r\n", ContentLengthMalformed, 400),
        ("Content-Length: 5e1\r\n", ContentLengthMalformed, 400),
        ("Content-Length: 5;a\r\n", ContentLengthMalformed, 400),
        ("Content-Length: \"5\"\r\n", ContentLengthMalformed, 400),
        ("Content-Length: abc\r\n", ContentLengthMalformed, 400),
        ("Content-Length: \u{665}\r\n", ContentLengthMalformed, 400),
        (
            "Content-Length: 18446744073709551616\r\n",
            ContentLengthOverflow,
            400,
        ),
        (
            "Content-Length: 99999999999999999999999\r\n",
            ContentLengthOverflow,
            400,
        ),
        ("Transfer-Encoding:\r\n", CodingMalformed, 400),
        ("Transfer-Encoding: ,\r\n", CodingMalformed, 400),
        ("Transfer-Encoding: chunked,\r\n", CodingMalformed, 400),
        ("Transfer-Encoding: ,chunked\r\n", CodingMalformed, 400),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            CodingMalformed,
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            CodingMalformed,
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
            CodingMalformed,
            400,
        ),
        ("Transfer-Encoding: chunked, gzip\r\n", CodingMalformed, 400),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            CodingMalformed,
            400,
        ),
        (
            "Transfer-Encoding: identity, chunked, identity, chunked\r\n",
            CodingMalformed,
            400,
        ),
        ("Transfer-Encoding: chunked;q=1\r\n", CodingMalformed, 400),
        ("Transfer-Encoding: \"chunked\"\r\n", CodingMalformed, 400),
        (
            "Transfer-Encoding: chunked chunked\r\n",
            CodingMalformed,
            400,
        ),
        ("Transfer-Encoding: chunked\u{a0}\r\n", CodingMalformed, 400),
        (
            "Transfer-Encoding: \u{212a}hunked\r\n",
            CodingMalformed,
            400,
        ),
        ("Transfer-Encoding: xchunked\r\n", CodingUnsupported, 501),
        (
            "Transfer-Encoding: chunkedchunked\r\n",
            CodingUnsupported,
            501,
        ),
        ("Transfer-Encoding: identity\r\n", CodingUnsupported, 501),
        ("Transfer-Encoding: gzip\r\n", CodingUnsupported, 501),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            CodingUnsupported,
            501,
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            CodingUnsupported,
            501,
        ),
    ] {
        assert_eq!(
            post(fields).map_err(|f| (f, f.status())),
            Err((fault, status)),
            "{fields}"
        );
    }
    let http10 = request("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n");
    assert_eq!(http10, Err(CodingInHttp10));
    let line = "TRACE / HTTP/1.1";
    assert_eq!(
        request(line, "Host: a\r\nContent-Length: 5\r\n"),
        Err(BodyForbidden)
    );
}

#[test]
fn look_alikes_frame_nothing_and_never_pass() {
    let buf =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\n\r\n";
    let mut head = RequestHead::new();
    head.parse(buf, &HeadLimits::default()).unwrap();
    assert_eq!(frame_request(&head, buf).unwrap().body, BodyLength::Empty);
    assert!(
        head.fields
            .iter()
            .skip(1)
            .all(|f| HOP_BY_HOP.contains(f.id))
    );
}

#[test]
fn one_host() {
    assert_eq!(request("GET / HTTP/1.1", ""), Err(HostMissing));
    assert_eq!(
        request("GET / HTTP/1.1", "Host: a\r\nHost: a\r\n"),
        Err(HostRepeated)
    );
    assert_eq!(
        request("GET / HTTP/1.0", "Host: a\r\nhost: b\r\n"),
        Err(HostRepeated)
    );
    assert!(request("GET / HTTP/1.0", "").is_ok());
}

#[test]
fn keep_alive_of_requests() {
    for (version, fields, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Close\t\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let framing = request(
            &format!("GET / HTTP/{version}"),
            &format!("Host: a\r\n{fields}"),
        );
        assert_eq!(framing.unwrap().keep_alive, expected, "{version} {fields}");
    }
}

#[test]
fn expectations() {
    let expects = |f: Result<RequestFraming, HeadFault>| f.map(|f| f.expect_continue);
    let body = "Content-Length: 5\r\n";
    assert_eq!(
        expects(post(&format!("{body}Expect: 100-Continue\r\n"))),
        Ok(true)
    );
    assert_eq!(
        expects(post("Expect: 100-continue\r\n")),
        Ok(false),
        "no body"
    );
    assert_eq!(
        expects(post("Expect: 100-continue\r\nContent-Length: 0\r\n")),
        Ok(false)
    );
    let http10 = request(
        "POST / HTTP/1.0",
        &format!("{body}Expect: 100-continue\r\n"),
    );
    assert_eq!(expects(http10), Ok(false));
    for value in [
        "200-ok",
        "",
        "100-continue, x",
        "100-continue;a",
        "100-continue\r\nExpect: x",
    ] {
        let fault = post(&format!("{body}Expect: {value}\r\n")).unwrap_err();
        assert_eq!((fault, fault.status()), (ExpectUnknown, 417));
    }
}

#[test]
fn upgrades_that_pass() {
    for (line, fields, expected) in [
        (
            "GET / HTTP/1.1",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            true,
        ),
        (
            "GET / HTTP/1.1",
            "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n",
            true,
        ),
        (
            "GET / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: foo/2\r\nContent-Length: 0\r\n",
            true,
        ),
        (
            "PUT / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: ws\r\n",
            true,
        ),
        (
            "POST / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            false,
        ),
        (
            "GET / HTTP/1.0",
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            false,
        ),
        ("GET / HTTP/1.1", "Upgrade: websocket\r\n", false),
        ("GET / HTTP/1.1", "Connection: upgrade\r\n", false),
        (
            "GET / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade:\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: h2c\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: websocket, H2C\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: web socket\r\n",
            false,
        ),
        (
            "PUT / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: ws\r\nContent-Length: 4\r\n",
            false,
        ),
        (
            "PUT / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: ws\r\nTransfer-Encoding: chunked\r\n",
            false,
        ),
    ] {
        let framing = request(line, &format!("Host: a\r\n{fields}")).unwrap();
        assert_eq!(framing.upgrade, expected, "{line} {fields}");
    }
}

#[test]
fn nominated_fields() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Foo\r\nConnection: ,Authorization,HOST ,te\r\nX-Foo: 1\r\n\r\n";
    let buf = text.as_bytes();
    let mut head = RequestHead::new();
    head.parse(buf, &HeadLimits::default()).unwrap();
    assert!(frame_request(&head, buf).unwrap().nominates);
    for (name, expected) in [
        ("x-foo", true),
        ("X-FOO", true),
        ("x-fo", false),
        ("te", true),
        ("close", true),
        ("authorization", false),
        ("host", false),
        ("", false),
        ("content-type", false),
    ] {
        assert_eq!(
            is_nominated(&head.fields, buf, name.as_bytes()),
            expected,
            "{name}"
        );
    }
    let plain =
        post("Connection: keep-alive, Upgrade, TE, close, Keep-Alive, trailer\r\n").unwrap();
    assert!(!plain.nominates);
    assert!(post("TE: gzip, Trailers\r\n").unwrap().te_trailers);
    assert!(!post("TE: trailers;q=0\r\n").unwrap().te_trailers);
    assert!(!post("").unwrap().te_trailers);
}
