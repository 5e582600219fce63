//! Servers that are found by name, against a real name server on loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keel_testkit::scratch::Scratch;
use keel_testkit::wait::{until, until_true};
use keel_testkit::{Ask, Ca, DnsServer, Load, Mood, Origin, Proxy, Record, TlsServer, get};

use crate::GET;
use crate::lineage::{Lineage, await_alone};

/// Origins on 127.0.0.2 and following, all on one port, named by the last number of their address.
fn neighbours<const COUNT: usize>() -> [Origin; COUNT] {
    let mut port = 0;
    std::array::from_fn(|position| {
        let last = u8::try_from(position + 2).expect("few");
        let address = SocketAddr::from(([127, 0, 0, last], port));
        let origin = Origin::named_at(address, &last.to_string());
        port = origin.address().port();
        origin
    })
}

/// A file with one pool of these servers, whose names this name server knows.
fn config(dns: &DnsServer, servers: &str, pool_keys: &str) -> String {
    let at = dns.address();
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [ {servers} ], {pool_keys} }} }}\n\
         resolver: {{ servers: [\"{at}\"], timeout: 1s }}\n"
    )
}

fn all_of(name: &str, origin: &Origin) -> String {
    let port = origin.address().port();
    format!("{{ address: \"{name}:{port}\", resolve: all }}")
}

fn srv(priority: u16, weight: u16, target: &str, origin: &Origin) -> Record {
    Record::Srv {
        priority,
        weight,
        port: origin.address().port(),
        target: target.to_owned(),
    }
}

/// Which origin answered how many of some requests; all have to be answered.
fn shares(proxy: &Proxy, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares
            .entry(proxy.get("/").expect(200).origin())
            .or_default() += 1;
    }
    shares
}

/// Names of the servers that there are.
fn servers(proxy: &Proxy) -> Vec<String> {
    let stats = get(proxy.admin(), "/stats").json();
    let backends = stats["backends"].as_object().expect("a map");
    backends.keys().cloned().collect()
}

fn metric(proxy: &Proxy, name: &str) -> f64 {
    let text = get(proxy.admin(), "/metrics").expect(200).text();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or(-1.0)
}

#[test]
fn addresses_change_under_load_without_a_failed_request() {
    let dns = DnsServer::start();
    let origins: [Origin; 4] = neighbours();
    let port = origins[0].address().port();
    dns.set_a("app.test", &["127.0.0.2", "127.0.0.3"]);
    let proxy = Proxy::start(&config(&dns, &all_of("app.test", &origins[0]), ""));
    let named = |last: u8| format!("127.0.0.{last}:{port}");
    assert_eq!(servers(&proxy), [named(2), named(3)]);
    assert_eq!(shares(&proxy, 10).len(), 2);
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(50);
    for (ips, expected) in [
        (&["127.0.0.3", "127.0.0.4"][..], vec![named(3), named(4)]),
        (&["127.0.0.5"][..], vec![named(5)]),
        (
            &["127.0.0.5", "127.0.0.2", "127.0.0.4"][..],
            vec![named(2), named(4), named(5)],
        ),
    ] {
        dns.set_a("app.test", ips);
        until_true("the servers are those of the name", || {
            servers(&proxy) == expected
        });
        // What was on its way when the set changed may still arrive.
        load.await_more(20);
        let before: Vec<usize> = origins.iter().map(Origin::requests).collect();
        load.await_more(100);
        for (origin, before) in origins.iter().zip(before) {
            let is_there = ips.contains(&origin.address().ip().to_string().as_str());
            let got = origin.requests() - before;
            assert_eq!(
                got > 0,
                is_there,
                "{} got {got} with {ips:?}",
                origin.name()
            );
        }
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
}

#[test]
fn one_server_moves_to_another_address() {
    let dns = DnsServer::start();
    let [mut old, new] = neighbours();
    let port = old.address().port();
    dns.set_a("app.test", &["127.0.0.2"]);
    let servers = format!("{{ name: app, address: \"app.test:{port}\" }}");
    let proxy = Proxy::start(&config(&dns, &servers, "max_fails: 0"));
    assert_eq!(proxy.get("/").expect(200).origin(), "2");
    dns.set_a("app.test", &["127.0.0.3"]);
    proxy.await_log(&format!("127.0.0.3:{port}"));
    old.stop();
    for _ in 0..5 {
        assert_eq!(proxy.get("/").expect(200).origin(), "3");
    }
    assert_eq!(new.requests(), 5);
}

#[test]
fn weights_and_priorities_of_a_service() {
    let dns = DnsServer::start();
    let [mut a, mut b, c] = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    dns.set_a("host.test", &["127.0.0.1"]);
    let records = [
        srv(10, 30, "host.test", &a),
        srv(10, 10, "host.test", &b),
        srv(20, 1, "host.test", &c),
    ];
    dns.set("_app._tcp.test", 1, records);
    let servers = "{ srv: _app._tcp.test }";
    let proxy = Proxy::start(&config(&dns, servers, "max_fails: 1, fail_timeout: 1s"));
    let seen = shares(&proxy, 40);
    assert_eq!(
        seen,
        BTreeMap::from([("a".to_owned(), 30), ("b".to_owned(), 10)])
    );
    // The next priority is for when nobody of the first is there.
    a.stop();
    b.stop();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").expect(200).origin(), "c");
    }
    a.restart();
    b.restart();
    dns.set(
        "_app._tcp.test",
        1,
        [srv(10, 0, "host.test", &a), srv(10, 0, "host.test", &b)],
    );
    until_true("there are two servers", || self::servers(&proxy).len() == 2);
    until_true("both serve by equal shares", || {
        let seen = shares(&proxy, 10);
        seen.get("a") == Some(&5) && seen.get("b") == Some(&5)
    });
}

#[test]
fn a_server_that_vanishes_finishes_what_it_has() {
    let dns = DnsServer::start();
    let [a, b] = neighbours();
    dns.set_a("app.test", &["127.0.0.2"]);
    let proxy = Proxy::start(&config(&dns, &all_of("app.test", &a), ""));
    let mut wire = proxy.wire();
    wire.send("GET /delay/4000 HTTP/1.1\r\nHost: a\r\n\r\n");
    until_true("the request is there", || a.requests() == 1);
    dns.set_a("app.test", &["127.0.0.3"]);
    until_true("the next server serves", || {
        proxy.get("/").expect(200).origin() == "3"
    });
    let seen = a.requests();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").expect(200).origin(), "3");
    }
    assert_eq!(a.requests(), seen);
    assert_eq!(wire.answer().expect(200).origin(), "2");
    assert!(b.requests() >= 11);
    // The connection of the client lives on, with the servers of now.
    wire.send(GET);
    assert_eq!(wire.answer().expect(200).origin(), "3");
}

#[test]
fn the_last_answer_is_kept_while_the_name_server_fails() {
    let dns = DnsServer::start();
    let origins: [Origin; 2] = neighbours();
    dns.set_a("app.test", &["127.0.0.2"]);
    let proxy = Proxy::start(&config(&dns, &all_of("app.test", &origins[0]), ""));
    assert_eq!(metric(&proxy, "evenkeel_resolver_names"), 1.0);
    for mood in [Mood::Fails, Mood::Silent, Mood::Answers] {
        dns.mood(mood);
        if mood == Mood::Answers {
            dns.remove("app.test");
        }
        let failed = metric(&proxy, "evenkeel_resolver_lookups_total{result=\"failed\"}");
        until_true("it failed again", || {
            metric(&proxy, "evenkeel_resolver_lookups_total{result=\"failed\"}") > failed
        });
        assert_eq!(metric(&proxy, "evenkeel_resolver_failing_names"), 1.0);
        assert_eq!(proxy.get("/").expect(200).origin(), "2");
    }
    let warnings = proxy.log().matches("its last good answer is used").count();
    assert_eq!(warnings, 1, "told once:\n{}", proxy.log());
    dns.set_a("app.test", &["127.0.0.3"]);
    until("the new answer is used", || {
        Some(proxy.get("/").expect(200).origin()).filter(|name| name == "3")
    });
    until_true("nothing fails", || {
        metric(&proxy, "evenkeel_resolver_failing_names") == 0.0
    });
}

#[test]
fn a_start_does_not_wait_for_names_longer_than_it_was_told_to() {
    let dns = DnsServer::start();
    let [origin] = neighbours();
    dns.mood(Mood::Silent);
    let start = Instant::now();
    let proxy = Proxy::start(&config(&dns, &all_of("app.test", &origin), ""));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert!(matches!(proxy.get("/").status(), 502 | 503));
    dns.set_a("app.test", &["127.0.0.2"]);
    dns.mood(Mood::Answers);
    until("the server was found", || {
        Some(proxy.get("/")).filter(|answer| answer.status() == 200)
    });
}

#[test]
fn a_pool_of_a_reload_has_its_servers_at_once() {
    let dns = DnsServer::start();
    let [origin] = neighbours();
    dns.set_a("app.test", &["127.0.0.2"]);
    dns.set_a("new.test", &["127.0.0.2"]);
    let proxy = Proxy::start(&config(&dns, &all_of("app.test", &origin), ""));
    let file = proxy.dir().join("evenkeel.yaml");
    let before = std::fs::read_to_string(&file).expect("the file of the start");
    let port = origin.address().port();
    let routes = "routes: [ { match: { path: /all/ }, pool: all }, { match: { path: /one/ }, pool: one }, { pool: app } ]";
    let pools = format!(
        "pools: {{ all: {{ servers: [ {{ address: \"new.test:{port}\", resolve: all }} ] }}, \
         one: {{ servers: [ \"new.test:{port}\" ] }}, "
    );
    let after = before
        .replace("routes: [ { pool: app } ]", routes)
        .replace("pools: { ", &pools);
    assert_ne!(before, after);
    std::fs::write(&file, after).expect("the file of the start");
    proxy.signal(rustix::process::Signal::HUP);
    let address = proxy.address();
    until_true("the new routes are there, never without a server", || {
        let statuses = ["/all/", "/one/"].map(|path| get(address, path).status());
        assert_eq!(statuses, [200, 200]);
        servers(&proxy).len() == 3
    });
    for path in ["/all/", "/one/"] {
        get(address, path).expect(200);
    }
}

#[test]
fn one_server_takes_load_to_its_new_address() {
    let dns = DnsServer::start();
    let [old, new] = neighbours();
    let port = old.address().port();
    dns.set_a("app.test", &["127.0.0.2"]);
    let proxy = Proxy::start(&config(&dns, &format!("\"app.test:{port}\""), ""));
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(50);
    // Both live: it is the name alone that says where requests go.
    dns.set_a("app.test", &["127.0.0.3"]);
    until_true("the old address gets no more", || {
        let before = (old.requests(), new.requests());
        load.await_more(100);
        old.requests() == before.0 && new.requests() > before.1
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
}

#[test]
fn a_reload_with_load_keeps_found_servers_and_their_counters() {
    let dns = DnsServer::start();
    let origins: [Origin; 2] = neighbours();
    dns.set_a("app.test", &["127.0.0.2", "127.0.0.3"]);
    dns.set_a("first.test", &["127.0.0.2"]);
    let proxy = Proxy::start(&config(&dns, &all_of("app.test", &origins[0]), ""));
    let file = proxy.dir().join("evenkeel.yaml");
    let before = std::fs::read_to_string(&file).expect("the file of the start");
    let load = Load::start(proxy.address(), 4, &Ask::get(proxy.address(), "/"));
    load.await_more(50);
    // Another entry comes before: found servers go by entry, not by position alone.
    let port = origins[0].address().port();
    let more =
        format!("servers: [ {{ address: \"first.test:{port}\", resolve: all, weight: 0 }}, ");
    for round in 0..6 {
        let text = match round % 2 {
            0 => before.replacen("servers: [ ", &more, 1),
            _ => before.clone(),
        };
        std::fs::write(&file, text).expect("the file of the start");
        proxy.signal(rustix::process::Signal::HUP);
        let generation = f64::from(round + 2);
        until_true("the file is served", || {
            metric(&proxy, "evenkeel_config_generation") >= generation
        });
        load.await_more(50);
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    let label = format!(
        "evenkeel_server_requests_total{{pool=\"app\",server=\"127.0.0.3:{port}\",class=\"2xx\"}}"
    );
    let requests = origins[1].requests() as f64;
    until_true("every request is counted, over all reloads", || {
        metric(&proxy, &label) == requests
    });
}

#[test]
fn an_upgrade_takes_over_what_is_known_of_names() {
    let dns = DnsServer::start();
    let [origin, other] = neighbours();
    let port = origin.address().port();
    dns.set_a("app.test", &["127.0.0.2"]);
    dns.set("_app._tcp.test", 1, [srv(1, 1, "app.test", &origin)]);
    let config = config(&dns, &all_of("app.test", &origin), "");
    let routes = "routes: [ { match: { path: /srv/ }, pool: srv }, { match: { path: /one/ }, pool: one }, { pool: app } ]";
    let pools = format!(
        "pools: {{ srv: {{ servers: [ {{ srv: _app._tcp.test }} ] }}, one: {{ servers: [ \"app.test:{port}\" ] }}, "
    );
    let config = config
        .replace("routes: [ { pool: app } ]", routes)
        .replace("pools: { ", &pools);
    let mut lineage = Lineage::start(&config);
    let all_serve = |name: &str| {
        for path in ["/", "/srv/", "/one/"] {
            assert_eq!(
                get(lineage.address(), path).expect(200).origin(),
                name,
                "{path}"
            );
        }
    };
    all_serve("2");
    // A new process that had to ask would have no server now.
    dns.mood(Mood::Silent);
    lineage.upgrade();
    for _ in 0..5 {
        all_serve("2");
    }
    dns.mood(Mood::Answers);
    dns.set_a("app.test", &["127.0.0.3"]);
    let address = lineage.address();
    for path in ["/", "/srv/", "/one/"] {
        until_true("the new process asks as the old one did", || {
            get(address, path).expect(200).origin() == "3"
        });
    }
    assert!(other.requests() >= 3);
    await_alone(&mut lineage);
}

#[test]
fn explain_names_what_will_be_looked_up_and_asks_nobody() {
    let dns = DnsServer::start();
    let servers = "{ srv: _app._tcp.test }, { address: \"app.test:80\", resolve: all }";
    let config = config(&dns, servers, "");
    let exit = Proxy::run_on("explain", &config, &["GET", "http://a/"]).expect(0);
    for name in ["_app._tcp.test", "app.test:80"] {
        let line = format!("candidate {name} (stands for servers that are found");
        assert!(exit.stdout.contains(&line), "{}", exit.stdout);
    }
    Proxy::run_on("check", &config, &[]).expect(0);
    assert_eq!(dns.asked("app.test") + dns.asked("_app._tcp.test"), 0);
}

#[test]
fn found_servers_show_the_certificate_of_their_name() {
    let dns = DnsServer::start();
    dns.set_a("app.test", &["127.0.0.1"]);
    let ca = Ca::new("an authority of servers");
    let server = TlsServer::new(&ca.leaf(&["app.test"]));
    let origin = server.named("a");
    dns.set("_app._tcp.test", 1, [srv(0, 0, "app.test", &origin)]);
    for entry in [
        all_of("app.test", &origin),
        "{ srv: _app._tcp.test }".to_owned(),
    ] {
        let scratch = Scratch::new();
        scratch.write("ca.pem", ca.pem());
        let tls = "tls: { ca: \"@DIR@/ca.pem\" }, host: server";
        let proxy = Proxy::start_in(scratch, &config(&dns, &entry, tls), &[]);
        let seen = proxy.get("/").expect(200).json();
        let host = format!("app.test:{}", origin.address().port());
        assert!(
            seen.to_string().contains(&host),
            "the Host is the name's: {seen}"
        );
    }
    let names = server.handshakes().into_iter().map(|one| one.name);
    assert!(names.flatten().all(|name| name == "app.test"));
}
