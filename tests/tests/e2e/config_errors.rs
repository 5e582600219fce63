//! A wrong configuration is told about in full, and nothing of it is started.

use keel_testkit::Proxy;
use keel_testkit::scratch::Scratch;

const GOOD: &str = "listeners: { web: { bind: \"127.0.0.1:0\" } }\n\
    pools: { app: { servers: [\"127.0.0.1:9\"] } }\nroutes: [ { pool: app } ]\n";

#[test]
fn a_good_file_is_fine() {
    let exit = Proxy::run_on("check", GOOD, &[]).expect(0);
    assert!(!exit.stderr.contains("error"), "{}", exit.stderr);
}

#[test]
fn check_binds_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
    let at = taken.local_addr().expect("a bound socket has an address");
    let config = GOOD.replace("127.0.0.1:0", &at.to_string());
    Proxy::run_on("check", &config, &[]).expect(0);
}

#[test]
fn every_error_is_reported_at_once() {
    let config = "listeners:\n\
        \x20 web: { bnd: \"127.0.0.1:0\", timeouts: { idle: 65 } }\n\
        pools:\n\
        \x20 app: { servers: [\"127.0.0.1:99999\"], balance: least_con }\n\
        routes:\n\
        \x20 - { pool: ap }\n\
        \x20 - { match: { path: { regex: \"(\" } }, pool: app }\n\
        \x20 - { match: { client: [10.0.0.0/40] }, pool: app }\n\
        wrokers: 2\n";
    let exit = Proxy::run_on("check", config, &[]).expect(2);
    let exit = exit.says(&[
        "did you mean `bind`?",
        "did you mean `app`?",
        "did you mean `workers`?",
        "did you mean `least_conn`?",
        "65s",
        "127.0.0.1:99999",
        "10.0.0.0/40",
        "\"(\"",
    ]);
    // Each with its place and its source line.
    for place in [":2:", ":4:", ":6:", ":7:", ":8:", ":9:"] {
        assert!(
            exit.stderr.contains(place),
            "nothing on line {place}\n{}",
            exit.stderr
        );
    }
    assert!(exit.stderr.contains("^^^"), "no caret:\n{}", exit.stderr);
}

#[test]
fn run_refuses_what_check_refuses() {
    let config = GOOD.replace("pool: app", "pool: ap");
    Proxy::run_on("run", &config, &[])
        .expect(2)
        .says(&["did you mean `app`?"]);
}

/// What is put into a good file, and what must be said of it.
const MISTAKES: &[(&str, &str)] = &[
    ("listeners: [", "evenkeel.yaml"),
    ("workers: 2\nworkers: 3", "workers"),
    ("workers: many", "many"),
    ("workers: 1000", "1000"),
    ("drain_timeout: 30", "30s"),
    ("drain_timeout: 30parsecs", "parsecs"),
    (
        "listeners: { web: { bind: \"127.0.0.1:0\", limits: { body: 10 } } }",
        "10",
    ),
    (
        "listeners: { web: { bind: \"not an address\" } }",
        "not an address",
    ),
    ("routes: [ { pool: app, redirect: https } ]", "redirect"),
    ("routes: [ { match: { path: /x } } ]", "routes"),
    (
        "routes: [ { name: a, pool: app }, { name: a, pool: app } ]",
        "`a`",
    ),
    ("routes: [ { pool: { app: 90, none: 10 } } ]", "none"),
    (
        "routes: [ { match: { listener: none }, pool: app } ]",
        "none",
    ),
    ("routes: [ { pool: app, access_log: none } ]", "none"),
    ("pools: { app: { servers: [] } }", "servers"),
    (
        "pools: { app: { servers: [ { address: \"127.0.0.1:9\", weight: 65536 } ] } }",
        "65536",
    ),
    (
        "pools: { app: { servers: [\"127.0.0.1:9\", \"127.0.0.1:9\"] } }",
        "127.0.0.1:9",
    ),
    ("trusted_proxies: [10.0.0.0/33]", "10.0.0.0/33"),
    (
        "access_logs: { main: { to: stdout, format: \"$no_such\" } }",
        "no_such",
    ),
    (
        "headers: { response: { set: { \"Bad Name\": x } } }",
        "Bad Name",
    ),
    ("headers: { response: { set: { X: \"a\\r\\nb\" } } }", "X"),
    (
        "headers: { request: { set: { Content-Length: \"1\" } } }",
        "Content-Length",
    ),
    (
        "headers: { request: { set: { X: \"env:EVENKEEL_NO_SUCH\" } } }",
        "EVENKEEL_NO_SUCH",
    ),
    (
        "error_pages: { 404: { file: no-such.html } }",
        "no-such.html",
    ),
    ("include: [no-such.yaml]", "no-such.yaml"),
    ("routes: [ { redirect: { to: \"$no_such\" } } ]", "no_such"),
    ("routes: [ { respond: { status: 99 } } ]", "99"),
];

#[test]
fn each_kind_of_mistake_is_told() {
    for (wrong, says) in MISTAKES {
        let key = wrong.split(':').next().unwrap_or_default();
        let rest: Vec<&str> = GOOD.lines().filter(|line| !line.starts_with(key)).collect();
        let config = format!("{}\n{wrong}\n", rest.join("\n"));
        let exit = Proxy::run_on("check", &config, &[]);
        assert_eq!(exit.code, Some(2), "{wrong}\n{}", exit.stderr);
        assert!(
            exit.stderr.contains(says),
            "{wrong}: no {says:?} in\n{}",
            exit.stderr
        );
        assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    }
}

#[test]
fn routes_that_can_never_be_reached_are_warned_of() {
    let config = GOOD.replace(
        "routes: [ { pool: app } ]",
        "routes: [ { name: all, pool: app }, { name: late, match: { path: /x }, pool: app } ]",
    );
    Proxy::run_on("check", &config, &[])
        .expect(0)
        .says(&["warning", "late", "all"]);
}

#[test]
fn includes_are_merged_and_duplicates_across_files_are_errors() {
    let scratch = Scratch::new();
    scratch.write(
        "conf.d/pools.yaml",
        "pools: { app: { servers: [\"127.0.0.1:9\"] } }\n",
    );
    scratch.write("conf.d/routes.yaml", "routes: [ { pool: app } ]\n");
    let config = "include: [\"conf.d/*.yaml\"]\nlisteners: { web: { bind: \"127.0.0.1:0\" } }\n";
    Proxy::run_in(&scratch, "check", config, &[]).expect(0);
    scratch.write(
        "conf.d/more.yaml",
        "pools: { app: { servers: [\"127.0.0.1:10\"] } }\n",
    );
    Proxy::run_in(&scratch, "check", config, &[])
        .expect(2)
        .says(&["more.yaml", "pools.yaml"]);
}

#[test]
fn json_is_read_too() {
    let config = r#"{"listeners":{"web":{"bind":"127.0.0.1:0"}},"pools":{"app":{"servers":["127.0.0.1:9"]}},"routes":[{"pool":"app"}]}"#;
    let scratch = Scratch::new();
    let file = scratch.write("config.json", config);
    Proxy::run(&["check", &file.display().to_string()]).expect(0);
}

#[test]
fn rubbish_never_panics() {
    for rubbish in [
        "",
        "\0",
        "\u{feff}",
        "- a",
        "a",
        "{",
        "a: &a [*a]",
        "? ",
        "%YAML 9",
        "a: !!binary x",
        "---\n---\n",
    ] {
        let exit = Proxy::run_on("check", rubbish, &[]);
        assert_eq!(exit.code, Some(2), "{rubbish:?}\n{}", exit.stderr);
        assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    }
}
