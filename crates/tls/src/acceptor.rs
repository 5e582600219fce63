//! The TLS side of a listener: its settings compiled, and handshakes with clients.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
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
use crate::resumption::Resumption;
use crate::selfsigned::Local;
use crate::session::Session;
use crate::settings::{ClientCertificates, ServerSettings, SessionSettings, TicketSettings};
use crate::stapling::{Named, Stapling};
use crate::store::{Entry, Store};
use crate::stream::Stream;
use crate::suites::{Provider, prefers_chacha, versions};
use crate::watch::{Stamp, Watch, info};

/// Tickets given to a client of TLS 1.3: browsers open several connections at once.
const TICKETS: usize = 2;

/// Alerts that are sent before rustls sees the connection (RFC 8446 section 6.2).
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const INAPPROPRIATE_FALLBACK: u8 = 86;
const UNRECOGNIZED_NAME: u8 = 112;

/// TLS of one listener, shared by all workers.
#[derive(Debug)]
pub struct Acceptor {
    configs: ArcSwap<Configs>,
    store: Arc<Store>,
    parts: Parts,
    stapling: Stapling,
    /// Of the control plane; handshakes never take it.
    watched: Mutex<Watched>,
}

/// What all configurations of a listener have in common.
#[derive(Debug)]
struct Parts {
    provider: Provider,
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
    tickets: Option<TicketSettings>,
    sessions: Option<SessionSettings>,
    state_folder: PathBuf,
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
    local: Option<Local>,
    clients: [Stamp; 2],
    resumption: Resumption,
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
        let (mut faults, mut notices) = (Vec::new(), Vec::new());
        let versions =
            versions(settings.min_version, settings.max_version).map_err(|fault| vec![fault])?;
        let provider = Provider::new(&settings.cipher_suites, &settings.groups, versions)
            .map_err(|found| faults.extend(found))
            .ok();
        let loaded = Watch::load(&settings.certificates, &keys(), now)
            .map_err(|found| faults.extend(found))
            .ok();
        let local = settings.self_signed.as_ref().and_then(|own| {
            let opened = Local::open(own, &keys(), now);
            opened.map_err(|fault| faults.push(fault)).ok()
        });
        if settings.certificates.is_empty() && settings.self_signed.is_none() {
            faults.push(no_certificate());
        }
        let (Some(provider), Some((watch, found)), true) = (provider, loaded, faults.is_empty())
        else {
            return Err(faults);
        };
        notices.extend(found);
        let local = local.map(|(local, notice)| {
            notices.push(notice);
            local
        });
        let stapling = Stapling::new(settings.ocsp, settings.state_folder.join("ocsp"));
        let parts = Parts {
            provider,
            versions,
            alpn: settings.alpn,
            tickets: settings.tickets,
            sessions: settings.sessions,
            state_folder: settings.state_folder,
            client: settings.client,
        };
        let clients = client_stamps(parts.client.as_ref());
        let (resumption, found) = parts.resumption(now).map_err(|fault| vec![fault])?;
        notices.extend(found);
        let watched = Watched {
            watch,
            local,
            clients,
            resumption,
        };
        stapling.load(&watched.named(), now);
        let entries = watched.entries(&stapling);
        if entries.is_empty() {
            return Err(vec![no_certificate()]);
        }
        let store = Arc::new(Store::new(&entries, settings.unknown_name, unix(now)));
        let configs = parts.configs(&store, &watched.resumption, now);
        let (configs, found) = configs.map_err(|fault| vec![fault])?;
        notices.extend(found);
        let acceptor = Acceptor {
            configs: ArcSwap::from_pointee(configs),
            store,
            parts,
            stapling,
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
            Err(HelloFailure::NotTls) => return Err(HandshakeFault::Plain { first, tcp }),
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
        self.judge_version(&hello, &tcp)?;
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

    /// Refuses versions below ours with the alert that says so: rustls may find other faults first in
    /// what an old client sends.
    fn judge_version(&self, hello: &ClientHello, tcp: &TcpStream) -> Result<(), HandshakeFault> {
        let (least, most) = self.parts.version_range();
        let (description, text) = if hello.version_max() < least {
            (
                PROTOCOL_VERSION,
                "the client offers only versions below those that are allowed here",
            )
        } else if hello.fell_back(most) {
            (
                INAPPROPRIATE_FALLBACK,
                "the client came back with a lower version than both sides have (RFC 7507)",
            )
        } else {
            return Ok(());
        };
        alert(tcp, description);
        Err(HandshakeFault::Tls {
            class: FaultClass::Version,
            text: text.to_owned(),
        })
    }

    /// Looks at the files, and at what has to be renewed. To be called about once a second by the
    /// control plane; may block on files.
    pub fn refresh(&self, now: SystemTime) -> Vec<Event> {
        let mut events = Vec::new();
        let named = {
            let mut watched = self.watched();
            let mut changed = watched.watch.refresh(&keys(), now, &mut events);
            if let Some(local) = &mut watched.local
                && local.renew(&keys(), now)
            {
                changed = true;
                let one = local.certificate();
                events.push(Event::Taken {
                    source: local.source(),
                    names: one.names.clone(),
                    not_after: one.not_after,
                });
            }
            if changed {
                self.take(&watched, now);
            }
            watched.resumption.refresh(now, &mut events);
            self.refresh_clients(&mut watched, now, &mut events);
            if !self.stapling.is_on() {
                return events;
            }
            watched.named()
        };
        // A responder may be slow: whoever wants to see the certificates does not wait for it.
        if self.stapling.refresh(&named, now, &mut events) {
            self.take(&self.watched(), now);
        }
        events
    }

    /// The certificates in use, the default first.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let watched = self.watched();
        let local = watched.local.as_ref();
        let local = local.map(|local| info(local.source(), local.certificate()));
        watched.watch.infos().into_iter().chain(local).collect()
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the certificates that there are now to new handshakes.
    fn take(&self, watched: &Watched, now: SystemTime) {
        let entries = watched.entries(&self.stapling);
        // Without any certificate nobody could connect: those of before stay.
        if !entries.is_empty() {
            self.store.replace(&entries, unix(now));
        }
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
    fn refresh_clients(&self, watched: &mut Watched, now: SystemTime, events: &mut Vec<Event>) {
        let Some(client) = &self.parts.client else {
            return;
        };
        let stamps = client_stamps(Some(client));
        if stamps == watched.clients {
            return;
        }
        watched.clients = stamps;
        let source = client.ca.display().to_string();
        // Whom the new files would refuse must not come in with a session of before.
        let built = self.parts.resumption(now).and_then(|(resumption, _)| {
            let (configs, _) = self.parts.configs(&self.store, &resumption, now)?;
            Ok((configs, resumption))
        });
        match built {
            Ok((configs, resumption)) => {
                self.configs.store(Arc::new(configs));
                watched.resumption = resumption;
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
    fn entries(&self, stapling: &Stapling) -> Vec<Entry> {
        let local = self.local.as_ref().map(Local::certificate);
        let files = self
            .watch
            .certificates()
            .map(|(_, certificate)| certificate);
        files.chain(local).map(|one| stapling.entry(one)).collect()
    }

    /// The certificates of files. The local CA has no responder.
    fn named(&self) -> Vec<Named> {
        let each = self.watch.certificates();
        each.map(|(source, one)| (source, one.clone())).collect()
    }
}

fn client_stamps(client: Option<&ClientCertificates>) -> [Stamp; 2] {
    let ca = client.map(|client| client.ca.as_path());
    let crl = client.and_then(|client| client.crl.as_deref());
    [ca, crl].map(|path| path.map_or(Stamp::NONE, Stamp::of))
}

/// What loads keys.
fn keys() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn no_certificate() -> SettingsFault {
    SettingsFault::new(
        Setting::Certificates,
        "there is no certificate, and without one no client can connect",
        "name certificates, or set self_signed for development",
    )
}

impl Parts {
    /// The lowest and the highest version as on the wire.
    fn version_range(&self) -> (u16, u16) {
        let versions = self.versions.iter().map(|one| u16::from(one.version));
        (
            versions.clone().min().unwrap_or(0),
            versions.max().unwrap_or(0),
        )
    }

    fn resumption(&self, now: SystemTime) -> Result<(Resumption, Vec<Notice>), SettingsFault> {
        let (tickets, sessions) = (self.tickets.as_ref(), self.sessions);
        let scope = client_auth::scope(self.client.as_ref());
        Resumption::new(tickets, sessions, &self.state_folder, &scope, now)
    }

    fn configs(
        &self,
        store: &Arc<Store>,
        resumption: &Resumption,
        now: SystemTime,
    ) -> Result<(Configs, Vec<Notice>), SettingsFault> {
        let (verifier, notices) = match &self.client {
            Some(client) => {
                let built = client_auth::verifier(client, &self.provider.standard, now)?;
                (Some(built.0), built.1)
            }
            None => (None, Vec::new()),
        };
        let build = |provider: &Arc<CryptoProvider>| {
            self.config(provider, store, resumption, verifier.clone())
        };
        let configs = Configs {
            standard: build(&self.provider.standard)?,
            for_chacha: self.provider.for_chacha.as_ref().map(build).transpose()?,
        };
        Ok((configs, notices))
    }

    fn config(
        &self,
        provider: &Arc<CryptoProvider>,
        store: &Arc<Store>,
        resumption: &Resumption,
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
        config.session_storage = match &resumption.sessions {
            Some(sessions) => sessions.clone(),
            None => Arc::new(NoServerSessionStorage {}),
        };
        config.send_tls13_tickets = 0;
        if let Some(tickets) = &resumption.tickets {
            config.ticketer = tickets.clone();
        }
        if resumption.is_on() {
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
