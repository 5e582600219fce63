//! Reads the files of a configuration and joins them into one tree.
//!
//! The join works on trees, so that every key keeps the place where it was written: a name that two
//! files define is reported with both places.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::decode::{Findings, Input};
use crate::diagnostic::{Diagnostic, codes};
use crate::keys;
use crate::lower;
use crate::model::Model;
use crate::source::Sources;
use crate::span::{FileId, Position, Span};
use crate::surroundings::{InMemory, Surroundings};
use crate::tree::{self, Budget, FILE_BYTES_MAX, Key, Node, Value};

/// Most files of one configuration.
pub const FILES_MAX: usize = 1000;
/// Longest chain of files that include each other.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// Where a configuration comes from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    path: &'a Path,
    text: Option<&'a str>,
    world: &'a dyn Surroundings,
}

impl<'a> Source<'a> {
    /// A file.
    pub fn file(path: &'a Path, world: &'a dyn Surroundings) -> Self {
        Source {
            path,
            text: None,
            world,
        }
    }

    /// A text that is at hand; `name` stands in reports, and its folder is where relative paths start.
    pub fn text(name: &'a Path, text: &'a str, world: &'a dyn Surroundings) -> Self {
        Source {
            path: name,
            text: Some(text),
            world,
        }
    }
}

/// Reads, checks and completes a configuration. Gives the model with warnings, or everything that was found
/// when at least one finding is an error: never a part of a configuration.
///
/// # Errors
/// All findings in the order of the text, warnings among them.
pub fn load(source: Source<'_>) -> Result<(Model, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut reader = Reader {
        world: source.world,
        sources: Sources::default(),
        folders: Vec::new(),
        budget: Budget::default(),
        found: Findings::default(),
        stack: Vec::new(),
        done: HashMap::new(),
        top: Vec::new(),
        span: Span::default(),
        partial: false,
    };
    match source.text {
        Some(text) => reader.text(source.path, text.to_owned(), None),
        None => reader.file(source.path, None),
    }
    let Reader {
        sources,
        folders,
        mut found,
        top,
        span,
        world,
        partial,
        ..
    } = reader;
    if found.failed() && top.is_empty() {
        return Err(found.sorted(&sources));
    }
    let root = Node {
        span,
        value: Value::Map(top),
    };
    let input = Input {
        sources: &sources,
        folders: &folders,
        world,
        partial,
    };
    match lower::lower(&root, input, &mut found) {
        Some(model) => Ok((model, found.sorted(&sources))),
        None => Err(found.sorted(&sources)),
    }
}

/// [`load`] for a text without files and environment: `include`, `env:` and `file:` find nothing. Never panics.
///
/// # Errors
/// As [`load`].
pub fn load_str(text: &str) -> Result<(Model, Vec<Diagnostic>), Vec<Diagnostic>> {
    load(Source::text(
        Path::new("evenkeel.yaml"),
        text,
        &InMemory::new(),
    ))
}

/// One YAML text as JSON, aliases expanded, for tools that check it against [`crate::schema`]. `None` when it is not
/// YAML as we take it, or empty.
pub fn to_json(text: &str) -> Option<serde_json::Value> {
    let mut sources = Sources::default();
    let file = sources.add(String::new(), Arc::from(text));
    let mut found = Vec::new();
    let root = tree::parse(file, &sources, &mut Budget::default(), &mut found);
    root.filter(|_| found.is_empty()).map(|root| root.to_json())
}

struct Reader<'a> {
    world: &'a dyn Surroundings,
    sources: Sources,
    folders: Vec<PathBuf>,
    budget: Budget,
    found: Findings,
    /// The files that are being read, outermost first.
    stack: Vec<PathBuf>,
    /// Files that were read, with the place that named them.
    done: HashMap<PathBuf, Span>,
    /// What all files say.
    top: Vec<(Key, Node)>,
    /// The main file's whole text.
    span: Span,
    /// A file could not be read, or not to its end.
    partial: bool,
}

impl Reader<'_> {
    fn report(&self, code: &'static crate::Code, at: Option<Span>, what: String) -> Diagnostic {
        let mut report = Diagnostic::new(code, &self.sources, at.unwrap_or_default(), what);
        if at.is_none() {
            report.at.source = None;
        }
        report
    }

    /// Reads a file; `at` is the place that names it.
    fn file(&mut self, path: &Path, at: Option<Span>) {
        match self.read(path, at) {
            Ok(text) => self.text(path, text, at),
            Err(report) => {
                self.partial = true;
                self.found.push(*report);
            }
        }
    }

    fn read(&self, path: &Path, at: Option<Span>) -> Result<String, Box<Diagnostic>> {
        let shown = path.display();
        let bytes = match self.world.read(path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                let missing = error.kind() == std::io::ErrorKind::NotFound && at.is_some();
                let code = if missing {
                    &codes::INCLUDE_MISSING
                } else {
                    &codes::UNREADABLE
                };
                let report = self.report(code, at, format!("`{shown}` cannot be read: {error}"));
                return Err(Box::new(report.help(match at {
                    Some(_) => "check the path, which is relative to the file that includes it",
                    None => "check the path and the file's rights",
                })));
            }
        };
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Box::new(self.too_large(path, at)));
        }
        String::from_utf8(bytes).map_err(|error| {
            let sound = error.as_bytes().get(..error.utf8_error().valid_up_to());
            let ends = sound
                .unwrap_or_default()
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            let what = format!("`{shown}` is not UTF-8 text: see line {}", ends + 1);
            let report = self.report(&codes::NOT_UTF8, at, what);
            Box::new(report.help("save it as UTF-8"))
        })
    }

    fn too_large(&self, path: &Path, at: Option<Span>) -> Diagnostic {
        let most = keys::show_size(FILE_BYTES_MAX as u64);
        let what = format!("`{}` is larger than {most}", path.display());
        let report = self.report(&codes::TOO_LARGE, at, what);
        report.help("split it and use `include`, if it is a configuration")
    }

    fn text(&mut self, path: &Path, text: String, at: Option<Span>) {
        if text.len() > FILE_BYTES_MAX {
            let report = self.too_large(path, at);
            self.found.push(report);
            return;
        }
        // A byte order mark is no part of the text.
        let text = text
            .strip_prefix('\u{feff}')
            .map_or(text.as_str(), |rest| rest);
        let file = self
            .sources
            .add(path.display().to_string(), Arc::from(text));
        self.folders
            .push(path.parent().unwrap_or(Path::new("")).to_path_buf());
        let start = Position {
            line: 1,
            column: 1,
            offset: 0,
        };
        let span = Span {
            file,
            start,
            end: start,
        };
        let mut found = Vec::new();
        let root = tree::parse(file, &self.sources, &mut self.budget, &mut found);
        let sound = found.is_empty();
        found.into_iter().for_each(|report| self.found.push(report));
        let Some(root) = root else {
            self.partial |= !sound;
            if sound {
                self.empty(file, span, at);
            }
            return;
        };
        if at.is_none() {
            self.span = root.span;
        }
        match root.value {
            Value::Map(entries) => {
                self.stack.push(normal(path));
                entries
                    .into_iter()
                    .for_each(|(key, value)| self.entry(key, value));
                self.stack.pop();
            }
            Value::Null => self.empty(file, span, at),
            _ => {
                let what = format!(
                    "a configuration is a map of keys; this is {}",
                    root.describe()
                );
                let report = self.report(&codes::WRONG_TYPE, Some(root.span), what);
                self.found.push(report.help("start with `listeners:`"));
            }
        }
    }

    fn empty(&mut self, file: FileId, span: Span, at: Option<Span>) {
        let name = self
            .sources
            .file(file)
            .map_or("", |file| file.name.as_str())
            .to_owned();
        // An included file may be empty, such as one of which everything is commented out.
        if at.is_none() {
            let what = format!("`{name}` holds no configuration");
            let report = self.report(&codes::EMPTY_FILE, Some(span), what);
            self.found.push(report.help(
                "the shortest one that works: `listeners: { web: { bind: \"127.0.0.1:8080\" } }`, \
                 `pools: { app: { servers: [\"127.0.0.1:9001\"] } }`, `routes: [ { pool: app } ]`, each on its line",
            ));
        }
    }

    /// Adds one key of a file.
    fn entry(&mut self, key: Key, value: Node) {
        if key.text == keys::INCLUDE.name {
            let texts = match &value.value {
                Value::Scalar { .. } => std::slice::from_ref(&value),
                Value::List(items) => items.as_slice(),
                _ => &[],
            };
            for node in texts {
                if let Value::Scalar { text, .. } = &node.value {
                    self.include(text, node.span);
                }
            }
            // Kept once, so that its type is checked with all others.
            if !self.top.iter().any(|(other, _)| other.text == key.text) {
                self.top.push((key, value));
            }
            return;
        }
        let Some(at) = self
            .top
            .iter()
            .position(|(other, _)| other.text == key.text)
        else {
            self.top.push((key, value));
            return;
        };
        let joined = [&keys::LISTENERS, &keys::POOLS, &keys::ACCESS_LOGS]
            .iter()
            .any(|joined| joined.name == key.text);
        let (first, existing) = &mut self.top[at];
        let first = first.span;
        match (&mut existing.value, value.value) {
            (Value::Map(entries), Value::Map(more)) if joined => {
                let mut seen: HashMap<String, Span> = entries
                    .iter()
                    .map(|(key, _)| (key.text.clone(), key.span))
                    .collect();
                let mut twice = Vec::new();
                for (name, value) in more {
                    match seen.insert(name.text.clone(), name.span) {
                        Some(first) => {
                            twice.push((format!("{}.{}", key.text, name.text), name.span, first))
                        }
                        None => entries.push((name, value)),
                    }
                }
                twice
                    .into_iter()
                    .for_each(|(what, span, first)| self.twice(&what, span, first));
            }
            (Value::List(items), Value::List(more)) if key.text == keys::ROUTES.name => {
                items.extend(more);
            }
            _ if key.text.starts_with(keys::EXTENSION_PREFIX) => {}
            _ => self.twice(&key.text, key.span, first),
        }
    }

    fn twice(&mut self, what: &str, span: Span, first: Span) {
        let what = format!("`{what}` is set in two files");
        let report = self.report(&codes::SET_IN_TWO_FILES, Some(span), what);
        self.found.push(
            report
                .related(&self.sources, first, "the other place")
                .help("keep it in one of the files"),
        );
    }

    /// Reads the files that an `include` names.
    fn include(&mut self, pattern: &str, span: Span) {
        let folder = self
            .folders
            .get(span.file.0 as usize)
            .cloned()
            .unwrap_or_default();
        let path = folder.join(pattern);
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let parent = path.parent().unwrap_or(Path::new("")).to_path_buf();
        if parent.to_string_lossy().contains(['*', '?']) {
            let what = format!("`{pattern}` has `*` or `?` before its last `/`");
            let report = self.report(&codes::INCLUDE_MISSING, Some(span), what);
            self.found
                .push(report.help("name each folder: `include: [a/*.yaml, b/*.yaml]`"));
            return;
        }
        let Some(name) = name.filter(|name| name.contains(['*', '?'])) else {
            self.include_one(&path, span);
            return;
        };
        match self.world.list(&parent) {
            Ok(mut names) => {
                names.retain(|file| wild(name.as_bytes(), file.as_bytes()));
                names.retain(|file| name.starts_with('.') || !file.starts_with('.'));
                names.sort_unstable();
                if names.is_empty() {
                    let what = format!("`{pattern}` matches no file");
                    let report = self.report(&codes::INCLUDE_EMPTY, Some(span), what);
                    self.found
                        .push(report.help("check the path, which is relative to this file"));
                }
                names
                    .iter()
                    .for_each(|file| self.include_one(&parent.join(file), span));
            }
            Err(error) => {
                self.partial = true;
                let what = format!("the folder `{}` cannot be read: {error}", parent.display());
                let report = self.report(&codes::INCLUDE_MISSING, Some(span), what);
                self.found
                    .push(report.help("check the path, which is relative to this file"));
            }
        }
    }

    fn include_one(&mut self, path: &Path, span: Span) {
        let path = normal(path);
        if let Some(at) = self.stack.iter().position(|open| *open == path) {
            let chain: Vec<String> = self.stack[at..]
                .iter()
                .chain([&path])
                .map(|p| format!("`{}`", p.display()))
                .collect();
            let what = format!(
                "`include` leads back to a file that is being read: {}",
                chain.join(" → ")
            );
            let report = self.report(&codes::INCLUDE_LOOP, Some(span), what);
            self.found
                .push(report.help("remove one of these `include`s"));
            return;
        }
        if let Some(first) = self.done.insert(path.clone(), span) {
            let what = format!("`{}` is included twice", path.display());
            let report = self.report(&codes::SET_IN_TWO_FILES, Some(span), what);
            self.found.push(
                report
                    .related(&self.sources, first, "first here")
                    .help("remove one of the two"),
            );
            return;
        }
        if self.sources.files().len() >= FILES_MAX || self.stack.len() >= INCLUDE_DEPTH_MAX {
            let what = format!(
                "`include` leads to more than {FILES_MAX} files, or is more than {INCLUDE_DEPTH_MAX} deep"
            );
            let report = self.report(&codes::INCLUDE_TOO_MANY, Some(span), what);
            self.found
                .push(report.help("join files, or check the pattern"));
            return;
        }
        self.file(&path, Some(span));
    }
}

/// A path without `.` and inner `..`, by its text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Whether a name fits a pattern of `*` and `?`. Linear but for the last star: no blow-up.
fn wild(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, at)) => {
                    star = Some((after, at + 1));
                    p = after;
                    n = at + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests;
