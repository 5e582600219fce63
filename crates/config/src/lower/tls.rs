//! TLS of listeners.

use std::path::PathBuf;
use std::time::Duration;

use super::{Lower, text_of};
use crate::decode::{Data, Fields, Item};
use crate::diagnostic::codes;
use crate::keys::{self, Key};
use crate::model::{
    CertificateSource, Certificates, ClientCertificates, Handshakes, Hsts, ListenerTls, SelfSigned,
    Sessions, Tickets, TlsVersion, UnknownName, VerifyClient,
};
use crate::span::{Span, Spanned};
use crate::values;

/// What the makers of browsers ask for before they put a host on their list.
const PRELOAD_AGE_MIN: Duration = Duration::from_secs(365 * 86_400);

impl Lower<'_> {
    /// A file's path as it is found from here.
    pub(super) fn file(&self, fields: &mut Fields, key: &Key) -> Option<Spanned<PathBuf>> {
        let path: Spanned<String> = fields.get(key)?;
        Some(Spanned::new(
            self.input.path(path.span, &path.value),
            path.span,
        ))
    }

    pub(super) fn listener_tls(&mut self, mut fields: Fields) -> Option<Spanned<ListenerTls>> {
        let span = fields.span();
        let certificates = self.certificates(&mut fields);
        let (min_version, max_version) = self.versions(&mut fields);
        let tickets = self.tickets(&mut fields);
        let sessions = self.sessions(&mut fields);
        let mut handshakes = fields
            .section(&keys::TLS_HANDSHAKES)
            .unwrap_or_else(|| self.defaults(&keys::HANDSHAKES, span));
        let per_client = handshakes.item(&keys::HANDSHAKES_PER_CLIENT);
        let tls = ListenerTls {
            unknown_name: fields.word::<UnknownName>(&keys::TLS_UNKNOWN_NAME),
            min_version,
            max_version,
            cipher_suites: texts(fields.items(&keys::TLS_CIPHER_SUITES)),
            groups: texts(fields.items(&keys::TLS_GROUPS)),
            tickets,
            sessions,
            ocsp: fields.value(&keys::TLS_OCSP),
            client: self.client_certificates(&mut fields),
            hsts: self.hsts(&mut fields),
            handshakes: Handshakes {
                per_client: per_client
                    .and_then(text_of)
                    .and_then(|text| values::rate(&text).ok()),
                concurrent: handshakes.value(&keys::HANDSHAKES_CONCURRENT),
            },
            certificates: certificates?,
        };
        Some(Spanned::new(tls, span))
    }

    fn certificates(&mut self, fields: &mut Fields) -> Option<Certificates> {
        let span = fields.span();
        let own_span = fields.span_of(&keys::TLS_SELF_SIGNED);
        let files_span = fields.span_of(&keys::TLS_CERTIFICATES);
        let has_files = fields.is_set(&keys::TLS_CERTIFICATES);
        let has_own = fields.is_set(&keys::TLS_SELF_SIGNED);
        let own = self.self_signed(fields);
        match (own, has_files) {
            (Some(_), true) => {
                let sources = self.input.sources;
                let what = "`self_signed` stands beside `certificates`";
                self.report(&codes::ONE_OF, own_span, what, |report| {
                    report
                        .related(sources, files_span, "the other one")
                        .help("remove `self_signed` once there is a certificate")
                });
                None
            }
            (Some(own), false) => Some(Certificates::SelfSigned(Spanned::new(own, own_span))),
            (None, true) => {
                let items = fields.items(&keys::TLS_CERTIFICATES);
                let mut files = Vec::with_capacity(items.len());
                for item in items {
                    files.extend(self.certificate(item));
                }
                (!files.is_empty()).then_some(Certificates::Files(files))
            }
            (None, false) => {
                let at = if has_own { own_span } else { span };
                let what = "TLS has no certificate";
                self.report(&codes::ONE_OF, at, what, |report| {
                    report.help(
                        "name one: `certificates: { cert: site.pem, key: site.key }`; for a first try write `self_signed: true`",
                    )
                });
                None
            }
        }
    }

    fn self_signed(&mut self, fields: &mut Fields) -> Option<SelfSigned> {
        let item = fields.item(&keys::TLS_SELF_SIGNED)?;
        let mut own = match item.data {
            Data::Bool(true) => self.defaults(&keys::SELF_SIGNED, item.span),
            Data::Fields(own) => own,
            _ => return None,
        };
        Some(SelfSigned {
            names: texts(own.items(&keys::SELF_SIGNED_NAMES)),
        })
    }

    fn certificate(&mut self, item: Item) -> Option<Spanned<CertificateSource>> {
        let span = item.span;
        let mut fields = match item.data {
            Data::Fields(fields) => fields,
            data => {
                let path = text_of(Item { span, data })?;
                let path = Spanned::new(self.input.path(span, &path.value), span);
                return Some(Spanned::new(CertificateSource::Bundle(path), span));
            }
        };
        let cert_span = fields.span_of(&keys::CERTIFICATE_CERT);
        let has_key = fields.is_set(&keys::CERTIFICATE_KEY);
        let key_span = fields.span_of(&keys::CERTIFICATE_KEY);
        let key = self.file(&mut fields, &keys::CERTIFICATE_KEY);
        if let Some(cert) = self.file(&mut fields, &keys::CERTIFICATE_CERT) {
            if !has_key {
                self.key_missing(cert_span);
            }
            let source = CertificateSource::Pair { cert, key: key? };
            return Some(Spanned::new(source, span));
        }
        // A key with nothing beside it was reported already.
        let complete =
            fields.is_set(&keys::CERTIFICATE_BUNDLE) || fields.is_set(&keys::CERTIFICATE_DIRECTORY);
        if has_key && complete {
            let what = "`key` stands without `cert`";
            self.report(&codes::CONFLICT, key_span, what, |report| {
                report.help("remove it: a bundle and the files of a folder hold their own keys")
            });
        }
        let source = match self.file(&mut fields, &keys::CERTIFICATE_BUNDLE) {
            Some(path) => CertificateSource::Bundle(path),
            None => {
                CertificateSource::Directory(self.file(&mut fields, &keys::CERTIFICATE_DIRECTORY)?)
            }
        };
        Some(Spanned::new(source, span))
    }

    pub(super) fn key_missing(&mut self, span: Span) {
        let what = "`cert` stands without `key`";
        self.report(&codes::MISSING_KEY, span, what, |report| {
            report.why("a certificate is of no use without its key").help(
                "add `key: FILE`; for a file that holds both, name it twice or, in a listener, write `bundle: FILE`",
            )
        });
    }

    fn versions(&mut self, fields: &mut Fields) -> (Spanned<TlsVersion>, Spanned<TlsVersion>) {
        let min_span = fields.span_of(&keys::TLS_MIN_VERSION);
        let max_span = fields.span_of(&keys::TLS_MAX_VERSION);
        let min = fields.item(&keys::TLS_MIN_VERSION);
        let max = fields.item(&keys::TLS_MAX_VERSION);
        let min = min.and_then(crate::decode::word_of);
        let max = max.and_then(crate::decode::word_of);
        if let (Some(TlsVersion::Tls13), Some(TlsVersion::Tls12)) = (min, max) {
            let what = "`min_version` is above `max_version`";
            let sources = self.input.sources;
            self.report(&codes::CONFLICT, min_span, what, |report| {
                report
                    .why("no version would be left, and no client could connect")
                    .related(sources, max_span, "the newest version is this")
                    .help("raise `max_version` to `1.3`, or remove it")
            });
        }
        (
            Spanned::new(min.unwrap_or(TlsVersion::Tls12), min_span),
            Spanned::new(max.unwrap_or(TlsVersion::Tls13), max_span),
        )
    }

    fn tickets(&mut self, fields: &mut Fields) -> Option<Spanned<Tickets>> {
        let span = fields.span_of(&keys::TLS_TICKETS);
        let mut own = match fields.item(&keys::TLS_TICKETS).map(|item| item.data) {
            Some(Data::Fields(own)) => own,
            Some(_) => return None,
            None => self.defaults(&keys::TICKETS, span),
        };
        let rotate_set = own.is_set(&keys::TICKET_ROTATE);
        let rotate_span = own.span_of(&keys::TICKET_ROTATE);
        let tickets = Tickets {
            keys: self.file(&mut own, &keys::TICKET_KEYS),
            rotate: own.value(&keys::TICKET_ROTATE),
            lifetime: own.value(&keys::TICKET_LIFETIME),
        };
        if rotate_set && tickets.keys.is_some() {
            let what = "`rotate` has no effect: the keys are those of a file";
            self.report(&codes::NO_EFFECT, rotate_span, what, |report| {
                report.help("remove it, and add a new key to the file from time to time")
            });
        }
        Some(Spanned::new(tickets, span))
    }

    fn sessions(&mut self, fields: &mut Fields) -> Option<Sessions> {
        let span = fields.span_of(&keys::TLS_SESSIONS);
        let mut own = match fields.item(&keys::TLS_SESSIONS).map(|item| item.data) {
            Some(Data::Fields(own)) => own,
            Some(_) => return None,
            None => self.defaults(&keys::SESSIONS, span),
        };
        Some(Sessions {
            size: own.value(&keys::SESSION_SIZE_KEY),
            timeout: own.value(&keys::SESSION_TIMEOUT),
        })
    }

    fn client_certificates(&mut self, fields: &mut Fields) -> Option<ClientCertificates> {
        let mut own = fields.section(&keys::TLS_CLIENT)?;
        Some(ClientCertificates {
            verify: own.word::<VerifyClient>(&keys::CLIENT_VERIFY),
            crl: self.file(&mut own, &keys::CLIENT_CRL),
            headers: own.value(&keys::CLIENT_HEADERS_KEY),
            ca: self.file(&mut own, &keys::CLIENT_CA)?,
        })
    }

    fn hsts(&mut self, fields: &mut Fields) -> Option<Hsts> {
        let item = fields.item(&keys::TLS_HSTS)?;
        let mut own = match item.data {
            Data::Fields(own) => own,
            Data::Word(1) => self.defaults(&keys::HSTS, item.span),
            _ => return None,
        };
        let preload_span = own.span_of(&keys::HSTS_PRELOAD);
        let hsts = Hsts {
            max_age: own.value(&keys::HSTS_MAX_AGE),
            include_subdomains: own.value(&keys::HSTS_SUBDOMAINS),
            preload: own.value(&keys::HSTS_PRELOAD),
        };
        if hsts.preload && (!hsts.include_subdomains || hsts.max_age < PRELOAD_AGE_MIN) {
            let what = "`preload` stands without what the list asks for";
            self.report(&codes::CONFLICT, preload_span, what, |report| {
                report
                    .why("the browsers' list takes no host without it")
                    .help("write `include_subdomains: true` and a `max_age` of at least `365d`")
            });
        }
        Some(hsts)
    }
}

fn texts(items: Vec<Item>) -> Vec<Spanned<String>> {
    items.into_iter().filter_map(text_of).collect()
}
