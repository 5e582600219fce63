//! Certificates of clients, resumption, and connections to servers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keel_tls::{
    Acceptor, ClientCertificates, ClientSettings, Connector, FaultClass, HandshakeFault, Roots,
    ServerName, ServerSettings, SessionSettings, Setting, Stream, TicketSettings, Verify, Version,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::ClientConfig;
use support::{Ca, Folder, Leaf, acceptor, pipe, settings, shake, shaken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A client's certificate with a subject that has to be escaped, and the serial number 0x0a01.
fn person(ca: &Ca) -> Leaf {
    ca.make(&[], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.distinguished_name = DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "Example, Inc.");
        name.push(DnType::CommonName, "alice");
        params.serial_number = Some(SerialNumber::from(0x0a01_u64));
    })
}

fn list(ca: &Ca, serials: &[u64]) -> rcgen::CertificateRevocationList {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    CertificateRevocationListParams {
        this_update: (now - hour).into(),
        next_update: (now + 24 * hour).into(),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: serials
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: (now - hour).into(),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&ca.issuer)
    .unwrap()
}

fn mutual(folder: &Folder, ca: &Ca, required: bool, crl: Option<PathBuf>) -> Arc<Acceptor> {
    acceptor(ServerSettings {
        client: Some(ClientCertificates {
            ca: folder.write("ca.pem", &ca.pem),
            required,
            crl,
        }),
        ..settings(vec![folder.pair("site", &ca.leaf(&["localhost"]))])
    })
}

fn with(ca: &Ca, own: &Leaf) -> ClientConfig {
    ClientConfig::builder()
        .with_root_certificates(ca.roots())
        .with_client_auth_cert(vec![own.der.clone()], own.key_der())
        .unwrap()
}

/// The class of the fault of a handshake that has to fail.
async fn class(acceptor: &Acceptor, config: ClientConfig) -> FaultClass {
    let (_, server) = shake(acceptor, &Arc::new(config), "localhost").await;
    match server.unwrap_err() {
        HandshakeFault::Tls { class, .. } => class,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn clients_show_certificates() {
    let (folder, ca, strange) = (Folder::new(), Ca::new("test"), Ca::new("strange"));
    let required = mutual(&folder, &ca, true, None);
    let (_client, server) = shaken(&required, with(&ca, &person(&ca)), "localhost").await;
    let shown = server.facts().unwrap().client.clone().unwrap();
    assert_eq!(&*shown.subject, "CN=alice,O=Example\\, Inc.");
    assert_eq!(&*shown.issuer, "CN=test");
    assert_eq!(&*shown.serial, "0A01");
    assert_eq!(shown.fingerprint_sha256.len(), 64);
    assert!(shown.verified && shown.not_after > 1_700_000_000);
    assert_eq!(
        class(&required, ca.client()).await,
        FaultClass::NoCertificate
    );
    let foreign = with(&ca, &person(&strange));
    assert_eq!(class(&required, foreign).await, FaultClass::BadCertificate);

    let optional = mutual(&folder, &ca, false, None);
    let (_client, server) = shaken(&optional, ca.client(), "localhost").await;
    assert_eq!(server.facts().unwrap().client, None);
    let (_client, server) = shaken(&optional, with(&ca, &person(&ca)), "localhost").await;
    assert!(server.facts().unwrap().client.is_some());
    let foreign = with(&ca, &person(&strange));
    assert_eq!(class(&optional, foreign).await, FaultClass::BadCertificate);
}

#[tokio::test]
async fn revoked_certificates_are_refused() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let der = folder.write("list.der", list(&ca, &[0x0a01]).der());
    let pem = folder.write("list.pem", list(&ca, &[7]).pem().unwrap());
    let own = person(&ca);
    let by_der = mutual(&folder, &ca, true, Some(der));
    assert_eq!(
        class(&by_der, with(&ca, &own)).await,
        FaultClass::BadCertificate
    );

    let by_pem = mutual(&folder, &ca, true, Some(pem));
    shaken(&by_pem, with(&ca, &own), "localhost").await;
    // The list changes while the listener runs.
    folder.write("list.pem", list(&ca, &[7, 0x0a01]).pem().unwrap());
    let events = by_pem.refresh(SystemTime::now());
    assert_eq!(events[0].kind(), "clients_taken", "{events:?}");
    assert_eq!(
        class(&by_pem, with(&ca, &own)).await,
        FaultClass::BadCertificate
    );
    folder.write("list.pem", "no list");
    let events = by_pem.refresh(SystemTime::now());
    assert_eq!(events[0].kind(), "refused", "{events:?}");
    assert_eq!(
        class(&by_pem, with(&ca, &own)).await,
        FaultClass::BadCertificate
    );
}

/// Two connections of one client, one after the other: whether each was resumed.
async fn twice(acceptor: &Acceptor, config: ClientConfig) -> [bool; 2] {
    let config = Arc::new(config);
    let mut resumed = [false; 2];
    for one in &mut resumed {
        let (client, server) = shake(acceptor, &config, "localhost").await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        // Reading lets the client see its tickets.
        server.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        *one = server.facts().unwrap().resumed;
    }
    resumed
}

#[tokio::test]
async fn sessions_are_resumed_when_they_may() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let source = folder.pair("site", &ca.leaf(&["localhost"]));
    let hour = Duration::from_secs(3600);
    let tickets = Some(TicketSettings {
        key_file: None,
        rotate: hour,
        lifetime: hour,
    });
    let sessions = Some(SessionSettings {
        bytes_max: 1 << 20,
        timeout: hour,
    });
    for (tickets, sessions, expected) in [
        (tickets.clone(), None, [false, true]),
        (None, sessions, [false, true]),
        (tickets.clone(), sessions, [false, true]),
        (None, None, [false, false]),
    ] {
        let site = acceptor(ServerSettings {
            tickets,
            sessions,
            ..settings(vec![source.clone()])
        });
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let config = ClientConfig::builder_with_protocol_versions(&[version])
                .with_root_certificates(ca.roots())
                .with_no_client_auth();
            assert_eq!(twice(&site, config).await, expected, "{version:?}");
        }
    }
    // A resumed client keeps the certificate that it showed.
    let site = acceptor(ServerSettings {
        tickets,
        client: Some(ClientCertificates {
            ca: folder.write("ca.pem", &ca.pem),
            required: true,
            crl: None,
        }),
        ..settings(vec![source])
    });
    let config = Arc::new(with(&ca, &person(&ca)));
    for resumed in [false, true] {
        let (client, server) = shake(&site, &config, "localhost").await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        server.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        let facts = server.facts().unwrap();
        assert_eq!(facts.resumed, resumed);
        assert!(
            facts
                .client
                .as_ref()
                .unwrap()
                .subject
                .starts_with("CN=alice")
        );
    }
}

type Ends = (
    Result<Stream, HandshakeFault>,
    Result<Stream, HandshakeFault>,
);

async fn connect(connector: &Connector, acceptor: &Acceptor, host: &str) -> Ends {
    let (client, server) = pipe().await;
    tokio::join!(connector.connect(host, client), acceptor.accept(server))
}

fn connector(settings: ClientSettings) -> Connector {
    Connector::new(settings).unwrap().0
}

#[tokio::test]
async fn servers_are_verified() {
    let (folder, ca, strange) = (Folder::new(), Ca::new("test"), Ca::new("strange"));
    let leaf = ca.leaf(&["app.example", "127.0.0.1"]);
    let site = acceptor(ServerSettings {
        alpn: vec![b"h2".to_vec()],
        ..settings(vec![folder.pair("site", &leaf)])
    });
    let roots = Roots::File(folder.write("ca.pem", &ca.pem));
    let full = |roots: &Roots| ClientSettings {
        roots: roots.clone(),
        ..ClientSettings::default()
    };
    let own = connector(ClientSettings {
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..full(&roots)
    });
    let (near, far) = connect(&own, &site, "App.example").await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    let facts = near.facts().unwrap();
    assert_eq!(facts.alpn, Some(keel_tls::Alpn::H2));
    assert_eq!(facts.server_name.as_deref(), Some("app.example"));
    assert_eq!(
        far.facts().unwrap().server_name.as_deref(),
        Some("app.example")
    );
    near.write_all(b"ping").await.unwrap();
    far.read_exact(&mut [0; 4]).await.unwrap();
    assert!(near.poll_alive());
    let (near, far) = connect(&own, &site, "127.0.0.1").await;
    assert_eq!(near.unwrap().facts().unwrap().server_name, None);
    far.unwrap();

    let refused = |ends: Ends| ends.0.unwrap_err().label();
    assert_eq!(
        refused(connect(&own, &site, "other.example").await),
        "bad_certificate"
    );
    assert_eq!(refused(connect(&own, &site, "not a name").await), "other");
    let strangers = Roots::File(folder.write("strange.pem", &strange.pem));
    let ends = connect(&connector(full(&strangers)), &site, "app.example").await;
    assert_eq!(ends.1.unwrap_err().label(), "refused_certificate");
    assert_eq!(ends.0.unwrap_err().label(), "bad_certificate");

    let fixed = connector(ClientSettings {
        server_name: ServerName::Fixed("app.example".to_owned()),
        ..full(&roots)
    });
    connect(&fixed, &site, "10.0.0.1").await.0.unwrap();
    let told = [0, 1, 9_999, 10_001, 10_002].map(|at| fixed.is_worth_telling(at));
    assert_eq!(told, [true, false, false, true, false]);

    let print = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf.der);
    let good: [u8; 32] = print.as_ref().try_into().unwrap();
    for (verify, works) in [
        (Verify::Pinned(vec![[1; 32], good]), true),
        (Verify::Pinned(vec![[1; 32]]), false),
        (Verify::Off, true),
    ] {
        let loose = connector(ClientSettings {
            verify: verify.clone(),
            ..full(&strangers)
        });
        let (near, _) = connect(&loose, &site, "whatever.example").await;
        assert_eq!(near.is_ok(), works, "{verify:?}");
    }
}

/// As `openssl req -x509` makes it: a CA that is the server's own certificate too.
fn of_its_own(change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let mut params = CertificateParams::new(vec!["app.example".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    Leaf {
        cert: cert.pem(),
        key: key.serialize_pem(),
        der: cert.der().clone(),
        key_der: key.serialize_der(),
    }
}

#[tokio::test]
async fn a_server_may_be_named_by_its_own_certificate() {
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let old = |params: &mut CertificateParams| params.not_after = (now - day).into();
    let early = |params: &mut CertificateParams| params.not_before = (now + day).into();
    let good = of_its_own(|_| ());
    for (leaf, name, file, works) in [
        (&good, "app.example", &good, true),
        (&good, "other.example", &good, false),
        (&good, "app.example", &of_its_own(|_| ()), false),
    ] {
        let folder = Folder::new();
        let site = acceptor(settings(vec![folder.pair("site", leaf)]));
        let own = connector(ClientSettings {
            roots: Roots::File(folder.write("ca.pem", &file.cert)),
            ..ClientSettings::default()
        });
        let (near, _) = connect(&own, &site, name).await;
        assert_eq!(near.is_ok(), works, "{name}: {:?}", near.err());
    }
    for leaf in [of_its_own(old), of_its_own(early)] {
        let folder = Folder::new();
        let site = acceptor(settings(vec![folder.pair("site", &leaf)]));
        let own = connector(ClientSettings {
            roots: Roots::File(folder.write("ca.pem", &leaf.cert)),
            ..ClientSettings::default()
        });
        let (near, _) = connect(&own, &site, "app.example").await;
        assert_eq!(near.unwrap_err().label(), "bad_certificate");
    }
}

#[tokio::test]
async fn connections_to_servers_resume_and_survive_tickets() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let site = acceptor(ServerSettings {
        tickets: Some(TicketSettings {
            key_file: None,
            rotate: Duration::from_secs(3600),
            lifetime: Duration::from_secs(3600),
        }),
        ..settings(vec![folder.pair("site", &ca.leaf(&["localhost"]))])
    });
    let own = connector(ClientSettings {
        roots: Roots::File(folder.write("ca.pem", &ca.pem)),
        ..ClientSettings::default()
    });
    for resumed in [false, true] {
        let (near, far) = connect(&own, &site, "localhost").await;
        let (mut near, far) = (near.unwrap(), far.unwrap());
        assert_eq!(near.facts().unwrap().resumed, resumed);
        // The server's tickets lie in the socket: no data, so the connection is good.
        near.tcp().readable().await.unwrap();
        assert!(near.poll_alive());
        drop(far);
        std::future::poll_fn(|cx| near.poll_read_ready(cx))
            .await
            .ok();
        assert!(!near.poll_alive());
    }
}

#[tokio::test]
async fn our_own_certificate_is_shown_and_read_again() {
    let (folder, ca) = (Folder::new(), Ca::new("test"));
    let site = mutual(&folder, &ca, true, None);
    let (first, second) = (person(&ca), ca.leaf(&["second"]));
    folder.pair("own", &first);
    let file = |name: &str| folder.path().join(name);
    let settings = ClientSettings {
        roots: Roots::File(file("ca.pem")),
        certificate: Some((file("own.crt"), file("own.key"))),
        min_version: Version::Tls13,
        ..ClientSettings::default()
    };
    let own = connector(settings.clone());
    let (_near, far) = connect(&own, &site, "localhost").await;
    let shown = far.unwrap().facts().unwrap().client.clone().unwrap();
    assert!(shown.subject.starts_with("CN=alice"));

    let now = SystemTime::now();
    assert_eq!(own.refresh(now), []);
    folder.write("own.crt", &second.cert);
    assert_eq!(own.refresh(now)[0].kind(), "refused");
    folder.write("own.key", &second.key);
    assert_eq!(own.refresh(now)[0].kind(), "taken");
    let (_near, far) = connect(&own, &site, "localhost").await;
    let shown = far.unwrap().facts().unwrap().client.clone().unwrap();
    assert!(!shown.subject.starts_with("CN=alice"));

    folder.write("own.key", &first.key);
    let faults = Connector::new(settings).unwrap_err();
    assert_eq!(faults[0].setting, Setting::ClientCertificate);
}

#[test]
fn bad_settings_of_pools_are_faults() {
    let folder = Folder::new();
    let faults = |settings: ClientSettings| Connector::new(settings).unwrap_err();
    let off = |server_name| ClientSettings {
        verify: Verify::Off,
        server_name,
        ..ClientSettings::default()
    };
    let name = ServerName::Fixed("no name".to_owned());
    assert_eq!(faults(off(name))[0].setting, Setting::ServerName);
    let (_, notices) = Connector::new(off(ServerName::Own)).unwrap();
    assert!(notices[0].warning && notices[0].what.contains("NOT verified"));
    let pins = ClientSettings {
        verify: Verify::Pinned(Vec::new()),
        ..ClientSettings::default()
    };
    assert_eq!(faults(pins)[0].setting, Setting::Pin);
    let roots = ClientSettings {
        roots: Roots::File(folder.write("ca.pem", "nothing")),
        ..ClientSettings::default()
    };
    assert_eq!(faults(roots)[0].setting, Setting::ServerCa);
}
