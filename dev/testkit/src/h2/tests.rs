//! The kit's own HTTP/2: against the examples of RFC 7541, against itself, against nginx and curl.

use std::time::Duration;

use super::frame::{code, setting};
use super::{Decoder, H2Origin, H2Reply, H2Wire, encode};
use crate::origin::Check;
use crate::peers::{PeerServer, run};
use crate::scratch::Scratch;
use crate::tls::{Ca, TlsClient, TlsServer};
use crate::{require_peer, strict::Fault};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn text(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
    let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    pairs
        .iter()
        .map(|(name, value)| format!("{}: {}", lossy(name), lossy(value)))
        .collect()
}

/// RFC 7541, appendix C.6: three answers with Huffman and evictions in a table of 256 bytes.
#[test]
fn the_examples_of_the_rfc() {
    let mut decoder = Decoder::default();
    decoder.allow(256);
    let first = bytes(
        "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    );
    assert_eq!(
        text(&decoder.decode(&first).unwrap()),
        [
            ":status: 302",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com"
        ]
    );
    let second = decoder.decode(&bytes("4883 640e ffc1 c0bf")).unwrap();
    assert_eq!(text(&second)[0], ":status: 307");
    assert_eq!(text(&second)[3], "location: https://www.example.com");
    let third = bytes(
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    );
    let third = text(&decoder.decode(&third).unwrap());
    assert_eq!(third[4], "content-encoding: gzip");
    assert_eq!(
        third[5],
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
    );
    assert_eq!(decoder.entries(), 3);
}

#[test]
fn broken_header_blocks_are_faults() {
    for hex in [
        "80",
        "be",
        "ff",
        "0003",
        "00 01 61 7f ff ff ff ff ff",
        "00 81 ff",
        "00 81 18 00",
        "3fe21f",
    ] {
        let outcome = Decoder::default().decode(&bytes(hex));
        assert!(outcome.is_err(), "{hex}: {outcome:?}");
    }
    let mut decoder = Decoder::default();
    decoder.allow(0);
    let silent = decoder.decode(&[0x88]);
    assert_eq!(
        silent,
        Err(Fault("no table size update after smaller SETTINGS"))
    );
    let long = vec![b'x'; 70_000];
    let block = encode(&[("name", &long)]);
    assert_eq!(Decoder::default().decode(&block).unwrap()[0].1, long);
}

#[test]
fn client_and_origin_agree() {
    let origin = H2Origin::new("a")
        .settings(&[(setting::MAX_CONCURRENT_STREAMS, 100)])
        .echo();
    let mut wire = H2Wire::connect(origin.address());
    let echo = wire.get_with("/x?y", &[("cookie", "a=b")]).expect(200);
    assert_eq!(echo.json()["authority"], "test.example");
    assert_eq!(echo.seen("cookie"), ["a=b"]);
    let big = wire.post("/", vec![b'x'; 1_000_000]).expect(200);
    assert_eq!(big.json()["body_len"], 1_000_000);
    let mut check = Check::default();
    check.feed(&wire.get("/bytes/1000000").expect(200).body);
    assert_eq!((check.len, check.broken), (1_000_000, false));
    let with = wire.get("/trailers").expect(200);
    assert_eq!(with.trailer("x-sum").as_deref(), Some("42"));
    assert_eq!(wire.get("/interim").expect(200).interim[0].0, 103);
    let streams: Vec<u32> = (0..50)
        .map(|_| wire.ask("GET", "/delay/50", &[], true))
        .collect();
    for stream in streams {
        wire.answer(stream).expect(200);
    }
    assert_eq!(origin.requests(), 55);
    assert_eq!(origin.connections(), 1);
    wire.ping();
}

#[test]
fn resets_goaways_and_trailers_of_requests() {
    let origin = H2Origin::new("a").answering(|seen| match seen.path().as_str() {
        "/refuse" => H2Reply::reset(code::REFUSED_STREAM),
        "/cut" => H2Reply::text("half").then_reset(code::INTERNAL_ERROR),
        "/last" => H2Reply::text("bye").with_goaway(code::NO_ERROR),
        _ => H2Reply::echo("a", seen),
    });
    let mut wire = H2Wire::connect(origin.address());
    wire.get("/refuse").expect_reset(&[code::REFUSED_STREAM]);
    let cut = wire.get("/cut").expect_reset(&[code::INTERNAL_ERROR]);
    assert_eq!((cut.status, cut.text().as_str()), (200, "half"));
    let stream = wire.ask("POST", "/", &[("te", "trailers")], false);
    wire.data(stream, "body", false)
        .trailers(stream, &[("x-end", "1")]);
    let json = wire.answer(stream).expect(200).json();
    assert_eq!(json["trailers"][0][0], "x-end");
    assert_eq!(wire.get("/last").expect(200).text(), "bye");
    assert_eq!(wire.await_goaway().last, 7);
}

#[test]
fn breaches_are_kept() {
    let origin = H2Origin::new("a").scripted(|stage| {
        let Some(seen) = stage.request_head() else {
            return;
        };
        let fields = [(":status", "200"), ("Upper", "x")];
        stage.connection.head(seen.stream, &fields, false);
        stage
            .connection
            .raw(super::Frame::data(seen.stream, vec![0; 20_000], true).to_bytes());
        stage.until_end();
    });
    let mut wire = H2Wire::connect(origin.address()).with_deadline(Duration::from_millis(300));
    let stream = wire.ask("GET", "/", &[], true);
    assert!(wire.try_answer(stream).is_err());
    let faults = wire.take_faults().join("\n");
    assert!(faults.contains("lower case"), "{faults}");
    assert!(faults.contains("20000 bytes, above"), "{faults}");
    let origin = H2Origin::new("b").echo();
    let mut wire = H2Wire::connect(origin.address()).with_deadline(Duration::from_millis(300));
    wire.start(&[(":method", "GET")], true);
    wire.read_for(Duration::from_millis(100));
    drop(wire);
    let found = crate::wait::until("a fault", || {
        Some(origin.take_faults()).filter(|list| !list.is_empty())
    });
    assert!(
        found[0].contains("no :method, :scheme or :path"),
        "{found:?}"
    );
}

#[test]
fn over_tls() {
    let ca = Ca::new("test authority");
    let server = TlsServer::with_alpn(&ca.leaf(&["localhost"]), &["h2"]);
    let origin = H2Origin::new("a").tls(&server).echo();
    let mut wire = H2Wire::tls(&TlsClient::new(&ca), origin.address());
    assert_eq!(wire.get("/").expect(200).json()["scheme"], "https");
    let big = wire.post("/", vec![b'x'; 1_000_000]).expect(200);
    assert_eq!(big.json()["body_len"], 1_000_000);
    assert_eq!(
        wire.get("/stream/2000000").expect(200).body.len(),
        2_000_000
    );
}

/// `listen … http2` of nginx 1.22 speaks with prior knowledge; newer ones say so in a warning and do the same.
#[test]
fn against_nginx() {
    let scratch = Scratch::new();
    let ca = Ca::new("test authority");
    let (cert, key) = ca.leaf(&["localhost"]).write(&scratch, "site");
    let location = "location / { return 200 \"$server_protocol $request_uri $http_cookie\"; } \
         location /big { root @DIR@/www; } location /up { client_max_body_size 0; return 204; }";
    let http = format!(
        "server {{ listen 127.0.0.1:@PORT@ http2; root @DIR@/www; {location} }} \
         server {{ listen 127.0.0.1:@PORT2@ ssl http2; ssl_certificate {}; ssl_certificate_key {}; {location} }}",
        cert.display(),
        key.display()
    );
    let Some(nginx) = PeerServer::nginx_http(&http) else {
        return;
    };
    std::fs::write(nginx.dir().join("www/big"), vec![b'x'; 3_000_000]).unwrap();
    let tls = TlsClient::new(&ca);
    let second = nginx.second_address();
    for mut wire in [H2Wire::connect(nginx.address()), H2Wire::tls(&tls, second)] {
        let answer = wire.get_with("/a", &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(answer.expect(200).text(), "HTTP/2.0 /a a=1; b=2");
        assert_eq!(wire.get("/big").expect(200).body.len(), 3_000_000);
        assert_eq!(wire.get("/none/../x").expect(200).status, 200);
        let streams: Vec<u32> = (0..20)
            .map(|_| wire.ask("GET", "/big", &[], true))
            .collect();
        for stream in streams {
            assert_eq!(wire.answer(stream).expect(200).body.len(), 3_000_000);
        }
        wire.ping();
        assert_eq!(
            wire.connection().setting(setting::MAX_FRAME_SIZE),
            Some(16_777_215)
        );
        let bad = wire.start(&[(":method", "GET"), (":path", "/")], true);
        wire.answer(bad).expect(400);
    }
    let mut wire = H2Wire::connect(nginx.address());
    wire.get("/").expect(200);
    wire.send(&super::Frame::data(0, "x", false));
    let (goaway, _) = wire.await_end();
    assert_eq!(goaway.map(|it| it.code), Some(code::PROTOCOL_ERROR));
}

#[test]
fn curl_reads_our_origin() {
    let curl = require_peer!("curl");
    let origin = H2Origin::new("a").echo();
    let url = format!("http://{}/bytes/500000", origin.address());
    let args = [
        "-sS",
        "--http2-prior-knowledge",
        "-w",
        "%{http_version} %{size_download}",
        "-o",
        "/dev/null",
        &url,
    ];
    let output = run(&curl, &args);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "2 500000",
        "{output:?}"
    );
    let url = format!("http://{}/", origin.address());
    let body = "x".repeat(200_000);
    let scratch = Scratch::new();
    let file = format!("@{}", scratch.write("body", body).display());
    let args = [
        "-sS",
        "--http2-prior-knowledge",
        "--data-binary",
        &file,
        &url,
    ];
    let said = String::from_utf8_lossy(&run(&curl, &args).stdout).into_owned();
    assert!(said.contains("\"body_len\":200000"), "{said}");
}
