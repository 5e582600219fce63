//! The certificate of the proxies under test, and the clients' side of TLS 1.3.
//!
//! One cipher (AES-128-GCM with SHA-256) and one group (X25519), so that every proxy does the same cryptography whatever
//! it would choose; no resumption, so that every handshake is a full one. The load generator takes any certificate: checking
//! it is work of the client alone. The check before a run demands the very certificate that was made here.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, SignatureScheme,
    StreamOwned,
};

use crate::protocol::Protocol;

/// The name in the certificate, and the host that all requests ask for.
pub const HOST: &str = "bench.example";

/// A certificate and its key.
#[derive(Debug)]
pub struct Pair {
    /// Certificate, PEM.
    pub certificate: String,
    /// Private key, PEM.
    pub key: String,
    der: CertificateDer<'static>,
}

impl Pair {
    fn make() -> Result<Pair> {
        // ECDSA on P-256 is what rcgen makes unless told otherwise.
        let made = rcgen::generate_simple_self_signed([HOST.to_string()])
            .context("cannot make a certificate")?;
        Ok(Pair {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            der: made.cert.der().clone(),
        })
    }

    /// The one pair of this process, ECDSA P-256, made when it is first asked for: all proxies get the same one.
    pub fn shared() -> Result<&'static Pair> {
        static PAIR: OnceLock<Pair> = OnceLock::new();
        if let Some(pair) = PAIR.get() {
            return Ok(pair);
        }
        let made = Pair::make()?;
        Ok(PAIR.get_or_init(|| made))
    }
}

/// Takes any certificate; the key exchange is done in full all the same.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Clients' settings for a protocol over TLS.
pub fn client_config(protocol: Protocol) -> Result<Arc<ClientConfig>> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3 is not there")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    Ok(Arc::new(config))
}

/// The client's end of a connection whose handshake has not begun.
pub fn client(config: &Arc<ClientConfig>) -> Result<ClientConnection, rustls::Error> {
    static NAME: OnceLock<ServerName<'static>> = OnceLock::new();
    let name = match NAME.get() {
        Some(name) => name,
        None => {
            let name = ServerName::try_from(HOST)
                .map_err(|_| rustls::Error::General("not a host name".into()))?;
            NAME.get_or_init(|| name)
        }
    };
    ClientConnection::new(Arc::clone(config), name.clone())
}

/// A client's connection in clear or over TLS, for single requests and held connections.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Plain(TcpStream),
    /// Over TLS.
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Makes the handshake where `protocol` wants one. Fails unless the proxy speaks TLS 1.3 and the protocol, and has the
    /// certificate of this process.
    pub fn open(tcp: TcpStream, protocol: Protocol) -> Result<Stream> {
        if !protocol.is_tls() {
            return Ok(Stream::Plain(tcp));
        }
        let mut stream = StreamOwned::new(client(&config_of(protocol)?)?, tcp);
        while stream.conn.is_handshaking() {
            let done = stream.conn.complete_io(&mut stream.sock);
            done.context("the TLS handshake failed")?;
        }
        let conn = &stream.conn;
        let version = conn.protocol_version();
        ensure!(
            version == Some(ProtocolVersion::TLSv1_3),
            "the proxy chose {version:?}, not TLS 1.3"
        );
        ensure!(
            conn.alpn_protocol() == Some(protocol.alpn()),
            "the proxy did not choose {} by ALPN",
            String::from_utf8_lossy(protocol.alpn())
        );
        let shown = conn.peer_certificates().and_then(|chain| chain.first());
        ensure!(
            shown == Some(&Pair::shared()?.der),
            "the proxy shows another certificate than it was given"
        );
        Ok(Stream::Secure(Box::new(stream)))
    }

    /// The connection below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Secure(stream) => &stream.sock,
        }
    }
}

/// Settings made once for each protocol: making them anew would cost more than many a request.
fn config_of(protocol: Protocol) -> Result<Arc<ClientConfig>> {
    static CONFIGS: [OnceLock<Arc<ClientConfig>>; 2] = [OnceLock::new(), OnceLock::new()];
    let slot = &CONFIGS[usize::from(protocol == Protocol::Http2)];
    if let Some(config) = slot.get() {
        return Ok(Arc::clone(config));
    }
    let made = client_config(protocol)?;
    Ok(Arc::clone(slot.get_or_init(|| made)))
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buffer),
            Stream::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Secure(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
pub mod testing {
    //! A TLS server to test clients against.

    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ServerConfig, ServerConnection};

    /// The server's end of a connection, with the certificate of this process and these protocols.
    pub fn server(alpn: &[&[u8]]) -> ServerConnection {
        let pair = Pair::shared().unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.der.clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        ServerConnection::new(Arc::new(config)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn handshake(alpn: &'static [&'static [u8]], protocol: Protocol) -> Result<Stream> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let mut stream = StreamOwned::new(testing::server(alpn), tcp);
            let mut byte = [0];
            // A client that refuses the server goes away, which is no fault of the server.
            if stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&[byte[0] + 1]).unwrap();
                stream.flush().unwrap();
            }
        });
        let opened = Stream::open(TcpStream::connect(address).unwrap(), protocol);
        let opened = opened.map(|mut stream| {
            stream.write_all(b"a").unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte, *b"b");
            stream
        });
        serving.join().unwrap();
        opened
    }

    #[test]
    fn a_stream_carries_bytes_over_tls() {
        handshake(&[b"h2", b"http/1.1"], Protocol::Http2).unwrap();
        handshake(&[b"http/1.1"], Protocol::Tls).unwrap();
    }

    #[test]
    fn a_server_without_the_protocol_is_refused() {
        assert!(handshake(&[], Protocol::Http2).is_err());
    }
}
