//! Nanoseconds for header blocks in the steady state: heads of requests decoded, heads of answers encoded.
//!
//! Times on a shared machine are rough; the least of several rounds is printed.

use std::hint::black_box;
use std::time::Instant;

use keel_http2::FieldList;
use keel_http2::hpack::{Decoder, Encoder};

const ROUNDS: usize = 400;
const TIMES: u32 = 1_000;
const LIST_BYTES_MAX: usize = 64 << 10;

type Field<'a> = (&'a str, &'a str);

const BROWSER: &[Field<'_>] = &[
    (":method", "GET"),
    (":authority", "www.example.com"),
    (":scheme", "https"),
    (":path", "/assets/app/main.js?v=20261120"),
    (
        "sec-ch-ua",
        "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ),
    ("accept", "*/*"),
    ("sec-fetch-site", "same-origin"),
    ("referer", "https://www.example.com/"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9"),
    (
        "cookie",
        "session=0123456789abcdef0123456789abcdef; theme=dark; lang=en",
    ),
];

const CURL: &[Field<'_>] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "api.example.com"),
    (":path", "/"),
];

const INDEXED: &[Field<'_>] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "api.example.com"),
    (":path", "/"),
    ("user-agent", "curl/8.11.0"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip, deflate"),
    ("x-client", "bench"),
];

const ANSWER: &[Field<'_>] = &[
    (":status", "200"),
    ("Server", "evenkeel"),
    ("Date", "Fri, 20 Nov 2026 21:12:03 GMT"),
    ("Content-Type", "application/json"),
    ("Content-Length", "90"),
    ("Cache-Control", "no-cache"),
    ("Vary", "accept-encoding"),
    ("X-Served-By", "backend-1"),
];

const STEADY: &[Field<'_>] = &[
    (":status", "200"),
    ("server", "evenkeel"),
    ("content-type", "application/json"),
    ("cache-control", "no-cache"),
    ("vary", "accept-encoding"),
    ("x-served-by", "backend-1"),
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
];

fn measure(name: &str, mut f: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TIMES {
            f();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(TIMES));
    }
    println!("{name:<56} {best:>8.1} ns");
}

fn encode(encoder: &mut Encoder, fields: &[Field<'_>], out: &mut Vec<u8>) {
    out.clear();
    encoder.begin(out);
    for (name, value) in fields {
        encoder.field(name.as_bytes(), value.as_bytes(), out);
    }
}

fn decoding() {
    for (name, fields) in [
        ("browser, 14 fields", BROWSER),
        ("curl, 4 fields", CURL),
        ("indexed, 8 fields", INDEXED),
    ] {
        let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
        let (mut block, mut list) = (Vec::new(), FieldList::default());
        let mut decode = |block: &[u8]| {
            list.clear();
            decoder
                .decode(block, LIST_BYTES_MAX, &mut list)
                .expect("sound");
        };
        for _ in 0..4 {
            encode(&mut encoder, fields, &mut block);
            decode(&block);
        }
        let label = format!("decode, {name}: {} bytes", block.len());
        measure(&label, || decode(black_box(&block)));
    }
    // As the first of a connection is: nothing is in the table.
    let mut block = Vec::new();
    encode(&mut Encoder::new(0), BROWSER, &mut block);
    let mut decoder = Decoder::new(4096);
    let mut list = FieldList::default();
    let label = format!("decode, browser, all literal: {} bytes", block.len());
    measure(&label, || {
        list.clear();
        decoder
            .decode(black_box(&block), LIST_BYTES_MAX, &mut list)
            .expect("sound");
    });
}

fn encoding() {
    for (name, fields) in [
        ("answer, 8 fields", ANSWER),
        ("steady answer, 8 fields", STEADY),
        ("browser, 14 fields", BROWSER),
    ] {
        let (mut encoder, mut block) = (Encoder::new(4096), Vec::new());
        for _ in 0..4 {
            encode(&mut encoder, fields, &mut block);
        }
        let label = format!("encode, {name}: {} bytes", block.len());
        measure(&label, || {
            encode(&mut encoder, black_box(fields), &mut block)
        });
    }
    let (mut encoder, mut block) = (Encoder::new(0), Vec::new());
    measure("encode, browser, all literal", || {
        encode(&mut encoder, black_box(BROWSER), &mut block);
    });
}

/// What a peer can make us do with few bytes: per byte of its block.
fn bombs() {
    let value = "x".repeat(3900);
    let (mut decoder, mut list) = (Decoder::new(4096), FieldList::default());
    let mut fill = Vec::new();
    fill.extend([0x40, 1, b'a', 0x7f, 0xbd, 0x1d]);
    fill.extend(value.as_bytes());
    let named = [&[0x40, 0x7f, 0xa1, 0x1e][..], &[b'n'; 4000], b"\x01x"].concat();
    for (name, fill, block) in [
        ("60 MB in 15 KB by index", &fill, vec![0xbe; 15_000]),
        (
            "a name of 4000 bytes for 3",
            &named,
            [0x7e, 1, b'x'].repeat(5_000),
        ),
    ] {
        let mut block_of = |block: &[u8]| {
            list.clear();
            decoder.decode(block, 16 << 10, &mut list).expect("sound");
        };
        block_of(fill);
        let start = Instant::now();
        let times = 20;
        for _ in 0..times {
            block_of(black_box(&block));
        }
        let us = start.elapsed().as_nanos() as f64 / f64::from(times) / 1000.0;
        println!("{name:<56} {us:>8.1} us");
    }
}

fn main() {
    decoding();
    encoding();
    bombs();
}
