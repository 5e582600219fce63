//! Lists in and blocks out: what is indexed, what never is, and that the table keeps in step.

use super::*;
use crate::FieldList;
use crate::hpack::Decoder;

fn block(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

#[test]
fn integers_of_the_rfc() {
    let integer = |form, value| {
        let mut out = Vec::new();
        write_integer(form, value, &mut out);
        out
    };
    assert_eq!(integer(RESIZED, 10), [0x20 | 10]);
    assert_eq!(integer(RESIZED, 1337), [0x3f, 0b1001_1010, 0b0000_1010]);
    assert_eq!(integer(INDEXED, 42), [0x80 | 42]);
    assert_eq!(integer(PLAIN, 15), [15, 0]);
    assert_eq!(
        integer(PLAIN, u32::MAX as usize),
        [15, 0xf0, 0xff, 0xff, 0xff, 0x0f]
    );
}

/// RFC 7541, C.2.2, C.2.4 and C.4, as far as the choices are ours.
#[test]
fn blocks_of_the_rfc() {
    let new = || Encoder::new(4096);
    let path = block(&mut new(), &[(":path", "/sample/path")]);
    assert_eq!(path, b"\x04\x0c/sample/path");
    assert_eq!(block(&mut new(), &[(":method", "GET")]), [0x82]);
    let mut encoder = new();
    let request = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    assert_eq!(
        block(&mut encoder, &request),
        b"\x82\x86\x84\x01\x0fwww.example.com"
    );
    assert_eq!(
        block(&mut encoder, &request),
        b"\x82\x86\x84\x41\x0fwww.example.com"
    );
    assert_eq!(block(&mut encoder, &request), b"\x82\x86\x84\xbe");
    let more = block(&mut encoder, &[("cache-control", "no-cache"); 2]);
    assert_eq!(more, b"\x0f\x09\x08no-cache\x58\x08no-cache");
}

#[test]
fn the_whole_static_table_is_found() {
    let mut encoder = Encoder::new(0);
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for index in 1..=fixed::LEN {
        let (joined, name_len) = fixed::get(index).unwrap().joined();
        for name in [
            joined[..name_len].to_vec(),
            joined[..name_len].to_ascii_uppercase(),
        ] {
            out.clear();
            encoder.field(&name, &joined[name_len..], &mut out);
            assert_eq!(out, [0x80 | index as u8]);
            let first = fixed::find(&name, NameHash::of(&name)).unwrap();
            assert!(usize::from(first.index) <= index);
        }
    }
    for name in [
        "",
        "x",
        "acceptx",
        "accepu",
        "content-lengtg",
        "cookiecookie",
        "access-control-allaw-origin",
    ] {
        assert!(fixed::find(name.as_bytes(), NameHash::of(name.as_bytes())).is_none());
    }
}

#[test]
fn secrets_are_never_indexed() {
    let long = "0123456789abcdef0123456789abcdef";
    for (name, value, first) in [
        ("authorization", long, 0x1f),
        ("Authorization", "Basic YTpi", 0x1f),
        ("proxy-authorization", long, 0x1f),
        ("set-cookie", long, 0x1f),
        ("cookie", "a=b", 0x1f),
        ("x-api-key", long, 0x10),
        ("X-CSRF-Token", long, 0x10),
        (":path", long, 0x04),
        ("content-length", "12345", 0x0f),
        ("date", long, 0x0f),
        ("age", "1", 0x0f),
        ("etag", long, 0x0f),
        ("if-none-match", long, 0x0f),
        ("location", long, 0x0f),
    ] {
        let mut encoder = Encoder::new(4096);
        for _ in 0..4 {
            assert_eq!(block(&mut encoder, &[(name, value)])[0], first, "{name}");
        }
        assert_eq!(encoder.table.len(), 0);
    }
    let mut encoder = Encoder::new(4096);
    let cookie = [("cookie", long)];
    assert_eq!(block(&mut encoder, &cookie)[0], 0x0f);
    assert_eq!(block(&mut encoder, &cookie)[0], 0x40 | 32);
    assert_eq!(block(&mut encoder, &cookie), [0x80 | 62]);
}

#[test]
fn only_what_comes_again_goes_into_the_table() {
    let mut encoder = Encoder::new(4096);
    let mut lens = Vec::new();
    for nth in 0..1000 {
        let id = format!("{nth:016x}");
        let list = [
            (":status", "200"),
            ("server", "evenkeel"),
            ("x-request-id", &id),
            ("x-cache", "hit"),
        ];
        lens.push(block(&mut encoder, &list).len());
    }
    // Status, server and cache by index; the id's name too, but not the id.
    assert_eq!(lens[999], 3 + 2 + 1 + 16, "{lens:?}");
    // Three that stay, and few ids that looked like others.
    assert!(encoder.table.len() < 12, "{}", encoder.table.len());
    assert!(encoder.held_bytes() < 1000, "{}", encoder.held_bytes());
}

#[test]
fn names_are_written_in_lower_case() {
    let mut encoder = Encoder::new(4096);
    let mut decoder = Decoder::new(4096);
    for name in ["X-One", "x-one", "X-ONE", "Content-Type"] {
        let mut out = FieldList::default();
        let block = block(&mut encoder, &[(name, "Value")]);
        decoder.decode(&block, 1 << 20, &mut out).unwrap();
        let name = name.to_ascii_lowercase();
        assert_eq!(
            out.iter().collect::<Vec<_>>(),
            [(name.as_bytes(), &b"Value"[..])]
        );
    }
    assert_eq!(encoder.table.len(), 1);
    assert_eq!(block(&mut encoder, &[("x-OnE", "Value")]), [0x80 | 62]);
}

#[test]
fn changes_of_the_table_are_told() {
    let begin = |encoder: &mut Encoder| block(encoder, &[]);
    let mut encoder = Encoder::new(1 << 20);
    assert_eq!(begin(&mut encoder), []);
    encoder.set_peer_max(65_536);
    assert_eq!(begin(&mut encoder), [], "4096 is all we want");
    encoder.set_peer_max(100);
    assert_eq!(begin(&mut encoder), [0x3f, 69]);
    assert_eq!(begin(&mut encoder), []);
    encoder.set_peer_max(0);
    encoder.set_peer_max(10);
    encoder.set_peer_max(50_000);
    assert_eq!(
        begin(&mut encoder),
        [0x20, 0x3f, 0xe1, 0x1f],
        "the smallest first"
    );
    encoder.set_peer_max(30);
    encoder.set_peer_max(10);
    assert_eq!(begin(&mut encoder), [0x2a]);
    encoder.set_peer_max(20);
    assert_eq!(begin(&mut encoder), [0x34]);
    encoder.set_peer_max(0);
    encoder.set_peer_max(20);
    assert_eq!(begin(&mut encoder), [0x20, 0x34]);
    let mut none = Encoder::new(0);
    assert_eq!(begin(&mut none), [0x20]);
    none.set_peer_max(4096);
    assert_eq!(begin(&mut none), []);
}

#[test]
fn a_smaller_table_gives_memory_back() {
    let mut encoder = Encoder::new(4096);
    let value = "v".repeat(500);
    for nth in 0..40 {
        let name = format!("name-{}", nth % 5);
        block(&mut encoder, &[(&name, &value)]);
    }
    assert!(encoder.table.len() == 5 && encoder.held_bytes() > 2500);
    encoder.set_peer_max(600);
    assert_eq!(encoder.table.len(), 1);
    assert!(encoder.held_bytes() < 600, "{}", encoder.held_bytes());
    encoder.set_peer_max(0);
    assert_eq!(encoder.held_bytes(), 0);
    block(&mut encoder, &[("name-1", &value), ("name-1", &value)]);
    assert_eq!(encoder.held_bytes(), 0);
}

#[test]
fn fields_of_any_size_are_written() {
    let mut encoder = Encoder::new(4096);
    let mut decoder = Decoder::new(4096);
    let name = "N".repeat(70_000);
    for value in ["v".repeat(3000), "\u{1}".repeat(200_000)] {
        for name in ["x", &name] {
            for _ in 0..3 {
                let mut out = FieldList::default();
                let block = block(&mut encoder, &[(name, &value)]);
                decoder.decode(&block, 1 << 20, &mut out).unwrap();
                let got: Vec<_> = out.iter().collect();
                assert_eq!(
                    got,
                    [(name.to_ascii_lowercase().as_bytes(), value.as_bytes())]
                );
            }
        }
    }
    // The one that took no more than three quarters of the table.
    assert_eq!(encoder.table.len(), 1);
}

#[test]
fn a_tag_alone_is_no_match() {
    // Names that differ in the middle only have one hash.
    let mut encoder = Encoder::new(4096);
    let mut decoder = Decoder::new(4096);
    let names = ["abcdefgh-1-ijklmnop", "abcdefgh-2-ijklmnop"];
    assert_eq!(
        NameHash::of(names[0].as_bytes()).tag(),
        NameHash::of(names[1].as_bytes()).tag()
    );
    for nth in 0..10 {
        let mut out = FieldList::default();
        let name = names[nth % 2];
        let block = block(&mut encoder, &[(name, "same value")]);
        decoder.decode(&block, 1 << 20, &mut out).unwrap();
        assert_eq!(
            out.iter().next(),
            Some((name.as_bytes(), &b"same value"[..]))
        );
    }
    assert_eq!(encoder.table.len(), 2);
}
