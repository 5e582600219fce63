//! Our own /health with what it depends on.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use keel_testkit::wait::until_true;
use keel_testkit::{Answer, Origin, Proxy, get, require_peer};

/// A Redis server on a port that stays the same; killed on drop.
struct Redis {
    child: Child,
}

impl Redis {
    fn start(program: &Path, port: u16) -> Redis {
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port"]);
        command.args([&port.to_string(), "--save", "", "--appendonly", "no"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        let child = child.expect("a program that was found can be started");
        until_true("redis takes connections", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Redis { child }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn health(proxy: &Proxy) -> Answer {
    get(proxy.admin(), "/health")
}

fn status_of(answer: &Answer, check: &str) -> String {
    let status = answer.json()["checks"][check]["status"].clone();
    status.as_str().unwrap_or("none").to_owned()
}

/// A proxy whose health depends on these checks.
fn with_checks(origin: &Origin, pool_keys: &str, health: &str) -> Proxy {
    let health = format!("health: {{ {health} }}");
    Proxy::before_with(&[origin.address()], pool_keys, &health)
}

#[test]
fn a_redis_that_dies_and_comes_back() {
    let program = require_peer!("redis-server");
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
        free.local_addr()
            .expect("a bound socket has an address")
            .port()
    };
    let redis = Redis::start(&program, port);
    let origin = Origin::echo();
    let checks = format!(
        "version: 1.2.3, checks: {{ redis: {{ tcp: \"127.0.0.1:{port}\", send: \"PING\\r\\n\", expect: \"+PONG\", every: 200ms }} }}"
    );
    let proxy = with_checks(&origin, "", &checks);
    until_true("redis answers", || {
        status_of(&health(&proxy), "redis") == "healthy"
    });
    let well = health(&proxy).expect(200).json();
    assert_eq!(well["status"], "healthy");
    assert_eq!(well["version"], "1.2.3");
    assert!(well["uptime"].is_u64(), "{well}");
    assert_eq!(well["backends"]["healthy"], 1, "the other fields stay");
    assert!(well["metrics"]["requests"].is_u64(), "{well}");
    drop(redis);
    until_true("its end is seen", || health(&proxy).status() == 503);
    let ill = health(&proxy).expect(503).json();
    assert_eq!(ill["status"], "unhealthy");
    assert_eq!(ill["checks"]["redis"]["status"], "unhealthy");
    let reason = ill["checks"]["redis"]["reason"].as_str();
    assert!(
        reason.is_some_and(|why| why.contains("no connection")),
        "{ill}"
    );
    proxy.get("/").expect(200);
    let _redis = Redis::start(&program, port);
    until_true("it is back", || health(&proxy).status() == 200);
    proxy.await_log("health check `redis` passes again");
    assert_eq!(
        proxy.log().matches("health check `redis`").count(),
        2,
        "{}",
        proxy.log()
    );
}

#[test]
fn an_answer_that_is_another_one_or_none_fails() {
    // It takes connections and says something else than Redis does.
    let other = Origin::scripted(|stage| {
        stage.send("-ERR unknown\r\n");
    });
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
    let silent_at = silent.local_addr().expect("a bound socket has an address");
    let origin = Origin::echo();
    let other_at = other.address();
    let checks = format!(
        "checks: {{ other: {{ tcp: \"{other_at}\", send: PING, expect: {{ regex: \"^.PONG\" }}, every: 200ms }}, \
         silent: {{ tcp: \"{silent_at}\", send: PING, expect: PONG, every: 200ms, timeout: 300ms }}, \
         open: {{ tcp: \"{silent_at}\" }} }}"
    );
    let proxy = with_checks(&origin, "", &checks);
    for (check, status) in [
        ("other", "unhealthy"),
        ("silent", "unhealthy"),
        ("open", "healthy"),
    ] {
        until_true(check, || status_of(&health(&proxy), check) == status);
    }
    let told = health(&proxy).expect(503).json();
    assert!(told["version"].is_string(), "ours without another: {told}");
    assert!(told["checks"]["silent"]["reason"].is_string(), "{told}");
}

#[test]
fn a_disk_with_too_little_room() {
    let origin = Origin::echo();
    let proxy = with_checks(
        &origin,
        "",
        "checks: { room: { disk: /, free: 1B }, more: { disk: /, free: 100% } }",
    );
    until_true("both were measured", || {
        let now = health(&proxy);
        status_of(&now, "room") == "healthy" && status_of(&now, "more") == "unhealthy"
    });
    let told = health(&proxy).expect(503).json();
    let reason = told["checks"]["more"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("100.0 % are wanted"), "{reason}");
}

#[test]
fn a_pool_without_a_usable_server() {
    let [mut origin, other] = [Origin::named("a"), Origin::named("b")];
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ match: {{ path: /other/ }}, pool: other }}, {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [ \"{}\" ], max_fails: 1, fail_timeout: 60s }}, other: {{ servers: [ \"{}\" ] }} }}\n\
         health: {{ checks: {{ app: {{ pool: app }}, other: {{ pool: other }} }} }}\n",
        origin.address(),
        other.address()
    ));
    let well = health(&proxy).expect(200);
    assert_eq!(status_of(&well, "app"), "healthy");
    origin.stop();
    assert!(proxy.get("/").status() >= 500);
    let ill = health(&proxy).expect(503);
    assert_eq!(status_of(&ill, "app"), "unhealthy");
    assert_eq!(status_of(&ill, "other"), "healthy");
    assert_eq!(ill.json()["backends"]["healthy"], 1, "one server is well");
}

#[test]
fn without_checks_it_tells_of_the_servers_and_of_itself() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let fields = health(&proxy).expect(200).json();
    let mut names: Vec<_> = fields.as_object().expect("a map").keys().cloned().collect();
    names.sort();
    let wanted = [
        "backends", "checks", "metrics", "status", "uptime", "version",
    ];
    assert_eq!(names, wanted);
}
