//! Servers drained while they serve, with sessions bound to them; sessions over an upgrade.

use std::time::{Duration, Instant};

use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Origin, Proxy, Wire};

use crate::lineage::{Lineage, await_alone};

/// Who holds it may change things.
const TOKEN: &str = "a-token-of-tests-0123456789abcdef";

fn config(origins: &[Origin], pool: &str) -> String {
    let servers: Vec<String> = origins
        .iter()
        .map(|it| format!("{{ name: {}, address: \"{}\" }}", it.name(), it.address()))
        .collect();
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nstate: \"@DIR@/state\"\nworkers: 2\n\
         admin: {{ bind: \"127.0.0.1:0\", token: \"{TOKEN}\", socket: off }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ {pool} servers: [ {} ] }} }}\n",
        servers.join(", ")
    )
}

/// Tells the proxy what state a server is to have.
#[track_caller]
fn set(proxy: &Proxy, server: &str, state: &str) {
    let target = format!("/pools/app/servers/{server}/state");
    Ask::put(proxy.admin(), &target, state.as_bytes())
        .with("Content-Type", "application/json")
        .with("Authorization", &format!("Bearer {TOKEN}"))
        .send()
        .expect(200);
}

fn origins() -> Vec<Origin> {
    ["a", "b", "c"]
        .iter()
        .map(|name| Origin::named(name))
        .collect()
}

fn server_of(proxy: &Proxy, user: usize) -> String {
    let ask = proxy.ask("/").with("X-User", &format!("user-{user}"));
    ask.send().expect(200).origin()
}

#[test]
fn a_drained_server_hands_its_clients_on_and_gets_none() {
    let origins = origins();
    let proxy = Proxy::start(&config(&origins, "sticky: { header: X-User },"));
    let before: Vec<String> = (0..30).map(|user| server_of(&proxy, user)).collect();
    set(&proxy, "b", "{ \"state\": \"drain\" }");
    let after: Vec<String> = (0..30).map(|user| server_of(&proxy, user)).collect();
    let asked = origins[1].requests();
    for (before, after) in before.iter().zip(&after) {
        match before.as_str() {
            "b" => assert_ne!(after, "b"),
            _ => assert_eq!(before, after),
        }
    }
    let new: Vec<String> = (30..60).map(|user| server_of(&proxy, user)).collect();
    assert!(!new.contains(&"b".to_owned()), "{new:?}");
    assert_eq!(origins[1].requests(), asked);
    set(&proxy, "b", "{ \"state\": \"ready\" }");
    let back: Vec<String> = (0..30).map(|user| server_of(&proxy, user)).collect();
    assert_eq!(back, after, "handed on once");
    let new: Vec<String> = (60..90).map(|user| server_of(&proxy, user)).collect();
    assert_eq!(new.iter().filter(|name| *name == "b").count(), 10);
}

#[test]
fn what_runs_on_a_drained_server_ends_in_its_own_time() {
    let origins = [Origin::named("a")];
    let proxy = Proxy::start(&config(&origins, ""));
    let mut running = proxy.wire();
    running.send(Ask::get(proxy.address(), "/delay/1500").to_bytes());
    until_true("it runs", || origins[0].requests() == 1);
    set(&proxy, "a", "{ \"state\": \"drain\" }");
    proxy.get("/").expect_error(503, "No-Healthy-Backends");
    assert_eq!(running.answer().expect(200).origin(), "a");
}

#[test]
fn after_the_limit_of_a_drain_requests_go_elsewhere_if_that_is_safe() {
    let slow =
        Origin::answering(|_| keel_testkit::Reply::text("late").after(Duration::from_secs(40)));
    let quick = Origin::named("quick");
    let (slow_at, quick_at) = (slow.address(), quick.address());
    let pool = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nworkers: 2\n\
         admin: {{ bind: \"127.0.0.1:0\", token: \"{TOKEN}\", socket: off }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [ {{ name: slow, address: \"{slow_at}\" }}, \
         {{ name: quick, address: \"{quick_at}\", backup: true }} ] }} }}\n"
    );
    let proxy = Proxy::start(&pool);
    let mut safe = proxy.wire();
    safe.send(Ask::get(proxy.address(), "/").to_bytes());
    let mut unsafe_one = proxy.wire();
    unsafe_one.send(Ask::post(proxy.address(), "/", "once").to_bytes());
    until_true("both run", || slow.requests() == 2);
    let start = Instant::now();
    set(
        &proxy,
        "slow",
        "{ \"state\": \"drain\", \"limit\": \"1s\" }",
    );
    assert_eq!(
        safe.answer().expect(200).origin(),
        "quick",
        "asked once more"
    );
    unsafe_one.answer().expect_error(503, "No-Healthy-Backends");
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(15),
        "{took:?}"
    );
}

#[test]
fn after_the_limit_of_a_drain_tunnels_end() {
    let origin = Origin::websocket();
    let origins = [origin];
    let proxy = Proxy::start(&config(&origins, ""));
    let mut tunnel = proxy.wire();
    let ask = proxy
        .ask("/chat")
        .with("Connection", "Upgrade")
        .with("Upgrade", "websocket")
        .with("Sec-WebSocket-Version", "13")
        .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    tunnel.send(ask.to_bytes());
    assert_eq!(tunnel.head("GET").expect("an answer").status, 101);
    set(&proxy, "websocket", "{ \"state\": \"drain\" }");
    assert!(tunnel.is_silent(Duration::from_millis(1_500)), "it goes on");
    set(
        &proxy,
        "websocket",
        "{ \"state\": \"drain\", \"limit\": \"1s\" }",
    );
    tunnel.expect_close();
    until_true("the server's end too", || origins[0].open() == 0);
}

#[test]
fn sessions_are_handed_over_to_the_program_that_follows() {
    let origins = origins();
    let of = |line: &Lineage, user: usize| {
        let ask = Ask::get(line.address(), "/").with("X-User", &format!("user-{user}"));
        ask.send().expect(200).origin()
    };
    let mut line = Lineage::start(&config(&origins, "sticky: { header: X-User },"));
    // More than a turn of round robin, so that chance does not repeat it.
    let before: Vec<String> = (0..40).map(|user| of(&line, user)).collect();
    let mut shifted = Wire::connect(line.address());
    shifted.ask(crate::GET).expect(200);
    line.upgrade();
    await_alone(&mut line);
    let after: Vec<String> = (0..40).rev().map(|user| of(&line, user)).collect();
    assert!(after.iter().rev().eq(before.iter()), "{before:?} {after:?}");
}
