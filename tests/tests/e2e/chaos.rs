//! Servers that come and go under load: not one request fails that another server could have answered.

use std::net::SocketAddr;
use std::time::Duration;

use keel_testkit::{Ask, Load, Origin, Proxy};

fn three() -> (Vec<Origin>, Vec<SocketAddr>) {
    let origins: Vec<Origin> = ["a", "b", "c"].map(Origin::named).into();
    let addresses = origins.iter().map(Origin::address).collect();
    (origins, addresses)
}

/// Kills and restarts each server in turn while the load runs.
fn kill_and_restart(proxy: &Proxy, origins: &mut [Origin], ask: &Ask) {
    let load = Load::start(proxy.address(), 6, ask);
    load.await_more(100);
    for _ in 0..3 {
        for origin in origins.iter_mut() {
            origin.stop();
            load.await_more(60);
            origin.restart();
            load.await_more(60);
        }
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(report.by_origin.len(), 3, "{report:?}");
}

#[test]
fn servers_are_killed_and_restarted() {
    let (mut origins, addresses) = three();
    let keys = "max_fails: 1, fail_timeout: 200ms";
    let proxy = Proxy::before_with(&addresses, keys, "workers: 2");
    let ask = proxy.ask("/");
    kill_and_restart(&proxy, &mut origins, &ask);
}

#[test]
fn servers_are_killed_while_they_work_on_requests() {
    let (mut origins, addresses) = three();
    let keys = "max_fails: 1, fail_timeout: 200ms";
    let proxy = Proxy::before_with(&addresses, keys, "workers: 2");
    let ask = proxy.ask("/delay/5");
    kill_and_restart(&proxy, &mut origins, &ask);
}

#[test]
fn servers_are_killed_under_every_algorithm() {
    for balance in [
        "least_conn",
        "random",
        "power_of_two",
        "ip_hash",
        "least_time",
        "weighted",
    ] {
        let (mut origins, addresses) = three();
        let keys = format!("balance: {balance}, max_fails: 1, fail_timeout: 200ms");
        let proxy = Proxy::before_with(&addresses, &keys, "");
        let load = Load::start(proxy.address(), 4, &proxy.ask("/"));
        load.await_more(30);
        for origin in &mut origins {
            origin.stop();
            load.await_more(30);
            origin.restart();
            load.await_more(30);
        }
        let report = load.stop();
        assert_eq!(report.failed, 0, "{balance}: {report:?}");
    }
}

#[test]
fn posts_are_lost_only_where_they_may_have_been_acted_upon() {
    let (mut origins, addresses) = three();
    let keys = "max_fails: 1, fail_timeout: 200ms";
    let proxy = Proxy::before_with(&addresses, keys, "");
    let load = Load::start(proxy.address(), 4, &Ask::post(proxy.address(), "/", "body"));
    load.await_more(50);
    origins[0].stop();
    // Requests in flight at the moment of the kill may fail; once it is dead nothing may.
    load.await_more(50);
    let settled = load.so_far().failed;
    load.await_more(200);
    let report = load.stop();
    assert_eq!(report.failed, settled, "{report:?}");
    assert!(settled <= 8, "{report:?}");
}

#[test]
fn all_servers_die_and_come_back() {
    let (mut origins, addresses) = three();
    let keys = "max_fails: 1, fail_timeout: 500ms";
    let proxy = Proxy::before_with(&addresses, keys, "");
    for origin in &mut origins {
        origin.stop();
    }
    assert!(proxy.get("/").status() >= 502);
    for origin in &mut origins {
        origin.restart();
    }
    std::thread::sleep(Duration::from_millis(600));
    let load = Load::start(proxy.address(), 4, &proxy.ask("/"));
    load.await_more(200);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(report.by_origin.len(), 3, "{report:?}");
}

#[test]
fn an_hour_of_odd_clients_leaves_nothing_behind() {
    let (_origins, addresses) = three();
    let proxy = Proxy::before_with(&addresses, "", "");
    let load = Load::start(proxy.address(), 2, &proxy.ask("/"));
    load.await_more(50);
    let before = proxy.usage();
    for n in 0..600_u32 {
        let Ok(mut wire) = keel_testkit::Wire::try_connect(proxy.address()) else {
            continue;
        };
        let _gone = match n % 6 {
            0 => wire.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => wire.try_send("GET / HTT"),
            2 => wire.try_send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"),
            3 => wire.try_send("GET /bytes/1000000 HTTP/1.1\r\nHost: a\r\n\r\n"),
            4 => wire.try_send("\0\u{1}\u{2}"),
            _ => Ok(()),
        };
        if n % 2 == 0 {
            wire.reset();
        }
    }
    load.await_more(50);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    keel_testkit::wait::until_true("descriptors are back", || {
        proxy.usage().descriptors <= before.descriptors + 24
    });
    let grown = proxy.usage().rss_bytes.saturating_sub(before.rss_bytes);
    assert!(grown < 24 << 20, "memory grew by {} KiB", grown / 1024);
}
