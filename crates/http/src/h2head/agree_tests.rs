//! What is taken of HTTP/2 reads the same in HTTP/1.

use super::tests::{H2RequestParts, assert_as_parsed};
use super::*;
use crate::chunked::{ChunkItem, ChunkedDecoder};
use crate::framing::{BodyLength, frame_request};
use crate::normalise::NormalRequest;
use crate::request::RequestHead;
use HeadFault::*;
use proptest::prelude::*;

/// Fields that often pass, and now and then one that should not.
fn any_field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let plain = prop::sample::select(vec![
        ("host", "a.example"),
        ("host", "A.EXAMPLE"),
        ("cookie", "a=b"),
        ("cookie", ""),
        ("content-length", "0"),
        ("content-length", "5"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("content_length", "5"),
        ("sec-websocket-key", "x"),
        ("via", "1.1 x"),
    ]);
    let odd = prop::sample::select(vec![
        "connection",
        "upgrade",
        "te",
        "expect",
        "transfer-encoding",
        "Accept",
        "content-length",
    ]);
    prop_oneof![
        12 => plain.prop_map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())),
        8 => ("[a-z_-]{1,12}", "([!-~]([ -~\u{e9}]{0,12}[!-~])?)?")
            .prop_map(|(n, v)| (n.into_bytes(), v.into_bytes())),
        1 => (odd, "[ -~]{0,4}").prop_map(|(n, v)| (n.as_bytes().to_vec(), v.into_bytes())),
        1 => (prop::collection::vec(any::<u8>(), 0..6), prop::collection::vec(any::<u8>(), 0..6)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_accepted_reads_the_same_in_http1(
        (method, protocol) in prop_oneof![
            8 => "GET|POST|OPTIONS|M-SEARCH|TRACE|[!-~]{1,4}".prop_map(|method| (method, None)),
            2 => Just(("CONNECT".to_owned(), Some("websocket".to_owned()))),
            1 => ("[ -~]{0,5}", prop::option::of("websocket|x")),
        ],
        authority in prop_oneof![
            8 => "a\\.example".prop_map(Some), 2 => "[A-Za-z.:@\\[\\]]{0,8}".prop_map(Some),
            1 => "[ -~]{0,8}".prop_map(Some), 2 => Just(None),
        ],
        path in prop_oneof![8 => "/[a-z%./?;=#]{0,10}", 2 => "/[!-~]{0,8}", 1 => "[ -~]{0,8}|\\*"],
        fields in prop::collection::vec(any_field(), 0..8),
        end_stream: bool,
    ) {
        let parts = H2RequestParts {
            method: method.as_bytes(),
            scheme: b"https",
            authority: authority.as_deref().map(str::as_bytes),
            path: Some(path.as_bytes()),
            protocol: protocol.as_deref().map(str::as_bytes),
        };
        let (mut head, mut out) = (RequestHead::new(), Vec::new());
        let pairs = fields.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
        let limits = HeadLimits::default();
        let Ok(framing) = head.read_h2(&mut out, parts.list().chain(pairs.clone()), end_stream, &limits) else {
            return Ok(());
        };
        let parsed = assert_as_parsed(&head, &out);
        let (mut ours, mut theirs) = (NormalRequest::new(), NormalRequest::new());
        prop_assert_eq!(ours.read(&head, &out), theirs.read(&parsed, &out));
        prop_assert_eq!(
            (ours.host(&out), ours.port(), ours.authority(&out), ours.path(&out), ours.target(&out)),
            (theirs.host(&out), theirs.port(), theirs.authority(&out), theirs.path(&out), theirs.target(&out))
        );
        let again = frame_request(&parsed, &out).unwrap();
        prop_assert_eq!(framing.te_trailers, again.te_trailers);
        prop_assert!(!again.upgrade && !again.nominates && again.keep_alive);
        if !framing.upgrade && framing.body != BodyLength::Chunked {
            // Content-Length: 0 with END_STREAM is Empty for us and Fixed(0) for HTTP/1.
            let same = framing.body == again.body
                || (framing.body, again.body) == (BodyLength::Empty, BodyLength::Fixed(0));
            prop_assert!(same, "{:?} {:?}", framing, again);
            prop_assert_eq!(framing.expect_continue, again.expect_continue);
        }
        // Every field is there, but for cookies, Host and the key of a WebSocket; and nothing else is.
        let kept = |id| !matches!(id, HeaderId::Host | HeaderId::Cookie | HeaderId::SecWebsocketKey | HeaderId::Upgrade);
        let sent = pairs.filter(|(name, _)| kept(HeaderId::of(name)));
        let found = head.fields.iter().filter(|field| kept(field.id)).map(|f| (f.name.of(&out), f.value.of(&out)));
        prop_assert!(sent.eq(found));
    }

    #[test]
    fn trailers_are_judged_as_in_chunked_bodies(
        fields in prop::collection::vec(any_field(), 0..8),
    ) {
        let mut lines = b"before".to_vec();
        let pairs = fields.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
        let done = trailer_lines(pairs, &mut lines);
        let mut body = b"0\r\n".to_vec();
        for (name, value) in &fields {
            body.extend_from_slice(&[name, &b": "[..], value, b"\r\n"].concat());
        }
        body.extend_from_slice(b"\r\n");
        let mut decoder = ChunkedDecoder::new();
        let chunked = decoder.step(&body);
        match done {
            Ok(()) => {
                prop_assert_eq!(chunked.unwrap().item, ChunkItem::End);
                prop_assert_eq!(&lines[6..], decoder.trailers());
                let ours = trailer_fields(&lines[6..]).count();
                prop_assert_eq!(ours, lines[6..].iter().filter(|&&b| b == b'\n').count());
            }
            // Only in HTTP/2: names in upper case, white space around values.
            Err(NameUpperCase | ValuePadded) => prop_assert_eq!(&lines, b"before"),
            // These can make lines of their own in the chunked form.
            Err(ValueByte | NameByte) => prop_assert_eq!(&lines, b"before"),
            Err(_) => {
                prop_assert!(chunked.is_err());
                prop_assert_eq!(&lines, b"before");
            }
        }
    }
}
