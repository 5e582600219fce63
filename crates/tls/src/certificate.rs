//! Loading a certificate chain with its key from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fault::{Setting, SettingsFault};
use crate::ocsp::CertificateKey;
use crate::peer::fingerprint;

/// Most bytes of a PEM file: a chain and a key are a few KiB.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is wrong with a certificate's files, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFault {
    pub what: String,
    pub mend: String,
}

impl CertificateFault {
    fn new(what: impl Into<String>, mend: impl Into<String>) -> CertificateFault {
        CertificateFault {
            what: what.into(),
            mend: mend.into(),
        }
    }

    pub(crate) fn at(self, setting: Setting) -> SettingsFault {
        SettingsFault::new(setting, self.what, self.mend)
    }
}

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Files {
    pub cert: PathBuf,
    /// None when the key is in the same file.
    pub key: Option<PathBuf>,
}

impl Files {
    pub(crate) fn key(&self) -> &Path {
        self.key.as_deref().unwrap_or(&self.cert)
    }
}

/// A chain with its key, ready for handshakes.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// Names for look-up, in lower case; those with `*.` in front are wildcards. IP addresses too.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of the first certificate in hexadecimal.
    pub fingerprint: String,
    /// The same, as OCSP answers are found by.
    pub staple: CertificateKey,
    /// What the operator should know.
    pub remarks: Vec<String>,
}

impl Certificate {
    /// Reads and checks the files.
    pub(crate) fn load(
        files: &Files,
        provider: &CryptoProvider,
    ) -> Result<Certificate, CertificateFault> {
        let text = read(&files.cert)?;
        let chain = read_chain(&files.cert, &text)?;
        let key = match &files.key {
            Some(path) => read_key(path, &read(path)?)?,
            None => read_key(&files.cert, &text)?,
        };
        Certificate::new(files, chain, key, provider)
    }

    /// Checks a chain and a key that were read.
    pub(crate) fn new(
        files: &Files,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Certificate, CertificateFault> {
        let path = files.cert.display();
        let signer = provider.key_provider.load_private_key(key).map_err(|error| {
            CertificateFault::new(
                format!(
                    "the key in {} cannot be used: {error}",
                    files.key().display()
                ),
                "use an ECDSA key (P-256, P-384), an Ed25519 key, or an RSA key of 2048 to 8192 bits: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            )
        })?;
        let mut certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            // Unknown: the key cannot tell its public half, which no key of aws-lc-rs does.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(mismatch(files, &mut certified));
            }
            Err(error) => {
                return Err(CertificateFault::new(
                    format!("the certificate in {path} cannot be used: {error}"),
                    "ask its issuer for a certificate of X.509 version 3 for TLS servers",
                ));
            }
        }
        let broken = || {
            CertificateFault::new(
                format!("a certificate in {path} cannot be read"),
                "check it with: openssl x509 -in FILE -noout -text",
            )
        };
        let parsed = certified
            .cert
            .iter()
            .map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| broken())?;
        let leaf = parsed.first().ok_or_else(broken)?;
        Ok(Certificate {
            names: names(leaf),
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
            fingerprint: certified
                .cert
                .first()
                .map(|der| fingerprint(der))
                .unwrap_or_default(),
            staple: CertificateKey::of(certified.cert.first().ok_or_else(broken)?),
            remarks: remarks(files, &parsed),
            key: Arc::new(certified),
        })
    }

    /// Which kind of signature the key makes.
    pub(crate) fn algorithm(&self) -> SignatureAlgorithm {
        self.key.key.algorithm()
    }

    /// Whether it can be used at `now` (seconds since 1970).
    pub(crate) fn is_valid_at(&self, now: i64) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// A key that belongs to another certificate: perhaps to a later one of the same file.
fn mismatch(files: &Files, certified: &mut CertifiedKey) -> CertificateFault {
    let (cert, key) = (files.cert.display(), files.key().display());
    let count = certified.cert.len();
    for _ in 1..count {
        certified.cert.rotate_left(1);
        if certified.keys_match().is_ok() {
            return CertificateFault::new(
                format!("the chain in {cert} does not begin with the server's own certificate"),
                "put the certificate of the key first, then the one that signed it, and so on",
            );
        }
    }
    CertificateFault::new(
        format!("the key in {key} does not belong to the certificate in {cert}"),
        format!(
            "compare them: openssl x509 -in {cert} -noout -pubkey and openssl pkey -in {key} -pubout print the same when they match"
        ),
    )
}

/// What is unusual in a chain that can be served all the same.
fn remarks(files: &Files, chain: &[X509Certificate<'_>]) -> Vec<String> {
    let path = files.cert.display();
    let mut remarks = Vec::new();
    for (at, pair) in chain.windows(2).enumerate() {
        if let [lower, upper] = pair
            && lower.issuer().as_raw() != upper.subject().as_raw()
        {
            remarks.push(format!(
                "certificate {} in {path} did not sign certificate {}; some clients refuse such a chain: put each certificate after the one that it signed, and leave others out",
                at + 2,
                at + 1
            ));
        }
    }
    remarks
}

/// The DNS names and addresses of the subject alternative name, or the common name when there are none.
fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let alternative = leaf.subject_alternative_name().ok().flatten();
    for name in alternative.iter().flat_map(|san| &san.value.general_names) {
        match name {
            GeneralName::DNSName(name) => {
                names.push(name.trim_end_matches('.').to_ascii_lowercase());
            }
            GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
            _ => {}
        }
    }
    if names.is_empty() {
        let common = leaf.subject().iter_common_name().last();
        names.extend(
            common
                .and_then(|name| name.as_str().ok())
                .map(str::to_ascii_lowercase),
        );
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}

/// The bytes of a file, bounded.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CertificateFault> {
    let unreadable = |error: std::io::Error| {
        let mend = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "check the path; relative ones start at the folder of the configuration file"
            }
            std::io::ErrorKind::PermissionDenied => "let the user that runs evenkeel read it",
            _ => "see that it is a readable file",
        };
        CertificateFault::new(format!("cannot read {}: {error}", path.display()), mend)
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(CertificateFault::new(
            format!(
                "{} has {size} bytes: too many for certificates",
                path.display()
            ),
            "name a PEM file with the chain and the key only",
        ));
    }
    std::fs::read(path).map_err(unreadable)
}

/// All certificates of a PEM text; none is a fault.
pub(crate) fn read_chain(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let chain = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            CertificateFault::new(
                format!("{} is not good PEM: {error}", path.display()),
                "each certificate stands between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
            )
        })?;
    if chain.is_empty() {
        return Err(CertificateFault::new(
            format!("{} holds no certificate", path.display()),
            format!(
                "it has to be PEM; DER becomes PEM with: openssl x509 -inform der -in {} -out cert.pem",
                path.display()
            ),
        ));
    }
    Ok(chain)
}

/// The first private key of a PEM text.
pub(crate) fn read_key(
    path: &Path,
    text: &[u8],
) -> Result<PrivateKeyDer<'static>, CertificateFault> {
    let path = path.display();
    let has = |words: &str| {
        text.windows(words.len())
            .any(|part| part == words.as_bytes())
    };
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateFault::new(
            format!("the key in {path} is encrypted, and nobody is there to type its password"),
            format!(
                "decrypt it, and let only the user of evenkeel read the result: openssl pkey -in {path} -out decrypted.key"
            ),
        ));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => CertificateFault::new(
            format!("{path} holds no private key"),
            "it has to be PEM: PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY",
        ),
        other => CertificateFault::new(
            format!("the key in {path} is not good PEM: {other}"),
            "check it with: openssl pkey -in FILE -noout -text",
        ),
    })
}

/// Seconds since 1970.
pub(crate) fn unix(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}
