//! Fields that the configuration sets, adds and removes.

use keel_testkit::{Ask, Origin, Proxy, Reply};

#[test]
fn fields_of_requests_and_answers_are_edited() {
    let origin = Origin::echo();
    let routes = "routes:\n  - pool: app\n    headers:\n\
        \x20     request: { set: { X-Set: \"$request_method $uri\" }, add: { X-Add: more }, remove: [X-Gone] }\n\
        \x20     response: { set: { X-Frame-Options: DENY, X-Origin: hidden }, remove: [Content-Type] }";
    let proxy = Proxy::before_with(&[origin.address()], "", routes);
    let answer = proxy
        .ask("/a?b")
        .with("X-Set", "old")
        .with("x-set", "older")
        .with("X-Add", "first")
        .with("X-Gone", "1")
        .send()
        .expect(200);
    assert_eq!(answer.seen("x-set"), ["GET /a"]);
    assert_eq!(answer.seen("x-add"), ["first", "more"]);
    assert_eq!(answer.seen("x-gone"), Vec::<String>::new());
    assert_eq!(answer.header("x-frame-options").as_deref(), Some("DENY"));
    assert_eq!(answer.headers("x-origin"), ["hidden"]);
    assert_eq!(answer.header("content-type"), None);
}

#[test]
fn outer_fields_apply_inside() {
    let origin = Origin::echo();
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", headers: { response: { set: { X-Listener: l } } } } }\n\
        headers: { response: { set: { X-Global: g } }, request: { set: { X-Global: g } } }\n\
        routes:\n\
        \x20 - { match: { path: /inner }, pool: app, headers: { response: { set: { X-Route: r } } } }\n\
        \x20 - { match: { path: /without }, pool: app, headers: { response: { remove: [X-Global] } } }\n\
        \x20 - { pool: app }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let has = |path: &str| {
        let answer = proxy.get(path).expect(200);
        ["x-global", "x-listener", "x-route"].map(|name| answer.header(name).is_some())
    };
    assert_eq!(has("/inner"), [true, true, true]);
    assert_eq!(has("/without"), [false, true, false]);
    assert_eq!(has("/other"), [true, true, false]);
    assert_eq!(proxy.get("/").seen_one("x-global").as_deref(), Some("g"));
}

#[test]
fn outer_fields_stand_on_errors_and_fixed_answers_too() {
    let more = "headers: { response: { set: { X-Content-Type-Options: nosniff } } }";
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ match: {{ path: /fixed }}, respond: {{ body: ok }} }} ]\n{more}\n"
    ));
    for path in ["/fixed", "/no-route"] {
        let answer = proxy.get(path);
        assert_eq!(
            answer.header("x-content-type-options").as_deref(),
            Some("nosniff"),
            "{path}"
        );
    }
}

#[test]
fn a_pool_edits_its_requests() {
    let origin = Origin::echo();
    let keys = "headers: { request: { set: { X-Pool: app } } }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    assert_eq!(
        proxy.get("/").expect(200).seen_one("x-pool").as_deref(),
        Some("app")
    );
}

#[test]
fn a_placeholder_cannot_bring_a_line_break() {
    let origin = Origin::echo();
    let routes = "routes: [ { pool: app, headers: { request: { set: { X-Q: \"$arg_q\" } }, response: { set: { X-Q: \"$arg_q\" } } } } ]";
    let proxy = Proxy::before_with(&[origin.address()], "", routes);
    let answer = proxy.get("/?q=a%0d%0aX-Evil:%20b").expect(200);
    assert_eq!(answer.header("x-evil"), None);
    assert_eq!(answer.seen_one("x-evil"), None);
}

#[test]
fn the_server_version_is_nowhere() {
    let proxy = Proxy::start(
        "listeners: { web: { bind: \"127.0.0.1:0\" } }\nroutes: [ { match: { host: none }, respond: { body: ok } } ]\n",
    );
    let answer = proxy.get("/").expect(404);
    let server = answer.header("server").unwrap_or_default();
    assert!(!server.contains(|c: char| c.is_ascii_digit()), "{server}");
    assert!(!answer.text().contains("0.1"), "{}", answer.text());
}

#[test]
fn a_date_is_always_there() {
    let origin = Origin::answering(|_| Reply::text("ok"));
    let proxy = Proxy::before_with(
        &[origin.address()],
        "",
        "routes: [ { match: { path: /own }, respond: { body: ok } }, { pool: app } ]",
    );
    // RFC 9110 section 6.6.1: a recipient with a clock that gets none must add one when it forwards.
    for path in ["/own", "/"] {
        let date = proxy.get(path).header("date").unwrap_or_default();
        assert!(
            date.ends_with(" GMT") && date.len() == 29,
            "{path}: {date:?}"
        );
    }
}

#[test]
fn values_may_come_from_the_environment() {
    let origin = Origin::echo();
    let scratch = keel_testkit::scratch::Scratch::new();
    scratch.write("secret", "from-file");
    let config = keel_testkit::proxy::simple(
        &[origin.address()],
        "",
        "routes: [ { pool: app, headers: { request: { set: { X-Env: \"env:EVENKEEL_TEST_KEY\", X-File: \"file:secret\" } } } } ]",
    );
    let proxy = Proxy::start_in(scratch, &config, &[("EVENKEEL_TEST_KEY", "from-env")]);
    let answer = Ask::get(proxy.address(), "/").send().expect(200);
    assert_eq!(answer.seen_one("x-env").as_deref(), Some("from-env"));
    assert_eq!(answer.seen_one("x-file").as_deref(), Some("from-file"));
}
