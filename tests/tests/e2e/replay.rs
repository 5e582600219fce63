//! Bodies that are sent again: to another server, after the first one had some of them.

use std::io::Write;
use std::time::Duration;

use keel_testkit::h2::Event;
use keel_testkit::h2::frame::code;
use keel_testkit::{Ask, H2Origin, H2Wire, Origin, Proxy};

/// Reads so many bytes of what comes behind a head, then closes.
fn takes_some(bytes: usize) -> Origin {
    Origin::scripted(move |stage| {
        if stage.head().is_none() {
            return;
        }
        while stage.take_unread().len() < bytes && stage.some() {
            if stage.is_stopped() {
                return;
            }
        }
        stage.reset();
    })
}

/// So many bytes of the pattern.
fn pattern(len: usize) -> Vec<u8> {
    let piece = keel_testkit::origin::pattern();
    piece.iter().copied().cycle().take(len).collect()
}

/// Two servers: one that breaks off within the body, and one that works. Whoever is first is asked first.
fn pair() -> (Origin, Origin) {
    (takes_some(1), Origin::named("live"))
}

fn framed(method: &str, body: &[u8], chunked: bool) -> Vec<u8> {
    let mut out = format!("{method} / HTTP/1.1\r\nHost: a\r\n").into_bytes();
    if !chunked {
        write!(out, "Content-Length: {}\r\n\r\n", body.len()).expect("memory");
        out.extend_from_slice(body);
        return out;
    }
    out.extend_from_slice(b"Transfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n");
    for part in body.chunks(7_000) {
        write!(out, "{:x}\r\n", part.len()).expect("memory");
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nX-End: yes\r\n\r\n");
    out
}

#[test]
fn bodies_up_to_the_limit_go_to_the_next_server() {
    for (len, chunked) in [
        (100, false),
        (100, true),
        (5_000, false),
        (60_000, false),
        (60_000, true),
    ] {
        let (cut, live) = pair();
        let proxy = Proxy::before_with(&[cut.address(), live.address()], "max_fails: 0", "");
        let body = pattern(len);
        for _ in 0..4 {
            let mut wire = proxy.wire();
            wire.send(framed("PUT", &body, chunked));
            let answer = wire.answer_to("PUT").expect(200);
            let seen = answer.json();
            assert_eq!(seen["body_len"], len, "{chunked}");
            assert_eq!(seen["body_is_pattern"], true, "{len} {chunked}");
            if chunked {
                assert_eq!(seen["trailers"][0][1], "yes", "{len}");
            }
            // The connection goes on behind the body.
            wire.send(framed("PUT", &body, chunked));
            wire.answer_to("PUT").expect(200);
        }
        assert!(cut.requests() > 0);
    }
}

#[test]
fn larger_bodies_are_not_sent_again_and_limits_are_kept_to() {
    let (cut, live) = pair();
    let servers = [cut.address(), live.address()];
    for (keys, len, fails) in [
        ("max_fails: 0", 200_000, true),
        ("max_fails: 0, retry: { body: 300KB }", 200_000, false),
        ("max_fails: 0, retry: { body: 1KB }", 5_000, true),
        ("max_fails: 0, retry: { body: 0B }", 20_000, true),
    ] {
        let proxy = Proxy::before_with(&servers, keys, "");
        let put = || {
            let mut wire = proxy.wire();
            // One that is answered early takes no more of it.
            let _taken = wire.try_send(framed("PUT", &pattern(len), false));
            wire.answer_to("PUT").status()
        };
        let statuses: Vec<u16> = (0..6).map(|_| put()).collect();
        assert_eq!(statuses.contains(&502), fails, "{keys}: {statuses:?}");
        assert!(statuses.contains(&200), "{keys}: {statuses:?}");
    }
}

#[test]
fn a_body_that_is_still_coming_goes_on_to_the_next_server() {
    let (cut, live) = pair();
    let proxy = Proxy::before_with(&[cut.address(), live.address()], "max_fails: 0", "");
    for round in 0..4 {
        let mut wire = proxy.wire();
        let body = pattern(30_000);
        wire.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n");
        for part in body.chunks(6_000) {
            wire.send(part);
            std::thread::sleep(Duration::from_millis(30));
        }
        let seen = wire.answer_to("PUT").expect(200).json();
        assert_eq!(seen["body_len"], 30_000, "round {round}");
        assert_eq!(seen["body_is_pattern"], true, "round {round}");
    }
    assert!(cut.requests() > 0);
}

#[test]
fn what_may_have_been_acted_upon_is_not_sent_again() {
    let (cut, live) = pair();
    let proxy = Proxy::before_with(&[cut.address(), live.address()], "max_fails: 0", "");
    let post = || Ask::post(proxy.address(), "/", pattern(40_000)).send();
    let statuses: Vec<u16> = (0..6).map(|_| post().status()).collect();
    assert!(statuses.contains(&502), "{statuses:?}");
    assert_eq!(cut.requests() + live.requests(), 6);
}

#[test]
fn a_client_that_waits_for_100_sends_its_body_to_the_next_server() {
    let refuses = Origin::scripted(|stage| {
        if stage.head().is_some() {
            stage.reset();
        }
    });
    let live = Origin::named("live");
    let proxy = Proxy::before_with(&[refuses.address(), live.address()], "max_fails: 0", "");
    for _ in 0..4 {
        let mut wire = proxy.wire();
        wire.send(
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        );
        let interim = wire.head("PUT").expect("an interim answer");
        assert_eq!(interim.status, 100);
        wire.send("0123456789");
        let seen = wire.answer_to("PUT").expect(200).json();
        assert_eq!(seen["body"], "0123456789");
    }
    assert!(refuses.requests() > 0);
}

#[test]
fn an_early_refusal_with_a_body_on_its_way_is_asked_of_another() {
    let early = Origin::scripted(|stage| {
        if stage.head().is_some() {
            stage.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy");
            stage.until_end();
        }
    });
    let live = Origin::named("live");
    let servers = [early.address(), live.address()];
    let proxy = Proxy::before_with(&servers, "retry: { on: [503] }", "");
    for _ in 0..4 {
        let mut wire = proxy.wire();
        wire.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
        wire.send(&pattern(20_000)[..8_000]);
        std::thread::sleep(Duration::from_millis(80));
        wire.send(&pattern(20_000)[8_000..]);
        let seen = wire.answer_to("PUT").expect(200).json();
        assert_eq!(
            (&seen["body_len"], &seen["body_is_pattern"]),
            (&20_000.into(), &true.into())
        );
    }
    assert!(early.requests() > 0);
    // And when there is nobody else, it is the answer.
    let proxy = Proxy::before_with(&[early.address()], "retry: { on: [503] }", "");
    let mut wire = proxy.wire();
    wire.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
    wire.send(&pattern(20_000)[..8_000]);
    assert_eq!(wire.answer_to("PUT").expect(503).text(), "busy");
}

#[test]
fn from_http2_clients_to_servers_of_either_version() {
    for protocol in ["http1", "http2"] {
        let cut = match protocol {
            "http1" => takes_some(1),
            _ => H2Origin::new("cut").scripted(|stage| {
                while let Event::Head { stream, .. } | Event::Data { stream, .. } = stage.event() {
                    stage.connection.reset(stream, code::INTERNAL_ERROR);
                }
            }),
        };
        let live = match protocol {
            "http1" => Origin::named("live"),
            _ => H2Origin::new("live").echo(),
        };
        let keys = format!("protocol: {protocol}, max_fails: 0");
        let proxy = Proxy::before_with(&[cut.address(), live.address()], &keys, "");
        let mut wire = H2Wire::connect(proxy.address());
        for _ in 0..4 {
            let stream = wire.ask("PUT", "/", &[], false);
            wire.data(stream, pattern(20_000), false);
            wire.data(stream, &pattern(50_000)[20_000..], true);
            let seen = wire.answer(stream).expect(200).json();
            assert_eq!(seen["body_len"], 50_000, "{protocol}");
            assert_eq!(seen["body_is_pattern"], true, "{protocol}");
        }
    }
}

#[test]
fn a_refused_stream_costs_a_post_with_a_body_nothing() {
    let refuses = H2Origin::new("refuses").scripted(|stage| {
        loop {
            match stage.event() {
                Event::Data {
                    stream, end: true, ..
                } => {
                    stage.count_request();
                    stage.connection.reset(stream, code::REFUSED_STREAM);
                }
                Event::End(_) => return,
                _ => {}
            }
        }
    });
    let live = H2Origin::new("live").echo();
    let servers = [refuses.address(), live.address()];
    let proxy = Proxy::before_with(&servers, "protocol: http2, max_fails: 0", "");
    for _ in 0..4 {
        let answer = Ask::post(proxy.address(), "/", pattern(50_000)).send();
        assert_eq!(answer.expect(200).json()["body_len"], 50_000);
    }
}
