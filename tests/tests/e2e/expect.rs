//! `Expect: 100-continue`, and interim answers.

use std::time::Duration;

use keel_testkit::{Origin, Proxy};

use crate::GET;

const EXPECT: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(EXPECT);
    let interim = wire.head("POST").expect("an interim answer");
    assert_eq!(interim.status, 100);
    let answer = wire.ask("hello").expect(200);
    assert_eq!(answer.json()["body"], "hello");
}

#[test]
fn a_client_that_does_not_wait_is_served() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let answer = proxy.wire().ask(format!("{EXPECT}hello")).expect(200);
    assert_eq!(answer.json()["body"], "hello");
}

#[test]
fn a_refusal_by_the_backend_comes_before_the_body() {
    let origin = Origin::scripted(|stage| {
        if stage.head().is_some() {
            stage.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(EXPECT);
    // Whoever says 100 first, the refusal comes without the body having been sent.
    let answer = wire.answer().expect(417);
    assert_eq!(answer.text(), "no");
}

#[test]
fn a_body_too_long_is_refused_before_it_is_sent() {
    let origin = Origin::echo();
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", limits: { body: 4B } } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = proxy.wire();
    wire.send(EXPECT);
    let answer = wire.answer().expect(413);
    assert!(answer.interim.is_empty(), "{:?}", answer.interim);
    assert_eq!(origin.requests(), 0);
}

#[test]
fn unknown_expectations_fail() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    proxy.ask("/").with("Expect", "tea").send().expect(417);
    assert_eq!(origin.requests(), 0);
}

#[test]
fn http_10_clients_get_no_interim_answers() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send("GET / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    let answer = wire.answer().expect(200);
    assert!(answer.interim.is_empty(), "{:?}", answer.interim);
}

#[test]
fn early_hints_are_passed_on_at_once() {
    let origin = Origin::scripted(|stage| {
        while stage.request().is_some() {
            stage.send("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
            std::thread::sleep(Duration::from_millis(100));
            stage.send("HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n");
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    for _ in 0..2 {
        let answer = wire.ask(GET).expect(200);
        let links: Vec<_> = answer
            .interim
            .iter()
            .map(|head| head.fields.first("link"))
            .collect();
        assert_eq!(
            links,
            [
                Some("</a>; rel=preload".to_owned()),
                Some("</b>".to_owned())
            ]
        );
        assert!(answer.interim.iter().all(|head| head.status == 103));
    }
}

#[test]
fn an_endless_row_of_interim_answers_is_cut() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            while stage.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") {}
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send(GET);
    // Either 502 after some of them, or the connection ends; never for ever.
    if let Ok(answer) = wire.try_answer("GET") {
        assert_eq!(answer.status(), 502);
    }
}
