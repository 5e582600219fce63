//! Limits and times on their way to the data plane.

use keel_control::Compiled;

use crate::compiled;

fn with(listener: &str, top: &str) -> Compiled {
    compiled(&format!(
        "listeners: {{ web: {{ bind: \":80\"{listener} }}, plain: {{ bind: \":81\" }} }}\n\
         routes: [ {{ respond: {{ status: 204 }} }} ]\n{top}\n"
    ))
}

/// Rates of the two listeners; 0 is none.
fn rates(listener: &str, top: &str) -> Vec<u64> {
    let compiled = with(listener, top);
    let listeners = compiled.snapshot.listeners.iter();
    listeners.map(|plan| plan.body_rate_min).collect()
}

#[test]
fn the_rate_of_bodies() {
    assert_eq!(rates("", ""), [64, 64]);
    assert_eq!(rates("", "limits: { body_rate: 2KB }"), [2048, 2048]);
    assert_eq!(rates("", "limits: { body_rate: off }"), [0, 0]);
    let own = ", limits: { body_rate: off }";
    assert_eq!(rates(own, "limits: { body_rate: 1B }"), [0, 1]);
    let own = ", limits: { body_rate: 10B }";
    assert_eq!(rates(own, "limits: { body_rate: off }"), [10, 0]);
}

#[test]
fn heads_fit_into_a_buffer() {
    let head = |size: &str| {
        let text = format!(
            "listeners: {{ web: {{ bind: \":80\", limits: {{ head: {size}, target: {size} }} }} }}\n\
             routes: [ {{ respond: {{ status: 204 }} }} ]\n"
        );
        keel_config::load_str(&text).is_ok()
    };
    assert!(head("128KiB"));
    assert!(!head("129KiB"));
    let limits = &with("", "limits: { head: 128KiB }").snapshot.listeners[0].head_limits;
    assert_eq!(limits.head_bytes_max, 128 * 1024);
}

/// The pool's time is what holds unless the route has its own; that for reading says nothing of tunnels.
#[test]
fn the_idle_time_of_tunnels() {
    let times = |pool: &str, route: &str| {
        let compiled = compiled(&format!(
            "listeners: {{ web: {{ bind: \":80\" }} }}\n\
             pools: {{ app: {{ servers: [\"127.0.0.1:9001\"]{pool} }} }}\n\
             routes: [ {{ pool: app{route} }} ]\n"
        ));
        let snapshot = &compiled.snapshot;
        (
            snapshot.pools[0].tunnel_timeout_ms,
            snapshot.routes[0].timeouts.tunnel_ms,
        )
    };
    let hour = 3_600_000;
    assert_eq!(times("", ""), (hour, None));
    assert_eq!(
        times(", timeouts: { read: 5s }", ", timeouts: { read: 9s }"),
        (hour, None)
    );
    assert_eq!(
        times(", timeouts: { tunnel: 2h }", ", timeouts: { tunnel: 30s }"),
        (2 * hour, Some(30_000))
    );
}

#[test]
fn idle_connections_are_kept_for_each_server() {
    let compiled = compiled(
        "listeners: { web: { bind: \":80\" } }\n\
         pools: { app: { servers: [\"127.0.0.1:1\", \"127.0.0.1:2\"], keepalive: { connections: 7 } } }\n\
         routes: [ { pool: app } ]\n",
    );
    let keep_alive = &compiled.snapshot.pools[0].pool.keep_alive;
    assert_eq!(keep_alive.connections_max, 7);
}

#[test]
fn a_log_goes_to_an_address() {
    let log = |to: &str| {
        keel_config::load_str(&format!(
            "listeners: {{ web: {{ bind: \":80\" }} }}\naccess_log: {{ to: \"{to}\" }}\n\
             routes: [ {{ respond: {{ status: 204 }} }} ]\n"
        ))
    };
    for to in ["syslog:udp:192.0.2.1", "syslog:udp:[2001:db8::1]:10514"] {
        let (model, _) = log(to).expect("loads");
        let compiled = keel_control::compile(&model).expect("compiles");
        assert_eq!(compiled.logs.len(), 1, "{to}");
    }
    let found = log("syslog:udp:logs.internal").expect_err("refused");
    assert_eq!(found[0].code.id, "E0211");
}
