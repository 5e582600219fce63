//! Keys of active checks.

use super::*;
use crate::model::{CheckStart, ServerProtocol};
use crate::words::Word;

/// `true` alone.
pub(crate) static YES: Words = &[("true", "with its defaults")];

/// A text, or a map with a regex.
pub(crate) const EXPECTED_KIND: Kind = Kind::Shape {
    scalar: Some(&Kind::Text(&forms::EXCHANGED)),
    list: None,
    map: Some(&Kind::Section(&EXPECTED)),
};

pub(crate) static HEALTH_HTTP: Key = Key::new(
    "http",
    Kind::Shape {
        scalar: Some(&Kind::Text(&forms::REQUEST_PATH)),
        list: None,
        map: Some(&Kind::Section(&HTTP_PROBE)),
    },
)
.absent("another kind is given", "")
.about("By an HTTP request: a path, or a map with more settings.")
.example("{ path: /health }");
pub(crate) static HEALTH_TCP: Key = Key::new("tcp", Kind::Words(YES))
    .absent("another kind is given", "")
    .about("By connecting, and by the TLS handshake where there is TLS.")
    .with(&[("http", "")])
    .example("true");
pub(crate) static HEALTH_GRPC: Key = Key::new(
    "grpc",
    Kind::Shape {
        scalar: Some(&Kind::Words(YES)),
        list: None,
        map: Some(&Kind::Section(&GRPC_PROBE)),
    },
)
.absent("another kind is given", "")
.about("By the health protocol of gRPC (`grpc.health.v1.Health/Check`), over HTTP/2.")
.with(&[("http", "")])
.example("{ service: shop.Orders }");
pub(crate) static HEALTH_EXCHANGE: Key = Key::new("exchange", Kind::Section(&EXCHANGE))
    .absent("another kind is given", "")
    .about("By a text that is sent and one that must come back: for SMTP, Redis and the like.")
    .with(&[("http", "")])
    .example("{ send: 'PING\\r\\n', expect: +PONG }");
pub(crate) static HEALTH_EVERY: Key = Key::new("every", Kind::TIMEOUT)
    .default("5s", "a server that is gone is noticed in seconds by its traffic anyway; checks find what traffic does not")
    .about("Time from the start of one check to the start of the next.")
    .example("2s");
pub(crate) static HEALTH_EVERY_DOWN: Key = Key::new("every_down", Kind::TIMEOUT)
    .default(
        "1s",
        "a server that is back is used soon, and it has no other work",
    )
    .about("The same while the server is down; never more than `every`.")
    .example("500ms");
pub(crate) static HEALTH_TIMEOUT: Key = Key::new("timeout", Kind::TIMEOUT)
    .default(
        "2s",
        "a check is small; one that takes longer is no good sign",
    )
    .about("How long a check may take in all; then it has failed.")
    .example("1s");
pub(crate) static HEALTH_RISE: Key = Key::new("rise", COUNT)
    .default("2", "one pass may be luck")
    .about("Passes in a row that bring a server up.")
    .example("3");
pub(crate) static HEALTH_FALL: Key = Key::new("fall", COUNT)
    .default("3", "one failure may be chance")
    .about("Failures in a row that take a server down.")
    .example("2");
pub(crate) static HEALTH_JITTER: Key = Key::new(
    "jitter",
    Kind::Percent {
        min: 0.0,
        max: 50.0,
    },
)
.default(
    "10%",
    "servers that were started together are not checked in step",
)
.about("Share by which each interval is longer or shorter at random.")
.example("20%");
pub(crate) static HEALTH_START: Key = Key::new("start", Kind::Words(CheckStart::WORDS))
    .default(
        "optimistic",
        "a balancer that starts serves at once; a server that is down is noticed by its traffic",
    )
    .about("What holds of a server before its first check.")
    .example("checked");
pub(crate) static HEALTH_PORT: Key = Key::new("port", PORT)
    .absent("the server's own", "")
    .about("Port that is asked instead of the server's.")
    .example("8081");
pub(crate) static HEALTH_PROTOCOL: Key = Key::new("protocol", Kind::Words(ServerProtocol::WORDS))
    .absent("the pool's; `http2` with `grpc`", "")
    .about("What is spoken in checks by `http`.")
    .example("http2");
pub(crate) static HEALTH_TLS: Key = Key::new(
    "tls",
    Kind::Shape {
        scalar: Some(&Kind::Bool),
        list: None,
        map: Some(&Kind::Section(&SERVER_TLS)),
    },
)
.absent("the pool's", "")
.about("TLS of checks, where it is other than that of the pool's traffic: `false`, `true` (with its defaults), or a map.")
.example("false");

/// A count of checks.
const COUNT: Kind = Kind::Int { min: 1, max: 1000 };
/// A port.
pub(crate) const PORT: Kind = Kind::Int { min: 1, max: 65535 };

pub(crate) static HEALTH: Table = Table {
    id: "health_check",
    title: "the checks of servers",
    places: "pools.NAME.health",
    about: "How each server of the pool is asked whether it works, beside what its traffic shows.",
    keys: &[
        &HEALTH_HTTP,
        &HEALTH_TCP,
        &HEALTH_GRPC,
        &HEALTH_EXCHANGE,
        &HEALTH_EVERY,
        &HEALTH_EVERY_DOWN,
        &HEALTH_TIMEOUT,
        &HEALTH_RISE,
        &HEALTH_FALL,
        &HEALTH_JITTER,
        &HEALTH_START,
        &HEALTH_PORT,
        &HEALTH_PROTOCOL,
        &HEALTH_TLS,
    ],
    one_of: &["http", "tcp", "grpc", "exchange"],
    sample: pool_sample!("health: { @ }"),
    base: &[("http", "/")],
};

pub(crate) static PROBE_PATH: Key = Key::new("path", Kind::Text(&forms::REQUEST_PATH))
    .default("/", "every server has it")
    .about("Path that is asked for, with its query if it needs one.")
    .example("/health");
pub(crate) static PROBE_METHOD: Key = Key::new("method", Kind::Text(&forms::METHOD))
    .default("GET", "every server knows it")
    .about("Method of the request.")
    .example("HEAD");
pub(crate) static PROBE_HOST: Key = Key::new("host", Kind::Text(&forms::HOST_HEADER))
    .absent(
        "the pool's `host` when that is a name, else the server's address",
        "",
    )
    .about("Host of the request.")
    .example("app.example.com");
pub(crate) static PROBE_HEADERS: Key = Key::new(
    "headers",
    Kind::Map {
        name: &forms::FIELD_NAME,
        value: &Kind::Text(&forms::PLAIN_FIELD_VALUE),
        min: 0,
    },
)
.absent("none beside Host and User-Agent", "")
.about("More header fields of the request, as they are.")
.example("{ X-Check: yes }");
pub(crate) static PROBE_STATUS: Key = Key::new(
    "status",
    Kind::OneOrMany {
        item: &Kind::Text(&forms::ANSWER_STATUS),
        min: 1,
    },
)
.default(
    "200-399",
    "a redirect to a login page is the answer of a server that works",
)
.about("Statuses that pass: codes, ranges (`200-299`), classes (`2xx`), or a list of such.")
.example("[200, 204]");
pub(crate) static PROBE_BODY: Key = Key::new("body", EXPECTED_KIND)
    .absent("anything", "")
    .about("What the first 64 KiB of the body must hold: a text, or `{ regex: … }`. The text knows `\\r`, `\\n`, `\\t`, `\\\\` and `\\xHH`.")
    .example("\"all is well\"");
pub(crate) static PROBE_JSON: Key = Key::new(
    "json",
    Kind::Map {
        name: &forms::JSON_PATH,
        value: &Kind::Text(&forms::VALUE),
        min: 1,
    },
)
.absent("the body need not be JSON", "")
.about("Fields that the body, a JSON object of at most 64 KiB, must have, with their values. A dot leads into an object: `data.status`.")
.example("{ status: healthy }");

pub(crate) static HTTP_PROBE: Table = Table {
    id: "http_probe",
    title: "a check by HTTP",
    places: "pools.NAME.health.http",
    about: "A request and what its answer must be. A path alone is short for `{ path: … }`.",
    keys: &[
        &PROBE_PATH,
        &PROBE_METHOD,
        &PROBE_HOST,
        &PROBE_HEADERS,
        &PROBE_STATUS,
        &PROBE_BODY,
        &PROBE_JSON,
    ],
    one_of: &[],
    sample: pool_sample!("health: { http: { @ } }"),
    base: &[],
};

pub(crate) static GRPC_SERVICE: Key = Key::new("service", Kind::Text(&forms::GRPC_SERVICE))
    .default("\"\"", "the empty name stands for the server as a whole")
    .about("Name of the service that is asked for.")
    .example("shop.Orders");

pub(crate) static GRPC_PROBE: Table = Table {
    id: "grpc_probe",
    title: "a check by gRPC",
    places: "pools.NAME.health.grpc",
    about: "The health protocol of gRPC. `true` is short for `{}`.",
    keys: &[&GRPC_SERVICE],
    one_of: &[],
    sample: pool_sample!("health: { grpc: { @ } }"),
    base: &[],
};

pub(crate) static EXCHANGE_SEND: Key = Key::new("send", Kind::Text(&forms::SENT))
    .default("\"\"", "some servers speak first")
    .about("What is sent once connected. It knows `\\r`, `\\n`, `\\t`, `\\\\` and `\\xHH`.")
    .example("'PING\\r\\n'");
pub(crate) static EXCHANGE_EXPECT: Key = Key::new("expect", EXPECTED_KIND)
    .about(
        "What must come back within the first 64 KiB: a text (as for `send`), or `{ regex: … }`.",
    )
    .example("\"+PONG\"");

pub(crate) static EXCHANGE: Table = Table {
    id: "exchange",
    title: "a check by an exchange",
    places: "pools.NAME.health.exchange",
    about: "A text that is sent and one that must come back.",
    keys: &[&EXCHANGE_SEND, &EXCHANGE_EXPECT],
    one_of: &[],
    sample: pool_sample!("health: { exchange: { @ } }"),
    base: &[("expect", "\"220 \"")],
};

pub(crate) static EXPECTED_REGEX: Key = Key::new("regex", Kind::Text(&forms::REGEX))
    .about("A regular expression that must match somewhere.")
    .example("\"^220[ -]\"");

pub(crate) static EXPECTED: Table = Table {
    id: "expected",
    title: "what must come back",
    places: "pools.NAME.health.http.body, pools.NAME.health.exchange.expect, health.checks.NAME.expect",
    about: "What an answer must hold, by a regular expression. A text alone stands for itself.",
    keys: &[&EXPECTED_REGEX],
    one_of: &[],
    sample: pool_sample!("health: { exchange: { expect: { @ } } }"),
    base: &[("regex", "\"^2\"")],
};
