//! The command line.

use std::net::TcpStream;

use keel_testkit::wait::{SOON, until};
use keel_testkit::{Ask, Origin, Proxy, get};

#[test]
fn bad_usage_is_exit_2() {
    Proxy::run(&["no-such-command"]).expect(2);
    Proxy::run(&[]).expect(2);
    Proxy::run(&["check", "--no-such-flag"]).expect(2);
    Proxy::run(&["check", "/no/such/file.yaml"])
        .expect(2)
        .says(&["/no/such/file.yaml"]);
    Proxy::run(&["proxy", "--to", "not an address"]).expect(2);
}

#[test]
fn help_has_examples() {
    let exit = Proxy::run(&["--help"]).expect(0);
    assert!(exit.stdout.contains("evenkeel demo"), "{}", exit.stdout);
    assert!(!exit.stdout.contains('\u{1b}'), "colour without a terminal");
    Proxy::run(&["--version"]).expect(0);
}

#[test]
fn proxy_needs_no_file() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let to = format!("{},{}", origins[0].address(), origins[1].address());
    let args = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &to,
        "--balance",
        "least_conn",
        "--admin",
        "off",
    ];
    let proxy = Proxy::with_args(&args);
    let mut names: Vec<_> = (0..4)
        .map(|_| proxy.get("/").expect(200).origin())
        .collect();
    names.sort();
    names.dedup();
    assert!(!names.is_empty() && names.len() <= 2, "{names:?}");
    proxy.terminate();
    proxy.wait(SOON).expect(0);
}

#[test]
fn schema_is_a_json_schema_of_the_keys() {
    let exit = Proxy::run(&["schema"]).expect(0);
    let schema: serde_json::Value = serde_json::from_str(&exit.stdout).expect("it is JSON");
    assert!(
        schema["$schema"]
            .as_str()
            .is_some_and(|text| text.contains("json-schema.org"))
    );
    for key in ["listeners", "routes", "pools", "admin", "workers"] {
        assert!(schema["properties"][key].is_object(), "no {key}");
    }
}

const EXPLAINED: &str = "listeners: { web: { bind: \"127.0.0.1:0\" } }\n\
    pools: { app: { servers: [\"127.0.0.1:9\"] }, api: { servers: [{ name: api-1, address: \"127.0.0.1:10\" }] } }\n\
    routes:\n\
    \x20 - { name: admin, match: { path: /admin/, client: [10.0.0.0/8] }, pool: app }\n\
    \x20 - { name: tenant, match: { header: { X-Tenant: acme } }, pool: api }\n\
    \x20 - { name: rest, match: { host: api.example.com }, pool: app }\n";

#[test]
fn explain_tells_each_route_and_why() {
    let more = [
        "GET",
        "http://api.example.com/admin/x",
        "-H",
        "X-Tenant: acme",
    ];
    let exit = Proxy::run_on("explain", EXPLAINED, &more).expect(0);
    for part in ["admin", "10.0.0.0/8", "tenant", "api", "api-1"] {
        assert!(
            exit.stdout.contains(part),
            "no {part:?} in\n{}",
            exit.stdout
        );
    }
    let more = ["GET", "http://other.example/"];
    let exit = Proxy::run_on("explain", EXPLAINED, &more);
    assert!(
        exit.stdout.contains("rest") && exit.stdout.contains("404"),
        "{}",
        exit.stdout
    );
}

#[test]
fn explain_agrees_with_the_proxy() {
    let origin = Origin::echo();
    let config = keel_testkit::proxy::simple(
        &[origin.address()],
        "",
        "routes: [ { name: a, match: { path: { regex: \"^/v[0-9]\" } }, respond: { body: a } }, { name: b, match: { path: /b }, respond: { body: b } } ]",
    );
    let proxy = Proxy::start(&config);
    for path in ["/v1", "/b/x", "/%62", "/c"] {
        let body = proxy.get(path).text();
        let told = Proxy::run_on(
            "explain",
            &config,
            &["GET", &format!("http://test.example{path}")],
        )
        .stdout;
        let took = |name: &str| {
            told.lines()
                .any(|line| line.contains(&format!(" {name}: matches")))
        };
        assert_eq!(
            (took("a"), took("b")),
            (body == "a", body == "b"),
            "{path}:\n{told}"
        );
    }
}

#[test]
fn the_demo_serves_tells_where_to_look_and_ends() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("the system gives us a port");
    let busy = taken
        .local_addr()
        .expect("a bound socket has an address")
        .port()
        .to_string();
    let exit = Proxy::run(&["demo", "--port", &busy, "--seconds", "2"]).expect(0);
    let said = format!("{}{}", exit.stdout, exit.stderr);
    for part in ["curl", "/stats", "/metrics", "http://127.0.0.1:"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}

#[test]
fn the_default_admin_listener_gives_way_when_it_is_taken() {
    // Whether 9900 is free here or not, a second one must start and serve.
    let origin = Origin::echo();
    let scratch = keel_testkit::scratch::Scratch::new();
    let plain = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: app }} ]\npools: {{ app: {{ servers: [\"{}\"] }} }}\n",
        origin.address()
    );
    let file = scratch.write("plain.yaml", plain).display().to_string();
    let first = Proxy::with_args(&["run", &file]);
    let second = Proxy::with_args(&["run", &file]);
    for proxy in [&first, &second] {
        Ask::get(proxy.address(), "/").send().expect(200);
    }
    until("the second says so", || {
        second.log().contains("9900").then_some(())
    });
    if let Ok(stream) = TcpStream::connect("127.0.0.1:9900") {
        drop(stream);
        get("127.0.0.1:9900".parse().expect("an address"), "/health").expect(200);
    }
}
