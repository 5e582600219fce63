//! Keys of listeners, and the client timeouts and limits that also stand at the top.

use super::kind::{KIB, MIB};
use super::*;

/// Half of the largest buffer of the data plane (256 KiB): there must be room for what follows a head.
const HEAD_BYTES_MAX: u64 = 128 * KIB;
const HEAD_SIZE: Kind = Kind::Size {
    min: 256,
    max: HEAD_BYTES_MAX,
};
/// The target is a part of the head.
const TARGET_SIZE: Kind = Kind::Size {
    min: 64,
    max: HEAD_BYTES_MAX,
};
const BODY_RATE_KIND: Kind = Kind::WordOr(
    OFF,
    &Kind::Size {
        min: 1,
        max: 1024 * MIB,
    },
);
const FIELDS: Kind = Kind::Int { min: 1, max: 256 };
const REQUESTS: Kind = Kind::Int {
    min: 1,
    max: u32::MAX as i64,
};

const HEAD_TIME_ABOUT: &str = "How long a client may take to send a request's head, from its first byte (or from the start of the connection) to its end; then 408.";
const IDLE_ABOUT: &str = "How long a connection may be idle between two requests.";
const HANDSHAKE_ABOUT: &str =
    "How long a TLS handshake may take, from the start of the connection; then it is closed.";
const BODY_TIME_ABOUT: &str = "How long a request's body may make no progress; then 408.";
const SEND_ABOUT: &str =
    "How long a client may take no byte of the answer; then the connection is closed.";
const HEAD_ABOUT: &str = "Largest head of a request; more is answered with 431. At most 128KiB: a buffer of the data plane is 256 KiB at most, and a head must stand in one.";
const FIELDS_ABOUT: &str = "Most header fields in a request; more is answered with 431.";
const TARGET_ABOUT: &str = "Longest request target (path and query); more is answered with 414.";
const BODY_ABOUT: &str = "Largest body of a request; more is answered with 413.";
const BODY_RATE_ABOUT: &str = "Bytes per second at which a request's body must come on average, from 10 s after its start; a slower one is answered with 408. `64B` is 64 bytes per second; `off` asks for no rate, only for progress (`timeouts.body`).";
const REQUESTS_ABOUT: &str =
    "Requests on one connection; the last answer says `Connection: close`.";

const GLOBAL: &str = "the value at the top";
const GLOBAL_REASON: &str = "one place for all listeners";

pub(crate) static GLOBAL_HEAD_TIME: Key = Key::new("head", Kind::TIMEOUT)
    .default(
        "10s",
        "an honest client sends its head at once; a slow one is holding a connection",
    )
    .about(HEAD_TIME_ABOUT)
    .example("5s");
pub(crate) static GLOBAL_IDLE: Key = Key::new("idle", Kind::TIMEOUT)
    .default(
        "65s",
        "a little more than the 60 s that many clients and balancers use, so that they close first",
    )
    .about(IDLE_ABOUT)
    .example("15s");
pub(crate) static GLOBAL_BODY_TIME: Key = Key::new("body", Kind::TIMEOUT)
    .default("60s", "outlasts a stall of a mobile network")
    .about(BODY_TIME_ABOUT)
    .example("20s");
pub(crate) static GLOBAL_SEND: Key = Key::new("send", Kind::TIMEOUT)
    .default("60s", "outlasts a stall of a mobile network")
    .about(SEND_ABOUT)
    .example("20s");

pub(crate) static GLOBAL_HANDSHAKE: Key = Key::new("handshake", Kind::TIMEOUT)
    .default(
        "10s",
        "three round trips of a slow network; half-open handshakes are a cheap flood",
    )
    .about(HANDSHAKE_ABOUT)
    .example("5s");

pub(crate) static GLOBAL_TIMEOUTS: Table = Table {
    id: "global_timeouts",
    title: "client timeouts",
    places: "timeouts",
    about: "How long clients may take, for all listeners that say nothing else.",
    keys: &[
        &GLOBAL_HANDSHAKE,
        &GLOBAL_HEAD_TIME,
        &GLOBAL_IDLE,
        &GLOBAL_BODY_TIME,
        &GLOBAL_SEND,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, timeouts: { @ } }",
    base: &[],
};

pub(crate) static GLOBAL_HEAD: Key = Key::new("head", HEAD_SIZE)
    .default("64KiB", "room for large cookies and tokens")
    .about(HEAD_ABOUT)
    .example("16KiB");
pub(crate) static GLOBAL_FIELDS: Key = Key::new("fields", FIELDS)
    .default(
        "128",
        "browsers send about 20, a chain of proxies adds a few",
    )
    .about(FIELDS_ABOUT)
    .example("64");
pub(crate) static GLOBAL_TARGET: Key = Key::new("target", TARGET_SIZE)
    .default("16KiB", "longer than any address that people use")
    .about(TARGET_ABOUT)
    .example("4KiB");
pub(crate) static GLOBAL_BODY: Key = Key::new("body", Kind::BODY_SIZE)
    .default("100MiB", "large enough for photographs and documents; bodies are streamed, so it guards the backends and not our memory")
    .about(BODY_ABOUT)
    .example("1MB");
pub(crate) static GLOBAL_BODY_RATE: Key = Key::new("body_rate", BODY_RATE_KIND)
    .default(
        "64B",
        "slower than any network that works; a client that sends a byte now and then is holding a server",
    )
    .about(BODY_RATE_ABOUT)
    .example("1KiB");
pub(crate) static GLOBAL_REQUESTS: Key = Key::new("requests", REQUESTS)
    .default(
        "1000",
        "connections are spread anew over the workers from time to time",
    )
    .about(REQUESTS_ABOUT)
    .example("100");

pub(crate) static GLOBAL_LIMITS: Table = Table {
    id: "global_limits",
    title: "client limits",
    places: "limits",
    about: "How much clients may send, for all listeners that say nothing else.",
    keys: &[
        &GLOBAL_HEAD,
        &GLOBAL_FIELDS,
        &GLOBAL_TARGET,
        &GLOBAL_BODY,
        &GLOBAL_BODY_RATE,
        &GLOBAL_REQUESTS,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, limits: { @ } }",
    base: &[],
};

pub(crate) static HANDSHAKE: Key = Key::new("handshake", Kind::TIMEOUT)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(HANDSHAKE_ABOUT)
    .example("5s");
pub(crate) static HEAD_TIME: Key = Key::new("head", Kind::TIMEOUT)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(HEAD_TIME_ABOUT)
    .example("5s");
pub(crate) static IDLE: Key = Key::new("idle", Kind::TIMEOUT)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(IDLE_ABOUT)
    .example("15s");
pub(crate) static BODY_TIME: Key = Key::new("body", Kind::TIMEOUT)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(BODY_TIME_ABOUT)
    .example("20s");
pub(crate) static SEND: Key = Key::new("send", Kind::TIMEOUT)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(SEND_ABOUT)
    .example("20s");

pub(crate) static LISTENER_TIMEOUTS: Table = Table {
    id: "listener_timeouts",
    title: "a listener's timeouts",
    places: "listeners.NAME.timeouts",
    about: "How long clients of this listener may take.",
    keys: &[&HANDSHAKE, &HEAD_TIME, &IDLE, &BODY_TIME, &SEND],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\", timeouts: { @ } } } }",
    base: &[],
};

pub(crate) static HEAD: Key = Key::new("head", HEAD_SIZE)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(HEAD_ABOUT)
    .example("16KiB");
pub(crate) static FIELDS_MAX: Key = Key::new("fields", FIELDS)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(FIELDS_ABOUT)
    .example("64");
pub(crate) static TARGET: Key = Key::new("target", TARGET_SIZE)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(TARGET_ABOUT)
    .example("4KiB");
pub(crate) static BODY: Key = Key::new("body", Kind::BODY_SIZE)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(BODY_ABOUT)
    .example("1MB");
pub(crate) static BODY_RATE: Key = Key::new("body_rate", BODY_RATE_KIND)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(BODY_RATE_ABOUT)
    .example("off");
pub(crate) static REQUESTS_MAX: Key = Key::new("requests", REQUESTS)
    .absent(GLOBAL, GLOBAL_REASON)
    .about(REQUESTS_ABOUT)
    .example("100");

pub(crate) static LISTENER_LIMITS: Table = Table {
    id: "listener_limits",
    title: "a listener's limits",
    places: "listeners.NAME.limits",
    about: "How much clients of this listener may send.",
    keys: &[
        &HEAD,
        &FIELDS_MAX,
        &TARGET,
        &BODY,
        &BODY_RATE,
        &REQUESTS_MAX,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\", limits: { @ } } } }",
    base: &[],
};

pub(crate) static BIND: Key = Key::new("bind", Kind::OneOrMany { item: &Kind::Text(&forms::BIND), min: 1 })
    .about("Address or addresses to listen on. `:80` is port 80 of every IPv4 address, `[::]:80` of every IPv6 address (and of no IPv4 one); port 0 takes a free port.")
    .example("[\":80\", \"[::]:80\"]");
pub(crate) static LISTENER_REDIRECT: Key = Key::new("redirect", REDIRECT_KIND)
    .absent("requests go through the routes", "")
    .about("Answers every request of this listener with a redirect. `https` sends it to the same place over TLS.")
    .example("https");
pub(crate) static LISTENER_TLS_KEY: Key = Key::new("tls", Kind::Section(&LISTENER_TLS))
    .absent("plain HTTP", "there is no certificate until you name one")
    .about("TLS: every client of this listener must speak it. The protocol is chosen in the handshake (ALPN).")
    .example("{ certificates: { cert: site.pem, key: site.key } }");
pub(crate) static LISTENER_HTTP2: Key = Key::new(
    "http2",
    Kind::Shape {
        scalar: Some(&Kind::Bool),
        list: None,
        map: Some(&Kind::Section(&HTTP2)),
    },
)
.default("true", "browsers load a page over one connection, and gRPC needs it")
.about("Whether HTTP/2 is spoken beside HTTP/1.1, and its limits: over TLS by ALPN, without TLS to clients that start with it (prior knowledge, h2c).")
.example("false");
pub(crate) static BACKLOG: Key = Key::new("backlog", Kind::Int { min: 1, max: 65535 })
    .default("1024", "a burst of a thousand connections waits instead of being refused; the kernel's own limit (somaxconn) still holds")
    .about("How many connections may wait to be accepted, for each worker.")
    .example("4096");
pub(crate) static LISTENER_TIMEOUTS_KEY: Key =
    Key::new("timeouts", Kind::Section(&LISTENER_TIMEOUTS))
        .absent("the values at the top", "one place for all listeners")
        .about("How long clients may take.")
        .example("{ idle: 15s }");
pub(crate) static LISTENER_LIMITS_KEY: Key = Key::new("limits", Kind::Section(&LISTENER_LIMITS))
    .absent("the values at the top", "one place for all listeners")
    .about("How much clients may send.")
    .example("{ body: 1MB }");
pub(crate) static LISTENER_LOG: Key = Key::new("access_log", ACCESS_LOG_KIND)
    .absent("`access_log` at the top", "one place for all listeners")
    .about("Logs of this listener's requests; a route may say otherwise.")
    .example("main");
pub(crate) static LISTENER_HEADERS: Key = Key::new("headers", Kind::Section(&HEADERS))
    .absent("no edits", "nothing is added that you did not ask for")
    .about("Edits of header fields of this listener's traffic, after the global ones.")
    .example("{ response: { set: { X-Frame-Options: DENY } } }");

pub(crate) static LISTENER: Table = Table {
    id: "listener",
    title: "a listener",
    places: "listeners.NAME",
    about: "Where clients connect.",
    keys: &[
        &BIND,
        &LISTENER_TLS_KEY,
        &LISTENER_HTTP2,
        &LISTENER_REDIRECT,
        &BACKLOG,
        &LISTENER_TIMEOUTS_KEY,
        &LISTENER_LIMITS_KEY,
        &LISTENER_LOG,
        &LISTENER_HEADERS,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { @ } }, access_logs: { main: {} } }",
    base: &[("bind", "\"127.0.0.1:8080\"")],
};
