//! The request as routing sees it: borrowed, normalised, cheap to make.

use std::net::IpAddr;

/// What routing reads of a request.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// Position of the listener in the snapshot.
    pub listener: u16,
    /// Method as sent.
    pub method: &'a [u8],
    /// `http` or `https`, lowercase.
    pub scheme: &'a str,
    /// Host asked for: lowercase, without port and trailing dot; empty when there is none.
    pub host: &'a [u8],
    /// Port asked for, when the request named one. Matching ignores it.
    pub port: Option<u16>,
    /// Normalised path, without the query.
    pub path: &'a [u8],
    /// Raw query without the question mark.
    pub query: Option<&'a [u8]>,
    /// Client's address, after trusted proxies.
    pub client: IpAddr,
    /// The header fields.
    pub headers: &'a dyn HeaderSource,
}

/// Access to header fields by name.
pub trait HeaderSource {
    /// Calls `f` with the value of each occurrence of the header, in order, until `f` returns true. `name` is lowercase;
    /// an implementation compares it ignoring case. Cookies are read by the name `cookie`.
    fn each(&self, name: &[u8], f: &mut dyn FnMut(&[u8]) -> bool);

    /// What is known of the request's TLS connection; nothing for a plain one, which is the default.
    fn tls(&self, _fact: TlsFact) -> Option<&[u8]> {
        None
    }
}

/// A fact about the TLS connection of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFact {
    /// The name that the client asked for (SNI), lowercase.
    ServerName,
    /// `TLSv1.2` or `TLSv1.3`.
    Version,
    /// The JA4 fingerprint of the client's first message.
    Ja4,
    /// Subject of the client's certificate (RFC 4514).
    ClientSubject,
    /// SHA-256 of the client's certificate, lowercase hex.
    ClientFingerprint,
    /// There only when the client has a certificate and it was verified; whatever its value.
    ClientVerified,
}

impl TlsFact {
    /// Name in the configuration and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            TlsFact::ServerName => "server_name",
            TlsFact::Version => "version",
            TlsFact::Ja4 => "ja4",
            TlsFact::ClientSubject => "client_subject",
            TlsFact::ClientFingerprint => "client_fingerprint",
            TlsFact::ClientVerified => "client_verified",
        }
    }
}

/// A request without headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHeaders;

impl HeaderSource for NoHeaders {
    fn each(&self, _name: &[u8], _f: &mut dyn FnMut(&[u8]) -> bool) {}
}

/// Name and value pairs, for tests and for requests that a command line describes.
impl<N: AsRef<[u8]>, V: AsRef<[u8]>> HeaderSource for Vec<(N, V)> {
    fn each(&self, name: &[u8], f: &mut dyn FnMut(&[u8]) -> bool) {
        for (field, value) in self {
            if field.as_ref().eq_ignore_ascii_case(name) && f(value.as_ref()) {
                return;
            }
        }
    }
}
