//! The kit's own TLS, client against server, and against openssl.

use crate::peers::run;
use crate::scratch::Scratch;
use crate::tls::{Ca, LeafSpec, TlsClient, TlsServer};
use crate::{Ask, require_peer};

#[test]
fn h1_over_tls_with_alpn_and_resumption() {
    let ca = Ca::new("test authority");
    let server = TlsServer::with_alpn(&ca.leaf(&["localhost"]), &["http/1.1"]);
    let origin = server.named("a");
    for client in [
        TlsClient::new(&ca).only_tls13(),
        TlsClient::new(&ca).only_tls12(),
        TlsClient::new(&ca).only_tls12().without_tickets(),
    ] {
        let client = client.alpn(&["h2", "http/1.1"]);
        for nth in 0..2 {
            let mut wire = client.connect(origin.address());
            assert_eq!(wire.tls().alpn.as_deref(), Some("http/1.1"));
            assert_eq!(wire.tls().resumed, nth == 1, "{:?}", wire.tls());
            let answer = Ask::get(origin.address(), "/bytes/300000").send_on(&mut wire);
            assert_eq!(answer.expect(200).body_len, 300_000);
            let big = Ask::post(origin.address(), "/", vec![b'x'; 200_000]).send_on(&mut wire);
            assert_eq!(big.expect(200).json()["body_len"], 200_000);
        }
    }
    let seen = server.handshakes();
    assert_eq!(seen.len(), 6);
    assert!(
        seen.iter()
            .all(|one| one.name.as_deref() == Some("localhost"))
    );
}

#[test]
fn wrong_names_and_expired_certificates_are_refused() {
    let ca = Ca::new("test authority");
    let other = TlsServer::new(&ca.leaf(&["other.example"])).named("a");
    let fault = TlsClient::new(&ca).try_connect(other.address());
    assert!(fault.is_err_and(|text| text.contains("not valid for name")));
    let old = ca.issue(LeafSpec::names(&["localhost"]).expired().rsa());
    let old = TlsServer::new(&old).named("a");
    let fault = TlsClient::new(&ca).try_connect(old.address());
    assert!(fault.is_err_and(|text| text.contains("expired")));
    TlsClient::trusting().connect(old.address());
}

#[test]
fn client_certificates() {
    let ca = Ca::new("test authority");
    let server = TlsServer::with(&ca.leaf(&["localhost"]), &[], Some(&ca));
    let origin = server.named("a");
    let me = ca.issue(LeafSpec::client("me"));
    let mut wire = TlsClient::new(&ca).identity(&me).connect(origin.address());
    wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect(200);
    assert_eq!(server.handshakes()[0].client, me.der.to_vec());
    let mut nobody = TlsClient::new(&ca).connect(origin.address());
    let _refused = nobody.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(nobody.try_answer("GET").is_err());
    let said = nobody.fault().unwrap_or_default();
    assert!(said.contains("CertificateRequired"), "{said}");
}

#[test]
fn openssl_reads_our_certificates() {
    let openssl = require_peer!("openssl");
    let ca = Ca::new("test authority");
    let spec = LeafSpec::names(&["*.example.com", "127.0.0.1"])
        .ocsp("http://127.0.0.1:8888/")
        .must_staple();
    let leaf = ca.issue(spec);
    let scratch = Scratch::new();
    let (cert, _) = leaf.write(&scratch, "leaf");
    let root = scratch.write("ca.pem", ca.pem()).display().to_string();
    let cert = cert.display().to_string();
    let output = run(&openssl, &["verify", "-CAfile", &root, &cert]);
    assert!(output.status.success(), "{output:?}");
    let args = [
        "x509",
        "-in",
        &cert,
        "-noout",
        "-text",
        "-fingerprint",
        "-sha256",
    ];
    let text = String::from_utf8_lossy(&run(&openssl, &args).stdout).into_owned();
    for part in [
        "OCSP - URI:http://127.0.0.1:8888/",
        "status_request",
        "DNS:*.example.com, IP Address:127.0.0.1",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let print = text.replace(':', "").to_ascii_lowercase();
    assert!(print.contains(&leaf.fingerprint()), "{text}");
    let list = scratch.write("list.pem", ca.crl(&[&leaf]));
    let list = list.display().to_string();
    let args = [
        "verify",
        "-crl_check",
        "-CAfile",
        &root,
        "-CRLfile",
        &list,
        &cert,
    ];
    let said = run(&openssl, &args);
    assert!(
        String::from_utf8_lossy(&said.stderr).contains("revoked"),
        "{said:?}"
    );
}
