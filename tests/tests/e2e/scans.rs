//! What scanners say of a listener with its defaults: sslscan and testssl.sh find nothing that should not be there.

use keel_testkit::peers::run;
use keel_testkit::{Origin, require_peer};

use crate::site::{OWN, Site};

/// Findings that are of the test's certificate and of the scanner's machine, not of the listener.
const NOT_OURS: [&str; 4] = [
    "engine_problem",   // of the openssl that it was given
    "cert_revocation",  // the certificate names no responder
    "DNS_CAArecord",    // the name is in no DNS
    "security_headers", // of the application
];

#[test]
fn sslscan_finds_nothing() {
    let sslscan = require_peer!("sslscan");
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let address = site.address().to_string();
    let output = run(&sslscan, &["--no-colour", "--sni-name=localhost", &address]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "SSLv3     disabled",
        "TLSv1.0   disabled",
        "TLSv1.1   disabled",
        "TLSv1.2   enabled",
        "TLSv1.3   enabled",
        "supports TLS Fallback SCSV",
        "renegotiation not supported",
        "TLSv1.2 not vulnerable to heartbleed",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let suites: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("Preferred ") || line.starts_with("Accepted "))
        .collect();
    assert!(suites.len() >= 6, "{said}");
    for line in suites {
        let modern = line.contains("GCM") || line.contains("CHACHA20");
        let secret = line.contains("ECDHE-") || line.contains("TLSv1.3");
        assert!(modern && secret, "{line}");
    }
}

#[test]
fn testssl_finds_nothing() {
    let testssl = require_peer!("testssl");
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], &format!("{OWN}, hsts: true"));
    let root = site.proxy.dir().join("ca.pem").display().to_string();
    let file = site.proxy.dir().join("findings.json").display().to_string();
    let address = site.address().to_string();
    let args = [
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "batch",
        "--jsonfile",
        &file,
        "--add-ca",
        &root,
        &address,
    ];
    let output = run(&testssl, &args);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{output:?}"));
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a report in JSON");
    assert!(all.len() > 100, "{}", all.len());
    let word =
        |found: &serde_json::Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
    // WARN is no finding: the scanner could not find something out.
    let bad: Vec<String> = all
        .iter()
        .filter(|found| !["OK", "INFO", "WARN"].contains(&word(found, "severity").as_str()))
        .filter(|found| !NOT_OURS.contains(&word(found, "id").as_str()))
        .map(|found| {
            ["severity", "id", "finding"]
                .map(|key| word(found, key))
                .join(" ")
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
