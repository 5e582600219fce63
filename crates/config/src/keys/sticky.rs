//! Keys of persistence.

use super::*;
use crate::model::{CookieSecure, SameSite};
use crate::words::Word;

/// What a client is known by, when it needs no more words.
pub(crate) static STICKY_WORDS: Words = &[
    ("cookie", "a cookie that we set, with its defaults"),
    ("client_address", "the client's address"),
    (
        "tls_session",
        "the id of the client's TLS session (TLS 1.2; not resumed in 1.3)",
    ),
];

pub(crate) static POOL_STICKY: Key = Key::new(
    "sticky",
    Kind::Shape {
        scalar: Some(&Kind::Words(STICKY_WORDS)),
        list: None,
        map: Some(&Kind::Section(&STICKY)),
    },
)
.absent("each request is balanced by itself", "applications that keep nothing of a client need none")
.about("Keeps a client at the server that it had: a word, or a map. A server that is drained, down or gone hands its clients on once; one that is full is passed by.")
.example("cookie");

pub(crate) static STICKY_COOKIE: Key = Key::new(
    "cookie",
    Kind::Shape {
        scalar: Some(&Kind::Text(&forms::COOKIE_NAME)),
        list: None,
        map: Some(&Kind::Section(&STICKY_COOKIE_TABLE)),
    },
)
.absent("another is given", "")
.about("A cookie that we set: its name, or a map. Its value tells nothing about the server and cannot be made up; nodes that share `secret` understand each other's.")
.with(&[("header", "")])
.example("{ name: node }");
pub(crate) static STICKY_LEARN: Key = Key::new("learn", Kind::Section(&LEARN))
    .absent("another is given", "")
    .about("The application's own session: learned when an answer sets it.")
    .with(&[("header", "")])
    .example("{ cookie: JSESSIONID }");
pub(crate) static STICKY_ADDRESS: Key = Key::new("client_address", Kind::Words(YES))
    .absent("another is given", "")
    .about("The client's address.")
    .with(&[("header", "")])
    .example("true");
pub(crate) static STICKY_TLS: Key = Key::new("tls_session", Kind::Words(YES))
    .absent("another is given", "")
    .about("The id of the client's TLS session; requests without TLS are balanced.")
    .with(&[("header", "")])
    .example("true");
pub(crate) static STICKY_HEADER: Key = Key::new("header", Kind::Text(&forms::FIELD_NAME))
    .absent("another is given", "")
    .about("A request header; requests without it are balanced.")
    .example("X-User");
pub(crate) static STICKY_SIZE: Key = Key::new("size", Kind::Int { min: 100, max: 10_000_000 })
    .default("100000", "some 10 MB")
    .about("Clients that are remembered; the one that was away for longest makes room. A cookie of ours needs no memory.")
    .example("5000");
pub(crate) static STICKY_IDLE: Key = Key::new("idle", Kind::TIMEOUT)
    .default("30m", "as long as most applications keep a session")
    .about("How long a client is remembered after its last request.")
    .example("2h");

pub(crate) static STICKY: Table = Table {
    id: "sticky",
    title: "the persistence of a pool",
    places: "pools.NAME.sticky",
    about: "What a client is known by, so that it stays at its server.",
    keys: &[
        &STICKY_COOKIE,
        &STICKY_LEARN,
        &STICKY_ADDRESS,
        &STICKY_TLS,
        &STICKY_HEADER,
        &STICKY_SIZE,
        &STICKY_IDLE,
    ],
    one_of: &["cookie", "learn", "client_address", "tls_session", "header"],
    sample: pool_sample!("sticky: { @ }"),
    base: &[("header", "X-Session")],
};

pub(crate) static COOKIE_NAME: Key = Key::new("name", Kind::Text(&forms::COOKIE_NAME))
    .default("evenkeel", "")
    .about("Name of the cookie. Pools that one site uses need different ones.")
    .example("node");
pub(crate) static COOKIE_EXPIRES: Key = Key::new(
    "expires",
    Kind::Duration {
        min_ms: 1000,
        max_ms: 400 * 86_400_000,
    },
)
.absent("it lasts until the browser is closed", "")
.about("How long the browser keeps it (`Max-Age`); whole seconds.")
.example("1h");
pub(crate) static COOKIE_DOMAIN: Key = Key::new("domain", Kind::Text(&forms::COOKIE_DOMAIN))
    .absent("the host alone", "")
    .about("Domain with all below it that the cookie is sent to.")
    .example("example.com");
pub(crate) static COOKIE_PATH: Key = Key::new("path", Kind::Text(&forms::COOKIE_PATH))
    .default("/", "")
    .about("Path below which the cookie is sent.")
    .example("/app");
pub(crate) static COOKIE_SECURE: Key = Key::new("secure", Kind::Words(CookieSecure::WORDS))
    .default("auto", "")
    .about("Whether it is sent over TLS only (`Secure`).")
    .example("always");
pub(crate) static COOKIE_SAME_SITE: Key = Key::new("same_site", Kind::Words(SameSite::WORDS))
    .default("lax", "what browsers do by themselves")
    .about("Whether it is sent with requests that other sites cause (`SameSite`).")
    .example("strict");
pub(crate) static COOKIE_HTTP_ONLY: Key = Key::new("http_only", Kind::Bool)
    .default("true", "no script needs it")
    .about("Whether it is hidden from scripts (`HttpOnly`).")
    .example("false");

pub(crate) static STICKY_COOKIE_TABLE: Table = Table {
    id: "sticky_cookie",
    title: "a cookie of ours",
    places: "pools.NAME.sticky.cookie",
    about: "The cookie that keeps a client at its server. A name alone is short for `{ name: … }`.",
    keys: &[
        &COOKIE_NAME,
        &COOKIE_EXPIRES,
        &COOKIE_DOMAIN,
        &COOKIE_PATH,
        &COOKIE_SECURE,
        &COOKIE_SAME_SITE,
        &COOKIE_HTTP_ONLY,
    ],
    one_of: &[],
    sample: pool_sample!("sticky: { cookie: { @ } }"),
    base: &[],
};

pub(crate) static LEARN_COOKIE: Key = Key::new("cookie", Kind::Text(&forms::COOKIE_NAME))
    .absent("another is given", "")
    .about("A cookie that answers set.")
    .with(&[("header", "")])
    .example("JSESSIONID");
pub(crate) static LEARN_HEADER: Key = Key::new("header", Kind::Text(&forms::FIELD_NAME))
    .absent("another is given", "")
    .about("A header that answers set and requests carry.")
    .example("X-Session");

pub(crate) static LEARN: Table = Table {
    id: "learn",
    title: "a session of the application",
    places: "pools.NAME.sticky.learn",
    about: "Where the application's own session is found.",
    keys: &[&LEARN_COOKIE, &LEARN_HEADER],
    one_of: &["cookie", "header"],
    sample: pool_sample!("sticky: { learn: { @ } }"),
    base: &[("header", "X-Sid")],
};
