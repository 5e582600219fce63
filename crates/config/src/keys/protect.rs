//! Keys of what keeps a pool and its servers from harm.

use super::*;
use crate::model::PanicAction;
use crate::words::{Word, words};

words! {
    /// What counts as a failure of a server, beside statuses.
    FailureCase {
        /// no connection, one that broke, an answer that breaks the protocol
        Error = "error",
        /// connecting, sending or answering took too long
        Timeout = "timeout",
    }
}

/// A share above nothing.
const SHARE: Kind = Kind::Percent {
    min: 0.1,
    max: 100.0,
};
/// A share, or none.
const SHARE_OR_OFF: Kind = Kind::WordOr(OFF, &SHARE);
/// A number of requests.
const VOLUME: Kind = Kind::Int {
    min: 1,
    max: 1_000_000,
};
/// A window over which is counted.
const WINDOW: Kind = Kind::Duration {
    min_ms: 1000,
    max_ms: 3_600_000,
};
/// A limit of things at a time; 0 = none.
const LIMIT: Kind = Kind::Int {
    min: 0,
    max: u32::MAX as i64,
};

pub(crate) static POOL_OUTLIER: Key = Key::new("outlier", Kind::Section(&OUTLIER))
    .absent("servers rest by `max_fails`", "that suits few servers and needs no traffic to compare")
    .about("Takes out servers whose real traffic fails, also by comparison with the others, for longer each time, and never more than a share of them. Instead of `max_fails` and `fail_timeout`.")
    .example("{ consecutive: 3 }");
pub(crate) static OUTLIER_CONSECUTIVE: Key =
    Key::new("consecutive", Kind::Int { min: 0, max: 65535 })
        .default("5", "fewer may be chance")
        .about("Failures in a row after which a server is out; 0 = never for that.")
        .example("3");
pub(crate) static OUTLIER_ERROR_RATE: Key = Key::new("error_rate", SHARE_OR_OFF)
    .default("50%", "a server that fails every other time is no help")
    .about("Share of failures in the window at which a server is out, or `off`.")
    .example("20%");
pub(crate) static OUTLIER_ERROR_VOLUME: Key = Key::new("error_volume", VOLUME)
    .default("20", "a rate of three requests says nothing")
    .about("Fewest requests in the window for a verdict by `error_rate`.")
    .example("50");
pub(crate) static OUTLIER_SUCCESS_RATE: Key = Key::new(
    "success_rate",
    Kind::Shape {
        scalar: Some(&Kind::Words(OFF)),
        list: None,
        map: Some(&Kind::Section(&SUCCESS_RATE)),
    },
)
.absent(
    "on, with the defaults of its keys",
    "it finds the one bad server where all have some failures, and spares all when all are alike",
)
.about("Takes a server out that fails far more than the others do, or `off`.")
.example("off");
pub(crate) static OUTLIER_WINDOW: Key = Key::new("window", WINDOW)
    .default("10s", "short enough to notice, long enough to count")
    .about("Window of both rates.")
    .example("30s");
pub(crate) static OUTLIER_EJECTION: Key = Key::new("ejection", Kind::TIMEOUT)
    .default("30s", "long enough for a restart")
    .about("How long a server is out the first time; the n-th time n times as long.")
    .example("10s");
pub(crate) static OUTLIER_EJECTION_MAX: Key = Key::new("ejection_max", Kind::TIMEOUT)
    .default("5m", "a server that is well again is not forgotten")
    .about("The longest time a server is out.")
    .example("10m");
pub(crate) static OUTLIER_EJECTED_MAX: Key =
    Key::new("ejected_max", Kind::Percent { min: 0.0, max: 100.0 })
        .default("50%", "when everything fails the servers are not the cause, and the rest would drown")
        .about("Largest share of the pool's servers that may be out, rounded down; servers that are out for another reason count too.")
        .example("30%");
pub(crate) static OUTLIER_ON: Key = Key::new(
    "on",
    Kind::OneOrMany {
        item: &Kind::WordOr(FailureCase::WORDS, &Kind::Text(&forms::FAILURE_STATUS)),
        min: 1,
    },
)
.default("[error, timeout, 5xx]", "what a client would take for a failure")
.about("What counts as a failure: `error`, `timeout`, and statuses of answers (`503`, `502-504`, `5xx`).")
.example("[error, timeout, 502-504]");

pub(crate) static OUTLIER: Table = Table {
    id: "outlier",
    title: "ejection of outliers",
    places: "pools.NAME.outlier",
    about: "When a server is taken out for what its traffic shows. `{}` takes the defaults.",
    keys: &[
        &OUTLIER_CONSECUTIVE,
        &OUTLIER_ERROR_RATE,
        &OUTLIER_ERROR_VOLUME,
        &OUTLIER_SUCCESS_RATE,
        &OUTLIER_WINDOW,
        &OUTLIER_EJECTION,
        &OUTLIER_EJECTION_MAX,
        &OUTLIER_EJECTED_MAX,
        &OUTLIER_ON,
    ],
    one_of: &[],
    sample: pool_sample!("outlier: { @ }"),
    base: &[],
};

pub(crate) static SUCCESS_DEVIATIONS: Key = Key::new(
    "deviations",
    Kind::Number {
        min: 0.1,
        max: 10.0,
    },
)
.default("1.9", "one bad server of five can lie 2 below their mean")
.about("Standard deviations that its success rate lies below the mean of the pool.")
.example("2.5");
pub(crate) static SUCCESS_GAP: Key = Key::new(
    "gap",
    Kind::Percent {
        min: 0.0,
        max: 100.0,
    },
)
.default("5%", "99.8% is no outlier among 99.9%")
.about("Least distance to the mean, in percent of requests.")
.example("10%");
pub(crate) static SUCCESS_SERVERS: Key = Key::new(
    "servers",
    Kind::Int {
        min: 3,
        max: 65_000,
    },
)
.default("5", "fewer have no meaningful mean")
.about("Fewest servers to compare.")
.example("3");
pub(crate) static SUCCESS_VOLUME: Key = Key::new("volume", VOLUME)
    .default("100", "fewer say little")
    .about("Fewest requests of a server in the window for taking part.")
    .example("50");

pub(crate) static SUCCESS_RATE: Table = Table {
    id: "success_rate",
    title: "comparison of servers",
    places: "pools.NAME.outlier.success_rate",
    about: "When a server fails far more than the others.",
    keys: &[
        &SUCCESS_DEVIATIONS,
        &SUCCESS_GAP,
        &SUCCESS_SERVERS,
        &SUCCESS_VOLUME,
    ],
    one_of: &[],
    sample: pool_sample!("outlier: { success_rate: { @ } }"),
    base: &[],
};

pub(crate) static POOL_PANIC: Key = Key::new("panic", Kind::Section(&PANIC))
    .absent("the defaults of its keys", "")
    .about("What happens when few servers are healthy.")
    .example("{ threshold: 50% }");
pub(crate) static PANIC_THRESHOLD: Key =
    Key::new("threshold", Kind::Percent { min: 0.0, max: 100.0 })
        .default("0%", "one healthy server is enough, as everywhere")
        .about("Share of healthy servers below which they alone would drown: then `action` holds. A tier below it gives way to the next first.")
        .example("50%");
pub(crate) static PANIC_ACTION: Key = Key::new("action", Kind::Words(PanicAction::WORDS))
    .default(
        "spread",
        "checks and failures may be wrong about all servers at once; a try costs little",
    )
    .about("What is done below the threshold, and when no server at all is healthy.")
    .example("refuse");

pub(crate) static PANIC: Table = Table {
    id: "panic",
    title: "few healthy servers",
    places: "pools.NAME.panic",
    about: "When too few servers are healthy, and what then.",
    keys: &[&PANIC_THRESHOLD, &PANIC_ACTION],
    one_of: &[],
    sample: pool_sample!("panic: { @ }"),
    base: &[],
};

pub(crate) static POOL_SLOW_START: Key = Key::new(
    "slow_start",
    Kind::Shape {
        scalar: Some(&Kind::TIMEOUT),
        list: None,
        map: Some(&Kind::Section(&SLOW_START)),
    },
)
.absent("a server that comes back has its full share at once", "")
.about("How a server that comes back gets its share of the traffic: over a time, or a map. For caches that are cold and compilers that warm up.")
.example("30s");
pub(crate) static SLOW_TIME: Key = Key::new("time", Kind::TIMEOUT)
    .default("30s", "most caches and compilers are warm by then")
    .about("Time until it has its full share.")
    .example("1m");
pub(crate) static SLOW_CURVE: Key = Key::new(
    "curve",
    Kind::Number {
        min: 0.1,
        max: 10.0,
    },
)
.default("1.0", "a straight line")
.about("Exponent of the curve: more than 1 is slower at first, less is quicker.")
.example("2.0");
pub(crate) static SLOW_FROM: Key = Key::new(
    "from",
    Kind::Percent {
        min: 0.0,
        max: 100.0,
    },
)
.default("10%", "without any traffic nothing gets warm")
.about("Share at the beginning.")
.example("20%");

pub(crate) static SLOW_START: Table = Table {
    id: "slow_start",
    title: "slow start",
    places: "pools.NAME.slow_start",
    about: "How a server that comes back gets its share. A time alone is short for `{ time: … }`.",
    keys: &[&SLOW_TIME, &SLOW_CURVE, &SLOW_FROM],
    one_of: &[],
    sample: pool_sample!("slow_start: { @ }"),
    base: &[],
};

pub(crate) static POOL_LOAD_REPORT: Key = Key::new("load_report", Kind::Text(&forms::FIELD_NAME))
    .absent("weights stay as they are", "")
    .about("Header of answers in which a server tells how busy it is, 0 to 1 or in percent; its weight follows. Clients do not see it.")
    .example("X-Load");

pub(crate) static POOL_BREAKER: Key = Key::new("breaker", Kind::Section(&BREAKER))
    .absent("none", "it makes sense for a pool whose failure others can live with")
    .about("Circuit breaker of the pool as a whole: when too much of it fails or is slow, requests are refused at once (503 with Retry-After) until probes go well.")
    .example("{ errors: 60% }");
pub(crate) static POOL_SERVER_BREAKER: Key = Key::new("server_breaker", Kind::Section(&BREAKER))
    .absent("none", "")
    .about("Circuit breaker of each server: while it is open, others are asked.")
    .example("{ slow: { over: 2s } }");
pub(crate) static BREAKER_ERRORS: Key = Key::new("errors", SHARE_OR_OFF)
    .default("50%", "a pool that fails every other time is down")
    .about("Share of failed requests in the window at which it opens, or `off`.")
    .example("60%");
pub(crate) static BREAKER_SLOW: Key = Key::new("slow", Kind::Section(&SLOW_CALLS))
    .absent("never for slowness", "only you know what is slow here")
    .about("Slow answers as a reason to open.")
    .example("{ over: 1s }");
pub(crate) static BREAKER_VOLUME: Key = Key::new("volume", VOLUME)
    .default("20", "a rate of three requests says nothing")
    .about("Fewest requests in the window for a verdict.")
    .example("100");
pub(crate) static BREAKER_WINDOW: Key = Key::new("window", WINDOW)
    .default("10s", "short enough to notice, long enough to count")
    .about("Window in which requests are counted.")
    .example("30s");
pub(crate) static BREAKER_OPEN: Key = Key::new("open", Kind::TIMEOUT)
    .default("5s", "a hiccup is over by then")
    .about("How long it is open the first time; doubled each further time.")
    .example("10s");
pub(crate) static BREAKER_OPEN_MAX: Key = Key::new("open_max", Kind::TIMEOUT)
    .default("60s", "what is well again is noticed within a minute")
    .about("Longest time it is open.")
    .example("5m");
pub(crate) static BREAKER_PROBES: Key = Key::new("probes", Kind::Int { min: 1, max: 1000 })
    .default("3", "one may be luck")
    .about("Requests that are let through then; all of them must go well to close it.")
    .example("5");

pub(crate) static BREAKER: Table = Table {
    id: "breaker",
    title: "a circuit breaker",
    places: "pools.NAME.breaker, pools.NAME.server_breaker",
    about: "When it opens, and how it closes. `{}` takes the defaults.",
    keys: &[
        &BREAKER_ERRORS,
        &BREAKER_SLOW,
        &BREAKER_VOLUME,
        &BREAKER_WINDOW,
        &BREAKER_OPEN,
        &BREAKER_OPEN_MAX,
        &BREAKER_PROBES,
    ],
    one_of: &[],
    sample: pool_sample!("breaker: { @ }"),
    base: &[],
};

pub(crate) static SLOW_OVER: Key = Key::new("over", Kind::TIMEOUT)
    .about("An answer whose head takes longer is slow.")
    .example("1s");
pub(crate) static SLOW_SHARE: Key = Key::new("share", SHARE)
    .default("50%", "the half of all is no chance")
    .about("Share of slow answers at which the breaker opens.")
    .example("80%");

pub(crate) static SLOW_CALLS: Table = Table {
    id: "slow_calls",
    title: "slow answers",
    places: "pools.NAME.breaker.slow, pools.NAME.server_breaker.slow",
    about: "What is slow, and how much of it opens a breaker.",
    keys: &[&SLOW_OVER, &SLOW_SHARE],
    one_of: &[],
    sample: pool_sample!("breaker: { slow: { @ } }"),
    base: &[("over", "2s")],
};

pub(crate) static POOL_LIMITS: Key = Key::new("limits", Kind::Section(&POOL_LIMITS_TABLE))
    .absent("none", "servers know best when they are full; `max_connections` of a server is a limit of its own")
    .about("Limits of the pool as a whole, over all workers. Beyond them a request waits in `queue`, or is answered with 503.")
    .example("{ requests: 1000 }");
pub(crate) static LIMITS_REQUESTS: Key = Key::new("requests", LIMIT)
    .default("0", "")
    .about("Requests at a time; 0 = no limit.")
    .example("1000");
pub(crate) static LIMITS_CONNECTIONS: Key = Key::new("connections", LIMIT)
    .default("0", "")
    .about("Connections to the pool's servers at a time, idle ones included; 0 = no limit.")
    .example("500");

pub(crate) static POOL_LIMITS_TABLE: Table = Table {
    id: "pool_limits",
    title: "limits of a pool",
    places: "pools.NAME.limits",
    about: "What a pool takes at a time, over all workers.",
    keys: &[&LIMITS_REQUESTS, &LIMITS_CONNECTIONS],
    one_of: &[],
    sample: pool_sample!("limits: { @ }"),
    base: &[],
};

pub(crate) static POOL_QUEUE: Key = Key::new("queue", Kind::Section(&QUEUE))
    .absent("none: a request that finds all servers full is answered with 503", "a queue turns a peak into waiting; it helps only where servers have limits")
    .about("Where requests wait while all servers are full. Needs a limit: `max_connections` of servers, `limits` or `concurrency` of the pool.")
    .with(&[("limits", "{ requests: 100 }")])
    .example("{ length: 500 }");
pub(crate) static QUEUE_LENGTH: Key = Key::new(
    "length",
    Kind::Int {
        min: 1,
        max: 1_000_000,
    },
)
.default("1000", "")
.about("Most requests that wait; when it is full, the least urgent is answered with 503.")
.example("500");
pub(crate) static QUEUE_WAIT: Key = Key::new("wait", Kind::TIMEOUT)
    .default("5s", "people reload a page after that, and wait twice")
    .about("How long a request may wait; then it is answered with 503.")
    .example("2s");
pub(crate) static QUEUE_PRIORITY: Key = Key::new("priority", Kind::Section(&PRIORITY))
    .absent("requests go in the order in which they came", "")
    .about("Where the urgency of a request is found.")
    .example("{ header: X-Priority }");

pub(crate) static QUEUE: Table = Table {
    id: "queue",
    title: "the queue of a pool",
    places: "pools.NAME.queue",
    about: "Where requests wait while all servers are full. `{}` takes the defaults.",
    keys: &[&QUEUE_LENGTH, &QUEUE_WAIT, &QUEUE_PRIORITY],
    one_of: &[],
    sample: pool_sample!("limits: { requests: 10 }, queue: { @ }"),
    base: &[],
};

pub(crate) static PRIORITY_HEADER: Key = Key::new("header", Kind::Text(&forms::FIELD_NAME))
    .about("Request header with a number, 0 (first) to 255 (last); 128 without it. Let your own front set it, and remove what clients send.")
    .example("X-Priority");

pub(crate) static PRIORITY: Table = Table {
    id: "priority",
    title: "the urgency of a request",
    places: "pools.NAME.queue.priority",
    about: "Which requests go first.",
    keys: &[&PRIORITY_HEADER],
    one_of: &[],
    sample: pool_sample!("limits: { requests: 10 }, queue: { priority: { @ } }"),
    base: &[("header", "X-Urgency")],
};

pub(crate) static POOL_CONCURRENCY: Key = Key::new("concurrency", Kind::Section(&CONCURRENCY))
    .absent("no such limit", "")
    .about("A limit of requests at a time that finds itself: it grows while answers stay as quick as on an idle server, and falls when they get slower.")
    .example("{ max: 200 }");
pub(crate) static CONCURRENCY_MIN: Key =
    Key::new("min", Kind::Int { min: 1, max: 1_000_000 })
        .default("10", "")
        .about("Lowest limit; it holds now and then for a few dozen requests, to measure how quick an idle server is.")
        .example("5");
pub(crate) static CONCURRENCY_MAX: Key = Key::new(
    "max",
    Kind::Int {
        min: 1,
        max: 1_000_000,
    },
)
.default("1000", "")
.about("Highest limit.")
.example("200");
pub(crate) static CONCURRENCY_TOLERANCE: Key = Key::new(
    "tolerance",
    Kind::Percent {
        min: 0.0,
        max: 1000.0,
    },
)
.default("25%", "answers vary that much by themselves")
.about("By how much an answer may be slower than on an idle server.")
.example("50%");

pub(crate) static CONCURRENCY: Table = Table {
    id: "concurrency",
    title: "adaptive concurrency",
    places: "pools.NAME.concurrency",
    about: "A limit of requests at a time that follows response times. `{}` takes the defaults.",
    keys: &[&CONCURRENCY_MIN, &CONCURRENCY_MAX, &CONCURRENCY_TOLERANCE],
    one_of: &[],
    sample: pool_sample!("concurrency: { @ }"),
    base: &[],
};
