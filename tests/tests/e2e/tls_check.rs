//! Certificates and settings that cannot work: each is a diagnostic with its place, before anything listens.

use keel_testkit::scratch::Scratch;
use keel_testkit::{Ca, LeafSpec, Proxy};

use crate::site::config;

/// What `check` says of these keys of TLS, with these files beside the configuration. It must fail with a place.
#[track_caller]
fn refused(tls: &str, files: &[(&str, &str)]) -> String {
    let scratch = Scratch::new();
    for (name, text) in files {
        scratch.write(name, text);
    }
    let server = "127.0.0.1:9".parse().expect("an address");
    let text = config(&[server], "", tls, "");
    let exit = Proxy::run_in(&scratch, "check", &text, &[]);
    assert_ne!(exit.code, Some(0), "{tls}: {}", exit.stderr);
    assert!(exit.stderr.contains("error["), "{tls}: {}", exit.stderr);
    assert!(
        exit.stderr.contains("evenkeel.yaml:3:"),
        "no line and column: {}",
        exit.stderr
    );
    assert!(exit.stderr.contains("help"), "no way out: {}", exit.stderr);
    let begun = Proxy::run_in(&scratch, "run", &text, &[]);
    assert_ne!(begun.code, Some(0), "it starts nevertheless");
    exit.stderr
}

const PAIR: &str = "certificates: [ { cert: \"@DIR@/a.pem\", key: \"@DIR@/a.key\" } ]";

#[test]
fn pairs_that_are_none() {
    let ca = Ca::new("an authority of tests");
    let (a, b) = (ca.leaf(&["a.example"]), ca.leaf(&["a.example"]));
    let rsa = ca.issue(LeafSpec::names(&["a.example"]).rsa());
    for (what, cert, key, word) in [
        (
            "another key",
            a.cert_pem.as_str(),
            b.key_pem.as_str(),
            "a.key",
        ),
        ("a key of another kind", &a.cert_pem, &rsa.key_pem, "a.key"),
        ("an empty chain", "", &a.key_pem, "a.pem"),
        ("no certificate", "rubbish\n", &a.key_pem, "a.pem"),
        ("a key for a certificate", &a.key_pem, &a.key_pem, "a.pem"),
        ("no key", &a.cert_pem, "", "a.key"),
        ("a certificate for a key", &a.cert_pem, &a.cert_pem, "a.key"),
        (
            "half a certificate",
            &a.cert_pem[..200],
            &a.key_pem,
            "a.pem",
        ),
    ] {
        let said = refused(PAIR, &[("a.pem", cert), ("a.key", key)]);
        assert!(said.contains(word), "{what}: no {word} in {said}");
    }
    let said = refused(PAIR, &[("a.pem", &a.cert_pem)]);
    assert!(said.contains("a.key"), "{said}");
    let said = refused("certificates: [ { directory: \"@DIR@/none\" } ]", &[]);
    assert!(said.contains("none"), "{said}");
    let said = refused(
        "certificates: [ { bundle: \"@DIR@/b.pem\" } ]",
        &[("b.pem", &a.cert_pem)],
    );
    assert!(said.contains("key"), "{said}");
}

#[test]
fn keys_with_a_passphrase() {
    let openssl = keel_testkit::require_peer!("openssl");
    let ca = Ca::new("an authority of tests");
    let leaf = ca.leaf(&["a.example"]);
    let scratch = Scratch::new();
    let plain = scratch
        .write("plain.key", &leaf.key_pem)
        .display()
        .to_string();
    for more in [
        &["pkcs8", "-topk8", "-v2", "aes256"][..],
        &["ec", "-aes256"],
    ] {
        let args = [more, &["-in", &plain, "-passout", "pass:secret"]].concat();
        let output = keel_testkit::peers::run(&openssl, &args);
        let key = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(key.contains("ENCRYPTED"), "{output:?}");
        let said = refused(PAIR, &[("a.pem", &leaf.cert_pem), ("a.key", &key)]);
        let lower = said.to_ascii_lowercase();
        assert!(
            lower.contains("encrypted") || lower.contains("passphrase"),
            "{said}"
        );
    }
}

#[test]
fn settings_that_cannot_be() {
    let ca = Ca::new("an authority of tests");
    let leaf = ca.leaf(&["a.example"]);
    let files = [
        ("a.pem", leaf.cert_pem.as_str()),
        ("a.key", &leaf.key_pem),
        ("junk", "junk\n"),
    ];
    for (more, word) in [
        (
            "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]",
            "TLS_AES_128_GCM_SHA256",
        ),
        ("cipher_suites: [DES-CBC3-SHA]", "TLS_AES_128_GCM_SHA256"),
        ("groups: [brainpoolP256r1]", "X25519"),
        ("min_version: \"1.3\", max_version: \"1.2\"", "min_version"),
        ("min_version: \"1.0\"", "1.2"),
        (
            "min_version: \"1.3\", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
            "1.3",
        ),
        ("tickets: { keys: \"@DIR@/junk\" }", "junk"),
        ("client: { ca: \"@DIR@/junk\" }", "junk"),
        (
            "client: { ca: \"@DIR@/a.pem\", crl: \"@DIR@/junk\" }",
            "junk",
        ),
        ("self_signed: true", "certificates"),
    ] {
        let said = refused(&format!("{PAIR}, {more}"), &files);
        assert!(said.contains(word), "{more}: no {word} in {said}");
    }
}
