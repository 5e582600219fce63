//! /health and /stats, with the fields that are specified.

use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Origin, Proxy, get};

#[test]
fn health_has_its_fields() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = Proxy::before(&[origins[0].address(), origins[1].address()]);
    for _ in 0..3 {
        proxy.get("/").expect(200);
    }
    let answer = get(proxy.admin(), "/health").expect(200);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"))
    );
    let health = answer.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(
        (&health["backends"]["healthy"], &health["backends"]["total"]),
        (&2.into(), &2.into())
    );
    assert_eq!(health["metrics"]["cache_hit_rate"], 0);
    assert!(health["metrics"]["errors"].is_u64());
    until_true("three requests are counted", || {
        get(proxy.admin(), "/health").json()["metrics"]["requests"] == 3
    });
    Ask::new(proxy.admin(), "PUT", "/health").send().expect(200);
}

#[test]
fn health_tells_when_no_backend_is_there() {
    let mut origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "max_fails: 1, fail_timeout: 60s", "");
    origin.stop();
    assert!(proxy.get("/").status() >= 500);
    let health = get(proxy.admin(), "/health").json();
    assert_eq!(health["status"], "unhealthy");
    assert_eq!(health["backends"]["healthy"], 0);
    until_true("the error is counted", || {
        get(proxy.admin(), "/health").json()["metrics"]["errors"] == 1
    });
}

#[test]
fn stats_have_their_fields() {
    let origin = Origin::echo();
    let at = origin.address();
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes:\n\
         \x20 - {{ name: api, match: {{ path: /api/ }}, pool: app }}\n\
         \x20 - {{ name: rest, pool: {{ app: 90, canary: 10 }} }}\n\
         pools: {{ app: {{ servers: [ {{ name: one, address: \"{at}\" }} ] }}, canary: {{ servers: [ {{ name: two, address: \"{at}\" }} ] }} }}\n"
    ));
    proxy.get("/api/x").expect(200);
    // The last request is counted down after its answer has been sent.
    until_true("nothing is active", || {
        get(proxy.admin(), "/stats").json()["backends"]["one"]["active_connections"] == 0
    });
    let stats = get(proxy.admin(), "/stats").expect(200).json();
    for key in [
        "requests",
        "errors",
        "cache_hits",
        "cache_misses",
        "active_sessions",
    ] {
        assert!(stats["load_balancer"][key].is_u64(), "no {key}: {stats}");
    }
    let one = &stats["backends"]["one"];
    assert_eq!(
        (&one["host"], &one["port"]),
        (&"127.0.0.1".into(), &at.port().into())
    );
    assert_eq!(
        (&one["health_status"], &one["active_connections"]),
        (&"healthy".into(), &0.into())
    );
    assert!(one["response_time_ms"].is_number());
    let rules = stats["routing_rules"].as_array().expect("a list");
    let names: Vec<_> = rules.iter().map(|rule| rule["name"].clone()).collect();
    assert_eq!(names, ["api", "rest"]);
    for rule in rules {
        assert!(
            rule["strategy"].is_string() && rule["pattern"].is_string(),
            "{rule}"
        );
        assert!(rule["backends"].is_u64(), "a count: {rule}");
    }
}

#[test]
fn active_connections_go_up_and_come_down() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let active = || {
        let stats = get(proxy.admin(), "/stats").json();
        let backends = stats["backends"].as_object().expect("a map").clone();
        backends
            .values()
            .filter_map(|backend| backend["active_connections"].as_u64())
            .sum::<u64>()
    };
    let mut wires: Vec<_> = (0..3).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.send("GET /delay/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until_true("three are active", || active() == 3);
    // One vanishes, two are answered: all are counted down.
    wires.pop().expect("three of them").reset();
    for wire in &mut wires {
        wire.answer().expect(200);
    }
    until_true("none is active", || active() == 0);
}

#[test]
fn the_admin_listener_knows_nothing_else() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    assert_eq!(get(proxy.admin(), "/").status(), 404);
    assert!(proxy.admin().ip().is_loopback());
    let before = origin.requests();
    get(proxy.admin(), "/api");
    assert_eq!(
        origin.requests(),
        before,
        "the admin listener does not proxy"
    );
}

#[test]
fn the_admin_listener_can_be_off() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "", "admin: off");
    assert!(proxy.listener_addresses("admin").is_empty());
    proxy.get("/").expect(200);
}
