//! Signals and changes of place in the moment of an upgrade: nobody is left behind, and no name.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use keel_testkit::binary::evenkeel;
use keel_testkit::process::signal;
use keel_testkit::proxy::simple;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Origin, Wire};
use rustix::process::Signal;

use crate::lineage::{Lineage, await_alone, is_running};

/// One origin, and the admin socket under this name.
fn config(origin: &Origin, socket: &str) -> String {
    format!(
        "{}admin: {{ bind: \"127.0.0.1:0\", socket: \"@DIR@/{socket}\" }}\n",
        simple(&[origin.address()], "", "workers: 2")
    )
}

/// Asks for an upgrade and waits until the new program is started.
fn begin(lineage: &Lineage) {
    signal(lineage.pid(), Signal::USR2);
    until_true("the new program is started", || {
        lineage.started().len() == 1
    });
}

#[test]
fn a_stop_during_an_upgrade_leaves_nobody_behind() {
    let origin = Origin::echo();
    for delay in [0, 10, 30, 60, 100] {
        let mut lineage =
            Lineage::start_with(Scratch::new(), &config(&origin, "admin.sock"), |it| it);
        let old = lineage.pid();
        begin(&lineage);
        std::thread::sleep(Duration::from_millis(delay));
        signal(old, Signal::TERM);
        lineage.await_end(old);
        let new = lineage.started()[0];
        // A stop that comes after it is for the process that was replaced: whoever stops a service signals both.
        if lineage.log().contains("replaced: this process") {
            signal(new, Signal::TERM);
        }
        lineage.await_end(new);
        let log = lineage.log();
        assert!(!lineage.dir().join("admin.sock").exists(), "{delay}: {log}");
        assert!(!log.contains("panicked"), "{delay}: {log}");
    }
}

#[test]
fn a_new_program_that_does_not_heed_the_stop_is_killed() {
    let origin = Origin::echo();
    let mut lineage = Lineage::start(&config(&origin, "admin.sock"));
    lineage.replace_binary("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n");
    let old = lineage.pid();
    begin(&lineage);
    let new = lineage.started()[0];
    until_true("it runs", || is_running(new));
    signal(old, Signal::TERM);
    lineage.await_end(old);
    lineage.await_end(new);
    assert!(!lineage.dir().join("admin.sock").exists());
}

#[test]
fn signals_during_an_upgrade_reach_the_new_process() {
    const OPENED: &str = "opening the access logs anew";

    let origin = Origin::echo();
    let mut lineage = Lineage::start(&config(&origin, "admin.sock"));
    let program = evenkeel().display().to_string();
    lineage.replace_binary(&format!("#!/bin/sh\nsleep 1\nexec {program} \"$@\"\n"));
    let old = lineage.pid();
    begin(&lineage);
    signal(old, Signal::USR1);
    until_true("both have opened them", || {
        lineage.log().matches(OPENED).count() == 2
    });
    await_alone(&mut lineage);
    assert_ne!(lineage.pid(), old);
    lineage.stop();
}

#[test]
fn an_admin_socket_that_moves_leaves_no_name() {
    let origin = Origin::echo();
    let mut lineage = Lineage::start(&config(&origin, "one.sock"));
    let at = |name: &str| lineage.dir().join(name);
    let (one, two) = (at("one.sock"), at("two.sock"));
    assert!(one.exists());
    lineage.configure(&config(&origin, "two.sock"));
    lineage.upgrade();
    await_alone(&mut lineage);
    until_true("the old name is gone", || !one.exists());
    assert!(two.exists());
    Ask::get(lineage.address(), "/").send().expect(200);
    lineage.stop();
    assert!(!two.exists());
}

#[test]
fn commands_during_upgrades_are_done_by_whoever_serves() {
    const UPGRADES: usize = 4;

    let origin = Origin::echo();
    let lineage = Lineage::start_with(Scratch::new(), &config(&origin, "admin.sock"), |it| it);
    let socket = lineage.dir().join("admin.sock");
    let name = origin.address().to_string();
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let telling = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut command = Command::new(evenkeel());
                command.args(["server", "weight", "app", &name, "2", "--socket"]);
                let told = command.arg(&socket).output().expect("it can be started");
                let said = String::from_utf8_lossy(&told.stderr);
                assert!(told.status.success(), "after {done:?}: {said}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..UPGRADES {
            let before = done.load(Ordering::Relaxed);
            lineage.upgrade();
            until_true("commands go on", || {
                done.load(Ordering::Relaxed) > before + 1 || telling.is_finished()
            });
        }
        stop.store(true, Ordering::Relaxed);
        telling.join().expect("every command is done");
    });
    assert!(done.into_inner() > UPGRADES);
    lineage.stop();
}

/// Its request came while the process was being replaced, over a connection that this one had taken.
#[test]
fn who_has_just_come_to_the_admin_listener_is_answered() {
    let origin = Origin::echo();
    let mut lineage = Lineage::start(&config(&origin, "admin.sock"));
    let program = evenkeel().display().to_string();
    lineage.replace_binary(&format!("#!/bin/sh\nsleep 1\nexec {program} \"$@\"\n"));
    let (old, admin) = (lineage.pid(), lineage.listener("admin"));
    begin(&lineage);
    let mut fresh = Wire::connect(admin);
    // Connections are taken in order: when this one is answered, the other is taken.
    Ask::get(admin, "/health").send().expect(200);
    signal(old, Signal::STOP);
    until_true("the new one serves", || lineage.generations() == 2);
    fresh.send(Ask::get(admin, "/health").to_bytes());
    signal(old, Signal::CONT);
    fresh.answer().expect(200);
    await_alone(&mut lineage);
    lineage.stop();
}
