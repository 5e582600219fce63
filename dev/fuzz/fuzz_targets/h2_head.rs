//! Heads of HTTP/2: no panic, and what is taken reads the same as a head of HTTP/1. The input is lines: method, scheme,
//! authority, path, protocol (`-` for none), then pairs of name and value, each ended by 0xff so that every byte that
//! HPACK can bring may stand in them.
#![no_main]

use keel_fuzz::pairs;
use keel_http::{
    BodyLength, ChunkItem, ChunkedDecoder, HeadLimits, HeadStatus, HeaderId, Method, NormalRequest,
    RequestHead, ResponseHead, frame_request, frame_response, h2_fields, trailer_fields,
    trailer_lines,
};
use libfuzzer_sys::fuzz_target;

type Pair<'a> = (&'a [u8], &'a [u8]);

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else {
        return;
    };
    let end_stream = first & 1 != 0;
    let mut parts = data.split(|&b| b == 0xff);
    let mut list: Vec<Pair<'_>> = Vec::new();
    for name in [":method", ":scheme", ":authority", ":path", ":protocol"] {
        let told = parts.next().filter(|part| *part != b"-");
        list.extend(told.map(|value| (name.as_bytes(), value)));
    }
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        fields.push((name, value));
    }
    list.extend(&fields);
    request(&list, end_stream);
    let status = (90 + u16::from(first >> 1) * 5).to_string();
    for method in [Method::Get, Method::Head, Method::Connect] {
        answer(&status, &fields, end_stream, method);
    }
    trailers(&fields);
});

fn request(list: &[Pair<'_>], end_stream: bool) {
    let limits = HeadLimits::default();
    let (mut head, mut out) = (RequestHead::new(), Vec::new());
    let list = list.iter().copied();
    let framing = match head.read_h2(&mut out, list, end_stream, &limits) {
        Ok(framing) => framing,
        Err(fault) => {
            assert!((400..=505).contains(&fault.status()) && !fault.to_string().is_empty());
            return assert!(out.is_empty() && head.fields.is_empty());
        }
    };
    assert_eq!(head.len, out.len());
    let mut parsed = RequestHead::new();
    assert_eq!(parsed.parse(&out, &limits), Ok(HeadStatus::Complete));
    assert_eq!(
        (
            parsed.len,
            parsed.line_end,
            parsed.method,
            parsed.method_span,
            parsed.target
        ),
        (
            head.len,
            head.line_end,
            head.method,
            head.method_span,
            head.target
        )
    );
    assert!(parsed.fields.iter().eq(head.fields.iter()));
    let again = frame_request(&parsed, &out).expect("what is taken frames in HTTP/1");
    assert_eq!(again.te_trailers, framing.te_trailers);
    assert_eq!(framing.upgrade, head.extended_connect);
    match framing.body {
        BodyLength::Fixed(_) => assert_eq!(again.body, framing.body),
        _ => assert!(matches!(
            again.body,
            BodyLength::Empty | BodyLength::Fixed(0)
        )),
    }
    let (mut ours, mut theirs) = (NormalRequest::new(), NormalRequest::new());
    assert_eq!(ours.read(&head, &out), theirs.read(&parsed, &out));
    assert_eq!(
        (
            ours.host(&out),
            ours.authority(&out),
            ours.path(&out),
            ours.target(&out)
        ),
        (
            theirs.host(&out),
            theirs.authority(&out),
            theirs.path(&out),
            theirs.target(&out)
        )
    );
    let kept = |id: HeaderId| id != HeaderId::Host && id != HeaderId::Upgrade;
    let written = head.fields.iter().filter(|field| kept(field.id));
    assert!(
        written
            .map(|f| (f.name.of(&out), f.value.of(&out)))
            .eq(h2_fields(&out))
    );
}

fn answer(status: &str, fields: &[Pair<'_>], end_stream: bool, method: Method) {
    let limits = HeadLimits::default();
    let (mut head, mut out) = (ResponseHead::new(), Vec::new());
    let status = (&b":status"[..], status.as_bytes());
    let list = std::iter::once(status).chain(fields.iter().copied());
    let Ok(framing) = head.read_h2(&mut out, list, end_stream, method, &limits) else {
        return assert!(out.is_empty() && head.fields.is_empty());
    };
    let mut parsed = ResponseHead::new();
    assert_eq!(parsed.parse(&out, &limits), Ok(HeadStatus::Complete));
    assert_eq!((parsed.status, parsed.len), (head.status, head.len));
    assert!(parsed.fields.iter().eq(head.fields.iter()));
    if !framing.switching {
        let again = frame_response(&parsed, &out, method, false).expect("frames in HTTP/1");
        assert_eq!(again.declared_length, framing.declared_length);
    }
    assert_eq!(
        pairs(&head.fields, &out)
            .filter(|(name, _)| HeaderId::of(name) != HeaderId::Host)
            .count(),
        h2_fields(&out).count() + usize::from(framing.switching)
    );
}

fn trailers(fields: &[Pair<'_>]) {
    let mut lines = Vec::new();
    if trailer_lines(fields.iter().copied(), &mut lines).is_err() {
        return assert!(lines.is_empty());
    }
    let mut decoder = ChunkedDecoder::new();
    let step = decoder.step(&[b"0\r\n", &lines[..], b"\r\n"].concat());
    assert_eq!(step.map(|step| step.item), Ok(ChunkItem::End));
    assert_eq!(decoder.trailers(), lines);
    assert!(trailer_fields(&lines).count() <= fields.len());
}
