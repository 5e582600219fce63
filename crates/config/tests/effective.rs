//! The effective configuration is a configuration: it loads, and means the same.

use std::path::{Path, PathBuf};

use keel_config::{InMemory, Model, Source, effective, load, render_all};

fn loaded(name: &Path, text: &str, world: &InMemory) -> Result<Model, String> {
    load(Source::text(name, text, world))
        .map(|(model, _)| model)
        .map_err(|found| render_all(&found, false))
}

fn again(model: &Model, world: &InMemory) -> Model {
    let text = effective(model, world);
    let name = Path::new("effective.json");
    loaded(name, &text, world).expect("loads again")
}

/// Without what is only told apart by whether the file says it.
fn asked_for(mut model: Model) -> Model {
    if let Some(admin) = &mut model.admin {
        (admin.defaulted, admin.socket_defaulted) = (false, false);
    }
    model
}

#[track_caller]
fn means_the_same(text: &str, world: &InMemory) {
    let model = loaded(Path::new("main.yaml"), text, world).expect("loads");
    let new = again(&model, world);
    assert!(asked_for(new) == asked_for(model), "{text}");
}

#[test]
fn every_example_means_the_same() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("an example");
        let world = InMemory::new();
        // Some refer to files and variables that are not here.
        if loaded(Path::new("main.yaml"), &text, &world).is_ok() {
            means_the_same(&text, &world);
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} examples");
}

#[test]
fn everything_at_once_means_the_same() {
    let text = r#"
include: [conf.d/*.yaml]
listeners: { web: { bind: ":80", http2: true } }
routes: [ { pool: app, retry: 2 }, { match: { host: b.example }, pool: found } ]
health: { checks: { redis: { tcp: "127.0.0.1:6379", send: "PING\r\n", expect: "+PONG" }, disk: { disk: /var }, app: { pool: app } } }
admin: { token: env:TOKEN, socket: off }
"#;
    let world = InMemory::new()
        .variable("TOKEN", "0123456789abcdef0123")
        .file(
            "conf.d/pools.yaml",
            r#"
pools:
  app:
    servers: [ "10.0.0.1:80", { address: "10.0.0.2:80", backup: true } ]
    balance: weighted
    health: { http: /health, every: 500ms }
    outlier: { on: [error, 503] }
    retry: { backoff: 10ms, on: [error, 502-504] }
    hedge: { after: 200ms }
    breaker: { slow: { over: 1s } }
    limits: { requests: 10 }
    queue: { priority: { header: X-Priority } }
    concurrency: {}
    sticky: { cookie: { name: node, expires: 1h } }
  found:
    servers: [ { srv: _app._tcp.example.com }, { address: "app.internal:80", resolve: all } ]
    health: { exchange: { expect: { regex: "^220" } } }
    slow_start: 10s
    sticky: client_address
    load_report: X-Load
"#,
        );
    means_the_same(text, &world);
}

#[test]
fn servers_are_those_in_force_and_secrets_are_hidden() {
    let text = "listeners: { web: { bind: ':80' } }\nroutes: [ { pool: app } ]\n\
                pools: { app: { servers: ['10.0.0.1:80'] } }\n\
                admin: { token: 0123456789abcdef }\nsecret: 0123456789abcdef0123456789abcdef\n";
    let world = InMemory::new();
    let mut model = loaded(Path::new("main.yaml"), text, &world).expect("loads");
    model.pools[0].servers[0].weight = 7;
    let text = effective(&model, &world);
    let json: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
    assert_eq!(json["pools"]["app"]["servers"][0]["weight"], 7);
    assert_eq!(json["pools"]["app"]["retry"]["tries"], 3);
    assert_eq!(json["timeouts"]["idle"], "65s");
    assert_eq!(json["admin"]["token"], "(hidden)");
    assert!(!json.to_string().contains("0123456789abcdef"));
}
