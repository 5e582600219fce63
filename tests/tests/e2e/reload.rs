//! Reload: a file is taken whole or not at all, and what stays the same goes on.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use keel_testkit::proxy::simple;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::{SOON, until, until_true};
use keel_testkit::{Answer, Ask, Load, Origin, Proxy};
use rustix::process::Signal;
use serde_json::Value;

use crate::reload_connections::{reload, reload_again};
use crate::site::{OWN, Site, config};

fn stats(proxy: &Proxy) -> Value {
    Ask::get(proxy.admin(), "/stats").send().expect(200).json()
}

fn metric(proxy: &Proxy, line: &str) -> String {
    let text = Ask::get(proxy.admin(), "/metrics").send().expect(200);
    let text = text.text();
    let found = text.lines().find(|it| it.starts_with(line));
    let found = found.unwrap_or_else(|| panic!("no {line} in\n{text}"));
    found.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// A port that nobody has, for as long as nobody takes it.
fn free_port() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("its address")
}

fn write(proxy: &Proxy, config: &str) {
    let mut text = config.replace("@DIR@", &proxy.dir().display().to_string());
    text.push_str("\nadmin: { bind: \"127.0.0.1:0\" }\n");
    std::fs::write(proxy.dir().join("evenkeel.yaml"), text).expect("our own folder");
}

/// Puts a file in place that must not be taken, and gives what is said of it.
#[track_caller]
fn refused(proxy: &Proxy, config: &str) -> String {
    write(proxy, config);
    let refusals = |proxy: &Proxy| proxy.log().matches("reload refused").count();
    let before = refusals(proxy);
    proxy.signal(Signal::HUP);
    until_true("the reload is refused", || refusals(proxy) > before);
    let log = proxy.log();
    let (_, said) = log.rsplit_once("reload refused").expect("it was refused");
    said.to_owned()
}

#[test]
fn routes_pools_and_weights_are_taken_and_counters_run_on() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let first = simple(&[a.address()], "", "");
    let proxy = Proxy::start(&first);
    for _ in 0..5 {
        proxy.get("/").expect(200);
    }
    let text = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ name: two, match: {{ path: /two }}, pool: more }}, {{ name: all, pool: app }} ]\n\
         pools:\n  app: {{ servers: [ {{ address: \"{}\", weight: 3 }} ] }}\n  more: {{ servers: [ \"{}\" ] }}\n",
        a.address(),
        b.address()
    );
    reload(&proxy, &text);
    assert_eq!(proxy.get("/two").expect(200).origin(), "b");
    assert_eq!(proxy.get("/one").expect(200).origin(), "a");
    // The last one is counted after its answer has been sent.
    let stats = until("all are counted", || {
        Some(stats(&proxy)).filter(|it| it["load_balancer"]["requests"] == 7)
    });
    assert_eq!(stats["process"]["generation"], 2);
    assert_eq!(stats["process"]["reloads"]["done"], 1);
    assert_eq!(stats["process"]["last_reload"]["by"], "SIGHUP");
    let server = &stats["backends"][a.address().to_string()];
    assert_eq!(server["requests"], 6, "{server}");
    assert_eq!(server["weight"], 3);
    assert_eq!(metric(&proxy, "evenkeel_config_generation"), "2");
    assert_eq!(
        metric(&proxy, "evenkeel_reloads_total{result=\"done\"}"),
        "1"
    );
    // What is gone is served no more.
    reload(&proxy, &first);
    assert_eq!(proxy.get("/two").expect(200).origin(), "a");
}

#[test]
fn a_bad_file_is_refused_with_its_reasons_and_the_old_one_is_served() {
    let origin = Origin::named("a");
    let good = simple(&[origin.address()], "", "");
    let proxy = Proxy::start(&good);
    let said = refused(&proxy, &good.replace("pool: app", "pool: apq"));
    for part in ["E0", "evenkeel.yaml:", "apq", "app"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    let said = refused(&proxy, "listeners: [");
    assert!(said.contains("evenkeel.yaml"), "{said}");
    let regex = "routes: [ { match: { path: \"~(\" }, pool: app } ]\n";
    let said = refused(&proxy, &simple(&[origin.address()], "", regex));
    assert!(said.contains("regex") || said.contains("E0401"), "{said}");
    assert_eq!(proxy.get("/").expect(200).origin(), "a");
    let stats = stats(&proxy);
    assert_eq!(stats["process"]["generation"], 1);
    assert_eq!(stats["process"]["reloads"]["refused"], 3);
    assert_eq!(stats["process"]["last_reload"]["result"], "refused");
    assert_eq!(
        metric(&proxy, "evenkeel_reloads_total{result=\"refused\"}"),
        "3"
    );
    // The file is gone.
    std::fs::remove_file(proxy.dir().join("evenkeel.yaml")).expect("our own file");
    proxy.signal(Signal::HUP);
    until_true("the fourth is refused", || {
        proxy.log().matches("reload refused").count() == 4
    });
    assert_eq!(proxy.get("/").expect(200).origin(), "a");
    reload(&proxy, &good);
    assert_eq!(proxy.get("/").expect(200).origin(), "a");
}

#[test]
fn an_address_that_is_taken_refuses_all_and_leaves_nothing_open() {
    let origin = Origin::named("a");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = taken.local_addr().expect("its address");
    let free = free_port();
    let proxy = Proxy::before(&[origin.address()]);
    let listeners = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }}, new: {{ bind: \"{free}\" }}, busy: {{ bind: \"{busy}\" }} }}"
    );
    let more = format!("{listeners}\nroutes: [ {{ respond: {{ status: 204 }} }} ]");
    let said = refused(&proxy, &simple(&[origin.address()], "", &more));
    assert!(
        said.contains("listener `busy`") && said.contains("in use"),
        "{said}"
    );
    assert!(TcpStream::connect(free).is_err(), "opened and closed again");
    proxy.get("/").expect(200);
    drop(taken);
    reload_again(&proxy);
    for address in [proxy.address(), free, busy] {
        Ask::get(address, "/").send().expect(204);
    }
}

#[test]
fn listeners_come_go_and_change_their_names() {
    let origin = Origin::named("a");
    let (one, two) = (free_port(), free_port());
    let with = |listeners: &str| {
        let text = format!("listeners: {{ web: {{ bind: \"127.0.0.1:0\" }}{listeners} }}");
        simple(&[origin.address()], "", &text)
    };
    let proxy = Proxy::start(&with(""));
    reload(&proxy, &with(&format!(", new: {{ bind: \"{one}\" }}")));
    let ask = |address: SocketAddr| Ask::get(address, "/").send();
    ask(one).expect(200);
    // Another name for the same address keeps the socket: nobody is turned away.
    let load = Load::start(one, 2, &Ask::get(one, "/").with("Connection", "close"));
    load.await_more(20);
    reload(&proxy, &with(&format!(", renamed: {{ bind: \"{one}\" }}")));
    load.await_more(20);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(
        metric(
            &proxy,
            "evenkeel_listener_requests_total{listener=\"renamed\"}"
        ) != "0"
    );
    reload(&proxy, &with(&format!(", renamed: {{ bind: \"{two}\" }}")));
    ask(two).expect(200);
    until_true("the old address is closed", || {
        TcpStream::connect(one).is_err()
    });
    reload(&proxy, &with(""));
    until_true("the listener is gone", || TcpStream::connect(two).is_err());
    reload(&proxy, &with(&format!(", renamed: {{ bind: \"{two}\" }}")));
    ask(two).expect(200);
    proxy.get("/").expect(200);
}

#[test]
fn an_address_moves_from_one_listener_to_another_under_load() {
    let origin = Origin::named("a");
    let (one, two, moves) = (free_port(), free_port(), free_port());
    let with = |first: &str, second: &str| {
        let text = format!(
            "workers: 2\nlisteners: {{ web: {{ bind: \"127.0.0.1:0\" }}, one: {{ bind: [\"{one}\"{first}] }}, two: {{ bind: [\"{two}\"{second}] }} }}"
        );
        simple(&[origin.address()], "", &text)
    };
    let there = format!(", \"{moves}\"");
    let proxy = Proxy::start(&with(&there, ""));
    let load = Load::start(moves, 3, &Ask::get(moves, "/").with("Connection", "close"));
    load.await_more(20);
    for turn in 0..6 {
        match turn % 2 {
            0 => reload(&proxy, &with("", &there)),
            _ => reload(&proxy, &with(&there, "")),
        }
        load.await_more(20);
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
    for listener in ["one", "two"] {
        let line = format!("evenkeel_listener_requests_total{{listener=\"{listener}\"}}");
        assert_ne!(metric(&proxy, &line), "0", "{listener} had its turns");
    }
}

#[test]
fn health_goes_on_by_name() {
    let good = Origin::named("good");
    let mut dead = Origin::named("dead");
    let at = dead.address();
    dead.stop();
    let with = |path: &str| {
        let text = format!("routes: [ {{ match: {{ path: {path} }}, pool: app }} ]");
        let keys = "health: { http: { path: / }, every: 1s, every_down: 1s, fall: 1, timeout: 1s }";
        simple(&[good.address(), at], keys, &text)
    };
    let proxy = Proxy::start(&with("/a"));
    let server = |proxy: &Proxy| stats(proxy)["backends"][at.to_string()].clone();
    until_true("its checks fail", || server(&proxy)["state"] == "down");
    reload(&proxy, &with("/b"));
    let after = server(&proxy);
    assert_eq!(after["state"], "down", "{after}");
    assert_eq!(after["by"], "check");
    assert!(
        after["why"]
            .as_str()
            .is_some_and(|why| why.contains("no connection")),
        "{after}"
    );
    assert!(after["check"]["failed"].as_u64() >= Some(1), "{after}");
    assert_eq!(
        metric(
            &proxy,
            &format!("evenkeel_server_up{{pool=\"app\",server=\"{at}\"}}")
        ),
        "0"
    );
    for _ in 0..10 {
        assert_eq!(proxy.get("/b").expect(200).origin(), "good");
    }
    dead.restart();
    until_true("it is up again", || server(&proxy)["state"] == "up");
}

#[test]
fn certificates_change_and_what_stays_is_resumed() {
    let origin = Origin::named("a");
    let site = Site::before(&[origin.address()], OWN);
    let client = site.client();
    let asks = |client: &keel_testkit::TlsClient| {
        let mut wire = client.connect(site.address());
        let answer: Answer = Ask::get(site.address(), "/").send_on(&mut wire).expect(200);
        (answer.origin(), wire.tls().resumed)
    };
    assert_eq!(asks(&client), ("a".to_owned(), false));
    let text = config(&[origin.address()], "", OWN, "show_backend: true");
    reload(&site.proxy, &text);
    assert!(asks(&client).1, "the same settings keep their sessions");
    let other = site.ca.leaf(&crate::site::NAMES);
    for (name, content) in [
        ("other.pem", &other.cert_pem),
        ("other.key", &other.key_pem),
    ] {
        std::fs::write(site.proxy.dir().join(name), content).expect("our own folder");
    }
    let said = refused(&site.proxy, &text.replace("site.key", "none.key"));
    assert!(said.contains("none.key"), "{said}");
    let shown = || site.wire().tls().certificates.clone();
    let before = shown();
    let text = text.replace("site.pem", "other.pem");
    reload(&site.proxy, &text.replace("site.key", "other.key"));
    assert_ne!(shown(), before, "the new one is shown");
}

#[test]
fn a_watched_file_is_reloaded_when_it_settles() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let with = |origin: &Origin| simple(&[origin.address()], "", "reload: { watch: true }");
    let proxy = Proxy::start(&with(&a));
    let done = || {
        proxy
            .log()
            .matches("configuration reloaded by=file watch")
            .count()
    };
    // Written in place.
    write(&proxy, &with(&b));
    until_true("the change is taken", || done() == 1);
    assert_eq!(proxy.get("/").expect(200).origin(), "b");
    // A new file in the old one's place.
    let file = proxy.dir().join("evenkeel.yaml");
    let text = std::fs::read_to_string(&file).expect("our own file");
    let beside = proxy.dir().join("beside.yaml");
    std::fs::write(
        &beside,
        text.replace(&b.address().to_string(), &a.address().to_string()),
    )
    .expect("our own folder");
    std::fs::rename(&beside, &file).expect("the same folder");
    until_true("the new file is taken", || done() == 2);
    assert_eq!(proxy.get("/").expect(200).origin(), "a");
    // A bad one is told of once, and left alone.
    std::fs::write(&file, "listeners: [").expect("our own file");
    until_true("the bad file is refused", || {
        proxy.log().contains("reload refused")
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(proxy.log().matches("reload refused").count(), 1);
    assert_eq!(proxy.get("/").expect(200).origin(), "a");
    write(&proxy, &with(&b));
    until_true("the mended file is taken", || done() == 3);
    assert_eq!(proxy.get("/").expect(200).origin(), "b");
}

/// A volume of Kubernetes: the file is a link into `..data`, a link that is swapped.
#[test]
fn a_swapped_link_is_a_change() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let scratch = Scratch::new();
    let dir = scratch.path().to_path_buf();
    let text = |origin: &Origin| simple(&[origin.address()], "", "reload: { watch: true }");
    for (folder, origin) in [("..1", &a), ("..2", &b)] {
        std::fs::create_dir(dir.join(folder)).expect("a folder");
        std::fs::write(dir.join(folder).join("real.yaml"), text(origin)).expect("a file");
    }
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, dir.join(at)).expect("a link");
    link("..1", "..data");
    link("..data/real.yaml", "linked.yaml");
    let main = "include: [ linked.yaml ]\n";
    let proxy = Proxy::start_in(scratch, main, &[]);
    assert_eq!(proxy.get("/").expect(200).origin(), "a");
    link("..2", "..next");
    std::fs::rename(dir.join("..next"), dir.join("..data")).expect("the same folder");
    until_true("the change is taken", || {
        proxy.log().contains("configuration reloaded by=file watch")
    });
    assert_eq!(proxy.get("/").expect(200).origin(), "b");
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let with = |turn: usize| {
        let both = [a.address(), b.address()];
        let servers = if turn.is_multiple_of(3) {
            &both[..1]
        } else {
            &both[..]
        };
        let limits = format!("keepalive: {{ connections: {} }}", 1 + turn % 5);
        simple(servers, &limits, "workers: 2")
    };
    let proxy = Proxy::start(&with(0));
    let kept = Load::start(proxy.address(), 4, &proxy.ask("/"));
    let closed = Load::start(
        proxy.address(),
        2,
        &proxy.ask("/").with("Connection", "close"),
    );
    for turn in 1..=100 {
        reload(&proxy, &with(turn));
    }
    kept.await_more(50);
    closed.await_more(50);
    for report in [kept.stop(), closed.stop()] {
        assert_eq!(report.failed, 0, "{report:?}");
        assert!(report.by_origin.len() == 2, "{report:?}");
    }
    assert_eq!(stats(&proxy)["process"]["generation"], 101);
    proxy.terminate();
    proxy.wait(SOON).expect(0);
}

#[test]
fn what_needs_a_restart_is_told() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address()]);
    let text = simple(&[origin.address()], "", "workers: 3\ndrain_timeout: 7s");
    reload(&proxy, &text);
    let line = proxy.await_log("after a restart");
    assert!(
        line.contains("workers") && line.contains("drain_timeout"),
        "{line}"
    );
    proxy.get("/").expect(200);
}

#[test]
fn access_logs_change() {
    let origin = Origin::named("a");
    let with = |name: &str| {
        let log =
            format!("access_log: {{ to: \"file:@DIR@/{name}.log\", format: \"$request_uri\" }}");
        simple(&[origin.address()], "", &log)
    };
    let proxy = Proxy::start(&with("one"));
    let read = |name: &str| std::fs::read_to_string(proxy.dir().join(name)).unwrap_or_default();
    proxy.get("/first").expect(200);
    reload(&proxy, &with("two"));
    proxy.get("/second").expect(200);
    until("both are written", || {
        let both = (read("one.log"), read("two.log"));
        (both == ("/first\n".to_owned(), "/second\n".to_owned())).then_some(())
    });
    let said = refused(&proxy, &with("none/such"));
    assert!(said.contains("none/such.log"), "{said}");
    proxy.get("/third").expect(200);
    until("the log goes on", || {
        read("two.log").contains("/third").then_some(())
    });
    // Rotated: only what the configuration still has is made anew.
    for name in ["one.log", "two.log"] {
        std::fs::remove_file(proxy.dir().join(name)).expect("a log");
    }
    proxy.signal(Signal::USR1);
    until("it is made anew", || {
        proxy.get("/fourth").expect(200);
        read("two.log").contains("/fourth").then_some(())
    });
    assert!(!proxy.dir().join("one.log").exists());
}

#[test]
fn without_a_file_there_is_nothing_to_reload() {
    let origin = Origin::named("a");
    let to = origin.address().to_string();
    let proxy = Proxy::with_args(&[
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &to,
        "--admin",
        "off",
    ]);
    proxy.signal(Signal::HUP);
    proxy.await_log("not started from a file");
    proxy.get("/").expect(200);
}
