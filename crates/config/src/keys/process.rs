//! Keys at the top, and those of the whole process.

use super::*;
use crate::model::{ClientHeader, KeepId};
use crate::words::Word;

static AUTO: Words = &[("auto", "derived from the machine")];
pub(crate) static OFF: Words = &[("off", "none")];

/// Sample in which a table's keys stand at the top.
const TOP_SAMPLE: &str = "{ @ }";
const TOP_BASE: &[(&str, &str)] = &[
    ("listeners", "{ web: { bind: \"127.0.0.1:8080\" } }"),
    ("pools", "{ app: { servers: [\"127.0.0.1:9001\"] } }"),
    ("access_logs", "{ main: {} }"),
    ("routes", "[ { name: all, pool: app, access_log: main } ]"),
];

pub(crate) static INCLUDE: Key = Key::new(
    "include",
    Kind::OneOrMany { item: &Kind::Text(&forms::INCLUDE), min: 1 },
)
.absent("no other files", "one file is enough until several teams edit it")
.about(
    "More files of this form, relative to this one. `*` and `?` stand for parts of a file's name; files are taken in the order of their names. \
     `listeners`, `pools` and `access_logs` of all files are joined, and routes of an included file stand in the list where `include` stands in \
     its file: before this file's `routes` when it is written above them. Anything else may be set in one file only.",
)
.example("[conf.d/*.yaml]");

pub(crate) static WORKERS: Key = Key::new(
    "workers",
    Kind::WordOr(AUTO, &Kind::Int { min: 1, max: 256 }),
)
.default(
    "auto",
    "one worker for each core uses the machine fully and shares nothing",
)
.about("How many threads serve traffic.")
.example("4");

pub(crate) static CONNECTIONS: Key = Key::new(
    "connections",
    Kind::WordOr(
        AUTO,
        &Kind::Int {
            min: 1,
            max: 10_000_000,
        },
    ),
)
.default(
    "auto",
    "the limit on open files, which is raised to its hard limit, is what bounds it anyway",
)
.about("How many client connections may be open over all workers; more wait in the kernel's queue.")
.example("10000");

pub(crate) static DRAIN_TIMEOUT: Key = Key::new("drain_timeout", Kind::TIME)
    .default("30s", "long enough for ordinary requests, shorter than most supervisors wait before they kill")
    .about("How long running requests may take to finish after a stop was asked for; then they are cut off.")
    .example("1m");

pub(crate) static DRAIN_TUNNELS: Key = Key::new("drain_timeout_tunnels", Kind::TIME)
    .absent("the value of `drain_timeout`", "one limit is what most want")
    .about("How long tunnels (WebSockets and other upgrades) may stay open after a stop was asked for; then they are cut off. They end when their users want, not when an answer is complete, so they may have more time than requests, or less.")
    .example("10m");

pub(crate) static UPGRADE_TIMEOUT: Key = Key::new("upgrade_timeout", Kind::TIME)
    .default("30s", "reading a configuration and making connections takes seconds, not minutes")
    .about("How long a new program may take to be ready after an upgrade was asked for (SIGUSR2); then it is killed and the old one goes on.")
    .example("1m");

pub(crate) static STATE: Key = Key::new("state", Kind::Text(&forms::FOLDER))
    .absent(
        "`$STATE_DIRECTORY`, which systemd sets (`StateDirectory=`); else `$XDG_STATE_HOME/evenkeel`; else `~/.local/state/evenkeel`; else `evenkeel-state` in the folder of the start",
        "what is kept must outlive a restart, and be for this user alone",
    )
    .about("Folder for what outlives a restart: the CA of `self_signed`, OCSP answers, ticket keys and the key of our own cookies. It is made when it is needed, for this user alone. `evenkeel check` does not touch it.")
    .example("/var/lib/evenkeel");

pub(crate) static TRUSTED_PROXIES: Key = Key::new(
    "trusted_proxies",
    Kind::OneOrMany { item: &Kind::Text(&forms::NETWORK), min: 0 },
)
.default("[]", "a client can write any address into a header; only a proxy of yours is to be believed")
.about("Networks whose forwarding headers (X-Forwarded-For and the like) are believed. From anybody else they are replaced.")
.example("[10.0.0.0/8, \"fd00::/8\"]");

pub(crate) static CLIENT_ADDRESS_KEY: Key =
    Key::new("client_address", Kind::Section(&CLIENT_ADDRESS))
        .absent("the defaults of its keys", "the usual headers are known")
        .about("How the address of a client behind a trusted proxy is found.")
        .example("{ headers: [X-Real-IP] }");

pub(crate) static REQUEST_ID_KEY: Key = Key::new("request_id", Kind::Section(&REQUEST_ID))
    .absent("the defaults of its keys", "every request gets an id")
    .about("The id that a request carries to the backend and in the log.")
    .example("{ header: X-Trace }");

pub(crate) static SHOW_BACKEND: Key = Key::new("show_backend", Kind::Bool)
    .default(
        "false",
        "names and times of backends are not the public's business",
    )
    .about("Whether answers carry X-Served-By, X-Backend, X-Response-Time-Ms and X-Total-Time-Ms.")
    .example("true");

pub(crate) static ACCESS_LOG_DEFAULT: Key = Key::new("access_log", ACCESS_LOG_KIND)
    .default("off", "a log costs time and space; it is for you to say where it goes")
    .about("Logs of requests whose listener and route say nothing else: `off`, a name, a list of names, or a log in place.")
    .example("main");

pub(crate) static ACCESS_LOGS: Key = Key::new(
    "access_logs",
    Kind::Map {
        name: &forms::NAME,
        value: &Kind::Section(&ACCESS_LOG),
        min: 0,
    },
)
.absent(
    "no logs",
    "a log that is used in one place only can be written there",
)
.about("Access logs by name.")
.example("{ main: { format: json } }");

pub(crate) static ERROR_PAGES: Key = Key::new("error_pages", ERROR_PAGES_KIND)
    .absent("short texts, HTML or JSON by what the client accepts", "they tell what happened and nothing about the inside")
    .about("Pages that replace our own error texts, by status (`404`), class (`5xx`) or list (`500,502-504`); the more exact one wins. Answers of backends are not touched.")
    .example("{ 404: \"Not here.\" }");

pub(crate) static GLOBAL_HEADERS: Key = Key::new("headers", Kind::Section(&HEADERS))
    .absent("no edits", "nothing is added that you did not ask for")
    .about("Edits of header fields for all traffic. Those of listener, route and pool come after, and do not switch these off.")
    .example("{ response: { set: { X-Frame-Options: DENY } } }");

pub(crate) static GLOBAL_FORWARDED: Key = Key::new("forwarded", Kind::Section(&FORWARDED))
    .absent(
        "the defaults of its keys",
        "backends expect the usual headers",
    )
    .about("What backends are told about the client; routes may override each key.")
    .example("{ forwarded: true }");

pub(crate) static GLOBAL_TIMEOUTS_KEY: Key = Key::new("timeouts", Kind::Section(&GLOBAL_TIMEOUTS))
    .absent("the defaults of its keys", "they suit most sites")
    .about("How long clients may take, for all listeners that say nothing else.")
    .example("{ idle: 15s }");

pub(crate) static GLOBAL_LIMITS_KEY: Key = Key::new("limits", Kind::Section(&GLOBAL_LIMITS))
    .absent("the defaults of its keys", "they suit most sites")
    .about("How much clients may send, for all listeners that say nothing else.")
    .example("{ body: 1MB }");

pub(crate) static LISTENERS: Key = Key::new(
    "listeners",
    Kind::Map {
        name: &forms::NAME,
        value: &Kind::Section(&LISTENER),
        min: 1,
    },
)
.about("Where clients connect, by name.")
.example("{ web: { bind: \":80\" } }");

pub(crate) static ROUTES: Key =
    Key::new("routes", Kind::List { item: &Kind::Section(&ROUTE), min: 0 })
        .default("[]", "a listener that only redirects needs none")
        .about("Which requests go where. They are tried in the order of the file; the first that matches is taken. A request that none takes is answered with 404.")
        .example("[ { pool: app } ]");

pub(crate) static POOLS: Key = Key::new(
    "pools",
    Kind::Map {
        name: &forms::NAME,
        value: &Kind::Section(&POOL),
        min: 0,
    },
)
.absent("no pools", "redirects and fixed answers need none")
.about("Groups of servers that do the same work, by name.")
.example("{ app: { servers: [\"127.0.0.1:9002\"] } }");

pub(crate) static TOP: Table = Table {
    id: "configuration",
    title: "the configuration",
    places: "the file itself",
    about: "The keys at the top of the file. Keys that start with `x-` are ignored: a place for YAML anchors.",
    keys: &[
        &INCLUDE,
        &LISTENERS,
        &ROUTES,
        &POOLS,
        &ADMIN_KEY,
        &OWN_HEALTH_KEY,
        &WORKERS,
        &CONNECTIONS,
        &DRAIN_TIMEOUT,
        &DRAIN_TUNNELS,
        &UPGRADE_TIMEOUT,
        &RELOAD_KEY,
        &SHED_KEY,
        &RESOLVER_KEY,
        &USER,
        &GROUP,
        &STATE,
        &SECRET,
        &TRUSTED_PROXIES,
        &CLIENT_ADDRESS_KEY,
        &REQUEST_ID_KEY,
        &GLOBAL_FORWARDED,
        &GLOBAL_TIMEOUTS_KEY,
        &GLOBAL_LIMITS_KEY,
        &GLOBAL_HEADERS,
        &SHOW_BACKEND,
        &ACCESS_LOG_DEFAULT,
        &ACCESS_LOGS,
        &ERROR_PAGES,
    ],
    one_of: &[],
    sample: TOP_SAMPLE,
    base: TOP_BASE,
};

pub(crate) static CLIENT_HEADERS: Key = Key::new(
    "headers",
    Kind::OneOrMany { item: &Kind::Words(ClientHeader::WORDS), min: 0 },
)
.default(
    "[X-Forwarded-For, X-Real-IP, CF-Connecting-IP, X-Client-IP, Forwarded]",
    "the headers in use, most common first",
)
.about("Headers to look at, in this order, when the request comes from a trusted proxy. Lists are read from the right, past trusted proxies. `[]` = always the peer's address.")
.example("[X-Real-IP]");

pub(crate) static CLIENT_ADDRESS: Table = Table {
    id: "client_address",
    title: "the client's address",
    places: "client_address",
    about: "How the address of a client behind a trusted proxy is found.",
    keys: &[&CLIENT_HEADERS],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, client_address: { @ } }",
    base: &[],
};

pub(crate) static REQUEST_ID_HEADER: Key = Key::new("header", Kind::Text(&forms::FIELD_NAME))
    .default("X-Request-ID", "the name that most frameworks know")
    .about("Header that carries the id to the backend.")
    .example("X-Trace");

pub(crate) static REQUEST_ID_KEEP: Key = Key::new("keep", Kind::Words(KeepId::WORDS))
    .default(
        "trusted",
        "an id from outside could be made to collide with another's in your logs",
    )
    .about("Whose id is kept; others get a new one.")
    .example("always");

pub(crate) static REQUEST_ID: Table = Table {
    id: "request_id",
    title: "the request id",
    places: "request_id",
    about: "The id that a request carries to the backend and in the log.",
    keys: &[&REQUEST_ID_HEADER, &REQUEST_ID_KEEP],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, request_id: { @ } }",
    base: &[],
};
