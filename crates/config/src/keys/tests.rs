//! Tests that the definitions of keys agree with what loading does.

use super::*;
use crate::surroundings::InMemory;
use crate::{Model, Source, load, render_all};
use std::path::Path;

/// A world in which the files that examples name exist.
fn world() -> InMemory {
    InMemory::new()
        .file("404.html", "<h1>gone</h1>")
        .file("conf.d/more.yaml", "trusted_proxies: [192.0.2.0/24]\n")
}

fn try_load(text: &str) -> Result<Model, String> {
    let world = world();
    match load(Source::text(Path::new("test.yaml"), text, &world)) {
        Ok((model, _)) => Ok(model),
        Err(found) => Err(render_all(&found, false)),
    }
}

type Pairs<'a> = Vec<(&'a str, &'a str)>;

fn put<'a>(pairs: &mut Pairs<'a>, name: &'a str, value: &'a str) {
    pairs.retain(|(other, _)| *other != name);
    if !value.is_empty() {
        pairs.push((name, value));
    }
}

fn write(table: &Table, pairs: &Pairs<'_>) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    table.sample.replace('@', &pairs.join(", "))
}

/// Every key is read: with its example the model differs from what it is without.
#[test]
fn every_key_changes_the_model() {
    let mut dead = Vec::new();
    for table in TABLES {
        let base: Pairs<'_> = table.base.to_vec();
        let plain = try_load(&write(table, &base))
            .unwrap_or_else(|report| panic!("sample of {}:\n{report}", table.id));
        for key in table.keys {
            let mut without = base.clone();
            for (name, value) in key.with {
                put(&mut without, name, value);
            }
            let mut with = without.clone();
            put(&mut with, key.name, key.example);
            let text = write(table, &with);
            let with = try_load(&text).unwrap_or_else(|report| {
                panic!("example of {}.{}:\n{text}\n{report}", table.id, key.name)
            });
            let without = try_load(&write(table, &without)).unwrap_or_else(|_| plain.clone());
            if with == without || format!("{with:?}") == format!("{without:?}") {
                dead.push(format!("{}.{}", table.id, key.name));
            }
        }
    }
    assert!(dead.is_empty(), "these keys change nothing: {dead:?}");
}

/// A default written out is the same as no key at all, so the default's text is true.
#[test]
fn defaults_are_what_they_say() {
    let mut wrong = Vec::new();
    for table in TABLES {
        for key in table.keys {
            let Default::Value(text) = key.default else {
                continue;
            };
            let mut without: Pairs<'_> = table.base.to_vec();
            for (name, value) in key.with {
                put(&mut without, name, value);
            }
            put(&mut without, key.name, "");
            let mut with = without.clone();
            put(&mut with, key.name, text);
            let without = try_load(&write(table, &without)).expect("loads without");
            let with = try_load(&write(table, &with))
                .unwrap_or_else(|report| panic!("default of {}.{}:\n{report}", table.id, key.name));
            // Only the admin listener tells whether it was asked for.
            let (with, without) = (format!("{with:?}"), format!("{without:?}"));
            if with.replace("defaulted: false", "defaulted: true") != without {
                wrong.push(format!("{}.{}", table.id, key.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these defaults are not what holds: {wrong:?}"
    );
}

#[test]
fn every_key_is_described() {
    for table in TABLES {
        assert!(
            !table.about.is_empty() && table.about.ends_with('.'),
            "{}",
            table.id
        );
        for name in table.one_of {
            assert!(table.find(name).is_some(), "{}.{name}", table.id);
        }
        for key in table.keys {
            let name = format!("{}.{}", table.id, key.name);
            assert!(
                key.about.ends_with('.'),
                "{name} is not described by sentences"
            );
            assert!(!key.example.is_empty(), "{name} has no example");
            let same = |other: &&&Key| other.name == key.name;
            assert_eq!(
                table.keys.iter().filter(same).count(),
                1,
                "{name} stands twice"
            );
        }
    }
}

/// Every table that a key leads to is listed, so that schema and reference are complete.
#[test]
fn every_table_is_listed() {
    fn tables(kind: &Kind, out: &mut Vec<&'static str>) {
        match kind {
            Kind::Section(table) => out.push(table.id),
            Kind::WordOr(_, kind) => tables(kind, out),
            Kind::Map { value: kind, .. }
            | Kind::List { item: kind, .. }
            | Kind::OneOrMany { item: kind, .. } => tables(kind, out),
            Kind::Shape { scalar, list, map } => {
                [scalar, list, map]
                    .into_iter()
                    .flatten()
                    .for_each(|kind| tables(kind, out));
            }
            _ => {}
        }
    }
    let mut led_to = vec![TOP.id];
    for table in TABLES {
        table
            .keys
            .iter()
            .for_each(|key| tables(&key.kind, &mut led_to));
    }
    led_to.sort_unstable();
    led_to.dedup();
    let mut listed: Vec<&str> = TABLES.iter().map(|table| table.id).collect();
    listed.sort_unstable();
    assert_eq!(led_to, listed);
}

#[test]
fn synonyms_of_words_lead_to_words() {
    fn words(kind: &Kind, out: &mut Vec<&'static str>) {
        match kind {
            Kind::Words(words) => out.extend(words.iter().map(|(word, _)| *word)),
            Kind::Shape {
                scalar: Some(kind), ..
            } => words(kind, out),
            _ => {}
        }
    }
    let mut known = Vec::new();
    for key in TABLES.iter().flat_map(|table| table.keys) {
        words(&key.kind, &mut known);
    }
    for (word, meant) in synonyms::WORD_SYNONYMS {
        assert!(known.contains(meant), "{word} → {meant}");
    }
}

#[test]
fn synonyms_lead_to_keys() {
    for (word, key) in synonyms::SYNONYMS {
        let known = TABLES.iter().any(|table| table.find(key).is_some());
        assert!(known && word != key, "{word} → {key}");
    }
}
