//! Stopping without losing anything.

use std::time::{Duration, Instant};

use keel_testkit::client::{End, Lost};
use keel_testkit::origin::Gate;
use keel_testkit::wait::{SOON, until_true};
use keel_testkit::{Ask, H2Wire, Load, Origin, Proxy, Wire};
use rustix::process::Signal;

use crate::GET;

#[test]
fn sigterm_and_sigint_end_an_idle_proxy_at_once() {
    let origin = Origin::echo();
    for signal in [Signal::TERM, Signal::INT] {
        let proxy = Proxy::before(&[origin.address()]);
        let mut idle = proxy.wire();
        idle.ask(GET).expect(200);
        proxy.signal(signal);
        let start = Instant::now();
        proxy.wait(SOON).expect(0);
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "{:?}",
            start.elapsed()
        );
        idle.expect_close();
    }
}

#[test]
fn what_runs_is_finished_and_says_close() {
    let gate = Gate::new();
    let inner = gate.clone();
    let origin = Origin::scripted(move |stage| {
        if stage.request().is_some() {
            inner.wait();
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before(&[origin.address()]);
    let address = proxy.address();
    let mut wire = proxy.wire();
    wire.send(GET);
    until_true("the request runs", || origin.requests() == 1);
    proxy.terminate();
    until_true("no new connections are taken", || {
        match Wire::try_connect(address) {
            // One that is still taken waits at the server.
            Ok(mut late) => {
                late.try_send(GET).is_err()
                    || late
                        .with_deadline(Duration::from_millis(100))
                        .try_answer("GET")
                        .is_err_and(|lost| lost != Lost::Nothing(End::Deadline))
            }
            Err(_) => true,
        }
    });
    gate.open();
    let answer = wire.answer().expect(200);
    assert_eq!(answer.text(), "ok");
    assert!(
        answer.head.fields.lists("connection", "close"),
        "{:?}",
        answer.head
    );
    wire.expect_close();
    proxy.wait(SOON).expect(0);
}

#[test]
fn a_long_download_is_finished() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send("GET /bytes/30000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut first = true;
    let mut check = keel_testkit::origin::Check::default();
    let answer = wire.answer_into("GET", &mut |data| {
        if std::mem::take(&mut first) {
            proxy.terminate();
        }
        check.feed(data);
    });
    assert_eq!(answer.map(|answer| answer.body_len), Ok(30_000_000));
    assert!(!check.broken);
    proxy.wait(SOON).expect(0);
}

#[test]
fn draining_has_a_time_limit() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.until_end();
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], "", "drain_timeout: 500ms");
    let mut wire = proxy.wire();
    wire.send(GET);
    until_true("the request runs", || origin.requests() == 1);
    proxy.terminate();
    let start = Instant::now();
    let exit = proxy.wait(SOON);
    assert!(
        start.elapsed() >= Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    assert!(exit.code.is_some(), "a signal ended it");
    match wire.try_answer("GET") {
        Ok(answer) => assert_eq!(answer.status(), 503),
        Err(Lost::Nothing(_)) => {}
        Err(lost) => panic!("{lost:?}"),
    }
}

/// The streams of a connection of HTTP/2 have their own answers when the time is over, before the connection ends.
#[test]
fn streams_are_answered_at_the_limit_of_a_drain() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.until_end();
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], "", "drain_timeout: 500ms\nworkers: 1");
    let mut wire = H2Wire::connect(proxy.address());
    let streams: Vec<u32> = (0..40).map(|_| wire.ask("GET", "/", &[], true)).collect();
    until_true("all run", || origin.requests() == 40);
    proxy.terminate();
    for stream in streams {
        wire.answer(stream).expect(503);
    }
    proxy.wait(SOON).expect(0);
}

#[test]
fn load_sees_no_failed_request_when_it_drains() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/delay/5"));
    load.await_more(40);
    proxy.terminate();
    proxy.wait(SOON).expect(0);
    let report = load.stop();
    // What fails afterwards is a connect to nobody, or a kept connection that was closed while idle; never a cut answer.
    let cut: Vec<_> = report
        .failures
        .iter()
        .filter(|failure| failure.contains("Cut"))
        .collect();
    assert!(cut.is_empty(), "{cut:?}");
}

#[test]
fn tunnels_have_a_time_of_their_own() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n",
            );
            while stage.some() {
                let bytes = stage.take_unread();
                stage.send(bytes);
            }
        }
    });
    let more = "drain_timeout: 500ms\ndrain_timeout_tunnels: 5s";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = proxy.wire();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
    assert_eq!(wire.head("GET").expect("an answer").status, 101);
    let start = Instant::now();
    proxy.terminate();
    while start.elapsed() < Duration::from_millis(2000) {
        wire.send("x");
        assert_eq!(wire.bytes(1), b"x", "after {:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    proxy.wait(SOON).expect(0);
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(4700) && took < Duration::from_secs(15),
        "{took:?}"
    );
}
