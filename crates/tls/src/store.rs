//! Certificates by name, for the handshake path: one look-up in a table that is never locked.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Certificate;
use crate::settings::UnknownName;

/// The certificates of one name, the one to be preferred first.
type Choice = Arc<[Arc<CertifiedKey>]>;

/// All certificates by name.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<Box<str>, Choice>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Choice>,
    default: Option<Choice>,
}

/// The table that handshakes read and `refresh` replaces.
#[derive(Debug)]
pub(crate) struct Store {
    names: ArcSwap<Names>,
    unknown: UnknownName,
}

impl Store {
    /// A table of `certificates`; the first one is the default.
    pub(crate) fn new(certificates: &[Entry], unknown: UnknownName, now: i64) -> Store {
        Store {
            names: ArcSwap::from_pointee(Names::new(certificates, now)),
            unknown,
        }
    }

    /// Takes other certificates. Handshakes that run keep what they chose.
    pub(crate) fn replace(&self, certificates: &[Entry], now: i64) {
        self.names.store(Arc::new(Names::new(certificates, now)));
    }

    /// Whether a client that asks for `name` is to be refused.
    pub(crate) fn refuses(&self, name: Option<&str>) -> bool {
        self.unknown == UnknownName::Refuse
            && name.is_some_and(|name| self.names.load().find(name).is_none())
    }

    /// The certificate for a name, by what `fits` the client.
    fn choose(
        &self,
        name: Option<&str>,
        fits: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let names = self.names.load();
        let known = name.and_then(|name| names.find(name));
        if known.is_none() && name.is_some() && self.unknown == UnknownName::Refuse {
            return None;
        }
        let choice = known.or(names.default.as_ref())?;
        let fitting = choice.iter().find(|key| fits(key));
        // Without one that fits, rustls says with the right alert what is missing.
        fitting.or(choice.first()).cloned()
    }
}

impl ResolvesServerCert for Store {
    /// Of several certificates for a name the first whose signature the client can check. rustls has
    /// taken those schemes out that the client's suites do not allow (TLS 1.2).
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name(), |key| {
            key.key.choose_scheme(schemes).is_some()
        })
    }
}

/// A certificate with what is stapled to it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub certificate: Arc<Certificate>,
    /// The key as handshakes use it: the certificate's own, or a copy with an OCSP answer.
    pub key: Arc<CertifiedKey>,
}

impl Names {
    fn new(entries: &[Entry], now: i64) -> Names {
        let mut exact: HashMap<Box<str>, Vec<&Entry>> = HashMap::new();
        let mut wildcard: HashMap<Box<str>, Vec<&Entry>> = HashMap::new();
        for entry in entries {
            for name in &entry.certificate.names {
                match name.strip_prefix("*.") {
                    Some(rest) => wildcard.entry(rest.into()).or_default().push(entry),
                    None => exact.entry(name.as_str().into()).or_default().push(entry),
                }
            }
        }
        let sorted = |mut list: Vec<&Entry>| -> Choice {
            // Stable: what was configured first stays first among equals.
            list.sort_by_key(|entry| {
                let valid = entry.certificate.is_valid_at(now);
                let small = entry.certificate.algorithm() != SignatureAlgorithm::RSA;
                Reverse((valid, small))
            });
            list.iter().map(|entry| entry.key.clone()).collect()
        };
        let table = |names: HashMap<Box<str>, Vec<&Entry>>| -> HashMap<Box<str>, Choice> {
            names
                .into_iter()
                .map(|(name, list)| (name, sorted(list)))
                .collect()
        };
        let mut names = Names {
            exact: table(exact),
            wildcard: table(wildcard),
            default: None,
        };
        // The default is the first certificate, and those of the same name with another kind of key.
        names.default = entries.first().map(|first| {
            let own = first.certificate.names.first();
            own.and_then(|name| match name.strip_prefix("*.") {
                Some(rest) => names.wildcard.get(rest),
                None => names.exact.get(name.as_str()),
            })
            .cloned()
            .unwrap_or_else(|| Arc::from([first.key.clone()]))
        });
        names
    }

    fn find(&self, name: &str) -> Option<&Choice> {
        // rustls and our parser give lower case; this costs nothing then.
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let name = name.strip_suffix('.').unwrap_or(&name);
        self.exact.get(name).or_else(|| {
            // A wildcard stands for one label (RFC 9525 section 6.3).
            let (label, rest) = name.split_once('.')?;
            (!label.is_empty())
                .then(|| self.wildcard.get(rest))
                .flatten()
        })
    }
}
