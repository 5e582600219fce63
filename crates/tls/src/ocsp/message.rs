//! The question about a certificate and the judgement of the answer (RFC 6960, in the profile of RFC 5019).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::der::{self, Reader, context, element};

/// How far the responder's clock may be ahead of ours, in seconds.
const SKEW_S: u64 = 300;
/// How long an answer without an end is used, in seconds.
const ENDLESS_S: u64 = 24 * 3600;
/// Most certificates of an answer that are looked at: one is usual.
const SIGNERS_MAX: usize = 4;
/// Most single answers of an answer that are looked at: one was asked for.
const ANSWERS_MAX: usize = 64;

const SHA1: &[u8] = b"\x2b\x0e\x03\x02\x1a";
const BASIC: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01";
/// id-ad-ocsp of the extension authorityInfoAccess.
const AD_OCSP: &str = "1.3.6.1.5.5.7.48.1";
/// id-pe-tlsfeature (RFC 7633).
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
/// status_request, as a feature.
const STATUS_REQUEST: &[u8] = b"\x05";

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum AnswerFault {
    #[error("what came is not an OCSP answer")]
    Broken,
    #[error("the responder says {0}")]
    Refused(&'static str),
    #[error("the answer is about another certificate")]
    OtherCertificate,
    #[error("the answer is not signed by the issuer, nor by a responder that the issuer named")]
    Signer,
    #[error("the signature of the answer is wrong, or of a kind that is not supported")]
    Signature,
    #[error("the answer is from the future: the clock here or there is wrong")]
    Future,
    #[error("the answer is out of date: it was good until {0} (seconds since 1970)")]
    Stale(u64),
    #[error("the CA has revoked the certificate, and clients will refuse it: replace it")]
    Revoked,
    #[error("the responder does not know the certificate")]
    Unknown,
}

/// What is to be known of a certificate in order to staple.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Where to ask; `None` when the certificate names no responder over plain HTTP.
    pub(super) url: Option<String>,
    pub(super) must_staple: bool,
    issuer: Option<Issuer>,
    serial: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Issuer {
    certificate: Vec<u8>,
    name_hash: Vec<u8>,
    key_hash: Vec<u8>,
}

/// The times of a good answer, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Target {
    /// Of a chain: the certificate itself and its issuer. `None` when the first is no certificate.
    pub(super) fn new(chain: &[impl AsRef<[u8]>]) -> Option<Target> {
        let (_, leaf) = X509Certificate::from_der(chain.first()?.as_ref()).ok()?;
        let issuer = chain.get(1).and_then(|issuer| {
            let (_, parsed) = X509Certificate::from_der(issuer.as_ref()).ok()?;
            let theirs = parsed.subject().as_raw() == leaf.issuer().as_raw();
            theirs.then(|| Issuer {
                certificate: issuer.as_ref().to_vec(),
                name_hash: sha1(parsed.subject().as_raw()),
                key_hash: sha1(&parsed.public_key().subject_public_key.data),
            })
        });
        Some(Target {
            url: responder(&leaf),
            must_staple: must_staple(&leaf),
            issuer,
            serial: leaf.raw_serial().to_vec(),
        })
    }

    /// Whether the chain has what is needed to ask.
    pub(super) fn has_issuer(&self) -> bool {
        self.issuer.is_some()
    }

    /// The request in DER; without a nonce, so that responders may answer from what they signed before.
    pub(super) fn request(&self) -> Option<Vec<u8>> {
        let issuer = self.issuer.as_ref()?;
        let algorithm = [element(der::OID, &[SHA1]), element(der::NULL, &[])].concat();
        let id = element(
            der::SEQUENCE,
            &[
                &element(der::SEQUENCE, &[&algorithm]),
                &element(der::OCTET_STRING, &[&issuer.name_hash]),
                &element(der::OCTET_STRING, &[&issuer.key_hash]),
                &element(der::INTEGER, &[&self.serial]),
            ],
        );
        // Request, requestList, TBSRequest, OCSPRequest.
        Some((0..4).fold(id, |inner, _| element(der::SEQUENCE, &[&inner])))
    }

    /// Judges an answer in DER at a time in seconds since 1970.
    pub(super) fn judge(&self, answer: &[u8], now: u64) -> Result<Validity, AnswerFault> {
        let issuer = self.issuer.as_ref().ok_or(AnswerFault::Signer)?;
        let answer = Answer::read(answer)?;
        let single = self.single(&answer, issuer)?;
        answer.check_signer(issuer, now)?;
        // Nothing is believed before the signature holds.
        match single.status {
            0x80 => {}
            0xa1 => return Err(AnswerFault::Revoked),
            _ => return Err(AnswerFault::Unknown),
        }
        let until = single
            .until
            .unwrap_or(single.from.saturating_add(ENDLESS_S));
        if single.from > now.saturating_add(SKEW_S) {
            return Err(AnswerFault::Future);
        }
        if until <= now {
            return Err(AnswerFault::Stale(until));
        }
        Ok(Validity {
            from: single.from,
            until,
        })
    }

    /// The part of the answer that is about this certificate.
    fn single(&self, answer: &Answer<'_>, issuer: &Issuer) -> Result<Single, AnswerFault> {
        let mut list = Reader(answer.singles);
        for _ in 0..ANSWERS_MAX {
            if list.is_empty() {
                break;
            }
            let single = list.content(der::SEQUENCE).ok_or(AnswerFault::Broken)?;
            let single = self.matching(single, issuer).ok_or(AnswerFault::Broken)?;
            if let Some(single) = single {
                return Ok(single);
            }
        }
        Err(AnswerFault::OtherCertificate)
    }

    /// Reads a SingleResponse; the inner `None` when it is about another certificate.
    fn matching(&self, mut single: Reader<'_>, issuer: &Issuer) -> Option<Option<Single>> {
        let mut id = single.content(der::SEQUENCE)?;
        let mut algorithm = id.content(der::SEQUENCE)?;
        let same = algorithm.expect(der::OID)?.content == SHA1
            && id.expect(der::OCTET_STRING)?.content == issuer.name_hash
            && id.expect(der::OCTET_STRING)?.content == issuer.key_hash
            && id.expect(der::INTEGER)?.content == self.serial;
        let status = single.any()?.tag;
        let from = der::time(single.expect(der::GENERALIZED_TIME)?.content)?;
        let mut until = None;
        if let Some(mut next) = single.content(context(0)) {
            until = Some(der::time(next.expect(der::GENERALIZED_TIME)?.content)?);
        }
        Some(same.then_some(Single {
            status,
            from,
            until,
        }))
    }
}

/// A SingleResponse.
struct Single {
    /// The tag that stands for it: 0x80 good, 0xa1 revoked, 0x82 unknown.
    status: u8,
    from: u64,
    until: Option<u64>,
}

/// A BasicOCSPResponse, cut into its parts.
struct Answer<'a> {
    signed: &'a [u8],
    /// The tag and the content of the responder's id.
    responder: (u8, &'a [u8]),
    singles: &'a [u8],
    /// OID of the signature's algorithm.
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificates: &'a [u8],
}

impl<'a> Answer<'a> {
    fn read(bytes: &'a [u8]) -> Result<Answer<'a>, AnswerFault> {
        let mut input = Reader(bytes);
        let mut outer = input.content(der::SEQUENCE).ok_or(AnswerFault::Broken)?;
        let status = outer.expect(der::ENUMERATED).ok_or(AnswerFault::Broken)?;
        match status.content {
            [0] => {}
            [1] => return Err(AnswerFault::Refused("malformedRequest")),
            [2] => return Err(AnswerFault::Refused("internalError")),
            [3] => return Err(AnswerFault::Refused("tryLater")),
            [5] => return Err(AnswerFault::Refused("sigRequired")),
            [6] => return Err(AnswerFault::Refused("unauthorized")),
            _ => return Err(AnswerFault::Broken),
        }
        // What follows would be stapled with the rest.
        if !input.is_empty() {
            return Err(AnswerFault::Broken);
        }
        Answer::read_basic(outer).ok_or(AnswerFault::Broken)
    }

    fn read_basic(mut outer: Reader<'a>) -> Option<Answer<'a>> {
        let mut typed = outer.content(context(0))?.content(der::SEQUENCE)?;
        if typed.expect(der::OID)?.content != BASIC {
            return None;
        }
        let mut basic = typed.content(der::OCTET_STRING)?.content(der::SEQUENCE)?;
        let signed = basic.expect(der::SEQUENCE)?;
        let algorithm = basic.content(der::SEQUENCE)?.expect(der::OID)?.content;
        // A bit string begins with the number of bits that do not count.
        let (unused, signature) = basic.expect(der::BIT_STRING)?.content.split_first()?;
        let certificates = match basic.content(context(0)) {
            Some(mut list) => list.expect(der::SEQUENCE)?.content,
            None => &[],
        };
        let mut data = Reader(signed.content);
        data.skip(context(0))?;
        let responder = data.any()?;
        data.expect(der::GENERALIZED_TIME)?;
        let singles = data.expect(der::SEQUENCE)?.content;
        (*unused == 0).then_some(Answer {
            signed: signed.whole,
            responder: (responder.tag, responder.content),
            singles,
            algorithm,
            signature,
            certificates,
        })
    }

    /// RFC 6960 section 4.2.2.2: the issuer itself signed, or one that the issuer gave a certificate for this.
    fn check_signer(&self, issuer: &Issuer, now: u64) -> Result<(), AnswerFault> {
        let (_, issuer) =
            X509Certificate::from_der(&issuer.certificate).map_err(|_| AnswerFault::Signer)?;
        if self.is_of(&issuer) {
            return self.verify(issuer.public_key());
        }
        let mut list = Reader(self.certificates);
        for _ in 0..SIGNERS_MAX {
            let Some(one) = list.any() else { break };
            let Ok((_, signer)) = X509Certificate::from_der(one.whole) else {
                continue;
            };
            if self.is_of(&signer) && delegated(&signer, &issuer, now) {
                return self.verify(signer.public_key());
            }
        }
        Err(AnswerFault::Signer)
    }

    /// Whether the responder's id is that of this certificate.
    fn is_of(&self, signer: &X509Certificate<'_>) -> bool {
        let (tag, content) = self.responder;
        match tag {
            _ if tag == context(1) => content == signer.subject().as_raw(),
            _ if tag == context(2) => {
                let hash = sha1(&signer.public_key().subject_public_key.data);
                Reader(content)
                    .expect(der::OCTET_STRING)
                    .is_some_and(|theirs| theirs.content == hash)
            }
            _ => false,
        }
    }

    fn verify(&self, key: &SubjectPublicKeyInfo<'_>) -> Result<(), AnswerFault> {
        let good = verifies(key, self.algorithm, self.signed, self.signature);
        good.then_some(()).ok_or(AnswerFault::Signature)
    }
}

/// Whether the issuer lets this certificate sign answers, now.
fn delegated(signer: &X509Certificate<'_>, issuer: &X509Certificate<'_>, now: u64) -> bool {
    let usage = signer.extended_key_usage().ok().flatten();
    let (from, until) = (signer.validity().not_before, signer.validity().not_after);
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    usage.is_some_and(|usage| usage.value.ocsp_signing)
        && (from.timestamp()..=until.timestamp()).contains(&now)
        && signer.issuer().as_raw() == issuer.subject().as_raw()
        && verifies(
            issuer.public_key(),
            signer.signature_algorithm.algorithm.as_bytes(),
            signer.tbs_certificate.as_ref(),
            &signer.signature_value.data,
        )
}

fn verifies(
    key: &SubjectPublicKeyInfo<'_>,
    algorithm: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> bool {
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .and_then(|any| any.as_oid().ok());
    let curve = curve.map(|oid| oid.to_id_string()).unwrap_or_default();
    let Some(algorithm) = verification(algorithm, &curve) else {
        return false;
    };
    let key = UnparsedPublicKey::new(algorithm, &key.subject_public_key.data);
    key.verify(signed, signature).is_ok()
}

/// The algorithm of an OID in DER, with the curve of the key. SHA-1 and RSA under 2048 bits are not supported.
fn verification(oid: &[u8], curve: &str) -> Option<&'static dyn VerificationAlgorithm> {
    const P256: &str = "1.2.840.10045.3.1.7";
    const P384: &str = "1.3.132.0.34";
    Some(match (oid, curve) {
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", _) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", _) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", _) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (b"\x2a\x86\x48\xce\x3d\x04\x03\x02", P256) => &signature::ECDSA_P256_SHA256_ASN1,
        (b"\x2a\x86\x48\xce\x3d\x04\x03\x02", P384) => &signature::ECDSA_P384_SHA256_ASN1,
        (b"\x2a\x86\x48\xce\x3d\x04\x03\x03", P256) => &signature::ECDSA_P256_SHA384_ASN1,
        (b"\x2a\x86\x48\xce\x3d\x04\x03\x03", P384) => &signature::ECDSA_P384_SHA384_ASN1,
        (b"\x2b\x65\x70", _) => &signature::ED25519,
        _ => return None,
    })
}

/// The first responder over plain HTTP that the certificate names.
fn responder(leaf: &X509Certificate<'_>) -> Option<String> {
    let extensions = leaf.extensions().iter();
    let access = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    });
    let mut urls = access
        .flat_map(|access| access.iter())
        .filter_map(|access| {
            match (&access.access_location, access.access_method.to_id_string()) {
                (GeneralName::URI(url), method) if method == AD_OCSP => Some(*url),
                _ => None,
            }
        });
    urls.find(|url| {
        url.get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
    })
    .map(str::to_owned)
}

/// Whether the certificate must come with an answer (RFC 7633).
fn must_staple(leaf: &X509Certificate<'_>) -> bool {
    let mut extensions = leaf.extensions().iter();
    let feature = extensions.find(|extension| extension.oid.to_id_string() == TLS_FEATURE);
    let Some(mut list) = feature.and_then(|found| Reader(found.value).content(der::SEQUENCE))
    else {
        return false;
    };
    std::iter::from_fn(|| list.expect(der::INTEGER)).any(|number| number.content == STATUS_REQUEST)
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}
