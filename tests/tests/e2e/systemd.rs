//! What systemd is told, and the sockets that it gives. The supervisor here is a socket of the test.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use keel_testkit::binary::evenkeel;
use keel_testkit::process::signal;
use keel_testkit::proxy::simple;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Origin};
use rustix::process::Signal;

use crate::lineage::{Lineage, await_alone};

/// A supervisor that listens.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn at(address: &SocketAddr) -> Supervisor {
        Supervisor(UnixDatagram::bind_addr(address).expect("a name of our own"))
    }

    /// The next message; `None` when none comes in the time.
    fn heard_in(&self, time: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(time)).expect("a time");
        let mut bytes = [0; 4096];
        let len = self.0.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
    }

    /// The next message that is no ping of the watchdog.
    #[track_caller]
    fn heard(&self) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        while let Some(text) = self.heard_in(
            end.saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1)),
        ) {
            if text != "WATCHDOG=1" {
                return text;
            }
        }
        panic!("it says nothing");
    }
}

fn config(origin: &Origin) -> String {
    simple(&[origin.address()], "", "workers: 2")
}

#[test]
fn readiness_reloads_upgrades_and_the_end_are_told() {
    let origin = Origin::echo();
    let scratch = Scratch::new();
    let path = scratch.path().join("notify");
    let supervisor = Supervisor::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut lineage = Lineage::start_with(scratch, &config(&origin), |it| {
        it.env("NOTIFY_SOCKET", &path)
    });
    assert_eq!(
        supervisor.heard(),
        "READY=1\nSTATUS=serving: 1 address, 2 workers"
    );
    signal(lineage.pid(), Signal::HUP);
    let said = supervisor.heard();
    let us = said
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(said.starts_with("RELOADING=1\n"), "{said}");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux");
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let us: f64 = us.expect("when it began").parse().expect("a number");
    assert!((uptime - us / 1e6).abs() < 60.0, "{said}");
    assert!(supervisor.heard().starts_with("READY=1\nSTATUS=serving"));
    lineage.configure(&config(&origin).replace("pool: app", "pool: nowhere"));
    signal(lineage.pid(), Signal::HUP);
    assert!(supervisor.heard().starts_with("RELOADING=1\n"));
    let said = supervisor.heard();
    assert!(said.ends_with("the last reload was refused"), "{said}");
    lineage.configure(&config(&origin));
    lineage.upgrade();
    let new = lineage.pid();
    let mut both = [supervisor.heard(), supervisor.heard()];
    both.sort();
    assert_eq!(both[0], format!("MAINPID={new}"));
    assert!(both[1].starts_with("READY=1\n"), "{both:?}");
    await_alone(&mut lineage);
    signal(new, Signal::TERM);
    assert!(supervisor.heard().starts_with("STOPPING=1\n"));
    lineage.await_end(new);
}

#[test]
fn the_watchdog_is_told_while_the_process_runs_and_after_an_upgrade() {
    let origin = Origin::echo();
    let name = format!("evenkeel-watchdog-{}", std::process::id());
    let supervisor = Supervisor::at(&SocketAddr::from_abstract_name(&name).unwrap());
    let mut lineage = Lineage::start_with(Scratch::new(), &config(&origin), |it| {
        it.env("NOTIFY_SOCKET", format!("@{name}"))
            .env("WATCHDOG_USEC", "400000")
    });
    let pings = |limit: Duration| {
        let end = Instant::now() + limit;
        let mut count = 0;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let heard = supervisor.heard_in(left.max(Duration::from_millis(1)));
            count += usize::from(heard.as_deref() == Some("WATCHDOG=1"));
        }
        count
    };
    let second = Duration::from_secs(1);
    // Ten are due; a busy machine is late now and then. Two processes would send twenty.
    let right = 4..=14;
    assert!(right.contains(&pings(2 * second)));
    lineage.upgrade();
    await_alone(&mut lineage);
    let _mixed = pings(second / 4);
    assert!(
        right.contains(&pings(2 * second)),
        "one process pings, and it is the new one"
    );
    signal(lineage.pid(), Signal::STOP);
    let _last = pings(second / 4);
    assert_eq!(pings(second), 0);
    signal(lineage.pid(), Signal::CONT);
    assert!(pings(2 * second) >= 2);
}

/// Starts the binary with these sockets as descriptors 3 and 4, as systemd does. A shell moves them there: standard
/// input and output are the only descriptors that a test can give away without unsafe code.
fn activated(config: &str, sockets: [OwnedFd; 2], names: &str) -> Lineage {
    let scratch = Scratch::new();
    let [first, second] = sockets;
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" run \"$1\"";
    let mut shell = Command::new("sh");
    let binary = scratch.path().join("evenkeel");
    let file = scratch.path().join("evenkeel.yaml");
    shell.arg("-c").arg(script).arg(binary).arg(file);
    shell.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    shell.stdin(first).stdout(second);
    Lineage::start_with(scratch, config, move |command| {
        *command = shell;
        command
    })
}

#[test]
fn sockets_of_systemd_are_matched_by_address_and_by_name() {
    let origin = Origin::echo();
    let sockets = [0, 0].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = [&sockets[0], &sockets[1]].map(|it| it.local_addr().unwrap());
    // The second has an address that no listener asks for: it is found by its name.
    let more = format!(
        "listeners: {{ web: {{ bind: \"{first}\" }}, api: {{ bind: \"127.0.0.1:0\" }} }}\nworkers: 3"
    );
    let config = simple(&[origin.address()], "", &more);
    let mut lineage = activated(&config, sockets.map(OwnedFd::from), "x:api");
    let serves = |lineage: &Lineage| {
        assert_eq!(lineage.address(), first);
        assert_eq!(lineage.listener("api"), second);
        for address in [first, second] {
            for _ in 0..20 {
                Ask::get(address, "/").send().expect(200);
            }
        }
    };
    serves(&lineage);
    // Not a share of the port but the very socket: a second one cannot be bound there.
    assert!(!lineage.log().contains("in use"), "{}", lineage.log());
    lineage.upgrade();
    await_alone(&mut lineage);
    serves(&lineage);
}

#[test]
fn a_connection_that_came_before_the_process_is_served() {
    let origin = Origin::echo();
    let sockets = [0, 0].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = sockets[0].local_addr().unwrap();
    let mut early = keel_testkit::Wire::connect(address);
    early.send(crate::GET);
    let more = format!("listeners: {{ web: {{ bind: \"{address}\" }} }}");
    let config = simple(&[origin.address()], "", &more);
    let lineage = activated(&config, sockets.map(OwnedFd::from), "");
    early.answer().expect(200);
    assert!(
        lineage.log().contains("no listener wants"),
        "{}",
        lineage.log()
    );
}

#[test]
fn a_dual_stack_socket_serves_the_ipv4_wildcard_and_names_clients_as_ipv4() {
    let Ok(both) = TcpListener::bind("[::]:0") else {
        eprintln!("skipped: this machine has no IPv6");
        return;
    };
    let origin = Origin::echo();
    let port = both.local_addr().unwrap().port();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("listeners: {{ web: {{ bind: \"0.0.0.0:{port}\" }} }}");
    let config = simple(&[origin.address()], "", &more);
    let lineage = activated(&config, [both, other].map(OwnedFd::from), "");
    let over_ipv4 = format!("127.0.0.1:{port}").parse().unwrap();
    let answer = Ask::get(over_ipv4, "/").send().expect(200);
    assert_eq!(answer.seen("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(lineage.address().port(), port);
}

#[test]
fn a_socket_of_systemd_is_left_as_it_was_when_its_listener_goes() {
    let origin = Origin::echo();
    let sockets = [0, 0].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [web, gone] = [0, 1].map(|at: usize| sockets[at].local_addr().unwrap());
    let kept = sockets[1].try_clone().unwrap();
    let config = |listeners: String| {
        simple(
            &[origin.address()],
            "",
            &format!("listeners: {{ {listeners} }}"),
        )
    };
    let web = format!("web: {{ bind: \"{web}\" }}");
    let both = config(format!("{web}, gone: {{ bind: \"{gone}\" }}"));
    let mut lineage = activated(&both, sockets.map(OwnedFd::from), "");
    Ask::get(gone, "/").send().expect(200);
    // Handed on, it is systemd's still.
    lineage.upgrade();
    await_alone(&mut lineage);
    lineage.configure(&config(web));
    signal(lineage.pid(), Signal::HUP);
    until_true("the listener is gone", || {
        lineage.log().contains("listening no more listener=gone")
    });
    // Its last worker may take last comers for a moment.
    std::thread::sleep(Duration::from_millis(500));
    let limit = Duration::from_secs(5);
    std::net::TcpStream::connect_timeout(&gone, limit).expect("systemd's socket listens");
    assert!(kept.accept().is_ok());
}

#[test]
fn sockets_that_were_promised_and_are_not_there_are_an_error() {
    let script = "LISTEN_PID=$$ LISTEN_FDS=3 exec \"$0\" run /nonexistent.yaml";
    let mut shell = Command::new("sh");
    let output = shell
        .arg("-c")
        .arg(script)
        .arg(evenkeel())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("was not passed to this process"), "{said}");
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let scratch = Scratch::new();
    let folder = keel_testkit::binary::repository().join("packaging");
    for name in ["evenkeel.service", "evenkeel.socket"] {
        let unit = std::fs::read_to_string(folder.join(name)).unwrap();
        // It is not installed here.
        let unit = unit.replace("/usr/local/bin/evenkeel", "/bin/true");
        scratch.write(name, unit);
    }
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let units = ["evenkeel.service", "evenkeel.socket"].map(|it| scratch.path().join(it));
        let units = if arguments[0] == "security" {
            &units[..1]
        } else {
            &units[..]
        };
        command.args(arguments).args(units).output()
    };
    let Ok(verified) = analyze(&["verify"]) else {
        eprintln!("skipped: there is no systemd-analyze on this machine");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    let secured = analyze(&["security", "--offline=true", "--threshold=20"]).unwrap();
    let said = String::from_utf8_lossy(&secured.stdout);
    assert!(secured.status.success(), "exposure above 2.0:\n{said}");
}
