//! Answers that could be given are given: one short case for each way in which a server, a connection or a client fails.
//! The long run with all of them at once, under load, is the chaos test.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use keel_testkit::client::Lost;
use keel_testkit::h2::Frame;
use keel_testkit::h2::frame::code;
use keel_testkit::origin::{Gate, Stage};
use keel_testkit::process::signal;
use keel_testkit::proxy::simple;
use keel_testkit::wait::until_true;
use keel_testkit::{Answer, Ask, H2Origin, H2Reply, H2Wire, Origin, Proxy, Reply, Wire};

use rustix::process::Signal;

use crate::lineage::Lineage;

/// What an operator writes who wants nothing lost; `max_fails: 0`, so that the bad server stays in the game.
const KEYS: &str = "retry: { on: [error, timeout, invalid, refused, 502-504], tries: 3, per_try: 1500ms, budget: off }, \
                    timeouts: { connect: 1500ms, read: 4s }, max_fails: 0";

/// Requests of each kind: with two servers in turn, at least one meets the bad one.
const EACH: usize = 4;

/// Reads a request, does this with the connection, and ends it.
fn bad(what: impl Fn(&mut Stage) + Send + Sync + 'static) -> Origin {
    Origin::scripted(move |stage| {
        if stage.request().is_some() {
            what(stage);
        }
    })
}

fn proxy(bad: &Origin, live: &Origin, more: &str) -> Proxy {
    let keys = format!("{KEYS}{more}");
    Proxy::before_with(&[bad.address(), live.address()], &keys, "workers: 1")
}

/// What a server takes with it when it dies is more than the budget of retries has. It costs none: there are no more of
/// such requests than were under way there, and others are there to answer.
#[test]
fn a_server_dies_with_a_hundred_requests_under_way() {
    let origins = [Origin::named("one"), Origin::named("two")];
    let addresses = [origins[0].address(), origins[1].address()];
    let proxy = Proxy::before(&addresses);
    let mut wire = H2Wire::connect(proxy.address());
    let streams: Vec<u32> = (0..120)
        .map(|_| wire.ask("GET", "/delay/2000", &[], true))
        .collect();
    let [mut dies, lives] = origins;
    until_true("half of them are there", || {
        dies.requests() == 60 && lives.requests() == 60
    });
    dies.stop();
    for stream in streams {
        let answer = wire.answer(stream).expect(200);
        assert_eq!(answer.header("x-origin").as_deref(), Some("two"));
    }
    assert_eq!(lives.requests(), 120);
}

/// Each safe request is answered by the server that lives. A POST that the bad one may have acted upon is not sent twice.
#[track_caller]
fn others_answer(bad: &Origin, more: &str) {
    let live = Origin::named("live");
    let proxy = proxy(bad, &live, more);
    for method in ["GET", "HEAD", "DELETE"] {
        for _ in 0..EACH {
            Ask::new(proxy.address(), method, "/").send().expect(200);
        }
    }
    for _ in 0..EACH {
        // Over HTTP/2 too, with a body that comes after its head.
        let mut wire = H2Wire::connect(proxy.address());
        let stream = wire.ask("PUT", "/", &[], false);
        wire.data(stream, "a body", true);
        let answer = wire.answer(stream).expect(200);
        assert_eq!(answer.json()["body"], "a body");
    }
    assert!(
        bad.requests() >= EACH,
        "it was asked {} times",
        bad.requests()
    );
    let before = bad.requests() + live.requests();
    let statuses: Vec<u16> = (0..EACH)
        .map(|_| Ask::post(proxy.address(), "/", "once").send().status())
        .collect();
    assert_eq!(
        bad.requests() + live.requests() - before,
        EACH,
        "{statuses:?}"
    );
    assert!(
        statuses
            .iter()
            .all(|status| matches!(status, 200 | 502 | 504)),
        "{statuses:?}"
    );
    assert!(statuses.iter().any(|status| *status != 200), "{statuses:?}");
}

#[test]
fn closed_without_an_answer() {
    others_answer(&bad(|_| ()), "");
}

#[test]
fn reset_without_an_answer() {
    others_answer(&bad(Stage::reset), "");
}

#[test]
fn never_answered() {
    others_answer(&bad(Stage::until_end), "");
}

#[test]
fn closed_within_the_head() {
    others_answer(
        &bad(|stage| _ = stage.send("HTTP/1.1 200 OK\r\nContent-Le")),
        "",
    );
}

#[test]
fn silent_within_the_head() {
    let half = |stage: &mut Stage| {
        stage.send("HTTP/1.1 200 OK\r\nContent-Le");
        stage.until_end();
    };
    others_answer(&bad(half), "");
}

#[test]
fn garbage() {
    others_answer(&bad(|stage| _ = stage.send(vec![0; 4_000])), "");
    others_answer(
        &bad(|stage| _ = stage.send("220 mail.example ESMTP\r\n")),
        "",
    );
}

#[test]
fn heads_that_must_not_be_believed() {
    for fields in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Bad Name: x\r\nContent-Length: 2",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nok");
        others_answer(&bad(move |stage| _ = stage.send(&answer)), "");
    }
}

#[test]
fn a_head_of_a_megabyte() {
    let mut answer = b"HTTP/1.1 200 OK\r\nX-Huge: ".to_vec();
    answer.resize(1 << 20, b'x');
    answer.extend_from_slice(b"\r\n\r\n");
    others_answer(&bad(move |stage| _ = stage.send(&answer)), "");
}

/// Nothing was sent anywhere: a POST is as good as a GET.
#[track_caller]
fn all_are_served(bad: SocketAddr) {
    let live = Origin::named("live");
    let proxy = Proxy::before_with(&[bad, live.address()], KEYS, "workers: 1");
    for _ in 0..EACH {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
        let posted = Ask::post(proxy.address(), "/", "a body").send().expect(200);
        assert_eq!(posted.json()["body"], "a body");
    }
}

#[test]
fn connections_are_refused() {
    let mut dead = Origin::named("dead");
    dead.stop();
    all_are_served(dead.address());
}

/// A full backlog: the kernel drops each SYN, and a connect never ends.
#[test]
fn connections_are_never_made() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::listen(&socket, 0).expect("a shorter backlog");
    let address = socket.local_addr().expect("its address");
    let full = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let held: Vec<_> = (0..4).map(full).collect();
    assert!(held.iter().any(Result::is_err), "the backlog is not full");
    all_are_served(address);
}

/// Each answer that has begun and breaks off is seen as broken, by clients of both protocols.
#[track_caller]
fn seen_as_broken(answer: &'static str) {
    let origin = Origin::fixed(answer);
    let live = Origin::fixed(answer);
    let proxy = proxy(&origin, &live, "");
    let mut wire = proxy.wire();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let lost = wire.try_answer("GET").expect_err("no whole answer");
    assert!(
        matches!(lost, Lost::Cut(_, Some(_), 5)),
        "{answer:?}: {lost:?}"
    );
    let mut wire = H2Wire::connect(proxy.address());
    let stream = wire.ask("GET", "/", &[], true);
    wire.answer(stream)
        .expect_reset(&[code::INTERNAL_ERROR, code::CANCEL]);
    assert_eq!(origin.requests() + live.requests(), 2, "asked once each");
}

#[test]
fn a_server_dies_within_its_answer() {
    seen_as_broken("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun");
    seen_as_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n");
    seen_as_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nbegun");
}

#[test]
fn streams_that_were_not_looked_at_go_elsewhere_whatever_the_method() {
    for reply in [H2Reply::reset(code::REFUSED_STREAM), H2Reply::unprocessed()] {
        let refusing = H2Origin::new("refusing").answering(move |_| reply.clone());
        let live = H2Origin::new("live").echo();
        let proxy = proxy(&refusing, &live, ", protocol: http2");
        for _ in 0..EACH {
            let posted = Ask::post(proxy.address(), "/", "a body").send().expect(200);
            assert_eq!(
                (posted.origin().as_str(), &posted.json()["body"]),
                ("live", &"a body".into())
            );
        }
        assert!(refusing.requests() > 0);
    }
}

#[test]
fn streams_that_were_reset_go_elsewhere_when_that_is_safe() {
    for fault in [code::INTERNAL_ERROR, code::CANCEL, code::ENHANCE_YOUR_CALM] {
        let resetting = H2Origin::new("resetting").answering(move |_| H2Reply::reset(fault));
        others_answer_h2(&resetting);
    }
    others_answer_h2(&H2Origin::new("silent").answering(|_| H2Reply::silence()));
    let malformed = |_: &_| H2Reply::text("x").with("connection", "close");
    others_answer_h2(&H2Origin::new("malformed").answering(malformed));
}

#[track_caller]
fn others_answer_h2(bad: &Origin) {
    let live = H2Origin::new("live").echo();
    let proxy = proxy(bad, &live, ", protocol: http2");
    for _ in 0..EACH {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
    }
    let before = bad.requests() + live.requests();
    let post = |_| Ask::post(proxy.address(), "/", "once").send().status();
    let statuses: Vec<u16> = (0..EACH).map(post).collect();
    assert!(statuses.iter().any(|status| *status != 200), "{statuses:?}");
    assert_eq!(
        bad.requests() + live.requests() - before,
        EACH,
        "{statuses:?}"
    );
}

#[test]
fn a_stream_that_breaks_off_is_seen_as_broken() {
    let cut = |_: &_| H2Reply::text("begun").then_reset(code::INTERNAL_ERROR);
    let origins = ["a", "b"].map(|name| H2Origin::new(name).answering(cut));
    let proxy = proxy(&origins[0], &origins[1], ", protocol: http2");
    let mut wire = proxy.wire();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let lost = wire.try_answer("GET").expect_err("no whole answer");
    assert!(!matches!(lost, Lost::Malformed(_)), "{lost:?}");
}

#[test]
fn answers_of_503_are_asked_of_another() {
    others_are_asked(503);
    others_are_asked(502);
    others_are_asked(504);
}

#[track_caller]
fn others_are_asked(status: u16) {
    let ill = Origin::answering(move |_| Reply::new(status));
    let live = Origin::named("live");
    let proxy = proxy(&ill, &live, "");
    for _ in 0..EACH {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
    }
    assert!(ill.requests() > 0);
}

/// A client that reads late and says something after our GOAWAY: a reset then would take the rest of the answer along.
#[test]
fn the_last_answer_of_an_http2_connection_arrives_whole() {
    const LEN: usize = 60_000;
    let origin = Origin::echo();
    let more = "listeners: { web: { bind: \"127.0.0.1:0\", limits: { requests: 1 } } }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let mut wire = H2Wire::over(proxy.wire().with_small_window(), &[]);
    let stream = wire.ask("GET", &format!("/bytes/{LEN}"), &[], true);
    // All of it goes into the kernel's buffers, and the proxy is done with the connection.
    std::thread::sleep(Duration::from_millis(300));
    wire.send(&Frame::ping([1; 8]));
    std::thread::sleep(Duration::from_millis(100));
    let answer = wire.answer(stream).expect(200);
    assert_eq!(answer.body.len(), LEN);
}

#[track_caller]
fn ask(wire: &mut Wire) -> Answer {
    let answer = wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    answer.expect(200)
}

/// The next request may be on its way when the process is replaced: it is answered, and told that it was the last.
#[test]
fn kept_connections_have_a_last_request_at_an_upgrade() {
    let origin = Origin::echo();
    let lineage = Lineage::start(&simple(&[origin.address()], "", "workers: 1"));
    let mut kept: Vec<Wire> = (0..20).map(|_| Wire::connect(lineage.address())).collect();
    for wire in &mut kept {
        ask(wire);
    }
    lineage.upgrade();
    std::thread::sleep(Duration::from_millis(500));
    for wire in &mut kept {
        let last = ask(wire);
        assert!(last.head.fields.lists("connection", "close"), "{last:?}");
        wire.expect_close();
    }
}

/// What the client was told with the head of an answer holds, though the process is replaced before its end.
#[test]
fn a_connection_that_was_said_to_be_kept_is_kept() {
    let (begun, go_on) = (Gate::new(), Gate::new());
    let (told, waits) = (begun.clone(), Arc::new(go_on.clone()));
    let origin = Origin::scripted(move |stage| {
        while stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun");
            told.open();
            waits.wait();
            stage.send("ended");
        }
    });
    let lineage = Lineage::start(&simple(&[origin.address()], "", "workers: 1"));
    let mut wire = Wire::connect(lineage.address());
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    begun.wait();
    let head = wire.head("GET").expect("the head of an answer");
    assert!(!head.fields.lists("connection", "close"));
    lineage.upgrade();
    go_on.open();
    assert_eq!(wire.bytes(10), b"begunended");
    assert_eq!(ask(&mut wire).body, b"begunended");
}

/// A change that is said to be made is in force afterwards, though the process that made it is being replaced: it waits, and
/// is made by the old process if that goes on, or refused.
#[test]
fn a_change_during_an_upgrade_is_made_or_refused() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let servers = format!(
        "{{ name: one, address: \"{}\" }}, {{ name: two, address: \"{}\" }}",
        one.address(),
        two.address()
    );
    let lineage = Lineage::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [ {servers} ] }} }}\n\
         admin: {{ bind: \"127.0.0.1:0\", socket: \"@DIR@/admin.sock\" }}\n"
    ));
    // The new program takes its time: what is told to the old one meanwhile was not handed over.
    let real = keel_testkit::binary::evenkeel().display();
    lineage.replace_binary(&format!("#!/bin/sh\nsleep 1\nexec {real} \"$@\"\n"));
    signal(lineage.pid(), Signal::USR2);
    std::thread::sleep(Duration::from_millis(500));
    let socket = lineage.dir().join("admin.sock").display().to_string();
    let told = Proxy::run(&["server", "drain", "app", "one", "--socket", &socket]);
    until_true("the new process serves", || lineage.generations() == 2);
    let answer = |_| Ask::get(lineage.address(), "/").send().expect(200).origin();
    let by: Vec<String> = (0..10).map(answer).collect();
    let drained = !by.contains(&"one".to_owned());
    assert_eq!(drained, told.code == Some(0), "{by:?} {}", told.stderr);
}
