//! Where answers end, and which cannot be trusted.

use super::*;
use crate::request::HeadLimits;
use HeadFault::*;

fn answer(head: &str, method: Method, upgrade: bool) -> Result<ResponseFraming, HeadFault> {
    let buf = format!("HTTP/1.{head}\r\n").into_bytes();
    let mut parsed = ResponseHead::new();
    parsed.parse(&buf, &HeadLimits::default())?;
    frame_response(&parsed, &buf, method, upgrade)
}

#[test]
fn bodies_of_answers() {
    for (head, method, body, keep_alive) in [
        (
            "1 200 OK\r\nContent-Length: 5\r\n",
            Method::Get,
            BodyLength::Fixed(5),
            true,
        ),
        (
            "1 200 OK\r\nTransfer-Encoding: Chunked\r\n",
            Method::Get,
            BodyLength::Chunked,
            true,
        ),
        ("1 200 OK\r\n", Method::Get, BodyLength::UntilClose, false),
        (
            "0 200 OK\r\nConnection: keep-alive\r\n",
            Method::Get,
            BodyLength::UntilClose,
            false,
        ),
        (
            "0 200 OK\r\nContent-Length: 5\r\n",
            Method::Get,
            BodyLength::Fixed(5),
            false,
        ),
        (
            "0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n",
            Method::Get,
            BodyLength::Fixed(5),
            true,
        ),
        (
            "1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n",
            Method::Get,
            BodyLength::Fixed(5),
            false,
        ),
        (
            "1 200 OK\r\nContent-Length: 5\r\n",
            Method::Head,
            BodyLength::Empty,
            true,
        ),
        (
            "1 200 OK\r\nTransfer-Encoding: chunked\r\n",
            Method::Head,
            BodyLength::Empty,
            true,
        ),
        ("1 200 OK\r\n", Method::Head, BodyLength::Empty, true),
        (
            "1 304 Not Modified\r\nContent-Length: 5\r\n",
            Method::Get,
            BodyLength::Empty,
            true,
        ),
        (
            "1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n",
            Method::Get,
            BodyLength::Empty,
            true,
        ),
        ("1 204 No Content\r\n", Method::Get, BodyLength::Empty, true),
        (
            "1 204 No Content\r\nContent-Length: 0\r\n",
            Method::Get,
            BodyLength::Empty,
            true,
        ),
        (
            "1 205 Reset\r\nContent-Length: 0\r\n",
            Method::Get,
            BodyLength::Fixed(0),
            true,
        ),
        ("1 100 Continue\r\n", Method::Post, BodyLength::Empty, true),
        (
            "1 103 Early Hints\r\nLink: <a>\r\n",
            Method::Get,
            BodyLength::Empty,
            true,
        ),
    ] {
        let framing = answer(head, method, false).unwrap();
        assert_eq!(
            (framing.body, framing.keep_alive),
            (body, keep_alive),
            "{head}"
        );
        assert!(!framing.switching);
    }
    let head = answer("1 200 OK\r\nContent-Length: 5\r\n", Method::Head, false).unwrap();
    assert_eq!(head.declared_length, Some(5));
    let none = answer("1 204 x\r\nContent-Length: 0\r\n", Method::Get, false).unwrap();
    assert_eq!(none.declared_length, None);
}

#[test]
fn answers_that_cannot_be_trusted() {
    for (head, fault) in [
        (
            "1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            LengthAndCoding,
        ),
        (
            "1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            ContentLengthConflict,
        ),
        (
            "1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
            ContentLengthConflict,
        ),
        (
            "1 200 OK\r\nContent-Length: 5, 5\r\n",
            ContentLengthConflict,
        ),
        ("1 200 OK\r\nContent-Length: x\r\n", ContentLengthMalformed),
        ("1 200 OK\r\nContent-Length: -1\r\n", ContentLengthMalformed),
        (
            "1 200 OK\r\nContent-Length: 18446744073709551616\r\n",
            ContentLengthOverflow,
        ),
        ("0 200 OK\r\nTransfer-Encoding: chunked\r\n", CodingInHttp10),
        ("1 200 OK\r\nTransfer-Encoding: gzip\r\n", CodingUnsupported),
        (
            "1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
            CodingUnsupported,
        ),
        (
            "1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n",
            CodingMalformed,
        ),
        (
            "1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            CodingMalformed,
        ),
        ("1 204 x\r\nContent-Length: 5\r\n", BodyForbidden),
        ("1 204 x\r\nTransfer-Encoding: chunked\r\n", BodyForbidden),
        ("1 100 x\r\nContent-Length: 0\r\n", BodyForbidden),
        ("1 103 x\r\nTransfer-Encoding: chunked\r\n", BodyForbidden),
        (
            "1 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\n",
            SwitchUnasked,
        ),
    ] {
        for method in [Method::Get, Method::Head] {
            assert_eq!(answer(head, method, false), Err(fault), "{head}");
        }
    }
}

#[test]
fn switching_protocols() {
    let sound = "1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let framing = answer(sound, Method::Get, true).unwrap();
    assert!(framing.switching && !framing.keep_alive);
    assert_eq!(framing.body, BodyLength::Empty);
    for (head, fault) in [
        ("1 101 x\r\n", SwitchUnasked),
        ("1 101 x\r\nConnection: upgrade\r\n", SwitchUnasked),
        ("1 101 x\r\nUpgrade: websocket\r\n", SwitchUnasked),
        (
            "0 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\n",
            SwitchUnasked,
        ),
        (
            "1 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n",
            SwitchUnasked,
        ),
        (
            "1 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 4\r\n",
            BodyForbidden,
        ),
        (
            "1 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\r\n",
            BodyForbidden,
        ),
    ] {
        assert_eq!(answer(head, Method::Get, true), Err(fault), "{head}");
    }
    let refused = answer(
        "1 200 OK\r\nContent-Length: 2\r\nUpgrade: h2c\r\n",
        Method::Get,
        true,
    );
    assert!(!refused.unwrap().switching);
}
