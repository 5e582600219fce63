//! The kit itself: origins and clients against each other, and with nginx between them.

use std::time::Duration;

use keel_testkit::origin::{Check, Gate};
use keel_testkit::peers::PeerServer;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Load, Origin, Reply, Wire, get};
use tungstenite::Message;

#[test]
fn an_echo_origin_says_what_it_saw() {
    let origin = Origin::named("a");
    let ask = Ask::post(origin.address(), "/x?y=1", "hello").with("X-A", "1");
    let answer = ask.send().expect(200);
    assert_eq!(answer.origin(), "a");
    assert_eq!(answer.seen_one("x-a").as_deref(), Some("1"));
    assert_eq!(answer.json()["body"], "hello");
    assert_eq!(answer.json()["target"], "/x?y=1");
}

#[test]
fn one_connection_carries_many_requests() {
    let origin = Origin::echo();
    let mut wire = Wire::connect(origin.address());
    for nth in 1..=3 {
        let answer = wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer.json()["nth"], nth);
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 3));
}

#[test]
fn patterns_are_checked() {
    let origin = Origin::echo();
    for path in ["/bytes/1000000", "/chunks/1000000", "/until-close/1000000"] {
        let mut wire = Wire::connect(origin.address());
        wire.send(Ask::get(origin.address(), path).to_bytes());
        let mut check = Check::default();
        let answer = wire
            .answer_into("GET", &mut |data| check.feed(data))
            .expect("an answer");
        assert_eq!(answer.body_len, 1_000_000);
        assert_eq!(
            check,
            Check {
                len: 1_000_000,
                broken: false
            },
            "{path}"
        );
    }
}

#[test]
fn a_breach_of_the_protocol_is_kept() {
    let origin = Origin::echo();
    let mut wire = Wire::connect(origin.address());
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 1\r\n\r\n")
        .expect_close();
    assert_eq!(origin.take_faults().len(), 1);
}

#[test]
fn an_origin_stops_and_starts_on_its_port() {
    let mut origin = Origin::echo();
    let mut wire = Wire::connect(origin.address());
    wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.stop();
    wire.expect_close();
    assert!(Wire::try_connect(origin.address()).is_err());
    origin.restart();
    get(origin.address(), "/").expect(200);
}

#[test]
fn scripts_and_gates() {
    let gate = Gate::new();
    let inner = gate.clone();
    let origin = Origin::scripted(move |stage| {
        stage.request().expect("a request");
        inner.wait();
        stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        stage.reset();
    });
    let mut wire = Wire::connect(origin.address());
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.await_text(0, "Host: a");
    assert!(wire.is_silent(Duration::from_millis(20)));
    gate.open();
    assert_eq!(wire.answer().text(), "ok");
    until_true("the script ends", || origin.open() == 0);
}

#[test]
fn load_counts_what_fails() {
    let origin = Origin::answering(|seen| Reply::new(if seen.nth > 2 { 500 } else { 200 }));
    let load = Load::start(origin.address(), 2, &Ask::get(origin.address(), "/"));
    load.await_more(20);
    let report = load.stop();
    assert!(report.served >= 20 && report.failed > 0, "{report:?}");
}

#[test]
fn websockets_echo() {
    let origin = Origin::websocket();
    let url = format!("ws://{}/", origin.address());
    let stream = std::net::TcpStream::connect(origin.address()).expect("it listens");
    let (mut socket, _) = tungstenite::client(url, stream).expect("a handshake");
    socket.send(Message::text("hello")).expect("it takes it");
    assert_eq!(socket.read().expect("an echo"), Message::text("hello"));
    socket.close(None).expect("a close");
    while socket.read().is_ok() {}
}

#[test]
fn through_nginx() {
    let origin = Origin::named("a");
    let server = format!(
        "location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_request_buffering off; \
         proxy_set_header Connection \"\"; proxy_set_header Host $host; }}",
        origin.address()
    );
    let Some(nginx) = PeerServer::nginx(&server) else {
        return;
    };
    let answer = Ask::post(nginx.address(), "/x", vec![b'x'; 100_000])
        .with("X-A", "1")
        .send();
    assert_eq!(answer.json()["body_len"], 100_000);
    assert_eq!(answer.seen_one("x-a").as_deref(), Some("1"));
    let mut check = Check::default();
    let mut wire = Wire::connect(nginx.address());
    wire.send(Ask::get(nginx.address(), "/chunks/3000000").to_bytes());
    wire.answer_into("GET", &mut |data| check.feed(data))
        .expect("an answer");
    assert_eq!(
        check,
        Check {
            len: 3_000_000,
            broken: false
        }
    );
    let load = Load::start(nginx.address(), 2, &Ask::get(nginx.address(), "/"));
    load.await_more(50);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(report.by_origin.keys().collect::<Vec<_>>(), ["a"]);
}
