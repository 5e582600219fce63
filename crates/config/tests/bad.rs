//! Every file of `tests/bad` is refused (or warned of), and the whole text of the report stands beside it. Where a
//! file needs others, or an environment, they stand in the folder `tests/bad/with`.
//!
//! `KEEL_UPDATE=1 cargo test -p keel-config` writes the texts anew; look at the difference.

use std::fs;
use std::path::{Path, PathBuf};

use keel_config::{InMemory, Severity, Source, load, render_all};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("the folder of cases");
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    cases.sort();
    cases
}

/// The case as `bad.yaml`, and the files that others include.
fn world(case: &Path) -> InMemory {
    let mut world = InMemory::new().variable("BAD_ADDRESS", "http://secret.example/");
    world = world.file("bad.yaml", fs::read(case).expect("a case"));
    for entry in fs::read_dir(folder().join("with")).expect("the folder of included files") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        world = world.file(format!("with/{name}"), fs::read(&path).expect("a file"));
    }
    world.file(
        "huge.html",
        vec![b'x'; keel_config::REFERENCE_BYTES_MAX + 1],
    )
}

#[test]
fn reports_read_as_they_should() {
    let update = std::env::var_os("KEEL_UPDATE").is_some();
    let mut differ = Vec::new();
    let cases = cases();
    for case in &cases {
        let world = world(case);
        let found = match load(Source::file(Path::new("bad.yaml"), &world)) {
            Ok((_, warnings)) => warnings,
            Err(found) => found,
        };
        assert!(!found.is_empty(), "nothing was found in {}", case.display());
        let text = render_all(&found, false);
        let expected = case.with_extension("txt");
        if update {
            fs::write(&expected, &text).expect("writes");
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            differ.push(format!("{}:\n{text}", case.display()));
        }
    }
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}

/// The cases between them show every code that the loader itself can report.
#[test]
fn every_code_has_a_case() {
    // Reported by the stages after the loader.
    const LATER: &[&str] = &[
        "E0402", "E0403", "E0404", "E0405", "E0406", "W0008", "W0009", "W0013",
    ];
    // Need a file that cannot stand in a folder of texts; covered by tests of their own.
    const ELSEWHERE: &[&str] = &["E0001", "E0002", "E0003", "E0006", "E0015"];
    let mut shown = std::collections::BTreeSet::new();
    for case in cases() {
        let world = world(&case);
        let found = match load(Source::file(Path::new("bad.yaml"), &world)) {
            Ok((_, warnings)) => warnings,
            Err(found) => found,
        };
        for report in found {
            shown.insert(report.code.id);
            assert!(!report.why.is_empty() && !report.what.is_empty());
            let helped = report.help.is_some() || report.guess.is_some();
            assert!(helped, "{report} has no help in {}", case.display());
        }
    }
    let missing: Vec<&str> = keel_config::codes::ALL
        .iter()
        .map(|code| code.id)
        .filter(|id| !shown.contains(id) && !LATER.contains(id) && !ELSEWHERE.contains(id))
        .collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

#[test]
fn files_that_are_no_text_are_reported() {
    let code = |world: &InMemory| {
        let found = load(Source::file(Path::new("bad.yaml"), world)).expect_err("refused");
        assert_eq!(found[0].severity(), Severity::Error);
        found[0].code.id
    };
    assert_eq!(code(&InMemory::new()), "E0001");
    assert_eq!(
        code(&InMemory::new().file("bad.yaml", b"a\n\xff".to_vec())),
        "E0002"
    );
    let large = vec![b' '; keel_config::FILE_BYTES_MAX + 1];
    assert_eq!(code(&InMemory::new().file("bad.yaml", large)), "E0003");
    let mut world = InMemory::new().file(
        "bad.yaml",
        "include: '*.yml'\nlisteners: { web: { bind: ':80' } }\n",
    );
    for at in 0..=keel_config::FILES_MAX {
        world = world.file(format!("{at:04}.yml"), "");
    }
    assert_eq!(code(&world), "E0015");
}

/// Colour only adds escapes; without them the text is the same.
#[test]
fn colour_changes_nothing_but_colour() {
    let escape = regex::Regex::new("\x1b\\[[0-9;]*m").expect("a regex");
    for case in cases() {
        let world = world(&case);
        if let Err(found) = load(Source::file(Path::new("bad.yaml"), &world)) {
            let plain = render_all(&found, false);
            let colour = render_all(&found, true);
            assert!(colour.contains('\x1b') && !plain.contains('\x1b'));
            assert_eq!(escape.replace_all(&colour, ""), plain);
        }
    }
}
