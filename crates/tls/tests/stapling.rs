//! An OCSP answer that is kept in the state folder reaches the client in the first handshake.
//! Without `openssl` in PATH this says so and passes, or fails where `EVENKEEL_REQUIRE_PEERS=1`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

use keel_tls::ServerSettings;
use rcgen::SerialNumber;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use support::{ALL_SCHEMES, Ca, Folder, Schemes, acceptor, settings, shaken};

/// Keeps the answer that it is shown.
#[derive(Debug)]
struct Witness(Schemes, Arc<Mutex<Vec<u8>>>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        answer: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.1.lock().unwrap() = answer.to_vec();
        let verifier = &self.0;
        verifier.verify_server_cert(end_entity, intermediates, name, answer, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALL_SCHEMES.to_vec()
    }
}

/// Runs openssl in the folder; false when there is none.
fn openssl(folder: &Folder, args: &[&str]) -> bool {
    match Command::new("openssl")
        .current_dir(folder.path())
        .args(args)
        .output()
    {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            true
        }
        Err(_) => {
            let required = std::env::var_os("EVENKEEL_REQUIRE_PEERS");
            assert!(required.is_none_or(|value| value != "1"), "no openssl");
            eprintln!("skipped: openssl not found");
            false
        }
    }
}

#[tokio::test]
async fn a_kept_answer_is_stapled() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let mut leaf = ca.make(
        &["site.example"],
        &rcgen::PKCS_ECDSA_P256_SHA256,
        |params| params.serial_number = Some(SerialNumber::from(0x1007_u64)),
    );
    leaf.cert += &ca.pem;
    folder.write("ca.pem", &ca.pem);
    folder.write("ca.key", ca.issuer.key().serialize_pem());
    folder.write("index.txt", "V\t350101000000Z\t\t1007\tunknown\t/CN=site\n");
    let source = folder.pair("site", &leaf);
    let made = openssl(
        &folder,
        &[
            "ocsp",
            "-index",
            "index.txt",
            "-CA",
            "ca.pem",
            "-rsigner",
            "ca.pem",
            "-rkey",
            "ca.key",
            "-issuer",
            "ca.pem",
            "-cert",
            "site.crt",
            "-ndays",
            "2",
            "-noverify",
            "-respout",
            "answer.der",
        ],
    );
    if !made {
        return;
    }
    let answer = fs::read(folder.path().join("answer.der")).unwrap();
    let kept = folder.path().join("ocsp");
    let site = |ocsp: bool| {
        acceptor(ServerSettings {
            ocsp,
            state_folder: folder.path().to_path_buf(),
            ..settings(vec![source.clone()])
        })
    };
    fs::create_dir(&kept).unwrap();
    let fingerprint = &site(false).certificates()[0].fingerprint;
    fs::write(kept.join(format!("{fingerprint}.ocsp")), &answer).unwrap();

    let shown = Arc::new(Mutex::new(Vec::new()));
    let mut config = ca.client();
    let witness = Witness(Schemes(ALL_SCHEMES), shown.clone());
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(witness));
    shaken(&site(true), config.clone(), "site.example").await;
    assert!(*shown.lock().unwrap() == answer);
    shaken(&site(false), config, "site.example").await;
    assert!(shown.lock().unwrap().is_empty());
}
