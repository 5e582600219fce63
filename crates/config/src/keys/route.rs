//! Keys of routes and their targets.

use super::*;
use crate::model::{Expose, RedirectStatus};
use crate::words::Word;

/// The target `https` of a redirect.
pub(crate) static HTTPS: Words = &[("https", "the same host and path over TLS")];
/// What is hashed for a split without a key of its own.
pub(crate) static SPLIT_WORDS: Words = &[
    ("client_address", "a client stays with its pool"),
    ("random", "each request anew"),
];
/// The Host that is sent.
pub(crate) static HOST_WORDS: Words =
    &[("keep", "the client's"), ("server", "the server's address")];

const REDIRECT_TO_KIND: Kind = Kind::WordOr(HTTPS, &Kind::Text(&forms::REDIRECT_TO));
/// A redirect in its short and long form.
pub(crate) const REDIRECT_KIND: Kind = Kind::Shape {
    scalar: Some(&REDIRECT_TO_KIND),
    list: None,
    map: Some(&Kind::Section(&REDIRECT)),
};
/// What is sent as Host.
pub(crate) const HOST_KIND: Kind = Kind::WordOr(HOST_WORDS, &Kind::Text(&forms::HOST_HEADER));

const SAMPLE: &str = "{ listeners: { web: { bind: \":80\" } }, access_logs: { main: {} }, \
                      pools: { app: { servers: [\"127.0.0.1:9001\"], protocol: http2 }, canary: { servers: [\"127.0.0.1:9002\"] } }, routes: [ { @ } ] }";

pub(crate) static ROUTE_NAME: Key = Key::new("name", Kind::Text(&forms::NAME))
    .absent("`route-N`, N being its place in the list", "")
    .about("Name in logs, metrics and `explain`.")
    .example("api");
pub(crate) static ROUTE_MATCH: Key = Key::new("match", Kind::Section(&MATCH))
    .absent(
        "every request",
        "a last route without it takes what is left",
    )
    .about("Which requests it takes.")
    .example("{ path: /api/ }");
pub(crate) static ROUTE_POOL: Key = Key::new(
    "pool",
    Kind::Shape {
        scalar: Some(&Kind::Text(&forms::POOL_NAME)),
        list: None,
        map: Some(&Kind::Map {
            name: &forms::POOL_NAME,
            value: &Kind::Int { min: 0, max: 65535 },
            min: 1,
        }),
    },
)
.absent("another target is given", "")
.about("Target: a pool, or several with weights. A client stays with its part of a split unless `split_by` says otherwise.")
.example("{ app: 90, canary: 10 }");
pub(crate) static ROUTE_SPLIT_BY: Key = Key::new(
    "split_by",
    Kind::Shape {
        scalar: Some(&Kind::Words(SPLIT_WORDS)),
        list: None,
        map: Some(&Kind::Section(&SPLIT_BY)),
    },
)
.default(
    "client_address",
    "a client that saw the new version keeps seeing it",
)
.about("What decides which part of a split a request goes to. Only with a split.")
.with(&[("pool", "{ app: 90, canary: 10 }")])
.example("random");
pub(crate) static ROUTE_REDIRECT: Key = Key::new("redirect", REDIRECT_KIND)
    .absent("another target is given", "")
    .about("Target: a redirect to a URL or path with variables, or `https` for the same place over TLS.")
    .with(&[("pool", "")])
    .example("\"https://www.example.com$request_uri\"");
pub(crate) static ROUTE_RESPOND: Key = Key::new("respond", Kind::Section(&RESPOND))
    .absent("another target is given", "")
    .about("Target: a fixed answer.")
    .with(&[("pool", "")])
    .example("{ status: 200, body: \"healthy\\n\" }");
pub(crate) static ROUTE_EXPOSE: Key = Key::new("expose", Kind::Words(Expose::WORDS))
    .absent(
        "another target is given",
        "they are on the admin listener; showing them elsewhere is for you to decide",
    )
    .about("Target: one of our own endpoints.")
    .with(&[("pool", "")])
    .example("health");
pub(crate) static ROUTE_HEADERS: Key = Key::new("headers", Kind::Section(&HEADERS))
    .absent("no edits", "")
    .about(
        "Edits of header fields of this route's traffic, after those of the top and the listener.",
    )
    .example("{ request: { set: { X-Env: production } } }");
pub(crate) static ROUTE_LIMITS_KEY: Key = Key::new("limits", Kind::Section(&ROUTE_LIMITS))
    .absent("the listener's", "")
    .about("How much a client may send here.")
    .example("{ body: 10MB }");
pub(crate) static ROUTE_TIMEOUTS_KEY: Key = Key::new("timeouts", Kind::Section(&ROUTE_TIMEOUTS))
    .absent("those of the pool and the listener", "")
    .about("How long servers and clients may take here.")
    .example("{ read: 1h }");
pub(crate) static ROUTE_LOG: Key = Key::new("access_log", ACCESS_LOG_KIND)
    .absent("the listener's, else that at the top", "")
    .about("Logs of this route's requests.")
    .example("main");
pub(crate) static ROUTE_PAGES: Key = Key::new("error_pages", ERROR_PAGES_KIND)
    .absent("those at the top", "")
    .about("Pages that replace our own error texts here; statuses that are not named keep those at the top.")
    .example("{ 5xx: \"Back soon.\" }");
pub(crate) static ROUTE_SHOW_BACKEND: Key = Key::new("show_backend", Kind::Bool)
    .absent("as at the top", "")
    .about("Whether answers name the backend and its times.")
    .example("true");
pub(crate) static ROUTE_HOST: Key = Key::new("host", HOST_KIND)
    .absent("the pool's", "")
    .about("Host that is sent to the server: the client's (`keep`), the server's address (`server`), or a name.")
    .example("internal.example");
pub(crate) static ROUTE_FORWARDED: Key = Key::new("forwarded", Kind::Section(&FORWARDED))
    .absent("as at the top", "")
    .about("What the backend is told about the client.")
    .example("{ x_forwarded: off }");

pub(crate) static ROUTE_GRPC_WEB: Key = Key::new("grpc_web", Kind::Bool)
    .default("false", "a translation is done where it is asked for")
    .about("Whether gRPC-Web, which browsers speak, is turned into gRPC for the servers, and their answers back. Requests of other kinds pass as they are. The pool needs `protocol: http2` or `auto`.")
    .example("true");

pub(crate) static ROUTE: Table = Table {
    id: "route",
    title: "a route",
    places: "routes[]",
    about: "Which requests go where. Exactly one of `pool`, `redirect`, `respond` and `expose` is its target.",
    keys: &[
        &ROUTE_NAME,
        &ROUTE_MATCH,
        &ROUTE_POOL,
        &ROUTE_SPLIT_BY,
        &ROUTE_REDIRECT,
        &ROUTE_RESPOND,
        &ROUTE_EXPOSE,
        &ROUTE_HEADERS,
        &ROUTE_RETRY_KEY,
        &ROUTE_LIMITS_KEY,
        &ROUTE_TIMEOUTS_KEY,
        &ROUTE_LOG,
        &ROUTE_PAGES,
        &ROUTE_SHOW_BACKEND,
        &ROUTE_HOST,
        &ROUTE_FORWARDED,
        &ROUTE_GRPC_WEB,
    ],
    one_of: &["pool", "redirect", "respond", "expose"],
    sample: SAMPLE,
    base: &[("pool", "app")],
};

pub(crate) static SPLIT_HEADER: Key = Key::new("header", Kind::Text(&forms::FIELD_NAME))
    .absent("`cookie` is given", "")
    .about("A request header; the client's address when a request has none.")
    .with(&[("cookie", "")])
    .example("X-User");
pub(crate) static SPLIT_COOKIE: Key = Key::new("cookie", Kind::Text(&forms::COOKIE_NAME))
    .absent("`header` is given", "")
    .about("A cookie; the client's address when a request has none.")
    .example("user");

pub(crate) static SPLIT_BY: Table = Table {
    id: "split_by",
    title: "the key of a split",
    places: "routes[].split_by",
    about: "What decides which part of a split a request goes to.",
    keys: &[&SPLIT_HEADER, &SPLIT_COOKIE],
    one_of: &["header", "cookie"],
    sample: "{ listeners: { web: { bind: \":80\" } }, pools: { app: { servers: [\"127.0.0.1:9001\"] }, canary: { servers: [\"127.0.0.1:9002\"] } }, \
             routes: [ { pool: { app: 90, canary: 10 }, split_by: { @ } } ] }",
    base: &[("cookie", "session")],
};

pub(crate) static REDIRECT_TO: Key = Key::new("to", REDIRECT_TO_KIND)
    .about("URL or path with variables; `https` for the same host and path over TLS. `$host` has no port.")
    .example("\"https://www.example.com$request_uri\"");
pub(crate) static REDIRECT_STATUS: Key = Key::new("status", Kind::Words(RedirectStatus::WORDS))
    .absent("`302`; `301` for `https`", "browsers keep a permanent redirect for good, so it must be asked for; moving to TLS is meant for good")
    .about("Status of the answer.")
    .example("308");

pub(crate) static REDIRECT: Table = Table {
    id: "redirect",
    title: "a redirect",
    places: "routes[].redirect, listeners.NAME.redirect",
    about: "Sends the client elsewhere. A text alone is short for `{ to: … }`.",
    keys: &[&REDIRECT_TO, &REDIRECT_STATUS],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { redirect: { @ } } ] }",
    base: &[("to", "https")],
};

pub(crate) static RESPOND_STATUS: Key = Key::new("status", Kind::Int { min: 200, max: 599 })
    .default("200", "an answer is mostly a good one")
    .about("Status of the answer.")
    .example("403");
pub(crate) static RESPOND_BODY: Key = Key::new("body", Kind::Text(&forms::BODY))
    .default("\"\"", "a status says enough")
    .about("The body as it is, or `file:PATH` (at most 1 MiB); no variables.")
    .example("\"healthy\\n\"");
pub(crate) static RESPOND_TYPE: Key = Key::new("type", Kind::Text(&forms::MEDIA_TYPE))
    .absent(
        "by the file's ending; `text/plain; charset=utf-8` for a text",
        "",
    )
    .about("Content-Type of the answer.")
    .with(&[("body", "\"{}\"")])
    .example("application/json");
pub(crate) static RESPOND_HEADERS: Key = Key::new(
    "headers",
    Kind::Map {
        name: &forms::FIELD_NAME,
        value: &Kind::Text(&forms::FIELD_VALUE),
        min: 0,
    },
)
.absent("no more fields", "")
.about("More header fields of the answer; values may hold variables.")
.example("{ Retry-After: \"120\" }");

pub(crate) static RESPOND: Table = Table {
    id: "respond",
    title: "a fixed answer",
    places: "routes[].respond",
    about: "Answers without a backend.",
    keys: &[
        &RESPOND_STATUS,
        &RESPOND_BODY,
        &RESPOND_TYPE,
        &RESPOND_HEADERS,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { respond: { @ } } ] }",
    base: &[],
};

pub(crate) static ROUTE_BODY: Key = Key::new("body", Kind::BODY_SIZE)
    .absent("the listener's", "")
    .about("Largest body of a request; more is answered with 413.")
    .example("10MB");

const ROUTE_PART: &str = "{ listeners: { web: { bind: \":80\" } }, pools: { app: { servers: [\"127.0.0.1:9001\"] } }, routes: [ { pool: app, limits: { @ } } ] }";

pub(crate) static ROUTE_LIMITS: Table = Table {
    id: "route_limits",
    title: "a route's limits",
    places: "routes[].limits",
    about: "How much a client may send to this route. The other limits are the listener's: they count before a route is known.",
    keys: &[&ROUTE_BODY],
    one_of: &[],
    sample: ROUTE_PART,
    base: &[],
};

pub(crate) static ROUTE_CONNECT: Key = Key::new("connect", Kind::TIMEOUT)
    .absent("the pool's", "")
    .about("How long connecting to a server may take.")
    .example("1s");
pub(crate) static ROUTE_READ: Key = Key::new("read", Kind::TIMEOUT)
    .absent("the pool's", "")
    .about("How long a server may send nothing, before the answer's head (then 504) and between its bytes.")
    .example("1h");
pub(crate) static ROUTE_SEND: Key = Key::new("send", Kind::TIMEOUT)
    .absent("the pool's", "")
    .about("How long a server may take no byte of the request.")
    .example("1h");
pub(crate) static ROUTE_TUNNEL: Key = Key::new("tunnel", Kind::TIMEOUT)
    .absent("the pool's", "")
    .about(TUNNEL_ABOUT)
    .example("10m");
pub(crate) static ROUTE_BODY_TIME: Key = Key::new("body", Kind::TIMEOUT)
    .absent("the listener's", "")
    .about("How long the client's body may make no progress; then 408.")
    .example("5m");

pub(crate) static ROUTE_TIMEOUTS: Table = Table {
    id: "route_timeouts",
    title: "a route's timeouts",
    places: "routes[].timeouts",
    about: "How long servers and clients of this route may take.",
    keys: &[
        &ROUTE_CONNECT,
        &ROUTE_READ,
        &ROUTE_SEND,
        &ROUTE_TUNNEL,
        &ROUTE_BODY_TIME,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, pools: { app: { servers: [\"127.0.0.1:9001\"] } }, routes: [ { pool: app, timeouts: { @ } } ] }",
    base: &[],
};
