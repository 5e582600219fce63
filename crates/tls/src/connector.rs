//! The TLS side of a pool: handshakes with servers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName as Name;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;

use crate::certificate::{Certificate, Files, unix};
use crate::client_auth;
use crate::event::Event;
use crate::facts::TlsFacts;
use crate::fault::{FaultClass, HandshakeFault, Notice, Setting, SettingsFault};
use crate::session::Session;
use crate::settings::{ClientSettings, Roots, ServerName, Verify};
use crate::stream::Stream;
use crate::suites::{Provider, versions};
use crate::verify::{ByFingerprint, ByRoots};
use crate::watch::{Reminder, Stamp};

/// Sessions kept for resumption: one for each server name.
const SESSIONS: usize = 256;

/// TLS towards the servers of one pool, shared by all workers.
#[derive(Debug)]
pub struct Connector {
    config: ArcSwap<ClientConfig>,
    fixed: Option<Name<'static>>,
    settings: ClientSettings,
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    /// Of the control plane; handshakes never take it.
    watched: Mutex<Watched>,
    /// When a failed handshake was last told, in milliseconds.
    told_ms: AtomicU64,
}

/// The files as they were read last.
#[derive(Debug)]
struct Watched {
    stamps: [Stamp; 3],
    own: Option<Arc<Certificate>>,
    reminder: Reminder,
}

impl Connector {
    /// Loads all files and checks all settings. May block on files.
    ///
    /// # Errors
    ///
    /// All faults that there are, not only the first.
    pub fn new(settings: ClientSettings) -> Result<(Connector, Vec<Notice>), Vec<SettingsFault>> {
        crate::suites::install();
        let versions =
            versions(settings.min_version, settings.max_version).map_err(|fault| vec![fault])?;
        let provider = Provider::new(&[], &[], versions)?.standard;
        let mut faults = Vec::new();
        let fixed = match &settings.server_name {
            ServerName::Own => None,
            ServerName::Fixed(name) => Name::try_from(name.clone())
                .map_err(|_| faults.push(bad_name(name)))
                .ok(),
        };
        let stamps = stamps(&settings);
        let built = config(&settings, &provider, versions)
            .map_err(|found| faults.extend(found))
            .ok();
        let Some((built, own)) = built.filter(|_| faults.is_empty()) else {
            return Err(faults);
        };
        let notices = notices(&settings, own.as_deref());
        let connector = Connector {
            config: ArcSwap::from_pointee(built),
            fixed,
            settings,
            provider,
            versions,
            watched: Mutex::new(Watched {
                stamps,
                own,
                reminder: Reminder::default(),
            }),
            told_ms: AtomicU64::new(0),
        };
        Ok((connector, notices))
    }

    /// Takes a connection to `host` (a name or an address) to the end of its handshake. Has no
    /// timeout of its own; dropping it closes the connection.
    ///
    /// # Errors
    ///
    /// [`HandshakeFault`]; never `Plain` and never `TooLarge`.
    pub async fn connect(&self, host: &str, tcp: TcpStream) -> Result<Stream, HandshakeFault> {
        let name = match &self.fixed {
            Some(name) => name.clone(),
            None => Name::try_from(host.to_owned()).map_err(|_| HandshakeFault::Tls {
                class: FaultClass::Other,
                text: bad_name(host).to_string(),
            })?,
        };
        let server_name = match &name {
            Name::DnsName(name) => Some(name.as_ref().to_ascii_lowercase().into()),
            _ => None,
        };
        let conn = ClientConnection::new(self.config.load_full(), name)?;
        let mut session = Box::new(Session::new(tcp, conn, Vec::new()));
        std::future::poll_fn(|cx| session.poll_handshake(cx)).await??;
        let facts = TlsFacts {
            server_name,
            ..TlsFacts::of(session.conn())
        };
        session.set_facts(facts);
        Ok(Stream::Connected(session))
    }

    /// Whether a handshake that failed now is worth a line in the log: the first of the pool, and then
    /// one in 10 s. `now_ms` is a clock in milliseconds; it may be another one in each thread, as long
    /// as they count from about the same time.
    pub fn is_worth_telling(&self, now_ms: u64) -> bool {
        const EVERY_MS: u64 = 10_000;

        let last = self.told_ms.load(Ordering::Relaxed);
        // 0 is for never.
        let now = now_ms.max(1);
        (last == 0 || now.saturating_sub(last) >= EVERY_MS)
            && self
                .told_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Reads files again that changed: those of the roots and of our own certificate. To be called
    /// about once a second by the control plane; may block on files. What cannot be used is told
    /// once, and what was there before stays.
    pub fn refresh(&self, now: SystemTime) -> Vec<Event> {
        let mut events = Vec::new();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let source = || match (&self.settings.certificate, &self.settings.roots) {
            (Some((cert, _)), _) => cert.display().to_string(),
            (None, Roots::File(path)) => path.display().to_string(),
            (None, Roots::System) => "roots of the system".to_owned(),
        };
        let stamps = stamps(&self.settings);
        if stamps != watched.stamps {
            watched.stamps = stamps;
            match config(&self.settings, &self.provider, self.versions) {
                Ok((built, own)) => {
                    self.config.store(Arc::new(built));
                    events.push(Event::Taken {
                        source: source(),
                        names: own.iter().flat_map(|own| own.names.clone()).collect(),
                        not_after: own.as_ref().map_or(i64::MAX, |own| own.not_after),
                    });
                    watched.own = own;
                    watched.reminder = Reminder::default();
                }
                Err(faults) => events.extend(faults.into_iter().map(|fault| Event::Refused {
                    source: source(),
                    what: fault.what,
                    mend: fault.mend,
                })),
            }
        }
        let Watched { own, reminder, .. } = &mut *watched;
        if let Some(own) = own {
            events.extend(reminder.look(&source(), own, unix(now)));
        }
        events
    }
}

fn bad_name(name: &str) -> SettingsFault {
    SettingsFault::new(
        Setting::ServerName,
        format!(
            "`{name}` is neither a host name nor an address, so that no server can be asked for it"
        ),
        "write a name as example.com, without a port",
    )
}

fn stamps(settings: &ClientSettings) -> [Stamp; 3] {
    let roots = match &settings.roots {
        Roots::File(path) => Some(path.as_path()),
        Roots::System => None,
    };
    let pair = settings.certificate.as_ref();
    let (cert, key) = (
        pair.map(|pair| pair.0.as_path()),
        pair.map(|pair| pair.1.as_path()),
    );
    [roots, cert, key].map(|path| path.map_or(Stamp::NONE, Stamp::of))
}

fn notices(settings: &ClientSettings, own: Option<&Certificate>) -> Vec<Notice> {
    let mut notices = Vec::new();
    if settings.verify == Verify::Off {
        notices.push(Notice {
            setting: Setting::Verify,
            warning: true,
            what: "certificates of servers are NOT verified: whoever stands in between can read and change all requests and answers. Name the CA of the servers (ca), or pin their certificates (pin)".to_owned(),
        });
    }
    for what in own.iter().flat_map(|own| &own.remarks) {
        notices.push(Notice {
            setting: Setting::ClientCertificate,
            warning: true,
            what: what.clone(),
        });
    }
    notices
}

type Built = (ClientConfig, Option<Arc<Certificate>>);

/// The configuration of the files as they are now, and our own certificate.
fn config(
    settings: &ClientSettings,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Built, Vec<SettingsFault>> {
    let mut faults = Vec::new();
    let own = settings.certificate.as_ref().and_then(|(cert, key)| {
        let files = Files {
            cert: cert.clone(),
            key: Some(key.clone()),
        };
        Certificate::load(&files, provider)
            .map_err(|fault| faults.push(fault.at(Setting::ClientCertificate)))
            .ok()
            .map(Arc::new)
    });
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| {
            faults.push(SettingsFault::new(
                Setting::Versions,
                format!("the versions cannot be used: {error}"),
                "leave min_version and max_version out",
            ));
        })
        .ok();
    let builder = builder.and_then(|builder| match &settings.verify {
        Verify::Full => verifier(&settings.roots, provider)
            .map_err(|fault| faults.push(fault))
            .ok()
            .map(|verifier| {
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
            }),
        Verify::Pinned(pins) if pins.is_empty() => {
            faults.push(SettingsFault::new(
                Setting::Pin,
                "no fingerprint is pinned, so that no server could be trusted",
                "write the SHA-256 of the server's certificate: openssl x509 -in cert.pem -outform der | sha256sum",
            ));
            None
        }
        Verify::Pinned(pins) => {
            let verifier = ByFingerprint::pinned(pins.clone(), provider.clone());
            Some(builder.dangerous().with_custom_certificate_verifier(verifier))
        }
        Verify::Off => {
            let verifier = ByFingerprint::any(provider.clone());
            Some(builder.dangerous().with_custom_certificate_verifier(verifier))
        }
    });
    let Some(builder) = builder.filter(|_| faults.is_empty()) else {
        return Err(faults);
    };
    let mut config = match &own {
        Some(own) => {
            let own = SingleCertAndKey::from(own.key.clone());
            builder.with_client_cert_resolver(Arc::new(own))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = settings.alpn.clone();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok((config, own))
}

fn verifier(roots: &Roots, provider: &Arc<CryptoProvider>) -> Result<Arc<ByRoots>, SettingsFault> {
    let (roots, named) = match roots {
        Roots::System => (system_roots()?, Vec::new()),
        Roots::File(path) => client_auth::roots(path)?,
    };
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| {
            SettingsFault::new(
                Setting::ServerCa,
                format!("the CA certificates cannot be used: {error}"),
                "name a PEM file with CA certificates",
            )
        })?;
    Ok(ByRoots::new(usual, named))
}

fn system_roots() -> Result<RootCertStore, SettingsFault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first();
        return Err(SettingsFault::new(
            Setting::ServerCa,
            match why {
                Some(error) => {
                    format!("the system has no CA certificates that can be read: {error}")
                }
                None => "the system has no CA certificates".to_owned(),
            },
            "install the package ca-certificates, or name the CA of the servers (ca)",
        ));
    }
    Ok(roots)
}
