//! TLS from clients: which certificate, which version, who may come in, and what a port with TLS does with HTTP in clear.

use std::time::{Duration, Instant};

use keel_testkit::client::End;
use keel_testkit::wait::{SOON, within};
use keel_testkit::{Ask, LeafSpec, Origin, Proxy, TlsClient, Wire};

use crate::GET;
use crate::site::{OWN, Site, config};

/// Two pairs beside that of the site: an exact name, and all others of a domain.
const THREE: &str = "certificates: [ { cert: \"@DIR@/site.pem\", key: \"@DIR@/site.key\" }, \
                     { bundle: \"@DIR@/exact.bundle\" }, { directory: \"@DIR@/more\" } ]";

fn three(origin: &Origin, more: &str) -> Site {
    let tls = format!("{THREE}, {more}");
    Site::prepared(&[origin.address()], "", &tls, "", |ca, scratch| {
        let exact = ca.leaf(&["a.example.com"]);
        scratch.write("exact.bundle", exact.bundle());
        ca.leaf(&["*.example.com"]).write(scratch, "more/wild");
    })
}

/// The names in the certificate that a client is shown which asks for this one.
fn shown(site: &Site, name: Option<&str>) -> Result<Vec<String>, String> {
    let client = TlsClient::trusting();
    let client = match name {
        Some(name) => client.name(name),
        None => client.without_name(),
    };
    let wire = client.try_connect(site.address())?;
    let der = &wire.tls().certificates[0];
    // Names stand in the certificate as they are, one after the other.
    let text = String::from_utf8_lossy(der).into_owned();
    let known = ["localhost", "a.example.com", "*.example.com"];
    let found = known.iter().filter(|name| text.contains(**name));
    Ok(found.map(|name| (*name).to_owned()).collect())
}

#[test]
fn certificates_are_chosen_by_name() {
    let origin = Origin::echo();
    let site = three(&origin, "unknown_name: default");
    for (name, expected) in [
        (Some("localhost"), "localhost"),
        (Some("a.example.com"), "a.example.com"),
        (Some("A.Example.COM"), "a.example.com"),
        (Some("b.example.com"), "*.example.com"),
        (Some("a.b.example.com"), "localhost"),
        (Some("example.com"), "localhost"),
        (None, "localhost"),
    ] {
        let found = shown(&site, name).expect("a handshake");
        assert_eq!(found, [expected], "{name:?}");
    }
    let mut wire = site.client().name("b.example.com").connect(site.address());
    let answer = Ask::get(site.address(), "/").host("b.example.com");
    answer.send_on(&mut wire).expect(200);
}

#[test]
fn unknown_names_can_be_refused() {
    let origin = Origin::echo();
    let site = three(&origin, "unknown_name: refuse");
    for name in ["other.example", "a.b.example.com"] {
        let fault = shown(&site, Some(name)).expect_err("it is refused");
        assert!(fault.contains("UnrecognisedName"), "{fault}");
    }
    assert!(shown(&site, Some("b.example.com")).is_ok());
}

#[test]
fn rsa_and_ecdsa_under_one_name() {
    let origin = Origin::echo();
    let tls = "certificates: [ { cert: \"@DIR@/site.pem\", key: \"@DIR@/site.key\" }, \
               { cert: \"@DIR@/rsa.pem\", key: \"@DIR@/rsa.key\" } ]";
    let site = Site::prepared(&[origin.address()], "", tls, "", |ca, scratch| {
        let spec = LeafSpec::names(&["localhost"]).rsa();
        ca.issue(spec).write(scratch, "rsa");
    });
    let rsa = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let ecdsa = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    for suite in [rsa, ecdsa] {
        let client = site.client().only_tls12().suites(&[suite]);
        assert_eq!(client.connect(site.address()).tls().suite, suite);
    }
    let shown = site.wire().tls().certificates[0].clone();
    assert_eq!(shown, site.leaf.der.to_vec(), "ECDSA to who can do it");
}

#[test]
fn versions_and_suites_are_those_of_the_listener() {
    let origin = Origin::echo();
    let open = Site::before(&[origin.address()], OWN);
    let (old, new) = (open.client().only_tls12(), open.client().only_tls13());
    assert_eq!(old.connect(open.address()).tls().version, "TLSv1.2");
    let newest = new.connect(open.address());
    assert_eq!(newest.tls().version, "TLSv1.3");
    assert_eq!(newest.tls().group, "X25519MLKEM768");
    let tls = format!("{OWN}, min_version: \"1.3\", cipher_suites: [TLS_CHACHA20_POLY1305_SHA256]");
    let strict = Site::before(&[origin.address()], &tls);
    let fault = strict.client().only_tls12().try_connect(strict.address());
    let fault = fault.expect_err("1.2 is not spoken");
    assert!(fault.contains("ProtocolVersion"), "{fault}");
    let only = strict.wire();
    assert_eq!(only.tls().suite, "TLS_CHACHA20_POLY1305_SHA256");
    let other = strict.client().suites(&["TLS_AES_128_GCM_SHA256"]);
    let fault = other.try_connect(strict.address()).expect_err("no suite");
    assert!(fault.contains("HandshakeFailure"), "{fault}");
    let tls = format!("{OWN}, max_version: \"1.2\", groups: [secp256r1]");
    let late = Site::before(&[origin.address()], &tls);
    let wire = late.wire();
    assert_eq!(
        (wire.tls().version, wire.tls().group.as_str()),
        ("TLSv1.2", "secp256r1")
    );
}

/// Three ways to resume; each connection carries a request, so that tickets have come.
#[test]
fn sessions_are_resumed() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let client = site.client();
    for (what, client) in [
        ("1.3 ticket", client.clone().only_tls13()),
        ("1.2 ticket", client.clone().only_tls12()),
        ("1.2 id", client.only_tls12().without_tickets()),
    ] {
        for nth in 0..6 {
            let mut wire = client.connect(site.address());
            wire.ask(GET).expect(200);
            assert_eq!(wire.tls().resumed, nth > 0, "{what}, connection {nth}");
        }
    }
    let tls = format!("{OWN}, tickets: off, sessions: off");
    let site = Site::before(&[origin.address()], &tls);
    for client in [site.client().only_tls12(), site.client().only_tls13()] {
        for _ in 0..2 {
            let mut wire = client.connect(site.address());
            wire.ask(GET).expect(200);
            assert!(!wire.tls().resumed);
        }
    }
}

#[test]
fn ticket_keys_of_a_file_outlive_a_restart() {
    let origin = Origin::echo();
    let tls = format!("{OWN}, tickets: {{ keys: \"@DIR@/tickets.key\" }}");
    let key: Vec<u8> = (0..80).map(|at| at * 3 + 1).collect();
    let first = Site::prepared(&[origin.address()], "", &tls, "", |_, scratch| {
        scratch.write("tickets.key", &key);
    });
    let clients = [first.client().only_tls13(), first.client().only_tls12()];
    for client in &clients {
        client.connect(first.address()).ask(GET).expect(200);
    }
    let second = Site::prepared(&[origin.address()], "", &tls, "", |_, scratch| {
        scratch.write("tickets.key", &key);
        let (ca, leaf) = (&first.ca, &first.leaf);
        leaf.write(scratch, "site");
        scratch.write("ca.pem", ca.pem());
    });
    drop(first.proxy);
    for client in &clients {
        let mut wire = client.connect(second.address());
        assert!(wire.tls().resumed, "{:?}", wire.tls().version);
        wire.ask(GET).expect(200);
    }
}

#[test]
fn http_in_clear_on_a_port_with_tls_is_answered_in_clear() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let mut wire = Wire::connect(site.address());
    let answer = wire.ask(GET).expect(400);
    assert!(
        answer.text().contains("HTTPS") || answer.text().contains("TLS"),
        "{}",
        answer.text()
    );
    wire.expect_close();
    let mut rubbish = Wire::connect(site.address());
    rubbish.send(b"\x00\x01\x02\x03 nothing that is known\r\n\r\n");
    let (_, end) = rubbish.rest();
    assert_ne!(end, End::Deadline);
    assert_eq!(origin.requests(), 0);
    site.wire().ask(GET).expect(200);
}

#[test]
fn alpn_chooses_and_backends_are_told_https() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let alpn = |offer: &[&str]| {
        let wire = site.client().alpn(offer).try_connect(site.address());
        wire.map(|wire| wire.tls().alpn.clone())
    };
    assert_eq!(alpn(&["h2", "http/1.1"]), Ok(Some("h2".to_owned())));
    assert_eq!(alpn(&["http/1.1"]), Ok(Some("http/1.1".to_owned())));
    assert_eq!(alpn(&[]), Ok(None));
    let fault = alpn(&["spdy/3"]).expect_err("RFC 7301 section 3.2");
    assert!(fault.contains("NoApplicationProtocol"), "{fault}");
    let seen = site.wire().ask(GET).expect(200);
    assert_eq!(seen.seen("x-forwarded-proto"), ["https"]);
}

#[test]
fn hsts_and_the_redirect_to_https() {
    let origin = Origin::echo();
    let tls = format!("{OWN}, hsts: {{ max_age: 30d, include_subdomains: true }}");
    let more = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\", tls: {{ {tls} }} }}, \
         clear: {{ bind: \"127.0.0.1:0\", redirect: https }} }}\nstate: \"@DIR@/state\""
    );
    let scratch = keel_testkit::scratch::Scratch::new();
    let ca = keel_testkit::Ca::new("an authority of tests");
    ca.leaf(&["localhost"]).write(&scratch, "site");
    let text = keel_testkit::proxy::simple(&[origin.address()], "", &more);
    let proxy = Proxy::start_in(scratch, &text, &[]);
    let mut wire = TlsClient::new(&ca).connect(proxy.address());
    let answer = wire.ask(GET).expect(200);
    let field = answer.headers("strict-transport-security");
    assert_eq!(field, ["max-age=2592000; includeSubDomains"]);
    let ask = Ask::get(proxy.listener("clear"), "/a/b?c=d").host("test.example:8080");
    let answer = ask.send().expect(301);
    let to = answer.header("location");
    assert_eq!(to.as_deref(), Some("https://test.example/a/b?c=d"));
    let never = answer.header("strict-transport-security");
    assert_eq!(never, None, "RFC 6797 section 7.2");
}

#[test]
fn silence_instead_of_a_handshake_ends_after_its_time() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let mut through = site.wire();
    through.ask(GET).expect(200);
    let start = Instant::now();
    let mut silent = Wire::connect(site.address());
    let mut slow = Wire::connect(site.address());
    slow.send([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]);
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(900));
        let _ended = slow.try_send([3]);
        through.ask(GET).expect(200);
    }
    for wire in [&mut silent, &mut slow] {
        assert_ne!(wire.rest().1, End::Deadline);
    }
    let took = start.elapsed();
    let right = Duration::from_secs(9)..Duration::from_secs(20);
    assert!(right.contains(&took), "{took:?}");
    through.ask(GET).expect(200);
}

#[test]
fn a_cut_connection_is_told_from_an_orderly_end() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let mut wire = site.wire();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wire.answer().expect(200);
    assert_eq!(wire.rest(), (Vec::new(), End::Closed), "close_notify");
    let mut wire = site.wire();
    let answer = wire.ask("GET /bytes/3000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.expect(200).body_len, 3_000_000);
    let big = Ask::post(site.address(), "/", vec![b'x'; 3_000_000]);
    assert_eq!(
        big.send_on(&mut wire).expect(200).json()["body_len"],
        3_000_000
    );
}

#[test]
fn a_new_pair_is_taken_under_load_without_a_failed_handshake() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], OWN);
    let fresh = |site: &Site| {
        let client = site.client().only_tls13();
        let mut wire = client.try_connect(site.address())?;
        let _sent = wire.try_send(GET);
        let answer = wire.try_answer("GET").map_err(|lost| format!("{lost:?}"))?;
        assert_eq!(answer.status(), 200);
        Ok::<_, String>(wire.tls().certificates[0].clone())
    };
    let mut kept = site.wire();
    let mut shown = fresh(&site).expect("a handshake");
    for nth in 0..3 {
        let next = site.ca.leaf(&crate::site::NAMES);
        // Key first: for a moment the two do not fit, and the old pair has to stay.
        let write = |name: &str, text: &str| {
            let file = site.proxy.dir().join(name);
            std::fs::write(file, text).expect("the folder is ours");
        };
        write("site.key", &next.key_pem);
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            assert_eq!(
                fresh(&site),
                Ok(shown.clone()),
                "swap {nth}: they do not fit"
            );
        }
        write("site.pem", &next.cert_pem);
        let taken = within(SOON, || {
            let now = fresh(&site).expect("no handshake fails");
            (now != shown).then_some(now)
        });
        shown = taken.expect("the new pair is taken");
        assert_eq!(shown, next.der.to_vec());
        kept.ask(GET).expect(200);
    }
    let log = site.proxy.log();
    assert!(
        log.contains("site.pem") || log.contains("site.key"),
        "{log}"
    );
}

#[test]
fn a_certificate_of_our_own() {
    let origin = Origin::echo();
    let site = Site::before(&[origin.address()], "self_signed: true");
    let mut wire = TlsClient::trusting().connect(site.address());
    wire.ask(GET).expect(200);
    let state = site.proxy.dir().join("state");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&state).expect("a folder of state") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            for inner in std::fs::read_dir(&path).expect("a folder") {
                files.push(inner.expect("an entry").path());
            }
        } else {
            files.push(path);
        }
    }
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let cas: Vec<String> = texts
        .filter(|text| text.contains("BEGIN CERTIFICATE"))
        .collect();
    assert!(!cas.is_empty(), "{files:?}");
    let second = shown(&site, Some("localhost"));
    assert!(second.is_ok_and(|names| names.contains(&"localhost".to_owned())));
}

#[test]
fn check_tells_of_pairs_that_are_no_pairs() {
    let scratch = keel_testkit::scratch::Scratch::new();
    let ca = keel_testkit::Ca::new("an authority of tests");
    ca.leaf(&["a.example"]).write(&scratch, "site");
    scratch.write("site.key", ca.leaf(&["a.example"]).key_pem);
    scratch.write("empty.pem", "");
    let origin = Origin::echo();
    let text = config(&[origin.address()], "", OWN, "");
    let exit = Proxy::run_in(&scratch, "check", &text, &[]);
    assert_ne!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("site.key"), "{}", exit.stderr);
    let tls = "certificates: [ { bundle: \"@DIR@/empty.pem\" } ]";
    let text = config(&[origin.address()], "", tls, "");
    let exit = Proxy::run_in(&scratch, "check", &text, &[]);
    assert_ne!(exit.code, Some(0), "{}", exit.stderr);
    let tls = format!("{OWN}, cipher_suites: [AES128-SHA]");
    let text = config(&[origin.address()], "", &tls, "");
    let exit = Proxy::run_in(&scratch, "check", &text, &[]);
    assert_ne!(exit.code, Some(0), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("TLS_AES_128_GCM_SHA256"),
        "{}",
        exit.stderr
    );
}

#[test]
fn variables_tell_of_the_session() {
    let origin = Origin::echo();
    let more = "headers: { request: { set: { X-Tls: \"$ssl_protocol $ssl_cipher $ssl_server_name $ssl_session_reused $ssl_ja4\" } } }";
    let site = Site::with(&[origin.address()], "", OWN, more);
    let client = site.client().only_tls13();
    for reused in [".", "r"] {
        let mut wire = client.connect(site.address());
        let seen = wire
            .ask(GET)
            .expect(200)
            .seen_one("x-tls")
            .unwrap_or_default();
        let mut words = seen.split(' ');
        assert_eq!(words.next(), Some("TLSv1.3"), "{seen}");
        assert!(
            words.next().is_some_and(|suite| suite.starts_with("TLS_")),
            "{seen}"
        );
        assert_eq!(words.next(), Some("localhost"), "{seen}");
        assert_eq!(words.next(), Some(reused), "{seen}");
        assert!(
            words.next().is_some_and(|ja4| ja4.starts_with("t13d")),
            "{seen}"
        );
    }
}
