//! Reloads, and what lives on over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keel_testkit::wait::{SOON, until, until_true};
use keel_testkit::{Ask, H2Origin, H2Wire, Load, Origin, Proxy, TlsClient, Wire};
use rustix::process::Signal;

use crate::GET;
use crate::protect::metric;

/// Puts another configuration in the place of the one in force and waits until it is served.
#[track_caller]
pub fn reload(proxy: &Proxy, config: &str) {
    write(proxy, config);
    reload_again(proxy);
}

fn write(proxy: &Proxy, config: &str) {
    let dir = proxy.dir().display().to_string();
    let mut text = config.replace("@DIR@", &dir);
    if !text.lines().any(|line| line.starts_with("admin:")) {
        text.push_str("\nadmin: { bind: \"127.0.0.1:0\" }\n");
    }
    std::fs::write(proxy.dir().join("evenkeel.yaml"), text).expect("our own folder");
}

/// Reads the file anew.
#[track_caller]
pub fn reload_again(proxy: &Proxy) {
    let done = |proxy: &Proxy| proxy.log().matches("configuration reloaded").count();
    let before = done(proxy);
    proxy.signal(Signal::HUP);
    until_true("the configuration is reloaded", || done(proxy) > before);
}

/// Waits until the proxy has taken so many connections of a listener: what is not taken before a reload, is taken after it.
fn until_taken(proxy: &Proxy, listener: &str, count: u64) {
    let series = format!("evenkeel_listener_connections_accepted_total{{listener=\"{listener}\"}}");
    until_true("they are taken", || metric(proxy, &series) >= count);
}

/// A file with these listeners, and one pool.
fn config(listeners: &str, origin: SocketAddr, turn: usize) -> String {
    // Something differs each time.
    let weight = turn % 7 + 1;
    format!(
        "listeners: {{ {listeners} }}\nworkers: 2\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [ {{ name: a, address: \"{origin}\", weight: {weight} }} ] }} }}\n"
    )
}

const WEB: &str = "web: { bind: \"127.0.0.1:0\" }";

/// A frame of a client, masked with zeroes (RFC 6455 section 5.2), and what the server sends back.
fn frame(text: &str) -> (Vec<u8>, Vec<u8>) {
    let len = u8::try_from(text.len()).expect("short");
    let masked = [&[0x81, 0x80 | len, 0, 0, 0, 0], text.as_bytes()].concat();
    (masked, [&[0x81, len], text.as_bytes()].concat())
}

fn open_websocket(address: SocketAddr) -> Wire {
    let mut wire = Wire::connect(address);
    let ask = Ask::get(address, "/chat")
        .with("Connection", "Upgrade")
        .with("Upgrade", "websocket")
        .with("Sec-WebSocket-Version", "13")
        .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    wire.send(ask.to_bytes());
    assert_eq!(wire.head("GET").expect("an answer").status, 101);
    wire
}

#[test]
fn a_thousand_websockets_live_through_a_hundred_reloads() {
    const WEBSOCKETS: usize = 1_000;
    const RELOADS: usize = 100;

    let origin = Origin::websocket();
    let proxy = Proxy::start(&config(WEB, origin.address(), 0));
    let mut all: Vec<Wire> = (0..WEBSOCKETS)
        .map(|_| open_websocket(proxy.address()))
        .collect();
    for turn in 1..=RELOADS {
        reload(&proxy, &config(WEB, origin.address(), turn));
        let at = turn * 7 % WEBSOCKETS;
        let (sent, wanted) = frame(&format!("turn {turn}"));
        all[at].send(sent);
        assert_eq!(all[at].bytes(wanted.len()), wanted);
    }
    for (at, wire) in all.iter_mut().enumerate() {
        let (sent, wanted) = frame(&format!("still here {at}"));
        wire.send(sent);
        assert_eq!(wire.bytes(wanted.len()), wanted, "{at}");
    }
    assert_eq!(origin.open(), WEBSOCKETS);
}

#[test]
fn kept_connections_streams_and_downloads_live_on() {
    const BYTES: usize = 64 << 20;

    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(WEB, origin.address(), 0));
    let mut kept = proxy.wire();
    kept.ask(GET).expect(200);
    let mut streams = H2Wire::connect(proxy.address());
    assert_eq!(streams.get("/").status, 200);
    let waiting = streams.ask("GET", "/delay/1500", &[], true);
    let mut download = proxy.wire();
    download.send(Ask::get(proxy.address(), &format!("/bytes/{BYTES}")).to_bytes());
    let head = download.head("GET").expect("a head");
    assert_eq!(head.status, 200);
    for turn in 1..=10 {
        reload(&proxy, &config(WEB, origin.address(), turn));
        kept.ask(GET).expect(200);
        assert_eq!(streams.get("/").status, 200);
    }
    assert_eq!(download.bytes(BYTES).len(), BYTES);
    assert_eq!(streams.answer(waiting).status, 200);
    assert!(streams.goaways().is_empty(), "{:?}", streams.goaways());
}

#[test]
fn requests_under_load_do_not_notice_a_hundred_reloads() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let text = |turn: usize| {
        let [a, b] = [&origins[0], &origins[1]].map(Origin::address);
        // Servers change places, names and weights.
        let (name, weight) = (turn % 3, turn % 5 + 1);
        format!(
            "listeners: {{ {WEB} }}\nworkers: 2\nroutes: [ {{ pool: app }} ]\npools: {{ app: {{ servers: [ \
             {{ name: s{name}, address: \"{a}\", weight: {weight} }}, {{ name: t{weight}, address: \"{b}\" }} ] }} }}\n"
        )
    };
    let proxy = Proxy::start(&text(0));
    let load = Load::start(proxy.address(), 8, &proxy.ask("/"));
    load.await_more(100);
    for turn in 1..=100 {
        reload(&proxy, &text(turn));
    }
    load.await_more(100);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:?}");
}

#[test]
fn connections_to_servers_that_are_gone_are_closed() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let proxy = Proxy::start(&config(WEB, old.address(), 0));
    for _ in 0..4 {
        assert_eq!(proxy.get("/").expect(200).origin(), "old");
    }
    assert!(old.open() > 0, "kept for the next request");
    // The name stays and the address changes: what is open goes elsewhere than is asked for.
    reload(&proxy, &config(WEB, new.address(), 0));
    for _ in 0..4 {
        assert_eq!(proxy.get("/").expect(200).origin(), "new");
    }
    until_true("the idle connections are closed", || old.open() == 0);
}

#[test]
fn nothing_goes_in_clear_once_tls_is_asked_for() {
    let origin = Origin::named("a");
    let at = origin.address();
    let text = |keys: &str| {
        format!(
            "listeners: {{ {WEB} }}\nworkers: 1\nroutes: [ {{ pool: app }} ]\n\
             pools: {{ app: {{ {keys} servers: [ {{ name: a, address: \"{at}\" }} ] }} }}\n"
        )
    };
    let proxy = Proxy::start(&text(""));
    proxy.get("/").expect(200);
    assert_eq!(origin.open(), 1, "kept");
    reload(&proxy, &text("tls: { verify: false },"));
    until_true("the connection in clear is closed", || origin.open() == 0);
    proxy.get("/").expect_error(502, "Backend-Unavailable");
    assert_eq!(origin.requests(), 1);
    // What comes now is a ClientHello, which the origin's reader takes for a fault.
    assert!(!origin.take_faults().is_empty());
    reload(&proxy, &text(""));
    proxy.get("/").expect(200);
}

#[test]
fn a_listener_comes_and_goes() {
    let origin = Origin::named("a");
    let port = free_port();
    let more = format!("{WEB}, more: {{ bind: \"{port}\" }}");
    let proxy = Proxy::start(&config(WEB, origin.address(), 0));
    assert!(Wire::try_connect(port).is_err());
    reload(&proxy, &config(&more, origin.address(), 0));
    let mut idle = Wire::connect(port);
    idle.ask(GET).expect(200);
    let mut busy = Wire::connect(port);
    busy.send(Ask::get(port, "/delay/1000").to_bytes());
    let mut streams = H2Wire::connect(port);
    let stream = streams.ask("GET", "/delay/1000", &[], true);
    let mut fresh = Wire::connect(port);
    until_true("all run", || origin.requests() == 3);
    until_taken(&proxy, "more", 4);
    reload(&proxy, &config(WEB, origin.address(), 0));
    fresh.send(GET);
    let last = fresh.answer().expect(200);
    assert_eq!(last.header("connection").as_deref(), Some("close"));
    idle.expect_close();
    let answer = busy.answer().expect(200);
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    busy.expect_close();
    assert_eq!(streams.answer(stream).status, 200);
    let _ = streams.await_goaway();
    until_true("nobody listens there", || Wire::try_connect(port).is_err());
    // The same name again, at the same place.
    reload(&proxy, &config(&more, origin.address(), 0));
    let mut again = until("it listens again", || Wire::try_connect(port).ok());
    again.ask(GET).expect(200);
    again.ask(GET).expect(200);
}

#[test]
fn who_is_connected_gets_no_routes_of_another_address_or_other_terms() {
    let origin = Origin::named("a");
    let at = origin.address();
    let (a, b) = (free_port(), free_port());
    let text = |listeners: &str, first: &str| {
        format!(
            "listeners: {{ {listeners} }}\nworkers: 2\nroutes: [ {first} {{ pool: app }} ]\n\
             pools: {{ app: {{ servers: [ \"{at}\" ] }} }}\n"
        )
    };
    // A listener is split: who came by the public address must not see what is internal.
    let proxy = Proxy::start(&text(&format!("web: {{ bind: [\"{a}\", \"{b}\"] }}"), ""));
    let mut streams = H2Wire::connect(b);
    let running = streams.ask("GET", "/delay/1000", &[], true);
    let mut kept = Wire::connect(b);
    kept.ask(GET).expect(200);
    let mut fresh = Wire::connect(b);
    until_true("they run", || origin.requests() == 2);
    until_taken(&proxy, "web", 3);
    let split = format!("internal: {{ bind: \"{a}\" }}, public: {{ bind: \"{b}\" }}");
    let secret = "{ match: { listener: internal }, respond: { status: 299 } },";
    reload(&proxy, &text(&split, secret));
    assert_eq!(status(a), 299);
    assert_eq!(status(b), 200);
    // One that has sent nothing yet is answered by the plan that it came under, and then closed.
    let last = fresh.ask(GET).expect(200);
    assert_eq!(last.header("connection").as_deref(), Some("close"));
    fresh.expect_close();
    kept.expect_close();
    assert_eq!(streams.answer(running).status, 200);
    let _ = streams.await_goaway();
}

/// What a new client is answered with there.
fn status(at: SocketAddr) -> u16 {
    Wire::connect(at).ask(GET).status()
}

#[test]
fn who_came_in_clear_is_not_taken_for_one_with_tls() {
    let origin = Origin::echo();
    let at = free_port();
    let text = |tls: &str| {
        let web = format!("web: {{ bind: \"{at}\", {tls} }}");
        config(&web, origin.address(), 0)
    };
    let proxy = Proxy::start(&text(""));
    let mut kept = Wire::connect(at);
    let answer = kept.ask(GET).expect(200);
    assert_eq!(answer.seen("x-forwarded-proto"), ["http"]);
    let mut fresh = Wire::connect(at);
    until_taken(&proxy, "web", 2);
    reload(&proxy, &text("tls: { self_signed: true }"));
    let last = fresh.ask(GET).expect(200);
    assert_eq!(last.seen("x-forwarded-proto"), ["http"]);
    assert_eq!(last.header("connection").as_deref(), Some("close"));
    kept.expect_close();
    let client = TlsClient::trusting();
    let answer = client.connect(at).ask(GET).expect(200);
    assert_eq!(answer.seen("x-forwarded-proto"), ["https"]);
}

#[test]
fn tunnels_outlive_their_listener() {
    let origin = Origin::websocket();
    let port = free_port();
    let more = format!("{WEB}, more: {{ bind: \"{port}\" }}");
    let proxy = Proxy::start(&config(&more, origin.address(), 0));
    let mut tunnel = open_websocket(port);
    reload(&proxy, &config(WEB, origin.address(), 0));
    std::thread::sleep(Duration::from_millis(1_500));
    let (sent, wanted) = frame("still here");
    tunnel.send(sent);
    assert_eq!(tunnel.bytes(wanted.len()), wanted);
}

#[test]
fn who_connects_while_a_listener_goes_is_served_or_turned_away_and_never_reset() {
    let origin = Origin::named("a");
    let port = free_port();
    let more = format!("{WEB}, more: {{ bind: \"{port}\" }}");
    let proxy = Proxy::start(&config(WEB, origin.address(), 0));
    for _ in 0..5 {
        reload(&proxy, &config(&more, origin.address(), 0));
        let served = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let served = Arc::clone(&served);
                std::thread::spawn(move || {
                    // Until nobody listens: whoever got in before is answered.
                    while let Ok(mut wire) = Wire::try_connect(port) {
                        wire.send(GET);
                        wire.answer().expect(200);
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        until_true("they are served", || served.load(Ordering::Relaxed) > 20);
        reload(&proxy, &config(WEB, origin.address(), 0));
        for client in clients {
            client
                .join()
                .expect("every client that got in was answered");
        }
    }
}

#[test]
fn shared_connections_end_with_their_server_and_not_before() {
    let (old, new) = (H2Origin::new("old").echo(), H2Origin::new("new").echo());
    let text = |at: SocketAddr| {
        format!(
            "listeners: {{ {WEB} }}\nworkers: 1\nroutes: [ {{ pool: app }} ]\n\
             pools: {{ app: {{ protocol: http2, servers: [ {{ name: a, address: \"{at}\" }} ] }} }}\n"
        )
    };
    let proxy = Proxy::start(&text(old.address()));
    assert_eq!(proxy.get("/").expect(200).origin(), "old");
    let mut running = proxy.wire();
    running.send(Ask::get(proxy.address(), "/delay/1000").to_bytes());
    until_true("it runs", || old.requests() == 2);
    reload(&proxy, &text(old.address()));
    assert_eq!(proxy.get("/").expect(200).origin(), "old");
    assert_eq!(old.connections(), 1, "nothing changed for it");
    reload(&proxy, &text(new.address()));
    for _ in 0..3 {
        assert_eq!(proxy.get("/").expect(200).origin(), "new");
    }
    assert_eq!(running.answer().expect(200).origin(), "old");
    until_true("the old connection is closed", || old.open() == 0);
    assert_eq!((old.connections(), new.connections()), (1, 1));
}

#[test]
fn who_has_just_connected_is_served_though_the_process_stops() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(WEB, origin.address(), 0));
    let mut fresh = proxy.wire();
    let mut streams = H2Wire::connect(proxy.address());
    let mut served = proxy.wire();
    served.ask(GET).expect(200);
    proxy.terminate();
    proxy.await_log("stopping");
    served.expect_close();
    let stream = streams.ask("GET", "/", &[], true);
    assert_eq!(streams.answer(stream).status, 200);
    let answer = fresh.ask(GET).expect(200);
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    let _ = streams.await_goaway();
    proxy.wait(SOON).expect(0);
}

/// An address that nobody has.
fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}
