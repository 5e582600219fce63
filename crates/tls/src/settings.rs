//! What a listener and a pool can set.

use std::path::PathBuf;
use std::time::Duration;

/// One source of certificates of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// The chain, the server's own certificate first, and its key, both PEM.
    Pair {
        /// File of the chain.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// Chain and key in one PEM file, as HAProxy has it.
    Bundle(PathBuf),
    /// Each `NAME.crt`, `NAME.cer` or `NAME.pem` with a `NAME.key` beside it, and each other `*.pem` as a bundle.
    Directory(PathBuf),
}

/// What a client gets that asks for a name that no certificate has. A client that asks for no name
/// gets the default certificate in both cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The certificate of the first source.
    #[default]
    Default,
    /// The alert `unrecognized_name` (RFC 6066 section 3).
    Refuse,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A local CA and a certificate of it, for development.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// Host names and addresses; `localhost`, `127.0.0.1` and `::1` when empty.
    pub names: Vec<String>,
    /// Where the CA is kept. Created with mode 0700.
    pub folder: PathBuf,
}

/// Session tickets (RFC 8446 section 4.6.1, RFC 5077).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketSettings {
    /// Keys shared by several instances; our own when not set.
    pub key_file: Option<PathBuf>,
    /// How often our own key changes.
    pub rotate: Duration,
    /// How long a ticket can be used.
    pub lifetime: Duration,
}

/// Sessions of TLS 1.2 kept in memory by their id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSettings {
    /// Most memory for all of them, in bytes.
    pub bytes_max: u64,
    /// How long a session can be resumed.
    pub timeout: Duration,
}

/// Certificates of clients (mutual TLS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file with the certificates that sign those of clients.
    pub ca: PathBuf,
    /// Whether a client without a certificate is refused. One with a bad certificate always is.
    pub required: bool,
    /// Revocation lists, PEM or DER.
    pub crl: Option<PathBuf>,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Sources of certificates; the first certificate of the first is the default.
    pub certificates: Vec<CertificateSource>,
    /// A certificate of a local CA, in place of or beside `certificates`.
    pub self_signed: Option<SelfSigned>,
    /// What a client gets that asks for an unknown name.
    pub unknown_name: UnknownName,
    /// The lowest version.
    pub min_version: Version,
    /// The highest version.
    pub max_version: Version,
    /// Suites by their standard or OpenSSL name, the best first; empty for the defaults.
    pub cipher_suites: Vec<String>,
    /// Groups for the key exchange by their standard names, the best first; empty for the defaults.
    pub groups: Vec<String>,
    /// Protocols of ALPN, the best first; empty for none.
    pub alpn: Vec<Vec<u8>>,
    /// Session tickets; none for off.
    pub tickets: Option<TicketSettings>,
    /// Kept sessions; none for off.
    pub sessions: Option<SessionSettings>,
    /// Whether OCSP answers are stapled.
    pub ocsp: bool,
    /// Where OCSP answers are kept.
    pub state_folder: PathBuf,
    /// Certificates of clients; none when they are not asked for.
    pub client: Option<ClientCertificates>,
}

impl Default for ServerSettings {
    /// TLS 1.2 and 1.3 with the default suites and groups; no certificate, no ALPN, no resumption.
    fn default() -> ServerSettings {
        ServerSettings {
            certificates: Vec::new(),
            self_signed: None,
            unknown_name: UnknownName::Default,
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            alpn: Vec::new(),
            tickets: None,
            sessions: None,
            ocsp: false,
            state_folder: PathBuf::new(),
            client: None,
        }
    }
}

/// Who may sign certificates of servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Whom the system trusts.
    System,
    /// The certificates in a PEM file.
    File(PathBuf),
}

/// How certificates of servers are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// Chain, names and dates.
    Full,
    /// The server's own certificate has one of these SHA-256 fingerprints; nothing else is looked at.
    Pinned(Vec<[u8; 32]>),
    /// Not at all: whoever stands in between can read and change everything.
    Off,
}

/// The name that a server is asked for (SNI), and that its certificate must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    /// The server's own name or address.
    Own,
    /// Always this one.
    Fixed(String),
}

/// TLS towards the servers of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// Who may sign.
    pub roots: Roots,
    /// How certificates are verified.
    pub verify: Verify,
    /// The name asked for.
    pub server_name: ServerName,
    /// Our own certificate: files of the chain and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Protocols of ALPN, the best first; empty for none.
    pub alpn: Vec<Vec<u8>>,
    /// The lowest version.
    pub min_version: Version,
    /// The highest version.
    pub max_version: Version,
}

impl Default for ClientSettings {
    /// Verified by the system's roots, with the server's own name.
    fn default() -> ClientSettings {
        ClientSettings {
            roots: Roots::System,
            verify: Verify::Full,
            server_name: ServerName::Own,
            certificate: None,
            alpn: Vec::new(),
            min_version: Version::Tls12,
            max_version: Version::Tls13,
        }
    }
}
