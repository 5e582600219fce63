//! The reference page: every key with its type, unit, default, reason and example, and every code.

use std::fmt::Write as _;

use crate::diagnostic::{Severity, codes};
use crate::keys::{Default, Key, Kind, Refs, TABLES, Table, show_size};
use crate::{DEPTH_MAX, FILE_BYTES_MAX, FILES_MAX, REFERENCE_BYTES_MAX, VALUES_MAX};

/// The reference page as Markdown, ended by a line feed. Made from the definitions that the loader uses.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n## Sections\n\n");
    for table in TABLES {
        let _ = writeln!(
            out,
            "- [{}](#{}): {}",
            table.title,
            anchor(table.title),
            places(table)
        );
    }
    for table in TABLES {
        section(&mut out, table);
    }
    limits(&mut out);
    findings(&mut out);
    out
}

const INTRODUCTION: &str = r#"# Configuration

<!-- Made by `keel_config::reference`; a test fails when it is stale. -->

A configuration is a YAML file, and JSON is YAML. The shortest one that works:

```yaml
listeners: { web: { bind: "127.0.0.1:8080" } }
pools: { app: { servers: ["127.0.0.1:9001", "127.0.0.1:9002"] } }
routes: [ { pool: app } ]
```

`evenkeel check FILE` reports everything that is wrong with a file at once, and binds nothing. A file with an error is never loaded in part.
`evenkeel schema` prints a JSON Schema for completion in editors; in the first line of the file,
`# yaml-language-server: $schema=evenkeel.schema.json` names it.

## Values

- **Durations** have a unit: `ms`, `s`, `m`, `h` or `d`, as in `30s` or `1.5h`. A number alone is an error.
- **Sizes** have a unit: `B`, `KB`, `MB`, `GB` or `TB`, in capitals or not. All are 1024-based: 100MB is 100 * 1024 * 1024 bytes. `KiB`, `MiB`, `GiB` and `TiB` mean the same.
- **Texts from elsewhere**: `env:NAME` stands for an environment variable and `file:PATH` for the content of a file, where a key says so. They are
  read when the configuration is loaded; one that is missing is an error. One line feed at the end of a file is dropped, except from bodies and pages. What comes
  from there is taken as it is: a `$` in it starts no variable.
- **Paths of files** are relative to the file in which they stand.
- **Names** are letters, digits, `_`, `.` and `-`, at most 64, and start with a letter or digit.
- **Variables** such as `$remote_addr` or `${remote_addr}` may stand where the type says so; `$$` is a dollar sign.
- **Short forms**: where a list is expected one item may stand alone, and where a map is expected the most usual value may.
- Anchors, aliases and merge keys (`<<`) work; keys at the top that start with `x-` are ignored, as a place for them. Tags (`!!str`) are errors.
- A value that starts with `*`, `&`, `!`, `%`, `@` or a backquote needs quotes, and so does one with `: ` in it.
"#;

fn anchor(title: &str) -> String {
    let kept = title.to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn places(table: &Table) -> String {
    let quoted = |place: &str| match place.contains(' ') {
        true => place.to_owned(),
        false => format!("`{place}`"),
    };
    table
        .places
        .split(", ")
        .map(quoted)
        .collect::<Vec<_>>()
        .join(", ")
}

fn section(out: &mut String, table: &Table) {
    let mut title = table.title.to_owned();
    if let Some(first) = title.get(..1) {
        title = format!(
            "{}{}",
            first.to_uppercase(),
            title.get(1..).unwrap_or_default()
        );
    }
    let _ = write!(out, "\n## {title}\n\n");
    let _ = writeln!(out, "Where: {}\n\n{}", places(table), table.about);
    if !table.one_of.is_empty() {
        let names: Vec<String> = table
            .one_of
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let _ = writeln!(out, "\nExactly one of {} must be there.", names.join(", "));
    }
    for key in table.keys {
        entry(out, key, table);
    }
}

fn entry(out: &mut String, key: &Key, table: &Table) {
    let place = table.places.split(", ").next().unwrap_or_default();
    let place = if place.contains(' ') {
        String::new()
    } else {
        format!("{place}.")
    };
    let _ = write!(
        out,
        "
### `{place}{}`

{}

",
        key.name, key.about
    );
    let _ = writeln!(out, "- type: {}", key.kind.describe());
    words(out, &key.kind);
    if takes_references(&key.kind) {
        let _ = writeln!(
            out,
            "- from elsewhere: `env:NAME` or `file:PATH` may stand for the text"
        );
    }
    if !key.kind.unit().is_empty() {
        let _ = writeln!(out, "- unit: {}", key.kind.unit());
    }
    let reason = if key.reason.is_empty() {
        String::new()
    } else {
        format!("; {}", key.reason)
    };
    let _ = match key.default {
        Default::Required => writeln!(out, "- default: none, the key is needed"),
        Default::Absent(meaning) => writeln!(out, "- default: {meaning}{reason}"),
        Default::Value(text) => writeln!(out, "- default: `{text}`{reason}"),
    };
    let _ = writeln!(out, "- since: {}", key.since);
    let mut parts = Vec::new();
    sections(&key.kind, &mut parts);
    if !parts.is_empty() {
        let links: Vec<String> = parts
            .iter()
            .map(|title| format!("[{title}](#{})", anchor(title)))
            .collect();
        let _ = writeln!(out, "- see: {}", links.join(", "));
    }
    let mut example = String::new();
    for (name, value) in key
        .with
        .iter()
        .filter(|(name, value)| !value.is_empty() && *name != key.name)
    {
        let _ = writeln!(example, "{name}: {value}");
    }
    let _ = write!(
        out,
        "\n```yaml\n{example}{}: {}\n```\n",
        key.name, key.example
    );
}

fn takes_references(kind: &Kind) -> bool {
    match kind {
        Kind::Text(form) => form.refs != Refs::None,
        Kind::WordOr(_, kind)
        | Kind::Map { value: kind, .. }
        | Kind::List { item: kind, .. }
        | Kind::OneOrMany { item: kind, .. } => takes_references(kind),
        Kind::Shape { scalar, .. } => scalar.is_some_and(takes_references),
        _ => false,
    }
}

/// Titles of the sections that the key leads to.
fn sections(kind: &Kind, out: &mut Vec<&'static str>) {
    match kind {
        Kind::Section(table) if !out.contains(&table.title) => out.push(table.title),
        Kind::Map { value: kind, .. }
        | Kind::List { item: kind, .. }
        | Kind::OneOrMany { item: kind, .. } => sections(kind, out),
        Kind::Shape { list, map, .. } => {
            [list, map]
                .into_iter()
                .flatten()
                .for_each(|kind| sections(kind, out));
        }
        _ => {}
    }
}

/// The meaning of each word that the key takes.
fn words(out: &mut String, kind: &Kind) {
    match kind {
        Kind::Words(words) | Kind::WordOr(words, _) => {
            for (word, about) in *words {
                let _ = writeln!(out, "  - `{word}`: {about}");
            }
        }
        Kind::OneOrMany { item, .. } => words(out, item),
        Kind::Shape {
            scalar: Some(scalar),
            ..
        } => words(out, scalar),
        _ => {}
    }
}

fn limits(out: &mut String) {
    out.push_str("\n## Limits of the file\n\n");
    let _ = writeln!(out, "- a file: {}", show_size(FILE_BYTES_MAX as u64));
    let _ = writeln!(out, "- files of one configuration: {FILES_MAX}");
    let _ = writeln!(out, "- nesting: {DEPTH_MAX}");
    let _ = writeln!(out, "- values in all files, aliases expanded: {VALUES_MAX}");
    let _ = writeln!(
        out,
        "- a file that a value refers to: {}",
        show_size(REFERENCE_BYTES_MAX as u64)
    );
}

fn findings(out: &mut String) {
    out.push_str(
        "\n## Codes\n\nEvery finding has a code that keeps its meaning. Errors (`E`) refuse the configuration, warnings (`W`) do not.\n",
    );
    for (severity, title) in [(Severity::Error, "Errors"), (Severity::Warning, "Warnings")] {
        let _ = write!(
            out,
            "\n### {title}\n\n| code | meaning | why it matters |\n|---|---|---|\n"
        );
        for code in codes::ALL.iter().filter(|code| code.severity == severity) {
            let _ = writeln!(out, "| {} | {} | {} |", code.id, code.title, code.why);
        }
    }
}
