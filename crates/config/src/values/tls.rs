//! Texts of TLS: files, suites, names, fingerprints, rates.

use std::net::IpAddr;

use super::Fault;
use super::address::dns_name;
use super::pattern::host_pattern;
use crate::diagnostic::codes;
use crate::model::HostPattern;

/// Length of SHA-256 in hex.
const FINGERPRINT_DIGITS: usize = 64;
/// Most of a rate; more is no limit.
const RATE_MAX: u32 = 1_000_000;

/// The path of a file that another stage reads.
pub(crate) fn tls_file(text: &str) -> Result<(), Fault> {
    let bad = |says: &str| Fault::new(&codes::BAD_FILE, says);
    if text.contains("-----BEGIN") {
        return Err(bad("is the content of a file; its path is needed")
            .help("put it into a file that nobody else can read, and name that"));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return Err(bad("has `file:`, but a path is what is needed").guess(path));
    }
    if text.starts_with("env:") {
        return Err(bad("has `env:`, but a path is what is needed")
            .help("put it into a file that nobody else can read, and name that"));
    }
    super::line(text)
}

/// A name of the IANA registry. Whether it is known is for the TLS library to say.
pub(crate) fn cipher_suite(text: &str) -> Result<(), Fault> {
    let bad = |says: &str| Fault::new(&codes::BAD_TLS_NAME, says);
    if text.contains([':', ',', ' ', '!']) {
        return Err(bad("is a list as OpenSSL writes it").help(
            "write the standard names as a list: `[TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384]`",
        ));
    }
    token(text)
}

/// The name of a group.
pub(crate) fn group(text: &str) -> Result<(), Fault> {
    let bad = |says: &str| Fault::new(&codes::BAD_TLS_NAME, says);
    if text.contains([':', ',', ' ']) {
        return Err(bad("is several names in one text").help("write a list: `[X25519, secp256r1]`"));
    }
    token(text)
}

fn token(text: &str) -> Result<(), Fault> {
    let other = |c: &char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-');
    match text.chars().find(other) {
        Some(c) => Err(Fault::new(
            &codes::BAD_TLS_NAME,
            format!("has `{}`, which no such name has", c.escape_default()),
        )),
        None => Ok(()),
    }
}

/// A name or address of a certificate.
pub(crate) fn certificate_name(text: &str) -> Result<(), Fault> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    match host_pattern(text)? {
        HostPattern::Any => Err(Fault::new(
            &codes::BAD_HOST,
            "is every name, which no certificate can have",
        )
        .help("write `*.example.com`, or the names one by one")),
        HostPattern::Exact(name) if name.starts_with('[') => {
            Err(Fault::new(&codes::BAD_HOST, "has brackets").guess(name.trim_matches(['[', ']'])))
        }
        _ => Ok(()),
    }
}

/// A DNS name or an IP address, lower case.
pub(crate) fn tls_name(text: &str) -> Result<String, Fault> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    if let Some((host, port)) = text.split_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(
            Fault::new(&codes::BAD_HOST, "has a port, which no name in TLS has").guess(host),
        );
    }
    dns_name(text)
}

/// SHA-256 in hex; colons between bytes, as OpenSSL prints them, are taken.
pub(crate) fn fingerprint(text: &str) -> Result<[u8; 32], Fault> {
    let bad = |says: String| Fault::new(&codes::BAD_FINGERPRINT, says);
    let plain = text
        .strip_prefix("sha256:")
        .or_else(|| text.strip_prefix("SHA256:"))
        .unwrap_or(text);
    let digits: Vec<u8> = plain.bytes().filter(|byte| *byte != b':').collect();
    if let Some(byte) = digits.iter().find(|byte| !byte.is_ascii_hexdigit()) {
        let shown = byte.escape_ascii();
        return Err(bad(format!("has `{shown}`, which is no hex digit"))
            .help("`openssl x509 -noout -fingerprint -sha256 -in FILE` prints it"));
    }
    if digits.len() != FINGERPRINT_DIGITS {
        let is = match digits.len() {
            40 => "a SHA-1, which is broken; SHA-256 is needed".to_owned(),
            count => format!("{count} hex digits long, a SHA-256 has {FINGERPRINT_DIGITS}"),
        };
        return Err(bad(format!("is {is}"))
            .help("`openssl x509 -noout -fingerprint -sha256 -in FILE` prints it"));
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| {
            let digit = pair
                .get(at)
                .and_then(|digit| char::from(*digit).to_digit(16));
            digit.unwrap_or(0) as u8
        };
        *byte = digit(0) << 4 | digit(1);
    }
    Ok(bytes)
}

/// `100r/s`: so many in a second.
pub(crate) fn rate(text: &str) -> Result<u32, Fault> {
    let help = "write `100r/s` for a hundred in a second";
    let Some((count, unit)) = text.split_once('/') else {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let fault = match digits {
            true => Fault::new(&codes::MISSING_UNIT, "has no unit").guess(format!("{text}r/s")),
            false => Fault::new(&codes::WRONG_TYPE, "is not a rate"),
        };
        return Err(fault.help(help));
    };
    let digits = count.strip_suffix('r').unwrap_or(count);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if unit != "s" {
        let says = format!("has `{unit}` after the `/`, a rate is that of a second");
        return Err(Fault::new(&codes::WRONG_UNIT, says).help(help));
    }
    if digits == count {
        let fault = Fault::new(&codes::WRONG_UNIT, "has no `r` before the `/`");
        return Err(match is_number {
            true => fault.guess(format!("{count}r/s")),
            false => fault.help(help),
        });
    }
    match super::whole(digits)? {
        count if (1..=i64::from(RATE_MAX)).contains(&count) => {
            Ok(u32::try_from(count).unwrap_or(RATE_MAX))
        }
        _ => {
            let says = format!("is outside its range, 1r/s to {RATE_MAX}r/s");
            Err(Fault::new(&codes::OUT_OF_RANGE, says).help(help))
        }
    }
}
