//! Keys of retries and hedges.

use super::*;
use crate::model::GrpcStatus;
use crate::words::{Word, words};

words! {
    /// What a request is tried again after, beside statuses.
    RetryCase {
        /// no connection was made, or it ended before an answer
        Error = "error",
        /// connecting took too long, or the server took nothing of the request in time
        ConnectTimeout = "connect_timeout",
        /// as `connect_timeout`, and when the answer took too long
        Timeout = "timeout",
        /// the answer broke the protocol
        Invalid = "invalid",
        /// the server refused the connection or the stream and saw nothing of the request
        Refused = "refused",
    }
}

const TRIES: Kind = Kind::Int { min: 1, max: 16 };
/// Conditions of a retry.
const RETRY_ON_KIND: Kind = Kind::OneOrMany {
    item: &Kind::WordOr(RetryCase::WORDS, &Kind::Text(&forms::RETRY_STATUS)),
    min: 1,
};
const RETRY_GRPC_KIND: Kind = Kind::OneOrMany {
    item: &Kind::Words(GrpcStatus::WORDS),
    min: 0,
};
const BACKOFF_KIND: Kind = Kind::Shape {
    scalar: Some(&Kind::WordOr(OFF, &Kind::TIMEOUT)),
    list: None,
    map: Some(&Kind::Section(&BACKOFF)),
};
const REPLAY_SIZE: Kind = Kind::Size {
    min: 0,
    max: 16 * super::kind::MIB,
};

const ON_ABOUT: &str = "After what: `error`, `connect_timeout`, `timeout`, `invalid`, `refused`, and statuses of answers (`503`, `502-504`, `5xx`). Where the server may have acted, only requests whose method is idempotent are tried again, unless `unsafe` says otherwise.";
const TRIES_ABOUT: &str = "How often a request is tried in all, on another server each time while there is one; 1 = never again.";
const WITHIN_ABOUT: &str = "No attempt begins later than this after the first.";
const PER_TRY_ABOUT: &str = "How long an attempt may take to the head of its answer. Where `on` is not written, `timeout` belongs to it then.";
const BACKOFF_ABOUT: &str = "The wait before a further attempt, at random from nothing to a ceiling that doubles: the first ceiling, or a map. With it, servers that have all been tried are asked again.";
const UNSAFE_ABOUT: &str = "Whether requests whose method may change something twice (POST, PATCH) are tried again though the server may have acted.";
const BODY_ABOUT: &str = "Bytes of a request's body that are kept so that it can be sent again; a longer body is sent once. 0 = none.";
const GRPC_ABOUT: &str = "Statuses of gRPC after which a call is tried again, when the answer is a status alone, without a message.";

/// `off`, a number of tries, or a map.
macro_rules! retry_kind {
    ($table:expr) => {
        Kind::Shape {
            scalar: Some(&Kind::WordOr(OFF, &TRIES)),
            list: None,
            map: Some(&Kind::Section($table)),
        }
    };
}

pub(crate) static POOL_RETRY: Key = Key::new("retry", retry_kind!(&RETRY))
    .absent("the defaults of its keys", "one server that is gone is not noticed, and a fault of all is told soon")
    .about("When and how often a request is tried again: `off`, a number of tries, or a map. A route may override each key but `budget`.")
    .example("{ on: [error, timeout, 503], tries: 2 }");
pub(crate) static ROUTE_RETRY_KEY: Key = Key::new("retry", retry_kind!(&ROUTE_RETRY))
    .absent("the pool's", "")
    .about("When and how often its requests are tried again: `off`, a number of tries, or a map. Each key stands for that of the pool; the budget is always the pool's.")
    .with(&[("pool", "app")])
    .example("off");

pub(crate) static RETRY_ON: Key = Key::new("on", RETRY_ON_KIND)
    .default("[error, connect_timeout, refused]", "what a server did not answer is safe to try elsewhere; an answer is an answer until you say otherwise")
    .about(ON_ABOUT)
    .example("[error, timeout, 503]");
pub(crate) static RETRY_TRIES: Key = Key::new("tries", TRIES)
    .default(
        "3",
        "one server that is gone is not noticed, and a fault of all is told soon",
    )
    .about(TRIES_ABOUT)
    .example("2");
pub(crate) static RETRY_WITHIN: Key = Key::new("within", Kind::TIMEOUT)
    .absent("no limit but the timeouts of each attempt", "")
    .about(WITHIN_ABOUT)
    .example("10s");
pub(crate) static RETRY_PER_TRY: Key = Key::new("per_try", Kind::TIMEOUT)
    .absent("as long as `timeouts` say", "")
    .about(PER_TRY_ABOUT)
    .example("2s");
pub(crate) static RETRY_BACKOFF: Key = Key::new("backoff", BACKOFF_KIND)
    .default(
        "off",
        "another server is asked at once: it is not the one that failed",
    )
    .about(BACKOFF_ABOUT)
    .example("25ms");
pub(crate) static RETRY_BUDGET: Key = Key::new(
    "budget",
    Kind::Shape {
        scalar: Some(&Kind::WordOr(OFF, &Kind::Percent { min: 0.0, max: 100.0 })),
        list: None,
        map: Some(&Kind::Section(&BUDGET)),
    },
)
.default("20%", "a server of five may be gone without a loss, and retries never multiply an outage")
.about("How much retries and hedges may add to the pool's requests over ten seconds: a share, a map, or `off`. Beyond it a failure is told at once. What was under way on a server that dies costs nothing of it while others are ready.")
.example("50%");
pub(crate) static RETRY_UNSAFE: Key = Key::new("unsafe", Kind::Bool)
    .default(
        "false",
        "an order that is placed twice is worse than an error",
    )
    .about(UNSAFE_ABOUT)
    .example("true");
pub(crate) static RETRY_BODY: Key = Key::new("body", REPLAY_SIZE)
    .default(
        "64KB",
        "most forms and calls fit, and a worker's memory stays small",
    )
    .about(BODY_ABOUT)
    .example("1MB");
pub(crate) static RETRY_GRPC: Key = Key::new("grpc", RETRY_GRPC_KIND)
    .default("[]", "a server that answers may have acted; only you know which of its statuses mean that it has not")
    .about(GRPC_ABOUT)
    .example("[unavailable, resource_exhausted]");

pub(crate) static RETRY: Table = Table {
    id: "retry",
    title: "retries",
    places: "pools.NAME.retry",
    about: "When and how often a request is tried again. `off` is short for `{ tries: 1 }`, a number for its `tries`.",
    keys: &[
        &RETRY_ON,
        &RETRY_TRIES,
        &RETRY_WITHIN,
        &RETRY_PER_TRY,
        &RETRY_BACKOFF,
        &RETRY_BUDGET,
        &RETRY_UNSAFE,
        &RETRY_BODY,
        &RETRY_GRPC,
    ],
    one_of: &[],
    sample: pool_sample!("retry: { @ }"),
    base: &[],
};

pub(crate) static ROUTE_ON: Key = Key::new("on", RETRY_ON_KIND)
    .absent("the pool's", "")
    .about(ON_ABOUT)
    .example("[error, timeout, 503]");
pub(crate) static ROUTE_TRIES: Key = Key::new("tries", TRIES)
    .absent("the pool's", "")
    .about(TRIES_ABOUT)
    .example("2");
pub(crate) static ROUTE_WITHIN: Key = Key::new("within", Kind::TIMEOUT)
    .absent("the pool's", "")
    .about(WITHIN_ABOUT)
    .example("10s");
pub(crate) static ROUTE_PER_TRY: Key = Key::new("per_try", Kind::TIMEOUT)
    .absent("the pool's", "")
    .about("How long an attempt may take to the head of its answer.")
    .example("2s");
pub(crate) static ROUTE_BACKOFF: Key = Key::new("backoff", BACKOFF_KIND)
    .absent("the pool's", "")
    .about(BACKOFF_ABOUT)
    .example("25ms");
pub(crate) static ROUTE_UNSAFE: Key = Key::new("unsafe", Kind::Bool)
    .absent("the pool's", "")
    .about(UNSAFE_ABOUT)
    .example("true");
pub(crate) static ROUTE_REPLAY: Key = Key::new("body", REPLAY_SIZE)
    .absent("the pool's", "")
    .about(BODY_ABOUT)
    .example("1MB");
pub(crate) static ROUTE_GRPC: Key = Key::new("grpc", RETRY_GRPC_KIND)
    .absent("the pool's", "")
    .about(GRPC_ABOUT)
    .example("[unavailable]");

pub(crate) static ROUTE_RETRY: Table = Table {
    id: "route_retry",
    title: "a route's retries",
    places: "routes[].retry",
    about: "Retries of a route's requests; each key stands for that of the pool.",
    keys: &[
        &ROUTE_ON,
        &ROUTE_TRIES,
        &ROUTE_WITHIN,
        &ROUTE_PER_TRY,
        &ROUTE_BACKOFF,
        &ROUTE_UNSAFE,
        &ROUTE_REPLAY,
        &ROUTE_GRPC,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, pools: { app: { servers: [\"127.0.0.1:9001\"] } }, routes: [ { pool: app, retry: { @ } } ] }",
    base: &[],
};

pub(crate) static BACKOFF_FIRST: Key = Key::new("first", Kind::TIMEOUT)
    .default("25ms", "long enough for a hiccup, too short to be felt")
    .about("Ceiling of the first wait.")
    .example("50ms");
pub(crate) static BACKOFF_MAX: Key = Key::new("max", Kind::TIMEOUT)
    .absent("ten times `first`", "")
    .about("Highest ceiling.")
    .example("1s");

pub(crate) static BACKOFF: Table = Table {
    id: "backoff",
    title: "waits between attempts",
    places: "pools.NAME.retry.backoff, routes[].retry.backoff",
    about: "Waits at random from nothing to a ceiling that doubles. A time alone is short for `{ first: … }`.",
    keys: &[&BACKOFF_FIRST, &BACKOFF_MAX],
    one_of: &[],
    sample: pool_sample!("retry: { backoff: { @ } }"),
    base: &[],
};

pub(crate) static BUDGET_SHARE: Key = Key::new(
    "share",
    Kind::Percent {
        min: 0.0,
        max: 100.0,
    },
)
.default("20%", "a server of five may be gone without a loss")
.about("Further attempts, as a share of the requests of the last ten seconds.")
.example("50%");
pub(crate) static BUDGET_MIN: Key = Key::new(
    "min",
    Kind::Number {
        min: 0.0,
        max: 1_000_000.0,
    },
)
.default("3", "a pool with little traffic may retry too")
.about("Further attempts a second that are always allowed.")
.example("10");

pub(crate) static BUDGET: Table = Table {
    id: "retry_budget",
    title: "the budget of retries",
    places: "pools.NAME.retry.budget",
    about: "How much retries and hedges may add. A share alone is short for `{ share: … }`.",
    keys: &[&BUDGET_SHARE, &BUDGET_MIN],
    one_of: &[],
    sample: pool_sample!("retry: { budget: { @ } }"),
    base: &[],
};

pub(crate) static POOL_HEDGE: Key = Key::new("hedge", Kind::Section(&HEDGE))
    .absent("no request is sent twice", "it costs servers work; it pays where a few of them are slow now and then")
    .about("A second server is asked when the first is slow, and the first answer counts. Only safe methods (GET, HEAD, OPTIONS, TRACE) without a body, within the budget of `retry`.")
    .example("{ after: 95% }");
pub(crate) static HEDGE_AFTER: Key = Key::new(
    "after",
    Kind::PercentOr { min: 50.0, max: 99.99, other: &Kind::TIMEOUT },
)
.default("95%", "one request of twenty is sent twice, and the slowest twentieth is cut off")
.about("When: after a time, or once this share of the pool's requests would have been answered (after a hundred of them).")
.example("200ms");
pub(crate) static HEDGE_MIN: Key = Key::new("min", Kind::TIMEOUT)
    .default("5ms", "below it, chance decides")
    .about("With a share: the least wait.")
    .example("20ms");
pub(crate) static HEDGE_MAX: Key = Key::new("max", Kind::TIMEOUT)
    .default("5s", "a pool that is slow as a whole gains nothing")
    .about("With a share: the longest wait.")
    .example("1s");
pub(crate) static HEDGE_EXTRA: Key = Key::new("extra", Kind::Int { min: 1, max: 4 })
    .default("1", "two slow servers at once are rare")
    .about("Most extra requests for one; each waits once more.")
    .example("2");

pub(crate) static HEDGE: Table = Table {
    id: "hedge",
    title: "hedged requests",
    places: "pools.NAME.hedge",
    about: "When a second server is asked because the first is slow.",
    keys: &[&HEDGE_AFTER, &HEDGE_MIN, &HEDGE_MAX, &HEDGE_EXTRA],
    one_of: &[],
    sample: pool_sample!("hedge: { @ }"),
    base: &[],
};
