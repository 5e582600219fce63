//! The parser against what real clients send, each kind of fault, and any bytes.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = HELLO_BYTES_MAX;

/// What real programs sent on loopback: name, bytes.
const CAPTURED: [(&str, &[u8]); 6] = [
    (
        "openssl",
        include_bytes!("../../tests/hellos/openssl-3.0.bin"),
    ),
    (
        "openssl psk",
        include_bytes!("../../tests/hellos/openssl-3.0-psk.bin"),
    ),
    (
        "openssl tls12",
        include_bytes!("../../tests/hellos/openssl-3.0-tls12.bin"),
    ),
    ("curl", include_bytes!("../../tests/hellos/curl-7.88.bin")),
    ("node", include_bytes!("../../tests/hellos/node.bin")),
    (
        "chromium",
        include_bytes!("../../tests/hellos/chromium.bin"),
    ),
];

fn captured(name: &str) -> &'static [u8] {
    CAPTURED.iter().find(|(found, _)| *found == name).unwrap().1
}

fn whole(bytes: &[u8]) -> ClientHello {
    match ClientHello::parse(bytes, LIMIT) {
        Ok(Parsed::Complete(hello, len)) => {
            assert_eq!(len, bytes.len());
            *hello
        }
        other => panic!("{other:?}"),
    }
}

/// The same message in records of `size` bytes.
fn fragmented(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes[RECORD_HEADER..].chunks(size) {
        out.extend_from_slice(&[22, 3, 3]);
        out.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}

/// A message of a TLS 1.2 client with these extensions.
fn message(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (kind, body) in extensions {
        block.extend_from_slice(&kind.to_be_bytes());
        block.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        block.extend_from_slice(body);
    }
    let mut body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    body.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&block);
    wrap(1, &body)
}

fn wrap(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    let record = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &record, &[kind], &len[1..], body].concat()
}

#[test]
fn what_openssl_sends() {
    let hello = whole(captured("openssl"));
    assert_eq!(hello.legacy_version, 0x0303);
    assert_eq!(hello.versions, [0x0304, 0x0303, 0x0302, 0x0301]);
    assert_eq!(hello.version_max(), 0x0304);
    assert_eq!(hello.server_name.as_deref(), Some("www.example.com"));
    assert!(hello.alpn().eq([&b"h2"[..], b"http/1.1"]));
    assert_eq!(hello.cipher_suites[..3], [0x1302, 0x1303, 0x1301]);
    assert_eq!(hello.cipher_suites.len(), 31);
    assert_eq!(
        hello.extensions,
        [0, 11, 10, 35, 16, 22, 23, 13, 43, 45, 51]
    );
    assert_eq!(hello.groups[..2], [0x001d, 0x0017]);
    assert_eq!(hello.signature_algorithms[..2], [0x0403, 0x0503]);
    assert_eq!(hello.session_id_len, 32);
    assert!(!hello.ticket && !hello.psk && !hello.early_data);
}

#[test]
fn what_others_send() {
    let psk = whole(captured("openssl psk"));
    assert!(psk.psk && !psk.ticket);
    let old = whole(captured("openssl tls12"));
    assert_eq!((old.versions.len(), old.version_max()), (0, 0x0303));
    assert_eq!((old.server_name.as_deref(), old.alpn().count()), (None, 0));
    assert_eq!(old.session_id_len, 0);
    let curl = whole(captured("curl"));
    assert_eq!(curl.server_name.as_deref(), Some("site.example.com"));
    assert!(curl.extensions.contains(&21), "padding");
    let node = whole(captured("node"));
    assert!(node.alpn().eq([b"http/1.1"]));
    let chromium = whole(captured("chromium"));
    assert!(is_grease(chromium.cipher_suites[0]) && is_grease(chromium.extensions[0]));
    assert!(is_grease(*chromium.versions.first().unwrap()));
    assert_eq!(chromium.version_max(), 0x0304);
    assert!(chromium.groups.contains(&0x11ec), "X25519MLKEM768");
}

#[test]
fn every_truncation_is_partial_and_every_fragmentation_is_the_same() {
    for (name, bytes) in CAPTURED {
        let expected = whole(bytes);
        for cut in 0..bytes.len() {
            assert_eq!(
                ClientHello::parse(&bytes[..cut], LIMIT),
                Ok(Parsed::Partial),
                "{name} {cut}"
            );
        }
        for size in [1, 2, 3, 4, 5, 100, 251] {
            let pieces = fragmented(bytes, size);
            assert_eq!(whole(&pieces), expected, "{name} in {size}");
            for cut in 0..pieces.len() {
                let parsed = ClientHello::parse(&pieces[..cut], LIMIT);
                assert_eq!(parsed, Ok(Parsed::Partial), "{name} {size} {cut}");
            }
        }
    }
}

#[test]
fn what_follows_in_another_record_is_not_looked_at() {
    let bytes = [captured("curl"), b"\x14\x03\x03\x00\x01\x01"].concat();
    let parsed = ClientHello::parse(&bytes, LIMIT).unwrap();
    assert!(matches!(parsed, Parsed::Complete(_, 517)));
    // A limit that is exactly enough.
    assert!(matches!(
        ClientHello::parse(&bytes, 517),
        Ok(Parsed::Complete(_, 517))
    ));
}

#[test]
fn over_the_limit_is_said_as_soon_as_it_is_known() {
    let bytes = captured("openssl");
    let fault = Err(HelloFault::TooLarge { limit: 338 });
    assert_eq!(ClientHello::parse(&bytes[..8], 338), Ok(Parsed::Partial));
    assert_eq!(ClientHello::parse(&bytes[..9], 338), fault);
    // In small records the headers count too.
    let small = fragmented(bytes, 1);
    assert_eq!(
        ClientHello::parse(&small, 400),
        Err(HelloFault::TooLarge { limit: 400 })
    );
    assert_eq!(
        ClientHello::parse(&small[..400], 400),
        Err(HelloFault::TooLarge { limit: 400 })
    );
    assert_eq!(
        ClientHello::parse(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", LIMIT),
        Err(HelloFault::TooLarge { limit: LIMIT })
    );
    assert_eq!(
        ClientHello::parse(b"", 0),
        Err(HelloFault::TooLarge { limit: 0 })
    );
}

#[test]
fn faults_of_records() {
    let fault = |bytes: &[u8]| ClientHello::parse(bytes, LIMIT).unwrap_err();
    assert_eq!(fault(b"G"), HelloFault::NotTls);
    assert_eq!(fault(b"\x16\x02"), HelloFault::NotTls);
    assert_eq!(fault(b"\x80\x2e\x01\x03\x01"), HelloFault::NotTls, "SSL 2");
    assert_eq!(fault(b"\x16\x03\x01\x00\x00"), HelloFault::EmptyRecord);
    assert_eq!(
        fault(b"\x16\x03\x01\x40\x01"),
        HelloFault::RecordTooLong(16385)
    );
    assert_eq!(
        fault(b"\x16\x03\x01\x00\x04\x02"),
        HelloFault::NotClientHello(2)
    );
    assert_eq!(
        fault(b"\x16\x03\x01\x00\x01\x01\x15"),
        HelloFault::ForeignRecord(21)
    );
    assert_eq!(
        fault(b"\x16\x03\x01\x00\x06\x01\x00\x00\x01\x00\x00"),
        HelloFault::DataAfter
    );
}

#[test]
fn faults_of_the_message() {
    let fault = |bytes: &[u8]| ClientHello::parse(bytes, LIMIT).unwrap_err();
    let random = [&[3, 3][..], &[7; 32]].concat();
    let with = |tail: &[u8]| wrap(1, &[&random, tail].concat());
    assert_eq!(fault(&wrap(1, &[3])), HelloFault::Field("version"));
    assert_eq!(fault(&wrap(1, &random[..33])), HelloFault::Field("random"));
    let long = [&[33][..], &[0; 33]].concat();
    assert_eq!(fault(&with(&long)), HelloFault::Field("session id"));
    for suites in [&[0][..], &[0, 0], &[0, 1, 0], &[0, 4, 0, 1]] {
        let tail = [&[0], suites].concat();
        assert_eq!(
            fault(&with(&tail)),
            HelloFault::Field("list of cipher suites")
        );
    }
    assert_eq!(
        fault(&with(&[0, 0, 2, 0, 1, 0])),
        HelloFault::Field("list of compression methods")
    );
    assert!(whole(&with(&[0, 0, 2, 0, 1, 1, 0])).extensions.is_empty());
    let block = HelloFault::Field("block of extensions");
    assert_eq!(fault(&with(&[0, 0, 2, 0, 1, 1, 0, 0])), block);
    assert_eq!(fault(&with(&[0, 0, 2, 0, 1, 1, 0, 0, 0, 9])), block);
    assert_eq!(
        fault(&with(&[0, 0, 2, 0, 1, 1, 0, 0, 1, 9])),
        HelloFault::Field("extension header")
    );
    assert_eq!(
        fault(&with(&[0, 0, 2, 0, 1, 1, 0, 0, 2, 0, 9])),
        HelloFault::Extension(9)
    );
    assert_eq!(
        fault(&message(&[(9, b""), (8, b""), (9, b"")])),
        HelloFault::DuplicateExtension(9)
    );
    let psk = (41, &[0, 1, 9, 0, 1, 9][..]);
    assert!(whole(&message(&[psk])).psk);
    assert_eq!(fault(&message(&[psk, (9, b"")])), HelloFault::PskNotLast);
}

#[test]
fn broken_extensions() {
    let broken: [(u16, &[u8]); 17] = [
        (0, b""),
        (0, b"\0\0"),
        (0, b"\0\x05\0\0\x03a"),
        (0, b"\0\x04\0\0\x01ab"),
        (10, b"\0\0"),
        (10, b"\0\x01\0"),
        (10, b"\0\x02\0\x17\0"),
        (13, b"\0\x03\x04\x03\x05"),
        (16, b"\0\0"),
        (16, b"\0\x01\0"),
        (16, b"\0\x03\x02h2!"),
        (16, b"\0\x03\x03h2"),
        (41, b"\0\0\0\0"),
        (41, b"\0\x01\x01\0\0"),
        (42, b"\0"),
        (43, b"\0"),
        (43, b"\x03\x03\x04\x03"),
    ];
    for (kind, body) in broken {
        let parsed = ClientHello::parse(&message(&[(kind, body)]), LIMIT);
        assert_eq!(parsed, Err(HelloFault::Extension(kind)), "{body:?}");
    }
}

#[test]
fn names_that_are_none() {
    let name = |text: &[u8]| {
        let len = u8::try_from(text.len()).unwrap();
        let list = [&[0, len + 3, 0, 0, len][..], text].concat();
        let hello = whole(&message(&[(0, &list), (35, b"ticket"), (42, b"")]));
        assert_eq!(hello.extensions, [0, 35, 42]);
        assert!(hello.ticket && hello.early_data);
        hello.server_name
    };
    assert_eq!(
        name(b"Shop.Example.COM").as_deref(),
        Some("shop.example.com")
    );
    for text in [
        &b""[..],
        b"127.0.0.1",
        b"::1",
        b"a b",
        b"a\0b",
        b"\xff",
        b"a\r\nX: y",
        b"../etc",
    ] {
        assert_eq!(name(text), None, "{}", text.escape_ascii());
    }
}

#[test]
fn whatever_rustls_takes_is_read_alike() {
    for (name, bytes) in CAPTURED {
        let mut acceptor = rustls::server::Acceptor::default();
        acceptor.read_tls(&mut &bytes[..]).unwrap();
        let accepted = acceptor.accept().unwrap().unwrap();
        let (theirs, ours) = (accepted.client_hello(), whole(bytes));
        assert_eq!(theirs.server_name(), ours.server_name.as_deref(), "{name}");
        let protocols: Vec<_> = theirs.alpn().into_iter().flatten().collect();
        assert_eq!(protocols, ours.alpn().collect::<Vec<_>>(), "{name}");
        let suites: Vec<u16> = theirs.cipher_suites().iter().map(|&s| s.into()).collect();
        assert_eq!(suites, ours.cipher_suites, "{name}");
        let schemes: Vec<u16> = theirs
            .signature_schemes()
            .iter()
            .map(|&s| s.into())
            .collect();
        assert_eq!(schemes, ours.signature_algorithms, "{name}");
    }
}

/// Asserts what holds for any input.
fn sound(bytes: &[u8]) {
    let parsed = ClientHello::parse(bytes, LIMIT);
    if let Ok(Parsed::Complete(hello, len)) = &parsed {
        assert!(*len <= bytes.len() && hello.cipher_suites.len() * 2 < *len);
        assert_eq!(ClientHello::parse(&bytes[..*len], *len), parsed);
        assert_eq!(
            ClientHello::parse(&bytes[..len - 1], LIMIT),
            Ok(Parsed::Partial)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        sound(&bytes);
        sound(&[b"\x16\x03\x01\x00\xff\x01\x00\x00\xfb\x03\x03", &bytes[..]].concat());
    }

    #[test]
    fn real_bytes_with_changes(
        which in 0..CAPTURED.len(), size in 1usize..600, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = fragmented(CAPTURED[which].1, size);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        sound(&bytes);
    }
}

#[test]
fn a_lower_version_after_a_failure() {
    let mut old = whole(captured("openssl tls12"));
    assert!(
        !old.fell_back(0x0304),
        "it does not say that it tries again"
    );
    old.cipher_suites.push(FALLBACK_SCSV);
    assert!(old.fell_back(0x0304));
    assert!(!old.fell_back(0x0303), "it is the best that we have");
    let mut new = whole(captured("openssl psk"));
    new.cipher_suites.push(FALLBACK_SCSV);
    assert!(!new.fell_back(0x0304));
}
