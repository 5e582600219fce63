//! Certificates of clients (mutual TLS): who may sign them, and which are revoked.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::certificate::{read, read_chain};
use crate::crl::{FILE_BYTES_MAX, RevocationLists};
use crate::fault::{Notice, Setting, SettingsFault};
use crate::kept;
use crate::settings::ClientCertificates;

/// A verifier of the files as they are now. A chain must lead to one of the certificates of `ca`,
/// and with `crl` each certificate of the chain must be known not to be revoked.
pub(crate) fn verifier(
    settings: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
    now: SystemTime,
) -> Result<(Arc<dyn ClientCertVerifier>, Vec<Notice>), SettingsFault> {
    let (roots, _) = roots(&settings.ca).map_err(|fault| SettingsFault {
        setting: Setting::ClientCa,
        ..fault
    })?;
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let mut notices = Vec::new();
    if let Some(path) = &settings.crl {
        let lists = RevocationLists::read(path)?;
        notices = lists.notices(now);
        builder = builder.with_crls(lists.der());
    }
    if !settings.required {
        builder = builder.allow_unauthenticated();
    }
    let built = builder.build().map_err(|error| {
        SettingsFault::new(
            Setting::ClientCrl,
            format!("the revocation lists for clients cannot be used: {error}"),
            "get a current list from the CA, in PEM or DER",
        )
    })?;
    Ok((built, notices))
}

/// What tells apart whose sessions may be resumed: who may sign certificates of clients, and whether
/// one is required. Empty without certificates of clients.
pub(crate) fn scope(settings: Option<&ClientCertificates>) -> Vec<u8> {
    let Some(settings) = settings else {
        return Vec::new();
    };
    let mut scope = vec![u8::from(settings.required)];
    let files = [Some(&settings.ca), settings.crl.as_ref()];
    for path in files.into_iter().flatten() {
        // A file that cannot be read is a fault elsewhere.
        let bytes = kept::read(path, FILE_BYTES_MAX).unwrap_or_default();
        scope.extend_from_slice(digest(&SHA256, &bytes).as_ref());
    }
    scope
}

/// The certificates of a PEM file as those whom we trust, and as they are.
pub(crate) fn roots(
    path: &std::path::Path,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), SettingsFault> {
    let at = |fault: crate::certificate::CertificateFault| fault.at(Setting::ServerCa);
    let text = read(path).map_err(at)?;
    let mut roots = RootCertStore::empty();
    let chain = read_chain(path, &text).map_err(at)?;
    for (number, one) in chain.iter().enumerate() {
        roots.add(one.clone()).map_err(|error| {
            SettingsFault::new(
                Setting::ServerCa,
                format!(
                    "certificate {} in {} cannot sign others: {error}",
                    number + 1,
                    path.display()
                ),
                "name a file with CA certificates only",
            )
        })?;
    }
    Ok((roots, chain))
}
