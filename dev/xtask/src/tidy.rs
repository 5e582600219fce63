//! House rules that a machine can check. Exceptions are listed with a reason in `tidy-exceptions.txt` and can only shrink.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::source;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Folders with our Rust source.
const FOLDERS: [&str; 3] = ["crates", "dev", "tests"];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] = [
    "utils", "util", "common", "core", "misc", "helper", "helpers", "shared",
];

/// Macros that must not stay.
const LEFTOVERS: [&str; 3] = ["todo!", "dbg!", "unimplemented!"];

/// Listed lengths by `path` or `path::function`, and whether each was needed.
struct Exceptions(BTreeMap<String, (usize, bool)>);

impl Exceptions {
    /// `path[::function] | lines | reason`
    fn parse(text: &str, wrong: &mut Vec<String>) -> Exceptions {
        let mut listed = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            match cells.as_slice() {
                [what, lines, reason] if !reason.is_empty() && lines.parse::<usize>().is_ok() => {
                    listed.insert(
                        (*what).to_owned(),
                        (lines.parse().unwrap_or_default(), false),
                    );
                }
                _ => wrong.push(format!(
                    "tidy-exceptions.txt: not `what | lines | reason`: {line}"
                )),
            }
        }
        Exceptions(listed)
    }

    /// True when the length is above the limit and not excused.
    fn is_too_long(&mut self, what: &str, lines: usize, limit: usize) -> bool {
        match self.0.get_mut(what) {
            _ if lines <= limit => false,
            Some((listed, needed)) => {
                *needed = true;
                lines > *listed
            }
            None => true,
        }
    }

    fn stale(&self) -> impl Iterator<Item = &String> {
        self.0
            .iter()
            .filter(|(_, (_, needed))| !needed)
            .map(|(what, _)| what)
    }
}

/// All that is wrong.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let list = root.join("dev/xtask/tidy-exceptions.txt");
    let list = std::fs::read_to_string(&list).context("tidy-exceptions.txt")?;
    let mut exceptions = Exceptions::parse(&list, &mut wrong);
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    for file in &files {
        let name = file
            .strip_prefix(root)
            .unwrap_or(file)
            .display()
            .to_string();
        let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
        check_file(&name, &text, &mut exceptions, &mut wrong);
    }
    for what in exceptions.stale() {
        wrong.push(format!(
            "tidy-exceptions.txt: {what} is within the limit; take its line out"
        ));
    }
    Ok(wrong)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, files)?;
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(name: &str, text: &str, exceptions: &mut Exceptions, wrong: &mut Vec<String>) {
    let lines = text.lines().count();
    if exceptions.is_too_long(name, lines, FILE_LINES_MAX) {
        wrong.push(format!(
            "{name}: {lines} lines, {FILE_LINES_MAX} allowed; split it by job"
        ));
    }
    if !text.starts_with("//!") {
        wrong.push(format!(
            "{name}: no `//!` header that says purpose and invariants"
        ));
    }
    let code = source::code(text);
    let mut longest: BTreeMap<String, usize> = BTreeMap::new();
    for function in source::functions(&code) {
        let known = longest.entry(function.name).or_default();
        *known = (*known).max(function.lines);
    }
    for (function, lines) in longest {
        if exceptions.is_too_long(&format!("{name}::{function}"), lines, FUNCTION_LINES_MAX) {
            wrong.push(format!(
                "{name}: fn {function}: {lines} lines, {FUNCTION_LINES_MAX} allowed"
            ));
        }
    }
    check_words(name, text, &code, wrong);
}

fn check_words(name: &str, text: &str, code: &str, wrong: &mut Vec<String>) {
    for part in name.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            wrong.push(format!(
                "{name}: `{part}` says nothing; name it for its job"
            ));
        }
    }
    for leftover in LEFTOVERS {
        if code.contains(leftover) {
            wrong.push(format!("{name}: {leftover} left in"));
        }
    }
    for marker in ["FIXME", "XXX"] {
        let quoted = name.starts_with("dev/xtask/");
        if !quoted
            && text
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == marker)
        {
            wrong.push(format!("{name}: {marker} left in"));
        }
    }
    if code.contains("#[ignore]") {
        wrong.push(format!(
            "{name}: #[ignore] without a reason; write #[ignore = \"why\"]"
        ));
    }
    let in_sys = name.starts_with("crates/sys/");
    if !in_sys && source::has_word(code, "unsafe") {
        wrong.push(format!("{name}: unsafe outside of crates/sys"));
    }
    let is_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    if is_root && !in_sys && !code.contains("#![forbid(unsafe_code)]") {
        wrong.push(format!("{name}: no #![forbid(unsafe_code)]"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(name: &str, text: &str, listed: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut exceptions = Exceptions::parse(listed, &mut found);
        check_file(name, text, &mut exceptions, &mut found);
        found.extend(exceptions.stale().cloned());
        found
    }

    #[test]
    fn clean_files_pass() {
        assert_eq!(
            wrong("crates/a/src/b.rs", "//! B.\nfn a() {}\n", ""),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_rule_bites() {
        let long = format!("//! B.\nfn a() {{{}}}\n", "\n".repeat(80));
        let huge = format!("//! B.\n{}", "// x\n".repeat(600));
        for (name, text) in [
            ("crates/a/src/b.rs", "fn a() {}\n"),
            ("crates/a/src/utils.rs", "//! B.\n"),
            ("crates/a/src/common/b.rs", "//! B.\n"),
            ("crates/a/src/b.rs", "//! B.\nfn a() { todo!() }\n"),
            ("crates/a/src/b.rs", "//! B.\n#[ignore]\nfn a() {}\n"),
            ("crates/a/src/b.rs", "//! B.\nfn a() { unsafe { b() } }\n"),
            ("crates/a/src/lib.rs", "//! B.\n"),
            ("crates/a/src/b.rs", long.as_str()),
            ("crates/a/src/b.rs", huge.as_str()),
        ] {
            assert_eq!(
                wrong(name, text, "").len(),
                1,
                "{name}: {}",
                &text[..text.len().min(60)]
            );
        }
    }

    #[test]
    fn exceptions_are_a_ratchet() {
        let long = format!("//! B.\nfn a() {{{}}}\n", "\n".repeat(80));
        let listed = |lines: usize| format!("crates/a/src/b.rs::a | {lines} | one table\n");
        assert_eq!(wrong("crates/a/src/b.rs", &long, &listed(81)).len(), 0);
        assert_eq!(
            wrong("crates/a/src/b.rs", &long, &listed(75)).len(),
            1,
            "it grew"
        );
        assert_eq!(
            wrong("crates/a/src/b.rs", "//! B.\n", &listed(81)).len(),
            1,
            "it shrank"
        );
    }
}
