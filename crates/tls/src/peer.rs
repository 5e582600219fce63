//! The certificate of a peer, in the forms that logs and headers use.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// A client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The subject as RFC 4514 writes it: `CN=alice,O=Example`.
    pub subject: Box<str>,
    /// The issuer, as the subject.
    pub issuer: Box<str>,
    /// The serial number in upper-case hexadecimal, as openssl prints it.
    pub serial: Box<str>,
    /// SHA-256 of the certificate in lower-case hexadecimal.
    pub fingerprint_sha256: Box<str>,
    /// End of its validity in seconds since 1970.
    pub not_after: i64,
    /// Whether its chain was verified. Handshakes with a certificate that does not verify fail, so
    /// that this is true wherever there is a certificate.
    pub verified: bool,
}

impl PeerCertificate {
    /// Reads a certificate that was verified; none when it cannot be parsed.
    pub(crate) fn read(der: &[u8]) -> Option<PeerCertificate> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some(PeerCertificate {
            subject: rfc4514(parsed.subject()).into(),
            issuer: rfc4514(parsed.issuer()).into(),
            serial: hex(parsed.raw_serial()).to_ascii_uppercase().into(),
            fingerprint_sha256: fingerprint(der).into(),
            not_after: parsed.validity().not_after.timestamp(),
            verified: true,
        })
    }
}

/// SHA-256 of a certificate in lower-case hexadecimal.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex(digest(&SHA256, der).as_ref())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A name as text, the last part first (RFC 4514 section 2).
pub(crate) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (at, part) in parts.iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    // The short names of RFC 4514 section 3, and those of openssl for what is common beside them.
    let short = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "2.5.4.5" => "serialNumber",
        other => other,
    };
    text.push_str(short);
    text.push('=');
    match attribute.as_str() {
        Ok(value) => push_escaped(text, value),
        // Another type of string: its encoding in hexadecimal (RFC 4514 section 2.4).
        Err(_) => {
            text.push('#');
            text.push_str(&hex(attribute.attr_value().data));
        }
    }
}

/// Escapes as RFC 4514 section 2.4 wants it; control characters too, so that a value is one line.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                text.push('\\');
                text.push(char);
            }
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(text, "\\{:02X}", char as u32);
            }
            _ => text.push(char),
        }
    }
}
