//! Limits on what a client may send, and on how long it may take.

use std::time::{Duration, Instant};

use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Origin, Proxy};

use crate::GET;

fn proxy_with(origin: &Origin, web: &str) -> Proxy {
    let more = format!("listeners: {{ web: {{ bind: \"127.0.0.1:0\", {web} }} }}");
    Proxy::before_with(&[origin.address()], "", &more)
}

#[test]
fn the_default_head_is_64_kib() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    proxy
        .ask("/")
        .with("X-Big", &"a".repeat(60 * 1024))
        .send()
        .expect(200);
    let mut wire = proxy.wire();
    let big = proxy
        .ask("/")
        .with("X-Big", &"a".repeat(66 * 1024))
        .to_bytes();
    let _refused_midway = wire.try_send(big);
    wire.answer().expect(431);
    wire.expect_close();
    assert_eq!(origin.requests(), 1);
}

#[test]
fn the_default_is_128_fields() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let many = |count: usize| {
        let fields: String = (1..count).map(|n| format!("X-{n}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    };
    proxy.wire().ask(many(128)).expect(200);
    let mut wire = proxy.wire();
    wire.ask(many(129)).expect(431);
    wire.expect_close();
}

#[test]
fn the_default_target_is_16_kib() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    proxy.get(&format!("/{}", "a".repeat(16_000))).expect(200);
    let mut wire = proxy.wire();
    wire.ask(Ask::get(proxy.address(), &format!("/{}", "a".repeat(17_000))).to_bytes())
        .expect(414);
    wire.expect_close();
}

#[test]
fn limits_of_the_head_can_be_set() {
    let origin = Origin::echo();
    let proxy = proxy_with(&origin, "limits: { head: 2KiB, fields: 4, target: 100B }");
    proxy.get("/").expect(200);
    proxy.get(&format!("/{}", "a".repeat(200))).expect(414);
    proxy
        .ask("/")
        .with("A", &"a".repeat(3000))
        .send()
        .expect(431);
    proxy
        .ask("/")
        .with("A", "1")
        .with("B", "1")
        .with("C", "1")
        .with("D", "1")
        .send()
        .expect(431);
}

#[test]
fn a_body_that_is_announced_too_long_is_refused_unread() {
    let origin = Origin::echo();
    let proxy = proxy_with(&origin, "limits: { body: 1000B }");
    Ask::post(proxy.address(), "/", vec![b'a'; 1000])
        .send()
        .expect(200);
    let mut wire = proxy.wire();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    wire.answer().expect(413);
    assert_eq!(origin.requests(), 1, "the backend is not asked");
}

#[test]
fn a_chunked_body_that_grows_too_long_is_refused() {
    let origin = Origin::scripted(|stage| while stage.request().is_some() {});
    let proxy = proxy_with(&origin, "limits: { body: 1000B }");
    let mut wire = proxy.wire();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..11 {
        let _refused_midway = wire.try_send(format!("64\r\n{}\r\n", "a".repeat(100)));
    }
    wire.answer().expect(413);
    wire.expect_close();
    until_true("the backend connection is given up", || origin.open() == 0);
}

#[test]
fn the_default_body_is_100_mb() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    let over = 100 * 1024 * 1024 + 1;
    wire.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {over}\r\n\r\n"
    ));
    wire.answer().expect(413);
}

#[test]
fn a_route_may_allow_more_or_less() {
    let origin = Origin::echo();
    let routes =
        "routes: [ { match: { path: /small/ }, pool: app, limits: { body: 10B } }, { pool: app } ]";
    let proxy = Proxy::before_with(&[origin.address()], "", routes);
    Ask::post(proxy.address(), "/small/", vec![b'a'; 11])
        .send()
        .expect(413);
    Ask::post(proxy.address(), "/big/", vec![b'a'; 11])
        .send()
        .expect(200);
}

#[test]
fn a_head_in_drips_ends_in_408() {
    let origin = Origin::echo();
    let proxy = proxy_with(&origin, "timeouts: { head: 400ms }");
    let mut wire = proxy.wire();
    let start = Instant::now();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n");
    wire.drip(
        "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        Duration::from_millis(20),
    );
    wire.answer().expect(408);
    wire.expect_close();
    assert!(
        start.elapsed() >= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_client_that_says_nothing_is_closed() {
    let origin = Origin::echo();
    let proxy = proxy_with(&origin, "timeouts: { head: 300ms, idle: 300ms }");
    let mut wire = proxy.wire();
    let (said, _) = wire.rest();
    let text = String::from_utf8_lossy(&said);
    assert!(
        said.is_empty() || text.starts_with("HTTP/1.1 408"),
        "{text}"
    );
}

#[test]
fn a_body_that_stalls_ends_in_408() {
    let origin = Origin::scripted(|stage| while stage.request().is_some() {});
    let proxy = proxy_with(&origin, "timeouts: { body: 300ms }");
    let mut wire = proxy.wire();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    wire.answer().expect(408);
    wire.expect_close();
    until_true("the backend connection is given up", || origin.open() == 0);
}

#[test]
fn a_body_that_makes_progress_may_take_longer_than_its_timeout() {
    let origin = Origin::echo();
    let proxy = proxy_with(&origin, "timeouts: { body: 2s }");
    let mut wire = proxy.wire();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n");
    wire.drip("a".repeat(20), Duration::from_millis(150));
    assert_eq!(wire.answer().json()["body_len"], 20);
}

#[test]
fn refusals_close_and_the_next_connection_is_served() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let mut wire = proxy.wire();
        // What follows a refused request must never be read as a request.
        wire.send(format!("{bad}{GET}"));
        let answer = wire.answer().expect(400);
        assert_eq!(
            answer.header("x-error").as_deref(),
            Some("Bad-Request"),
            "{bad:?}"
        );
        wire.expect_close();
    }
    proxy.get("/").expect(200);
    assert_eq!(origin.requests(), 1);
}
