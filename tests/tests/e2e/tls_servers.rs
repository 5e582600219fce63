//! TLS to servers: whom we believe, what name we ask for, what we show.

use keel_testkit::scratch::Scratch;
use keel_testkit::tls::Leaf;
use keel_testkit::{Ask, Ca, LeafSpec, Load, Origin, Proxy, TlsServer};

/// A proxy with TLS to its servers; `ca.pem` is that of the authority.
fn before(ca: &Ca, origin: &Origin, tls: &str, pool: &str) -> Proxy {
    before_with(ca, &origin.address().to_string(), tls, pool, |_| {})
}

fn before_with(
    ca: &Ca,
    server: &str,
    tls: &str,
    pool: &str,
    files: impl FnOnce(&Scratch),
) -> Proxy {
    let scratch = Scratch::new();
    scratch.write("ca.pem", ca.pem());
    files(&scratch);
    let text = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [\"{server}\"], tls: {tls}{pool} }} }}\n"
    );
    Proxy::start_in(scratch, &text, &[])
}

fn authority() -> (Ca, Leaf) {
    let ca = Ca::new("an authority of servers");
    let leaf = ca.leaf(&["127.0.0.1", "localhost", "app.internal"]);
    (ca, leaf)
}

#[test]
fn a_server_is_verified_by_its_authority_and_sessions_are_resumed() {
    let (ca, leaf) = authority();
    let server = TlsServer::new(&leaf);
    let origin = server.named("a");
    let proxy = before(
        &ca,
        &origin,
        "{ ca: \"@DIR@/ca.pem\" }",
        ", keepalive: { connections: 0 }",
    );
    for _ in 0..8 {
        assert_eq!(proxy.get("/").expect(200).origin(), "a");
    }
    let seen = server.handshakes();
    assert_eq!(seen.len(), 8);
    assert!(
        seen.iter().filter(|one| one.resumed).count() >= 4,
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .all(|one| one.version == "TLSv1.3" && one.name.is_none()),
        "{seen:?}"
    );
}

#[test]
fn bodies_and_kept_connections() {
    let (ca, leaf) = authority();
    let origin = TlsServer::with_alpn(&leaf, &["http/1.1"]).named("a");
    let proxy = before(&ca, &origin, "{ ca: \"@DIR@/ca.pem\" }", "");
    let answer = proxy.get("/bytes/5000000").expect(200);
    assert_eq!(answer.body_len, 5_000_000);
    let answer = Ask::post(proxy.address(), "/", vec![b'x'; 5_000_000]).send();
    assert_eq!(answer.expect(200).json()["body_len"], 5_000_000);
    assert_eq!(
        proxy.get("/until-close/100000").expect(200).body_len,
        100_000
    );
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(500);
    assert_eq!(load.stop().failed, 0);
    assert!(origin.connections() < 20, "{}", origin.connections());
}

/// No close_notify before the close: an answer that ends with the connection may have been cut by anybody.
#[test]
fn a_truncated_answer_is_not_passed_on_as_whole() {
    let (ca, leaf) = authority();
    let origin = TlsServer::new(&leaf).scripted(|stage| {
        if stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\n\r\nhalf of it");
            if let Some(mut link) = stage.take_link() {
                link.without_goodbye();
            }
        }
    });
    let proxy = before(&ca, &origin, "{ ca: \"@DIR@/ca.pem\" }", "");
    let mut wire = proxy.wire();
    wire.send(crate::GET);
    let lost = wire.try_answer("GET");
    assert!(lost.is_err(), "{lost:?}");
}

#[test]
fn wrong_names_wrong_authorities_and_expired_ones_are_502() {
    let (ca, leaf) = authority();
    let other = ca.leaf(&["other.example"]);
    let expired = ca.issue(LeafSpec::names(&["127.0.0.1"]).expired());
    let foreign = Ca::new("somebody").leaf(&["127.0.0.1"]);
    for (what, bad) in [
        ("name", other),
        ("expired", expired),
        ("authority", foreign),
    ] {
        let server = TlsServer::new(&bad);
        let origin = server.named("a");
        let proxy = before(&ca, &origin, "{ ca: \"@DIR@/ca.pem\" }", "");
        let answer = proxy.get("/");
        assert_eq!((answer.status(), what), (502, what));
        assert_eq!(
            answer.header("x-error").as_deref(),
            Some("Backend-Unavailable")
        );
        assert_eq!(origin.requests(), 0, "{what}");
        let off = before(&ca, &origin, "{ verify: false }", "");
        off.get("/").expect(200);
        let said = off.log();
        assert!(said.contains("verif"), "a loud warning: {said}");
    }
    let origin = TlsServer::new(&leaf).named("a");
    let proxy = before(&ca, &origin, "true", "");
    proxy.get("/").expect_error(502, "Backend-Unavailable");
}

#[test]
fn pinned_certificates() {
    let (ca, leaf) = authority();
    let old = Ca::new("nobody").issue(LeafSpec::names(&["whatever.example"]).expired());
    let (right, wrong) = (
        TlsServer::new(&old).named("right"),
        TlsServer::new(&leaf).named("wrong"),
    );
    let tls = format!("{{ pin: \"{}\" }}", old.fingerprint());
    before(&ca, &right, &tls, "").get("/").expect(200);
    let proxy = before(&ca, &wrong, &tls, "");
    proxy.get("/").expect_error(502, "Backend-Unavailable");
    assert_eq!(wrong.requests(), 0);
}

#[test]
fn names_that_are_asked_for() {
    let (ca, leaf) = authority();
    for (server, keys, name) in [
        ("localhost", "", Some("localhost")),
        (
            "127.0.0.1",
            ", server_name: app.internal",
            Some("app.internal"),
        ),
        ("127.0.0.1", "", None),
    ] {
        let tls = TlsServer::new(&leaf);
        let origin = tls.named("a");
        let address = format!("{server}:{}", origin.address().port());
        let keys = format!("{{ ca: \"@DIR@/ca.pem\"{keys} }}");
        let proxy = before_with(&ca, &address, &keys, "", |_| {});
        proxy.get("/").expect(200);
        let seen = tls.handshakes();
        assert_eq!(seen[0].name.as_deref(), name, "{server}: {seen:?}");
    }
    let tls = TlsServer::new(&leaf);
    let origin = tls.named("a");
    let keys = "{ ca: \"@DIR@/ca.pem\", server_name: host }";
    let proxy = before(&ca, &origin, keys, ", host: app.internal");
    let seen = proxy.get("/").expect(200).seen("host");
    assert_eq!(seen, ["app.internal"]);
    assert_eq!(tls.handshakes()[0].name.as_deref(), Some("app.internal"));
}

#[test]
fn our_certificate_towards_servers() {
    let (ca, leaf) = authority();
    let server = TlsServer::with(&leaf, &[], Some(&ca));
    let origin = server.named("a");
    let own = ca.issue(LeafSpec::client("the proxy"));
    let keys = "{ ca: \"@DIR@/ca.pem\", cert: \"@DIR@/own.pem\", key: \"@DIR@/own.key\" }";
    let address = origin.address().to_string();
    let proxy = before_with(&ca, &address, keys, "", |scratch| {
        own.write(scratch, "own");
    });
    proxy.get("/").expect(200);
    assert_eq!(server.handshakes()[0].client, own.der.to_vec());
    let without = before(&ca, &origin, "{ ca: \"@DIR@/ca.pem\" }", "");
    without.get("/").expect_error(502, "Backend-Unavailable");
}

#[test]
fn a_server_without_tls_is_502_and_not_a_hang() {
    let (ca, _) = authority();
    let plain = Origin::echo();
    let proxy = before(&ca, &plain, "{ ca: \"@DIR@/ca.pem\" }", "");
    let start = std::time::Instant::now();
    let answer = proxy.get("/");
    assert!(matches!(answer.status(), 502 | 504), "{}", answer.status());
    assert!(start.elapsed() < std::time::Duration::from_secs(15));
    plain.take_faults(); // a ClientHello is no request
}
