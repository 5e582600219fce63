//! TLS: settings for listeners and pools, and what is wrong with them and with their files.
//!
//! Nothing is written here: what is kept in the state folder is made at the start, so that a check leaves no trace.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use keel_config::model::{
    self, CertificateSource, Certificates, HeaderEdits, HeaderValue, Listener, ListenerTls, Model,
    Pool, ServerProtocol, ServerTls, TlsVersion, VerifyServer,
};
use keel_config::{Code, Span, Spanned, codes};
use keel_tls::{
    Acceptor, CertificateInfo, ClientCertificates, ClientSettings, Connector, Notice, Roots,
    SelfSigned, ServerName, ServerSettings, SessionSettings, Setting, SettingsFault,
    TicketSettings, UnknownName, Verify, Version,
};

use super::Report;
use super::pools::ms;
use crate::ground::PoolUnits;

/// Folder of the local CA in the state folder.
const CA_FOLDER: &str = "ca";
/// From how many days before its end on a certificate is warned of, as while it runs.
const EXPIRING_DAYS: i64 = 21;
const DAY_S: i64 = 86_400;

/// What the start needs to make the TLS of a listener.
#[derive(Debug, Clone)]
pub struct TlsStart {
    /// The listener's name.
    pub listener: String,
    /// Settings, with the real state folder.
    pub settings: ServerSettings,
    /// How long a handshake may take, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Handshakes that may be under way, over all workers.
    pub concurrent: u32,
    /// Handshakes a second from one client, over all workers.
    pub per_client: Option<u32>,
}

/// TLS of the admin listener; `None` without. Its files are read once, to judge them.
pub(super) fn admin(report: &mut Report<'_>) -> Option<TlsStart> {
    let model = report.model;
    let tls = model.admin.as_ref()?.tls.as_ref()?;
    // Of a listener only HTTP/2, which is not spoken here, and the timeout of handshakes matter.
    let listener = Listener {
        http2: None,
        tls: Some(tls.clone()),
        ..model.listeners.first()?.clone()
    };
    let settings = settings(model, &listener, tls);
    judge(report, tls, &settings);
    Some(TlsStart {
        listener: "admin".to_owned(),
        settings,
        handshake_timeout_ms: ms(listener.timeouts.handshake),
        concurrent: tls.handshakes.concurrent,
        per_client: tls.handshakes.per_client,
    })
}

/// What the start needs, by listener; `None` for one without TLS. All files are read once, to judge them.
pub(super) fn listeners(report: &mut Report<'_>) -> Vec<Option<TlsStart>> {
    let model = report.model;
    let start = |listener: &Listener| {
        let tls = listener.tls.as_ref()?;
        let settings = settings(model, listener, tls);
        // One that runs looks after its files itself.
        let runs = report.ground.tls(&listener.name.value);
        if runs.is_none_or(|(start, _)| start.settings != settings) {
            judge(report, tls, &settings);
        }
        Some(TlsStart {
            listener: listener.name.value.clone(),
            settings,
            handshake_timeout_ms: ms(listener.timeouts.handshake),
            concurrent: tls.handshakes.concurrent,
            per_client: tls.handshakes.per_client,
        })
    };
    model.listeners.iter().map(start).collect()
}

/// Strict-Transport-Security as an outermost edit: what is set or removed elsewhere takes its place.
pub(super) fn hsts(listener: &Listener) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    if let Some(tls) = &listener.tls
        && let Some(hsts) = &tls.hsts
    {
        let here = |text: &str| Spanned::new(text.to_owned(), tls.span);
        edits.set.push(HeaderValue {
            name: here("Strict-Transport-Security"),
            value: here(&hsts.value()),
        });
    }
    edits
}

/// Headers that tell servers of the client's certificate, and what each holds.
const CLIENT_HEADERS: [(&str, &str); 5] = [
    ("X-Client-Cert-Verify", "$ssl_client_verify"),
    ("X-Client-Cert-Subject", "$ssl_client_s_dn"),
    ("X-Client-Cert-Issuer", "$ssl_client_i_dn"),
    ("X-Client-Cert-Serial", "$ssl_client_serial"),
    ("X-Client-Cert-Fingerprint", "$ssl_client_fingerprint"),
];

/// What a listener does with the headers about client certificates: writes them where it is asked to, and takes
/// away what a client sent under these names on every listener, as soon as one writes them: servers believe them.
pub(super) fn client_headers(model: &Model, listener: &Listener) -> HeaderEdits {
    let writes = |listener: &Listener| {
        let client = listener.tls.as_ref().and_then(|tls| tls.client.as_ref());
        client.is_some_and(|client| client.headers)
    };
    let mut edits = HeaderEdits::default();
    if !model.listeners.iter().any(writes) {
        return edits;
    }
    let here = |text: &str| Spanned::new(text.to_owned(), listener.name.span);
    for (name, value) in CLIENT_HEADERS {
        match writes(listener) {
            true => edits.set.push(HeaderValue {
                name: here(name),
                value: here(value),
            }),
            false => edits.remove.push(here(name)),
        }
    }
    edits
}

/// Loads everything as the start will, but writes nothing, and reports what is wrong.
fn judge(report: &mut Report<'_>, tls: &Spanned<ListenerTls>, settings: &ServerSettings) {
    let mut trial = settings.clone();
    // Nothing is kept: keys of tickets are made in memory, the local CA is made at the start, no responder is asked.
    trial.state_folder = PathBuf::new();
    trial.ocsp = false;
    let own = trial.self_signed.take().is_some();
    match Acceptor::new(trial) {
        Ok((acceptor, notices)) => {
            for notice in notices.iter().filter(|notice| notice.warning) {
                warn(
                    report,
                    listener_span(tls, notice.setting, &notice.what),
                    notice,
                );
            }
            for one in acceptor.certificates() {
                warn_of_end(report, tls, &one);
            }
        }
        Err(faults) => {
            for fault in &faults {
                // Without its own certificate the trial has none.
                if own && fault.setting == Setting::Certificates {
                    continue;
                }
                add(
                    report,
                    listener_span(tls, fault.setting, &fault.what),
                    fault,
                );
            }
        }
    }
}

/// Warns of a certificate that ends soon. Of one that has ended there is a notice.
fn warn_of_end(report: &mut Report<'_>, tls: &Spanned<ListenerTls>, one: &CertificateInfo) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let left = one.not_after.saturating_sub(now);
    let Certificates::Files(files) = &tls.certificates else {
        return;
    };
    if left <= 0 || left > EXPIRING_DAYS * DAY_S {
        return;
    }
    let path = Path::new(&one.source);
    let from = |file: &&Spanned<CertificateSource>| match &file.value {
        CertificateSource::Pair { cert, .. } => cert.value == path,
        CertificateSource::Bundle(bundle) => bundle.value == path,
        CertificateSource::Directory(folder) => path.starts_with(&folder.value),
    };
    let what = format!(
        "the certificate in {} for {} ends in {} days",
        one.source,
        one.names.join(", "),
        left / DAY_S
    );
    let span = files.iter().find(from);
    let span = span.map_or(tls.span, |file| source_span(file, &what));
    report.add(&codes::CERTIFICATE, span, what, "renew it");
}

/// TLS towards the servers of a pool with its settings; `None` when it has none, or when something is wrong, which
/// is reported. That of before when the settings are the same: its sessions live on.
pub(super) fn connector(
    report: &mut Report<'_>,
    pool: &Pool,
    before: Option<&PoolUnits>,
) -> Option<(ClientSettings, Arc<Connector>)> {
    let before = before.and_then(|it| it.connector.as_ref());
    connect(report, pool.tls.as_ref()?, pool.protocol, before)
}

/// A connector for this protocol; that of before when the settings are the same.
pub(super) fn connect(
    report: &mut Report<'_>,
    tls: &Spanned<ServerTls>,
    protocol: ServerProtocol,
    before: Option<&(ClientSettings, Arc<Connector>)>,
) -> Option<(ClientSettings, Arc<Connector>)> {
    let settings = client_settings(protocol, tls);
    if let Some(before) = before
        && before.0 == settings
    {
        return Some(before.clone());
    }
    match Connector::new(settings.clone()) {
        Ok((connector, notices)) => {
            // Loading told of certificates that are not verified.
            let told = |notice: &&Notice| notice.warning && notice.setting != Setting::Verify;
            for notice in notices.iter().filter(told) {
                let span = pool_span(tls, notice.setting, &notice.what);
                warn(report, span, notice);
            }
            Some((settings, Arc::new(connector)))
        }
        Err(faults) => {
            for fault in &faults {
                let span = pool_span(tls, fault.setting, &fault.what);
                add(report, span, fault);
            }
            None
        }
    }
}

fn client_settings(protocol: ServerProtocol, tls: &ServerTls) -> ClientSettings {
    let (roots, verify) = match &tls.verify {
        VerifyServer::Full(roots) => {
            let roots = match &roots.value {
                model::Roots::System => Roots::System,
                model::Roots::File(path) => Roots::File(path.clone()),
            };
            (roots, Verify::Full)
        }
        VerifyServer::Pinned(pins) => {
            let pins = pins.iter().map(|pin| pin.value).collect();
            (Roots::System, Verify::Pinned(pins))
        }
        VerifyServer::Off => (Roots::System, Verify::Off),
    };
    let pair = tls.certificate.as_ref();
    let alpn: &[&[u8]] = match protocol {
        ServerProtocol::Http1 => &[b"http/1.1"],
        ServerProtocol::Http2 => &[b"h2"],
        ServerProtocol::Auto => &[b"h2", b"http/1.1"],
    };
    ClientSettings {
        roots,
        verify,
        server_name: match &tls.server_name {
            model::ServerName::Server => ServerName::Own,
            model::ServerName::Fixed(name) => ServerName::Fixed(name.value.clone()),
        },
        certificate: pair.map(|(cert, key)| (cert.value.clone(), key.value.clone())),
        alpn: alpn.iter().map(|name| name.to_vec()).collect(),
        min_version: version(tls.min_version),
        max_version: Version::Tls13,
    }
}

/// Where a setting of a pool was written. Of our own certificate, the file that the text names.
fn pool_span(tls: &Spanned<ServerTls>, setting: Setting, text: &str) -> Span {
    let found = match setting {
        Setting::ServerCa => match &tls.verify {
            VerifyServer::Full(roots) => Some(roots.span),
            _ => None,
        },
        Setting::Pin => match &tls.verify {
            VerifyServer::Pinned(pins) => pins.first().map(|pin| pin.span),
            _ => None,
        },
        Setting::ServerName => match &tls.server_name {
            model::ServerName::Fixed(name) => Some(name.span),
            model::ServerName::Server => None,
        },
        Setting::ClientCertificate => tls.certificate.as_ref().map(|(cert, key)| {
            let is_key = text.contains(&*key.value.to_string_lossy())
                && !text.contains(&*cert.value.to_string_lossy());
            if is_key { key.span } else { cert.span }
        }),
        _ => None,
    };
    found.unwrap_or(tls.span)
}

/// Reports a fault of a setting.
fn add(report: &mut Report<'_>, span: Span, fault: &SettingsFault) {
    report.add(code(fault.setting), span, fault.what.clone(), &fault.mend);
}

/// Reports what should be looked at.
fn warn(report: &mut Report<'_>, span: Span, notice: &Notice) {
    report.add(&codes::CERTIFICATE, span, notice.what.clone(), "");
}

fn code(setting: Setting) -> &'static Code {
    match setting {
        Setting::CipherSuite(_)
        | Setting::CipherSuites
        | Setting::Group(_)
        | Setting::Versions
        | Setting::Sessions
        | Setting::Verify
        | Setting::Pin
        | Setting::ServerName => &codes::BAD_TLS,
        _ => &codes::BAD_CERTIFICATE,
    }
}

/// Where a setting of a listener was written. Of a pair, the file that the text names.
fn listener_span(tls: &Spanned<ListenerTls>, setting: Setting, text: &str) -> Span {
    let at = |list: &[Spanned<String>], at: usize| list.get(at).map(|name| name.span);
    let client = tls.client.as_ref();
    let found = match setting {
        Setting::Certificate(at) => match &tls.certificates {
            Certificates::Files(files) => files.get(at).map(|file| source_span(file, text)),
            Certificates::SelfSigned(own) => Some(own.span),
        },
        Setting::SelfSigned => match &tls.certificates {
            Certificates::SelfSigned(own) => Some(own.span),
            Certificates::Files(_) => None,
        },
        Setting::CipherSuite(position) => at(&tls.cipher_suites, position),
        Setting::CipherSuites => tls.cipher_suites.first().map(|name| name.span),
        Setting::Group(position) => at(&tls.groups, position),
        Setting::Versions => Some(tls.min_version.span),
        Setting::TicketKeys => tls.tickets.as_ref().map(|tickets| {
            let keys = tickets.keys.as_ref();
            keys.map_or(tickets.span, |keys| keys.span)
        }),
        Setting::ClientCa => client.map(|client| client.ca.span),
        Setting::ClientCrl => client.and_then(|client| client.crl.as_ref().map(|crl| crl.span)),
        _ => None,
    };
    found.unwrap_or(tls.span)
}

fn source_span(source: &Spanned<CertificateSource>, text: &str) -> Span {
    match &source.value {
        CertificateSource::Pair { cert, key } => {
            let names = |path: &Spanned<PathBuf>| text.contains(&*path.value.to_string_lossy());
            match (names(cert), names(key)) {
                (true, false) => cert.span,
                (false, true) => key.span,
                _ => source.span,
            }
        }
        CertificateSource::Bundle(path) | CertificateSource::Directory(path) => path.span,
    }
}

fn settings(model: &Model, listener: &Listener, tls: &ListenerTls) -> ServerSettings {
    let (certificates, self_signed) = match &tls.certificates {
        Certificates::Files(files) => (files.iter().map(|it| source(&it.value)).collect(), None),
        Certificates::SelfSigned(own) => {
            let own = SelfSigned {
                names: own.names.iter().map(|name| name.value.clone()).collect(),
                folder: model.state.join(CA_FOLDER),
            };
            (Vec::new(), Some(own))
        }
    };
    let names = |list: &[Spanned<String>]| list.iter().map(|name| name.value.clone()).collect();
    let mut alpn = vec![b"http/1.1".to_vec()];
    if listener.http2.is_some() {
        alpn.insert(0, b"h2".to_vec());
    }
    ServerSettings {
        certificates,
        self_signed,
        unknown_name: match tls.unknown_name {
            model::UnknownName::Default => UnknownName::Default,
            model::UnknownName::Refuse => UnknownName::Refuse,
        },
        min_version: version(tls.min_version.value),
        max_version: version(tls.max_version.value),
        cipher_suites: names(&tls.cipher_suites),
        groups: names(&tls.groups),
        alpn,
        tickets: tls.tickets.as_ref().map(|tickets| TicketSettings {
            key_file: tickets.keys.as_ref().map(|path| path.value.clone()),
            rotate: tickets.rotate,
            lifetime: tickets.lifetime,
        }),
        sessions: tls.sessions.as_ref().map(|sessions| SessionSettings {
            bytes_max: sessions.size,
            timeout: sessions.timeout,
        }),
        ocsp: tls.ocsp,
        state_folder: model.state.value.clone(),
        client: tls.client.as_ref().map(|client| ClientCertificates {
            ca: client.ca.value.clone(),
            required: client.verify == model::VerifyClient::Required,
            crl: client.crl.as_ref().map(|path| path.value.clone()),
        }),
    }
}

fn source(source: &CertificateSource) -> keel_tls::CertificateSource {
    match source {
        CertificateSource::Pair { cert, key } => keel_tls::CertificateSource::Pair {
            cert: cert.value.clone(),
            key: key.value.clone(),
        },
        CertificateSource::Bundle(path) => keel_tls::CertificateSource::Bundle(path.value.clone()),
        CertificateSource::Directory(path) => {
            keel_tls::CertificateSource::Directory(path.value.clone())
        }
    }
}

/// A version as the TLS crate has it.
fn version(version: TlsVersion) -> Version {
    match version {
        TlsVersion::Tls12 => Version::Tls12,
        TlsVersion::Tls13 => Version::Tls13,
    }
}
