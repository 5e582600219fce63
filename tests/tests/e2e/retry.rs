//! What is tried again, and what must not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keel_testkit::h2::frame::{code, setting};
use keel_testkit::wait::{until, until_true};
use keel_testkit::{Ask, H2Origin, H2Reply, H2Wire, Origin, Proxy, Reply};

use crate::GET;

#[test]
fn the_next_server_takes_over_when_one_refuses() {
    let (mut dead, live) = (Origin::named("dead"), Origin::named("live"));
    dead.stop();
    let proxy = Proxy::before_with(&[dead.address(), live.address()], "max_fails: 0", "");
    for _ in 0..10 {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
    }
    let posted = Ask::post(proxy.address(), "/", "a body").send().expect(200);
    assert_eq!(posted.json()["body"], "a body");
}

#[test]
fn tries_are_limited() {
    let origins: Vec<Origin> = (0..5).map(|n| Origin::named(&n.to_string())).collect();
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let mut origins = origins;
    for origin in &mut origins[..2] {
        origin.stop();
    }
    let proxy = Proxy::before_with(&addresses, "retry: 1, max_fails: 0", "");
    let statuses: Vec<u16> = (0..10).map(|_| proxy.get("/").status()).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 502).count(),
        4,
        "{statuses:?}"
    );
    let proxy = Proxy::before_with(&addresses, "retry: 3, max_fails: 0", "");
    for _ in 0..10 {
        proxy.get("/").expect(200);
    }
}

#[test]
fn a_server_that_fails_rests_and_recovers() {
    let (mut a, b) = (Origin::named("a"), Origin::named("b"));
    a.stop();
    let keys = "max_fails: 2, fail_timeout: 5s, retry: 1";
    let proxy = Proxy::before_with(&[a.address(), b.address()], keys, "");
    let failed = (0..20).filter(|_| proxy.get("/").status() != 200).count();
    assert_eq!(failed, 2, "after max_fails it rests");
    a.restart();
    let start = Instant::now();
    until("the server is tried again", || {
        Some(proxy.get("/").expect(200).origin()).filter(|name| name == "a")
    });
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn when_all_rest_they_are_tried_all_the_same() {
    let mut origin = Origin::echo();
    let keys = "max_fails: 1, fail_timeout: 60s";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    origin.stop();
    for _ in 0..3 {
        assert!(matches!(proxy.get("/").status(), 502 | 503));
    }
    origin.restart();
    proxy.get("/").expect(200);
}

/// Answers the first request of each connection; on the second the connection is closed without an answer.
fn one_shot(seen: Arc<AtomicUsize>) -> Origin {
    Origin::scripted(move |stage| {
        if stage.request().is_none() {
            return;
        }
        stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if stage.request().is_some() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    })
}

#[test]
fn a_stale_connection_costs_a_safe_request_nothing() {
    let seen = Arc::new(AtomicUsize::new(0));
    let origin = one_shot(Arc::clone(&seen));
    let proxy = Proxy::before_with(&[origin.address()], "max_fails: 0", "workers: 1");
    let mut wire = proxy.wire();
    for _ in 0..6 {
        wire.ask(GET).expect(200);
    }
    assert!(seen.load(Ordering::SeqCst) > 0, "no connection was stale");
}

#[test]
fn an_unsafe_request_is_never_sent_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let origin = one_shot(Arc::clone(&seen));
    let proxy = Proxy::before_with(&[origin.address()], "max_fails: 0", "workers: 1");
    let mut wire = proxy.wire();
    wire.ask(GET).expect(200);
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    let answer = wire.answer();
    // When the request was sent on the old connection it may have been acted upon: 502, and no second try.
    assert_eq!((answer.status(), seen.load(Ordering::SeqCst)), (502, 1));
    assert_eq!(origin.requests(), 2);
}

#[test]
fn a_connection_that_the_backend_closed_while_idle_is_not_used() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before_with(&[origin.address()], "max_fails: 0", "workers: 1");
    let mut wire = proxy.wire();
    for _ in 0..10 {
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        wire.answer().expect(200);
        until_true("the backend has closed", || origin.open() == 0);
        // The close is in our kernel by now; the proxy's worker sees it when it next polls.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_request_is_not_tried_again_once_an_answer_has_begun() {
    let [cut, other] =
        [(); 2].map(|()| Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"));
    let proxy = Proxy::before_with(&[cut.address(), other.address()], "max_fails: 0", "");
    let mut wire = proxy.wire();
    wire.send(GET);
    assert!(wire.try_answer("GET").is_err());
    assert_eq!(cut.requests() + other.requests(), 1);
}

#[test]
fn a_get_that_got_no_answer_is_asked_of_another() {
    let mute = Origin::scripted(|stage| {
        let _dropped = stage.request();
    });
    let live = Origin::named("live");
    let proxy = Proxy::before_with(&[mute.address(), live.address()], "max_fails: 0", "");
    for _ in 0..6 {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
    }
    assert!(mute.requests() > 0);
}

#[test]
fn errors_of_a_backend_are_not_its_failure() {
    let origin = Origin::answering(|_| Reply::new(500));
    let proxy = Proxy::before_with(&[origin.address()], "max_fails: 1, fail_timeout: 60s", "");
    for _ in 0..5 {
        proxy.get("/").expect(500);
    }
    assert_eq!(origin.requests(), 5);
}

/// Always answers with this status, and says so.
fn only(status: u16) -> Origin {
    Origin::answering(move |_| Reply::new(status).with("X-Said", "no").body("not today"))
}

#[test]
fn chosen_statuses_are_asked_of_another_server() {
    let (busy, live) = (only(503), Origin::named("live"));
    let servers = [busy.address(), live.address()];
    let proxy = Proxy::before_with(&servers, "retry: { on: [502-504] }", "");
    for _ in 0..10 {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
    }
    assert!(busy.requests() > 0);
    // A POST was acted upon, perhaps: its answer is the answer.
    let mut posts = (0..4).map(|_| Ask::post(proxy.address(), "/", "x").send());
    assert!(posts.any(|answer| answer.status() == 503));
    let proxy = Proxy::before_with(&servers, "retry: { on: [503], unsafe: true }", "");
    for _ in 0..4 {
        let answer = Ask::post(proxy.address(), "/", "x").send().expect(200);
        assert_eq!(answer.json()["body"], "x");
    }
}

#[test]
fn without_a_better_one_the_servers_own_answer_is_given() {
    let (busy, mut dead) = (only(503), Origin::named("dead"));
    dead.stop();
    let cases = [vec![busy.address()], vec![busy.address(), dead.address()]];
    for servers in cases {
        let keys = "max_fails: 0, retry: { on: [error, 5xx], tries: 5 }";
        let proxy = Proxy::before_with(&servers, keys, "workers: 1");
        let mut wire = proxy.wire();
        for _ in 0..6 {
            let answer = wire.ask(GET).expect(503);
            assert_eq!(answer.text(), "not today");
            assert_eq!(answer.header("x-said").as_deref(), Some("no"));
            assert_eq!(answer.header("x-error"), None);
        }
    }
    // Its connection was kept, though the answer was put aside.
    assert!(busy.connections() <= 2, "{}", busy.connections());
}

#[test]
fn a_large_answer_that_was_put_aside_is_given_whole() {
    let busy = Origin::answering(|_| Reply::new(500).pattern(3_000_000));
    let mut dead = Origin::named("dead");
    dead.stop();
    let keys = "max_fails: 0, retry: { on: [error, 500] }";
    let proxy = Proxy::before_with(&[busy.address(), dead.address()], keys, "");
    for _ in 0..4 {
        let answer = proxy.get("/").expect(500);
        assert_eq!(answer.body_len, 3_000_000);
    }
}

#[test]
fn a_slow_server_is_left_for_another_after_the_time_of_a_try() {
    let slow = Origin::scripted(|stage| {
        let _asked = stage.request();
        stage.until_end();
    });
    let live = Origin::named("live");
    let keys = "max_fails: 0, timeouts: { read: 4s }, retry: { per_try: 1s }";
    let proxy = Proxy::before_with(&[slow.address(), live.address()], keys, "");
    let start = Instant::now();
    for _ in 0..4 {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
    }
    assert!(slow.requests() >= 2);
    assert!(start.elapsed() >= Duration::from_millis(1_900));
    assert!(start.elapsed() < Duration::from_secs(15));
    // A POST may have been acted upon.
    let mut posts = (0..4).map(|_| Ask::post(proxy.address(), "/", "x").send());
    assert!(posts.any(|answer| answer.status() == 504));
}

#[test]
fn after_the_time_for_all_no_further_try_begins() {
    let slow = Origin::scripted(|stage| {
        let _asked = stage.request();
        stage.until_end();
    });
    let keys = "max_fails: 0, timeouts: { read: 1s }, retry: { on: [timeout], tries: 9, within: 2500ms, backoff: 10ms }";
    let proxy = Proxy::before_with(&[slow.address()], keys, "");
    let start = Instant::now();
    proxy.get("/").expect_error(504, "Backend-Timeout");
    assert!(start.elapsed() < Duration::from_secs(15));
    assert!((2..=3).contains(&slow.requests()), "{}", slow.requests());
}

#[test]
fn with_a_back_off_the_only_server_is_asked_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let origin = Origin::scripted(move |stage| {
        if stage.request().is_some() && count.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let keys = "max_fails: 0, retry: { backoff: { first: 40ms, max: 40ms } }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    for _ in 0..3 {
        proxy.get("/").expect(200);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 9);
}

#[test]
fn the_budget_keeps_retries_from_making_an_outage() {
    let busy = [only(503), only(503)];
    let servers = busy.each_ref().map(Origin::address);
    let keys = "retry: { on: [503], tries: 2, budget: { share: 10%, min: 0 } }";
    let proxy = Proxy::before_with(&servers, keys, "");
    for _ in 0..200 {
        proxy.get("/").expect(503);
    }
    let asked: usize = busy.iter().map(Origin::requests).sum();
    assert!((205..=221).contains(&asked), "{asked}");
    let page = keel_testkit::get(proxy.admin(), "/metrics").expect(200);
    let line = "evenkeel_pool_retry_budget_exhausted_total{pool=\"app\"} 1";
    assert!(page.text().contains(line), "{}", page.text());
}

#[test]
fn a_route_says_otherwise() {
    let (busy, live) = (only(503), Origin::named("live"));
    let routes = "routes: [ { name: a, match: { path: /a }, pool: app, retry: { on: [503] } }, { name: all, pool: app } ]";
    let proxy = Proxy::before_with(&[busy.address(), live.address()], "", routes);
    for _ in 0..6 {
        proxy.get("/a").expect(200);
    }
    let statuses: Vec<u16> = (0..6).map(|_| proxy.get("/b").status()).collect();
    assert!(statuses.contains(&503), "{statuses:?}");
}

#[test]
fn an_invalid_answer_is_asked_of_another_when_chosen() {
    let garbage = Origin::fixed("SMTP/1.1 banana\r\n\r\n");
    let live = Origin::named("live");
    let servers = [garbage.address(), live.address()];
    let keys = "max_fails: 0, retry: { on: [error, invalid] }";
    let proxy = Proxy::before_with(&servers, keys, "");
    for _ in 0..6 {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
    }
    let proxy = Proxy::before_with(&servers, "max_fails: 0", "");
    let statuses: Vec<u16> = (0..6).map(|_| proxy.get("/").status()).collect();
    assert!(statuses.contains(&502), "{statuses:?}");
}

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

#[test]
fn a_websocket_opens_at_another_server_when_the_first_one_breaks() {
    let mute = Origin::scripted(|stage| {
        let _dropped = stage.head();
    });
    let live = Origin::websocket();
    let servers = [mute.address(), live.address()];
    let proxy = Proxy::before_with(&servers, "max_fails: 0", "");
    for _ in 0..4 {
        let mut wire = proxy.wire();
        wire.send(HANDSHAKE);
        assert_eq!(wire.head("GET").expect("an answer").status, 101);
        // "hi", masked with zeroes, and back without a mask.
        wire.send([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(wire.bytes(4), [0x81, 2, b'h', b'i']);
    }
    assert!(mute.requests() >= 2);
    let refused = only(503);
    let servers = [refused.address(), live.address()];
    let proxy = Proxy::before_with(&servers, "retry: { on: [503] }", "");
    for _ in 0..4 {
        let mut wire = proxy.wire();
        wire.send(HANDSHAKE);
        assert_eq!(wire.head("GET").expect("an answer").status, 101);
    }
    assert!(refused.requests() >= 2);
}

#[test]
fn over_http2_on_both_sides_the_same_holds() {
    let busy = H2Origin::new("busy").answering(|_| H2Reply::new(503).body("not today"));
    let live = H2Origin::new("live").echo();
    let keys = "protocol: http2, retry: { on: [503] }";
    let proxy = Proxy::before_with(&[busy.address(), live.address()], keys, "");
    let mut wire = H2Wire::connect(proxy.address());
    for _ in 0..6 {
        wire.get("/").expect(200);
    }
    assert!(busy.requests() >= 2);
    let proxy = Proxy::before_with(&[busy.address()], keys, "");
    let mut wire = H2Wire::connect(proxy.address());
    for _ in 0..3 {
        assert_eq!(wire.get("/").expect(503).text(), "not today");
    }
}

/// Steps of a client that leaves while its request waits between two tries.
#[test]
fn a_client_that_leaves_ends_the_wait_between_two_tries() {
    let mut dead = Origin::named("dead");
    dead.stop();
    let keys = "max_fails: 0, retry: { tries: 16, backoff: { first: 30s, max: 30s } }";
    let proxy = Proxy::before_with(&[dead.address()], keys, "access_log: { to: \"@DIR@/log\" }");
    let mut wire = proxy.wire();
    wire.send(GET);
    std::thread::sleep(Duration::from_millis(300));
    wire.reset();
    let log = proxy.dir().join("log");
    until_true("the request has ended", || {
        std::fs::read_to_string(&log).is_ok_and(|lines| lines.contains("499"))
    });
}

/// Answers over HTTP/2, takes no body, and resets the streams of requests for `/reset`.
fn resets() -> Origin {
    let origin = H2Origin::new("resets").settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    origin.scripted(|stage| {
        while let Some(seen) = stage.request_head() {
            if seen.path() == "/reset" {
                std::thread::sleep(Duration::from_millis(100));
                let why = code::INTERNAL_ERROR;
                stage.connection.reset(seen.stream, why);
            } else {
                let head = [(":status", "204")];
                stage.connection.head(seen.stream, &head, true);
            }
        }
    })
}

#[test]
fn a_post_is_sent_once_when_its_stream_is_reset_before_the_body() {
    let origins = [resets(), resets()];
    let servers = origins.each_ref().map(Origin::address);
    let proxy = Proxy::before_with(&servers, "protocol: http2, max_fails: 0", "workers: 1");
    for _ in 0..2 {
        proxy.get("/").expect(204);
    }
    Ask::post(proxy.address(), "/reset", "once")
        .send()
        .expect_error(502, "Backend-Unavailable");
    let requests: usize = origins.iter().map(Origin::requests).sum();
    assert_eq!(
        requests, 3,
        "each has the head of one GET, and one that of the POST"
    );
}

#[test]
fn a_stream_that_is_reset_is_no_stale_connection() {
    let origin = resets();
    let keys = "protocol: http2, max_fails: 0, retry: { tries: 1 }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    proxy.get("/").expect(204);
    proxy.get("/reset").expect_error(502, "Backend-Unavailable");
    assert_eq!(origin.requests(), 2, "one try is one try");
    let other = resets();
    let servers = [origin.address(), other.address()];
    let proxy = Proxy::before_with(&servers, "protocol: http2, max_fails: 0", "workers: 1");
    proxy.get("/reset").expect_error(502, "Backend-Unavailable");
    assert_eq!(
        origin.requests() + other.requests(),
        4,
        "each was asked once"
    );
}

#[test]
fn an_answer_that_was_put_aside_binds_as_it_would_have() {
    let (a, mut b) = (Origin::named("a"), Origin::named("b"));
    let keys = "sticky: { cookie: {} }, max_fails: 0, retry: { on: [error, 503] }";
    let servers = [a.address(), b.address()];
    let proxy = Proxy::before_with(&servers, keys, "state: \"@DIR@/state\"");
    let cookie = until("a binds a client", || {
        let answer = proxy.get("/").expect(200);
        answer
            .header("set-cookie")
            .filter(|_| answer.origin() == "a")
    });
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    b.stop();
    let refused = proxy.ask("/status/503").with("Cookie", &cookie).send();
    assert_eq!(refused.expect(503).header("set-cookie"), None);
}
