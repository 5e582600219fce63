//! JA4: a fingerprint of TLS clients over TCP, as FoxIO's technical description of JA4 says.
//!
//! `t13d1516h2_8daaf6152771_e5627efa2ab1` reads: TCP, TLS 1.3, a name was asked for, 15 cipher suites, 16 extensions,
//! first protocol h2; then a digest of the sorted cipher suites; then one of the sorted extensions (without name and
//! protocols) and of the signature algorithms in their order. GREASE values (RFC 8701) count nowhere.
//! A fingerprint tells kinds of clients apart; it proves nothing, since a client can send what another one does.

use std::fmt::Write as _;

use aws_lc_rs::digest;

use crate::hello::{ClientHello, extension, is_grease};

/// Digest of an empty list.
const NOTHING: &str = "000000000000";

/// The fingerprint of a client, 36 characters of ASCII.
pub fn ja4(hello: &ClientHello) -> String {
    let suites = sorted(&hello.cipher_suites);
    let extensions = sorted(&hello.extensions);
    let named = extensions.contains(&extension::SERVER_NAME);

    let mut out = String::with_capacity(36);
    out.push('t');
    out.push_str(version(hello.version_max()));
    out.push(if named { 'd' } else { 'i' });
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "{:02}{:02}",
        suites.len().min(99),
        extensions.len().min(99)
    );
    let [first, last] = protocol(hello.alpn().next().unwrap_or_default());
    out.push(first);
    out.push(last);

    let mut list = String::with_capacity(5 * (extensions.len() + suites.len()));
    push_hex(&mut list, &suites);
    out.push('_');
    push_digest(&mut out, &list);

    list.clear();
    let kept = |kind: &u16| ![extension::SERVER_NAME, extension::ALPN].contains(kind);
    let extensions: Vec<u16> = extensions.into_iter().filter(kept).collect();
    push_hex(&mut list, &extensions);
    let algorithms = hello.signature_algorithms.iter().copied();
    let algorithms: Vec<u16> = algorithms.filter(|&value| !is_grease(value)).collect();
    if !algorithms.is_empty() {
        list.push('_');
        push_hex(&mut list, &algorithms);
    }
    out.push('_');
    // Without extensions there is nothing to digest, whatever else would follow.
    push_digest(&mut out, if extensions.is_empty() { "" } else { &list });
    out
}

/// The values but GREASE, in numeric order, which is that of their four digits too.
fn sorted(values: &[u16]) -> Vec<u16> {
    let mut values: Vec<u16> = values.iter().copied().filter(|&v| !is_grease(v)).collect();
    values.sort_unstable();
    values
}

fn version(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last character of the first protocol; of its hexadecimal form when one of the two is no letter or digit
/// of ASCII; `00` without ALPN.
fn protocol(name: &[u8]) -> [char; 2] {
    let (Some(&first), Some(&last)) = (name.first(), name.last()) else {
        return ['0', '0'];
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(first), char::from(last)];
    }
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 0x0f)]
}

fn push_hex(out: &mut String, values: &[u16]) {
    for (at, value) in values.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{value:04x}");
    }
}

/// The first twelve hexadecimal digits of the SHA-256 of a list.
fn push_digest(out: &mut String, list: &str) {
    if list.is_empty() {
        return out.push_str(NOTHING);
    }
    let digest = digest::digest(&digest::SHA256, list.as_bytes());
    for byte in digest.as_ref().iter().take(6) {
        let _ = write!(out, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::{HELLO_BYTES_MAX, Parsed};

    fn list(text: &str) -> Vec<u16> {
        let values = text.split(',').filter(|text| !text.is_empty());
        values
            .map(|text| u16::from_str_radix(text, 16).unwrap())
            .collect()
    }

    /// The Chrome of the technical description of JA4.
    fn published() -> ClientHello {
        ClientHello {
            legacy_version: 0x0303,
            versions: list("fafa,0304,0303"),
            cipher_suites: list(
                "eaea,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035",
            ),
            extensions: list(
                "0a0a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,1a1a",
            ),
            signature_algorithms: list("0403,0804,0401,0503,0805,0501,0806,0601"),
            ..ClientHello::default()
        }
        .with_alpn(&[b"h2", b"http/1.1"])
    }

    #[test]
    fn the_published_example() {
        assert_eq!(ja4(&published()), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn order_and_grease_do_not_matter_but_that_of_the_algorithms_does() {
        let mut hello = published();
        hello.cipher_suites.reverse();
        hello.extensions.rotate_left(5);
        hello.cipher_suites.retain(|&value| !is_grease(value));
        hello.signature_algorithms.insert(0, 0x2a2a);
        assert_eq!(ja4(&hello), ja4(&published()));
        hello.signature_algorithms.swap(1, 2);
        assert!(ja4(&hello).starts_with("t13d1516h2_8daaf6152771_"));
        assert_ne!(ja4(&hello), ja4(&published()));
    }

    #[test]
    fn without_algorithms_the_last_part_ends_at_the_extensions() {
        // Without signature algorithms nothing stands after the extensions, no underscore either: the digest is that
        // of "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01".
        let mut hello = published();
        hello.signature_algorithms.clear();
        assert_eq!(ja4(&hello), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    }

    #[test]
    fn nothing_offered() {
        let mut hello = ClientHello::default();
        assert_eq!(ja4(&hello), "t00i000000_000000000000_000000000000");
        hello.legacy_version = 0x0301;
        hello.signature_algorithms = vec![0x0403];
        hello.extensions = vec![0];
        assert_eq!(ja4(&hello), "t10d000100_000000000000_000000000000");
    }

    #[test]
    fn counts_stop_at_99() {
        let hello = ClientHello {
            cipher_suites: (1..300).collect(),
            ..ClientHello::default()
        };
        assert!(ja4(&hello).starts_with("t00i990000_"));
    }

    #[test]
    fn protocols_that_are_not_alphanumeric_are_in_hexadecimal() {
        for (name, expected) in [
            (&b"h2"[..], "h2"),
            (b"http/1.1", "h1"),
            (b"x", "xx"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"\x30\xab", "3b"),
            (b"0x\xcd\xe7!", "31"),
            (b"\x30\xab\xcd\x31", "01"),
            (b"\xaa\xaa", "aa"),
        ] {
            assert_eq!(
                protocol(name).iter().collect::<String>(),
                expected,
                "{name:?}"
            );
        }
    }

    #[test]
    fn captured_clients() {
        // Computed by an implementation of its own; the third is also what public lists have for curl with OpenSSL 3.
        for (bytes, expected) in [
            (
                &include_bytes!("../tests/hellos/openssl-3.0.bin")[..],
                "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4",
            ),
            (
                include_bytes!("../tests/hellos/openssl-3.0-tls12.bin"),
                "t12i280600_d943125447b4_e7e480e5a997",
            ),
            (
                include_bytes!("../tests/hellos/curl-7.88.bin"),
                "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6",
            ),
            (
                include_bytes!("../tests/hellos/chromium.bin"),
                "t13d1517h2_8daaf6152771_cb7bf5808d99",
            ),
        ] {
            let Ok(Parsed::Complete(hello, _)) = ClientHello::parse(bytes, HELLO_BYTES_MAX) else {
                panic!("not whole");
            };
            assert_eq!(ja4(&hello), expected);
        }
    }
}
