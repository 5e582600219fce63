//! A local CA for development, and the certificate that it signs for a listener.
//!
//! The CA is kept, so that it has to be trusted once only: `ca.pem` (10 years) and `ca.key` (mode
//! 0600) in a folder of mode 0700. The listener's certificate lives in memory: 90 days, made anew at
//! each start and 30 days before its end. Its key is never written.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate::{Certificate, Files, read, read_chain, unix};
use crate::fault::{Notice, Setting, SettingsFault};
use crate::settings::SelfSigned;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_DAYS: u32 = 3650;
const LEAF_DAYS: u32 = 90;
/// A certificate is renewed when it has fewer days left; a CA when it could not sign a whole one.
const RENEW_DAYS: u32 = 30;
/// Clocks of clients may be behind.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// The CA of a folder and the certificate that is in use.
#[derive(Debug)]
pub(crate) struct Local {
    names: Vec<String>,
    ca: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: Arc<Certificate>,
}

impl Local {
    /// Takes the CA of the folder, or makes one, and signs a certificate for the names.
    pub(crate) fn open(
        settings: &SelfSigned,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<(Local, Notice), SettingsFault> {
        let names = if settings.names.is_empty() {
            ["localhost", "127.0.0.1", "::1"]
                .map(str::to_owned)
                .to_vec()
        } else {
            settings.names.clone()
        };
        let ca = settings.folder.join("ca.pem");
        let key = settings.folder.join("ca.key");
        let kept = if ca.exists() && key.exists() {
            load(&ca, &key, now)?
        } else {
            None
        };
        let issuer = match kept {
            Some(issuer) => issuer,
            None => create(&ca, &key, now)
                .map_err(|what| fault(what, "see that the folder can be written"))?,
        };
        let certificate = sign(&names, &ca, &issuer, provider, now)?;
        let notice = notice(&ca);
        let local = Local {
            names,
            ca,
            issuer,
            certificate: Arc::new(certificate),
        };
        Ok((local, notice))
    }

    /// The certificate in use.
    pub(crate) fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    /// What to call it.
    pub(crate) fn source(&self) -> String {
        format!("self_signed (CA {})", self.ca.display())
    }

    /// Makes a new certificate when the one in use comes to its end; says whether it did.
    pub(crate) fn renew(&mut self, provider: &CryptoProvider, now: SystemTime) -> bool {
        let left = self.certificate.not_after - unix(now);
        if left > seconds(RENEW_DAYS) {
            return false;
        }
        // Signing worked with the same names and the same key before.
        match sign(&self.names, &self.ca, &self.issuer, provider, now) {
            Ok(certificate) => {
                self.certificate = Arc::new(certificate);
                true
            }
            Err(_) => false,
        }
    }
}

fn seconds(days: u32) -> i64 {
    i64::from(days) * 24 * 60 * 60
}

fn fault(what: impl Into<String>, mend: &str) -> SettingsFault {
    SettingsFault::new(Setting::SelfSigned, what, mend)
}

/// The CA that is kept; none when it is too old to sign.
fn load(
    ca: &Path,
    key: &Path,
    now: SystemTime,
) -> Result<Option<Issuer<'static, KeyPair>>, SettingsFault> {
    let broken = |error: String| {
        fault(
            format!("the local CA in {} cannot be used: {error}", ca.display()),
            "delete ca.pem and ca.key in that folder: a new CA is made then, to be trusted anew",
        )
    };
    let text = read(ca).map_err(|fault| fault.at(Setting::SelfSigned))?;
    let chain = read_chain(ca, &text).map_err(|fault| fault.at(Setting::SelfSigned))?;
    let der = chain.first().ok_or_else(|| broken("empty".to_owned()))?;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| broken(error.to_string()))?;
    let key = read(key).map_err(|fault| fault.at(Setting::SelfSigned))?;
    let key = KeyPair::from_pem(&String::from_utf8_lossy(&key))
        .map_err(|error| broken(error.to_string()))?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(broken("ca.key belongs to another certificate".to_owned()));
    }
    if parsed.validity().not_after.timestamp() - unix(now) < seconds(LEAF_DAYS) {
        return Ok(None);
    }
    Issuer::from_ca_cert_der(der, key)
        .map(Some)
        .map_err(|error| broken(error.to_string()))
}

/// Makes a CA and writes it. An error is what went wrong, as text.
fn create(ca: &Path, key: &Path, now: SystemTime) -> Result<Issuer<'static, KeyPair>, String> {
    let folder = ca.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    let made = |error: rcgen::Error| format!("cannot make a local CA: {error}");
    let pair = KeyPair::generate().map_err(made)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(made)?;
    let name = &mut params.distinguished_name;
    name.push(DnType::OrganizationName, "evenkeel");
    name.push(DnType::CommonName, "evenkeel local CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - SKEW).into();
    params.not_after = (now + DAY * CA_DAYS).into();
    let cert = params.self_signed(&pair).map_err(made)?;
    let written = |path: &Path, result: io::Result<()>| {
        result.map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    // The key first: a certificate without its key would never be replaced.
    written(key, write(key, &pair.serialize_pem(), 0o600))?;
    written(ca, write(ca, &cert.pem(), 0o644))?;
    Ok(Issuer::new(params, pair))
}

/// Writes a file whole or not at all, never readable by more than `mode` says.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// A certificate for `names`.
fn sign(
    names: &[String],
    ca: &Path,
    issuer: &Issuer<'static, KeyPair>,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<Certificate, SettingsFault> {
    let made = |error: rcgen::Error| {
        fault(
            format!(
                "cannot sign a certificate for {}: {error}",
                names.join(", ")
            ),
            "write host names like dev.local and addresses like 127.0.0.1",
        )
    };
    let mut params = CertificateParams::new(names.to_vec()).map_err(made)?;
    let common = names.first().cloned().unwrap_or_default();
    params.distinguished_name.push(DnType::CommonName, common);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = (now - SKEW).into();
    params.not_after = (now + DAY * LEAF_DAYS).into();
    let pair = KeyPair::generate().map_err(made)?;
    let cert = params.signed_by(&pair, issuer).map_err(made)?;
    let key = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
    let files = Files {
        cert: ca.to_path_buf(),
        key: None,
    };
    Certificate::new(&files, vec![cert.der().clone()], key, provider)
        .map_err(|fault| fault.at(Setting::SelfSigned))
}

/// How to make clients trust the CA.
fn notice(ca: &Path) -> Notice {
    let ca = ca.display();
    Notice {
        setting: Setting::SelfSigned,
        warning: false,
        what: format!(
            "clients have to trust the local CA in {ca}, once. \
             For one request: curl --cacert {ca} https://localhost/. \
             Debian, Ubuntu: sudo cp {ca} /usr/local/share/ca-certificates/evenkeel.crt && sudo update-ca-certificates. \
             RHEL, Fedora: sudo cp {ca} /etc/pki/ca-trust/source/anchors/evenkeel.pem && sudo update-ca-trust. \
             macOS: sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}"
        ),
    }
}
