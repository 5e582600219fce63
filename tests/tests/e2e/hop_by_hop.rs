//! What concerns one connection stays on it.

use keel_testkit::{Origin, Proxy, Reply};

use crate::GET;

#[test]
fn hop_by_hop_fields_of_a_request_stop_here() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy
        .ask("/")
        .with("Connection", "keep-alive, X-Private")
        .with("X-Private", "1")
        .with("Keep-Alive", "timeout=5")
        .with("Proxy-Connection", "keep-alive")
        .with("Proxy-Authorization", "Basic eDp5")
        .with("TE", "gzip;q=0.5")
        .with("X-Public", "1")
        .send()
        .expect(200);
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
    ] {
        assert_eq!(answer.seen_one(name), None, "{name}");
    }
    assert_eq!(answer.seen_one("x-public").as_deref(), Some("1"));
}

#[test]
fn te_trailers_goes_through() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy
        .ask("/")
        .with("TE", "trailers")
        .with("Connection", "TE")
        .send()
        .expect(200);
    assert_eq!(answer.seen_one("te").as_deref(), Some("trailers"));
}

#[test]
fn connection_cannot_take_away_what_frames_or_routes() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy
        .wire()
        .ask("POST / HTTP/1.1\r\nHost: a.example\r\nConnection: Host, Content-Length, Content-Type, X-Forwarded-For\r\nContent-Type: text/x\r\nContent-Length: 2\r\n\r\nhi")
        .expect(200);
    assert_eq!(answer.json()["body"], "hi");
    assert_eq!(answer.seen_one("host").as_deref(), Some("a.example"));
    assert_eq!(answer.seen_one("content-type").as_deref(), Some("text/x"));
    assert_eq!(
        answer.seen_one("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
}

#[test]
fn hop_by_hop_fields_of_an_answer_stop_here() {
    let origin = Origin::answering(|_| {
        Reply::text("ok")
            .with("Connection", "X-Private")
            .with("X-Private", "1")
            .with("Keep-Alive", "timeout=5")
            .with("X-Public", "1")
    });
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy.get("/").expect(200);
    assert_eq!(answer.header("x-private"), None);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("x-public").as_deref(), Some("1"));
    assert!(!answer.head.fields.lists("connection", "x-private"));
}

#[test]
fn end_to_end_fields_pass_unchanged_and_in_order() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy
        .wire()
        .ask("GET / HTTP/1.1\r\nhOsT: a\r\nX-B: 1\r\nx-a:  two words \r\nX-B: 2\r\nCookie: a=b; c=d\r\nX-Empty:\r\nX-Text: \u{e4}\r\n\r\n")
        .expect(200);
    assert_eq!(answer.seen("x-b"), ["1", "2"]);
    assert_eq!(answer.seen("x-a"), ["two words"]);
    assert_eq!(answer.seen("x-empty"), [""]);
    assert_eq!(answer.seen("x-text"), ["\u{e4}"]);
    assert_eq!(answer.seen("cookie"), ["a=b; c=d"]);
}

#[test]
fn set_cookie_lines_stay_apart() {
    let origin = Origin::answering(|_| {
        Reply::text("ok")
            .with("Set-Cookie", "a=1")
            .with("Set-Cookie", "b=2")
    });
    let proxy = Proxy::before(&[origin.address()]);
    assert_eq!(proxy.get("/").headers("set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn answers_without_a_body_have_none() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    for status in [204, 304] {
        let answer = wire.ask(format!("GET /status/{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((answer.status(), answer.body_len), (status, 0));
    }
    wire.send("HEAD /bytes/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = wire.answer_to("HEAD").expect(200);
    assert_eq!(answer.header("content-length").as_deref(), Some("1000"));
    wire.ask(GET).expect(200);
}

#[test]
fn a_304_keeps_its_length() {
    let origin = Origin::scripted(|stage| {
        while stage.request().is_some() {
            stage.send("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 1234\r\n\r\n");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    for _ in 0..2 {
        let answer = wire.ask(GET).expect(304);
        assert_eq!(answer.header("etag").as_deref(), Some("\"x\""));
    }
}
