//! Who the client is, and what the backend is told of it.

use keel_testkit::{Origin, Proxy};

use crate::GET;

const TRUSTED: &str = "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]";

#[test]
fn the_usual_fields_are_told() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy.ask("/").host("shop.example:8080").send().expect(200);
    assert_eq!(
        answer.seen_one("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(answer.seen_one("x-real-ip").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        answer.seen_one("x-forwarded-proto").as_deref(),
        Some("http")
    );
    assert_eq!(
        answer.seen_one("x-forwarded-host").as_deref(),
        Some("shop.example:8080")
    );
    assert_eq!(
        answer.seen_one("host").as_deref(),
        Some("shop.example:8080")
    );
}

#[test]
fn what_strangers_claim_is_replaced() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy
        .ask("/")
        .with("X-Forwarded-For", "6.6.6.6")
        .with("X-Forwarded-For", "7.7.7.7")
        .with("X-Real-IP", "6.6.6.6")
        .with("X-Forwarded-Proto", "https")
        .with("X-Forwarded-Host", "evil.example")
        .with("Forwarded", "for=6.6.6.6")
        .send()
        .expect(200);
    assert_eq!(
        answer.seen_one("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(answer.seen_one("x-real-ip").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        answer.seen_one("x-forwarded-proto").as_deref(),
        Some("http")
    );
    assert_eq!(
        answer.seen_one("x-forwarded-host").as_deref(),
        Some("test.example")
    );
    let forwarded = answer.seen("forwarded").concat();
    assert!(!forwarded.contains("6.6.6.6"), "{forwarded}");
}

#[test]
fn names_that_an_application_would_take_for_ours_do_not_pass() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    for name in ["CF-Connecting-IP", "X-Client-IP"] {
        let answer = proxy.ask("/").with(name, "6.6.6.6").send().expect(200);
        let seen = answer.seen(name);
        assert!(!seen.contains(&"6.6.6.6".to_owned()), "{name}: {seen:?}");
    }
}

#[test]
fn a_trusted_chain_is_appended_to() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "", TRUSTED);
    let answer = proxy
        .ask("/")
        .with("X-Forwarded-For", "203.0.113.9, 10.0.0.7")
        .send()
        .expect(200);
    let chain = answer.seen_one("x-forwarded-for");
    assert_eq!(chain.as_deref(), Some("203.0.113.9, 10.0.0.7, 127.0.0.1"));
    assert_eq!(answer.seen_one("x-real-ip").as_deref(), Some("203.0.113.9"));
}

#[test]
fn the_chain_is_read_from_the_right_past_trusted_hops() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "", TRUSTED);
    for (chain, client) in [
        ("6.6.6.6, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::7, 10.1.1.1", "2001:db8::7"),
        ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("rubbish, 10.1.1.1", "10.1.1.1"),
    ] {
        let answer = proxy
            .ask("/")
            .with("X-Forwarded-For", chain)
            .send()
            .expect(200);
        assert_eq!(
            answer.seen_one("x-real-ip").as_deref(),
            Some(client),
            "{chain}"
        );
    }
}

#[test]
fn the_other_headers_count_in_their_order() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "", TRUSTED);
    for name in ["X-Real-IP", "CF-Connecting-IP", "X-Client-IP"] {
        let answer = proxy.ask("/").with(name, "203.0.113.9").send().expect(200);
        assert_eq!(
            answer.seen_one("x-real-ip").as_deref(),
            Some("203.0.113.9"),
            "{name}"
        );
    }
    let answer = proxy
        .ask("/")
        .with("X-Client-IP", "203.0.113.1")
        .with("X-Real-IP", "203.0.113.2")
        .send()
        .expect(200);
    assert_eq!(answer.seen_one("x-real-ip").as_deref(), Some("203.0.113.2"));
}

#[test]
fn forwarded_of_rfc_7239_counts_too() {
    let origin = Origin::echo();
    let config = format!("{TRUSTED}\nclient_address: {{ headers: [Forwarded] }}");
    let proxy = Proxy::before_with(&[origin.address()], "", &config);
    for (value, client) in [
        ("for=203.0.113.9;proto=https, for=10.0.0.7", "203.0.113.9"),
        ("for=\"[2001:db8::9]:4711\"", "2001:db8::9"),
    ] {
        let answer = proxy.ask("/").with("Forwarded", value).send().expect(200);
        assert_eq!(
            answer.seen_one("x-real-ip").as_deref(),
            Some(client),
            "{value}"
        );
    }
}

#[test]
fn a_route_chooses_what_is_told() {
    let origin = Origin::echo();
    let routes = "routes:\n\
        \x20 - { match: { path: /off }, pool: app, forwarded: { x_forwarded: off, x_real_ip: false } }\n\
        \x20 - { match: { path: /replace }, pool: app, forwarded: { x_forwarded: replace, forwarded: true } }\n\
        \x20 - { pool: app }";
    let proxy = Proxy::before_with(&[origin.address()], "", &format!("{TRUSTED}\n{routes}"));
    let off = proxy.get("/off").expect(200);
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
    ] {
        assert_eq!(off.seen_one(name), None, "{name}");
    }
    let replaced = proxy
        .ask("/replace")
        .with("X-Forwarded-For", "203.0.113.9")
        .send()
        .expect(200);
    assert_eq!(
        replaced.seen_one("x-forwarded-for").as_deref(),
        Some("203.0.113.9")
    );
    // RFC 7239 section 4: each proxy adds who spoke to it, behind what a trusted one said before.
    let chain = proxy
        .ask("/replace")
        .with("Forwarded", "for=203.0.113.9")
        .send()
        .expect(200);
    let forwarded = chain.seen("forwarded").join(", ");
    let (first, last) = (
        forwarded.find("for=203.0.113.9"),
        forwarded.find("for=127.0.0.1"),
    );
    assert!(first.is_some() && first < last, "{forwarded}");
}

#[test]
fn request_ids_are_made_or_kept() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut ids: Vec<String> = (0..20)
        .map(|_| {
            proxy
                .get("/")
                .seen_one("x-request-id")
                .expect("an id is made")
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "ids repeat");
    let claimed = proxy.ask("/").with("X-Request-ID", "mine").send();
    assert_ne!(
        claimed.seen_one("x-request-id").as_deref(),
        Some("mine"),
        "a stranger's is not kept"
    );
    let proxy = Proxy::before_with(&[origin.address()], "", TRUSTED);
    let kept = proxy.ask("/").with("X-Request-ID", "mine").send();
    assert_eq!(kept.seen_one("x-request-id").as_deref(), Some("mine"));
    let always = "request_id: { header: X-Trace, keep: always }";
    let proxy = Proxy::before_with(&[origin.address()], "", always);
    let kept = proxy.ask("/").with("X-Trace", "mine").send();
    assert_eq!(kept.seen_one("x-trace").as_deref(), Some("mine"));
}

#[test]
fn host_is_kept_or_replaced() {
    let origin = Origin::echo();
    let at = origin.address();
    let routes = "routes:\n\
        \x20 - { match: { path: /server }, pool: app, host: server }\n\
        \x20 - { match: { path: /literal }, pool: app, host: \"inner.example\" }\n\
        \x20 - { pool: app }";
    let proxy = Proxy::before_with(&[at], "", routes);
    let host = |path: &str| proxy.get(path).expect(200).seen_one("host");
    assert_eq!(host("/").as_deref(), Some("test.example"));
    assert_eq!(host("/server"), Some(at.to_string()));
    assert_eq!(host("/literal").as_deref(), Some("inner.example"));
}

#[test]
fn an_absolute_target_becomes_host_and_origin_form() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let ask = "GET http://real.example:81/a?b HTTP/1.1\r\nHost: other.example\r\n\r\n";
    let answer = proxy.wire().ask(ask).expect(200);
    assert_eq!(answer.json()["target"], "/a?b");
    assert_eq!(answer.seen_one("host").as_deref(), Some("real.example:81"));
}

#[test]
fn http_10_without_host_reaches_the_backend_with_one() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    // The origin's strict reader takes HTTP/1.1 without Host for a breach.
    let answer = proxy.wire().ask("GET /x HTTP/1.0\r\n\r\n").expect(200);
    assert_eq!(answer.seen("host").len(), 1);
}

#[test]
fn the_backend_is_named_only_when_asked_to() {
    let origin = Origin::echo();
    let names = [
        "X-Served-By",
        "X-Backend",
        "X-Response-Time-Ms",
        "X-Total-Time-Ms",
    ];
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy.get("/");
    assert!(
        names.iter().all(|name| answer.header(name).is_none()),
        "{:?}",
        answer.head
    );
    let proxy = Proxy::before_with(&[origin.address()], "", "show_backend: true");
    let answer = proxy.get("/delay/20");
    for name in names {
        let value = answer
            .header(name)
            .unwrap_or_else(|| panic!("no {name}: {:?}", answer.head));
        assert!(
            !name.ends_with("Ms") || value.parse::<u64>().is_ok_and(|ms| ms >= 15),
            "{name}: {value}"
        );
    }
    let route =
        "routes: [ { match: { path: /shown }, pool: app, show_backend: true }, { pool: app } ]";
    let proxy = Proxy::before_with(&[origin.address()], "", route);
    assert!(proxy.get("/shown").header("x-served-by").is_some());
    assert!(proxy.get("/hidden").header("x-served-by").is_none());
}

#[test]
fn ipv6_clients_are_told_as_ipv6() {
    let origin = Origin::echo();
    let more = "listeners: { web: { bind: \"[::1]:0\" } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let answer = proxy.wire().ask(GET).expect(200);
    assert_eq!(answer.seen_one("x-forwarded-for").as_deref(), Some("::1"));
}
