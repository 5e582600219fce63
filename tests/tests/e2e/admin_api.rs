//! The admin API and the command line that uses it: over the unix socket, and over TCP with a token or a certificate.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use keel_testkit::scratch::Scratch;
use keel_testkit::wait::{SOON, until_true};
use keel_testkit::{Ask, Ca, Exit, LeafSpec, Origin, Proxy, get};
use rustix::process::Signal;
use serde_json::Value;

const TOKEN: &str = "0123456789abcdef0123";

fn site(origins: &[&Origin], more: &str) -> String {
    let servers: Vec<String> = origins
        .iter()
        .enumerate()
        .map(|(at, origin)| {
            format!(
                "      - {{ name: s{at}, address: \"{}\" }} # number {at}\n",
                origin.address()
            )
        })
        .collect();
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools:\n  app: # ours\n    servers:\n{}\
         admin: {{ bind: \"127.0.0.1:0\", socket: \"@DIR@/run/admin.sock\", token: {TOKEN} }}\n{more}",
        servers.concat()
    )
}

fn file(proxy: &Proxy) -> std::path::PathBuf {
    proxy.dir().join("evenkeel.yaml")
}

/// A command of the binary over the socket of a process.
fn tell(proxy: &Proxy, args: &[&str]) -> Exit {
    let socket = proxy.dir().join("run/admin.sock");
    let mut all = args.to_vec();
    let socket = socket.display().to_string();
    all.extend(["--socket", &socket]);
    Proxy::run(&all)
}

fn status(proxy: &Proxy) -> Value {
    let exit = tell(proxy, &["status", "--json"]).expect(0);
    serde_json::from_str(&exit.stdout).expect("status is JSON")
}

fn server(proxy: &Proxy, name: &str) -> Value {
    let servers = status(proxy)["pools"]["app"]["servers"].take();
    let servers = servers.as_array().expect("servers").clone();
    let found = servers.into_iter().find(|it| it["name"] == name);
    found.unwrap_or_default()
}

/// Names of the origins that answer ten requests.
fn who(proxy: &Proxy) -> Vec<String> {
    let mut names: Vec<String> = (0..10)
        .map(|_| proxy.get("/").expect(200).origin())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn servers_are_changed_while_it_runs_and_saved() {
    let (a, b, c) = (Origin::named("a"), Origin::named("b"), Origin::named("c"));
    let proxy = Proxy::start(&site(&[&a, &b], ""));
    assert_eq!(who(&proxy), ["a", "b"]);
    let at = c.address().to_string();
    let added = tell(
        &proxy,
        &["server", "add", "app", &at, "--name", "s2", "--weight", "2"],
    );
    assert!(added.expect(0).stdout.contains("`s2`"));
    assert_eq!(who(&proxy), ["a", "b", "c"]);
    assert_eq!(server(&proxy, "s2")["weight"], 2);
    tell(&proxy, &["server", "remove", "app", "s0"]).expect(0);
    assert_eq!(who(&proxy), ["b", "c"]);
    tell(&proxy, &["server", "drain", "app", "s1", "--limit", "30s"]).expect(0);
    assert_eq!(who(&proxy), ["c"]);
    let drained = server(&proxy, "s1");
    assert_eq!(drained["state"], "draining");
    let by = drained["by"].as_str().expect("by whom");
    assert!(by.starts_with("admin socket uid "), "{by}");
    tell(&proxy, &["server", "enable", "app", "s1"]).expect(0);
    assert_eq!(who(&proxy), ["b", "c"]);
    tell(&proxy, &["server", "down", "app", "s2"]).expect(0);
    assert_eq!(who(&proxy), ["b"]);
    tell(&proxy, &["server", "enable", "app", "s2"]).expect(0);
    tell(&proxy, &["server", "weight", "app", "s1", "5"]).expect(0);
    assert_eq!(server(&proxy, "s1")["weight"], 5);
    assert!(
        tell(&proxy, &["status"])
            .expect(0)
            .stdout
            .contains("not in the file")
    );

    assert!(
        tell(&proxy, &["save"])
            .expect(0)
            .stdout
            .contains("saved: 3 servers")
    );
    let text = std::fs::read_to_string(file(&proxy)).expect("the file");
    let (one, two) = (b.address(), c.address());
    let lists = format!(
        "  app: # ours\n    servers:\n      - {{ name: s1, address: \"{one}\", weight: 5 }} # number 1\n      - {{ address: \"{two}\", name: \"s2\", weight: 2 }}\nadmin:"
    );
    assert!(text.contains(&lists), "{text}");
    tell(&proxy, &["reload"]).expect(0);
    assert_eq!(who(&proxy), ["b", "c"]);
    assert!(
        !tell(&proxy, &["status"])
            .expect(0)
            .stdout
            .contains("not in the file")
    );
    assert!(
        tell(&proxy, &["save"])
            .expect(0)
            .stdout
            .contains("nothing to save")
    );
    assert!(
        proxy
            .log()
            .contains("changed: server `s0` removed from pool `app`")
    );
}

#[test]
fn a_process_that_stops_writes_no_changes() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&site(&[&origin], ""));
    let before = std::fs::read_to_string(file(&proxy)).expect("the file");
    tell(&proxy, &["server", "weight", "app", "s0", "2"]).expect(0);
    let mut running = proxy.wire();
    running.send(Ask::get(proxy.address(), "/delay/2000").to_bytes());
    until_true("it runs", || origin.requests() == 1);
    proxy.terminate();
    proxy.await_log("stopping");
    let save = Ask::post(proxy.admin(), "/save", "");
    let save = save.with("Authorization", &format!("Bearer {TOKEN}"));
    assert!(save.send().expect(503).text().contains("is stopping"));
    let after = std::fs::read_to_string(file(&proxy)).expect("the file");
    assert_eq!(after, before);
    running.answer().expect(200);
}

#[test]
fn a_bad_file_is_refused_and_what_runs_goes_on() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&site(&[&origin], ""));
    let good = std::fs::read_to_string(file(&proxy)).expect("the file");
    std::fs::write(file(&proxy), good.replace("pool: app", "pool: ap")).expect("writes");
    tell(&proxy, &["reload"]).expect(2).says(&[
        "error[E0301]: there is no pool named `ap`",
        "did you mean: app",
        "the configuration has errors",
    ]);
    assert_eq!(who(&proxy), ["a"]);
    tell(&proxy, &["server", "weight", "app", "s0", "2"]).expect(0);
    // Somebody edits while changes wait to be saved.
    tell(&proxy, &["save"]).expect(1).says(&["reload first"]);
    std::fs::write(file(&proxy), good).expect("writes");
    let exit = tell(&proxy, &["reload"]).expect(0);
    assert!(exit.stdout.contains("reloaded"), "{}", exit.stdout);
    assert_eq!(server(&proxy, "s0")["weight"], 2, "run-time changes stay");
}

#[test]
fn faults_say_what_where_and_how_to_mend_it() {
    let origin = Origin::echo();
    let proxy = Proxy::start(&site(&[&origin], ""));
    tell(&proxy, &["server", "down", "ap", "s0"])
        .expect(1)
        .says(&["there is no pool `ap`", "GET /pools"]);
    tell(&proxy, &["server", "down", "app", "s9"])
        .expect(1)
        .says(&["has no server `s9`; it has s0"]);
    tell(&proxy, &["server", "add", "app", "http://10.0.0.1"])
        .expect(2)
        .says(&["did you mean `10.0.0.1:80`"]);
    tell(
        &proxy,
        &["server", "add", "app", "127.0.0.1:1", "--name", "s0"],
    )
    .expect(1)
    .says(&["has a server `s0` already"]);
    tell(&proxy, &["server", "drain", "app", "s0", "--limit", "30"])
        .expect(2)
        .says(&["`30s`"]);
    tell(&proxy, &["server", "remove", "app", "s0"]).expect(1);
    Proxy::run(&["server", "weight", "app", "s0", "70000"]).expect(2);
    Proxy::run(&["status", "--socket", "/nonexistent/admin.sock"])
        .expect(1)
        .says(&[
            "there is no socket /nonexistent/admin.sock",
            "Is it running?",
        ]);
    Proxy::run(&["status", "--token", "x"]).expect(2);
    assert_eq!(who(&proxy).len(), 1, "it serves on");
}

fn put(proxy: &Proxy, token: Option<&str>) -> keel_testkit::Answer {
    let path = "/pools/app/servers/s0/weight";
    let mut ask = Ask::put(proxy.admin(), path, "{\"weight\": 3}");
    if let Some(token) = token {
        ask = ask.with("Authorization", &format!("Bearer {token}"));
    }
    ask.send()
}

#[test]
fn over_tcp_everybody_may_look_and_the_token_may_change() {
    let origin = Origin::echo();
    let proxy = Proxy::start(&site(&[&origin], ""));
    for path in [
        "/health",
        "/stats",
        "/metrics",
        "/pools",
        "/pools/app/servers",
        "/openapi.json",
    ] {
        get(proxy.admin(), path).expect(200);
    }
    let answer = put(&proxy, None).expect(401);
    assert_eq!(
        answer.header("www-authenticate").as_deref(),
        Some("Bearer realm=\"evenkeel\"")
    );
    let error = answer.json()["error"].take();
    assert_eq!(error["where"], "PUT /pools/app/servers/s0/weight");
    assert!(
        error["help"]
            .as_str()
            .is_some_and(|help| help.contains("Bearer"))
    );
    put(&proxy, Some("0123456789abcdef0124")).expect(401);
    put(&proxy, Some("")).expect(401);
    get(proxy.admin(), "/config").expect(401);
    assert_eq!(server(&proxy, "s0")["weight"], 1, "nothing was changed");
    put(&proxy, Some(TOKEN)).expect(200);
    assert_eq!(server(&proxy, "s0")["weight"], 3);
    assert!(proxy.log().contains("admin token at 127.0.0.1:"));
    let config = Ask::get(proxy.admin(), "/config")
        .with("Authorization", &format!("Bearer {TOKEN}"))
        .send()
        .expect(200);
    assert!(!config.text().contains(TOKEN), "the secret is hidden");
    assert_eq!(config.json()["pools"]["app"]["servers"][0]["weight"], 3);
    assert_eq!(config.json()["pools"]["app"]["retry"]["tries"], 3);

    let url = format!("http://{}", proxy.admin());
    Proxy::run(&[
        "server", "weight", "app", "s0", "4", "--url", &url, "--token", TOKEN,
    ])
    .expect(0);
    assert_eq!(server(&proxy, "s0")["weight"], 4);
    Proxy::run(&["reload", "--url", &url])
        .expect(1)
        .says(&["this needs the token"]);
    Proxy::run(&["status", "--url", &url]).expect(0);
}

#[test]
fn what_is_no_request_is_refused() {
    let origin = Origin::echo();
    let proxy = Proxy::start(&site(&[&origin], ""));
    let ask = |method: &str, path: &str, body: &[u8]| {
        let ask = match (method, body.is_empty()) {
            ("POST", _) => Ask::post(proxy.admin(), path, body),
            ("PUT", _) => Ask::put(proxy.admin(), path, body),
            _ => Ask::new(proxy.admin(), method, path),
        };
        ask.with("Authorization", &format!("Bearer {TOKEN}")).send()
    };
    let servers = "/pools/app/servers";
    ask("POST", servers, b"not json").expect(400);
    ask("POST", servers, b"[]").expect(400);
    ask("POST", servers, b"{}").expect(400);
    let wrong = ask(
        "POST",
        servers,
        b"{\"address\": \"127.0.0.1:1\", \"wieght\": 1}",
    )
    .expect(400);
    assert!(wrong.text().contains("`wieght` is not known here"));
    ask(
        "POST",
        servers,
        b"{\"address\": \"127.0.0.1:1\", \"weight\": -1}",
    )
    .expect(400);
    ask("POST", servers, &vec![b' '; 100_000]).expect(413);
    ask(
        "PUT",
        "/pools/app/servers/s0/state",
        b"{\"state\": \"gone\"}",
    )
    .expect(400);
    ask(
        "PUT",
        "/pools/app/servers/s0/state",
        b"{\"state\": \"down\", \"limit\": \"1s\"}",
    )
    .expect(400);
    ask("PUT", "/pools/no/servers/s0/weight", b"{\"weight\": 1}").expect(404);
    ask("GET", "/pools/app/servers/s9", b"").expect(404);
    ask("DELETE", "/reload", b"").expect(405);
    let missing = ask("GET", "/nothing", b"").expect(404);
    assert!(missing.json()["error"]["help"].as_str().is_some());
    ask(
        "POST",
        servers,
        b"{\"address\": \"127.0.0.1:1\", \"name\": \"new\"}",
    )
    .expect(201);
    ask("DELETE", "/pools/app/servers/new", b"").expect(200);
}

#[test]
fn the_socket_is_its_owners_and_there_is_one() {
    let origin = Origin::echo();
    let config = site(&[&origin], "");
    let proxy = Proxy::start(&config);
    let socket = proxy.dir().join("run/admin.sock");
    let meta = std::fs::metadata(&socket).expect("a socket");
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    // Another process that wants it is refused.
    let shown = socket.display().to_string();
    let second = config.replace("@DIR@/run/admin.sock", &shown);
    Proxy::run_on("run", &second, &[])
        .expect(1)
        .says(&["is the socket of a process that runs"]);
    // A process that was killed leaves its name behind; the next one replaces it.
    let mut proxy = proxy;
    proxy.signal(Signal::KILL);
    until_true("it is gone", || !proxy.is_running());
    assert!(socket.exists());
    Proxy::run(&["status", "--socket", &shown])
        .expect(1)
        .says(&["nobody listens on"]);
    let again = Proxy::start_in(Scratch::new(), &second, &[]);
    Proxy::run(&["status", "--socket", &shown]).expect(0);
    // One that stops takes it away.
    Proxy::run(&["drain", "--socket", &shown]).expect(0);
    again.wait(SOON).expect(0);
    assert!(!socket.exists());
}

#[test]
fn without_settings_it_is_found_by_itself() {
    let origin = Origin::echo();
    let scratch = Scratch::new();
    let folder = scratch.path().display().to_string();
    let env = [
        ("XDG_RUNTIME_DIR", folder.as_str()),
        ("RUNTIME_DIRECTORY", ""),
    ];
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [\"{}\"] }} }}\nadmin: {{ bind: off }}\n",
        origin.address()
    );
    let proxy = Proxy::start_in(Scratch::new(), &config, &env);
    let exit = Proxy::run_with(&["status"], &env).expect(0);
    assert!(
        exit.stdout.contains("pool app: 1 of 1 usable"),
        "{}",
        exit.stdout
    );
    Proxy::run_with(&["drain"], &env).expect(0);
    proxy.wait(SOON).expect(0);
    Proxy::run_with(
        &["status"],
        &[
            ("XDG_RUNTIME_DIR", "/nonexistent"),
            ("RUNTIME_DIRECTORY", ""),
        ],
    )
    .expect(1)
    .says(&["/nonexistent/evenkeel/admin.sock", "Is it running?"]);
}

#[test]
fn why_a_server_is_down_is_told() {
    let (a, mut b) = (Origin::named("a"), Origin::named("b"));
    let keys = "    health: { http: /, every: 100ms, every_down: 100ms, fall: 2, rise: 1 }\n";
    let config = site(&[&a, &b], "").replace("admin:", &format!("{keys}admin:"));
    let proxy = Proxy::start(&config);
    until_true("both are up", || {
        server(&proxy, "s1")["check"]["passed"].as_u64() > Some(0)
    });
    b.stop();
    until_true("it is down", || server(&proxy, "s1")["state"] == "down");
    let down = server(&proxy, "s1");
    assert_eq!(down["by"], "check");
    assert!(
        down["why"].as_str().is_some_and(|why| !why.is_empty()),
        "{down}"
    );
    assert!(down["state_seconds"].as_f64().is_some());
    let table = tell(&proxy, &["status"]).expect(0).stdout;
    assert!(
        table.contains("1 of 2 usable") && table.contains("http"),
        "{table}"
    );
}

#[test]
fn over_tls_a_verified_certificate_may_change_too() {
    let origin = Origin::echo();
    let scratch = Scratch::new();
    let ca = Ca::new("ops");
    let (cert, key) = ca
        .leaf(&["localhost", "127.0.0.1"])
        .write(&scratch, "admin");
    let own = ca.issue(LeafSpec::client("anna")).write(&scratch, "anna");
    let strange = Ca::new("another").issue(LeafSpec::client("eve"));
    let strange = strange.write(&scratch, "eve");
    let ca_file = scratch.write("ca.pem", ca.pem());
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\n\
         pools: {{ app: {{ servers: [ {{ name: s0, address: \"{}\" }} ] }} }}\n\
         admin: {{ bind: \"127.0.0.1:0\", tls: {{ certificates: {{ cert: \"{}\", key: \"{}\" }}, client: {{ ca: \"{}\", verify: optional }} }} }}\n",
        origin.address(),
        cert.display(),
        key.display(),
        ca_file.display()
    );
    let proxy = Proxy::start_in(scratch, &config, &[]);
    let url = format!("https://localhost:{}", proxy.admin().port());
    let ca_file = ca_file.display().to_string();
    let run = |args: &[&str], identity: Option<&(PathBuf, PathBuf)>| {
        let shown = |path: &PathBuf| path.display().to_string();
        let identity = identity.map(|(cert, key)| (shown(cert), shown(key)));
        let mut all = args.to_vec();
        all.extend(["--url", &url, "--ca", &ca_file]);
        if let Some((cert, key)) = &identity {
            all.extend(["--cert", cert, "--key", key]);
        }
        Proxy::run(&all)
    };
    let weight = ["server", "weight", "app", "s0", "3"];
    let seen = run(&["status"], None).expect(0);
    assert!(
        seen.stdout.contains("pool app: 1 of 1 usable"),
        "{}",
        seen.stdout
    );
    run(&weight, None)
        .expect(1)
        .says(&["this needs a client certificate"]);
    run(&weight, Some(&strange))
        .expect(1)
        .says(&["broke off", "UnknownCA"]);
    run(&weight, Some(&own)).expect(0);
    assert!(
        proxy.log().contains("by=certificate CN=anna at 127.0.0.1:"),
        "{}",
        proxy.log()
    );
    // Without the CA its certificate is not believed.
    Proxy::run(&["status", "--url", &url])
        .expect(1)
        .says(&["TLS"]);
    // In clear there is no answer.
    let clear = format!("http://localhost:{}", proxy.admin().port());
    Proxy::run(&["status", "--url", &clear]).expect(1);
}
