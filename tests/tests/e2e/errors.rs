//! What clients are told when something fails.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use keel_testkit::scratch::Scratch;
use keel_testkit::{Ask, Origin, Proxy};

use crate::GET;

/// An address where nobody listens.
fn nobody() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

#[test]
fn no_route() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(
        &[origin.address()],
        "",
        "routes: [ { match: { host: a }, pool: app } ]",
    );
    let answer = proxy.get("/").expect_error(404, "No-Route");
    assert!(
        answer.text().contains("No matching route found"),
        "{}",
        answer.text()
    );
}

#[test]
fn nobody_listens() {
    let proxy = Proxy::before(&[nobody()]);
    let answer = proxy.get("/");
    assert!(matches!(answer.status(), 502 | 503), "{:?}", answer.head);
    let answer = Proxy::before_with(&[nobody()], "max_fails: 0", "").get("/");
    answer.expect_error(502, "Backend-Unavailable");
}

#[test]
fn no_server_may_be_chosen() {
    let more = "pools: { app: { servers: [ { address: \"127.0.0.1:9\", down: true } ] } }";
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n{more}\n"
    ));
    let answer = proxy.get("/").expect_error(503, "No-Healthy-Backends");
    assert!(
        answer.text().contains("No healthy backends available"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_name_that_does_not_resolve_is_a_503_and_a_warning() {
    let proxy = Proxy::start(
        "listeners: { web: { bind: \"127.0.0.1:0\" } }\nroutes: [ { pool: app } ]\n\
         pools: { app: { servers: [\"does-not-exist.invalid:80\"] } }\n",
    );
    proxy.await_log("does-not-exist.invalid");
    proxy.get("/").expect_error(503, "No-Healthy-Backends");
}

#[test]
fn a_name_that_resolves_is_connected_to() {
    let origin = Origin::echo();
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [\"localhost:{}\"] }} }}\n",
        origin.address().port()
    ));
    proxy.get("/").expect(200);
}

#[test]
fn a_backend_that_does_not_answer_is_504() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.until_end();
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], "timeouts: { read: 300ms }", "");
    let start = Instant::now();
    proxy.get("/").expect_error(504, "Backend-Timeout");
    assert!(
        start.elapsed() >= Duration::from_millis(250),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn answers_that_are_not_http_are_502() {
    for broken in [
        "rubbish",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "",
    ] {
        let origin = Origin::fixed(broken);
        let proxy = Proxy::before(&[origin.address()]);
        let mut wire = proxy.wire();
        let answer = wire.ask(GET);
        assert_eq!(answer.status(), 502, "{broken:?}: {}", answer.text());
        assert_eq!(
            answer.header("x-error").as_deref(),
            Some("Backend-Unavailable")
        );
        assert!(
            !answer.text().contains("127.0.0.1"),
            "inner text: {}",
            answer.text()
        );
    }
}

#[test]
fn an_answer_with_more_bytes_than_it_says_does_not_spoil_the_next() {
    let origin = Origin::scripted(|stage| {
        while stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], "", "workers: 1");
    let mut wire = proxy.wire();
    for _ in 0..5 {
        assert_eq!(wire.ask(GET).expect(200).text(), "ok");
    }
}

#[test]
fn errors_come_in_the_form_that_the_client_accepts() {
    let proxy = Proxy::before(&[nobody()]);
    let of = |accept: &str| {
        let answer = proxy.ask("/").with("Accept", accept).send();
        let kind = answer.header("content-type").unwrap_or_default();
        (
            kind.split(';').next().unwrap_or_default().to_owned(),
            answer,
        )
    };
    let (kind, answer) = of("application/json");
    assert_eq!(kind, "application/json");
    assert!(answer.json().is_object());
    assert_eq!(of("text/html,application/xhtml+xml;q=0.9").0, "text/html");
    assert_eq!(of("text/plain").0, "text/plain");
}

#[test]
fn head_errors_have_no_body() {
    let proxy = Proxy::before_with(&[nobody()], "max_fails: 0", "");
    let mut wire = proxy.wire();
    wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(wire.answer_to("HEAD").status(), 502);
    wire.ask(GET).expect(502);
}

#[test]
fn the_connection_stays_usable_after_an_error_of_the_backend() {
    let proxy = Proxy::before_with(&[nobody()], "max_fails: 0", "");
    let mut wire = proxy.wire();
    for _ in 0..3 {
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        wire.answer().expect(502);
    }
}

#[test]
fn error_pages_are_replaced_for_all_and_for_a_route() {
    let scratch = Scratch::new();
    scratch.write("50x.html", "<h1>sorry</h1>");
    let at = nobody();
    let proxy = Proxy::start_in(
        scratch,
        &format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
             error_pages: {{ 5xx: {{ file: 50x.html }}, 404: {{ text: \"nothing here\", type: text/plain }} }}\n\
             routes:\n\
             \x20 - {{ match: {{ path: /api }}, pool: app, error_pages: {{ \"502-504\": {{ text: '{{\"sorry\":true}}', type: application/json }} }} }}\n\
             \x20 - {{ match: {{ path: /web }}, pool: app }}\n\
             pools: {{ app: {{ servers: [\"{at}\"], max_fails: 0 }} }}\n"
        ),
        &[],
    );
    let answer = proxy.get("/web").expect(502);
    assert_eq!(answer.text(), "<h1>sorry</h1>");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/html"), "{kind}");
    assert_eq!(proxy.get("/api").expect(502).json()["sorry"], true);
    assert_eq!(proxy.get("/none").expect(404).text(), "nothing here");
}

#[test]
fn errors_of_the_backend_itself_pass_unchanged() {
    let origin = Origin::answering(|_| keel_testkit::Reply::new(500).body("own words"));
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy.get("/").expect(500);
    assert_eq!(
        (answer.text().as_str(), answer.header("x-error")),
        ("own words", None)
    );
}

#[test]
fn a_request_that_is_refused_gets_its_code() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET /\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            400,
        ),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
    ] {
        let mut wire = proxy.wire();
        let answer = wire.ask(bytes);
        assert_eq!(answer.status(), status, "{bytes:?}");
        wire.expect_close();
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn unsafe_requests_with_bodies_are_answered_too() {
    let proxy = Proxy::before_with(&[nobody()], "max_fails: 0", "");
    let answer = Ask::post(proxy.address(), "/", vec![b'x'; 1_000_000]).send();
    answer.expect(502);
}
