//! Keys of access logs and error pages.

use super::*;
use crate::model::{Facility, NamedFormat};
use crate::words::Word;

/// `off`, a name, a list of names or logs, or a log in place.
pub(crate) const ACCESS_LOG_KIND: Kind = Kind::Shape {
    scalar: Some(&Kind::WordOr(OFF, &Kind::Text(&forms::LOG_NAME))),
    list: Some(&Kind::List {
        item: &Kind::Shape {
            scalar: Some(&Kind::Text(&forms::LOG_NAME)),
            list: None,
            map: Some(&Kind::Section(&ACCESS_LOG)),
        },
        min: 0,
    }),
    map: Some(&Kind::Section(&ACCESS_LOG)),
};

/// Pages by status.
pub(crate) const ERROR_PAGES_KIND: Kind = Kind::Map {
    name: &forms::STATUS_SET,
    value: &Kind::Shape {
        scalar: Some(&Kind::Text(&forms::BODY)),
        list: None,
        map: Some(&Kind::Section(&ERROR_PAGE)),
    },
    min: 0,
};

pub(crate) static LOG_TO: Key = Key::new("to", Kind::Text(&forms::LOG_TARGET))
    .default("stdout", "containers and service managers collect it")
    .about("Where lines go. Paths are relative to the file that names them; files are opened anew on SIGUSR1.")
    .example("file:/var/log/evenkeel/access.log");
pub(crate) static LOG_FORMAT: Key = Key::new(
    "format",
    Kind::WordOr(NamedFormat::WORDS, &Kind::Text(&forms::LOG_FORMAT)),
)
.default("combined", "every tool that reads logs knows it")
.about("How a line looks: a format's name, or a text with nginx's variables.")
.example("json");
pub(crate) static LOG_FACILITY: Key = Key::new("facility", Kind::Words(Facility::WORDS))
    .default("local7", "nginx's default")
    .about("Facility of syslog lines.")
    .with(&[("to", "syslog:/dev/log")])
    .example("local0");
pub(crate) static LOG_TAG: Key = Key::new("tag", Kind::Text(&forms::TAG))
    .default("evenkeel", "the program's name")
    .about("Tag of syslog lines.")
    .with(&[("to", "syslog:/dev/log")])
    .example("edge");

pub(crate) static ACCESS_LOG: Table = Table {
    id: "access_log",
    title: "an access log",
    places: "access_logs.NAME, access_log, listeners.NAME.access_log, routes[].access_log",
    about: "A line for each request.",
    keys: &[&LOG_TO, &LOG_FORMAT, &LOG_FACILITY, &LOG_TAG],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, access_log: main, access_logs: { main: { @ } } }",
    base: &[],
};

pub(crate) static PAGE_FILE: Key = Key::new("file", Kind::Text(&forms::FILE))
    .absent("`text` is given", "")
    .about("A file that is read at the start and kept, at most 1 MiB, relative to the file that names it.")
    .with(&[("text", "")])
    .example("404.html");
pub(crate) static PAGE_TEXT: Key = Key::new("text", Kind::Text(&forms::BODY))
    .absent("`file` is given", "")
    .about("The page itself; no variables.")
    .example("\"Out for a walk.\"");
pub(crate) static PAGE_TYPE: Key = Key::new("type", Kind::Text(&forms::MEDIA_TYPE))
    .absent(
        "by the file's ending; `text/plain; charset=utf-8` for a text",
        "",
    )
    .about("Content-Type of the page.")
    .example("application/json");

pub(crate) static ERROR_PAGE: Table = Table {
    id: "error_page",
    title: "an error page",
    places: "error_pages.STATUS, routes[].error_pages.STATUS",
    about: "A page in place of our own error text. A text alone is short for `{ text: … }`.",
    keys: &[&PAGE_FILE, &PAGE_TEXT, &PAGE_TYPE],
    one_of: &["file", "text"],
    sample: "{ listeners: { web: { bind: \":80\" } }, error_pages: { 404: { @ } } }",
    base: &[("text", "\"Not here.\"")],
};
