//! Keys of pools and servers.

use super::*;
use crate::model::{HashScheme, IpHashMode, Resolve, ServerProtocol, Tie};
use crate::words::{Word, words};

words! {
    /// Ways to choose a server.
    Algorithm {
        /// Each server in turn; when weights differ, smoothly by weight, as nginx does.
        RoundRobin = "round_robin",
        /// By weight: the same as round_robin, and in bursts on wish.
        Weighted = "weighted",
        /// By chance, whatever the weights.
        Random = "random",
        /// By chance, by weight.
        WeightedRandom = "weighted_random",
        /// The server with the fewest requests running for its weight.
        LeastConn = "least_conn",
        /// The server with the smallest average response time times running requests plus one.
        LeastTime = "least_time",
        /// The less busy of two taken by chance.
        PowerOfTwo = "power_of_two",
        /// By the client's address.
        IpHash = "ip_hash",
        /// By a hash of a key of your choice.
        Hash = "hash",
    }
}

/// What is hashed, when it has no name of its own.
pub(crate) static HASH_WORDS: Words = &[
    ("client_address", "the client's address"),
    ("path", "the path"),
    ("uri", "the path with the query"),
    (
        "tls_session",
        "the id of the client's TLS session (TLS 1.2; random in 1.3)",
    ),
    ("ja4", "the JA4 fingerprint of the client's TLS"),
];

const WEIGHT: Kind = Kind::Int { min: 0, max: 65535 };
const FAILS: Kind = Kind::Int { min: 0, max: 65535 };

const SAMPLE: &str =
    "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { @ } } }";

pub(crate) static POOL_BALANCE: Key = Key::new(
    "balance",
    Kind::Shape {
        scalar: Some(&Kind::Words(Algorithm::WORDS)),
        list: None,
        map: Some(&Kind::Section(&BALANCE)),
    },
)
.default(
    "round_robin",
    "even, predictable, and right for servers that are alike",
)
.about("How a server is chosen: an algorithm's name, or a map with its settings.")
.example("least_conn");
pub(crate) static POOL_SERVERS: Key = Key::new(
    "servers",
    Kind::List {
        item: &Kind::Shape {
            scalar: Some(&Kind::Text(&forms::SERVER_ADDRESS)),
            list: None,
            map: Some(&Kind::Section(&SERVER)),
        },
        min: 1,
    },
)
.about("The servers: addresses, or maps with more settings.")
.example("[\"10.0.0.1:8080\", { address: \"10.0.0.2:8080\", weight: 2 }]");
pub(crate) static POOL_HEALTH: Key = Key::new("health", Kind::Section(&HEALTH))
    .absent(
        "no checks; failures of real traffic take a server out",
        "only you know what to ask",
    )
    .about("Asks each server whether it works, by one of `http`, `tcp`, `grpc` and `exchange`.")
    .example("{ http: /health }");
pub(crate) static POOL_MAX_FAILS: Key = Key::new("max_fails", FAILS)
    .default("1", "nginx's default: a server that failed gets a rest at once")
    .about("Failures within `fail_timeout` after which a server rests; 0 = it never rests. For servers that say nothing else.")
    .example("3");
pub(crate) static POOL_FAIL_TIMEOUT: Key = Key::new("fail_timeout", Kind::TIMEOUT)
    .default("10s", "nginx's default: long enough for a restart, short enough to notice it")
    .about("Time in which failures are counted, and for which a server rests. For servers that say nothing else.")
    .example("30s");
pub(crate) static POOL_KEEPALIVE: Key = Key::new("keepalive", Kind::Section(&KEEPALIVE))
    .absent("the defaults of its keys", "connections are reused")
    .about("Connections to servers that are kept for the next request.")
    .example("{ connections: 32 }");
pub(crate) static POOL_TIMEOUTS: Key = Key::new("timeouts", Kind::Section(&SERVER_TIMEOUTS))
    .absent("the defaults of its keys", "they suit most applications")
    .about("How long servers may take.")
    .example("{ read: 10s }");
pub(crate) static POOL_HOST: Key = Key::new("host", HOST_KIND)
    .default("keep", "applications build links from the host that the client asked for")
    .about("Host that is sent to the servers: the client's (`keep`), the server's address (`server`), or a name.")
    .example("server");
pub(crate) static POOL_PROTOCOL: Key = Key::new("protocol", Kind::Words(ServerProtocol::WORDS))
    .default("http1", "every server speaks it")
    .about("What is spoken with the servers, whatever the clients speak. gRPC needs `http2` or `auto`. WebSocket works over each.")
    .example("http2");
pub(crate) static POOL_TLS: Key = Key::new(
    "tls",
    Kind::Shape {
        scalar: Some(&Kind::Bool),
        list: None,
        map: Some(&Kind::Section(&SERVER_TLS)),
    },
)
.default("false", "most servers stand beside us")
.about("Whether the servers are reached over TLS, and how their certificates are judged.")
.example("{ ca: internal-ca.pem }");
pub(crate) static POOL_HTTP2: Key = Key::new("http2", Kind::Section(&SERVER_HTTP2))
    .absent("the defaults of its keys", "")
    .about("How HTTP/2 connections to the servers are used; with `protocol: http2` or `auto`.")
    .with(&[("protocol", "http2")])
    .example("{ streams: 20 }");
pub(crate) static POOL_HEADERS_KEY: Key = Key::new("headers", Kind::Section(&POOL_HEADERS))
    .absent("no edits", "")
    .about("Edits of requests to this pool.")
    .example("{ request: { set: { X-Env: production } } }");

pub(crate) static POOL: Table = Table {
    id: "pool",
    title: "a pool",
    places: "pools.NAME",
    about: "A group of servers that do the same work.",
    keys: &[
        &POOL_SERVERS,
        &POOL_BALANCE,
        &POOL_PROTOCOL,
        &POOL_TLS,
        &POOL_HTTP2,
        &POOL_HEALTH,
        &POOL_MAX_FAILS,
        &POOL_FAIL_TIMEOUT,
        &POOL_OUTLIER,
        &POOL_PANIC,
        &POOL_SLOW_START,
        &POOL_LOAD_REPORT,
        &POOL_KEEPALIVE,
        &POOL_TIMEOUTS,
        &POOL_RETRY,
        &POOL_HEDGE,
        &POOL_BREAKER,
        &POOL_SERVER_BREAKER,
        &POOL_LIMITS,
        &POOL_QUEUE,
        &POOL_CONCURRENCY,
        &POOL_STICKY,
        &POOL_HOST,
        &POOL_HEADERS_KEY,
    ],
    one_of: &[],
    sample: SAMPLE,
    base: &[("servers", "[\"127.0.0.1:9001\"]")],
};

pub(crate) static SERVER_ADDRESS: Key = Key::new("address", Kind::Text(&forms::SERVER_ADDRESS))
    .absent("`srv` is given", "")
    .about("Where it listens. A name is resolved; one that does not resolve is a warning and not an error.")
    .example("app.internal:8080");
pub(crate) static SERVER_SRV: Key = Key::new("srv", Kind::Text(&forms::SRV_NAME))
    .absent("`address` is given", "")
    .about("Name of SRV records (`_app._tcp.example.com`): each is a server, with the record's port and weight, and its priority for a tier. They are asked for again when their time to live is over; the last good answer stays in use.")
    .with(&[("address", "")])
    .example("_app._tcp.example.com");
pub(crate) static SERVER_RESOLVE: Key = Key::new("resolve", Kind::Words(Resolve::WORDS))
    .default("one", "a name is one server in most sites")
    .about("What the name in `address` stands for. Names are asked for again when their time to live is over; the last good answer stays in use.")
    .with(&[("address", "\"app.internal:8080\"")])
    .example("all");
pub(crate) static SERVER_TIER: Key = Key::new("tier", Kind::Int { min: 0, max: 255 })
    .absent("0; 1 with `backup: true`", "")
    .about("The lowest tier with healthy servers gets the traffic (how many are needed says `panic.threshold`); it has it back as soon as its servers are.")
    .example("1");
pub(crate) static SERVER_NAME: Key = Key::new("name", Kind::Text(&forms::SERVER_NAME))
    .absent("its address", "")
    .about("Name in logs, metrics and answers; unique in its pool. Hashing goes by it, so that a server can move to another address and keep its share.")
    .example("app-01");
pub(crate) static SERVER_WEIGHT: Key = Key::new("weight", WEIGHT)
    .default("1", "servers are alike until told otherwise")
    .about("Its share of the traffic; 0 = no new traffic.")
    .example("3");
pub(crate) static SERVER_BACKUP: Key = Key::new("backup", Kind::Bool)
    .default("false", "")
    .about("Used only when no other server is ready: the same as `tier: 1`.")
    .example("true");
pub(crate) static SERVER_DOWN: Key = Key::new("down", Kind::Bool)
    .default("false", "")
    .about("Gets no new traffic; what runs there finishes.")
    .example("true");
pub(crate) static SERVER_MAX_CONNECTIONS: Key = Key::new(
    "max_connections",
    Kind::Int {
        min: 0,
        max: u32::MAX as i64,
    },
)
.default("0", "the server knows best when it is full")
.about("Requests that run there at a time, over all workers; 0 = no limit.")
.example("100");
pub(crate) static SERVER_MAX_FAILS: Key = Key::new("max_fails", FAILS)
    .absent("the pool's", "")
    .about("Failures within `fail_timeout` after which it rests; 0 = it never rests.")
    .example("3");
pub(crate) static SERVER_FAIL_TIMEOUT: Key = Key::new("fail_timeout", Kind::TIMEOUT)
    .absent("the pool's", "")
    .about("Time in which failures are counted, and for which it rests.")
    .example("30s");

pub(crate) static SERVER: Table = Table {
    id: "server",
    title: "a server",
    places: "pools.NAME.servers[]",
    about: "A server of a pool. A text alone is short for `{ address: … }`.",
    keys: &[
        &SERVER_ADDRESS,
        &SERVER_SRV,
        &SERVER_RESOLVE,
        &SERVER_NAME,
        &SERVER_WEIGHT,
        &SERVER_TIER,
        &SERVER_BACKUP,
        &SERVER_DOWN,
        &SERVER_MAX_CONNECTIONS,
        &SERVER_MAX_FAILS,
        &SERVER_FAIL_TIMEOUT,
    ],
    one_of: &["address", "srv"],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [ \"127.0.0.1:9009\", { @ } ] } } }",
    base: &[("address", "\"127.0.0.1:9001\"")],
};

pub(crate) static BALANCE_ALGORITHM: Key = Key::new("algorithm", Kind::Words(Algorithm::WORDS))
    .about("How a server is chosen.")
    .example("least_conn");
pub(crate) static BALANCE_BURST: Key = Key::new("burst", Kind::Bool)
    .default("false", "spread out, no server is hit by a row of requests")
    .about("With `weighted`: all turns of a server one after the other (1 1 1 2 2 3).")
    .with(&[("algorithm", "weighted")])
    .example("true");
pub(crate) static BALANCE_TIE: Key = Key::new("tie", Kind::Words(Tie::WORDS))
    .default(
        "first",
        "the order is known, and idle servers at the end of the list stay free for peaks",
    )
    .about("With `least_conn`: which of several servers with as few requests is taken.")
    .with(&[("algorithm", "least_conn")])
    .example("rotate");
pub(crate) static BALANCE_PROBE: Key = Key::new(
    "probe",
    Kind::Percent {
        min: 0.0,
        max: 50.0,
    },
)
.default(
    "2%",
    "a server that was slow is noticed when it recovers, and few requests pay for it",
)
.about("With `least_time`: share of requests that go to servers in turn.")
.with(&[("algorithm", "least_time")])
.example("5%");
pub(crate) static BALANCE_MODE: Key = Key::new("mode", Kind::Words(IpHashMode::WORDS))
    .default("consistent", "when a server goes, only its clients move")
    .about("With `ip_hash`: how an address is turned into a server.")
    .with(&[("algorithm", "ip_hash")])
    .example("modulo");
pub(crate) static BALANCE_KEY: Key = Key::new(
    "key",
    Kind::Shape {
        scalar: Some(&Kind::Words(HASH_WORDS)),
        list: None,
        map: Some(&Kind::Section(&HASH_KEY)),
    },
)
.default("client_address", "a client stays with its server")
.about("With `hash`: what is hashed.")
.with(&[("algorithm", "hash")])
.example("path");
pub(crate) static BALANCE_SCHEME: Key = Key::new("scheme", Kind::Words(HashScheme::WORDS))
    .default("ring", "known from ketama, nginx and HAProxy")
    .about("With `hash`: how a hash is turned into a server.")
    .with(&[("algorithm", "hash")])
    .example("maglev");
pub(crate) static BALANCE_BOUNDED: Key =
    Key::new("bounded_load", Kind::Number { min: 1.01, max: 100.0 })
        .absent("no bound", "a key then always goes to its server while that is ready")
        .about("With `hash`: a server gets at most this many times the average load; what is more goes to the next on the ring.")
        .with(&[("algorithm", "hash")])
        .example("1.25");

pub(crate) static BALANCE: Table = Table {
    id: "balance",
    title: "an algorithm with settings",
    places: "pools.NAME.balance",
    about: "How a server is chosen. An algorithm's name alone is short for `{ algorithm: … }`.",
    keys: &[
        &BALANCE_ALGORITHM,
        &BALANCE_BURST,
        &BALANCE_TIE,
        &BALANCE_PROBE,
        &BALANCE_MODE,
        &BALANCE_KEY,
        &BALANCE_SCHEME,
        &BALANCE_BOUNDED,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [\"127.0.0.1:9001\"], balance: { @ } } } }",
    base: &[("algorithm", "round_robin")],
};

pub(crate) static HASH_HEADER: Key = Key::new("header", Kind::Text(&forms::FIELD_NAME))
    .absent("another is given", "")
    .about("A request header; the client's address when a request has none.")
    .with(&[("cookie", "")])
    .example("X-User");
pub(crate) static HASH_COOKIE: Key = Key::new("cookie", Kind::Text(&forms::COOKIE_NAME))
    .absent("another is given", "")
    .about("A cookie; the client's address when a request has none.")
    .example("user");
pub(crate) static HASH_QUERY: Key = Key::new("query", Kind::Text(&forms::QUERY_NAME))
    .absent("another is given", "")
    .about("A query parameter; the client's address when a request has none.")
    .with(&[("cookie", "")])
    .example("account");

pub(crate) static HASH_KEY: Table = Table {
    id: "hash_key",
    title: "the key of a hash",
    places: "pools.NAME.balance.key",
    about: "What is hashed.",
    keys: &[&HASH_HEADER, &HASH_COOKIE, &HASH_QUERY],
    one_of: &["header", "cookie", "query"],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], \
             pools: { app: { servers: [\"127.0.0.1:9001\"], balance: { algorithm: hash, key: { @ } } } } }",
    base: &[("cookie", "session")],
};

/// What `timeouts.tunnel` of a pool or route does.
pub(crate) const TUNNEL_ABOUT: &str = "After an upgrade (WebSocket): how long neither side may send; then the connection is closed. Once one side has closed, 30 s at most.";

pub(crate) static KEEPALIVE_CONNECTIONS: Key =
    Key::new("connections", Kind::Int { min: 0, max: 65535 })
        .default(
            "64",
            "as many requests as a busy worker has under way at one server; each costs a descriptor on both sides",
        )
        .about(
            "Idle connections that each worker keeps for each server of the pool; 0 = none is kept.",
        )
        .example("32");
pub(crate) static KEEPALIVE_IDLE: Key = Key::new("idle", Kind::TIMEOUT)
    .default(
        "60s",
        "shorter than the time after which most servers and firewalls drop one",
    )
    .about("How long a connection may be idle.")
    .example("30s");
pub(crate) static KEEPALIVE_REQUESTS: Key = Key::new(
    "requests",
    Kind::Int {
        min: 1,
        max: u32::MAX as i64,
    },
)
.default(
    "1000",
    "a server that leaks with each connection gets a fresh one from time to time",
)
.about("Requests on one connection before it is closed.")
.example("100");

pub(crate) static KEEPALIVE: Table = Table {
    id: "keepalive",
    title: "kept connections",
    places: "pools.NAME.keepalive",
    about: "Connections to servers that are kept for the next request.",
    keys: &[&KEEPALIVE_CONNECTIONS, &KEEPALIVE_IDLE, &KEEPALIVE_REQUESTS],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [\"127.0.0.1:9001\"], keepalive: { @ } } } }",
    base: &[],
};

pub(crate) static CONNECT: Key = Key::new("connect", Kind::TIMEOUT)
    .default(
        "5s",
        "a server near by answers in milliseconds; one that does not is down",
    )
    .about("How long connecting to a server may take.")
    .example("1s");
pub(crate) static READ: Key = Key::new("read", Kind::TIMEOUT)
    .default("60s", "what people are ready to wait for")
    .about("How long a server may send nothing, before the answer's head (then 504) and between its bytes.")
    .example("10s");
pub(crate) static SERVER_SEND: Key = Key::new("send", Kind::TIMEOUT)
    .default("60s", "outlasts a short stall")
    .about("How long a server may take no byte of the request.")
    .example("10s");

pub(crate) static TUNNEL: Key = Key::new("tunnel", Kind::TIMEOUT)
    .default(
        "1h",
        "people leave a page open; a peer that is gone without a word is noticed in the end",
    )
    .about(TUNNEL_ABOUT)
    .example("10m");

pub(crate) static SERVER_TIMEOUTS: Table = Table {
    id: "server_timeouts",
    title: "a pool's timeouts",
    places: "pools.NAME.timeouts",
    about: "How long servers may take. A route may override each.",
    keys: &[&CONNECT, &READ, &SERVER_SEND, &TUNNEL],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [\"127.0.0.1:9001\"], timeouts: { @ } } } }",
    base: &[],
};
