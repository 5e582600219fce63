//! Keys of header edits and of what is told about the client.

use super::*;
use crate::model::XForwarded;
use crate::words::Word;

const SAMPLE: &str = "{ listeners: { web: { bind: \":80\" } }, headers: { @ } }";

pub(crate) static HEADERS_REQUEST: Key = Key::new("request", Kind::Section(&HEADER_EDITS))
    .absent("no edits", "")
    .about("Edits of requests before they go to a server.")
    .example("{ set: { X-Env: production } }");
pub(crate) static HEADERS_RESPONSE: Key = Key::new("response", Kind::Section(&HEADER_EDITS))
    .absent("no edits", "")
    .about("Edits of answers before they go to the client, our own answers included.")
    .example("{ remove: [Server] }");

pub(crate) static HEADERS: Table = Table {
    id: "headers",
    title: "header edits",
    places: "headers, listeners.NAME.headers, routes[].headers",
    about: "Edits of header fields. All levels apply, from the outside in: global, listener, route, pool. Framing and \
            connection headers (Content-Length, Transfer-Encoding, Connection and the like) cannot be edited; Host is set by `host`.",
    keys: &[&HEADERS_REQUEST, &HEADERS_RESPONSE],
    one_of: &[],
    sample: SAMPLE,
    base: &[],
};

pub(crate) static POOL_HEADERS_REQUEST: Key = Key::new("request", Kind::Section(&HEADER_EDITS))
    .absent("no edits", "")
    .about("Edits of requests to this pool's servers, after all others.")
    .example("{ set: { X-Env: production } }");

pub(crate) static POOL_HEADERS: Table = Table {
    id: "pool_headers",
    title: "a pool's header edits",
    places: "pools.NAME.headers",
    about: "Edits of requests to this pool's servers. Edits of answers belong to the route.",
    keys: &[&POOL_HEADERS_REQUEST],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { pool: app } ], pools: { app: { servers: [\"127.0.0.1:9001\"], headers: { @ } } } }",
    base: &[],
};

const FIELD: Kind = Kind::Text(&forms::FIELD_VALUE);

pub(crate) static EDIT_REMOVE: Key = Key::new(
    "remove",
    Kind::OneOrMany {
        item: &Kind::Text(&forms::FIELD_NAME),
        min: 0,
    },
)
.absent("none", "")
.about("Fields to take away. Comes first.")
.example("[Server, X-Powered-By]");
pub(crate) static EDIT_SET: Key = Key::new(
    "set",
    Kind::Map { name: &forms::FIELD_NAME, value: &FIELD, min: 0 },
)
.absent("none", "")
.about("Fields to write in place of all others of the same name. Values may hold `$variables`; `$$` is a dollar sign.")
.example("{ X-Client: \"$remote_addr\" }");
pub(crate) static EDIT_ADD: Key = Key::new(
    "add",
    Kind::Map {
        name: &forms::FIELD_NAME,
        value: &Kind::OneOrMany {
            item: &FIELD,
            min: 1,
        },
        min: 0,
    },
)
.absent("none", "")
.about("Fields to write beside others of the same name. Comes last.")
.example("{ Via: \"1.1 evenkeel\" }");

pub(crate) static HEADER_EDITS: Table = Table {
    id: "header_edits",
    title: "edits of one message",
    places: "headers.request, headers.response",
    about: "Fields to remove, to set and to add, in this order.",
    keys: &[&EDIT_REMOVE, &EDIT_SET, &EDIT_ADD],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, headers: { response: { @ } } }",
    base: &[],
};

pub(crate) static X_FORWARDED: Key = Key::new("x_forwarded", Kind::Words(XForwarded::WORDS))
    .default("append", "backends learn the whole chain of proxies that is trusted, and nothing that a client made up")
    .about("X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.")
    .example("replace");
pub(crate) static X_REAL_IP: Key = Key::new("x_real_ip", Kind::Bool)
    .default("true", "many applications read it and nothing else")
    .about("Whether X-Real-IP carries the client's address.")
    .example("false");
pub(crate) static RFC_FORWARDED: Key = Key::new("forwarded", Kind::Bool)
    .default("false", "few applications read it")
    .about("Whether the Forwarded header of RFC 7239 is sent.")
    .example("true");

pub(crate) static FORWARDED: Table = Table {
    id: "forwarded",
    title: "what backends are told about the client",
    places: "forwarded, routes[].forwarded",
    about: "Which headers tell the backend about the client. A route takes over every key that it does not set from the top.",
    keys: &[&X_FORWARDED, &X_REAL_IP, &RFC_FORWARDED],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, routes: [ { respond: {} } ], forwarded: { @ } }",
    base: &[],
};
