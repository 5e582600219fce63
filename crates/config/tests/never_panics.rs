//! No text makes the loader panic, and no report makes the renderer panic.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use keel_config::edit::{EntryChange, NewEntry, PoolEdit, edit};
use keel_config::model::{Endpoint, EndpointHost, Model};
use keel_config::{InMemory, Source, effective, load_str, render_all};
use proptest::prelude::*;

/// Loads, renders, and checks what holds for every text.
fn check(text: &str) {
    match load_str(text) {
        Ok((model, warnings)) => {
            assert!(!model.listeners.is_empty());
            assert!(
                model
                    .listeners
                    .iter()
                    .all(|listener| !listener.binds.is_empty())
            );
            assert!(model.pools.iter().all(|pool| !pool.servers.is_empty()));
            let _ = render_all(&warnings, true);
            written(text, &model);
        }
        Err(found) => {
            assert!(!found.is_empty(), "refused without a reason");
            let shown = render_all(&found, false);
            let controls = shown
                .chars()
                .filter(|c| c.is_control() && *c != '\n')
                .count();
            assert_eq!(controls, 0, "a report steers the terminal");
        }
    }
}

/// Written out it loads and means the same; edits are made or refused.
fn written(text: &str, model: &Model) {
    let name = Path::new("evenkeel.yaml");
    let world = InMemory::new().file(name, text);
    let whole = effective(model, &world).replace("(hidden)", &"x".repeat(40));
    let loaded = load_str(&whole).map_err(|found| render_all(&found, false));
    assert!(loaded.is_ok(), "{text}\n→\n{whole}\n{loaded:?}");
    let Ok((again, _)) = loaded else { return };
    let pools = |model: &Model| (model.pools.clone(), model.routes.clone());
    assert_eq!(pools(&again), pools(model), "{text}\n→\n{whole}");
    for pool in &model.pools {
        let last = pool.servers.len() - 1;
        let change = PoolEdit {
            pool: pool.name.value.clone(),
            changed: [(
                0,
                EntryChange {
                    weight: Some(9),
                    down: Some(false),
                },
            )]
            .into(),
            removed: if last > 0 {
                [last].into()
            } else {
                BTreeSet::new()
            },
            added: vec![NewEntry {
                name: None,
                address: Endpoint {
                    host: EndpointHost::Name("new.internal".to_owned()),
                    port: 80,
                },
                weight: 2,
                max_connections: 0,
                tier: 0,
                down: false,
            }],
        };
        // Whatever comes of it was compared with what was wanted.
        let _ = edit(Source::file(name, &world), model, &[change]);
    }
}

/// Texts to start from: the examples and the bad files.
fn seeds() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = Vec::new();
    for folder in ["tests/bad", "../../examples"] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                seeds.push(fs::read_to_string(path).expect("a file"));
            }
        }
    }
    seeds.sort();
    seeds
}

/// Pieces of which configurations and YAML are made.
const PIECES: &[&str] = &[
    "listeners",
    "web",
    "bind",
    "routes",
    "pools",
    "app",
    "servers",
    "pool",
    "match",
    "path",
    "header",
    "name",
    "timeouts",
    "limits",
    "body",
    "error_pages",
    "404",
    "5xx",
    "access_log",
    "headers",
    "set",
    "split_by",
    "all",
    "not",
    "include",
    ": ",
    ":",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "{ ",
    " }",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "<<",
    "!t ",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "? ",
    "~",
    "null",
    "true",
    "10.0.0.1:80",
    ":80",
    "30s",
    "10MB",
    "1e9",
    "-1",
    "\t",
    "\u{e9}",
    "\u{feff}",
    "\\x00",
    "env:A",
    "file:b",
    "$x",
    "\r\n",
    "\u{2028}",
    "0",
    "",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        check(&text);
    }

    #[test]
    fn any_characters(text in proptest::collection::vec(any::<char>(), 0..120)) {
        check(&text.into_iter().collect::<String>());
    }

    #[test]
    fn pieces(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..80)) {
        check(&pieces.concat());
    }

    #[test]
    fn damaged_files(
        seed in proptest::sample::select(seeds()),
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..20, proptest::sample::select(PIECES)), 1..6),
    ) {
        let mut text: Vec<char> = seed.chars().collect();
        for (at, len, piece) in cuts {
            let start = at.index(text.len() + 1);
            let end = (start + len).min(text.len());
            text.splice(start..end, piece.chars());
        }
        check(&text.into_iter().collect::<String>());
    }
}

#[test]
fn nesting_of_every_kind_is_refused_early() {
    for (open, close) in [
        ("[", "]"),
        ("{a: ", "}"),
        ("- ", ""),
        ("? ", ""),
        ("a:\n ", ""),
    ] {
        let text = format!("x: {}1{}", open.repeat(20_000), close.repeat(20_000));
        check(&text);
        check(&open.repeat(20_000));
    }
}
