//! TLS in front of an origin.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{Ca, Leaf, Link, provider, version_name};
use crate::wait::SOON;

/// One handshake as a server saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handshake {
    /// SNI.
    pub name: Option<String>,
    /// The protocol that was chosen by ALPN.
    pub alpn: Option<String>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// True for an abbreviated handshake.
    pub resumed: bool,
    /// The client's certificate, DER; empty without one.
    pub client: Vec<u8>,
    /// Why it failed.
    pub fault: Option<String>,
}

/// What a server shows and asks for; clones share the record of handshakes.
#[derive(Debug, Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
}

impl TlsServer {
    /// Shows this certificate.
    pub fn new(leaf: &Leaf) -> TlsServer {
        TlsServer::with(leaf, &[], None)
    }

    /// Shows this certificate, and takes the first of these protocols that the client offers.
    pub fn with_alpn(leaf: &Leaf, alpn: &[&str]) -> TlsServer {
        TlsServer::with(leaf, alpn, None)
    }

    /// Shows this certificate, takes these protocols, and wants a certificate of this authority.
    pub fn with(leaf: &Leaf, alpn: &[&str], clients: Option<&Ca>) -> TlsServer {
        let provider = Arc::new(provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("suites for these versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(ca.der())
                    .expect("the authority's certificate is one");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("there is a root"))
            }
        };
        let mut config = builder
            .with_single_cert(leaf.chain(), leaf.key())
            .expect("a key for the certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsServer {
            config: Arc::new(config),
            handshakes: Arc::default(),
        }
    }

    /// All handshakes so far, those that failed too.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Handshake>> {
        self.handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Shakes hands as the server. `None` when that failed, which is kept in the record.
    pub fn accept(&self, stream: TcpStream) -> Option<Link> {
        let connection = ServerConnection::new(Arc::clone(&self.config)).expect("a sound config");
        let mut tls = StreamOwned::new(connection, stream);
        let _kept = tls.sock.set_read_timeout(Some(SOON));
        let mut fault = None;
        while tls.conn.is_handshaking() && fault.is_none() {
            fault = tls.conn.complete_io(&mut tls.sock).err();
        }
        let failed = fault.is_some();
        let alpn = tls.conn.alpn_protocol();
        let client = tls.conn.peer_certificates().and_then(|chain| chain.first());
        self.lock().push(Handshake {
            name: tls.conn.server_name().map(str::to_owned),
            alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()),
            version: version_name(tls.conn.protocol_version()),
            resumed: tls.conn.handshake_kind() == Some(HandshakeKind::Resumed),
            client: client.map(|der| der.to_vec()).unwrap_or_default(),
            fault: fault.map(|fault| fault.to_string()),
        });
        (!failed).then(|| Link::server(tls))
    }
}
