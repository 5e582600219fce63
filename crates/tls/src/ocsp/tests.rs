//! Answers made by hand, so that each fault can be made alone. `tests/ocsp.rs` asks a real responder.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SigningKey,
};

use super::*;
use crate::der::{BIT_STRING, ENUMERATED, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE};
use crate::der::{Reader, context, element};

/// 2026-03-01 00:00:00, the time of all answers here.
const NOW: u64 = 1_772_323_200;
const FROM: &[u8] = b"20260228230000Z";
const UNTIL: &[u8] = b"20260307230000Z";
const UNTIL_S: u64 = NOW + 7 * 86_400 - 3600;
const ECDSA_SHA256: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
const GOOD: &[u8] = b"\x80\x00";

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

fn ca(name: &str) -> Ca {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Ca {
        issuer: Issuer::new(params, key),
        der,
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A certificate of the CA with these extensions.
fn leaf(ca: &Ca, extensions: Vec<CustomExtension>) -> Vec<u8> {
    let mut params = params("leaf");
    params.custom_extensions = extensions;
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, &ca.issuer).unwrap().der().to_vec()
}

/// One that may sign answers, or not.
fn signer(ca: &Ca, usage: Vec<ExtendedKeyUsagePurpose>) -> (KeyPair, Vec<u8>) {
    let mut params = params("responder");
    params.extended_key_usages = usage;
    let key = KeyPair::generate().unwrap();
    let der = params.signed_by(&key, &ca.issuer).unwrap().der().to_vec();
    (key, der)
}

/// authorityInfoAccess with these methods (the last number of the OID) and places.
fn access(places: &[(u8, &str)]) -> CustomExtension {
    let list: Vec<Vec<u8>> = places
        .iter()
        .map(|(method, url)| {
            let oid = [b"\x2b\x06\x01\x05\x05\x07\x30", &[*method][..]].concat();
            element(
                SEQUENCE,
                &[&element(OID, &[&oid]), &element(0x86, &[url.as_bytes()])],
            )
        })
        .collect();
    let content = element(SEQUENCE, &[&list.concat()]);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content)
}

fn feature(number: u8) -> CustomExtension {
    let content = element(SEQUENCE, &[&element(INTEGER, &[&[number]])]);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], content)
}

/// The CertID inside of a request.
fn id_of(target: &Target) -> Vec<u8> {
    let request = target.request().unwrap();
    let mut inner = Reader(&request);
    for _ in 0..4 {
        inner = inner.content(SEQUENCE).unwrap();
    }
    inner.expect(SEQUENCE).unwrap().whole.to_vec()
}

fn single(id: &[u8], status: &[u8], from: &[u8], until: Option<&[u8]>) -> Vec<u8> {
    let until = until.map(|until| element(context(0), &[&element(GENERALIZED_TIME, &[until])]));
    let from = element(GENERALIZED_TIME, &[from]);
    element(SEQUENCE, &[id, status, &from, &until.unwrap_or_default()])
}

fn by_name(certificate: &[u8]) -> Vec<u8> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    element(context(1), &[parsed.subject().as_raw()])
}

fn answer(
    responder: &[u8],
    singles: &[u8],
    key: &impl SigningKey,
    certificates: &[&[u8]],
) -> Vec<u8> {
    let produced = element(GENERALIZED_TIME, &[FROM]);
    let signed = element(
        SEQUENCE,
        &[responder, &produced, &element(SEQUENCE, &[singles])],
    );
    let signature = key.sign(&signed).unwrap();
    let algorithm = element(SEQUENCE, &[&element(OID, &[ECDSA_SHA256])]);
    let mut basic = [signed, algorithm, element(BIT_STRING, &[&[0], &signature])].concat();
    if !certificates.is_empty() {
        let list = element(SEQUENCE, certificates);
        basic.extend_from_slice(&element(context(0), &[&list]));
    }
    let basic = element(OCTET_STRING, &[&element(SEQUENCE, &[&basic])]);
    let oid = element(OID, &[b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01"]);
    let typed = element(context(0), &[&element(SEQUENCE, &[&oid, &basic])]);
    element(SEQUENCE, &[&element(ENUMERATED, &[&[0]]), &typed])
}

struct Scene {
    ca: Ca,
    target: Target,
}

fn scene() -> Scene {
    let ca = ca("ca");
    let target = Target::new(&[leaf(&ca, vec![]), ca.der.clone()]).unwrap();
    Scene { ca, target }
}

impl Scene {
    /// Of the CA itself.
    fn answer(&self, singles: &[u8]) -> Vec<u8> {
        answer(&by_name(&self.ca.der), singles, self.ca.issuer.key(), &[])
    }

    fn judge(
        &self,
        status: &[u8],
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Validity, AnswerFault> {
        let single = single(&id_of(&self.target), status, from, until);
        self.target.judge(&self.answer(&single), NOW)
    }
}

#[test]
fn a_good_answer_and_its_times() {
    let scene = scene();
    let good = Validity {
        from: NOW - 3600,
        until: UNTIL_S,
    };
    assert_eq!(scene.judge(GOOD, FROM, Some(UNTIL)), Ok(good));
    let endless = Validity {
        from: NOW - 3600,
        until: NOW - 3600 + 86_400,
    };
    assert_eq!(scene.judge(GOOD, FROM, None), Ok(endless));
    let stale = scene.judge(GOOD, FROM, Some(b"20260301000000Z"));
    assert_eq!(stale, Err(AnswerFault::Stale(NOW)));
    assert!(scene.judge(GOOD, b"20260301000500Z", Some(UNTIL)).is_ok());
    assert_eq!(
        scene.judge(GOOD, b"20260301000501Z", Some(UNTIL)),
        Err(AnswerFault::Future)
    );
    assert_eq!(
        scene.judge(GOOD, b"yesterday", Some(UNTIL)),
        Err(AnswerFault::Broken)
    );
    let revoked = element(context(1), &[&element(GENERALIZED_TIME, &[FROM])]);
    assert_eq!(
        scene.judge(&revoked, FROM, Some(UNTIL)),
        Err(AnswerFault::Revoked)
    );
    assert_eq!(
        scene.judge(b"\x82\x00", FROM, Some(UNTIL)),
        Err(AnswerFault::Unknown)
    );
}

#[test]
fn only_the_answer_about_this_certificate_counts() {
    let scene = scene();
    let other = Target::new(&[leaf(&scene.ca, vec![]), scene.ca.der.clone()]).unwrap();
    let theirs = single(&id_of(&other), GOOD, FROM, Some(UNTIL));
    let ours = single(&id_of(&scene.target), GOOD, FROM, Some(UNTIL));
    let judge = |singles: &[u8]| scene.target.judge(&scene.answer(singles), NOW);
    assert_eq!(judge(&theirs), Err(AnswerFault::OtherCertificate));
    assert_eq!(judge(b""), Err(AnswerFault::OtherCertificate));
    assert!(judge(&[theirs.clone(), ours.clone()].concat()).is_ok());
    assert_eq!(
        judge(&[theirs.repeat(64), ours].concat()),
        Err(AnswerFault::OtherCertificate)
    );
}

#[test]
fn who_may_sign() {
    let scene = scene();
    let singles = single(&id_of(&scene.target), GOOD, FROM, Some(UNTIL));
    let judge = |responder: &[u8], key: &KeyPair, certificates: &[&[u8]]| {
        scene
            .target
            .judge(&answer(responder, &singles, key, certificates), NOW)
            .map(|_| ())
    };
    let ours = by_name(&scene.ca.der);
    let stranger = KeyPair::generate().unwrap();
    assert_eq!(judge(&ours, &stranger, &[]), Err(AnswerFault::Signature));
    // By the hash of the key.
    let (_, parsed) = x509_parser::parse_x509_certificate(&scene.ca.der).unwrap();
    let key = &parsed.public_key().subject_public_key.data;
    let hash = digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, key);
    let by_key = element(context(2), &[&element(OCTET_STRING, &[hash.as_ref()])]);
    assert_eq!(judge(&by_key, scene.ca.issuer.key(), &[]), Ok(()));

    let usage = vec![ExtendedKeyUsagePurpose::OcspSigning];
    let (key, der) = signer(&scene.ca, usage.clone());
    assert_eq!(judge(&by_name(&der), &key, &[&der]), Ok(()));
    assert_eq!(judge(&by_name(&der), &key, &[]), Err(AnswerFault::Signer));
    assert_eq!(
        judge(&by_name(&der), &stranger, &[&der]),
        Err(AnswerFault::Signature)
    );
    // Behind others, but not behind any number of them.
    let junk: &[u8] = b"\x30\x00";
    assert_eq!(
        judge(&by_name(&der), &key, &[junk, junk, junk, &der]),
        Ok(())
    );
    let late = judge(&by_name(&der), &key, &[junk, junk, junk, junk, &der]);
    assert_eq!(late, Err(AnswerFault::Signer));

    let (key, der) = signer(&scene.ca, vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(
        judge(&by_name(&der), &key, &[&der]),
        Err(AnswerFault::Signer),
        "another usage"
    );
    let (key, der) = signer(&scene.ca, vec![]);
    assert_eq!(
        judge(&by_name(&der), &key, &[&der]),
        Err(AnswerFault::Signer),
        "no usage"
    );
    // A CA of the same name with another key.
    let (key, der) = signer(&ca("ca"), usage);
    assert_eq!(
        judge(&by_name(&der), &key, &[&der]),
        Err(AnswerFault::Signer),
        "another CA"
    );
}

#[test]
fn a_delegate_out_of_its_time_may_not_sign() {
    let scene = scene();
    let mut params = params("responder");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    params.not_after = rcgen::date_time_ymd(2026, 2, 28);
    let key = KeyPair::generate().unwrap();
    let der = params
        .signed_by(&key, &scene.ca.issuer)
        .unwrap()
        .der()
        .to_vec();
    let singles = single(&id_of(&scene.target), GOOD, FROM, Some(UNTIL));
    let answer = answer(&by_name(&der), &singles, &key, &[&der]);
    assert_eq!(scene.target.judge(&answer, NOW), Err(AnswerFault::Signer));
    assert!(
        scene
            .target
            .judge(&answer, NOW - 2 * 86_400 + 60)
            .is_err_and(|f| f == AnswerFault::Future)
    );
}

#[test]
fn refusals_and_garbage() {
    let scene = scene();
    let judge = |bytes: &[u8]| scene.target.judge(bytes, NOW).unwrap_err();
    assert_eq!(
        judge(b"\x30\x03\x0a\x01\x03"),
        AnswerFault::Refused("tryLater")
    );
    assert_eq!(
        judge(b"\x30\x03\x0a\x01\x06"),
        AnswerFault::Refused("unauthorized")
    );
    assert_eq!(judge(b"\x30\x03\x0a\x01\x04"), AnswerFault::Broken);
    assert_eq!(judge(b"\x30\x03\x0a\x01\x00"), AnswerFault::Broken);
    assert_eq!(judge(b""), AnswerFault::Broken);
    assert_eq!(judge(b"<html>"), AnswerFault::Broken);
    let good = scene.answer(&single(&id_of(&scene.target), GOOD, FROM, Some(UNTIL)));
    assert_eq!(judge(&[&good[..], b"\0"].concat()), AnswerFault::Broken);
    for cut in 0..good.len() {
        assert_eq!(judge(&good[..cut]), AnswerFault::Broken);
    }
    // Without delegates every byte of the answer matters.
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(scene.target.judge(&changed, NOW).is_err(), "byte {at}");
    }
}

#[test]
fn what_is_read_of_a_certificate() {
    let ca = ca("ca");
    let target = |extensions| Target::new(&[leaf(&ca, extensions), ca.der.clone()]).unwrap();
    let plain = target(vec![]);
    assert_eq!((plain.url, plain.must_staple), (None, false));
    let must = target(vec![
        feature(5),
        access(&[(2, "http://ca/"), (1, "http://ocsp/")]),
    ]);
    assert_eq!(
        (must.url.as_deref(), must.must_staple),
        (Some("http://ocsp/"), true)
    );
    assert!(!target(vec![feature(17)]).must_staple);
    let places = [(1, "ldap://x/"), (1, "https://x/"), (1, "HTTP://y/")];
    assert_eq!(
        target(vec![access(&places)]).url.as_deref(),
        Some("HTTP://y/")
    );
    assert!(target(vec![]).has_issuer());
    let alone = Target::new(&[leaf(&ca, vec![])]).unwrap();
    assert!(!alone.has_issuer() && alone.request().is_none());
    let wrong = Target::new(&[leaf(&ca, vec![]), self::ca("another").der]).unwrap();
    assert!(!wrong.has_issuer());
    assert!(Target::new(&[b"garbage"]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        static SCENE: std::sync::LazyLock<Scene> = std::sync::LazyLock::new(scene);
        let target = &SCENE.target;
        prop_assert!(target.judge(&bytes, NOW).is_err());
        let (key, der) = signer(&SCENE.ca, vec![ExtendedKeyUsagePurpose::OcspSigning]);
        let singles = single(&id_of(target), GOOD, FROM, Some(UNTIL));
        let mut answer = answer(&by_name(&der), &singles, &key, &[&der]);
        for (at, byte) in changes {
            let at = at.index(answer.len());
            answer[at] = byte;
        }
        let _ = target.judge(&answer, NOW);
        let _ = Target::new(&[&answer, &der]);
    }
}
