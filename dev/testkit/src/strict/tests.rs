//! The judge itself is judged: what it must accept, and what it must not.

use super::*;

fn backend(text: &str) -> Reading {
    read_requests(text.as_bytes(), Mode::ToBackend)
}

fn client(text: &str) -> Reading {
    read_requests(text.as_bytes(), Mode::FromClient)
}

#[test]
fn pipelined_requests_are_delimited() {
    let text = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\n\
                PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n";
    let reading = backend(text);
    assert!(reading.is_clean(), "{reading:?}");
    let bodies: Vec<_> = reading.requests.iter().map(|r| r.body.as_slice()).collect();
    assert_eq!(bodies, [&b"abc"[..], b"", b"hi"]);
    assert_eq!(
        reading.requests[2].trailers.first("x-t").as_deref(),
        Some("1")
    );
}

#[test]
fn ambiguous_heads_are_faults_for_both() {
    for fields in [
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\r\n b\r\n",
        "X: a\nY: b\r\n",
        "X: a\rY: b\r\n",
        "X: a\0b\r\n",
        ": a\r\n",
        "Host: y\r\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        assert!(client(&text).fault.is_some(), "client: {fields:?}");
        assert!(backend(&text).fault.is_some(), "backend: {fields:?}");
    }
}

#[test]
fn request_lines_that_are_not_of_this_protocol_are_faults() {
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / http/1.1",
        "G\tET / HTTP/1.1",
        "GET * HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
        "GET a HTTP/1.1",
        "GET /#a HTTP/1.1",
        "GET /\x7f HTTP/1.1",
    ] {
        let text = format!("{line}\r\nHost: x\r\n\r\n");
        assert!(client(&text).fault.is_some(), "{line:?}");
    }
}

#[test]
fn a_backend_must_not_see_what_a_client_may_send() {
    for (line, fields) in [
        ("GET http://x/a HTTP/1.1", ""),
        ("GET /a/../b HTTP/1.1", ""),
        ("GET / HTTP/1.1", "Connection: X-Secret\r\n"),
        ("GET / HTTP/1.1", "Keep-Alive: 5\r\n"),
        ("GET / HTTP/1.1", "TE: gzip\r\n"),
        ("GET / HTTP/1.1", "Upgrade: websocket\r\n"),
        ("POST / HTTP/1.1", "Transfer-Encoding: ChUnKeD\r\n"),
    ] {
        let text = format!("{line}\r\nHost: x\r\n{fields}\r\n");
        assert_eq!(client(&text).fault, None, "{line:?} {fields:?}");
        assert!(backend(&text).fault.is_some(), "{line:?} {fields:?}");
    }
}

#[test]
fn chunked_bodies() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for good in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "0003\r\nabc\r\n000\r\n\r\n",
    ] {
        assert!(backend(&format!("{head}{good}")).is_clean(), "{good:?}");
    }
    for extension in [
        "3;a\r\nabc\r\n0\r\n\r\n",
        "3 ; a=\"b\\\"c\";d=e\r\nabc\r\n0;f\r\n\r\n",
    ] {
        assert!(
            client(&format!("{head}{extension}")).is_clean(),
            "{extension:?}"
        );
        assert!(
            backend(&format!("{head}{extension}")).fault.is_some(),
            "{extension:?}"
        );
    }
    for bad in [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-3\r\n",
        "+3\r\n",
        " 3\r\n",
        "3 \r\n",
        "3;a\rb\r\n",
        "3;\r\n",
        "11111111111111111\r\n",
        "0\r\nContent-Length: 3\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
    ] {
        assert!(client(&format!("{head}{bad}")).fault.is_some(), "{bad:?}");
    }
}

#[test]
fn answers_are_framed_by_status_and_method() {
    let framing = |text: &str, method: &str| match take_response_head(text.as_bytes(), method) {
        Ok(Step::Done(head, _)) => Ok(head.framing),
        Ok(Step::NeedMore) => Err(Fault("need more")),
        Err(fault) => Err(fault),
    };
    assert_eq!(
        framing("HTTP/1.1 200 OK\r\n\r\n", "GET"),
        Ok(Framing::UntilClose)
    );
    assert_eq!(
        framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"),
        Ok(Framing::Empty)
    );
    assert_eq!(
        framing("HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n", "GET"),
        Ok(Framing::Empty)
    );
    assert_eq!(
        framing("HTTP/1.1 204 No\r\n\r\n", "GET"),
        Ok(Framing::Empty)
    );
    for bad in [
        "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\r\n\r\n",
        "HTTP/1.1 999 OK\r\n\r\n",
    ] {
        assert!(framing(bad, "GET").is_err(), "{bad:?}");
    }
}

#[test]
fn every_cut_of_a_good_request_needs_more() {
    let text = "\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n";
    for end in 0..text.len() {
        let reading = client(&text[..end]);
        assert_eq!(reading.fault, None, "cut at {end}");
        assert!(reading.complete().next().is_none(), "cut at {end}");
    }
    assert!(client(text).is_clean());
}

#[test]
fn comparison_sees_through_normalisation_only() {
    let read = |text: &str, mode| read_requests(text.as_bytes(), mode).requests.remove(0);
    let sent = read(
        "POST http://x/a/./%7Eb/../c?q=/../ HTTP/1.1\r\nHost: x\r\nConnection: X-A\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 2\r\n\r\nhi",
        Mode::FromClient,
    );
    let got = "POST /a/c?q=/../ HTTP/1.1\r\nHost: x\r\nX-B: 2\r\nX-Real-IP: 1.1.1.1\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(compare(&sent, &read(got, Mode::ToBackend)), Ok(()));
    for (from, to) in [
        ("POST", "PUT"),
        ("/a/c", "/a/d"),
        ("X-B: 2", "X-B: 3"),
        ("\r\n\r\nhi", "\r\n\r\nho"),
        ("X-B: 2", "X-C: 2"),
    ] {
        let other = read(&got.replacen(from, to, 1), Mode::ToBackend);
        assert!(compare(&sent, &other).is_err(), "{from} → {to}");
    }
}
