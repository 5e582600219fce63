//! Each kind of active check against real servers: HTTP in all its forms, TLS, HTTP/2, gRPC, Redis, SMTP, nginx.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keel_testkit::peers::{PeerServer, grpc_python};
use keel_testkit::scratch::Scratch;
use keel_testkit::wait::until_true;
use keel_testkit::{Ca, H2Origin, Origin, Proxy, Reply, TlsServer, get, require_peer};
use serde_json::Value;

use crate::health::{PATIENT, server, until_state};

/// What `/stats` says of the only server of a pool.
fn only_of(proxy: &Proxy, pool: &str) -> Value {
    let stats = get(proxy.admin(), "/stats").expect(200).json();
    let servers = stats["backends"].as_object().unwrap();
    let found = servers.values().find(|one| one["pool"] == pool);
    found.unwrap().clone()
}

/// Each way of looking at an answer, with one server that passes and one that does not.
#[test]
fn bodies_statuses_and_json_decide() {
    let answers = |text: &'static str| Origin::answering(move |_| Reply::text(text));
    let right = answers(
        r#"{"status": "healthy", "version": "3.2.1", "uptime": 86400, "checks": {"database": true}, "load": {"queue": 3}}"#,
    );
    let wrong = answers(r#"{"status": "starting", "load": {"queue": 300}}"#);
    for (http, why) in [
        (
            "path: /, json: { status: healthy }",
            "`status` is `starting`, not `healthy`",
        ),
        (
            "path: /, json: { load.queue: 3 }",
            "`load.queue` is `300`, not `3`",
        ),
        ("path: /, body: 'healthy'", "`healthy` is not in"),
        (
            "path: /, body: { regex: 'queue\": [0-9]{1,2}}' }",
            "a match of",
        ),
    ] {
        let health = format!("health: {{ http: {{ {http} }}, {PATIENT} }}");
        let proxy = Proxy::before_with(&[right.address(), wrong.address()], &health, "");
        until_state(&proxy, wrong.address(), "down");
        let told = server(&proxy, wrong.address());
        assert!(
            told["why"].as_str().unwrap().contains(why),
            "{http}: {told}"
        );
        let told = server(&proxy, right.address());
        assert_eq!(told["state"], "up", "{http}: {told}");
        assert_eq!(told["check"]["failed"], 0, "{http}: {told}");
        let app = &told["check"]["app"];
        assert_eq!(app["version"], "3.2.1");
        assert_eq!(app["uptime_seconds"], 86_400.0);
        assert_eq!(app["checks"]["database"], "true");
    }
}

/// TLS as the traffic has it, with another name, or not at all; HTTP/2 in clear and by ALPN.
#[test]
fn checks_speak_what_the_pool_speaks_or_otherwise() {
    let (ca, scratch) = (Ca::new("test"), Scratch::new());
    scratch.write("ca.pem", ca.pem());
    let leaf = ca.leaf(&["app.internal"]);
    let secure = TlsServer::with_alpn(&leaf, &["http/1.1"]).named("secure");
    let secure2 = H2Origin::new("secure2")
        .tls(&TlsServer::with_alpn(&leaf, &["h2"]))
        .echo();
    let clear2 = H2Origin::new("clear2").echo();
    let plain = Origin::named("plain");
    let tls = "tls: { ca: \"@DIR@/ca.pem\", server_name: app.internal }";
    let pool = |name: &str, at: SocketAddr, keys: &str| {
        format!("  {name}: {{ servers: [\"{at}\"], {keys} }}\n")
    };
    let check = |more: &str| format!("health: {{ http: {{ path: / }}, {more} {PATIENT} }}");
    let mut config =
        "listeners: { web: { bind: \"127.0.0.1:0\" } }\nroutes: [ { pool: tls1 } ]\npools:\n"
            .to_owned();
    config += &pool("tls1", secure.address(), &format!("{tls}, {}", check("")));
    config += &pool(
        "tls2",
        secure2.address(),
        &format!("{tls}, protocol: http2, {}", check("")),
    );
    config += &pool(
        "clear2",
        clear2.address(),
        &format!("protocol: http2, {}", check("")),
    );
    // The traffic's TLS, and a side port without.
    let port = plain.address().port();
    config += &pool(
        "side",
        secure.address(),
        &format!("{tls}, {}", check(&format!("port: {port}, tls: false,"))),
    );
    // No TLS for traffic; the check has its own, with a name that the certificate does not have.
    let own = "tls: { ca: \"@DIR@/ca.pem\", server_name: other.internal },";
    config += &pool(
        "own",
        plain.address(),
        &check(&format!("port: {}, {own}", secure.address().port())),
    );
    let proxy = Proxy::start_in(scratch, &config, &[]);
    let of = |pool: &str| only_of(&proxy, pool);
    for pool in ["tls1", "tls2", "clear2", "side"] {
        until_true(&format!("{pool} passes"), || {
            of(pool)["check"]["passed"].as_u64() > Some(1)
        });
        assert_eq!(of(pool)["check"]["failed"], 0, "{}", of(pool));
    }
    until_true("the wrong name is seen", || of("own")["state"] == "down");
    let why = of("own")["why"].as_str().unwrap().to_owned();
    assert!(why.starts_with("TLS handshake failed"), "{why}");
}

const HEALTH_SERVICE: &str = "
import sys, grpc
from concurrent import futures
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
servicer = health.HealthServicer()
status = health_pb2.HealthCheckResponse
def set(request, context):
    name, _, value = request.partition(b' ')
    servicer.set(name.decode(), status.SERVING if value == b'up' else status.NOT_SERVING)
    return b''
server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
handlers = { 'Set': grpc.unary_unary_rpc_method_handler(set) }
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('kit.Switch', handlers),))
servicer.set('app.Orders', status.SERVING)
server.add_insecure_port('127.0.0.1:' + sys.argv[1])
server.start()
server.wait_for_termination()
";

const SWITCH: &str = "
import sys, grpc
channel = grpc.insecure_channel(sys.argv[1])
channel.unary_unary('/kit.Switch/Set')(sys.argv[2].encode(), timeout=20)
";

/// grpcio's own health service.
#[test]
fn grpc_health_of_grpcio() {
    let Some(python) = grpc_python() else {
        return;
    };
    let Some(peer) = PeerServer::python_of(&python, HEALTH_SERVICE) else {
        return;
    };
    let scratch = Scratch::new();
    let switch = scratch.write("switch.py", SWITCH);
    let set = |text: &str| {
        let args = [switch.to_str().unwrap(), &peer.address().to_string(), text];
        let done = keel_testkit::peers::run(&python, &args);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let pool = |service: &str| {
        format!(
            "{{ servers: [\"{}\"], protocol: http2, health: {{ grpc: {{ {service} }}, {PATIENT} }} }}",
            peer.address()
        )
    };
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: orders }} ]\npools:\n  orders: {}\n  whole: {}\n  unknown: {}\n",
        pool("service: app.Orders"),
        pool(""),
        pool("service: app.Other")
    );
    let proxy = Proxy::start(&config);
    let of = |pool: &str| only_of(&proxy, pool);
    for pool in ["orders", "whole"] {
        until_true("it passes", || of(pool)["check"]["health"] == "up");
    }
    until_true("an unknown service fails", || {
        of("unknown")["state"] == "down"
    });
    let why = of("unknown")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("grpc-status 5 (not_found)"), "{why}");
    set("app.Orders down");
    until_true("it is not serving", || of("orders")["state"] == "down");
    assert_eq!(of("orders")["why"], "gRPC health is 2, not SERVING");
    assert_eq!(of("orders")["check"]["check"], "grpc app.Orders");
    assert_eq!(of("whole")["state"], "up", "one service is not the server");
    set("app.Orders up");
    until_true("it serves again", || of("orders")["state"] == "up");
}

/// A Redis server on a port that stays the same; killed on drop.
struct Redis(Child);

impl Redis {
    fn start(program: &Path, port: u16) -> Redis {
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--port", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        Redis(child.expect("a program that was found can be started"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Redis by its own protocol, SMTP by its greeting, and a port that only takes connections.
#[test]
fn exchanges_and_plain_connections() {
    let program = require_peer!("redis-server");
    let free = Origin::scripted(|_| {});
    let port = free.address().port();
    drop(free);
    let redis = Redis::start(&program, port);
    let smtp = Origin::scripted(|stage| {
        stage.drip("220 mx.internal ESMTP\r\n", Duration::from_millis(2));
        stage.until_end();
    });
    let busy = Origin::scripted(|stage| {
        stage.send("421 too many connections\r\n");
    });
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nroutes: [ {{ pool: redis }} ]\npools:\n\
         \x20 redis: {{ servers: [\"127.0.0.1:{port}\"], health: {{ exchange: {{ send: \"PING\\r\\n\", expect: \"+PONG\" }}, {PATIENT} }} }}\n\
         \x20 smtp: {{ servers: [\"{}\"], health: {{ exchange: {{ expect: {{ regex: '^220 ' }} }}, {PATIENT} }} }}\n\
         \x20 busy: {{ servers: [\"{}\"], health: {{ exchange: {{ expect: {{ regex: '^220 ' }} }}, {PATIENT} }} }}\n\
         \x20 port: {{ servers: [\"127.0.0.1:{port}\"], health: {{ tcp: true, {PATIENT} }} }}\n",
        smtp.address(),
        busy.address()
    );
    let proxy = Proxy::start(&config);
    let of = |pool: &str| only_of(&proxy, pool);
    for pool in ["redis", "smtp", "port"] {
        until_true(&format!("{pool} passes"), || {
            of(pool)["check"]["health"] == "up"
        });
    }
    until_true("a busy one fails", || of("busy")["state"] == "down");
    let why = of("busy")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("is not in `421 too many connections"), "{why}");
    drop(redis);
    for pool in ["redis", "port"] {
        until_true(&format!("{pool} fails"), || of(pool)["state"] == "down");
        assert!(
            of(pool)["why"]
                .as_str()
                .unwrap()
                .starts_with("no connection"),
            "{}",
            of(pool)
        );
    }
    let _redis = Redis::start(&program, port);
    for pool in ["redis", "port"] {
        until_true(&format!("{pool} is back"), || of(pool)["state"] == "up");
    }
    assert_eq!(of("smtp")["check"]["failed"], 0);
}

/// The check of the requirements, against nginx.
#[test]
fn nginx_is_checked_and_found_when_it_dies() {
    let Some(nginx) =
        PeerServer::nginx("location /health { return 200 ok; } location / { return 200 nginx; }")
    else {
        return;
    };
    let address = nginx.address();
    let health = format!("health: {{ http: {{ path: /health, status: 200-299 }}, {PATIENT} }}");
    let other = Origin::named("other");
    let proxy = Proxy::before_with(&[address, other.address()], &health, "");
    until_true("it passes", || {
        server(&proxy, address)["check"]["health"] == "up"
    });
    drop(nginx);
    until_state(&proxy, address, "down");
    let told = server(&proxy, address)["why"].clone();
    assert!(
        told.as_str().unwrap().starts_with("no connection"),
        "{told}"
    );
    proxy.get("/").expect(200);
}
