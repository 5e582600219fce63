//! What a route does: splits, redirects, fixed answers, pages of our own.

use std::collections::BTreeMap;

use keel_testkit::scratch::Scratch;
use keel_testkit::{Ask, Origin, Proxy};

fn split(more_of_the_route: &str, more: &str) -> (Proxy, [Origin; 2]) {
    let origins = ["stable", "canary"].map(Origin::named);
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ pool: {{ stable: 90, canary: 10 }}{more_of_the_route} }} ]\n\
         pools: {{ stable: {{ servers: [\"{}\"] }}, canary: {{ servers: [\"{}\"] }} }}\n{more}\n",
        origins[0].address(),
        origins[1].address()
    ));
    (proxy, origins)
}

fn count(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn a_split_is_sticky_by_client() {
    let (proxy, _origins) = split("", "trusted_proxies: [127.0.0.1]");
    let of = |n: usize| {
        let client = format!("198.51.{}.{}", n / 250, n % 250);
        proxy
            .ask("/")
            .with("X-Forwarded-For", &client)
            .send()
            .expect(200)
            .origin()
    };
    let first: Vec<String> = (0..300).map(of).collect();
    let again: Vec<String> = (0..300).map(of).collect();
    assert_eq!(first, again);
    let canary = count(first.into_iter())
        .get("canary")
        .copied()
        .unwrap_or_default();
    assert!((10..=60).contains(&canary), "{canary} of 300, 30 are meant");
}

#[test]
fn a_split_may_be_sticky_by_header_or_cookie() {
    for (by, header) in [
        ("{ header: X-User }", "X-User"),
        ("{ cookie: user }", "Cookie"),
    ] {
        let (proxy, _origins) = split(&format!(", split_by: {by}"), "");
        let of = |n: usize| {
            proxy
                .ask("/")
                .with(header, &format!("user=u{n}"))
                .send()
                .origin()
        };
        let first: Vec<String> = (0..100).map(of).collect();
        assert_eq!(first, (0..100).map(of).collect::<Vec<_>>(), "{by}");
        assert_eq!(count(first.into_iter()).len(), 2, "{by}");
    }
}

#[test]
fn a_split_may_be_random() {
    let (proxy, _origins) = split(", split_by: random", "");
    let names = count((0..200).map(|_| proxy.get("/").origin()));
    let canary = names.get("canary").copied().unwrap_or_default();
    assert!((4..=50).contains(&canary), "{names:?}, 20 are meant");
}

#[test]
fn redirects_fill_in_placeholders() {
    let proxy = Proxy::start(
        "listeners:\n  web: { bind: \"127.0.0.1:0\" }\n  plain: { bind: \"127.0.0.1:0\", redirect: https }\n\
         routes:\n\
         \x20 - { match: { path: /old }, redirect: \"https://new.example$request_uri\" }\n\
         \x20 - { match: { path: /keep }, redirect: { to: \"/other?from=$uri\", status: 308 } }\n\
         \x20 - { redirect: https }\n",
    );
    for (target, status, location) in [
        ("/old/a?b=c", 302, "https://new.example/old/a?b=c"),
        ("/keep", 308, "/other?from=/keep"),
        ("/x?y", 301, "https://test.example/x?y"),
    ] {
        let answer = proxy.get(target).expect(status);
        assert_eq!(answer.header("location").as_deref(), Some(location));
    }
    let answer = Ask::get(proxy.listener("plain"), "/a?b")
        .host("h.example:80")
        .send()
        .expect(301);
    let location = answer.header("location").unwrap_or_default();
    assert!(location == "https://h.example/a?b", "{location}");
}

#[test]
fn a_redirect_cannot_be_made_to_split_the_answer() {
    let proxy = Proxy::start(
        "listeners: { web: { bind: \"127.0.0.1:0\" } }\n\
         routes: [ { redirect: \"https://new.example/?q=$arg_q&p=$uri\" } ]\n",
    );
    let answer = proxy.get("/a%0d%0aX-Evil:%20yes?q=%0d%0aX-Evil:%20yes");
    assert_eq!(answer.header("x-evil"), None);
}

#[test]
fn fixed_answers() {
    let scratch = Scratch::new();
    scratch.write("page.html", "<p>from a file</p>");
    let proxy = Proxy::start_in(
        scratch,
        "listeners: { web: { bind: \"127.0.0.1:0\" } }\n\
         routes:\n\
         \x20 - { match: { path: /health }, respond: { status: 200, body: \"healthy\\n\", type: text/plain }, access_log: off }\n\
         \x20 - { match: { path: /file }, respond: { body: \"file:page.html\", type: text/html } }\n\
         \x20 - { match: { path: /gone }, respond: { status: 410, headers: { X-Why: old } } }\n\
         \x20 - { match: { path: /none }, respond: { status: 204 } }\n\
         \x20 - { match: { path: /env }, respond: { body: \"env:EVENKEEL_TEST_TEXT\" } }\n",
        &[("EVENKEEL_TEST_TEXT", "from the environment")],
    );
    let answer = proxy.get("/health").expect(200);
    assert_eq!(
        (
            answer.text().as_str(),
            answer.header("content-type").as_deref()
        ),
        ("healthy\n", Some("text/plain"))
    );
    assert_eq!(proxy.get("/file").expect(200).text(), "<p>from a file</p>");
    assert_eq!(
        proxy.get("/gone").expect(410).header("x-why").as_deref(),
        Some("old")
    );
    proxy.get("/none").expect(204);
    assert_eq!(proxy.get("/env").text(), "from the environment");
}

#[test]
fn a_fixed_answer_takes_a_body_and_keeps_the_connection() {
    let proxy = Proxy::start(
        "listeners: { web: { bind: \"127.0.0.1:0\" } }\nroutes: [ { respond: { body: ok } } ]\n",
    );
    let mut wire = proxy.wire();
    for _ in 0..3 {
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(wire.answer().expect(200).text(), "ok");
        wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            wire.answer_to("HEAD")
                .expect(200)
                .header("content-length")
                .as_deref(),
            Some("2")
        );
    }
}

#[test]
fn our_own_pages_may_be_shown_on_purpose() {
    let origin = Origin::echo();
    let routes = "routes: [ { match: { path: { exact: /lb/health } }, expose: health }, \
                  { match: { path: { exact: /lb/metrics } }, expose: metrics }, { pool: app } ]";
    let proxy = Proxy::before_with(&[origin.address()], "", routes);
    assert_eq!(
        proxy.get("/lb/health").expect(200).json()["status"],
        "healthy"
    );
    assert!(
        proxy
            .get("/lb/metrics")
            .expect(200)
            .text()
            .contains("evenkeel_requests_total")
    );
    for path in ["/health", "/stats", "/metrics"] {
        assert_eq!(
            proxy.get(path).expect(200).origin(),
            "echo",
            "{path} belongs to the backend"
        );
    }
}

#[test]
fn options_star_is_routed() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy
        .wire()
        .ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect(200);
    assert_eq!(answer.json()["target"], "*");
}

#[test]
fn methods_targets_and_queries_are_kept() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    for method in [
        "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND",
    ] {
        let seen = Ask::new(proxy.address(), method, "/a%2Fb/c;d=e?x=y&z=%20%2f")
            .send()
            .json();
        assert_eq!(seen["method"], method);
        assert_eq!(seen["target"], "/a%2Fb/c;d=e?x=y&z=%20%2f");
    }
    let mut wire = proxy.wire();
    let refused = wire.ask("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    assert!(
        matches!(refused.status(), 400 | 405 | 501),
        "{:?}",
        refused.head
    );
}
