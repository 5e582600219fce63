//! Hedged requests: a second server is asked when the first is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keel_testkit::h2::Event;
use keel_testkit::h2::frame::code;
use keel_testkit::origin::Gate;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, H2Origin, H2Wire, Origin, Proxy, Reply};

use crate::protect::{gated, metric};

const HEDGED: &str = "evenkeel_pool_hedged_requests_total{pool=\"app\"}";
const WON: &str = "evenkeel_pool_hedges_won_total{pool=\"app\"}";

/// Takes requests and never answers.
fn silent() -> Origin {
    Origin::scripted(|stage| {
        let _asked = stage.request();
        stage.until_end();
    })
}

#[test]
fn the_fast_server_answers_for_the_slow_one() {
    let (slow, live) = (silent(), Origin::named("live"));
    // Long enough for the one that lives on any machine: it would be hedged as well.
    let keys = "max_fails: 0, hedge: { after: 700ms }";
    let proxy = Proxy::before_with(&[slow.address(), live.address()], keys, "workers: 1");
    let mut wire = proxy.wire();
    for _ in 0..6 {
        let start = Instant::now();
        assert_eq!(wire.ask(crate::GET).expect(200).origin(), "live");
        assert!(start.elapsed() < Duration::from_secs(15));
    }
    let asked = slow.requests() as u64;
    assert!(asked >= 3);
    assert_eq!(
        (metric(&proxy, HEDGED), metric(&proxy, WON)),
        (asked, asked)
    );
    until_true("the losers are given up", || slow.open() == 0);
    assert_eq!(live.connections(), 1, "the winner's connection is kept");
    let mut h2 = H2Wire::connect(proxy.address());
    for _ in 0..4 {
        assert!(h2.get("/").expect(200).seen_one("host").is_some());
    }
}

#[test]
fn a_stream_that_loses_is_cancelled() {
    let cancelled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&cancelled);
    let slow = H2Origin::new("slow").scripted(move |stage| {
        loop {
            match stage.event() {
                Event::Head { .. } => {
                    stage.count_request();
                }
                Event::Reset { code: why, .. } if why == code::CANCEL => {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                Event::End(_) => return,
                _ => {}
            }
        }
    });
    let live = H2Origin::new("live").echo();
    let keys = "protocol: http2, max_fails: 0, hedge: { after: 100ms }";
    let proxy = Proxy::before_with(&[slow.address(), live.address()], keys, "workers: 1");
    for _ in 0..4 {
        proxy.get("/").expect(200);
    }
    assert!(slow.requests() >= 2);
    until_true("all are cancelled", || {
        cancelled.load(Ordering::SeqCst) == slow.requests()
    });
    assert_eq!(slow.connections(), 1, "the connection goes on");
}

#[test]
fn what_is_not_safe_or_has_a_body_is_not_hedged() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let servers = origins.each_ref().map(Origin::address);
    let keys = "hedge: { after: 50ms }";
    let proxy = Proxy::before_with(&servers, keys, "");
    Ask::post(proxy.address(), "/delay/300", "")
        .send()
        .expect(200);
    Ask::post(proxy.address(), "/delay/300", "body")
        .send()
        .expect(200);
    Ask::new(proxy.address(), "DELETE", "/delay/300")
        .send()
        .expect(200);
    assert_eq!(metric(&proxy, HEDGED), 0);
    proxy.get("/delay/300").expect(200);
    assert_eq!(metric(&proxy, HEDGED), 1);
}

#[test]
fn hedges_are_within_the_budget() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let servers = origins.each_ref().map(Origin::address);
    let keys = "hedge: { after: 20ms }, retry: { budget: { share: 10%, min: 0 } }";
    let proxy = Proxy::before_with(&servers, keys, "");
    for _ in 0..20 {
        proxy.get("/delay/100").expect(200);
    }
    assert_eq!(metric(&proxy, HEDGED), 2);
}

#[test]
fn a_percentile_is_learnt_first() {
    let (slow, live) = (
        Origin::answering(|seen| match seen.head.target.as_str() {
            "/slow" => Reply::text("late").after(Duration::from_secs(60)),
            _ => Reply::text("quick"),
        }),
        Origin::answering(|_| Reply::text("quick")),
    );
    let keys = "hedge: { after: 90%, min: 50ms }";
    let proxy = Proxy::before_with(&[slow.address(), live.address()], keys, "workers: 1");
    let mut wire = proxy.wire();
    // Too few times are known for the first hundred.
    let start = Instant::now();
    let mut asked = 0;
    while asked < 150 || start.elapsed() < Duration::from_millis(600) {
        wire.ask(crate::GET).expect(200);
        asked += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    let start = Instant::now();
    for _ in 0..4 {
        let answer = wire
            .ask("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect(200);
        assert_eq!(answer.text(), "quick");
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    assert!(metric(&proxy, WON) >= 2);
}

#[test]
fn answers_are_never_mixed() {
    let server = |letter: &'static str, every: usize| {
        let count = AtomicUsize::new(0);
        Origin::answering(move |seen| {
            let len = 100 + seen.head.target.len() * 4_000;
            let reply = Reply::new(200)
                .with("X-Letter", letter)
                .with("X-Target", &seen.head.target)
                .body(letter.repeat(len));
            match count.fetch_add(1, Ordering::SeqCst) % every {
                0 => reply.after(Duration::from_millis(25)),
                _ => reply,
            }
        })
    };
    let (a, b) = (server("a", 2), server("b", 3));
    let keys =
        "max_fails: 0, hedge: { after: 20ms }, retry: { budget: { share: 100%, min: 1000 } }";
    let proxy = Proxy::before_with(&[a.address(), b.address()], keys, "workers: 2");
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let mut wire = proxy.wire();
            std::thread::spawn(move || {
                for round in 0..40 {
                    let target = format!("/{client}/{}", "x".repeat(round % 9));
                    let ask = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
                    let answer = wire.ask(ask).expect(200);
                    let letter = answer.header("x-letter").unwrap_or_default();
                    assert_eq!(answer.header("x-target"), Some(target.clone()));
                    assert_eq!(answer.text(), letter.repeat(100 + target.len() * 4_000));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client");
    }
    assert!(metric(&proxy, HEDGED) > 20);
}

#[test]
fn when_all_fail_it_is_a_failure_and_others_are_tried() {
    let cut = || {
        Origin::scripted(|stage| {
            let _asked = stage.request();
            std::thread::sleep(Duration::from_millis(150));
        })
    };
    let (a, b, live) = (cut(), cut(), Origin::named("live"));
    let keys = "max_fails: 0, hedge: { after: 50ms }";
    let servers = [a.address(), b.address(), live.address()];
    let proxy = Proxy::before_with(&servers, keys, "");
    for _ in 0..6 {
        assert_eq!(proxy.get("/").expect(200).origin(), "live");
    }
    let proxy = Proxy::before_with(&servers[..2], keys, "");
    proxy.get("/").expect_error(502, "Backend-Unavailable");
}

#[test]
fn a_hedge_never_goes_where_its_request_is() {
    let origin = Origin::named("only");
    let keys = "hedge: { after: 50ms, extra: 3 }, retry: { backoff: 20ms }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    proxy.get("/delay/400").expect(200);
    assert_eq!((origin.requests(), metric(&proxy, HEDGED)), (1, 0));
}

#[test]
fn a_drain_with_a_limit_cuts_a_race() {
    let (mute, live) = (silent(), Origin::named("live"));
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [ {{ name: mute, address: \"{}\" }}, {{ address: \"{}\", tier: 1 }} ], \
         hedge: {{ after: 20s, max: 30s }} }} }}\n\
         admin: {{ bind: \"127.0.0.1:0\", socket: \"@DIR@/admin.sock\" }}\n",
        mute.address(),
        live.address()
    ));
    let mut wire = proxy.wire();
    wire.send(crate::GET);
    until_true("the silent one is asked", || mute.requests() == 1);
    let start = Instant::now();
    let socket = proxy.dir().join("admin.sock").display().to_string();
    let drain = ["server", "drain", "app", "mute", "--limit", "1s"];
    Proxy::run(&[&drain[..], &["--socket", &socket]].concat()).expect(0);
    assert_eq!(wire.answer().expect(200).origin(), "live");
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_stale_connection_takes_no_time_from_the_next() {
    let origin = Origin::scripted(|stage| {
        if stage.request().is_some() {
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        // The second request over a connection is not answered.
        if stage.request().is_some() {
            std::thread::sleep(Duration::from_millis(1_500));
        }
    });
    let keys = "timeouts: { connect: 1s }, retry: { tries: 1 }, hedge: { after: 20s, max: 30s }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "workers: 1");
    let mut wire = proxy.wire();
    for _ in 0..2 {
        wire.ask(crate::GET).expect(200);
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_race_that_gets_no_connection_is_refused() {
    let gate = Arc::new(Gate::new());
    let origin = gated(&gate);
    let keys =
        "limits: { connections: 1 }, timeouts: { connect: 500ms }, hedge: { after: 20s, max: 30s }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    let mut held = proxy.wire();
    held.send(crate::GET);
    until_true("one is at the server", || origin.requests() == 1);
    let refused = proxy.get("/").expect_error(503, "Pool-Limit");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    let limit = "evenkeel_pool_refused_requests_total{pool=\"app\",reason=\"limit\"}";
    assert_eq!(metric(&proxy, limit), 1);
    gate.open();
    held.answer().expect(200);
}
