//! Which certificate a client is shown, what is refused at the start, and what a refresh takes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use keel_tls::{
    Acceptor, CertificateSource, Event, FaultClass, HandshakeFault, SelfSigned, ServerSettings,
    Setting, UnknownName, Version,
};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{ClientConfig, NamedGroup, SignatureScheme};
use support::{Ca, Folder, acceptor, settings, shake, shaken, shown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A client that looks at no certificate, so that names may be anything.
fn blind(ca: &Ca) -> ClientConfig {
    let mut config = ca.client();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(support::Schemes(support::ALL_SCHEMES)));
    config
}

#[tokio::test]
async fn names_choose_certificates() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let first = ca.leaf(&["first.example"]);
    let exact = ca.leaf(&["a.wild.example"]);
    let wild = ca.leaf(&["*.wild.example"]);
    let acceptor = acceptor(settings(vec![
        folder.pair("first", &first),
        folder.pair("exact", &exact),
        folder.pair("wild", &wild),
    ]));
    for (name, expected) in [
        ("first.example", &first),
        ("FIRST.Example", &first),
        ("a.wild.example", &exact),
        ("b.wild.example", &wild),
        // One label only, and not the name itself.
        ("b.c.wild.example", &first),
        ("wild.example", &first),
        ("unknown.example", &first),
        // No name at all.
        ("127.0.0.1", &first),
    ] {
        let (client, _server) = shaken(&acceptor, blind(&ca), name).await;
        assert!(shown(&client) == expected.der, "{name}");
    }
    let infos = acceptor.certificates();
    assert_eq!(infos.len(), 3);
    assert_eq!(infos[2].names, ["*.wild.example"]);
    assert_eq!(infos[0].fingerprint.len(), 64);
}

#[tokio::test]
async fn unknown_names_can_be_refused() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let acceptor = acceptor(ServerSettings {
        unknown_name: UnknownName::Refuse,
        ..settings(vec![folder.pair("site", &ca.leaf(&["site.example"]))])
    });
    let config = Arc::new(blind(&ca));
    let (client, server) = shake(&acceptor, &config, "other.example").await;
    let text = client.unwrap_err().to_string();
    assert!(text.contains("UnrecognisedName"), "{text}");
    match server.unwrap_err() {
        HandshakeFault::Tls { class, .. } => assert_eq!(class, FaultClass::UnknownName),
        other => panic!("{other:?}"),
    }
    // A client without a name did not ask for an unknown one.
    for name in ["site.example", "127.0.0.1"] {
        let (client, server) = shake(&acceptor, &config, name).await;
        client.unwrap();
        server.unwrap();
    }
}

#[tokio::test]
async fn clients_get_the_kind_of_key_that_they_can_check() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let (rsa, ecdsa) = (ca.rsa(&["site.example"]), ca.leaf(&["site.example"]));
    // RSA is the first source, ECDSA is preferred all the same.
    let acceptor = acceptor(settings(vec![
        folder.pair("rsa", &rsa),
        folder.pair("ecdsa", &ecdsa),
    ]));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (schemes, expected) in [
            (support::ALL_SCHEMES, &ecdsa),
            (&[SignatureScheme::RSA_PSS_SHA256][..], &rsa),
            (&[SignatureScheme::ECDSA_NISTP256_SHA256][..], &ecdsa),
        ] {
            let mut config = ClientConfig::builder_with_protocol_versions(&[version])
                .with_root_certificates(ca.roots())
                .with_no_client_auth();
            let verifier = Arc::new(support::Schemes(schemes));
            config.dangerous().set_certificate_verifier(verifier);
            let (client, server) = shaken(&acceptor, config, "site.example").await;
            assert!(shown(&client) == expected.der, "{version:?} {schemes:?}");
            let expected = match version.version {
                rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
                _ => "TLSv1.3",
            };
            assert_eq!(server.facts().unwrap().version, expected);
        }
    }
}

#[tokio::test]
async fn versions_suites_and_alpn_are_the_servers_choice() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let source = folder.pair("site", &ca.rsa(&["localhost"]));
    let site = acceptor(ServerSettings {
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..settings(vec![source.clone()])
    });
    let mut config = ca.client();
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let (_client, server) = shaken(&site, config.clone(), "localhost").await;
    let facts = server.facts().unwrap();
    assert_eq!(facts.alpn, Some(keel_tls::Alpn::H2));
    assert_eq!(facts.cipher, "TLS_AES_128_GCM_SHA256");

    config.alpn_protocols = vec![b"other".to_vec()];
    let (_, server) = shake(&site, &Arc::new(config), "localhost").await;
    assert_eq!(server.unwrap_err().label(), "alpn");

    // A client that puts ChaCha20 first has no hardware for AES.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.reverse();
    let chacha = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(ca.roots())
        .with_no_client_auth();
    let (_client, server) = shaken(&site, chacha, "localhost").await;
    assert_eq!(
        server.facts().unwrap().cipher,
        "ECDHE-RSA-CHACHA20-POLY1305"
    );

    let newest = acceptor(ServerSettings {
        min_version: Version::Tls13,
        ..settings(vec![source])
    });
    let old = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_root_certificates(ca.roots())
        .with_no_client_auth();
    let (_, server) = shake(&newest, &Arc::new(old), "localhost").await;
    assert_eq!(server.unwrap_err().label(), "version");
}

/// What the key was agreed on with, when the client knows these groups, its best first.
async fn group(site: &Acceptor, ca: &Ca, groups: &[&'static dyn SupportedKxGroup]) -> NamedGroup {
    let provider = CryptoProvider {
        kx_groups: groups.to_vec(),
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(ca.roots())
        .with_no_client_auth();
    let (client, _server) = shaken(site, config, "localhost").await;
    let agreed = client.get_ref().1.negotiated_key_exchange_group();
    agreed.unwrap().name()
}

#[tokio::test]
async fn the_hybrid_group_is_chosen_by_who_can() {
    use rustls::crypto::aws_lc_rs::kx_group::{SECP384R1, X25519, X25519MLKEM768};

    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let source = folder.pair("site", &ca.leaf(&["localhost"]));
    let site = acceptor(settings(vec![source.clone()]));
    let best = group(&site, &ca, &[X25519MLKEM768, X25519]).await;
    assert_eq!(best, NamedGroup::X25519MLKEM768);
    // A client that sends a share for X25519 alone is not made to come again, which would cost a round trip.
    let shared = group(&site, &ca, &[X25519, X25519MLKEM768]).await;
    assert_eq!(shared, NamedGroup::X25519);
    assert_eq!(group(&site, &ca, &[X25519]).await, NamedGroup::X25519);
    assert_eq!(group(&site, &ca, &[SECP384R1]).await, NamedGroup::secp384r1);
    let old = acceptor(ServerSettings {
        groups: vec!["X25519".to_owned(), "secp384r1".to_owned()],
        ..settings(vec![source])
    });
    let known = group(&old, &ca, &[X25519MLKEM768, X25519]).await;
    assert_eq!(known, NamedGroup::X25519);
}

/// The only fault of settings with this one source.
fn fault(source: CertificateSource) -> String {
    let mut faults = Acceptor::new(settings(vec![source])).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].setting, Setting::Certificate(0));
    faults.remove(0).to_string()
}

#[test]
fn bad_files_say_what_is_wrong() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let (one, two) = (ca.leaf(&["one.example"]), ca.leaf(&["two.example"]));
    let pair = |cert: &str, key: &str| CertificateSource::Pair {
        cert: folder.write("x.crt", cert),
        key: folder.write("x.key", key),
    };
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let reversed = format!("{}{}", ca.pem, one.cert);
    let bundle = |text: &str| CertificateSource::Bundle(folder.write("x.pem", text));
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for (source, words) in [
        (bundle(&one.cert), "holds no private key"),
        (
            CertificateSource::Bundle(folder.path().join("missing.pem")),
            "missing.pem: No such file",
        ),
        (CertificateSource::Directory(empty), "holds 0 certificates"),
    ] {
        let text = fault(source);
        assert!(text.contains(words), "{text}");
    }
    for (cert, key, words) in [
        (&one.cert, &two.key, "does not belong to the certificate"),
        (&one.cert, &encrypted, "openssl pkey -in"),
        (&String::new(), &one.key, "holds no certificate"),
        (&one.cert, &String::new(), "holds no private key"),
        (
            &reversed,
            &one.key,
            "does not begin with the server's own certificate",
        ),
    ] {
        let text = fault(pair(cert, key));
        assert!(text.contains(words), "{text}");
    }
    let faults = Acceptor::new(ServerSettings::default()).unwrap_err();
    assert_eq!(faults[0].setting, Setting::Certificates);
}

#[test]
fn dates_and_chains_are_told_but_taken() {
    let (folder, ca, other) = (Folder::new(), Ca::new("test"), Ca::new("other"));
    let now = SystemTime::now();
    let dated = |from: SystemTime, to: SystemTime| {
        ca.make(&["x.example"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
            params.not_before = from.into();
            params.not_after = to.into();
        })
    };
    let good = ca.leaf(&["x.example"]);
    let mut stranger = good.clone();
    stranger.cert += &other.pem;
    for (leaf, words) in [
        (dated(now - 9 * DAY, now - DAY), "has ended"),
        (dated(now + DAY, now + 9 * DAY), "not valid yet"),
        (stranger, "did not sign certificate 1"),
    ] {
        let source = folder.pair("x", &leaf);
        let (_, notices) = Acceptor::new(settings(vec![source])).unwrap();
        assert!(
            notices[0].warning && notices[0].what.contains(words),
            "{notices:?}"
        );
    }
    let (_, notices) = Acceptor::new(settings(vec![folder.pair("x", &good)])).unwrap();
    assert_eq!(notices, []);
}

#[tokio::test]
async fn directories_follow_their_files() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let (one, two) = (ca.leaf(&["one.example"]), ca.leaf(&["two.example"]));
    folder.pair("one", &one);
    folder.write("roots.pem", &ca.pem); // no key: passed over
    folder.write("notes.txt", "nothing");
    let source = CertificateSource::Directory(folder.path().to_path_buf());
    let acceptor = acceptor(settings(vec![source]));
    let now = SystemTime::now();
    assert_eq!(acceptor.certificates().len(), 1);
    assert_eq!(acceptor.refresh(now), []);

    folder.write("two.pem", format!("{}{}", two.cert, two.key));
    let events = acceptor.refresh(now);
    assert!(matches!(&events[..], [Event::Taken { names, .. }] if names == &["two.example"]));
    let (client, _server) = shaken(&acceptor, ca.client(), "two.example").await;
    assert!(shown(&client) == two.der);

    fs::remove_file(folder.path().join("one.crt")).unwrap();
    fs::remove_file(folder.path().join("one.key")).unwrap();
    let events = acceptor.refresh(now);
    assert!(matches!(&events[..], [Event::Removed { source }] if source.ends_with("one.crt")));
    // The last one stays in use even when its file goes.
    fs::remove_file(folder.path().join("two.pem")).unwrap();
    fs::remove_file(folder.path().join("roots.pem")).unwrap();
    assert!(matches!(
        &acceptor.refresh(now)[..],
        [Event::Refused { .. }]
    ));
    assert_eq!(acceptor.refresh(now), []);
    let (client, _server) = shaken(&acceptor, ca.client(), "two.example").await;
    assert!(shown(&client) == two.der);
}

#[tokio::test]
async fn a_pair_is_taken_only_when_it_matches() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let (old, new) = (ca.leaf(&["site.example"]), ca.leaf(&["site.example"]));
    let acceptor = acceptor(settings(vec![folder.pair("site", &old)]));
    let now = SystemTime::now();

    folder.write("site.crt", &new.cert);
    let events = acceptor.refresh(now);
    assert!(
        matches!(&events[..], [Event::Refused { what, .. }] if what.contains("does not belong")),
        "{events:?}"
    );
    assert_eq!(acceptor.refresh(now), [], "once for each change");
    let (client, _server) = shaken(&acceptor, ca.client(), "site.example").await;
    assert!(shown(&client) == old.der);

    folder.write("site.key", &new.key);
    let events = acceptor.refresh(now);
    assert!(matches!(&events[..], [Event::Taken { .. }]), "{events:?}");
    let (client, _server) = shaken(&acceptor, ca.client(), "site.example").await;
    assert!(shown(&client) == new.der);

    folder.write("site.key", "cut of");
    assert!(matches!(
        &acceptor.refresh(now)[..],
        [Event::Refused { .. }]
    ));
    fs::remove_file(folder.path().join("site.key")).unwrap();
    assert!(matches!(
        &acceptor.refresh(now)[..],
        [Event::Refused { .. }]
    ));
    let (client, _server) = shaken(&acceptor, ca.client(), "site.example").await;
    assert!(shown(&client) == new.der);
}

#[test]
fn the_end_of_a_certificate_is_told_once_a_day() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let now = SystemTime::now();
    let leaf = ca.make(&["x.example"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_before = (now - DAY).into();
        params.not_after = (now + 30 * DAY).into();
    });
    let acceptor = acceptor(settings(vec![folder.pair("x", &leaf)]));
    let hour = DAY / 24;
    assert_eq!(acceptor.refresh(now), []);
    assert_eq!(acceptor.refresh(now + 8 * DAY), []);
    let events = acceptor.refresh(now + 10 * DAY + hour);
    assert!(
        matches!(&events[..], [Event::Expiring { days: 19, .. }]),
        "{events:?}"
    );
    assert_eq!(acceptor.refresh(now + 10 * DAY + hour), []);
    assert_eq!(acceptor.refresh(now + 12 * DAY)[0].kind(), "expiring");
    assert_eq!(acceptor.refresh(now + 31 * DAY)[0].kind(), "expired");
    assert_eq!(acceptor.refresh(now + 31 * DAY), []);
    assert_eq!(acceptor.refresh(now + 32 * DAY)[0].kind(), "expired");
}

#[tokio::test]
async fn handshakes_go_on_while_certificates_change() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let leaves = [ca.leaf(&["localhost"]), ca.leaf(&["localhost"])];
    let acceptor = acceptor(settings(vec![folder.pair("site", &leaves[0])]));
    let done = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (acceptor, done) = (acceptor.clone(), done.clone());
        std::thread::spawn(move || {
            let mut taken = 0;
            while !done.load(Ordering::Relaxed) {
                for leaf in &leaves {
                    folder.pair("site", leaf);
                    let events = acceptor.refresh(SystemTime::now());
                    taken += events
                        .iter()
                        .filter(|event| event.kind() == "taken")
                        .count();
                }
            }
            taken
        })
    };
    let mut running = Vec::new();
    for _ in 0..4 {
        let (acceptor, config) = (acceptor.clone(), Arc::new(ca.client()));
        running.push(tokio::spawn(async move {
            for _ in 0..50 {
                let (client, server) = shake(&acceptor, &config, "localhost").await;
                let (mut client, mut server) = (client.unwrap(), server.unwrap());
                server.write_all(b"ok").await.unwrap();
                client.read_exact(&mut [0; 2]).await.unwrap();
            }
        }));
    }
    for one in running {
        one.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(swapping.join().unwrap() > 1);
}

#[tokio::test]
async fn a_local_ca_signs_and_is_kept() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let state = folder.path().join("state");
    let own = |names: &[&str]| ServerSettings {
        self_signed: Some(SelfSigned {
            names: names.iter().map(|name| name.to_string()).collect(),
            folder: state.clone(),
        }),
        ..ServerSettings::default()
    };
    let (first, notices) = Acceptor::new(own(&[])).unwrap();
    for words in [
        "curl --cacert",
        "update-ca-certificates",
        "update-ca-trust",
        "security add-trusted-cert",
    ] {
        assert!(notices[0].what.contains(words), "{notices:?}");
    }
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("ca.key")), 0o600);
    let ca = fs::read(state.join("ca.pem")).unwrap();
    let client = || {
        let mut roots = rustls::RootCertStore::empty();
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        roots
            .add(CertificateDer::from_pem_slice(&ca).unwrap())
            .unwrap();
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth()
    };
    for name in ["localhost", "127.0.0.1", "::1"] {
        shaken(&first, client(), name).await;
    }
    // The same CA after a restart, other names.
    let (second, _) = Acceptor::new(own(&["dev.local"])).unwrap();
    shaken(&second, client(), "dev.local").await;
    assert_eq!(fs::read(state.join("ca.pem")).unwrap(), ca);

    let now = SystemTime::now();
    let before = second.certificates();
    assert_eq!(second.refresh(now + 59 * DAY), []);
    assert_eq!(second.refresh(now + 61 * DAY)[0].kind(), "taken");
    assert_ne!(second.certificates()[0].fingerprint, before[0].fingerprint);

    fs::write(state.join("ca.key"), "broken").unwrap();
    let faults = Acceptor::new(own(&[])).unwrap_err();
    assert_eq!(faults[0].setting, Setting::SelfSigned);
    assert!(
        faults[0].mend.contains("delete ca.pem and ca.key"),
        "{faults:?}"
    );
}
