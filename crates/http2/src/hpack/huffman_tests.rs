//! Huffman codes against their table, bit by bit.

use super::*;

fn encoded(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(plain, &mut out);
    assert_eq!(out.len(), coded_len(plain));
    out
}

fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; decoded_len_max(coded.len()) + 1];
    let len = decode(coded, &mut out)?;
    out.truncate(len);
    // What there is no room for is counted all the same.
    assert_eq!(decode(coded, &mut []), Some(len));
    assert_eq!(decode(coded, &mut vec![0; len / 2]), Some(len));
    Some(out)
}

/// Bits as they are written in the RFC, padded with ones.
fn bits(text: &str) -> Vec<u8> {
    let bits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    let octet = |bits: &[u8]| {
        (0..8).fold(0, |all, at| {
            all << 1 | u8::from(bits.get(at) != Some(&b'0'))
        })
    };
    bits.chunks(8).map(octet).collect()
}

#[test]
fn codes_are_those_of_appendix_b() {
    let code = |symbol: usize| CODES[symbol];
    assert_eq!(code(0), (0x1ff8, 13));
    assert_eq!(code(10), (0x3fff_fffc, 30));
    assert_eq!(code(22), (0x3fff_fffe, 30));
    assert_eq!(code(usize::from(b' ')), (0x14, 6));
    assert_eq!(code(usize::from(b'0')), (0, 5));
    assert_eq!(code(usize::from(b'a')), (3, 5));
    assert_eq!(code(usize::from(b'X')), (0xfc, 8));
    assert_eq!(code(usize::from(b'\\')), (0x7fff0, 19));
    assert_eq!(code(usize::from(b'~')), (0x1ffd, 13));
    assert_eq!(code(127), (0xfff_fffc, 28));
    assert_eq!(code(249), (0xfff_fffe, 28));
    assert_eq!(code(255), (0x3ff_ffee, 26));
    assert_eq!(CANON.symbols[256], 256);
    let last = CANON.first[30] as u64 + (u64::from(256 - CANON.shorter[30]) << 2);
    assert_eq!(
        last,
        u64::from(u32::MAX) & !3,
        "the end of string is thirty ones"
    );
}

#[test]
fn every_octet_comes_back() {
    for octet in 0..=255_u8 {
        for times in 1..20 {
            let plain = vec![octet; times];
            assert_eq!(decoded(&encoded(&plain)), Some(plain));
        }
    }
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    assert_eq!(decoded(&encoded(&all)), Some(all));
    assert_eq!(decoded(&[]), Some(Vec::new()));
}

#[test]
fn pairs_of_octets_come_back() {
    for first in 0..=255 {
        for second in 0..=255 {
            let plain = [b'a', first, second, b'-', first];
            assert_eq!(decoded(&encoded(&plain)).as_deref(), Some(&plain[..]));
        }
    }
}

#[test]
fn strings_of_appendix_c() {
    for (plain, hex) in [
        ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
        ("no-cache", "a8eb10649cbf"),
        ("custom-key", "25a849e95ba97d7f"),
        ("custom-value", "25a849e95bb8e8b4bf"),
        ("302", "6402"),
        ("private", "aec3771a4b"),
        (
            "Mon, 21 Oct 2013 20:13:21 GMT",
            "d07abe941054d444a8200595040b8166e082a62d1bff",
        ),
        (
            "https://www.example.com",
            "9d29ad171863c78f0b97c8e9ae82ae43d3",
        ),
        ("307", "640eff"),
        ("gzip", "9bd9ab"),
    ] {
        let coded: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        assert_eq!(encoded(plain.as_bytes()), coded);
        assert_eq!(decoded(&coded).as_deref(), Some(plain.as_bytes()));
    }
}

#[test]
fn padding_is_short_and_of_ones() {
    // "a" and three ones; "&" (eight bits) and none.
    assert_eq!(decoded(&bits("00011 111")).as_deref(), Some(&b"a"[..]));
    assert_eq!(decoded(&bits("11111000")).as_deref(), Some(&b"&"[..]));
    for wrong in [
        "00011 110",
        "00011 000",
        "00011 011",
        "00011 101",
        "00011 111 11111111",
        "11111000 11111111",
        "11111111",
        "11111111 11111111",
        "11111111 11111111 11111111",
        "00011 00011 00011 00011 00011 00011 00011 00011 11111111",
        "00011 00011 00011 00011 00011 00011 00011 00011 00011 110",
    ] {
        assert_eq!(decoded(&bits(wrong)), None, "{wrong}");
    }
}

#[test]
fn the_end_of_string_is_not_sent() {
    let ones = "1".repeat(30);
    for wrong in [
        ones.clone(),
        format!("00011{ones}"),
        format!("{ones}00011"),
        format!("{}{ones}{}", "00011".repeat(9), "00011".repeat(20)),
        "1".repeat(400),
    ] {
        assert_eq!(decoded(&bits(&wrong)), None, "{wrong}");
    }
}

#[test]
fn a_string_has_no_more_octets_than_its_bits_allow() {
    for len in 0..200 {
        // Five zeroes are "0".
        let out = decoded(&vec![0; len]);
        match len % 5 {
            0 => assert_eq!(out.unwrap().len(), decoded_len_max(len)),
            _ => assert_eq!(out, None),
        }
        assert_eq!(decoded_len_max(len), len * 8 / 5);
    }
}
