//! Keys of a route's conditions.

use super::*;
use crate::model::{Scheme, TlsVersion};
use crate::words::Word;

const VALUE_KIND: Kind = Kind::OneOrMany {
    item: &Kind::Shape {
        scalar: Some(&Kind::Text(&forms::VALUE)),
        list: None,
        map: Some(&Kind::Section(&VALUE_TEST)),
    },
    min: 1,
};

const SAMPLE: &str = "{ listeners: { web: { bind: \":80\" }, api: { bind: \":81\" } }, pools: { app: { servers: [\"127.0.0.1:9001\"] } }, \
                      routes: [ { pool: app, match: { @ } } ] }";

pub(crate) static MATCH_HOST: Key = Key::new(
    "host",
    Kind::OneOrMany { item: &Kind::Text(&forms::HOST_PATTERN), min: 1 },
)
.absent("any host", "")
.about("The host that is asked for; the port does not count. `*.example.com` stands for one or more labels before the suffix.")
.example("[example.com, \"*.example.com\"]");
pub(crate) static MATCH_PATH: Key = Key::new(
    "path",
    Kind::OneOrMany {
        item: &Kind::Shape {
            scalar: Some(&Kind::Text(&forms::PATH)),
            list: None,
            map: Some(&Kind::Section(&PATH_TEST)),
        },
        min: 1,
    },
)
.absent("any path", "")
.about("The path in normal form, without the query. A text alone is a prefix that ends at a segment's border: `/api` takes `/api` and `/api/x`, not `/apix`; `/api/` takes `/api/` and what is below, not `/api`.")
.example("/api/");
pub(crate) static MATCH_METHOD: Key = Key::new(
    "method",
    Kind::OneOrMany {
        item: &Kind::Text(&forms::METHOD),
        min: 1,
    },
)
.absent("any method", "")
.about("The method, in capitals.")
.example("[GET, HEAD]");
pub(crate) static MATCH_HEADER: Key = Key::new(
    "header",
    Kind::Map { name: &forms::FIELD_NAME, value: &VALUE_KIND, min: 1 },
)
.absent("any headers", "")
.about("Request headers; every one named must fit. A text alone is the exact value, a list means any of its items.")
.example("{ X-Tenant: acme }");
pub(crate) static MATCH_COOKIE: Key = Key::new(
    "cookie",
    Kind::Map {
        name: &forms::COOKIE_NAME,
        value: &VALUE_KIND,
        min: 1,
    },
)
.absent("any cookies", "")
.about("Cookies; every one named must fit.")
.example("{ beta: { present: true } }");
pub(crate) static MATCH_QUERY: Key = Key::new(
    "query",
    Kind::Map {
        name: &forms::QUERY_NAME,
        value: &VALUE_KIND,
        min: 1,
    },
)
.absent("any query", "")
.about("Query parameters; every one named must fit.")
.example("{ version: \"2\" }");
pub(crate) static MATCH_CLIENT: Key = Key::new(
    "client",
    Kind::OneOrMany {
        item: &Kind::Text(&forms::NETWORK),
        min: 1,
    },
)
.absent("any client", "")
.about("Networks of the client's address (that behind trusted proxies).")
.example("[10.0.0.0/8, 192.168.0.0/16]");
pub(crate) static MATCH_SCHEME: Key = Key::new("scheme", Kind::Words(Scheme::WORDS))
    .absent("any scheme", "")
    .about("Scheme of the request at our listener.")
    .example("https");
pub(crate) static MATCH_LISTENER: Key = Key::new(
    "listener",
    Kind::OneOrMany {
        item: &Kind::Text(&forms::LISTENER_NAME),
        min: 1,
    },
)
.absent("any listener", "")
.about("Listener at which the request came in.")
.example("web");
pub(crate) static MATCH_TLS: Key = Key::new("tls", Kind::Section(&TLS_TEST))
    .absent("with TLS or without", "")
    .about("The TLS connection; every key given must fit. A plain connection fits none, but for `client_verified: false`.")
    .example("{ client_verified: true }");
pub(crate) static MATCH_ALL: Key = Key::new(
    "all",
    Kind::List {
        item: &Kind::Section(&MATCH),
        min: 1,
    },
)
.absent("nothing more", "")
.about("Every condition in the list holds.")
.example("[ { path: /a }, { method: GET } ]");
pub(crate) static MATCH_ANY: Key = Key::new(
    "any",
    Kind::List {
        item: &Kind::Section(&MATCH),
        min: 1,
    },
)
.absent("nothing more", "")
.about("At least one condition in the list holds.")
.example("[ { path: /a }, { method: GET } ]");
pub(crate) static MATCH_NOT: Key = Key::new("not", Kind::Section(&MATCH))
    .absent("nothing more", "")
    .about("The condition does not hold.")
    .example("{ client: 10.0.0.0/8 }");

pub(crate) static MATCH: Table = Table {
    id: "match",
    title: "a condition",
    places: "routes[].match, match.all[], match.any[], match.not",
    about: "What a request must look like. Every key given must fit; a list under one key means any of its items. An empty one fits every request.",
    keys: &[
        &MATCH_HOST,
        &MATCH_PATH,
        &MATCH_METHOD,
        &MATCH_HEADER,
        &MATCH_COOKIE,
        &MATCH_QUERY,
        &MATCH_CLIENT,
        &MATCH_SCHEME,
        &MATCH_LISTENER,
        &MATCH_TLS,
        &MATCH_ALL,
        &MATCH_ANY,
        &MATCH_NOT,
    ],
    one_of: &[],
    sample: SAMPLE,
    base: &[],
};

pub(crate) static TLS_TEST_NAME: Key = Key::new("server_name", VALUE_KIND)
    .absent("any name, or none", "")
    .about("The name that the client asked for in the handshake (SNI), in lower case. Requests ask for a `host` of their own, which may be another.")
    .example("{ suffix: .internal }");
pub(crate) static TLS_TEST_VERSION: Key = Key::new("version", Kind::Words(TlsVersion::WORDS))
    .absent("any version", "")
    .about("The version of TLS that is spoken.")
    .example("1.3");
pub(crate) static TLS_TEST_JA4: Key = Key::new("ja4", VALUE_KIND)
    .absent("any fingerprint", "")
    .about("The JA4 fingerprint of the client's first message: what kind of program it is, whatever it says of itself. `{ prefix: t13d1516h2_ }` takes the readable part.")
    .example("[t13d1516h2_8daaf6152771_02713d6af862, { prefix: t12 }]");
pub(crate) static TLS_TEST_SUBJECT: Key = Key::new("client_subject", VALUE_KIND)
    .absent("any subject, or no certificate", "")
    .about("Subject of the client's certificate, as `$ssl_client_s_dn` in the log has it.")
    .example("{ contains: O=Staff }");
pub(crate) static TLS_TEST_FINGERPRINT: Key = Key::new(
    "client_fingerprint",
    Kind::OneOrMany {
        item: &Kind::Text(&forms::FINGERPRINT),
        min: 1,
    },
)
.absent("any certificate, or none", "")
.about("SHA-256 of the client's certificate in hex, colons or not.")
.example("0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0");
pub(crate) static TLS_TEST_VERIFIED: Key = Key::new("client_verified", Kind::Bool)
    .absent("either", "")
    .about("Whether the client has a certificate that was verified.")
    .with(&[("version", "")])
    .example("false");

pub(crate) static TLS_TEST: Table = Table {
    id: "tls_test",
    title: "a test of the TLS connection",
    places: "match.tls",
    about: "What the TLS connection of a request must be like. Every key given must fit.",
    keys: &[
        &TLS_TEST_NAME,
        &TLS_TEST_VERSION,
        &TLS_TEST_JA4,
        &TLS_TEST_SUBJECT,
        &TLS_TEST_FINGERPRINT,
        &TLS_TEST_VERIFIED,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":443\", tls: { self_signed: true } } }, pools: { app: { servers: [\"127.0.0.1:9001\"] } }, \
             routes: [ { pool: app, match: { tls: { @ } } } ] }",
    base: &[("version", "1.2")],
};

pub(crate) static PATH_EXACT: Key = Key::new("exact", Kind::Text(&forms::EXACT_PATH))
    .absent("another test is given", "")
    .about("This path and no other. `\"*\"` is that of `OPTIONS *`, which no prefix takes.")
    .with(&[("prefix", "")])
    .example("/health");
pub(crate) static PATH_PREFIX: Key = Key::new("prefix", Kind::Text(&forms::PATH))
    .absent("another test is given", "")
    .about("Paths that start so.")
    .example("/images");
pub(crate) static PATH_SEGMENT: Key = Key::new("segment", Kind::Bool)
    .default("true", "`/api` is not meant to take `/apix`")
    .about("Whether the prefix must end at a segment's border: `/api` then takes `/api` and `/api/x`, not `/apix`. Only beside `prefix`.")
    .example("false");
pub(crate) static PATH_GLOB: Key = Key::new("glob", Kind::Text(&forms::GLOB))
    .absent("another test is given", "")
    .about(
        "`*` stands for any part of one segment, `**` for any part of the path, `/**/` also for one slash. It covers the whole path.",
    )
    .with(&[("prefix", "")])
    .example("/users/*/avatar");
pub(crate) static PATH_REGEX: Key = Key::new("regex", Kind::Text(&forms::REGEX))
    .absent("another test is given", "")
    .about("A regular expression (Rust's regex syntax), found anywhere in the path unless anchored with `^` and `$`.")
    .with(&[("prefix", "")])
    .example("\"^/v[0-9]+/\"");

pub(crate) static PATH_TEST: Table = Table {
    id: "path_test",
    title: "a test of the path",
    places: "match.path",
    about: "One way to test a path. A text alone is short for `{ prefix: … }`.",
    keys: &[
        &PATH_EXACT,
        &PATH_PREFIX,
        &PATH_SEGMENT,
        &PATH_GLOB,
        &PATH_REGEX,
    ],
    one_of: &["exact", "prefix", "glob", "regex"],
    sample: "{ listeners: { web: { bind: \":80\" } }, pools: { app: { servers: [\"127.0.0.1:9001\"] } }, routes: [ { pool: app, match: { path: { @ } } } ] }",
    base: &[("prefix", "/api")],
};

pub(crate) static VALUE_PRESENT: Key = Key::new("present", Kind::Bool)
    .absent("another test is given", "")
    .about("`true`: there is one, whatever its value; `false`: there is none.")
    .with(&[("exact", "")])
    .example("false");
pub(crate) static VALUE_EXACT: Key = Key::new("exact", Kind::Text(&forms::VALUE))
    .absent("another test is given", "")
    .about("The value is this.")
    .example("gold");
pub(crate) static VALUE_PREFIX: Key = Key::new("prefix", Kind::Text(&forms::PART))
    .absent("another test is given", "")
    .about("The value starts so.")
    .with(&[("exact", "")])
    .example("Bearer");
pub(crate) static VALUE_SUFFIX: Key = Key::new("suffix", Kind::Text(&forms::PART))
    .absent("another test is given", "")
    .about("The value ends so.")
    .with(&[("exact", "")])
    .example("-beta");
pub(crate) static VALUE_CONTAINS: Key = Key::new("contains", Kind::Text(&forms::PART))
    .absent("another test is given", "")
    .about("This stands in the value.")
    .with(&[("exact", "")])
    .example("Mobile");
pub(crate) static VALUE_REGEX: Key = Key::new("regex", Kind::Text(&forms::REGEX))
    .absent("another test is given", "")
    .about("A regular expression (Rust's regex syntax), found anywhere in the value unless anchored with `^` and `$`.")
    .with(&[("exact", "")])
    .example("\"^v[0-9]+$\"");

pub(crate) static VALUE_TEST: Table = Table {
    id: "value_test",
    title: "a test of a value",
    places: "match.header.NAME, match.cookie.NAME, match.query.NAME",
    about: "One way to test the value of a header, cookie or query parameter. A text alone is short for `{ exact: … }`. Of several values, one must fit.",
    keys: &[
        &VALUE_PRESENT,
        &VALUE_EXACT,
        &VALUE_PREFIX,
        &VALUE_SUFFIX,
        &VALUE_CONTAINS,
        &VALUE_REGEX,
    ],
    one_of: &["present", "exact", "prefix", "suffix", "contains", "regex"],
    sample: "{ listeners: { web: { bind: \":80\" } }, pools: { app: { servers: [\"127.0.0.1:9001\"] } }, routes: [ { pool: app, match: { header: { X-Plan: { @ } } } } ] }",
    base: &[("exact", "silver")],
};
