//! What a handshake agreed on, in the words that logs, headers and matchers use.

use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};

use crate::peer::PeerCertificate;

/// The protocol that ALPN chose (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2, `h2`.
    H2,
    /// HTTP/1.1, `http/1.1`.
    Http11,
}

impl Alpn {
    /// The protocol of a name on the wire; none when it is another one.
    pub fn from_wire(name: &[u8]) -> Option<Alpn> {
        match name {
            b"h2" => Some(Alpn::H2),
            b"http/1.1" => Some(Alpn::Http11),
            _ => None,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Alpn::H2 => "h2",
            Alpn::Http11 => "http/1.1",
        }
    }
}

/// What a handshake agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite by the name that OpenSSL, and with it nginx and HAProxy, gives it:
    /// `TLS_AES_128_GCM_SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: &'static str,
    /// The name that the client asked for, or that a server was asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// The protocol chosen; none when none was, or one that is not HTTP.
    pub alpn: Option<Alpn>,
    /// The session id of the client's first message in lower-case hexadecimal, empty when there was
    /// none. In TLS 1.3 it is random and names no session (RFC 8446 section 4.1.2).
    pub session_id: Box<str>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The JA4 fingerprint of the client; empty towards servers.
    pub ja4: Box<str>,
    /// The client's certificate, when one was asked for and came.
    pub client: Option<Box<PeerCertificate>>,
}

impl TlsFacts {
    /// What the connection itself knows after its handshake; the rest stays empty.
    pub(crate) fn of(conn: &CommonState) -> TlsFacts {
        TlsFacts {
            version: match conn.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            cipher: conn
                .negotiated_cipher_suite()
                .map_or("", |suite| openssl_name(suite.suite())),
            alpn: conn.alpn_protocol().and_then(Alpn::from_wire),
            resumed: conn.handshake_kind() == Some(HandshakeKind::Resumed),
            ..TlsFacts::default()
        }
    }
}

/// OpenSSL's name of a suite that we offer.
pub(crate) fn openssl_name(suite: CipherSuite) -> &'static str {
    use CipherSuite as S;
    match suite {
        S::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        S::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        S::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}
