//! The TLS side of a listener: its settings compiled, and handshakes with clients.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, StoresServerSessions};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::certificate::unix;
use crate::client_auth;
use crate::event::{CertificateInfo, Event};
use crate::facts::TlsFacts;
use crate::fault::{FaultClass, HandshakeFault, Notice, Setting, SettingsFault};
use crate::hello::{ClientHello, HELLO_BYTES_MAX, HelloFault, Parsed};
use crate::ja4;
use crate::peer::{PeerCertificate, hex};
use crate::session::Session;
use crate::settings::{ClientCertificates, ServerSettings};
use crate::store::{Entry, Store};
use crate::stream::Stream;
use crate::suites::{Provider, prefers_chacha, versions};
use crate::watch::{Stamp, Watch};

/// Tickets given to a client of TLS 1.3: browsers open several connections at once.
const TICKETS: usize = 2;

/// Alerts that are sent before rustls sees the connection (RFC 8446 section 6.2).
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

/// TLS of one listener, shared by all workers.
#[derive(Debug)]
pub struct Acceptor {
    configs: ArcSwap<Configs>,
    store: Arc<Store>,
    parts: Parts,
    /// Of the control plane; handshakes never take it.
    watched: Mutex<Watched>,
}

/// What all configurations of a listener have in common.
#[derive(Debug)]
struct Parts {
    provider: Provider,
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
    sessions: Option<Arc<dyn StoresServerSessions>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    client: Option<ClientCertificates>,
}

/// rustls's configuration, and the same for clients that have no hardware for AES.
#[derive(Debug)]
struct Configs {
    standard: Arc<ServerConfig>,
    for_chacha: Option<Arc<ServerConfig>>,
}

/// Files, and what was made of them.
#[derive(Debug)]
struct Watched {
    watch: Watch,
    clients: [Stamp; 2],
}

impl Acceptor {
    /// Loads all files and checks all settings. May block on files.
    ///
    /// # Errors
    ///
    /// All faults that there are, not only the first.
    pub fn new(settings: ServerSettings) -> Result<(Acceptor, Vec<Notice>), Vec<SettingsFault>> {
        crate::suites::install();
        let now = SystemTime::now();
        let mut faults = Vec::new();
        let versions =
            versions(settings.min_version, settings.max_version).map_err(|fault| vec![fault])?;
        let provider = Provider::new(&settings.cipher_suites, &settings.groups, versions)
            .map_err(|found| faults.extend(found))
            .ok();
        let keys = rustls::crypto::aws_lc_rs::default_provider();
        let loaded = Watch::load(&settings.certificates, &keys, now)
            .map_err(|found| faults.extend(found))
            .ok();
        let (Some(provider), Some((watch, notices))) = (provider, loaded) else {
            return Err(faults);
        };
        let parts = Parts {
            provider,
            versions,
            alpn: settings.alpn,
            sessions: None,
            tickets: None,
            client: settings.client,
        };
        let watched = Watched {
            watch,
            clients: client_stamps(parts.client.as_ref()),
        };
        let entries = watched.entries();
        if entries.is_empty() {
            faults.push(SettingsFault::new(
                Setting::Certificates,
                "there is no certificate, and without one no client can connect",
                "name certificates, or set self_signed for development",
            ));
            return Err(faults);
        }
        let store = Arc::new(Store::new(&entries, settings.unknown_name, unix(now)));
        let configs = parts.configs(&store).map_err(|fault| vec![fault])?;
        let acceptor = Acceptor {
            configs: ArcSwap::from_pointee(configs),
            store,
            parts,
            watched: Mutex::new(watched),
        };
        Ok((acceptor, notices))
    }

    /// Takes the connection to the end of its handshake. Has no timeout of its own; dropping it
    /// closes the connection.
    ///
    /// # Errors
    ///
    /// [`HandshakeFault`]; a client that speaks TLS was sent the alert.
    pub async fn accept(&self, mut tcp: TcpStream) -> Result<Stream, HandshakeFault> {
        let mut first = Vec::new();
        let hello = match read_hello(&mut tcp, &mut first).await {
            Ok(hello) => hello,
            Err(HelloFailure::NotTls) => return Err(HandshakeFault::Plain(first)),
            Err(HelloFailure::Hello(fault)) => {
                alert(&tcp, DECODE_ERROR);
                return Err(fault.into());
            }
            Err(HelloFailure::Io(error)) => return Err(error.into()),
        };
        if self.store.refuses(hello.server_name.as_deref()) {
            alert(&tcp, UNRECOGNIZED_NAME);
            return Err(HandshakeFault::Tls {
                class: FaultClass::UnknownName,
                text: "no certificate has the name that the client asked for".to_owned(),
            });
        }
        let session_id = session_id(&first);
        let config = self.config_for(&hello);
        let conn = ServerConnection::new(config).map_err(HandshakeFault::from)?;
        let mut session = Box::new(Session::new(tcp, conn, first));
        std::future::poll_fn(|cx| session.poll_handshake(cx)).await??;
        let conn = session.conn();
        let facts = TlsFacts {
            ja4: ja4::ja4(&hello).into(),
            server_name: hello.server_name,
            session_id,
            client: conn
                .peer_certificates()
                .and_then(|chain| chain.first())
                .and_then(|der| PeerCertificate::read(der))
                .map(Box::new),
            ..TlsFacts::of(conn)
        };
        session.set_facts(facts);
        Ok(Stream::Accepted(session))
    }

    /// Looks at the files, and at what has to be renewed. To be called about once a second by the
    /// control plane; may block on files.
    pub fn refresh(&self, now: SystemTime) -> Vec<Event> {
        let mut events = Vec::new();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = rustls::crypto::aws_lc_rs::default_provider();
        if watched.watch.refresh(&keys, now, &mut events) {
            let entries = watched.entries();
            if !entries.is_empty() {
                self.store.replace(&entries, unix(now));
            }
        }
        self.refresh_clients(&mut watched, &mut events);
        events
    }

    /// The certificates in use, the default first.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.watch.infos()
    }

    fn config_for(&self, hello: &ClientHello) -> Arc<ServerConfig> {
        let configs = self.configs.load();
        let chacha = configs.for_chacha.as_ref();
        chacha
            .filter(|_| prefers_chacha(&hello.cipher_suites))
            .unwrap_or(&configs.standard)
            .clone()
    }

    /// Reads the certificates and lists for clients again when they changed.
    fn refresh_clients(&self, watched: &mut Watched, events: &mut Vec<Event>) {
        let Some(client) = &self.parts.client else {
            return;
        };
        let stamps = client_stamps(Some(client));
        if stamps == watched.clients {
            return;
        }
        watched.clients = stamps;
        let source = client.ca.display().to_string();
        match self.parts.configs(&self.store) {
            Ok(configs) => {
                self.configs.store(Arc::new(configs));
                events.push(Event::ClientsTaken { source });
            }
            Err(fault) => events.push(Event::Refused {
                source,
                what: fault.what,
                mend: fault.mend,
            }),
        }
    }
}

impl Watched {
    fn entries(&self) -> Vec<Entry> {
        self.watch
            .certificates()
            .map(|(_, certificate)| Entry {
                certificate: certificate.clone(),
                key: certificate.key.clone(),
            })
            .collect()
    }
}

fn client_stamps(client: Option<&ClientCertificates>) -> [Stamp; 2] {
    let ca = client.map(|client| client.ca.as_path());
    let crl = client.and_then(|client| client.crl.as_deref());
    [ca, crl].map(|path| Stamp::of(path.unwrap_or("".as_ref())))
}

impl Parts {
    fn configs(&self, store: &Arc<Store>) -> Result<Configs, SettingsFault> {
        let verifier = match &self.client {
            Some(client) => Some(client_auth::verifier(client, &self.provider.standard)?),
            None => None,
        };
        let build = |provider: &Arc<CryptoProvider>| self.config(provider, store, verifier.clone());
        Ok(Configs {
            standard: build(&self.provider.standard)?,
            for_chacha: self.provider.for_chacha.as_ref().map(build).transpose()?,
        })
    }

    fn config(
        &self,
        provider: &Arc<CryptoProvider>,
        store: &Arc<Store>,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Arc<ServerConfig>, SettingsFault> {
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .map_err(|error| {
                SettingsFault::new(
                    Setting::CipherSuites,
                    format!("the versions, suites and groups do not fit together: {error}"),
                    "leave cipher_suites and groups out, or add some of each version",
                )
            })?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(store.clone());
        config.ignore_client_order = true;
        config.alpn_protocols = self.alpn.clone();
        config.session_storage = match &self.sessions {
            Some(sessions) => sessions.clone(),
            None => Arc::new(NoServerSessionStorage {}),
        };
        config.send_tls13_tickets = 0;
        if let Some(tickets) = &self.tickets {
            config.ticketer = tickets.clone();
        }
        if self.tickets.is_some() || self.sessions.is_some() {
            config.send_tls13_tickets = TICKETS;
        }
        Ok(Arc::new(config))
    }
}

/// Why there is no first message.
enum HelloFailure {
    NotTls,
    Hello(HelloFault),
    Io(std::io::Error),
}

/// Reads until the client's first message is whole. What was read stays in `first`.
async fn read_hello(
    tcp: &mut TcpStream,
    first: &mut Vec<u8>,
) -> Result<Box<ClientHello>, HelloFailure> {
    loop {
        // Most first messages are below 2 KiB, those with a hybrid key included.
        first.reserve(2048);
        match tcp.read_buf(first).await {
            Ok(0) => return Err(HelloFailure::Io(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) => return Err(HelloFailure::Io(error)),
        }
        match ClientHello::parse(first, HELLO_BYTES_MAX) {
            Ok(Parsed::Complete(hello, _)) => return Ok(hello),
            Ok(Parsed::Partial) => {}
            Err(HelloFault::NotTls) => return Err(HelloFailure::NotTls),
            Err(fault) => return Err(HelloFailure::Hello(fault)),
        }
    }
}

/// The session id of a first message that was parsed. One whose record ends before it is rare enough
/// to be without.
fn session_id(first: &[u8]) -> Box<str> {
    // Headers of record and message, version, random.
    const AT: usize = 5 + 4 + 2 + 32;
    let len = first.get(AT).map_or(0, |len| usize::from(*len).min(32));
    hex(first.get(AT + 1..AT + 1 + len).unwrap_or_default()).into()
}

/// A fatal alert in clear, as far as the socket takes it.
fn alert(tcp: &TcpStream, description: u8) {
    let _ = tcp.try_write(&[21, 3, 3, 0, 2, 2, description]);
}
