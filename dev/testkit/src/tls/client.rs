//! A TLS client whose every choice can be made by a test.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, Tls12Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, RootCertStore,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

use super::{Ca, Leaf, Link, provider, version_name};
use crate::client::Wire;
use crate::wait::SOON;

/// A client; clones share what they know for resumption.
#[derive(Debug, Clone)]
pub struct TlsClient {
    roots: RootCertStore,
    verifies: bool,
    name: String,
    sends_name: bool,
    alpn: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<String>,
    identity: Option<Leaf>,
    tls12: Tls12Resumption,
    staple: Arc<Mutex<Vec<u8>>>,
    config: OnceLock<Arc<ClientConfig>>,
}

/// What a handshake has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The suite by its standard name.
    pub suite: String,
    /// The key exchange group, as rustls writes it.
    pub group: String,
    /// The protocol that was chosen by ALPN.
    pub alpn: Option<String>,
    /// True for an abbreviated handshake.
    pub resumed: bool,
    /// The server's certificates, leaf first, DER.
    pub certificates: Vec<Vec<u8>>,
    /// The stapled OCSP answer, DER; empty without one. Of the last full handshake of this client.
    pub staple: Vec<u8>,
}

impl TlsClient {
    /// Trusts this authority and asks for `localhost`.
    pub fn new(ca: &Ca) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots
            .add(ca.der())
            .expect("the authority's certificate is one");
        TlsClient {
            roots,
            verifies: true,
            name: "localhost".to_owned(),
            sends_name: true,
            alpn: Vec::new(),
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            suites: Vec::new(),
            identity: None,
            tls12: Tls12Resumption::SessionIdOrTickets,
            staple: Arc::default(),
            config: OnceLock::new(),
        }
    }

    /// Takes any certificate.
    pub fn trusting() -> TlsClient {
        let ca = Ca::new("nobody");
        TlsClient {
            verifies: false,
            ..TlsClient::new(&ca)
        }
    }

    fn changed(self) -> TlsClient {
        TlsClient {
            config: OnceLock::new(),
            staple: Arc::default(),
            ..self
        }
    }

    /// The name to ask for and to check. Keeps what is known for resumption.
    pub fn name(self, name: &str) -> TlsClient {
        let name = name.to_owned();
        TlsClient { name, ..self }
    }

    /// Sends no SNI.
    pub fn without_name(self) -> TlsClient {
        TlsClient {
            sends_name: false,
            ..self.changed()
        }
    }

    /// Offers these protocols.
    pub fn alpn(self, protocols: &[&str]) -> TlsClient {
        let alpn = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        TlsClient {
            alpn,
            ..self.changed()
        }
    }

    /// Offers TLS 1.2 only.
    pub fn only_tls12(self) -> TlsClient {
        TlsClient {
            versions: vec![&rustls::version::TLS12],
            ..self.changed()
        }
    }

    /// Offers TLS 1.3 only.
    pub fn only_tls13(self) -> TlsClient {
        TlsClient {
            versions: vec![&rustls::version::TLS13],
            ..self.changed()
        }
    }

    /// In TLS 1.2, resumes by session id and not by ticket.
    pub fn without_tickets(self) -> TlsClient {
        TlsClient {
            tls12: Tls12Resumption::SessionIdOnly,
            ..self.changed()
        }
    }

    /// Offers these suites only; by their standard names, `TLS_AES_128_GCM_SHA256`.
    pub fn suites(self, names: &[&str]) -> TlsClient {
        let suites = names.iter().map(|name| (*name).to_owned()).collect();
        TlsClient {
            suites,
            ..self.changed()
        }
    }

    /// Shows this certificate when asked.
    pub fn identity(self, leaf: &Leaf) -> TlsClient {
        TlsClient {
            identity: Some(leaf.clone()),
            ..self.changed()
        }
    }

    /// Connects and shakes hands.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr) -> Wire {
        self.try_connect(address)
            .unwrap_or_else(|fault| panic!("TLS to {address}: {fault}"))
    }

    /// Connects and shakes hands, or says why not.
    pub fn try_connect(&self, address: SocketAddr) -> Result<Wire, String> {
        let stream = TcpStream::connect_timeout(&address, SOON)
            .map_err(|fault| format!("connect: {fault}"))?;
        self.over(stream)
    }

    /// Shakes hands on a connection that is there.
    pub fn over(&self, stream: TcpStream) -> Result<Wire, String> {
        let _slower = stream.set_nodelay(true);
        let config = Arc::clone(self.config.get_or_init(|| Arc::new(self.build())));
        let name = ServerName::try_from(self.name.clone()).map_err(|_| "not a name".to_owned())?;
        let connection = ClientConnection::new(config, name).map_err(|fault| fault.to_string())?;
        let mut tls = StreamOwned::new(connection, stream);
        let _kept = tls.sock.set_read_timeout(Some(SOON));
        let _kept = tls.sock.set_write_timeout(Some(SOON));
        while tls.conn.is_handshaking() {
            let outcome = tls.conn.complete_io(&mut tls.sock);
            outcome.map_err(|fault| format!("handshake: {fault}"))?;
        }
        let session = self.session(&tls.conn);
        Ok(Wire::over_tls(Link::client(tls), session))
    }

    fn session(&self, connection: &ClientConnection) -> TlsSession {
        let suite = connection.negotiated_cipher_suite();
        let group = connection.negotiated_key_exchange_group();
        let alpn = connection.alpn_protocol();
        let certificates = connection.peer_certificates().unwrap_or_default();
        TlsSession {
            version: version_name(connection.protocol_version()),
            suite: suite.map_or(String::new(), |suite| standard_name(suite.suite())),
            group: group.map_or(String::new(), |group| format!("{:?}", group.name())),
            alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            certificates: certificates.iter().map(|der| der.to_vec()).collect(),
            staple: self
                .staple
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    fn build(&self) -> ClientConfig {
        let mut provider = provider();
        if !self.suites.is_empty() {
            let wanted = |suite: &rustls::SupportedCipherSuite| {
                self.suites.contains(&standard_name(suite.suite()))
            };
            provider.cipher_suites.retain(wanted);
            assert!(!provider.cipher_suites.is_empty(), "{:?}", self.suites);
        }
        let provider = Arc::new(provider);
        let roots = Arc::new(self.roots.clone());
        let inner =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = Watching {
            inner: inner.expect("there is a root"),
            verifies: self.verifies,
            staple: Arc::clone(&self.staple),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .expect("suites for these versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            Some(leaf) => builder
                .with_client_auth_cert(leaf.chain(), leaf.key())
                .expect("a key for the certificate"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.clone();
        config.enable_sni = self.sends_name;
        config.resumption = Resumption::in_memory_sessions(64).tls12_resumption(self.tls12);
        config
    }
}

/// rustls writes `TLS13_…` where the registry has `TLS_…`.
fn standard_name(suite: rustls::CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}

/// Checks as rustls does, or nothing but the signature, and keeps the staple.
#[derive(Debug)]
struct Watching {
    inner: Arc<WebPkiServerVerifier>,
    verifies: bool,
    staple: Arc<Mutex<Vec<u8>>>,
}

impl ServerCertVerifier for Watching {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.staple.lock().unwrap_or_else(PoisonError::into_inner) = staple.to_vec();
        match self.verifies {
            true => self
                .inner
                .verify_server_cert(leaf, chain, name, staple, now),
            false => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
