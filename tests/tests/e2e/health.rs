//! Active checks: each kind against real servers, detection in the times told, and what the operator sees.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keel_testkit::proxy::simple;
use keel_testkit::wait::until_true;
use keel_testkit::{Origin, Proxy, Reply, get};
use serde_json::Value;

use crate::lineage::{Lineage, await_alone, is_running};
use crate::reload_connections::reload;

/// A server whose `/health` says what it is told to; everything else is answered with its name.
pub(crate) struct Patient {
    origin: Origin,
    well: Arc<AtomicBool>,
}

impl Patient {
    pub(crate) fn new(name: &str) -> Patient {
        Patient::reporting(name, "0.0")
    }

    /// One that reports this load with each answer.
    pub(crate) fn reporting(name: &str, load: &str) -> Patient {
        let well = Arc::new(AtomicBool::new(true));
        let (asked, name, load) = (well.clone(), name.to_owned(), load.to_owned());
        let origin = Origin::answering(move |seen| {
            let well = asked.load(Ordering::SeqCst);
            let reply = match (seen.head.target.starts_with("/health"), well) {
                (true, true) => Reply::text(r#"{"status": "healthy"}"#),
                (true, false) => Reply::new(503).body(r#"{"status": "unhealthy"}"#),
                _ => Reply::text(&name),
            };
            reply.with("X-Origin", &name).with("X-Load", &load)
        });
        Patient { origin, well }
    }

    pub(crate) fn set(&self, is_well: bool) {
        self.well.store(is_well, Ordering::SeqCst);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    pub(crate) fn asked(&self) -> usize {
        self.origin.requests()
    }
}

/// What `/stats` says of the server at this address.
pub(crate) fn server(proxy: &Proxy, address: SocketAddr) -> Value {
    let stats = get(proxy.admin(), "/stats").expect(200).json();
    let servers = stats["backends"].as_object().unwrap();
    let found = servers
        .values()
        .find(|one| one["port"] == address.port() && one["host"] == address.ip().to_string());
    found
        .unwrap_or_else(|| panic!("no {address} in {stats}"))
        .clone()
}

pub(crate) fn state(proxy: &Proxy, address: SocketAddr) -> String {
    server(proxy, address)["state"].as_str().unwrap().to_owned()
}

/// How long it takes until the server is in this state.
pub(crate) fn until_state(proxy: &Proxy, address: SocketAddr, wanted: &str) -> Duration {
    let begin = Instant::now();
    until_true(&format!("{address} is {wanted}"), || {
        state(proxy, address) == wanted
    });
    begin.elapsed()
}

/// Names of those who answer the next requests, each on a connection of its own.
pub(crate) fn names(proxy: &Proxy, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| proxy.get("/").expect(200).text())
        .collect()
}

fn only(names: &[String], name: &str) -> bool {
    names.iter().all(|one| one == name)
}

fn assert_took(took: Duration, least_ms: u128, most_ms: u128) {
    let ms = took.as_millis();
    assert!(
        (least_ms..=most_ms).contains(&ms),
        "{ms} ms, not {least_ms} to {most_ms}"
    );
}

/// Checks that are quick to see a change, with a timeout that a busy machine keeps to.
pub(crate) const PATIENT: &str =
    "every: 300ms, every_down: 100ms, timeout: 5s, fall: 3, rise: 2, jitter: 0%";

#[test]
fn a_server_goes_and_comes_back_in_the_times_told() {
    let (one, other) = (Patient::new("one"), Patient::new("other"));
    let health = format!("health: {{ http: {{ path: /health }}, {PATIENT} }}");
    let proxy = Proxy::before_with(&[one.address(), other.address()], &health, "");
    until_true("both pass", || {
        let check = |address| server(&proxy, address)["check"]["health"] == "up";
        check(one.address()) && check(other.address())
    });
    one.set(false);
    // Between two and three intervals; what is added is the slack of a busy machine.
    assert_took(until_state(&proxy, one.address(), "down"), 500, 10_000);
    assert!(only(&names(&proxy, 20), "other"));
    let told = server(&proxy, one.address());
    assert_eq!(told["by"], "check");
    assert_eq!(told["why"], "status 503 is not one of those expected");
    assert_eq!(told["check"]["check"], "GET /health");
    assert_eq!(told["check"]["app"]["status"], "unhealthy");
    assert_eq!(told["health_status"], "unhealthy");
    assert!(told["check"]["failed"].as_u64().unwrap() >= 3, "{told}");
    assert!(told["state_seconds"].as_f64().unwrap() < 60.0, "{told}");

    one.set(true);
    assert_took(until_state(&proxy, one.address(), "up"), 50, 10_000);
    let both = names(&proxy, 20);
    assert_eq!(both.iter().filter(|name| *name == "one").count(), 10);
    let told = server(&proxy, one.address());
    assert_eq!(told["check"]["app"]["status"], "healthy");
    assert_eq!(
        told["check"]["last_failure"]["why"],
        "status 503 is not one of those expected"
    );

    proxy.await_log("server is up");
    let log = proxy.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(
        (lines("server is down"), lines("server is up")),
        (1, 1),
        "one line each"
    );
    let address = one.address().to_string();
    for part in [
        "pool=\"app\"",
        &address,
        "GET /health",
        "status 503",
        "up_for=",
    ] {
        assert!(
            log.lines()
                .any(|line| line.contains("server is down") && line.contains(part)),
            "{part}"
        );
    }
}

/// A server that hangs is found by the timeout: at most fall x every + timeout after it stopped.
#[test]
fn a_server_that_hangs_is_found_by_the_timeout() {
    let hangs = Arc::new(AtomicBool::new(false));
    let asked = hangs.clone();
    let origin = Origin::answering(move |_| match asked.load(Ordering::SeqCst) {
        true => Reply::text("late").after(Duration::from_secs(30)),
        false => Reply::text("in time"),
    });
    let health = "health: { http: { path: / }, every: 300ms, timeout: 1s, fall: 3, jitter: 0% }";
    let proxy = Proxy::before_with(&[origin.address()], health, "");
    until_true("it passes", || {
        server(&proxy, origin.address())["check"]["health"] == "up"
    });
    hangs.store(true, Ordering::SeqCst);
    assert_took(until_state(&proxy, origin.address(), "down"), 1_500, 15_000);
    let told = server(&proxy, origin.address());
    assert_eq!(told["why"], "no answer within the timeout");
}

#[test]
fn a_checked_start_sends_nobody_to_a_server_that_did_not_pass() {
    let (well, ill) = (Patient::new("well"), Patient::new("ill"));
    ill.set(false);
    let health = format!("health: {{ http: {{ path: /health }}, start: checked, {PATIENT} }}");
    let proxy = Proxy::before_with(&[well.address(), ill.address()], &health, "");
    // From the first request on.
    assert!(only(&names(&proxy, 20), "well"));
    assert_eq!(state(&proxy, ill.address()), "down");
    assert_eq!(
        server(&proxy, ill.address())["check"]["failed"]
            .as_u64()
            .map(|it| it > 0),
        Some(true)
    );

    let optimistic = "health: { http: { path: /health }, every: 60s, every_down: 60s }";
    let proxy = Proxy::before_with(&[well.address(), ill.address()], optimistic, "");
    let both = names(&proxy, 20);
    assert_eq!(
        both.iter().filter(|name| *name == "ill").count(),
        10,
        "no check says otherwise"
    );
}

/// What checks know outlives a reload; who joins with it waits for a check; who is not checked any more is used.
#[test]
fn a_reload_keeps_what_checks_know() {
    let (one, ill, new) = (
        Patient::new("one"),
        Patient::new("ill"),
        Patient::new("new"),
    );
    let health = |start: &str| {
        format!(
            "health: {{ http: {{ path: /health }}, start: {start}, every: 300ms, timeout: 5s, fall: 2 }}"
        )
    };
    let proxy = Proxy::before_with(&[one.address(), ill.address()], &health("optimistic"), "");
    ill.set(false);
    until_state(&proxy, ill.address(), "down");
    let before = server(&proxy, ill.address());

    new.set(false);
    let all = [ill.address(), new.address(), one.address()];
    reload(&proxy, &simple(&all, &health("checked"), ""));
    let after = server(&proxy, ill.address());
    assert_eq!(after["state"], "down");
    assert_eq!(after["by"], "check");
    let number = |told: &Value, key: &str| told[key].as_f64().unwrap();
    assert!(
        number(&after, "state_seconds") >= number(&before, "state_seconds"),
        "{after}"
    );
    assert!(
        number(&after["check"], "failed") >= number(&before["check"], "failed"),
        "{after}"
    );
    assert!(
        only(&names(&proxy, 20), "one"),
        "not the new one, which never passed"
    );
    new.set(true);
    until_state(&proxy, new.address(), "up");

    reload(&proxy, &simple(&all, "", ""));
    assert_eq!(
        server(&proxy, ill.address())["state"],
        "up",
        "nobody says otherwise"
    );
    assert!(names(&proxy, 30).contains(&"ill".to_owned()));
}

/// What traffic sees is not waited for until the next check is due.
#[test]
fn a_failure_of_traffic_brings_the_check_forward() {
    let one = Patient::new("one");
    let mut other = Patient::new("other");
    let health = "health: { http: { path: /health }, start: checked, every: 60s, every_down: 100ms, fall: 1, rise: 1 }, max_fails: 0";
    let proxy = Proxy::before_with(&[one.address(), other.address()], health, "");
    assert_eq!(state(&proxy, other.address()), "up");
    other.origin.stop();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(state(&proxy, other.address()), "up", "nobody has looked");
    // Retried elsewhere, and seen.
    assert!(only(&names(&proxy, 10), "one"));
    let took = until_state(&proxy, other.address(), "down");
    assert!(took < Duration::from_secs(15), "{took:?}");
    other.origin.restart();
    until_state(&proxy, other.address(), "up");
}

#[test]
fn another_port_host_and_headers_are_asked() {
    let patient = Patient::new("one");
    let side = Origin::answering(|seen| {
        let field = |name: &str| seen.head.fields.first(name).unwrap_or_default();
        let right = seen.head.method == "HEAD"
            && seen.head.target == "/ready?deep=1"
            && field("host") == "app.internal"
            && field("x-probe") == "evenkeel";
        Reply::new(if right { 204 } else { 400 })
    });
    let health = format!(
        "health: {{ http: {{ path: /ready?deep=1, method: HEAD, host: app.internal, headers: {{ X-Probe: evenkeel }}, status: 204 }}, port: {}, {PATIENT} }}",
        side.address().port()
    );
    let proxy = Proxy::before_with(&[patient.address()], &health, "");
    until_true("it passes", || {
        server(&proxy, patient.address())["check"]["passed"].as_u64() > Some(2)
    });
    assert_eq!(server(&proxy, patient.address())["check"]["failed"], 0);
    assert_eq!(patient.asked(), 0, "the other port only");
}

#[test]
fn what_cannot_be_checked_is_refused_with_its_place() {
    for (health, says) in [
        ("http: { path: health }", "/"),
        ("http: { path: /, body: { regex: '(' } }", "regex"),
        ("http: { path: / }, tcp: true", ""),
        ("every: 5s", ""),
        ("http: { path: / }, every: 0s", ""),
    ] {
        let config = format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
             pools: {{ app: {{ servers: [\"127.0.0.1:1\"], health: {{ {health} }} }} }}\n"
        );
        Proxy::run_on("check", &config, &[])
            .expect(2)
            .says(&[":3:", says]);
    }
}

/// A process that was replaced may live as long as its tunnels; servers are checked by the new one alone.
#[test]
fn a_process_that_was_replaced_checks_nobody() {
    let (origin, sockets) = (Origin::named("a"), Origin::websocket());
    let mut lineage = Lineage::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes:\n  - {{ name: chat, match: {{ path: /chat }}, pool: chat }}\n  - {{ name: all, pool: app }}\n\
         pools:\n  chat: {{ servers: [\"{}\"] }}\n  \
         app: {{ servers: [\"{}\"], health: {{ http: {{ path: /health }}, every: 100ms, timeout: 5s }} }}\n",
        sockets.address(),
        origin.address(),
    ));
    let (address, first) = (lineage.address(), lineage.pid());
    let tcp = std::net::TcpStream::connect(address).unwrap();
    let (socket, _) = tungstenite::client(format!("ws://{address}/chat"), tcp).unwrap();
    lineage.upgrade();
    let before = origin.requests();
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    let (checks, passed) = (origin.requests() - before, start.elapsed());
    assert!(is_running(first), "it has a tunnel");
    let due = passed.as_millis() as usize / 100;
    assert!(
        (5..due * 3 / 2).contains(&checks),
        "{checks} checks in {passed:?}, one each 100 ms"
    );
    drop(socket);
    await_alone(&mut lineage);
}
