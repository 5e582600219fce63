//! A small certificate authority.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, RsaKeySize, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::scratch::Scratch;

/// Days that a leaf is valid when nothing else is said.
const DAYS_VALID: i64 = 90;

const DAY: Duration = Duration::from_secs(86_400);

/// The first serial number; scanners find short ones weak.
static SERIAL: AtomicU64 = AtomicU64::new(0x5e1f_90a7_3c26_0001);

/// The beginning of a day, counted from today. A macro, for the type of a moment has no name here.
macro_rules! day {
    ($offset:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + DAY * days_since_1970($offset)
    };
}

fn days_since_1970(offset: i64) -> u32 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock after 1970");
    let today = i64::try_from(since.as_secs() / DAY.as_secs()).expect("few days");
    u32::try_from(today + offset).expect("a day after 1970")
}

/// A certificate authority of one level.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ca")
    }
}

impl Ca {
    /// A fresh one.
    pub fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Ca { issuer }
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Its private key, for a responder that signs in its name.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A server's certificate for these names (or IP addresses), ECDSA P-256, valid for 90 days.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.issue(LeafSpec::names(names))
    }

    /// A certificate as described.
    pub fn issue(&self, spec: LeafSpec) -> Leaf {
        let mut params = CertificateParams::new(spec.names.clone()).expect("names that are names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, spec.subject.as_str());
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match spec.client {
            true => ExtendedKeyUsagePurpose::ClientAuth,
            false => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.not_before = day!(spec.days.0);
        params.not_after = day!(spec.days.1);
        if let Some(url) = &spec.ocsp {
            params.custom_extensions.push(responder_at(url));
        }
        if spec.must_staple {
            let feature = vec![0x30, 0x03, 0x02, 0x01, 0x05]; // RFC 7633: status_request
            let extension =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], feature);
            params.custom_extensions.push(extension);
        }
        let key = match spec.rsa {
            true => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            false => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        };
        let key = key.expect("a key");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the authority signs");
        Leaf {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
            ca: self.der(),
            serial,
        }
    }

    /// A list of revoked certificates, PEM.
    pub fn crl(&self, revoked: &[&Leaf]) -> String {
        let revoked = revoked.iter().map(|leaf| RevokedCertParams {
            serial_number: SerialNumber::from(leaf.serial),
            revocation_time: day!(-1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: day!(-1),
            next_update: day!(30),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("the authority signs");
        list.pem().expect("PEM")
    }
}

/// authorityInfoAccess with one id-ad-ocsp (RFC 5280 section 4.2.2.1), for URLs below 100 bytes.
fn responder_at(url: &str) -> CustomExtension {
    let short = |tag: u8, content: &[u8]| {
        let len = u8::try_from(content.len()).expect("a short URL");
        assert!(len < 128, "a short URL");
        [&[tag, len], content].concat()
    };
    let method = [0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 0x30, 0x01];
    let description = short(0x30, &[&method[..], &short(0x86, url.as_bytes())].concat());
    let content = short(0x30, &description);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content)
}

/// What a certificate is to be like.
#[derive(Debug, Clone)]
pub struct LeafSpec {
    names: Vec<String>,
    subject: String,
    rsa: bool,
    client: bool,
    /// First and last day, counted from today.
    days: (i64, i64),
    ocsp: Option<String>,
    must_staple: bool,
}

impl LeafSpec {
    /// A server's, for these names.
    pub fn names(names: &[&str]) -> LeafSpec {
        LeafSpec {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            subject: names.first().copied().unwrap_or("nameless").to_owned(),
            rsa: false,
            client: false,
            days: (-2, DAYS_VALID),
            ocsp: None,
            must_staple: false,
        }
    }

    /// A client's, with this common name.
    pub fn client(subject: &str) -> LeafSpec {
        LeafSpec {
            subject: subject.to_owned(),
            client: true,
            ..LeafSpec::names(&[])
        }
    }

    /// RSA with 2048 bits instead of ECDSA.
    pub fn rsa(self) -> LeafSpec {
        LeafSpec { rsa: true, ..self }
    }

    /// Valid until yesterday.
    pub fn expired(self) -> LeafSpec {
        self.valid(-30, -1)
    }

    /// Valid from one day to another, counted from today.
    pub fn valid(self, from: i64, to: i64) -> LeafSpec {
        LeafSpec {
            days: (from, to),
            ..self
        }
    }

    /// Names an OCSP responder.
    pub fn ocsp(self, url: &str) -> LeafSpec {
        LeafSpec {
            ocsp: Some(url.to_owned()),
            ..self
        }
    }

    /// Asks for a staple with every handshake (RFC 7633).
    pub fn must_staple(self) -> LeafSpec {
        LeafSpec {
            must_staple: true,
            ..self
        }
    }
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate.
    pub cert_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: String,
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The serial number.
    pub serial: u64,
    key_der: Vec<u8>,
    ca: CertificateDer<'static>,
}

impl Leaf {
    /// Writes `STEM.pem` and `STEM.key`, and gives their paths.
    pub fn write(&self, scratch: &Scratch, stem: &str) -> (PathBuf, PathBuf) {
        let cert = scratch.write(&format!("{stem}.pem"), &self.cert_pem);
        (cert, scratch.write(&format!("{stem}.key"), &self.key_pem))
    }

    /// Certificate and key in one text, as HAProxy has it.
    pub fn bundle(&self) -> String {
        format!("{}{}", self.cert_pem, self.key_pem)
    }

    /// SHA-256 of the certificate, lower-case hex.
    pub fn fingerprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.der);
        let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        hex.collect()
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.der.clone(), self.ca.clone()]
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()))
    }
}
