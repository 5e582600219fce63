//! What happened to certificates while the listener runs.

use std::fmt;

/// What a refresh found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// New handshakes use this certificate from now on.
    Taken {
        /// File or other origin.
        source: String,
        /// Names that it is for.
        names: Vec<String>,
        /// End of its validity in seconds since 1970.
        not_after: i64,
    },
    /// A certificate whose files are gone from a directory is not used any more.
    Removed {
        /// The file.
        source: String,
    },
    /// A file changed, and what it holds cannot be used: what was there before stays in use.
    Refused {
        /// The file.
        source: String,
        /// What is wrong.
        what: String,
        /// How to mend it.
        mend: String,
    },
    /// A certificate in use ends within three weeks; told once a day.
    Expiring {
        /// File or other origin.
        source: String,
        /// Names that it is for.
        names: Vec<String>,
        /// Whole days left.
        days: u32,
    },
    /// A certificate in use has ended; told once a day.
    Expired {
        /// File or other origin.
        source: String,
        /// Names that it is for.
        names: Vec<String>,
    },
    /// Certificates or revocation lists for clients were read again.
    ClientsTaken {
        /// The file.
        source: String,
    },
    /// Keys of session tickets were read again or changed.
    TicketKeysTaken {
        /// The file, or `own keys`.
        source: String,
    },
    /// An OCSP answer is stapled from now on.
    StapleTaken {
        /// The certificate's file.
        source: String,
    },
    /// No OCSP answer could be had.
    StapleFailed {
        /// The certificate's file.
        source: String,
        /// Why.
        what: String,
    },
}

impl Event {
    /// The word for labels of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Taken { .. } => "taken",
            Event::Removed { .. } => "removed",
            Event::Refused { .. } => "refused",
            Event::Expiring { .. } => "expiring",
            Event::Expired { .. } => "expired",
            Event::ClientsTaken { .. } => "clients_taken",
            Event::TicketKeysTaken { .. } => "ticket_keys_taken",
            Event::StapleTaken { .. } => "staple_taken",
            Event::StapleFailed { .. } => "staple_failed",
        }
    }

    /// Whether someone should look at it.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Event::Refused { .. }
                | Event::Expiring { .. }
                | Event::Expired { .. }
                | Event::StapleFailed { .. }
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Taken { source, names, .. } => {
                write!(f, "took the certificate {source} for {}", names.join(", "))
            }
            Event::Removed { source } => {
                write!(f, "the certificate {source} is gone and no longer used")
            }
            Event::Refused { source, what, mend } => {
                write!(f, "{source} changed and is not used: {what}; {mend}")
            }
            Event::Expiring {
                source,
                names,
                days,
            } => write!(
                f,
                "the certificate {source} for {} ends in {days} days: renew it",
                names.join(", ")
            ),
            Event::Expired { source, names } => write!(
                f,
                "the certificate {source} for {} has ended, clients refuse it: renew it now",
                names.join(", ")
            ),
            Event::ClientsTaken { source } => {
                write!(f, "took {source} for certificates of clients")
            }
            Event::TicketKeysTaken { source } => {
                write!(f, "session tickets use new keys: {source}")
            }
            Event::StapleTaken { source } => {
                write!(f, "took an OCSP answer for the certificate {source}")
            }
            Event::StapleFailed { source, what } => {
                write!(f, "no OCSP answer for the certificate {source}: {what}")
            }
        }
    }
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// End of its validity in seconds since 1970.
    pub not_after: i64,
    /// SHA-256 in lower-case hexadecimal.
    pub fingerprint: String,
    /// File or other origin.
    pub source: String,
}
