//! Replacing the binary while it serves: nothing is lost, and a new one that does not work changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use keel_testkit::origin::Gate;
use keel_testkit::proxy::simple;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, H2Wire, Origin, Wire};
use tungstenite::Message;

use crate::GET;
use crate::lineage::{Lineage, await_alone, is_running};

/// Clients of a kind that do the same again and again, and stop at the first thing that does not work.
struct Clients {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Clients {
    fn start(
        count: usize,
        once: impl Fn() -> Result<(), String> + Send + Sync + Clone + 'static,
    ) -> Clients {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let threads = (0..count).map(|_| {
            let (stop, done, once) = (stop.clone(), done.clone(), once.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    once()?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let threads = threads.collect();
        Clients {
            stop,
            done,
            threads,
        }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends them; gives how often it was done, and what went wrong.
    fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter();
        let ended = ended.map(|thread| thread.join().expect("a client does not panic"));
        let faults: Vec<String> = ended.filter_map(Result::err).collect();
        (self.done.load(Ordering::Relaxed), faults)
    }
}

/// A request on a connection of its own.
fn over_h1(address: SocketAddr) -> Result<(), String> {
    let mut wire = Wire::try_connect(address).map_err(|fault| format!("h1 connect: {fault}"))?;
    wire.try_send(Ask::get(address, "/delay/2").to_bytes())
        .map_err(|fault| format!("h1 send: {fault}"))?;
    match wire.try_answer("GET") {
        Ok(answer) if answer.status() == 200 => Ok(()),
        other => Err(format!("h1: {other:?}")),
    }
}

/// Three streams on a connection of its own.
fn over_h2(address: SocketAddr) -> Result<(), String> {
    let wire = Wire::try_connect(address).map_err(|fault| format!("h2 connect: {fault}"))?;
    let mut wire = H2Wire::over(wire, &[]);
    let streams: Vec<u32> = (0..3)
        .map(|_| wire.ask("GET", "/delay/2", &[], true))
        .collect();
    for stream in streams {
        match wire.try_answer(stream) {
            Ok(answer) if answer.status == 200 => {}
            other => return Err(format!("h2: {other:?}")),
        }
    }
    Ok(())
}

/// A WebSocket that says something and closes.
fn over_websocket(address: SocketAddr) -> Result<(), String> {
    let wire =
        std::net::TcpStream::connect(address).map_err(|fault| format!("ws connect: {fault}"))?;
    let limit = Some(Duration::from_secs(20));
    wire.set_read_timeout(limit).expect("a time");
    let url = format!("ws://{address}/chat");
    let (mut socket, _) =
        tungstenite::client(url, wire).map_err(|fault| format!("ws open: {fault}"))?;
    let said = Message::text("hello");
    socket
        .send(said.clone())
        .map_err(|fault| format!("ws send: {fault}"))?;
    match socket.read() {
        Ok(heard) if heard == said => {}
        other => return Err(format!("ws: {other:?}")),
    }
    socket
        .close(None)
        .map_err(|fault| format!("ws close: {fault}"))?;
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(fault) => return Err(format!("ws end: {fault}")),
        }
    }
}

/// Everything to one server, WebSockets to another.
fn two_pools(origin: &Origin, sockets: &Origin, more: &str) -> String {
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes:\n  - {{ name: chat, match: {{ path: /chat }}, pool: chat }}\n  - {{ name: all, pool: app }}\n\
         pools: {{ app: {{ servers: [\"{}\"] }}, chat: {{ servers: [\"{}\"] }} }}\n{more}\n",
        origin.address(),
        sockets.address()
    )
}

#[test]
fn ten_upgrades_under_load_lose_nothing() {
    const UPGRADES: usize = 10;

    let (origin, sockets) = (Origin::echo(), Origin::websocket());
    let config = two_pools(&origin, &sockets, "workers: 2");
    let mut lineage = Lineage::start(&config);
    let address = lineage.address();
    let kinds = [
        Clients::start(2, move || over_h1(address)),
        Clients::start(2, move || over_h2(address)),
        Clients::start(1, move || over_websocket(address)),
    ];
    for _ in 0..UPGRADES {
        let before: Vec<u64> = kinds.iter().map(Clients::done).collect();
        lineage.upgrade();
        until_true("each kind of client goes on", || {
            let now = kinds.iter().map(Clients::done);
            now.zip(&before).all(|(now, before)| now >= before + 5)
                || kinds
                    .iter()
                    .any(|it| it.threads.iter().any(JoinHandle::is_finished))
        });
    }
    for (kind, name) in kinds.into_iter().zip(["h1", "h2", "ws"]) {
        let (done, faults) = kind.end();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
        assert!(done >= 5 * UPGRADES as u64, "{name}: {done}");
    }
    assert_eq!(lineage.generations(), UPGRADES + 1);
    assert_eq!(lineage.address(), address, "port 0 is a port that stays");
    await_alone(&mut lineage);
    let log = lineage.stop();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn what_runs_in_an_old_process_ends_there_and_upgrades_go_on_meanwhile() {
    let gate = Gate::new();
    let inner = gate.clone();
    let slow = Origin::scripted(move |stage| {
        if stage.request().is_some() {
            inner.wait();
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let sockets = Origin::websocket();
    let mut lineage = Lineage::start(&two_pools(&slow, &sockets, ""));
    let address = lineage.address();
    let first = lineage.pid();
    let mut wire = Wire::connect(address);
    wire.send(GET);
    until_true("the request runs", || slow.requests() == 1);
    let tcp = std::net::TcpStream::connect(address).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/chat"), tcp).unwrap();
    for round in 0..3 {
        lineage.upgrade();
        socket.send(Message::text("still here")).unwrap();
        assert_eq!(
            socket.read().unwrap(),
            Message::text("still here"),
            "{round}"
        );
    }
    assert!(is_running(first), "it has a request and a tunnel");
    assert_eq!(lineage.generations(), 4);
    gate.open();
    assert_eq!(wire.answer().expect(200).text(), "ok");
    wire.expect_close();
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    await_alone(&mut lineage);
}

#[test]
fn a_program_that_does_not_work_changes_nothing() {
    let origin = Origin::echo();
    let config = simple(&[origin.address()], "", "upgrade_timeout: 1s");
    let mut lineage = Lineage::start(&config);
    let (address, first) = (lineage.address(), lineage.pid());
    let serves = || Ask::get(address, "/").send().expect(200);
    for (script, said) in [
        (
            "#!/bin/sh\nexit 3\n",
            "ended before it was ready (exit status: 3)",
        ),
        ("#!/bin/sh\nexec sleep 60\n", "not ready within 1s"),
        ("#!/bin/sh\nkill -SEGV $$\n", "signal: 11"),
        (
            "#!/bin/sh\necho nonsense nonsense >&0\nexec sleep 60\n",
            "not evenkeel",
        ),
        ("no program at all", "cannot be started"),
    ] {
        lineage.replace_binary(script);
        let line = lineage.fail_to_upgrade();
        assert!(line.contains(said), "{script:?}: {line}");
        serves();
    }
    std::fs::remove_file(lineage.dir().join("evenkeel")).unwrap();
    let line = lineage.fail_to_upgrade();
    assert!(line.contains("put the new program there"), "{line}");
    serves();
    lineage.restore_binary();
    lineage.configure(&config.replace("pool: app", "pool: nowhere"));
    let line = lineage.fail_to_upgrade();
    assert!(line.contains("its configuration has errors"), "{line}");
    assert!(
        lineage.log().contains("nowhere"),
        "its diagnostics are in the log"
    );
    serves();
    lineage.configure(&config);
    assert_eq!(lineage.upgrade(), first);
    serves();
    await_alone(&mut lineage);
}

#[test]
fn a_port_that_is_busy_refuses_the_new_program_and_the_log_names_it() {
    let origin = Origin::echo();
    let config = simple(&[origin.address()], "", "");
    let lineage = Lineage::start(&config);
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }}, new: {{ bind: \"{}\" }} }}",
        busy.local_addr().unwrap()
    );
    lineage.configure(&simple(&[origin.address()], "", &more));
    let line = lineage.fail_to_upgrade();
    assert!(
        line.contains("listener `new`") && line.contains("in use"),
        "{line}"
    );
    Ask::get(lineage.address(), "/").send().expect(200);
}

#[test]
fn listeners_and_workers_may_change_with_the_program() {
    let origin = Origin::echo();
    let config = |listeners: &str, workers: usize| {
        let more = format!("listeners: {{ {listeners} }}\nworkers: {workers}");
        simple(&[origin.address()], "", &more)
    };
    let web = "web: { bind: \"127.0.0.1:0\" }";
    let both = "web: { bind: \"127.0.0.1:0\" }, api: { bind: \"127.0.0.1:0\" }";
    let mut lineage = Lineage::start(&config(both, 4));
    let (address, api) = (lineage.address(), lineage.listener("api"));
    let clients = Clients::start(3, move || over_h1(address));
    // Fewer workers: each serves several of the sockets, and none is left without one.
    for (listeners, workers) in [(both, 1), (both, 3), (web, 2), (both, 2)] {
        lineage.configure(&config(listeners, workers));
        let before = clients.done();
        lineage.upgrade();
        until_true("clients go on", || {
            clients.done() >= before + 60 || clients.threads.iter().any(JoinHandle::is_finished)
        });
        await_alone(&mut lineage);
        if listeners == web {
            assert!(Wire::try_connect(api).is_err(), "nobody wants it any more");
        }
    }
    let (_, faults) = clients.end();
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(lineage.address(), address);
    Ask::get(lineage.listener("api"), "/").send().expect(200);
}

#[test]
fn the_admin_listener_is_handed_over_and_answers_for_the_new_process() {
    let origin = Origin::echo();
    let mut lineage = Lineage::start(&simple(&[origin.address()], "", ""));
    let admin = lineage.listener("admin");
    lineage.upgrade();
    await_alone(&mut lineage);
    assert_eq!(lineage.listener("admin"), admin);
    Ask::get(lineage.address(), "/").send().expect(200);
    Ask::get(lineage.address(), "/").send().expect(200);
    let stats = Ask::get(admin, "/stats").send().expect(200).json();
    assert_eq!(stats["load_balancer"]["requests"], 2, "{stats}");
}
