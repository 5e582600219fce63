//! The bench as a whole: a short run against a real nginx, and that nothing outlives it, however it ends.
#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// True when nginx is there. Missing, it is said, and a failure where peers are required.
fn has_nginx() -> bool {
    let found =
        Command::new("nginx").arg("-v").output().is_ok() || Path::new("/usr/sbin/nginx").is_file();
    let required = std::env::var_os("EVENKEEL_REQUIRE_PEERS").is_some();
    assert!(
        found || !required,
        "nginx is not installed, and peers are required"
    );
    if !found {
        eprintln!("nginx is not installed: left out");
    }
    found
}

/// A run in a process group of its own, with its temporary files in `dir`.
fn start(dir: &Path, seconds: &str, json: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_keel-bench"))
        .args([
            "compare",
            "--proxies",
            "nginx",
            "--scenarios",
            "small,full,tls,handshake,h2-10k",
            "--rounds",
            "1",
        ])
        .args(["--seconds", seconds, "--warm-up", "0.1", "--json"])
        .arg(json)
        .env("TMPDIR", dir)
        .process_group(0)
        .stdout(Stdio::null())
        .spawn()
        .expect("the bench was built")
}

/// Processes of a group that are not zombies.
fn members(group: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("Linux") {
        let name = entry.expect("Linux").file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        if fields[0] != "Z" && fields[2].parse() == Ok(group) {
            found.push(pid);
        }
    }
    found
}

fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Driver, origins, load, nginx's master and worker.
fn await_all_running(group: u32) {
    await_that("all five processes run", || members(group).len() >= 5);
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the bench runs");
}

#[test]
fn a_short_run_measures_and_cleans_up() {
    if !has_nginx() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("out.json");
    let mut child = start(dir.path(), "0.3", &json);
    let group = child.id();
    assert!(child.wait().unwrap().success());
    let reports: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for report in reports.as_array().unwrap() {
        let row = &report["rows"][0];
        assert!(row["cpu_us"]["median"].as_f64().unwrap() > 1.0, "{report}");
        assert_eq!(row["ratio"]["median"], 1.0, "{report}");
        assert_eq!(row["rounds"][0]["void"], Value::Null, "{report}");
    }
    assert_eq!(reports.as_array().unwrap().len(), 5);
    assert_eq!(members(group), Vec::<u32>::new());
    std::fs::remove_file(&json).unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "temporary files are left"
    );
}

#[test]
fn idle_and_stopped_connections_are_held_open() {
    if !has_nginx() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("out.json");
    let output = Command::new(env!("CARGO_BIN_EXE_keel-bench"))
        .args(["memory", "--proxies", "nginx", "--idle", "20"])
        .args(["--rows", "tls-idle,h2-idle,h2-no-window"])
        .args(["--seconds", "1.5", "--json"])
        .arg(&json)
        .output()
        .expect("the bench was built");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let rows: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for row in rows.as_array().unwrap() {
        assert_eq!(row["connections"], 20, "{row}");
        assert_eq!(row["still_open"], 20, "{row}");
        assert!(row["growth_kib"].as_f64().unwrap() > 1.0, "{row}");
    }
    assert_eq!(rows.as_array().unwrap().len(), 3);
}

#[test]
fn an_interrupt_ends_everything_and_cleans_up() {
    if !has_nginx() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path(), "30", &dir.path().join("out.json"));
    let group = child.id();
    await_all_running(group);
    signal(&child, Signal::INT);
    assert!(!child.wait().unwrap().success());
    assert_eq!(members(group), Vec::<u32>::new());
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "temporary files are left"
    );
}

#[test]
fn even_a_killed_bench_leaves_no_process() {
    if !has_nginx() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path(), "30", &dir.path().join("out.json"));
    let group = child.id();
    await_all_running(group);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    await_that("all processes end", || members(group).is_empty());
}
