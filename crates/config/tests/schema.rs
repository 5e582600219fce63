//! The schema and the loader agree, over the examples and over the bad files; the reference page is fresh.
//!
//! The checker below knows the keywords that our schema uses and no others, and fails on one that it does not know.
#![allow(clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use keel_config::{InMemory, Source, load, load_str, reference, schema};
use serde_json::Value;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether a value fits a schema.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(schema) = schema else {
        panic!("a schema is an object")
    };
    schema.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "$defs" | "title" | "description" | "default" => true,
        "$ref" => {
            let name = rule
                .as_str()
                .and_then(|name| name.strip_prefix("#/$defs/"))
                .expect("a name");
            fits(root, &root["$defs"][name], value)
        }
        "type" => match rule {
            Value::Array(types) => types.iter().any(|name| is_type(name, value)),
            name => is_type(name, value),
        },
        "const" => rule == value,
        "anyOf" => schemas(rule).any(|rule| fits(root, rule, value)),
        "oneOf" => schemas(rule).filter(|rule| fits(root, rule, value)).count() == 1,
        "minimum" => value
            .as_f64()
            .is_none_or(|n| n >= rule.as_f64().expect("a number")),
        "maximum" => value
            .as_f64()
            .is_none_or(|n| n <= rule.as_f64().expect("a number")),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.len() as u64 >= number(rule)),
        "pattern" => value.as_str().is_none_or(|text| is_match(rule, text)),
        "minItems" => value
            .as_array()
            .is_none_or(|items| items.len() as u64 >= number(rule)),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| fits(root, rule, item))),
        "minProperties" => value
            .as_object()
            .is_none_or(|map| map.len() as u64 >= number(rule)),
        "required" => value.as_object().is_none_or(|map| {
            rule.as_array()
                .expect("names")
                .iter()
                .all(|name| map.contains_key(name.as_str().expect("a name")))
        }),
        "propertyNames" => value.as_object().is_none_or(|map| {
            map.keys()
                .all(|name| fits(root, rule, &Value::String(name.clone())))
        }),
        "properties" => value.as_object().is_none_or(|map| {
            map.iter()
                .all(|(name, value)| rule.get(name).is_none_or(|rule| fits(root, rule, value)))
        }),
        "patternProperties" => true,
        "additionalProperties" => others_fit(root, schema, rule, value),
        other => panic!("the checker does not know `{other}`"),
    })
}

/// Whether the keys of a map that `properties` and `patternProperties` do not name fit.
fn others_fit(
    root: &Value,
    schema: &serde_json::Map<String, Value>,
    rule: &Value,
    value: &Value,
) -> bool {
    let named = |name: &str| {
        let known = schema.get("properties");
        known.is_some_and(|known| known.get(name).is_some())
    };
    let patterned = |name: &str| {
        let known = schema.get("patternProperties").and_then(Value::as_object);
        known.is_some_and(|known| {
            known
                .keys()
                .any(|pattern| is_match(&Value::String(pattern.clone()), name))
        })
    };
    value.as_object().is_none_or(|map| {
        map.iter().all(|(name, value)| {
            named(name)
                || patterned(name)
                || (rule != &Value::Bool(false) && fits(root, rule, value))
        })
    })
}

fn schemas(rule: &Value) -> impl Iterator<Item = &Value> {
    rule.as_array().expect("schemas").iter()
}

fn number(rule: &Value) -> u64 {
    rule.as_u64().expect("a number")
}

fn is_match(pattern: &Value, text: &str) -> bool {
    regex::Regex::new(pattern.as_str().expect("a pattern"))
        .expect("a regex")
        .is_match(text)
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type") {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the checker does not know the type `{other}`"),
    }
}

fn texts(folder: &str) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = fs::read_dir(at(folder))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(&path).expect("a file"),
            )
        })
        .collect();
    texts.sort();
    texts
}

#[test]
fn the_schema_takes_every_example() {
    let schema = schema();
    for (name, text) in texts("../../examples") {
        let value = keel_config::to_json(&text).expect("YAML");
        assert!(fits(&schema, &schema, &value), "{name}");
    }
}

/// What the loader refuses by key, type, unit or range, the schema refuses; what the schema refuses, the
/// loader refuses.
#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    // Told only by the loader: the syntax of addresses and the like, what other values say, other files.
    let by_loader = |id: &str| !id.starts_with("E01") || matches!(id, "E0106" | "E0108");
    // A word in the wrong case, where any text may stand, is a text to the schema; a file without listeners may be
    // one that is included; and `010` is a number to it.
    let lenient = ["redirects", "missing_keys", "numbers_that_are_not"];
    let schema = schema();
    let mut differ = Vec::new();
    for (name, text) in texts("tests/bad") {
        let Some(value) = keel_config::to_json(&text) else {
            continue;
        };
        let world = InMemory::new().file("bad.yaml", text.clone());
        let found = match load(Source::file(Path::new("bad.yaml"), &world)) {
            Ok(_) => Vec::new(),
            Err(found) => found,
        };
        let refused = found.iter().any(|report| !by_loader(report.code.id));
        let taken = fits(&schema, &schema, &value);
        let lenient = lenient.iter().any(|case| name.contains(case));
        if refused && taken && !lenient {
            differ.push(format!("the schema takes {name}, the loader does not"));
        }
        let errors = found.iter().any(|report| report.code.id.starts_with('E'));
        if !taken && !errors {
            differ.push(format!("the loader takes {name}, the schema does not"));
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Small slips in a good file, each refused by both.
#[test]
fn single_slips_are_refused_by_both() {
    let schema = schema();
    let slips = [
        ("workers: 4", "workers: 0"),
        ("workers: 4", "workers: \"4\""),
        ("workers: 4", "worker: 4"),
        ("idle: 30s", "idle: 30"),
        ("idle: 30s", "idle: 30x"),
        ("idle: 30s", "idle: [30s]"),
        ("body: 10MB", "body: 10"),
        ("body: 10MB", "body: 10m"),
        ("status: 308", "status: 309"),
        ("pool: app", "pool: [app]"),
        ("pool: app", "pool: app, expose: health"),
        ("pool: app", "name: nothing"),
        ("weight: 2", "weight: 65536"),
        ("weight: 2", "weight: -1"),
        ("weight: 2", "weight: 1.5"),
        ("backup: true", "backup: yes"),
        ("balance: random", "balance: randomly"),
        (
            "balance: random",
            "balance: { algorithm: hash, bounded_load: 1 }",
        ),
        (
            "balance: random",
            "balance: { algorithm: least_time, probe: 2 }",
        ),
        ("min_version: 1.3", "min_version: 1.1"),
        ("min_version: 1.3", "minimum_version: 1.3"),
        ("hsts: true", "hsts: false"),
        ("hsts: true", "hsts: { max_age: 365 }"),
        ("verify: optional", "verify: none"),
        ("per_client: 50r/s", "per_client: 50"),
        ("http2: false", "http2: off"),
        ("http2: false", "http2: { streams: 0 }"),
        ("protocol: auto", "protocol: h2"),
        ("protocol: auto, tls: true", "protocol: auto, tls: [true]"),
        ("404: gone", "404: { text: a, file: b }"),
        ("404: gone", "404: [gone]"),
        ("404: gone", "404:"),
    ];
    let good = "\
listeners:
  web: { bind: \":80\", timeouts: { idle: 30s }, limits: { body: 10MB }, http2: false }
  tls:
    bind: \":443\"
    tls: { self_signed: true, min_version: 1.3, hsts: true, client: { ca: a.pem, verify: optional }, handshakes: { per_client: 50r/s } }
workers: 4
pools: { app: { servers: [ { address: \"127.0.0.1:1\", weight: 2, backup: true } ], balance: random, protocol: auto, tls: true } }
routes: [ { pool: app }, { redirect: { to: /x, status: 308 } } ]
error_pages: { 404: gone }
";
    let taken = |text: &str| {
        let value = keel_config::to_json(text).expect("YAML");
        (fits(&schema, &schema, &value), load_str(text).is_ok())
    };
    assert_eq!(taken(good), (true, true));
    for (right, wrong) in slips {
        assert!(good.contains(right), "{right}");
        assert_eq!(
            taken(&good.replacen(right, wrong, 1)),
            (false, false),
            "{wrong}"
        );
    }
}

#[test]
fn the_reference_page_is_fresh() {
    let path = at("../../docs/reference/configuration.md");
    let fresh = reference();
    if std::env::var_os("KEEL_UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        fs::write(&path, &fresh).expect("writes");
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == fresh,
        "docs/reference/configuration.md is stale: run `KEEL_UPDATE=1 cargo test -p keel-config --test schema`"
    );
}
