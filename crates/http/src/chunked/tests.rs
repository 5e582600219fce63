//! Chunked bodies, sound and not, in any cut.

use super::*;
use proptest::prelude::*;

/// Data, bytes used up, trailers; `None` when the body has not ended.
type Decoded = Result<Option<(Vec<u8>, usize, Vec<u8>)>, BodyFault>;

/// Decodes `input`, offered in pieces of these sizes (then the rest).
fn decode_in(input: &[u8], pieces: &[usize], limits: ChunkLimits) -> Decoded {
    let mut decoder = ChunkedDecoder::with_limits(limits);
    let (mut data, mut from, mut have) = (Vec::new(), 0, 0usize);
    for piece in pieces.iter().copied().chain([usize::MAX]) {
        have = have.saturating_add(piece).min(input.len());
        loop {
            let window = &input[from..have];
            let step = decoder.step(window)?;
            assert!(step.consumed <= window.len());
            from += step.consumed;
            match step.item {
                ChunkItem::Data(range) => {
                    assert!(!range.is_empty() && range.end <= step.consumed);
                    data.extend_from_slice(&window[range]);
                }
                ChunkItem::More => {
                    assert_eq!(from, have, "all input is used up");
                    break;
                }
                ChunkItem::End => {
                    assert!(decoder.is_done());
                    return Ok(Some((data, from, decoder.trailers().to_vec())));
                }
            }
        }
    }
    Ok(None)
}

fn decode(input: &str) -> Decoded {
    decode_in(input.as_bytes(), &[], ChunkLimits::default())
}

#[test]
fn sound_bodies() {
    for (input, data, trailers) in [
        ("0\r\n\r\n", "", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        (
            "5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n",
            "hello world",
            "",
        ),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
        ("a\r\n01234\r\n789\r\n0\r\n\r\n", "01234\r\n789", ""),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5;ext=value\r\nhello\r\n0;a\r\n\r\n", "hello", ""),
        (
            "5; some; parameters=stuff\r\nhello\r\n0\r\n\r\n",
            "hello",
            "",
        ),
        ("5;\t a=\"b ;\\\"c\";d\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5;a=\"\"\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("0\r\nX-Checksum: abc\r\n\r\n", "", "X-Checksum: abc\r\n"),
        ("0\r\nA:\t b  c \r\nB:\r\n\r\n", "", "A: b  c\r\nB: \r\n"),
        (
            "0\r\nVary: *\r\nContent-Type: text/plain\r\nETag: \"x\"\r\n\r\n",
            "",
            "ETag: \"x\"\r\n",
        ),
        ("0\r\nA: \u{e9}\r\n\r\n", "", "A: \u{e9}\r\n"),
    ] {
        let expected = (
            data.as_bytes().to_vec(),
            input.len(),
            trailers.as_bytes().to_vec(),
        );
        assert_eq!(decode(input), Ok(Some(expected.clone())), "{input:?}");
        let more = format!("{input}GET / HTTP/1.1");
        assert_eq!(
            decode(&more),
            Ok(Some(expected)),
            "what follows is left alone"
        );
    }
}

#[test]
fn unfinished_bodies() {
    let whole = "5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n";
    for cut in 0..whole.len() {
        assert_eq!(decode(&whole[..cut]), Ok(None), "{cut}");
    }
}

#[test]
fn refused_bodies() {
    use BodyFault::*;
    for (input, fault) in [
        ("\r\n", ChunkSizeByte),
        ("\n", LineEnd),
        ("x\r\n", ChunkSizeByte),
        (" 5\r\n", ChunkSizeByte),
        ("5 \r\n", ChunkSizeByte),
        ("5\t\r\n", ChunkSizeByte),
        ("5 ;a\r\n", ChunkSizeByte),
        ("+5\r\n", ChunkSizeByte),
        ("-5\r\n", ChunkSizeByte),
        ("0x5\r\n", ChunkSizeByte),
        ("5_0\r\n", ChunkSizeByte),
        ("5.0\r\n", ChunkSizeByte),
        (";a=b\r\n", ChunkSizeByte),
        ("5\0\r\n", ChunkSizeByte),
        ("\u{ff15}\r\n", ChunkSizeByte),
        ("5\nhello", LineEnd),
        ("5\rhello", LineEnd),
        ("5\r\r\n", LineEnd),
        ("00000000000000005\r\n", ChunkSizeTooLong),
        ("FFFFFFFFFFFFFFFF0\r\n", ChunkSizeTooLong),
        ("5;\r\nhello", ExtensionMalformed),
        ("5; \r\nhello", ExtensionMalformed),
        ("5;;a\r\nhello", ExtensionMalformed),
        ("5;a=\r\nhello", ExtensionMalformed),
        ("5;=a\r\nhello", ExtensionMalformed),
        ("5;a b\r\nhello", ExtensionMalformed),
        ("5;a =b\r\nhello", ExtensionMalformed),
        ("5;a= b\r\nhello", ExtensionMalformed),
        ("5;a=b \r\nhello", ExtensionMalformed),
        ("5;a=\"b\"c\r\nhello", ExtensionMalformed),
        ("5;a=\"b\r\nhello", ExtensionMalformed),
        ("5;a=\"b\\\r\nhello", ExtensionMalformed),
        ("5;a\x01\r\nhello", ExtensionMalformed),
        ("5;a=\"\x07\"\r\nhello", ExtensionMalformed),
        ("5;\u{e9}\r\nhello", ExtensionMalformed),
        ("5;a\nhello", LineEnd),
        ("5;a=\"b\nhello", LineEnd),
        ("5;ext=val\rue\r\nhello", LineEnd),
        ("5\r\nhelloX", ChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", ChunkEnd),
        ("5\r\nhello\rX", ChunkEnd),
        ("5\r\nhello world\r\n", ChunkEnd),
        ("5\r\nABCDE0\r\n\r\n", ChunkEnd),
        ("0\r\n\n", LineEnd),
        ("0\r\n\rX", LineEnd),
        ("0\r\nA: b\n\r\n", LineEnd),
        ("0\r\nA: b\rC: d\r\n", LineEnd),
        ("0\r\nA\r\n", TrailerMalformed),
        ("0\r\n: b\r\n", TrailerMalformed),
        ("0\r\nA : b\r\n", TrailerMalformed),
        ("0\r\nA b: c\r\n", TrailerMalformed),
        ("0\r\n A: b\r\n", TrailerMalformed),
        ("0\r\nA: b\r\n c\r\n", TrailerMalformed),
        ("0\r\nA: \0\r\n", TrailerMalformed),
        ("0\r\nA\u{e9}: b\r\n", TrailerMalformed),
    ] {
        assert_eq!(decode(input), Err(fault), "{input:?}");
    }
}

#[test]
fn trailers_that_belong_in_a_head() {
    for name in [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Trailer",
        "TE",
        "Upgrade",
        "Expect",
        "Authorization",
        "Proxy-Authorization",
        "WWW-Authenticate",
        "Cookie",
        "Set-Cookie",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Real-IP",
        "Max-Forwards",
        "Keep-Alive",
        "Content_Length",
        "X-Request-ID",
    ] {
        let body = format!("0\r\nA: b\r\n{name}: 5\r\n\r\n");
        assert_eq!(decode(&body), Err(BodyFault::TrailerForbidden), "{name}");
    }
}

#[test]
fn limits() {
    let limits = ChunkLimits {
        extension_bytes_max: 8,
        trailer_bytes_max: 16,
        trailer_fields_max: 2,
    };
    let run = |text: &str| decode_in(text.as_bytes(), &[], limits).map(|_| ());
    assert_eq!(run("1;a=b\r\nx\r\n1;c=d\r\nx\r\n0\r\n\r\n"), Ok(()));
    assert_eq!(
        run("1;a=b\r\nx\r\n1;c=de\r\n"),
        Err(BodyFault::ExtensionsTooLong),
        "over the whole body"
    );
    assert_eq!(run("0\r\nA:b\r\nB:c\r\n\r\n"), Ok(()));
    assert_eq!(
        run("0\r\nA:\r\nB:\r\nC:\r\n\r\n"),
        Err(BodyFault::TooManyTrailers)
    );
    assert_eq!(
        run("0\r\nAAAAAAAAAAAAAAAAAAAA"),
        Err(BodyFault::TrailersTooLong)
    );
    let defaults = ChunkLimits::default();
    let extension = format!("5;ext={}\r\n", "a".repeat(defaults.extension_bytes_max));
    assert_eq!(decode(&extension), Err(BodyFault::ExtensionsTooLong));
}

#[test]
fn a_fault_stays_and_reset_forgets_it() {
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(decoder.step(b"x"), Err(BodyFault::ChunkSizeByte));
    assert_eq!(decoder.step(b"0\r\n\r\n"), Err(BodyFault::ChunkSizeByte));
    decoder.reset();
    let end = ChunkStep {
        consumed: 11,
        item: ChunkItem::End,
    };
    assert_eq!(decoder.step(b"0\r\nA: b\r\n\r\nX"), Ok(end));
    assert_eq!(decoder.trailers(), b"A: b\r\n");
    assert_eq!(
        decoder.step(b"more"),
        Ok(ChunkStep {
            consumed: 0,
            item: ChunkItem::End
        })
    );
    decoder.reset();
    assert!(decoder.trailers().is_empty() && !decoder.is_done());
}

#[test]
fn a_chunk_of_any_size_begins() {
    let mut decoder = ChunkedDecoder::new();
    let step = decoder.step(b"FFFFFFFFFFFFFFFF\r\nabc").unwrap();
    assert_eq!(
        step,
        ChunkStep {
            consumed: 21,
            item: ChunkItem::Data(18..21)
        }
    );
}

#[test]
fn sizes_are_written_in_hexadecimal() {
    for len in [0, 1, 9, 10, 15, 16, 255, 4096, 65535, 0x1a2b, usize::MAX] {
        let mut out = b"x".to_vec();
        write_chunk_size(&mut out, len);
        assert_eq!(out, format!("x{len:x}\r\n").into_bytes());
    }
}

proptest! {
    #[test]
    fn the_cut_of_the_input_does_not_matter(
        chunks in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..40), "(;a|; b=c|;d=\"e f\"|)"), 0..6),
        trailers in "(A: b\r\n|Etag:x\r\n|Age: 1\r\n){0,3}",
        damage in proptest::option::of((any::<usize>(), any::<u8>())),
        pieces in proptest::collection::vec(0usize..20, 0..20),
    ) {
        let mut body = Vec::new();
        let mut sent = Vec::new();
        for (data, extension) in &chunks {
            body.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
            sent.extend_from_slice(data);
        }
        body.extend_from_slice(format!("0\r\n{trailers}\r\nNEXT").as_bytes());
        if let Some((at, byte)) = damage {
            let at = at % body.len();
            body[at] = byte;
        }
        let whole = decode_in(&body, &[], ChunkLimits::default());
        let cut = decode_in(&body, &pieces, ChunkLimits::default());
        prop_assert_eq!(&whole, &cut);
        if damage.is_none() {
            let (data, end, _) = whole.unwrap().expect("the body is whole");
            prop_assert_eq!(data, sent);
            prop_assert_eq!(end, body.len() - 4);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode_in(&bytes, &[1; 100], ChunkLimits::default());
    }
}
