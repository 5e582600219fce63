//! gRPC: content types, deadlines, status, and the bridge for gRPC-Web.

use std::time::Duration;

use super::*;
use proptest::prelude::*;

#[test]
fn content_types() {
    for (text, kind, binary) in [
        ("application/grpc", Some(Kind::Grpc), "application/grpc"),
        (
            "application/grpc+proto",
            Some(Kind::Grpc),
            "application/grpc+proto",
        ),
        (
            "APPLICATION/gRPC;a=b",
            Some(Kind::Grpc),
            "application/grpc;a=b",
        ),
        (
            "application/grpc ; a=b",
            Some(Kind::Grpc),
            "application/grpc ; a=b",
        ),
        ("application/grpc-web", Some(Kind::Web), "application/grpc"),
        (
            "application/grpc-web+json",
            Some(Kind::Web),
            "application/grpc+json",
        ),
        (
            "application/grpc-web-text",
            Some(Kind::WebText),
            "application/grpc",
        ),
        (
            "application/grpc-web-text+proto; charset=utf-8",
            Some(Kind::WebText),
            "application/grpc+proto; charset=utf-8",
        ),
        ("application/grpc-websocket", None, "application/grpc"),
        ("application/grpcx", None, "application/grpc"),
        ("application/grpc-", None, "application/grpc"),
        ("application/grp", None, "application/grpc"),
        ("text/plain", None, "application/grpc"),
        ("", None, "application/grpc"),
    ] {
        assert_eq!(Kind::of(text.as_bytes()), kind, "{text}");
        let mut out = Vec::new();
        Kind::Grpc.write_content_type(text.as_bytes(), &mut out);
        assert_eq!(out, binary.as_bytes());
    }
    let mut out = Vec::new();
    Kind::WebText.write_content_type(b"application/grpc+proto", &mut out);
    assert_eq!(out, b"application/grpc-web-text+proto");
}

#[test]
fn timeouts_are_read() {
    for (text, expected) in [
        ("1n", Duration::from_nanos(1)),
        ("250u", Duration::from_micros(250)),
        ("1500m", Duration::from_millis(1500)),
        ("0S", Duration::ZERO),
        ("00000030S", Duration::from_secs(30)),
        ("2M", Duration::from_secs(120)),
        ("3H", Duration::from_secs(10_800)),
        ("99999999n", Duration::from_nanos(99_999_999)),
        ("99999999m", Duration::from_millis(99_999_999)),
        ("99999999H", Duration::from_secs(99_999_999 * 3600)),
    ] {
        assert_eq!(parse_timeout(text.as_bytes()), Ok(expected), "{text}");
    }
    for text in [
        "",
        "S",
        "5",
        "5s",
        "5h",
        "5 S",
        "5S ",
        " 5S",
        "+5S",
        "-5S",
        "1.5S",
        "100000000n",
        "5ms",
        "0x5S",
        "5SS",
        "\u{665}S",
    ] {
        let found = parse_timeout(text.as_bytes());
        assert_eq!(found, Err(GrpcFault::TimeoutMalformed), "{text}");
    }
}

#[test]
fn timeouts_are_written_in_the_finest_unit() {
    for (timeout, expected) in [
        (Duration::ZERO, "1n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_nanos(100_000_999), "100000u"),
        (Duration::from_millis(99_999), "99999000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::from_secs(100_000_059), "1666667M"),
        (Duration::from_secs(60 * 100_000_000), "1666666H"),
        (Duration::MAX, "99999999H"),
    ] {
        let mut out = Vec::new();
        write_timeout(timeout, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn codes() {
    for (number, code) in Code::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(code.number()), number);
        assert_eq!(parse_status(number.to_string().as_bytes()), Some(code));
        assert_eq!(Code::of_name(code.name()), Some(code));
    }
    assert_eq!(Code::of_name("UNAVAILABLE"), None);
    for (text, code) in [
        ("17", Some(Code::Unknown)),
        ("4294967295", Some(Code::Unknown)),
        ("00", Some(Code::Ok)),
        ("", None),
        ("-1", None),
        (" 0", None),
        ("0x0", None),
        ("00000000000", None),
    ] {
        assert_eq!(parse_status(text.as_bytes()), code, "{text}");
    }
}

#[test]
fn codes_of_http() {
    for (status, theirs, ours) in [
        (400, Code::Internal, Code::Internal),
        (401, Code::Unauthenticated, Code::Unauthenticated),
        (403, Code::PermissionDenied, Code::PermissionDenied),
        (404, Code::Unimplemented, Code::Unimplemented),
        (408, Code::Unknown, Code::DeadlineExceeded),
        (413, Code::Unknown, Code::ResourceExhausted),
        (429, Code::Unavailable, Code::Unavailable),
        (431, Code::Unknown, Code::ResourceExhausted),
        (499, Code::Unknown, Code::Cancelled),
        (500, Code::Unknown, Code::Internal),
        (501, Code::Unknown, Code::Unimplemented),
        (502, Code::Unavailable, Code::Unavailable),
        (503, Code::Unavailable, Code::Unavailable),
        (504, Code::Unavailable, Code::DeadlineExceeded),
        (200, Code::Unknown, Code::Unknown),
        (302, Code::Unknown, Code::Unknown),
    ] {
        assert_eq!(Code::of_http(status), theirs, "{status}");
        assert_eq!(Code::of_failure(status), ours, "{status}");
    }
}

#[test]
fn messages() {
    for (message, encoded) in [
        ("no server is up", "no server is up"),
        ("50% of \u{e9}\r\n", "50%25 of %C3%A9%0D%0A"),
        (" x ", "%20x%20"),
        ("\0\x7f~", "%00%7F~"),
    ] {
        let (mut out, mut back) = (Vec::new(), Vec::new());
        encode_message(message, &mut out);
        assert_eq!(String::from_utf8(out.clone()).unwrap(), encoded);
        decode_message(&out, &mut back);
        assert_eq!(back, message.as_bytes());
    }
    let mut out = Vec::new();
    decode_message(b"%4a%4%zz%%41%", &mut out);
    assert_eq!(out, b"J%4%zz%A%");
    let mut out = Vec::new();
    write_status(Code::Unavailable, "a\nb", &mut out);
    write_status(Code::Ok, "", &mut out);
    assert_eq!(
        out,
        b"grpc-status: 14\r\ngrpc-message: a%0Ab\r\ngrpc-status: 0\r\n"
    );
}

fn decode(input: &[u8], sizes: impl Iterator<Item = usize>) -> Result<Vec<u8>, GrpcFault> {
    let (mut decoder, mut out, mut rest) = (RequestDecoder::new(Kind::WebText), Vec::new(), input);
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        decoder.decode(piece, &mut out)?;
        if rest.is_empty() {
            break;
        }
    }
    decoder.finish().map(|()| out)
}

#[test]
fn base64_of_requests() {
    for (text, expected) in [
        ("", Ok(&b""[..])),
        ("Zg==", Ok(b"f")),
        ("Zm8=", Ok(b"fo")),
        ("Zm9v", Ok(b"foo")),
        ("Zm9vYmFy", Ok(b"foobar")),
        ("Zg==Zm8=Zm9v", Ok(b"ffofoo")),
        ("+/+/", Ok(b"\xfb\xff\xbf")),
        ("Z", Err(GrpcFault::Base64Cut)),
        ("Zm9vYg", Err(GrpcFault::Base64Cut)),
        ("Zg=", Err(GrpcFault::Base64Cut)),
        ("Z===", Err(GrpcFault::Base64Padding)),
        ("====", Err(GrpcFault::Base64Padding)),
        ("Zg=v", Err(GrpcFault::Base64Padding)),
        ("Zh==", Err(GrpcFault::Base64Padding)),
        ("Zm9=", Err(GrpcFault::Base64Padding)),
        ("Zm9v=", Err(GrpcFault::Base64Padding)),
        ("Zm9v\r\n", Err(GrpcFault::Base64Byte)),
        ("-_-_", Err(GrpcFault::Base64Byte)),
        ("Zm 9v", Err(GrpcFault::Base64Byte)),
    ] {
        let bytes = text.as_bytes();
        let expected = expected.map(<[u8]>::to_vec);
        assert_eq!(decode(bytes, std::iter::repeat(99)), expected, "{text}");
        assert_eq!(decode(bytes, std::iter::repeat(1)), expected, "{text}");
    }
    let (mut decoder, mut out) = (RequestDecoder::new(Kind::Web), Vec::new());
    decoder.decode(b"\0=\xff", &mut out).unwrap();
    assert!(decoder.finish().is_ok() && out == b"\0=\xff");
}

#[test]
fn answers_of_grpc_web() {
    let fields = [(&b"Grpc-Status"[..], &b"0"[..]), (b"x-a", b" b ")];
    let frame = b"\x80\0\0\0\x18grpc-status: 0\r\nx-a: b\r\n";
    let (mut encoder, mut out) = (AnswerEncoder::new(Kind::Web), Vec::new());
    encoder.data(b"\0\0\0\0\x01m", &mut out);
    encoder.trailers(fields.into_iter(), &mut out);
    assert_eq!(out, [b"\0\0\0\0\x01m", &frame[..]].concat());
    let (mut encoder, mut out) = (AnswerEncoder::new(Kind::WebText), Vec::new());
    encoder.data(b"fo", &mut out);
    encoder.data(b"f", &mut out);
    encoder.data(b"", &mut out);
    encoder.data(b"foo", &mut out);
    assert_eq!(out, b"Zm8=Zg==Zm9v");
    out.clear();
    encoder.trailers(fields.into_iter(), &mut out);
    assert_eq!(decode(&out, std::iter::repeat(5)), Ok(frame.to_vec()));
}

proptest! {
    #[test]
    fn a_timeout_that_was_written_is_read_and_never_later(
        seconds in prop_oneof![0..200u64, 0..400_000_000_000u64], nanos in 0..1_000_000_000u32,
    ) {
        let timeout = Duration::new(seconds, nanos).max(Duration::from_nanos(1));
        let mut out = Vec::new();
        write_timeout(timeout, &mut out);
        prop_assert!(out.len() <= TIMEOUT_BYTES_MAX);
        let read = parse_timeout(&out).unwrap();
        let cap = Duration::from_secs(99_999_999 * 3600);
        prop_assert!(read <= timeout);
        // A unit is at most 1000 of the one before, so at least five digits are left after the first.
        prop_assert!(timeout.min(cap) - read <= timeout / 100_000);
    }

    #[test]
    fn any_timeout_is_survived(value in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(timeout) = parse_timeout(&value) {
            prop_assert!(value.len() <= TIMEOUT_BYTES_MAX && timeout.as_secs() <= 99_999_999 * 3600);
        }
    }

    #[test]
    fn messages_come_back(message in any::<String>()) {
        let (mut out, mut back) = (Vec::new(), Vec::new());
        encode_message(&message, &mut out);
        prop_assert!(out.iter().all(|b| (b' '..=b'~').contains(b)));
        prop_assert!(out.first() != Some(&b' ') && out.last() != Some(&b' '));
        decode_message(&out, &mut back);
        prop_assert_eq!(back, message.into_bytes());
    }

    #[test]
    fn base64_comes_back_however_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
        sizes in prop::collection::vec(1usize..9, 1..9),
    ) {
        let (encoder, mut text) = (AnswerEncoder::new(Kind::WebText), Vec::new());
        for piece in &pieces {
            encoder.data(piece, &mut text);
        }
        let expected = pieces.concat();
        prop_assert_eq!(decode(&text, sizes.iter().copied().cycle()), Ok(expected));
    }

    #[test]
    fn the_cut_of_base64_makes_no_difference(
        text in "[A-D+/=]{0,12}", sizes in prop::collection::vec(1usize..5, 1..9),
    ) {
        let whole = decode(text.as_bytes(), std::iter::repeat(99));
        prop_assert_eq!(whole, decode(text.as_bytes(), sizes.iter().copied().cycle()));
    }
}
