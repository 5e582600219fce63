//! Request smuggling from one request to the next on a connection: a request that we answer ourselves, or that a server
//! fails, leaves a body behind. Whatever becomes of the connection, that body is never read as a request. Each case comes
//! second on its connection, because what a first exchange left behind must not decide about it.

use keel_testkit::{Origin, Proxy};

/// The body that would be a request if it were read as one.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
const ROUTES: &str = r#"
listeners: { web: { bind: "127.0.0.1:0", timeouts: { body: 1s } } }
routes:
  - { match: { path: /fixed }, respond: { status: 200, body: fixed } }
  - { match: { path: /moved }, redirect: "https://a/" }
  - { match: { path: /small }, pool: app, limits: { body: 4B } }
  - { match: { path: /dead }, pool: dead }
  - { match: { path: /rude }, pool: rude }
  - { match: { path: { prefix: /app } }, pool: app }
admin: { bind: "127.0.0.1:0" }
"#;

/// Sends a proxied POST first, then `second` with the hidden request as its body; gives all that the origin saw.
fn after_a_post(second_head: &str, chunked: bool) -> String {
    let app = Origin::echo();
    let mut dead = Origin::echo();
    dead.stop();
    let rude = Origin::fixed("no such protocol\r\n\r\n");
    let proxy = Proxy::start(&format!(
        "{ROUTES}\npools:\n  app: {{ servers: [\"{}\"] }}\n  dead: {{ servers: [\"{}\"] }}\n  rude: {{ servers: [\"{}\"] }}\n",
        app.address(),
        dead.address(),
        rude.address()
    ));
    let mut wire = proxy.wire();
    wire.send("POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    wire.answer().expect(200);
    let body = match chunked {
        true => format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
        false => HIDDEN.to_owned(),
    };
    wire.send(format!("{second_head}\r\n\r\n{body}"));
    let _ = wire.answer();
    // Time for a hidden request to arrive, if it is one: another request goes the whole way after it.
    proxy.get("/app/last").expect(200);
    (0..app.connections())
        .map(|connection| app.received_text(connection))
        .collect()
}

fn is_never_a_request(second_head: &str, chunked: bool) {
    let seen = after_a_post(second_head, chunked);
    assert!(seen.contains("GET /app/last"), "{seen}");
    let hidden = seen.contains("\r\n\r\nGET /hidden") || seen.starts_with("GET /hidden");
    assert!(!hidden, "{second_head}: {seen}");
}

#[test]
fn the_body_of_a_request_that_we_answer_ourselves() {
    for target in ["/fixed", "/moved", "/nowhere", "/small"] {
        let length = HIDDEN.len();
        is_never_a_request(
            &format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}"),
            false,
        );
        is_never_a_request(
            &format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked"),
            true,
        );
    }
}

#[test]
fn the_body_of_a_request_that_a_server_fails() {
    for target in ["/dead", "/rude"] {
        let length = HIDDEN.len();
        is_never_a_request(
            &format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}"),
            false,
        );
        is_never_a_request(
            &format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked"),
            true,
        );
    }
}

#[test]
fn what_follows_a_head_whose_framing_is_refused() {
    for fields in [
        "Content-Length: 33\r\nTransfer-Encoding: chunked",
        "Content-Length: 33\r\nContent-Length: 34",
        "Transfer-Encoding: gzip",
        "Content-Length: 33\r\nExpect: something",
    ] {
        is_never_a_request(&format!("POST /app HTTP/1.1\r\nHost: a\r\n{fields}"), false);
    }
}

#[test]
fn what_follows_a_host_or_target_that_is_refused() {
    is_never_a_request("GET /app HTTP/1.1\r\nHost: a@b", false);
    is_never_a_request("GET /app/..%2f HTTP/1.1\r\nHost: a", false);
}

/// A failure told as gRPC tells it leaves the body of the request where it would be read as the next one.
#[test]
fn a_body_behind_a_failed_call_is_no_request() {
    let proxy = Proxy::start(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
routes: [ { match: { host: known.example }, respond: { status: 204 } } ]
"#,
    );
    let inner = "GET /inner HTTP/1.1\r\nHost: known.example\r\n\r\n";
    for kind in ["application/grpc", "application/grpc-web", "text/plain"] {
        let head = format!(
            "POST /a.B/C HTTP/1.1\r\nHost: unknown.example\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            inner.len()
        );
        let mut wire = proxy.wire();
        wire.send(format!("{head}{inner}"));
        assert_ne!(wire.answer().status(), 204, "{kind}");
        wire.send("GET /own HTTP/1.1\r\nHost: unknown.example\r\n\r\n");
        assert_eq!(
            wire.answer().status(),
            404,
            "{kind}: all of the body was here"
        );
        let mut wire = proxy.wire();
        wire.send(head);
        assert_ne!(wire.answer().status(), 204, "{kind}");
        wire.send(inner);
        assert!(
            wire.try_answer("GET").is_err(),
            "{kind}: the body came late"
        );
    }
}
