//! Routes, hashes and logs by what TLS agreed on.

use std::collections::BTreeSet;

use keel_testkit::scratch::Scratch;
use keel_testkit::{Ask, Ca, LeafSpec, Origin, Proxy, TlsClient};

use crate::GET;

/// A proxy with a listener with TLS and the routes and pools given.
fn start(ca: &Ca, client: &str, rest: &str) -> Proxy {
    let scratch = Scratch::new();
    ca.leaf(&["localhost", "*.example.com"])
        .write(&scratch, "site");
    scratch.write("ca.pem", ca.pem());
    let text = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\", tls: {{ \
         certificates: [ {{ cert: \"@DIR@/site.pem\", key: \"@DIR@/site.key\" }} ]{client} }} }} }}\n\
         state: \"@DIR@/state\"\n{rest}\n"
    );
    Proxy::start_in(scratch, &text, &[])
}

fn origin_of(client: &TlsClient, proxy: &Proxy) -> String {
    let mut wire = client.connect(proxy.address());
    wire.ask(GET).expect(200).origin()
}

#[test]
fn routes_by_name_version_and_fingerprint_of_the_client() {
    let ca = Ca::new("an authority of tests");
    let [named, old, odd, rest] = ["named", "old", "odd", "rest"].map(Origin::named);
    let pool = |origin: &Origin| format!("{{ servers: [\"{}\"] }}", origin.address());
    let config = format!(
        "routes:\n\
         \x20 - {{ match: {{ tls: {{ server_name: {{ suffix: .example.com }} }} }}, pool: named }}\n\
         \x20 - {{ match: {{ tls: {{ ja4: {{ prefix: t13i }} }} }}, pool: odd }}\n\
         \x20 - {{ match: {{ tls: {{ version: \"1.2\" }} }}, pool: old }}\n\
         \x20 - {{ pool: rest }}\n\
         pools: {{ named: {}, odd: {}, old: {}, rest: {} }}",
        pool(&named),
        pool(&odd),
        pool(&old),
        pool(&rest)
    );
    let proxy = start(&ca, "", &config);
    let client = TlsClient::new(&ca);
    assert_eq!(
        origin_of(&client.clone().name("a.example.com"), &proxy),
        "named"
    );
    assert_eq!(origin_of(&client.clone().only_tls12(), &proxy), "old");
    assert_eq!(origin_of(&client.clone().only_tls13(), &proxy), "rest");
    // `i` stands for a client that sends no name.
    assert_eq!(origin_of(&client.without_name(), &proxy), "odd");
}

#[test]
fn routes_by_the_certificate_of_the_client() {
    let ca = Ca::new("an authority of tests");
    let [staff, known, rest] = ["staff", "known", "rest"].map(Origin::named);
    let (anna, bert) = (
        ca.issue(LeafSpec::client("anna")),
        ca.issue(LeafSpec::client("bert")),
    );
    let config = format!(
        "routes:\n\
         \x20 - {{ match: {{ tls: {{ client_subject: {{ contains: CN=anna }} }} }}, pool: staff }}\n\
         \x20 - {{ match: {{ tls: {{ client_fingerprint: {} }} }}, pool: known }}\n\
         \x20 - {{ pool: rest }}\n\
         pools: {{ staff: {{ servers: [\"{}\"] }}, known: {{ servers: [\"{}\"] }}, rest: {{ servers: [\"{}\"] }} }}",
        bert.fingerprint(),
        staff.address(),
        known.address(),
        rest.address()
    );
    let asks = ", client: { ca: \"@DIR@/ca.pem\", verify: optional }";
    let proxy = start(&ca, asks, &config);
    let client = TlsClient::new(&ca);
    assert_eq!(origin_of(&client.clone().identity(&anna), &proxy), "staff");
    assert_eq!(origin_of(&client.clone().identity(&bert), &proxy), "known");
    assert_eq!(origin_of(&client, &proxy), "rest");
}

/// A session keeps its server, over connections that resume it; a kind of client keeps one too.
#[test]
fn sessions_keep_their_server() {
    let ca = Ca::new("an authority of tests");
    let origins = ["a", "b", "c", "d"].map(Origin::named);
    let servers = origins
        .each_ref()
        .map(|origin| format!("\"{}\"", origin.address()));
    let before = |key: &str| {
        let config = format!(
            "routes: [ {{ pool: app }} ]\n\
             pools: {{ app: {{ servers: [{}], balance: {{ algorithm: hash, key: {key} }} }} }}",
            servers.join(", ")
        );
        start(&ca, "", &config)
    };
    let proxy = before("tls_session");
    let mut all = BTreeSet::new();
    for _ in 0..12 {
        let client = TlsClient::new(&ca).only_tls12().without_tickets();
        origin_of(&client, &proxy); // from here on it has a session to name
        let seen: BTreeSet<String> = (0..4).map(|_| origin_of(&client, &proxy)).collect();
        assert_eq!(seen.len(), 1, "{seen:?}");
        all.extend(seen);
    }
    assert!(all.len() > 1, "{all:?}");
    let proxy = before("ja4");
    let kind = |client: &dyn Fn() -> TlsClient| -> BTreeSet<String> {
        (0..6).map(|_| origin_of(&client(), &proxy)).collect()
    };
    assert_eq!(kind(&|| TlsClient::new(&ca).only_tls12()).len(), 1);
    assert_eq!(kind(&|| TlsClient::new(&ca).only_tls13()).len(), 1);
}

#[test]
fn the_log_and_fields_tell_of_the_certificate() {
    let ca = Ca::new("an authority of tests");
    let origin = Origin::echo();
    let config = format!(
        "routes: [ {{ pool: app }} ]\n\
         headers: {{ request: {{ set: {{ X-Tls: \"$ssl_client_verify|$ssl_client_s_dn|$ssl_client_i_dn|$ssl_client_serial|$ssl_client_fingerprint|$ssl_session_id\" }} }} }}\n\
         pools: {{ app: {{ servers: [\"{}\"] }} }}",
        origin.address()
    );
    let proxy = start(
        &ca,
        ", client: { ca: \"@DIR@/ca.pem\", verify: optional }",
        &config,
    );
    let anna = ca.issue(LeafSpec::client("anna"));
    let mut wire = TlsClient::new(&ca).identity(&anna).connect(proxy.address());
    let seen = Ask::get(proxy.address(), "/")
        .send_on(&mut wire)
        .expect(200);
    let text = seen.seen_one("x-tls").unwrap_or_default();
    let parts: Vec<&str> = text.split('|').collect();
    assert_eq!(
        parts[..3],
        ["SUCCESS", "CN=anna", "CN=an authority of tests"],
        "{text}"
    );
    assert_eq!(u64::from_str_radix(parts[3], 16), Ok(anna.serial), "{text}");
    assert_eq!(parts[4].to_ascii_lowercase(), anna.fingerprint(), "{text}");
    let mut nobody = TlsClient::new(&ca).connect(proxy.address());
    let seen = nobody
        .ask(GET)
        .expect(200)
        .seen_one("x-tls")
        .unwrap_or_default();
    assert!(seen.starts_with("NONE|"), "{seen}");
}
