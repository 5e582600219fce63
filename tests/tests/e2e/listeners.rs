//! Binding, several addresses, workers, limits of the process.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Origin, Proxy, Wire, get};

use crate::GET;

#[test]
fn several_listeners_and_several_binds() {
    let origin = Origin::echo();
    let more = "listeners:\n  web: { bind: [\"127.0.0.1:0\", \"[::1]:0\"] }\n  second: { bind: \"127.0.0.1:0\" }";
    let proxy = Proxy::before_with(&[origin.address()], "", more);
    let web = proxy.listener_addresses("web");
    assert!(
        web.len() == 2 && web.iter().any(SocketAddr::is_ipv6),
        "{web:?}"
    );
    for address in web.into_iter().chain([proxy.listener("second")]) {
        get(address, "/").expect(200);
    }
}

#[test]
fn a_port_in_use_is_an_error_with_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
    let at = taken.local_addr().expect("a bound socket has an address");
    let config = format!(
        "listeners: {{ web: {{ bind: \"{at}\" }} }}\nroutes: [ {{ respond: {{ body: ok }} }} ]\n"
    );
    Proxy::run_on("run", &config, &[])
        .expect(1)
        .says(&[&at.to_string()]);
    Proxy::run_on("check", &config, &[]).expect(0);
}

#[test]
fn a_privileged_port_is_an_error_with_exit_1_that_says_how_to_get_it() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024);
    if first <= 81 {
        println!("skipped: every user may bind port 81 here");
        return;
    }
    let to = ["--listen", "127.0.0.1:81", "--to", "127.0.0.1:9"];
    Proxy::run_unprivileged(&[&["proxy"], &to[..]].concat())
        .expect(1)
        .says(&["127.0.0.1:81", "privilege"]);
}

#[test]
fn an_address_that_is_not_ours_is_an_error_with_exit_1() {
    let config =
        "listeners: { web: { bind: \"192.0.2.1:8080\" } }\nroutes: [ { respond: { body: ok } } ]\n";
    Proxy::run_on("run", config, &[])
        .expect(1)
        .says(&["192.0.2.1:8080"]);
}

#[test]
fn all_workers_take_connections() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(
        &[origin.address()],
        "keepalive: { connections: 64 }",
        "workers: 2",
    );
    let mut wires: Vec<Wire> = (0..40).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.ask(GET).expect(200);
    }
    let metrics = get(proxy.admin(), "/metrics").text();
    assert!(
        metrics
            .lines()
            .any(|line| line == "evenkeel_process_workers 2"),
        "{metrics}"
    );
}

#[test]
fn the_limit_of_connections_holds_and_frees() {
    let origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "", "workers: 1\nconnections: 8");
    let mut wires: Vec<Wire> = (0..8).map(|_| proxy.wire()).collect();
    for wire in &mut wires {
        wire.ask(GET).expect(200);
    }
    // The ninth waits, or is refused; when one leaves there is room again.
    let mut ninth = Some(proxy.wire().with_deadline(Duration::from_secs(2)));
    until_true("a new connection is served", || {
        wires.truncate(7);
        let mut wire = ninth.take().unwrap_or_else(|| proxy.wire());
        let sent = wire.try_send(GET).is_ok();
        sent && wire
            .try_answer("GET")
            .is_ok_and(|answer| answer.status() == 200)
    });
    for wire in &mut wires {
        wire.ask(GET).expect(200);
    }
}

#[test]
fn a_full_file_table_slows_accepting_and_nothing_else() {
    let origin = Origin::echo();
    let scratch = keel_testkit::scratch::Scratch::new();
    let config =
        keel_testkit::proxy::simple(&[origin.address()], "", "workers: 1\nconnections: 1000");
    // Few descriptors: the hard limit is what the process may raise itself to.
    let proxy = Proxy::start_limited(scratch, &config, 64);
    let mut held: Vec<Wire> = Vec::new();
    for _ in 0..100 {
        if let Ok(wire) = Wire::try_connect(proxy.address()) {
            held.push(wire);
        }
    }
    let first = &mut held[0];
    let before = proxy.usage().cpu;
    let start = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let (spent, passed) = (proxy.usage().cpu - before, start.elapsed());
    assert!(spent < passed / 2, "it spins: {spent:?} in {passed:?}");
    // Connections that are there still get an answer of some kind, and afterwards all is well.
    first.send(GET);
    let _any = first.try_answer("GET");
    drop(held);
    until_true("it serves again", || {
        Wire::try_connect(proxy.address()).is_ok_and(|mut wire| {
            let _gone = wire.try_send(GET);
            wire.try_answer("GET")
                .is_ok_and(|answer| answer.status() == 200)
        })
    });
}

#[test]
fn the_shortest_useful_file_works() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         pools: {{ app: {{ servers: [\"{}\", \"{}\"] }} }}\n\
         routes: [ {{ pool: app }} ]\n",
        origins[0].address(),
        origins[1].address()
    ));
    let mut names: Vec<_> = (0..2)
        .map(|_| Ask::get(proxy.address(), "/").send().origin())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
}
