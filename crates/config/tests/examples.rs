//! Every file of `examples` loads without a warning, and says what its first lines promise.
#![allow(clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keel_config::model::{
    Balance, Certificates, Condition, HostHeader, IpHashMode, LogFormat, LogTarget, NamedFormat,
    PathPattern, Roots, ServerName, ServerProtocol, Split, SplitBy, Target, VerifyServer,
};
use keel_config::{Model, Source, Surroundings, load, render_all};

/// The disk, and the variables that examples name.
struct Disk;

impl Surroundings for Disk {
    fn read(&self, path: &Path, _bytes_max: usize) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?;
        entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "ORDERS_ADDRESS" => Some("10.4.0.1:8080".to_owned()),
            "ADMIN_TOKEN" => Some("0123456789abcdef".repeat(4)),
            _ => None,
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn example(name: &str) -> Model {
    let path = folder().join(name);
    match load(Source::file(&path, &Disk)) {
        Ok((model, warnings)) => {
            assert!(
                warnings.is_empty(),
                "{name}:\n{}",
                render_all(&warnings, false)
            );
            model
        }
        Err(found) => panic!("{name}:\n{}", render_all(&found, false)),
    }
}

fn pool<'m>(model: &'m Model, name: &str) -> &'m keel_config::model::Pool {
    model
        .pools
        .iter()
        .find(|pool| pool.name.value == name)
        .expect("a pool")
}

fn route<'m>(model: &'m Model, name: &str) -> &'m keel_config::model::Route {
    model
        .routes
        .iter()
        .find(|route| route.name.value == name)
        .expect("a route")
}

fn split(route: &keel_config::model::Route) -> &Split {
    let Target::Split(split) = &route.target.value else {
        panic!("a split")
    };
    split
}

fn weights(model: &Model, name: &str) -> Vec<u32> {
    pool(model, name)
        .servers
        .iter()
        .map(|server| server.weight)
        .collect()
}

#[test]
fn every_example_loads() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).expect("the examples") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".yaml") {
            example(&name);
            count += 1;
        }
    }
    assert!(count >= 14, "{count} examples");
}

#[test]
fn api_static_admin_canary() {
    let model = example("api-static-admin-canary.yaml");
    assert_eq!(weights(&model, "api"), [3, 2, 1]);
    let split = split(route(&model, "api"));
    assert_eq!(split.by, SplitBy::ClientAddress);
    assert_eq!(
        split
            .parts
            .iter()
            .map(|part| part.weight)
            .collect::<Vec<_>>(),
        [90, 10]
    );
    assert_eq!(model.pool(split.parts[1].pool.value).name.value, "canary");
    assert_eq!(route(&model, "api").body_limit, Some(10 * 1024 * 1024));
    assert_eq!(pool(&model, "api").timeouts.read, Duration::from_secs(30));
    // The limit of a body that nobody set: 100 MB in the 1024-based sense.
    assert_eq!(model.listeners[0].limits.body, 1024 * 1024 * 100);
}

#[test]
fn pools_from_nginx() {
    let model = example("pools-from-nginx.yaml");
    let api = pool(&model, "api");
    assert!(matches!(api.balance.value, Balance::LeastConn { .. }));
    assert_eq!(
        (
            api.servers[0].max_fails,
            api.servers[0].fail_timeout.as_secs()
        ),
        (3, 30)
    );
    assert_eq!(
        (api.keepalive.connections, api.keepalive.requests),
        (32, 1000)
    );
    assert_eq!(pool(&model, "admin").servers[1].tier, 1);
    assert_eq!(model.headers.response.set.len(), 4);
    assert_eq!(route(&model, "health").access_log, Some(Vec::new()));
    assert_eq!(
        route(&model, "websocket").timeouts.read,
        Some(Duration::from_secs(3600))
    );
    assert_eq!(model.listeners[0].binds[1].to_string(), "[::]:80");
}

#[test]
fn websocket() {
    let model = example("websocket.yaml");
    let balance = &pool(&model, "chat").balance.value;
    assert_eq!(
        balance,
        &Balance::IpHash {
            mode: IpHashMode::Consistent
        }
    );
    assert_eq!(
        route(&model, "chat").timeouts.tunnel,
        Some(Duration::from_secs(4 * 3600))
    );
}

#[test]
fn production() {
    let model = example("production.yaml");
    assert_eq!(weights(&model, "app"), [3, 2, 2, 1]);
    assert_eq!(pool(&model, "app").servers[3].tier, 1);
    let log = model.log(model.access_log[0]);
    assert_eq!(log.format.value, LogFormat::Named(NamedFormat::Main));
    assert_eq!(
        log.target.value,
        LogTarget::File("/var/log/evenkeel/access.log".into())
    );
}

#[test]
fn least_connections() {
    let model = example("least-connections.yaml");
    let backend = pool(&model, "backend");
    assert_eq!(weights(&model, "backend"), [3, 2, 1]);
    assert!(backend.servers[2].tier == 1 && backend.retry.tries == 3);
    assert_eq!(
        (
            backend.timeouts.connect.as_secs(),
            backend.timeouts.read.as_secs()
        ),
        (5, 10)
    );
}

#[test]
fn pools_from_haproxy() {
    let model = example("pools-from-haproxy.yaml");
    assert_eq!(weights(&model, "web_servers"), [100, 100, 50]);
    let Condition::Path(paths) = &route(&model, "api").condition.value else {
        panic!("a path")
    };
    let plain = PathPattern::Prefix {
        path: "/api".to_owned(),
        segment: false,
    };
    assert_eq!(paths[0].value, plain);
}

#[test]
fn tenants() {
    let model = example("tenants.yaml");
    let Condition::Header(test) = &route(&model, "globex").condition.value else {
        panic!("a header")
    };
    assert_eq!((test.name.as_str(), test.tests.len()), ("tenant", 2));
    assert!(matches!(
        pool(&model, "shared").balance.value,
        Balance::Hash { bounded_load: Some(bound), .. } if bound == 1.25
    ));
}

#[test]
fn redirects() {
    let model = example("redirects.yaml");
    let whole = model.listeners[0].redirect.as_ref().expect("a redirect");
    assert_eq!(
        (whole.to.as_str(), whole.status.code()),
        ("https://$host$request_uri", 301)
    );
    let Target::Redirect(moved) = &route(&model, "bare-host").target.value else {
        panic!("a redirect")
    };
    assert_eq!(moved.status.code(), 302);
}

#[test]
fn error_pages() {
    let model = example("error-pages.yaml");
    let site = &route(&model, "site").error_pages;
    assert!(site.page(503).is_some() && site.page(501).is_none());
    let api = &route(&model, "api").error_pages;
    assert_eq!(
        api.page(501).expect("a page").content_type,
        "application/json"
    );
    assert_eq!(
        api.page(404).expect("a page").content_type,
        "text/html; charset=utf-8"
    );
}

#[test]
fn tls() {
    let model = example("tls.yaml");
    let site = &model.listeners[1];
    let tls = site.tls.as_ref().expect("TLS");
    let Certificates::SelfSigned(own) = &tls.certificates else {
        panic!("a certificate of our own")
    };
    assert_eq!(own.names.len(), 3);
    let hsts = tls.hsts.as_ref().expect("HSTS").value();
    assert_eq!(hsts, "max-age=86400");
    assert_eq!(tls.handshakes.per_client, Some(200));
    assert_eq!(site.http2.as_ref().expect("HTTP/2").streams, 100);
    assert!(model.listeners[0].tls.is_none() && model.listeners[0].http2.is_some());
    assert_eq!(pool(&model, "grpc").protocol, ServerProtocol::Http2);
    assert!(route(&model, "greeter").grpc_web.value);
    let servers = pool(&model, "site").tls.as_ref().expect("TLS");
    assert!(
        matches!(&servers.server_name, ServerName::Fixed(name) if name.value == "app.internal")
    );
    assert!(matches!(&servers.verify, VerifyServer::Full(roots) if roots.value == Roots::System));
}

#[test]
fn access_logs() {
    let model = example("access-logs.yaml");
    let names = |ids: &[keel_config::model::LogId]| {
        ids.iter()
            .map(|id| model.log(*id).name.value.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&model.access_log), ["combined", "timed"]);
    let api = route(&model, "api").access_log.as_deref().expect("logs");
    assert_eq!(names(api), ["main", "machines"]);
    assert_eq!(model.log(api[1]).facility.number(), 16);
}

#[test]
fn behind_a_proxy() {
    let model = example("behind-a-proxy.yaml");
    assert_eq!(model.client_address.trusted_proxies.len(), 2);
    let legacy = route(&model, "legacy");
    assert!(legacy.forwarded.x_real_ip && !legacy.forwarded.forwarded);
    assert!(route(&model, "site").forwarded.forwarded);
    assert!(matches!(
        pool(&model, "legacy").host,
        HostHeader::Literal(_)
    ));
}

#[test]
fn split_over_files() {
    let model = example("split/main.yaml");
    let names: Vec<&str> = model
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["orders", "users", "rest"]);
    assert_eq!(
        pool(&model, "orders").servers[0].address.to_string(),
        "10.4.0.1:8080"
    );
    assert_eq!(
        model.headers.request.set[0].value.value,
        "not-a-secret-in-an-example"
    );
}

#[test]
fn resilience() {
    let model = example("resilience.yaml");
    let app = pool(&model, "app");
    assert_eq!(app.servers[3].tier, 1);
    let health = app.health.as_ref().expect("checks");
    assert_eq!(health.probe.kind(), "http");
    assert_eq!(
        (health.every.as_secs(), health.every_down.as_secs()),
        (2, 1)
    );
    assert!(
        app.outlier
            .as_ref()
            .is_some_and(|it| it.on.statuses.contains(503))
    );
    assert!(app.retry.on.answer_timeout && app.retry.on.statuses.contains(503));
    let retry = model.routes[0].retry.over(&app.retry);
    assert_eq!((retry.tries, retry.per_try), (2, app.retry.per_try));
    assert_eq!(retry.within.map(|it| it.as_secs()), Some(3));
    assert!(app.queue.is_some() && app.sticky.is_some() && app.hedge.is_some());
    assert_eq!(model.health.checks.len(), 3);
    assert!(model.admin.is_some_and(|admin| admin.token.is_some()));
}
