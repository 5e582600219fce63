//! TLS towards clients and towards servers. Files are named here and read by a later stage.

use std::path::PathBuf;
use std::time::Duration;

use crate::Spanned;
use crate::words::words;

words! {
    /// A version of TLS.
    TlsVersion {
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

words! {
    /// What a client gets that asks for a name which no certificate has.
    UnknownName {
        /// The first certificate.
        Default = "default",
        /// The alert unrecognized_name.
        Refuse = "refuse",
    }
}

words! {
    /// Whether a client must have a certificate.
    VerifyClient {
        /// A client without a valid one is refused in the handshake.
        Required = "required",
        /// A client may have none; one that it shows must be valid.
        Optional = "optional",
    }
}

/// Where a certificate and its key are. Relative paths were joined to the configuration file's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// Two files in PEM.
    Pair {
        /// Certificate and chain.
        cert: Spanned<PathBuf>,
        /// Key.
        key: Spanned<PathBuf>,
    },
    /// Certificate, chain and key in one file.
    Bundle(Spanned<PathBuf>),
    /// A folder of bundles and pairs.
    Directory(Spanned<PathBuf>),
}

/// A certificate of our own making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// Names, `*.` names and IP addresses; never empty. Default localhost and its addresses.
    pub names: Vec<Spanned<String>>,
}

/// What a listener shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// Those of files; never empty, the first is the default one.
    Files(Vec<Spanned<CertificateSource>>),
    /// One that is made here.
    SelfSigned(Spanned<SelfSigned>),
}

/// Session tickets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tickets {
    /// File with keys that nodes share; `None` = keys of our own, kept in the state folder.
    pub keys: Option<Spanned<PathBuf>>,
    /// How long a key of our own encrypts; default 12 h.
    pub rotate: Duration,
    /// How long a ticket may be used; default 24 h.
    pub lifetime: Duration,
}

/// The store of sessions that are resumed by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// Bytes; default 10 MiB.
    pub size: u64,
    /// How long a session may be resumed; default 10 min.
    pub timeout: Duration,
}

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// File with the CAs.
    pub ca: Spanned<PathBuf>,
    /// Default required.
    pub verify: VerifyClient,
    /// File with revocation lists.
    pub crl: Option<Spanned<PathBuf>>,
    /// Whether backends are told; default true.
    pub headers: bool,
}

/// Strict-Transport-Security, RFC 6797.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hsts {
    /// Default 365 days; whole seconds are sent.
    pub max_age: Duration,
    /// Default false.
    pub include_subdomains: bool,
    /// Default false; true only with `include_subdomains` and a year.
    pub preload: bool,
}

impl Hsts {
    /// The field's value.
    pub fn value(&self) -> String {
        let mut value = format!("max-age={}", self.max_age.as_secs());
        if self.include_subdomains {
            value.push_str("; includeSubDomains");
        }
        if self.preload {
            value.push_str("; preload");
        }
        value
    }
}

/// Limits of handshakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshakes {
    /// A second, from one IPv4 address or one /64 of IPv6; `None` = no limit, the default.
    pub per_client: Option<u32>,
    /// Under way at a time, over all workers; default 4096.
    pub concurrent: u32,
}

/// TLS of a listener. How long a handshake may take is in [`super::ClientTimeouts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// What is shown.
    pub certificates: Certificates,
    /// Default the first certificate.
    pub unknown_name: UnknownName,
    /// Default 1.2; never above `max_version`.
    pub min_version: Spanned<TlsVersion>,
    /// Default 1.3.
    pub max_version: Spanned<TlsVersion>,
    /// Standard names, checked by the later stage; empty = the library's defaults.
    pub cipher_suites: Vec<Spanned<String>>,
    /// Names of groups, checked by the later stage; empty = the library's defaults.
    pub groups: Vec<Spanned<String>>,
    /// `None` = off. The span is that of `tickets`.
    pub tickets: Option<Spanned<Tickets>>,
    /// `None` = off.
    pub sessions: Option<Sessions>,
    /// Whether OCSP answers are fetched and stapled; default true.
    pub ocsp: bool,
    /// `None` = clients are not asked for a certificate.
    pub client: Option<ClientCertificates>,
    /// `None` = off.
    pub hsts: Option<Hsts>,
    /// Limits of handshakes.
    pub handshakes: Handshakes,
}

/// CAs that are believed towards servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those of the operating system.
    System,
    /// Those of a file in PEM.
    File(PathBuf),
}

/// How a server's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyServer {
    /// By these CAs and its name.
    Full(Spanned<Roots>),
    /// It is one of these: SHA-256 of the whole certificate. Never empty.
    Pinned(Vec<Spanned<[u8; 32]>>),
    /// Not at all. A warning was given.
    Off,
}

/// The name that is sent to a server (SNI) and that its certificate must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    /// The host of the server's address.
    Server,
    /// This one, lower case; a DNS name or an IP address.
    Fixed(Spanned<String>),
}

/// TLS towards the servers of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Default by the system's CAs.
    pub verify: VerifyServer,
    /// Default that of the server's address. `host` was resolved.
    pub server_name: ServerName,
    /// Our own certificate and its key.
    pub certificate: Option<(Spanned<PathBuf>, Spanned<PathBuf>)>,
    /// Default 1.2.
    pub min_version: TlsVersion,
}
