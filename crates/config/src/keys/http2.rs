//! Keys of HTTP/2 towards clients and of HTTP/2 and TLS towards servers.

use super::kind::{KIB, MIB};
use super::*;
use crate::model::TlsVersion;
use crate::words::Word;

const WINDOW: Kind = Kind::Size {
    min: 16 * KIB,
    max: 16 * MIB,
};
const CONNECTION_WINDOW: Kind = Kind::Size {
    min: 64 * KIB,
    max: 1024 * MIB,
};
const FRAMES: Kind = Kind::Int {
    min: 1,
    max: 1_000_000,
};

pub(crate) static HTTP2_STREAMS: Key = Key::new("streams", Kind::Int { min: 1, max: 10_000 })
    .default("128", "as nginx; a browser opens about a hundred")
    .about("Requests that may run on one connection at a time (SETTINGS_MAX_CONCURRENT_STREAMS); a stream beyond that is refused and may be sent again. Stops one connection from taking a whole server.")
    .example("32");
pub(crate) static HTTP2_WINDOW: Key = Key::new("window", WINDOW)
    .default("256KiB", "fills 40 Mbit/s over a path of 50 ms")
    .about("Bytes of a request's body that a client may send on one stream before we took them (SETTINGS_INITIAL_WINDOW_SIZE). Large uploads over long paths want more.")
    .example("1MiB");
pub(crate) static HTTP2_CONNECTION_WINDOW: Key = Key::new("connection_window", CONNECTION_WINDOW)
    .default("1MiB", "several uploads at a time, and a known end to what a client can make us hold")
    .about("As `window`, for all streams of a connection together. Stops many slow uploads on one connection from filling the memory.")
    .example("4MiB");
pub(crate) static HTTP2_BUFFERED: Key = Key::new(
    "buffered",
    Kind::Size { min: 16 * KIB, max: 16 * MIB },
)
.default("64KiB", "the kernel's buffer behind it keeps a fast client busy")
.about("Bytes of answers that wait in a connection's send buffer; from there on its streams wait, and nothing more is read from their servers. What is urgent waits behind no more than that. Stops a client that asks for much and reads nothing.")
.example("256KiB");
pub(crate) static HTTP2_RESETS: Key = Key::new("resets", FRAMES)
    .default("200", "a person who leaves a page resets a hundred streams, and not twice in a moment")
    .about("Streams that a client may reset in 30 s, within a second of opening them, beyond those that it let run to their end; then the connection is closed (ENHANCE_YOUR_CALM). Of older ones it may reset 20 times as many. Stops Rapid Reset (CVE-2023-44487).")
    .example("1000");
pub(crate) static HTTP2_ERROR_RESETS: Key = Key::new("error_resets", FRAMES)
    .default("50", "clients that work make none")
    .about("Streams in 30 s that we reset because the client broke their rules; then the connection is closed. Stops MadeYouReset (CVE-2025-8671).")
    .example("100");
pub(crate) static HTTP2_PINGS: Key = Key::new("pings", FRAMES)
    .default("100", "gRPC clients ping once in some seconds, and at times with the data that they get")
    .about("PING frames in 10 s beyond the frames of answers that we sent; then the connection is closed. Each asks for an answer: stops the Ping Flood (CVE-2019-9512).")
    .example("1000");
pub(crate) static HTTP2_SETTINGS: Key = Key::new("settings", FRAMES)
    .default("32", "clients send one or two in the life of a connection")
    .about("SETTINGS frames in 10 s; then the connection is closed. Each asks for an answer: stops the Settings Flood (CVE-2019-9515).")
    .example("100");
pub(crate) static HTTP2_PRIORITIES: Key = Key::new("priorities", FRAMES)
    .default("500", "browsers send one or two for each request")
    .about("PRIORITY and PRIORITY_UPDATE frames in 10 s beyond the streams that were opened; then the connection is closed. Stops the Resource Loop (CVE-2019-9513).")
    .example("2000");
pub(crate) static HTTP2_CONTINUATIONS: Key = Key::new("continuations", Kind::Int { min: 0, max: 1024 })
    .default("10", "a frame takes 16 KiB, and a head 64 KiB unless you say otherwise")
    .about("CONTINUATION frames of one head; then the connection is closed. A head's size and fields are those of `limits`. Stops the CONTINUATION Flood (CVE-2024-27316).")
    .example("4");
pub(crate) static HTTP2_EMPTY_FRAMES: Key = Key::new("empty_frames", FRAMES)
    .default("100", "only the last frame of a body has a reason to be empty, and it ends the stream or stands before trailers")
    .about("DATA frames in 10 s that hold nothing and end nothing, beyond one for each stream with a body; then the connection is closed. Stops the Empty Frames Flood (CVE-2019-9518).")
    .example("1000");
pub(crate) static HTTP2_SMALL_FRAMES: Key = Key::new("small_frames", FRAMES)
    .default("100000", "a stream of messages with next to nothing in them, ten in each millisecond")
    .about("DATA frames in 10 s with fewer than 16 bytes, beyond what the client's larger frames and our answers account for; then the connection is closed. Stops floods that cost a frame for each byte (CVE-2019-9511). What waits for a slow server is held down without it: little frames are packed together.")
    .example("10000");
pub(crate) static HTTP2_WINDOW_UPDATES: Key = Key::new("window_updates", FRAMES)
    .default("10000", "clients send one for some KiB that they read")
    .about("WINDOW_UPDATE frames in 1 s, beyond one for each KiB and two for each DATA frame that we sent (one for two frames of fewer than 64 bytes); then the connection is closed. Stops clients that open their window byte by byte (CVE-2019-9511).")
    .example("1000");
pub(crate) static HTTP2_STALL_TIMEOUT: Key = Key::new("stall_timeout", Kind::TIMEOUT)
    .default("15s", "a client that reads has room again within a round trip")
    .about("How long a stream may have an answer waiting and no window for it; then the stream is reset. Stops clients that ask and keep their window shut (CVE-2019-9517), which `timeouts.send` does not see while the connection moves.")
    .example("1m");

pub(crate) static HTTP2: Table = Table {
    id: "http2",
    title: "HTTP/2 of a listener",
    places: "listeners.NAME.http2",
    about: "Limits of HTTP/2 towards clients. `true` is short for `{}`. What holds for both protocols is in `limits` and `timeouts`: heads, fields, targets, bodies, requests of a connection, idle time.",
    keys: &[
        &HTTP2_STREAMS,
        &HTTP2_WINDOW,
        &HTTP2_CONNECTION_WINDOW,
        &HTTP2_BUFFERED,
        &HTTP2_RESETS,
        &HTTP2_ERROR_RESETS,
        &HTTP2_PINGS,
        &HTTP2_SETTINGS,
        &HTTP2_PRIORITIES,
        &HTTP2_CONTINUATIONS,
        &HTTP2_EMPTY_FRAMES,
        &HTTP2_SMALL_FRAMES,
        &HTTP2_WINDOW_UPDATES,
        &HTTP2_STALL_TIMEOUT,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\", http2: { @ } } } }",
    base: &[],
};

pub(crate) static SERVER_HTTP2_STREAMS: Key = Key::new(
    "streams",
    Kind::Int {
        min: 1,
        max: 10_000,
    },
)
.default("100", "what most servers allow")
.about("Requests that run on one connection at a time. A server that allows fewer gets fewer.")
.example("20");
pub(crate) static SERVER_HTTP2_CONNECTIONS: Key = Key::new("connections", Kind::Int { min: 1, max: 1024 })
    .default("8", "room for 800 requests at a time from each worker")
    .about("Connections that each worker opens to each server, as its streams fill up; a request beyond that waits for a stream, as long as `timeouts.connect` says.")
    .example("2");
pub(crate) static SERVER_HTTP2_PING: Key = Key::new(
    "ping",
    Kind::Shape {
        scalar: Some(&Kind::Words(OFF)),
        list: None,
        map: Some(&Kind::Section(&PING)),
    },
)
.absent(
    "on, with the defaults of its keys",
    "a server that is gone without a word is noticed while requests wait for it",
)
.about("Pings that find dead connections while requests run on them. One that is idle is not pinged: gRPC's servers close connections for that.")
.example("off");

pub(crate) static SERVER_HTTP2: Table = Table {
    id: "server_http2",
    title: "HTTP/2 to servers",
    places: "pools.NAME.http2",
    about: "How connections to servers of a pool with `protocol: http2` or `auto` are used. How long one may be idle is `keepalive.idle`.",
    keys: &[
        &SERVER_HTTP2_STREAMS,
        &SERVER_HTTP2_CONNECTIONS,
        &SERVER_HTTP2_PING,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [\"127.0.0.1:9001\"], protocol: http2, http2: { @ } } } }",
    base: &[],
};

pub(crate) static PING_EVERY: Key = Key::new(
    "every",
    Kind::Duration {
        min_ms: 1000,
        max_ms: 3_600_000,
    },
)
.default(
    "30s",
    "shorter than the idle times of firewalls, rarer than servers mind",
)
.about("Time between two pings on a connection with requests.")
.example("1m");
pub(crate) static PING_TIMEOUT: Key = Key::new(
    "timeout",
    Kind::Duration {
        min_ms: 100,
        max_ms: 600_000,
    },
)
.default("10s", "a server that lives answers in milliseconds")
.about("How long the answer may take; then the connection is closed and its requests fail.")
.example("5s");

pub(crate) static PING: Table = Table {
    id: "ping",
    title: "pings to servers",
    places: "pools.NAME.http2.ping",
    about: "Pings over HTTP/2 that find dead connections.",
    keys: &[&PING_EVERY, &PING_TIMEOUT],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [\"127.0.0.1:9001\"], protocol: http2, http2: { ping: { @ } } } } }",
    base: &[],
};

/// Roots that are known by name.
static ROOTS: Words = &[("system", "those of the operating system")];
/// Names towards servers that are known by name.
static SERVER_NAMES: Words = &[
    ("server", "the host of the server's address"),
    ("host", "what the pool's `host` says"),
];

pub(crate) static SERVER_CA: Key =
    Key::new("ca", Kind::WordOr(ROOTS, &Kind::Text(&forms::TLS_FILE)))
        .default("system", "right for servers with a public certificate")
        .about("Which CAs are believed: those of the system, or those of a file in PEM.")
        .example("internal-ca.pem");
pub(crate) static SERVER_VERIFY: Key = Key::new("verify", Kind::Bool)
    .default("true", "without it anybody on the way can be the server")
    .about("Whether a server's certificate must be valid and have its name. `false` is for tests; it is warned of at each load.")
    .example("false");
pub(crate) static SERVER_PIN: Key = Key::new(
    "pin",
    Kind::OneOrMany { item: &Kind::Text(&forms::FINGERPRINT), min: 1 },
)
.absent("certificates are verified by their CA", "")
.about("SHA-256 of the certificates that servers may show, in hex (`openssl x509 -noout -fingerprint -sha256 -in FILE`); nothing else of a certificate then counts. Several, to change one without a gap.")
.example("0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0");
pub(crate) static SERVER_TLS_NAME: Key = Key::new(
    "server_name",
    Kind::WordOr(SERVER_NAMES, &Kind::Text(&forms::TLS_NAME)),
)
.default("server", "a server is asked for by the name under which it is reached")
.about("Name that is sent to the servers (SNI) and that their certificates must have. `host` needs a pool whose `host` is `server` or a name: connections are shared by requests for different hosts.")
.example("app.internal");
pub(crate) static SERVER_CERT: Key = Key::new("cert", Kind::Text(&forms::TLS_FILE))
    .absent("none is shown", "")
    .about("File with our certificate towards the servers and its chain, in PEM (mutual TLS).")
    .with(&[("key", "proxy.key")])
    .example("proxy.pem");
pub(crate) static SERVER_KEY: Key = Key::new("key", Kind::Text(&forms::TLS_FILE))
    .absent("`cert` is not given", "")
    .about("File with the key of `cert`, in PEM, without a passphrase.")
    .with(&[("cert", "proxy.pem")])
    .example("proxy.key");
pub(crate) static SERVER_MIN_VERSION: Key = Key::new("min_version", Kind::Words(TlsVersion::WORDS))
    .default("1.2", "servers inside are often older than clients")
    .about("Oldest version of TLS that is spoken with servers.")
    .example("1.3");

pub(crate) static SERVER_TLS: Table = Table {
    id: "server_tls",
    title: "TLS to servers",
    places: "pools.NAME.tls",
    about: "TLS towards the servers of a pool. `true` is short for `{}`. Sessions are resumed.",
    keys: &[
        &SERVER_CA,
        &SERVER_VERIFY,
        &SERVER_PIN,
        &SERVER_TLS_NAME,
        &SERVER_CERT,
        &SERVER_KEY,
        &SERVER_MIN_VERSION,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [\"127.0.0.1:9001\"], tls: { @ } } } }",
    base: &[],
};
