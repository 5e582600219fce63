//! The chunked transfer coding, both ways, with trailers.

use std::time::Duration;

use keel_testkit::client::Lost;
use keel_testkit::origin::Gate;
use keel_testkit::wait::until_true;
use keel_testkit::{Origin, Proxy, Reply};

use crate::GET;

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_chunked_request_arrives_whole() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let seen = proxy
        .wire()
        .ask(format!("{POST}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"))
        .json();
    assert_eq!(seen["body"], "hello world");
}

#[test]
fn chunk_extensions_end_here() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    // The origin's strict reader takes an extension for a breach.
    let seen = proxy
        .wire()
        .ask(format!("{POST}5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"))
        .json();
    assert_eq!(seen["body"], "hello");
}

#[test]
fn a_chunked_request_in_drips_arrives_whole() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.drip(
        format!("{POST}5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
        Duration::from_micros(200),
    );
    assert_eq!(wire.answer().json()["body"], "hello");
}

#[test]
fn pieces_reach_the_backend_as_they_come() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(format!("{POST}5\r\nfirst\r\n"));
    origin.await_text(0, "first");
    wire.send("6\r\nsecond\r\n");
    origin.await_text(0, "second");
    assert_eq!(wire.ask("0\r\n\r\n").json()["body"], "firstsecond");
}

#[test]
fn trailers_of_a_request_reach_the_backend() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let seen = proxy
        .wire()
        .ask(format!("{POST}2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n"))
        .json();
    assert_eq!(
        seen["trailers"][0][0]
            .as_str()
            .map(str::to_ascii_lowercase)
            .as_deref(),
        Some("x-sum")
    );
    assert_eq!(seen["trailers"][0][1], "42");
}

#[test]
fn a_chunked_answer_arrives_whole_with_its_trailers() {
    let origin =
        Origin::answering(|_| Reply::new(200).chunks(&["hello", " ", "world"], "X-Sum: 42\r\n"));
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    for _ in 0..2 {
        let answer = wire
            .ask("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
            .expect(200);
        assert_eq!(answer.text(), "hello world");
        assert_eq!(answer.trailers.first("x-sum").as_deref(), Some("42"));
    }
}

#[test]
fn pieces_reach_the_client_as_they_come() {
    let gate = Gate::new();
    let inner = gate.clone();
    let origin = Origin::scripted(move |stage| {
        if stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
            inner.wait();
            stage.send("6\r\nsecond\r\n0\r\n\r\n");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(GET);
    let mut body = Vec::new();
    let answer = wire.answer_into("GET", &mut |data| {
        body.extend_from_slice(data);
        gate.open(); // reached only when the first piece is here before the second is sent
    });
    assert_eq!(answer.map(|answer| answer.status()), Ok(200));
    assert_eq!(body, b"firstsecond");
}

#[test]
fn http_10_clients_get_no_chunks() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    let answer = wire.ask("GET /chunks/100000 HTTP/1.0\r\n\r\n").expect(200);
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.body_len, 100_000);
}

#[test]
fn an_answer_that_ends_with_the_connection_becomes_chunked() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    let answer = wire
        .ask("GET /until-close/100000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect(200);
    assert_eq!(
        answer.header("transfer-encoding").as_deref(),
        Some("chunked")
    );
    assert_eq!(answer.body_len, 100_000);
    wire.ask(GET).expect(200);
}

#[test]
fn a_broken_chunk_ends_in_400_and_never_completes_at_the_backend() {
    for broken in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n-1\r\n",
        "5\r\nhello\r\nzz\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n",
        "11111111111111111\r\n",
    ] {
        let origin = Origin::scripted(|stage| {
            if stage.request().is_some() {
                stage.fault("a broken body was passed on as whole");
            }
        });
        let proxy = Proxy::before(&[origin.address()]);
        let mut wire = proxy.wire();
        let answer = wire.ask(format!("{POST}{broken}"));
        assert_eq!(answer.status(), 400, "{broken:?}");
        wire.expect_close();
        until_true("the backend connection is given up", || origin.open() == 0);
    }
}

#[test]
fn a_broken_chunk_of_an_answer_never_looks_whole() {
    for broken in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\r\nzz\r\n",
        "5\r\nhello\r\n",
        "5\nhello\r\n0\r\n\r\n",
    ] {
        let origin = Origin::fixed(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{broken}"
        ));
        let proxy = Proxy::before(&[origin.address()]);
        let mut wire = proxy.wire();
        wire.send(GET);
        match wire.try_answer("GET") {
            Ok(answer) => assert_eq!(answer.status(), 502, "{broken:?}"),
            Err(Lost::Cut(_, Some(head), _)) => assert_eq!(head.status, 200),
            Err(lost) => panic!("{broken:?}: {lost:?}"),
        }
    }
}
