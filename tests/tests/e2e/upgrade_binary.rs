//! Replacing the binary while it serves: nothing is lost, and a new one that does not work changes nothing.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use keel_testkit::origin::Gate;
use keel_testkit::proxy::simple;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, H2Wire, Load, Origin, Wire};
use tungstenite::Message;

use crate::GET;
use crate::lineage::{Lineage, await_alone, is_running};
use crate::site::{self, NAMES, OWN};

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
    let kept = Load::start(address, 2, &Ask::get(address, "/delay/2"));
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
    let report = kept.stop();
    assert_eq!(report.failed, 0, "kept connections: {:#?}", report.failures);
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
    let config = simple(&[origin.address()], "", "upgrade_timeout: 4s");
    let mut lineage = Lineage::start(&config);
    let (address, first) = (lineage.address(), lineage.pid());
    let serves = || Ask::get(address, "/").send().expect(200);
    for (script, said) in [
        (
            "#!/bin/sh\nexit 3\n",
            "ended before it was ready (exit status: 3)",
        ),
        ("#!/bin/sh\nexec sleep 60\n", "not ready within 4s"),
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
    until_true("both are counted by it", || {
        let stats = Ask::get(admin, "/stats").send().expect(200).json();
        stats["load_balancer"]["requests"] == 2
    });
}

#[test]
fn what_is_known_of_servers_goes_to_the_new_process() {
    let (good, other) = (Origin::named("good"), Origin::named("other"));
    let mut bad = Origin::named("bad");
    // Checked seldom: the verdict of the old process is all that the new one has for a while.
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes:\n  - {{ name: bound, match: {{ path: /bound }}, pool: bound }}\n  - {{ name: all, pool: app }}\n\
         pools:\n  app:\n    servers: [\"{}\", \"{}\"]\n    health: {{ tcp: true, every: 1h, every_down: 1h, fall: 1 }}\n\
         \x20 bound:\n    sticky: {{ header: X-Session }}\n    servers: [\"{}\", \"{}\"]\n",
        good.address(),
        bad.address(),
        good.address(),
        other.address(),
    );
    bad.stop();
    let mut lineage = Lineage::start(&config.replace("every: 1h, every_down: 1h", "every: 200ms"));
    let admin = lineage.listener("admin");
    let health = || {
        let stats = Ask::get(admin, "/stats").send().expect(200).json();
        let server = &stats["backends"][bad.address().to_string()];
        server["health_status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    until_true("the check has failed", || health() == "unhealthy");
    let address = lineage.address();
    let served = |session: &str| {
        let ask = Ask::get(address, "/bound").with("X-Session", session);
        ask.send().expect(200).origin()
    };
    let sessions: Vec<String> = (0..40).map(|number| format!("session-{number}")).collect();
    let before: Vec<String> = sessions.iter().map(|it| served(it)).collect();
    assert!(before.iter().any(|it| it == "good") && before.iter().any(|it| it == "other"));
    lineage.configure(&config);
    for round in 0..2 {
        lineage.upgrade();
        await_alone(&mut lineage);
        assert_eq!(health(), "unhealthy", "round {round}");
        // Not in the order of before: whoever is not known would be given to the next server in turn.
        for (session, server) in sessions.iter().zip(&before).rev() {
            assert_eq!(&served(session), server, "{session}, round {round}");
        }
    }
    let metrics = Ask::get(admin, "/metrics").send().expect(200).text();
    for row in [
        "evenkeel_upgrades_total{result=\"done\"} 2\n",
        "evenkeel_upgrades_total{result=\"failed\"} 0\n",
    ] {
        assert!(metrics.contains(row), "{row}");
    }
}

/// A request over the admin socket; gives status and body.
fn over_admin_socket(path: &Path, method: &str, target: &str, body: &str) -> (u16, String) {
    let mut socket = UnixStream::connect(path).expect("somebody listens");
    let limit = Some(Duration::from_secs(20));
    socket.set_read_timeout(limit).expect("a time");
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: admin\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).expect("it listens");
    let mut answer = String::new();
    socket
        .read_to_string(&mut answer)
        .expect("an answer that ends");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

#[test]
fn the_admin_socket_upgrades_and_stays_with_the_run_time_changes() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let scratch = keel_testkit::scratch::Scratch::new();
    let path = scratch.path().join("admin.sock");
    let config = format!(
        "{}admin: {{ bind: \"127.0.0.1:0\", socket: \"@DIR@/admin.sock\" }}\n",
        simple(&[a.address(), b.address()], "", "")
    );
    let mut lineage = Lineage::start_with(scratch, &config, |it| it);
    let server = |name: String, what: &str| format!("/pools/app/servers/{name}/{what}");
    let state = server(a.address().to_string(), "state");
    let (status, said) = over_admin_socket(&path, "PUT", &state, "{\"state\":\"down\"}");
    assert_eq!(status, 200, "{said}");
    for round in 1..=3 {
        let (status, said) = over_admin_socket(&path, "POST", "/upgrade", "");
        assert_eq!(status, 200, "{said}");
        assert_eq!(lineage.generations(), round + 1);
        assert!(said.contains(&lineage.pid().to_string()), "{said}");
        await_alone(&mut lineage);
        for _ in 0..6 {
            let served = Ask::get(lineage.address(), "/").send().expect(200);
            assert_eq!(served.origin(), "b", "a is down, round {round}");
        }
    }
    lineage.replace_binary("#!/bin/sh\nexit 3\n");
    let (status, said) = over_admin_socket(&path, "POST", "/upgrade", "");
    assert!(
        status >= 400 && said.contains("exit status: 3"),
        "{status} {said}"
    );
    let (status, _) = over_admin_socket(&path, "PUT", &state, "{\"state\":\"ready\"}");
    assert_eq!(status, 200);
    assert!(path.exists());
    let log = lineage.stop();
    assert!(
        !path.exists(),
        "its name goes with the last process:\n{log}"
    );
}

#[test]
fn tls_sessions_and_the_keys_of_tickets_stay() {
    let origin = Origin::echo();
    let ca = keel_testkit::Ca::new("an authority of tests");
    let scratch = keel_testkit::scratch::Scratch::new();
    ca.leaf(&NAMES).write(&scratch, "site");
    let config = site::config(&[origin.address()], "", OWN, "");
    let mut lineage = Lineage::start_with(scratch, &config, |it| it);
    let address = lineage.address();
    let client = keel_testkit::TlsClient::new(&ca);
    let clients = [client.clone().only_tls13(), client.only_tls12()];
    let resumed = |client: &keel_testkit::TlsClient| {
        let mut wire = client.connect(address);
        wire.ask(GET).expect(200);
        wire.tls().resumed
    };
    for client in &clients {
        assert!(!resumed(client));
        assert!(resumed(client));
    }
    for round in 0..2 {
        lineage.upgrade();
        await_alone(&mut lineage);
        for client in &clients {
            assert!(resumed(client), "round {round}");
        }
    }
}

#[test]
fn who_waits_for_a_place_at_the_limit_is_served() {
    let gate = Gate::new();
    let inner = gate.clone();
    let slow = Origin::scripted(move |stage| {
        if stage.request().is_some() {
            inner.wait();
            stage.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let more = "workers: 1\nconnections: 2";
    let lineage = Lineage::start(&simple(&[slow.address()], "", more));
    let address = lineage.address();
    // Two are served, one is in the worker's hand, the others are in the kernel's queue.
    let mut wires: Vec<Wire> = (0..6).map(|_| Wire::connect(address)).collect();
    for wire in &mut wires {
        wire.send("GET / HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n");
    }
    until_true("two requests run", || slow.requests() == 2);
    lineage.upgrade();
    // The new process has places of its own.
    until_true("two more run", || slow.requests() >= 4);
    // The old worker looks for a place 20 times a second; it must not give up when there is none.
    std::thread::sleep(Duration::from_millis(300));
    gate.open();
    for wire in &mut wires {
        wire.answer().expect(200);
    }
}
