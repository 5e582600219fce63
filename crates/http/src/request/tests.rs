//! Heads of requests: what is taken, what is refused, by which name, and that the cut of the input does not matter.

use super::*;
use crate::scan::HeadScan;
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Result<(HeadStatus, RequestHead), HeadFault> {
    let mut head = RequestHead::new();
    let status = head.parse(bytes, &HeadLimits::default())?;
    Ok((status, head))
}

fn fault(bytes: &[u8]) -> HeadFault {
    match parse(bytes) {
        Err(fault) => fault,
        Ok((status, _)) => panic!("{status:?}: {}", bytes.escape_ascii()),
    }
}

#[test]
fn a_whole_head() {
    let buf =
        b"\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\nX-A:\t one two \t\r\nempty:\r\nE2: \t \r\n\r\nBODY";
    let (status, head) = parse(buf).unwrap();
    assert_eq!(status, HeadStatus::Complete);
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.method_span.of(buf), b"POST");
    assert_eq!(head.target.of(buf), b"/a?b");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(buf.get(head.len..), Some(&b"BODY"[..]));
    assert!(buf[head.line_end as usize..].starts_with(b"Host: x"));
    let lines: Vec<(&[u8], &[u8], &[u8])> = head
        .fields
        .iter()
        .map(|f| {
            let line = &buf[f.name.start as usize..f.line_end as usize];
            (f.name.of(buf), f.value.of(buf), line)
        })
        .collect();
    assert_eq!(
        lines,
        [
            (&b"Host"[..], &b"x"[..], &b"Host: x\r\n"[..]),
            (b"X-A", b"one two", b"X-A:\t one two \t\r\n"),
            (b"empty", b"", b"empty:\r\n"),
            (b"E2", b"", b"E2: \t \r\n"),
        ]
    );
}

#[test]
fn sound_heads() {
    for head in [
        "GET / HTTP/1.0\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\n\r\n",
        "get / HTTP/1.1\r\n\r\n",
        "-bl / HTTP/1.1\r\n\r\n",
        "M-SEARCH * HTTP/1.1\r\n\r\n",
        "!#$%&'*+-.^_`|~09az / HTTP/1.1\r\n\r\n",
        "GET /with_\"quotes\"?a=b|c HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nX.Custom|Pipe: ok\r\n\r\n",
        "GET / HTTP/1.1\r\na:++++\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \u{e9}\u{1f600}\r\n\r\n",
        "GET / HTTP/1.1\r\nA: a:b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nA: a\tb\r\n\r\n",
    ] {
        let (status, parsed) = parse(head.as_bytes()).unwrap();
        assert_eq!(
            (status, parsed.len),
            (HeadStatus::Complete, head.len()),
            "{head:?}"
        );
    }
    assert_eq!(
        parse(b"GET / HTTP/1.1\r\nA: \xff\x80\r\n\r\n").unwrap().0,
        HeadStatus::Complete
    );
}

#[test]
fn request_lines_that_are_refused() {
    use HeadFault::*;
    for (line, name, status) in [
        ("GET  / HTTP/1.1\r\n", RequestLine, 400),
        ("GET /  HTTP/1.1\r\n", RequestLine, 400),
        ("GET / HTTP/1.1 \r\n", RequestLine, 400),
        ("GET\t/ HTTP/1.1\r\n", RequestLine, 400),
        ("GET /\tHTTP/1.1\r\n", RequestLine, 400),
        (" GET / HTTP/1.1\r\n", RequestLine, 400),
        ("GET HTTP/1.1\r\n", RequestLine, 400),
        ("GET\r\n", RequestLine, 400),
        ("GET /\r\n", RequestLine, 400),
        ("GET /pa th HTTP/1.1\r\n", RequestLine, 400),
        ("GET /foo bar/ HTTP/1.1\r\n", RequestLine, 400),
        ("GET / HTTP/ 1.1\r\n", VersionMalformed, 400),
        ("GET / HTTP/1\r\n", VersionMalformed, 400),
        ("GET / HTTP/1.\r\n", VersionMalformed, 400),
        ("GET / HTTP/1.1x\r\n", VersionMalformed, 400),
        ("GET / HTTP/1.10\r\n", VersionMalformed, 400),
        ("GET / HTTP/01.1\r\n", VersionMalformed, 400),
        ("GET / http/1.1\r\n", VersionMalformed, 400),
        ("GET / HTTP/0.9\r\n", VersionMalformed, 400),
        ("GET / FTP/1.1\r\n", VersionMalformed, 400),
        ("GET / IHTTP/1.0\r\n", VersionMalformed, 400),
        ("GET / ICE/1.0\r\n", VersionMalformed, 400),
        ("GET / HTTP/1,1\r\n", VersionMalformed, 400),
        ("GET / HTTP/1.2\r\n", VersionUnsupported, 505),
        ("GET / HTTP/2.0\r\n", VersionUnsupported, 505),
        ("PRI * HTTP/2.0\r\n", VersionUnsupported, 505),
        ("GET / HTTP/9.9\r\n", VersionUnsupported, 505),
        ("GET / HTTP/111\r\n", VersionMalformed, 400),
        ("bla:rgh / HTTP/1.1\r\n", MethodByte, 400),
        ("GET: / HTTP/1.1\r\n", MethodByte, 400),
        ("GET\0 / HTTP/1.1\r\n", MethodByte, 400),
        ("GET\u{df} / HTTP/1.1\r\n", MethodByte, 400),
        (": / HTTP/1.1\r\n", MethodByte, 400),
        ("GET /\0 HTTP/1.1\r\n", TargetByte, 400),
        ("GET /\x7f HTTP/1.1\r\n", TargetByte, 400),
        ("GET / HTTP/1.1\n", BareLf, 400),
        ("GET / HTTP/1.1\r", BareCr, 400),
        ("GET\n/\nHTTP/1.1\r\n", BareLf, 400),
        ("GET / HTTP/1.1\r\r\n", BareCr, 400),
        ("\nGET / HTTP/1.1\r\n", BareLf, 400),
        ("\rGET / HTTP/1.1\r\n", BareCr, 400),
        ("\r\n\r\nGET / HTTP/1.1\r\n", LeadingBlankLines, 400),
        ("\r\n\nGET / HTTP/1.1\r\n", LeadingBlankLines, 400),
        ("\r\n GET / HTTP/1.1\r\n", RequestLine, 400),
    ] {
        let fault = fault(format!("{line}Host: a\r\n\r\n").as_bytes());
        assert_eq!((fault, fault.status()), (name, status), "{line:?}");
    }
}

#[test]
fn field_lines_that_are_refused() {
    use HeadFault::*;
    for (lines, name) in [
        ("Host: a\nX: b\r\n", BareLf),
        ("Host: a\r\nX: b\n", BareLf),
        ("x:\nTransfer-Encoding: chunked\r\n", BareLf),
        ("Host: a\r\n\n", BareLf),
        ("X: 1\rY: 2\r\n", BareCr),
        ("X: 1\r\rY: 2\r\n", BareCr),
        ("x:\rTransfer-Encoding: chunked\r\n", BareCr),
        ("\rZGET /evil HTTP/1.1\r\n", BareCr),
        ("X: a\r\n b\r\n", ObsFold),
        ("X: a\r\n\tb\r\n", ObsFold),
        ("X: a\r\n \r\n", ObsFold),
        ("X: a\r\n : b\r\n", ObsFold),
        (" X: a\r\n", SpaceBeforeFields),
        (" \r\nX: a\r\n", SpaceBeforeFields),
        ("X : a\r\n", SpaceBeforeColon),
        ("X\t: a\r\n", SpaceBeforeColon),
        ("Content-Length : 5\r\n", SpaceBeforeColon),
        ("NoColon\r\n", NoColon),
        ("No Colon\r\n", NoColon),
        (": a\r\n", EmptyName),
        ("a b: c\r\n", NameByte),
        ("Content\tLength: 9\r\n", NameByte),
        ("Fo@: a\r\n", NameByte),
        ("Bad[Name: a\r\n", NameByte),
        ("\"X\": a\r\n", NameByte),
        ("X(y): a\r\n", NameByte),
        ("ba\0z: a\r\n", NameByte),
        ("X\x01: a\r\n", NameByte),
        ("X-T\u{eb}st: a\r\n", NameByte),
        ("Content-Length\u{ff}: 3\r\n", NameByte),
        ("X: a\0b\r\n", ValueByte),
        ("X: a\x07b\r\n", ValueByte),
        ("X: a\x0bb\r\n", ValueByte),
        ("X: \x0c\r\n", ValueByte),
        ("X: a\x7f\r\n", ValueByte),
        ("Transfer-Encoding: \x0bchunked\r\n", ValueByte),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        assert_eq!(fault(bytes.as_bytes()), name, "{lines:?}");
        // The same fault however the head goes on, and when it comes after sound fields.
        let bytes = format!("GET / HTTP/1.1\r\nA: b\r\n{lines}C: d\r\n\r\n");
        let later = fault(bytes.as_bytes());
        assert!(
            later == name || name == SpaceBeforeFields && later == ObsFold,
            "{lines:?}: {later:?}"
        );
    }
}

#[test]
fn limits() {
    let limits = HeadLimits {
        head_bytes_max: 200,
        fields_max: 3,
        target_bytes_max: 20,
    };
    let try_parse = |text: &str| RequestHead::new().parse(text.as_bytes(), &limits);
    let target = |n: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(n - 1));
    assert_eq!(
        try_parse(&format!("{}\r\n", target(20))),
        Ok(HeadStatus::Complete)
    );
    assert_eq!(
        try_parse(&format!("{}\r\n", target(21))),
        Err(HeadFault::TargetTooLong)
    );
    assert_eq!(
        try_parse(&target(21)[..26]),
        Err(HeadFault::TargetTooLong),
        "before it is whole"
    );
    assert_eq!(try_parse(&target(20)[..24]), Ok(HeadStatus::Partial));
    let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
    assert_eq!(try_parse(&fields(3)), Ok(HeadStatus::Complete));
    assert_eq!(try_parse(&fields(4)), Err(HeadFault::TooManyFields));
    let head = |n: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(n - 23));
    assert_eq!(try_parse(&head(200)), Ok(HeadStatus::Complete));
    assert_eq!(try_parse(&head(201)), Err(HeadFault::HeadTooLong));
    assert_eq!(try_parse(&head(300)[..199]), Ok(HeadStatus::Partial));
    assert_eq!(try_parse(&head(300)[..200]), Err(HeadFault::HeadTooLong));
    let method = "M".repeat(METHOD_BYTES_MAX);
    assert_eq!(
        try_parse(&format!("{method} / HTTP/1.1\r\n\r\n")),
        Ok(HeadStatus::Complete)
    );
    assert_eq!(
        try_parse(&format!("{method}M / HTTP/1.1\r\n\r\n")),
        Err(HeadFault::MethodTooLong)
    );
    assert_eq!(
        try_parse(&format!("{method}M")),
        Err(HeadFault::MethodTooLong)
    );
    assert_eq!(HeadFault::MethodTooLong.status(), 400);
    assert_eq!(HeadFault::TargetTooLong.status(), 414);
    assert_eq!(HeadFault::TooManyFields.status(), 431);
    assert_eq!(HeadFault::HeadTooLong.status(), 431);
}

/// Found by fuzzing: a long method was refused in drips and waited for when it came at once with part of a head.
#[test]
fn a_long_method_is_refused_before_the_head_is_whole() {
    let method = "M".repeat(METHOD_BYTES_MAX + 1);
    for rest in ["", " ", " /", " / HTTP/1.1\r\n", " / HTTP/1.1\r\nA: b\n"] {
        let bytes = format!("{method}{rest}");
        assert_eq!(
            fault(bytes.as_bytes()),
            HeadFault::MethodTooLong,
            "{rest:?}"
        );
    }
}

#[test]
fn the_ceiling_of_fields_holds_whatever_is_configured() {
    let limits = HeadLimits {
        fields_max: 100_000,
        ..HeadLimits::default()
    };
    let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
    let mut head = RequestHead::new();
    assert_eq!(
        head.parse(fields(256).as_bytes(), &limits),
        Ok(HeadStatus::Complete)
    );
    assert_eq!(head.fields.len(), 256);
    let too_many = head.parse(fields(257).as_bytes(), &limits);
    assert_eq!(too_many, Err(HeadFault::TooManyFields));
}

#[test]
fn reuse_forgets_the_last_head_and_keeps_the_memory() {
    let mut head = RequestHead::new();
    let long = format!(
        "GET /a HTTP/1.0\r\nHost: x\r\n{}\r\n",
        "Te: b\r\n".repeat(30)
    );
    head.parse(long.as_bytes(), &HeadLimits::default()).unwrap();
    assert!(head.fields.is_repeated(HeaderId::Te));
    let short = b"PUT / HTTP/1.1\r\nA: b\r\n\r\n";
    head.parse(short, &HeadLimits::default()).unwrap();
    assert_eq!(
        (head.method, head.version, head.fields.len()),
        (Method::Put, Version::Http11, 1)
    );
    assert!(!head.fields.contains(HeaderId::Host) && !head.fields.is_repeated(HeaderId::Te));
    assert_eq!(
        head.parse(b"X", &HeadLimits::default()),
        Ok(HeadStatus::Partial)
    );
    assert!(head.fields.is_empty() && head.len == 0);
}

/// What a connection would do: offer ever more bytes, parse when the scanner says so.
fn parse_in_pieces(
    bytes: &[u8],
    cuts: &[usize],
) -> (Result<HeadStatus, HeadFault>, RequestHead, usize) {
    let (mut scan, mut head, mut tries) = (HeadScan::new(), RequestHead::new(), 0);
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    for cut in cuts {
        if scan.ready(&bytes[..cut]) {
            tries += 1;
            match head.parse(&bytes[..cut], &HeadLimits::default()) {
                Ok(HeadStatus::Partial) => {}
                done => return (done, head, tries),
            }
        }
    }
    (Ok(HeadStatus::Partial), head, tries)
}

const PIECES: &str = "(GET|POST|get|\u{e9}|\0)( |  |\t)(/|/a|\\*|http://a/)( |\t|)(HTTP/1\\.[012]|HTTP/2\\.0|)\
    (\r\n|\n|\r)((Host|Content-Length|A b| X|x:|)(: |:| :)(a|5|\u{e9}|\x01|)(\r\n|\n|\r\n |\r)){0,4}(\r\n|\n|)(rest|)";

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn the_cut_of_the_input_does_not_matter(
        text in PIECES,
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let bytes = text.as_bytes();
        let (cut_status, cut_head, _) = parse_in_pieces(bytes, &cuts);
        match parse(bytes) {
            Ok((HeadStatus::Complete, whole)) => {
                prop_assert_eq!(cut_status, Ok(HeadStatus::Complete));
                prop_assert_eq!(cut_head.len, whole.len);
                prop_assert!(cut_head.fields.iter().eq(whole.fields.iter()));
                prop_assert_eq!(cut_head.target, whole.target);
            }
            // A fault of the whole is a fault or not yet seen in the parts; the whole is never taken.
            Err(_) => prop_assert_ne!(cut_status, Ok(HeadStatus::Complete)),
            Ok((HeadStatus::Partial, _)) => prop_assert_eq!(cut_status, Ok(HeadStatus::Partial)),
        }
    }

    /// What is taken follows the grammar to the letter: written anew from its parts it is the same head, but for the
    /// white space around values.
    #[test]
    fn what_is_taken_can_be_written_anew(text in PIECES) {
        let bytes = text.as_bytes();
        if let Ok((HeadStatus::Complete, head)) = parse(bytes) {
            let mut anew = Vec::new();
            for part in [head.method_span.of(bytes), b" ", head.target.of(bytes), b" ",
                head.version.as_str().as_bytes(), b"\r\n"] {
                anew.extend_from_slice(part);
            }
            prop_assert!(bytes.starts_with(&anew) || bytes[2..].starts_with(&anew));
            for field in &head.fields {
                prop_assert!(crate::syntax::is_token(field.name.of(bytes)));
                prop_assert!(field.value.of(bytes).iter().all(|&b| crate::syntax::is_value_byte(b)));
                prop_assert_eq!(bytes.get(field.name.end as usize), Some(&b':'));
            }
            prop_assert!(bytes[..head.len].ends_with(b"\r\n\r\n"));
        }
    }
}
