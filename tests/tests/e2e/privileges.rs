//! From root to another user. These run as root only: nobody else can become somebody else.

use std::os::unix::fs::MetadataExt;

use keel_testkit::process::signal;
use keel_testkit::proxy::simple;
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Origin, Proxy};
use rustix::process::{Signal, geteuid};

use crate::lineage::{Lineage, await_alone, of_threads};

/// The user and group that own nothing.
const NOBODY: u32 = 65_534;
/// `CAP_NET_BIND_SERVICE`, as `/proc` shows it.
const ONLY_BIND: &str = "0000000000000400";

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can become another user");
    }
    root
}

/// A port below 1024 on an address of loopback that nobody else uses.
fn low(host: u8) -> String {
    format!("127.77.{host}.1:81")
}

fn config(origin: &Origin, listeners: &str) -> String {
    let more = format!(
        "listeners: {{ {listeners} }}\nuser: \"{NOBODY}\"\nworkers: 2\nstate: \"@DIR@/state\"\n\
         access_log: {{ to: \"@DIR@/access.log\" }}"
    );
    simple(&[origin.address()], "", &more)
}

#[track_caller]
fn is_nobody(pid: u32) {
    let all = |field: &str, wanted: &str| {
        let threads = of_threads(pid, field);
        assert!(threads.len() >= 3, "main and workers: {threads:?}");
        assert!(threads.iter().all(|it| it == wanted), "{field} {threads:?}");
    };
    let ids = [NOBODY; 4].map(|id| id.to_string()).join(" ");
    all("Uid:", &ids);
    all("Gid:", &ids);
    all("Groups:", &NOBODY.to_string());
    // Threads from before have none; those that may bind have the one.
    for field in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        let threads = of_threads(pid, field);
        let known = |it: &String| it == ONLY_BIND || it == "0000000000000000";
        assert!(threads.iter().all(known), "{field} {threads:?}");
        let main = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = main.lines().find(|line| line.starts_with(field)).unwrap();
        assert!(line.ends_with(ONLY_BIND), "{line}");
    }
    let main = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(main.contains("NoNewPrivs:\t1"), "{main}");
}

#[test]
fn root_becomes_the_user_and_can_still_do_all_that_it_needs() {
    if !is_root() {
        return;
    }
    let origin = Origin::echo();
    let web = format!("web: {{ bind: \"{}\" }}", low(1));
    let mut lineage = Lineage::start(&config(&origin, &web));
    is_nobody(lineage.pid());
    let serves = |address: &str, target: &str| {
        let at = address.parse().expect("an address");
        Ask::get(at, target).send().expect(200);
    };
    serves(&low(1), "/one");
    // Logs were opened as root, and can be opened anew as the user.
    let log = lineage.dir().join("access.log");
    let owner = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |it| it.uid());
    assert_eq!(owner(&log), NOBODY);
    assert_eq!(owner(&lineage.dir().join("state")), NOBODY);
    std::os::unix::fs::chown(lineage.dir(), Some(NOBODY), None).unwrap();
    until_true("the line is written", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/one"))
    });
    std::fs::rename(&log, lineage.dir().join("access.old")).unwrap();
    signal(lineage.pid(), Signal::USR1);
    until_true("the log is opened anew", || log.exists());
    assert_eq!(owner(&log), NOBODY);
    // A reload binds another low port.
    let both = format!("{web}, more: {{ bind: \"{}\" }}", low(2));
    lineage.configure(&config(&origin, &both));
    signal(lineage.pid(), Signal::HUP);
    until_true("the reload is served", || {
        lineage.log().contains("listening listener=more")
    });
    serves(&low(2), "/two");
    // A new program is the same user, has the same privilege, and may have more workers and ports.
    let all = format!("{both}, third: {{ bind: \"{}\" }}", low(3));
    lineage.configure(&config(&origin, &all).replace("workers: 2", "workers: 3"));
    for _ in 0..2 {
        lineage.upgrade();
        await_alone(&mut lineage);
        is_nobody(lineage.pid());
        for host in 1..=3 {
            for _ in 0..10 {
                serves(&low(host), "/three");
            }
        }
    }
    let log = lineage.stop();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn another_user_than_the_one_it_is_cannot_be_had_by_an_upgrade() {
    if !is_root() {
        return;
    }
    let origin = Origin::echo();
    let web = "web: { bind: \"127.0.0.1:0\" }";
    let lineage = Lineage::start(&config(&origin, web));
    let other = config(&origin, web).replace(&NOBODY.to_string(), "12345");
    lineage.configure(&other);
    let line = lineage.fail_to_upgrade();
    assert!(line.contains("only root can become `12345`"), "{line}");
    Ask::get(lineage.address(), "/").send().expect(200);
}

#[test]
fn who_is_not_root_is_told() {
    let scratch = Scratch::new();
    let text = simple(
        &["127.0.0.1:9".parse().unwrap()],
        "",
        "user: \"12345\"\nadmin: off",
    );
    let file = scratch.write("evenkeel.yaml", text);
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), readable).unwrap();
    let exit = Proxy::run_unprivileged(&["run", file.to_str().unwrap()]);
    exit.expect(1)
        .says(&["only root can become `12345`", "User="]);
}

#[test]
fn strangers_are_told() {
    if !is_root() {
        return;
    }
    for (keys, said) in [
        ("user: nobody-has-this-name", "there is no user"),
        (
            "user: \"65534\"\ngroup: nobody-has-this-name",
            "there is no group",
        ),
    ] {
        let text = simple(&["127.0.0.1:9".parse().unwrap()], "", keys);
        let exit = Proxy::run_on("run", &text, &[]);
        exit.expect(1).says(&[said, "nobody-has-this-name"]);
    }
}
