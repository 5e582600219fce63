//! Connections that end on one side, or end without a word.

use std::time::Duration;

use keel_testkit::client::{End, Lost};
use keel_testkit::wait::until_true;
use keel_testkit::{Origin, Proxy};

use crate::GET;

#[test]
fn a_client_that_has_finished_sending_gets_its_answer() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send("GET /delay/200 HTTP/1.1\r\nHost: a\r\n\r\n")
        .finish_sending();
    wire.answer().expect(200);
    wire.expect_close();
}

#[test]
fn pipelined_requests_before_a_half_close_are_all_answered() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(GET.repeat(3)).finish_sending();
    for _ in 0..3 {
        wire.answer().expect(200);
    }
    wire.expect_close();
}

#[test]
fn half_a_head_is_no_request() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n").finish_sending();
    let (said, end) = wire.rest();
    assert_ne!(end, End::Deadline);
    let text = String::from_utf8_lossy(&said);
    assert!(
        said.is_empty() || text.starts_with("HTTP/1.1 400"),
        "{text}"
    );
    assert_eq!(origin.requests(), 0);
}

#[test]
fn half_a_body_never_completes_at_the_backend() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.fault("half a body was passed on as whole");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    for framing in [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut wire = proxy.wire();
        wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"))
            .finish_sending();
        let (said, end) = wire.rest();
        assert_ne!(end, End::Deadline);
        let text = String::from_utf8_lossy(&said);
        assert!(
            said.is_empty() || text.starts_with("HTTP/1.1 400"),
            "{text}"
        );
        until_true("the backend connection is given up", || origin.open() == 0);
    }
}

#[test]
fn a_client_that_vanishes_frees_its_backend_connection() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.until_end(); // never answers
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    for _ in 0..3 {
        let mut wire = proxy.wire();
        wire.send(GET);
        until_true("the backend has the request", || origin.open() == 1);
        // In order it could be a client that has finished sending and waits; a reset is the end.
        wire.reset();
        until_true("the backend connection is given up", || origin.open() == 0);
    }
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_a_download_frees_everything() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    proxy.get("/").expect(200);
    let before = proxy.usage().descriptors;
    for _ in 0..20 {
        let mut wire = proxy.wire();
        wire.send("GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n");
        wire.head("GET").expect("an answer");
        wire.reset();
    }
    until_true("all descriptors are back", || {
        proxy.usage().descriptors <= before + 1
    });
    proxy.get("/").expect(200);
}

#[test]
fn a_backend_that_finishes_sending_first_has_answered() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            stage.finish_sending();
            stage.until_end();
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    for _ in 0..3 {
        assert_eq!(wire.ask(GET).expect(200).text(), "ok");
    }
}

#[test]
fn an_answer_that_is_cut_is_not_passed_on_as_whole() {
    let origin = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(GET);
    match wire.try_answer("GET") {
        Err(Lost::Cut(end, Some(head), _)) => {
            assert_eq!(head.status, 200);
            assert_ne!(end, End::Deadline);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_close_delimited_answer_that_is_reset_is_not_passed_on_as_whole() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\n\r\nonly this");
            std::thread::sleep(Duration::from_millis(100));
            stage.reset();
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(GET);
    assert!(matches!(
        wire.try_answer("GET"),
        Err(Lost::Cut(_, Some(_), _))
    ));
}
