//! Certificates of clients: who comes in, and what backends are told.

use keel_testkit::tls::Leaf;
use keel_testkit::{Ask, Ca, LeafSpec, Origin, TlsClient};

use crate::GET;
use crate::site::{OWN, Site};

const TOLD: [&str; 5] = [
    "x-client-cert-verify",
    "x-client-cert-subject",
    "x-client-cert-issuer",
    "x-client-cert-serial",
    "x-client-cert-fingerprint",
];

/// A site that asks for certificates of its own authority, and one that it has signed.
fn asking(origin: &Origin, keys: &str) -> (Site, Leaf) {
    let tls = format!("{OWN}, client: {{ ca: \"@DIR@/ca.pem\", {keys} }}");
    let site = Site::before(&[origin.address()], &tls);
    let leaf = site.ca.issue(LeafSpec::client("anna"));
    (site, leaf)
}

/// What a client gets that comes with, or without, a certificate: a status, or the alert.
fn outcome(site: &Site, client: &TlsClient) -> Result<u16, String> {
    let mut wire = client.try_connect(site.address())?;
    let _sent = wire.try_send(GET);
    match wire.try_answer("GET") {
        Ok(answer) => Ok(answer.status()),
        Err(lost) => Err(format!("{lost:?} {:?}", wire.fault())),
    }
}

#[test]
fn required() {
    let origin = Origin::echo();
    let (site, anna) = asking(&origin, "verify: required");
    for client in [site.client().only_tls12(), site.client().only_tls13()] {
        let with = client.clone().identity(&anna);
        assert_eq!(outcome(&site, &with), Ok(200));
        assert_eq!(outcome(&site, &with), Ok(200), "resumed");
        let fault = outcome(&site, &client).expect_err("none is shown");
        assert!(
            fault.contains("CertificateRequired") || fault.contains("HandshakeFailure"),
            "{fault}"
        );
        let stranger = Ca::new("another").issue(LeafSpec::client("eve"));
        let fault = outcome(&site, &client.clone().identity(&stranger));
        let fault = fault.expect_err("an unknown authority");
        assert!(
            fault.contains("UnknownCA") || fault.contains("DecryptError"),
            "{fault}"
        );
        let old = site.ca.issue(LeafSpec::client("old").expired());
        let fault = outcome(&site, &client.identity(&old)).expect_err("expired");
        assert!(fault.contains("CertificateExpired"), "{fault}");
    }
    assert_eq!(origin.requests(), 4);
}

#[test]
fn optional_and_what_backends_are_told() {
    let origin = Origin::echo();
    let (site, anna) = asking(&origin, "verify: optional");
    let lies: Vec<(&str, &str)> = TOLD.iter().map(|name| (*name, "a lie")).collect();
    let ask = lies
        .iter()
        .fold(Ask::get(site.address(), "/"), |ask, (name, value)| {
            ask.with(name, value)
        });
    let mut none = site.client().connect(site.address());
    let answer = ask.send_on(&mut none).expect(200);
    for name in &TOLD[1..] {
        assert_eq!(answer.seen(name), Vec::<String>::new(), "{name}");
    }
    assert!(!answer.seen(TOLD[0]).contains(&"a lie".to_owned()));
    let client = site.client().identity(&anna);
    for nth in 0..2 {
        let mut wire = client.connect(site.address());
        assert_eq!(wire.tls().resumed, nth == 1);
        let answer = ask.send_on(&mut wire).expect(200);
        let seen = TOLD.map(|name| answer.seen_one(name).unwrap_or_default());
        assert_eq!(seen[0], "SUCCESS");
        assert!(seen[1].contains("CN=anna"), "{seen:?}");
        assert!(seen[2].contains("CN=an authority of tests"), "{seen:?}");
        let serial = u64::from_str_radix(&seen[3].replace(':', ""), 16);
        assert_eq!(serial, Ok(anna.serial), "{seen:?}");
        let print = seen[4].replace(':', "").to_ascii_lowercase();
        assert_eq!(print, anna.fingerprint());
    }
}

/// RFC 9112 has no other way to write these names, but some backends take `_` for `-`.
#[test]
fn lies_are_taken_away_on_every_listener_with_certificates() {
    let origin = Origin::echo();
    let (site, anna) = asking(&origin, "verify: optional, headers: false");
    let mut wire = site.client().identity(&anna).connect(site.address());
    let ask = Ask::get(site.address(), "/");
    let answer = ask.send_on(&mut wire).expect(200);
    for name in TOLD {
        assert_eq!(answer.seen(name), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn revoked_ones_are_refused() {
    let origin = Origin::echo();
    let tls = format!("{OWN}, client: {{ ca: \"@DIR@/ca.pem\", crl: \"@DIR@/list.pem\" }}");
    let mut leaves = Vec::new();
    let site = Site::prepared(&[origin.address()], "", &tls, "", |ca, scratch| {
        leaves = ["good", "bad"]
            .map(|name| ca.issue(LeafSpec::client(name)))
            .to_vec();
        scratch.write("list.pem", ca.crl(&[&leaves[1]]));
    });
    assert_eq!(outcome(&site, &site.client().identity(&leaves[0])), Ok(200));
    let fault = outcome(&site, &site.client().identity(&leaves[1]));
    assert!(fault.is_err_and(|text| text.contains("CertificateRevoked")));
}
