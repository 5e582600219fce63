//! Why settings cannot be used, and why a handshake failed.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use thiserror::Error as ThisError;
use tokio::net::TcpStream;

use crate::hello::HelloFault;

/// Which setting a fault or a notice is about; numbers count from 0 in the order of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// A source of `certificates`.
    Certificate(usize),
    /// There is no certificate at all.
    Certificates,
    /// A name in `cipher_suites`.
    CipherSuite(usize),
    /// The suites as a whole: none fits the versions.
    CipherSuites,
    /// A name in `groups`.
    Group(usize),
    /// `min_version` and `max_version`.
    Versions,
    /// `self_signed`, with its folder.
    SelfSigned,
    /// The key file of `tickets`.
    TicketKeys,
    /// `sessions`.
    Sessions,
    /// Certificates that sign those of clients.
    ClientCa,
    /// Revocation lists for certificates of clients.
    ClientCrl,
    /// Certificates that sign those of servers.
    ServerCa,
    /// How certificates of servers are verified.
    Verify,
    /// A pinned fingerprint.
    Pin,
    /// The name that servers are asked for.
    ServerName,
    /// Our own certificate towards servers.
    ClientCertificate,
    /// Stapled OCSP answers.
    Ocsp,
}

/// What is wrong with settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFault {
    /// Where.
    pub setting: Setting,
    /// What, and why it matters.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

impl SettingsFault {
    pub(crate) fn new(
        setting: Setting,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> SettingsFault {
        SettingsFault {
            setting,
            what: what.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for SettingsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.mend)
    }
}

impl std::error::Error for SettingsFault {}

/// Something the operator should know; the settings are used all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Where.
    pub setting: Setting,
    /// Whether it puts safety or service at risk (a warning), or only informs.
    pub warning: bool,
    /// What, and what to do.
    pub what: String,
}

/// Why a handshake did not come to its end.
#[derive(Debug, ThisError)]
pub enum HandshakeFault {
    /// The first byte is not one of TLS: likely HTTP in clear. What was read so far.
    #[error("the first bytes are not TLS")]
    Plain {
        /// What it sent first.
        first: Vec<u8>,
        /// The connection, for an answer in clear.
        tcp: TcpStream,
    },
    /// The peer closed before the end of the handshake.
    #[error("the peer closed during the TLS handshake")]
    Closed,
    /// TLS failed.
    #[error("{text}")]
    Tls {
        /// The kind of failure, for metrics.
        class: FaultClass,
        /// What happened.
        text: String,
    },
    /// The socket failed.
    #[error("the socket failed during the TLS handshake")]
    Io(#[source] io::Error),
    /// The first message is over 16 KiB.
    #[error("the ClientHello is over {} bytes", crate::hello::HELLO_BYTES_MAX)]
    TooLarge,
}

/// Kinds of TLS failures: a fixed set of words for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// No version in common.
    Version,
    /// No cipher suite, group or signature scheme in common.
    Cipher,
    /// No protocol of ALPN in common.
    Alpn,
    /// No certificate for the name that was asked for.
    UnknownName,
    /// The peer sent no certificate though one is required.
    NoCertificate,
    /// The peer's certificate is not accepted.
    BadCertificate,
    /// The peer does not accept our certificate.
    RefusedCertificate,
    /// The peer sent another alert.
    Alert,
    /// The peer broke the protocol.
    Protocol,
    /// Anything else.
    Other,
}

impl FaultClass {
    /// All classes, in the order of the enum.
    pub const ALL: [FaultClass; 10] = [
        FaultClass::Version,
        FaultClass::Cipher,
        FaultClass::Alpn,
        FaultClass::UnknownName,
        FaultClass::NoCertificate,
        FaultClass::BadCertificate,
        FaultClass::RefusedCertificate,
        FaultClass::Alert,
        FaultClass::Protocol,
        FaultClass::Other,
    ];

    /// The word for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultClass::Version => "version",
            FaultClass::Cipher => "cipher",
            FaultClass::Alpn => "alpn",
            FaultClass::UnknownName => "unknown_name",
            FaultClass::NoCertificate => "no_certificate",
            FaultClass::BadCertificate => "bad_certificate",
            FaultClass::RefusedCertificate => "refused_certificate",
            FaultClass::Alert => "alert",
            FaultClass::Protocol => "protocol",
            FaultClass::Other => "other",
        }
    }

    fn of(error: &Error) -> FaultClass {
        match error {
            Error::PeerIncompatible(why) => of_incompatible(why),
            Error::NoApplicationProtocol => FaultClass::Alpn,
            Error::NoCertificatesPresented => FaultClass::NoCertificate,
            Error::InvalidCertificate(CertificateError::NotValidForName)
            | Error::InvalidCertificate(_)
            | Error::InvalidCertRevocationList(_) => FaultClass::BadCertificate,
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => FaultClass::Protocol,
            _ => FaultClass::Other,
        }
    }
}

fn of_incompatible(why: &PeerIncompatible) -> FaultClass {
    use PeerIncompatible as P;
    match why {
        P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::Tls13RequiredForQuic
        | P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired => FaultClass::Version,
        _ => FaultClass::Cipher,
    }
}

fn of_alert(alert: AlertDescription) -> FaultClass {
    use AlertDescription as A;
    match alert {
        A::ProtocolVersion => FaultClass::Version,
        A::HandshakeFailure | A::InsufficientSecurity => FaultClass::Cipher,
        A::NoApplicationProtocol => FaultClass::Alpn,
        A::UnrecognisedName => FaultClass::UnknownName,
        A::CertificateRequired => FaultClass::NoCertificate,
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::BadCertificateStatusResponse => FaultClass::RefusedCertificate,
        _ => FaultClass::Alert,
    }
}

impl HandshakeFault {
    /// The word for the metric's label: one of [`FaultClass`], or `plain`, `closed`, `io`, `too_large`.
    pub fn label(&self) -> &'static str {
        match self {
            HandshakeFault::Plain { .. } => "plain",
            HandshakeFault::Closed => "closed",
            HandshakeFault::Tls { class, .. } => class.as_str(),
            HandshakeFault::Io(_) => "io",
            HandshakeFault::TooLarge => "too_large",
        }
    }
}

impl From<Error> for HandshakeFault {
    fn from(error: Error) -> HandshakeFault {
        HandshakeFault::Tls {
            class: FaultClass::of(&error),
            text: error.to_string(),
        }
    }
}

impl From<HelloFault> for HandshakeFault {
    fn from(fault: HelloFault) -> HandshakeFault {
        match fault {
            HelloFault::TooLarge { .. } => HandshakeFault::TooLarge,
            other => HandshakeFault::Tls {
                class: FaultClass::Protocol,
                text: other.to_string(),
            },
        }
    }
}

impl From<io::Error> for HandshakeFault {
    fn from(error: io::Error) -> HandshakeFault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => HandshakeFault::Closed,
            _ => HandshakeFault::Io(error),
        }
    }
}
