//! Answers of HTTP/2, the way out, and trailers.

use super::*;
use crate::framing::{BodyLength, ResponseFraming, frame_response};
use crate::method::{Method, Version};
use crate::request::HeadStatus;
use crate::response::ResponseHead;
use HeadFault::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn read(
    status: u16,
    fields: Pairs<'_>,
    end_stream: bool,
    method: Method,
) -> Result<(ResponseHead, ResponseFraming, Vec<u8>), HeadFault> {
    let (mut head, mut out) = (ResponseHead::new(), b"left over".to_vec());
    let status = format!("{status:03}");
    let list = std::iter::once((&b":status"[..], status.as_bytes()))
        .chain(fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    let limits = HeadLimits::default();
    let framing = head.read_h2(&mut out, list, end_stream, method, &limits);
    if framing.is_err() {
        assert!(out.is_empty() && head.fields.is_empty() && head.len == 0);
    }
    Ok((head, framing?, out))
}

#[test]
fn an_answer_is_written_as_http1() {
    for status in [100, 103, 200, 204, 304, 404, 599] {
        let fields = &[("server", "s"), ("set-cookie", "a"), ("set-cookie", "b")];
        let (head, framing, out) = read(status, fields, false, Method::Get).unwrap();
        let expected =
            format!("HTTP/1.1 {status} \r\nserver: s\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n");
        assert_eq!(out, expected.as_bytes());
        let mut parsed = ResponseHead::new();
        let done = parsed.parse(&out, &HeadLimits::default());
        assert_eq!(done, Ok(HeadStatus::Complete));
        assert_eq!(
            (parsed.status, parsed.reason, parsed.len, parsed.line_end),
            (head.status, head.reason, head.len, head.line_end)
        );
        assert!(parsed.fields.iter().eq(head.fields.iter()));
        assert_eq!(head.version, Version::Http2);
        let again = frame_response(&parsed, &out, Method::Get, false).unwrap();
        if framing.body == BodyLength::Chunked {
            assert_eq!(again.body, BodyLength::UntilClose);
        } else {
            assert_eq!(framing, again);
        }
    }
}

#[test]
fn bodies_of_answers() {
    use BodyLength::{Chunked, Empty, Fixed};
    let length = |value| -> Vec<(&str, &str)> { vec![("content-length", value)] };
    for (status, fields, end_stream, method, body, declared) in [
        (200, vec![], false, Method::Get, Chunked, None),
        (200, vec![], true, Method::Get, Empty, None),
        (200, length("5"), false, Method::Get, Fixed(5), Some(5)),
        (200, length("0"), true, Method::Get, Empty, Some(0)),
        (200, length("5"), true, Method::Head, Empty, Some(5)),
        (200, length("5"), false, Method::Head, Empty, Some(5)),
        (304, length("5"), true, Method::Get, Empty, Some(5)),
        (204, vec![], true, Method::Get, Empty, None),
        (204, length("0"), true, Method::Get, Empty, None),
        (100, vec![], false, Method::Post, Empty, None),
    ] {
        let framing = read(status, &fields, end_stream, method).unwrap().1;
        assert_eq!((framing.body, framing.declared_length), (body, declared));
        assert!(framing.keep_alive && !framing.switching && !framing.nominates);
    }
    for (status, fields, end_stream, expected) in [
        (200, length("5"), true, LengthWithoutBody),
        (200, length("-5"), false, ContentLengthMalformed),
        (204, length("5"), false, BodyForbidden),
        (103, length("0"), false, BodyForbidden),
        (103, vec![], true, InterimEnds),
        (101, vec![], false, SwitchUnasked),
        (99, vec![], false, StatusRange),
        (600, vec![], false, StatusRange),
        (200, vec![("Server", "s")], false, NameUpperCase),
        (200, vec![("connection", "close")], false, ConnectionField),
        (200, vec![("upgrade", "h3")], false, ConnectionField),
        (200, vec![("a", "b\r\nc: d")], false, ValueByte),
        (200, vec![(":status", "200")], false, PseudoField),
        (200, vec![("a", "b"); 129], false, TooManyFields),
        (200, vec![("a", ""); 2000], false, TooManyFields),
    ] {
        let found = read(status, &fields, end_stream, Method::Get);
        assert_eq!(found.err(), Some(expected), "{status}");
    }
    let long = "x".repeat(65536);
    let found = read(200, &[("a", &long)], false, Method::Get);
    assert_eq!(found.err(), Some(HeadTooLong));
}

#[test]
fn statuses() {
    let read = |list: Pairs<'_>| {
        let list = list.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        let (mut head, mut out) = (ResponseHead::new(), Vec::new());
        let limits = HeadLimits::default();
        let done = head.read_h2(&mut out, list, true, Method::Get, &limits);
        done.map(|_| head.status)
    };
    assert_eq!(read(&[(":status", "204"), ("a", "b")]), Ok(204));
    for (list, expected) in [
        (&[][..], StatusMissing),
        (&[("a", "b"), (":status", "200")], StatusMissing),
        (&[(":status", "")], StatusLine),
        (&[(":status", "20")], StatusLine),
        (&[(":status", "0200")], StatusLine),
        (&[(":status", "+20")], StatusLine),
        (&[(":status", "20x")], StatusLine),
        (&[(":status", "099")], StatusRange),
        (&[(":status", "999")], StatusRange),
        (&[(":status", "200"), (":status", "200")], PseudoField),
        (&[(":status", "200"), (":path", "/")], PseudoField),
        (&[(":path", "/"), (":status", "200")], PseudoField),
        (
            &[(":status", "200"), ("a", "b"), (":status", "200")],
            PseudoField,
        ),
    ] {
        assert_eq!(read(list).err(), Some(expected), "{list:?}");
    }
}

#[test]
fn an_extended_connect_that_is_taken_is_a_101() {
    let (head, framing, out) = read(
        200,
        &[("sec-websocket-protocol", "chat")],
        false,
        Method::Connect,
    )
    .unwrap();
    let expected = "HTTP/1.1 101 \r\nUpgrade: websocket\r\nsec-websocket-protocol: chat\r\n\r\n";
    assert_eq!(out, expected.as_bytes());
    assert!(framing.switching && head.status == 101 && !head.is_interim());
    assert_eq!(framing.body, BodyLength::Empty);
    let (head, framing, _) = read(403, &[], false, Method::Connect).unwrap();
    assert!(!framing.switching && head.status == 403);
    assert_eq!(framing.body, BodyLength::Chunked);
    let found = read(200, &[("content-length", "3")], false, Method::Connect);
    assert_eq!(found.err(), Some(BodyForbidden));
}

#[test]
fn the_way_out() {
    let head = b"GET /:x HTTP/1.1\r\nHost: a.b:81\r\nX-A:  v \t\r\nConnection: TE\r\nTE: trailers\r\n\
        Keep-Alive: 5\r\nProxy-Connection: x\r\nTransfer-Encoding: chunked\r\nUpgrade: websocket\r\n\
        HTTP2-Settings: AAMAAABkAAQAAP__\r\nB: \r\nC: d:e\r\n\r\nbody: no\r\n";
    let fields: Vec<_> = h2_fields(head).collect();
    let expected = [("X-A", "v"), ("TE", "trailers"), ("B", ""), ("C", "d:e")];
    assert!(
        fields
            .iter()
            .map(|&(n, v)| (n, v))
            .eq(expected.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())))
    );
    assert_eq!(written_host(head), Some(&b"a.b:81"[..]));
    assert_eq!(written_host(b"HTTP/1.1 200 \r\nHos: t\r\n\r\n"), None);
    assert_eq!(h2_fields(b"HTTP/1.1 200 OK\r\n\r\n").count(), 0);
    assert_eq!(h2_fields(b"").count(), 0);
    let mut buffer = b"old".to_vec();
    assert_eq!(lower_name(b"X-AbC_9", &mut buffer), b"x-abc_9");
}

#[test]
fn trailers() {
    let write = |fields: Pairs<'_>| {
        let mut out = Vec::new();
        let pairs = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        trailer_lines(pairs, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    assert_eq!(
        write(&[("grpc-status", "0"), ("grpc-message", ""), ("date", "x")]),
        Ok("grpc-status: 0\r\ngrpc-message: \r\n".to_owned())
    );
    for (name, value, expected) in [
        (":path", "/", PseudoField),
        (":status", "200", PseudoField),
        ("X", "1", NameUpperCase),
        ("x", "1\r\ny: 2", ValueByte),
        ("x", " 1", ValuePadded),
        ("content-length", "1", TrailerForbidden),
        ("host", "a", TrailerForbidden),
        ("transfer-encoding", "chunked", TrailerForbidden),
        ("connection", "close", TrailerForbidden),
        ("te", "trailers", TrailerForbidden),
        ("content_length", "1", TrailerForbidden),
        ("x-forwarded-for", "1.1.1.1", TrailerForbidden),
        ("authorization", "x", TrailerForbidden),
    ] {
        assert_eq!(write(&[("a", "b"), (name, value)]), Err(expected), "{name}");
    }
    assert!(write(&[("a", "b"); 64]).is_ok());
    assert_eq!(write(&[("a", "b"); 65]), Err(TooManyTrailers));
    let value = "v".repeat(16384 - 5);
    assert!(write(&[("a", &value)]).is_ok());
    assert_eq!(write(&[("ab", &value)]), Err(TrailersTooLong));
}
