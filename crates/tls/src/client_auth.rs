//! Certificates of clients (mutual TLS): who may sign them, and which are revoked.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::certificate::{read, read_chain};
use crate::fault::{Setting, SettingsFault};
use crate::settings::ClientCertificates;

/// A verifier of the files as they are now. A chain must lead to one of the certificates of `ca`,
/// and with `crl` each certificate of the chain must be known not to be revoked.
pub(crate) fn verifier(
    settings: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, SettingsFault> {
    let roots = roots(&settings.ca).map_err(|fault| SettingsFault {
        setting: Setting::ClientCa,
        ..fault
    })?;
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(path) = &settings.crl {
        let bytes = read(path).map_err(|fault| fault.at(Setting::ClientCrl))?;
        builder = builder.with_crls(lists(path, &bytes)?);
    }
    if !settings.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| {
        SettingsFault::new(
            Setting::ClientCrl,
            format!("the revocation lists for clients cannot be used: {error}"),
            "get a current list from the CA, in PEM or DER",
        )
    })
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
        let bytes = read(path).unwrap_or_default();
        scope.extend_from_slice(digest(&SHA256, &bytes).as_ref());
    }
    scope
}

/// The certificates of a PEM file as those whom we trust.
pub(crate) fn roots(path: &std::path::Path) -> Result<RootCertStore, SettingsFault> {
    let at = |fault: crate::certificate::CertificateFault| fault.at(Setting::ServerCa);
    let text = read(path).map_err(at)?;
    let mut roots = RootCertStore::empty();
    for (number, one) in read_chain(path, &text).map_err(at)?.into_iter().enumerate() {
        roots.add(one).map_err(|error| {
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
    Ok(roots)
}

/// Revocation lists of a PEM file, or the one list of a DER file.
fn lists(
    path: &std::path::Path,
    bytes: &[u8],
) -> Result<Vec<rustls::pki_types::CertificateRevocationListDer<'static>>, SettingsFault> {
    use rustls::pki_types::CertificateRevocationListDer as List;
    use rustls::pki_types::pem::PemObject;

    // A DER list begins with the tag of a sequence, PEM with text.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![List::from(bytes.to_vec())]);
    }
    let lists: Vec<_> = List::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    if lists.is_empty() {
        return Err(SettingsFault::new(
            Setting::ClientCrl,
            format!("{} holds no revocation list", path.display()),
            "it has to be DER, or PEM with -----BEGIN X509 CRL-----",
        ));
    }
    Ok(lists)
}
