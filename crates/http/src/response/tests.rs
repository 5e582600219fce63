//! Heads of answers.

use super::*;
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Result<(HeadStatus, ResponseHead), HeadFault> {
    let mut head = ResponseHead::new();
    let status = head.parse(bytes, &HeadLimits::default())?;
    Ok((status, head))
}

#[test]
fn sound_heads() {
    for (bytes, status, reason) in [
        (&b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"[..], 200, &b"OK"[..]),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", 404, b"Not Found"),
        (b"HTTP/1.1 301\r\n\r\n", 301, b""),
        (b"HTTP/1.1 200 \r\n\r\n", 200, b""),
        (b"HTTP/1.1 200  OK\r\n\r\n", 200, b" OK"),
        (
            b"HTTP/1.1 500 Ori\xebntatie\tprobleem\r\n\r\n",
            500,
            b"Ori\xebntatie\tprobleem",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 100, b"Continue"),
        (b"HTTP/1.1 599 x\r\n\r\n", 599, b"x"),
    ] {
        let (done, head) = parse(bytes).unwrap();
        assert_eq!(done, HeadStatus::Complete);
        assert_eq!(
            (head.status, head.reason.of(bytes), head.len),
            (status, reason, bytes.len())
        );
        assert!(
            bytes[head.line_end as usize..].starts_with(if head.fields.is_empty() {
                b"\r\n"
            } else {
                b"A:"
            })
        );
        assert_eq!(head.is_interim(), status == 100);
    }
}

#[test]
fn refused_heads() {
    use HeadFault::*;
    for (text, name) in [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", LeadingBlankLines),
        ("\nHTTP/1.1 200 OK\r\n\r\n", LeadingBlankLines),
        ("\rHTTP/1.1 200 OK\r\n\r\n", LeadingBlankLines),
        ("HTP/1.1 200 OK\r\n\r\n", VersionMalformed),
        ("HTTPER/1.1 200 OK\r\n\r\n", VersionMalformed),
        ("RTSP/1.1 200 OK\r\n\r\n", VersionMalformed),
        ("HTTP/0.9 200 OK\r\n\r\n", VersionMalformed),
        ("HTTP/01.1 200 OK\r\n\r\n", VersionMalformed),
        ("HTTP/11.1 200 OK\r\n\r\n", VersionMalformed),
        ("HTTP/1.01 200 OK\r\n\r\n", VersionMalformed),
        ("HTTP/1.2 200 OK\r\n\r\n", VersionUnsupported),
        ("HTTP/2.0 200 OK\r\n\r\n", VersionUnsupported),
        ("HTTP/1.1\t200 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 2 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 200OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 20a OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1\r\n\r\n", StatusLine),
        ("HTTP/1.1 \r\n\r\n", StatusLine),
        ("HTTP/1.1 000 OK\r\n\r\n", StatusRange),
        ("HTTP/1.1 099 OK\r\n\r\n", StatusRange),
        ("HTTP/1.1 600 OK\r\n\r\n", StatusRange),
        ("HTTP/1.1 999 OK\r\n\r\n", StatusRange),
        ("HTTP/1.1 200 O\0K\r\n\r\n", ControlByte),
        ("HTTP/1.1 200 O\x7fK\r\n\r\n", ControlByte),
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n", BareLf),
        ("HTTP/1.1 200\nA: b\r\n\r\n", BareLf),
        ("HTTP/1.1 200 OK\rA: b\r\n\r\n", BareCr),
        ("HTTP/1.1 200 OK\r\r\nA: b\r\n\r\n", BareCr),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\r\n\n", BareLf),
        ("HTTP/1.1 200 OK\r\nA: 1\rB: 2\r\n\r\n", BareCr),
        ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", SpaceBeforeFields),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", ObsFold),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", SpaceBeforeColon),
        ("HTTP/1.1 200 OK\r\nen-US Content-Type: a\r\n\r\n", NameByte),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", EmptyName),
        ("HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n", ValueByte),
        ("<html>\r\n\r\n", StatusLine),
    ] {
        assert_eq!(parse(text.as_bytes()).map(|_| ()), Err(name), "{text:?}");
    }
}

#[test]
fn limits_hold() {
    let limits = HeadLimits {
        head_bytes_max: 64,
        fields_max: 2,
        target_bytes_max: 1,
    };
    let mut head = ResponseHead::new();
    let text = |n: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(n - 24));
    assert_eq!(
        head.parse(text(64).as_bytes(), &limits),
        Ok(HeadStatus::Complete)
    );
    assert_eq!(
        head.parse(text(65).as_bytes(), &limits),
        Err(HeadFault::HeadTooLong)
    );
    assert_eq!(
        head.parse(&text(80).as_bytes()[..64], &limits),
        Err(HeadFault::HeadTooLong)
    );
    assert_eq!(
        head.parse(&text(80).as_bytes()[..63], &limits),
        Ok(HeadStatus::Partial)
    );
    let many = b"HTTP/1.1 200 OK\r\na:\r\nb:\r\nc:\r\n\r\n";
    assert_eq!(head.parse(many, &limits), Err(HeadFault::TooManyFields));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let _ = parse(&[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat());
    }

    #[test]
    fn a_part_is_never_more_than_the_whole(
        text in "HTTP/1\\.[01] ?[0-9 ]{0,4}( |)(OK|\u{e9}|)(\r\n|\n)((A|Content-Length)(:|: | :)(b|)(\r\n|\n|\r\n )){0,3}(\r\n|)x?",
        cut in any::<usize>(),
    ) {
        let bytes = text.as_bytes();
        let cut = cut % (bytes.len() + 1);
        match (parse(&bytes[..cut]), parse(bytes)) {
            (Ok((HeadStatus::Complete, part)), Ok((HeadStatus::Complete, whole))) => {
                prop_assert_eq!(part.len, whole.len);
                prop_assert_eq!(part.status, whole.status);
            }
            (Ok((HeadStatus::Complete, _)), other) => prop_assert!(false, "{:?}", other),
            (Err(_), whole) => prop_assert!(whole.is_err()),
            _ => {}
        }
    }
}
