//! Reads the files of a configuration and joins them into one tree.
//!
//! The join works on trees, so that every key keeps the place where it was written: a name that two
//! files define is reported with both places.

mod include;
mod join;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{Findings, Input};
use crate::diagnostic::{Diagnostic, codes};
use crate::keys;
use crate::lower;
use crate::model::Model;
use crate::source::Sources;
use crate::span::{FileId, Position, Span};
use crate::surroundings::{InMemory, Surroundings};
use include::normal;

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

    /// The same of another world.
    pub(crate) fn on<'b>(self, world: &'b dyn Surroundings) -> Source<'b>
    where
        'a: 'b,
    {
        Source { world, ..self }
    }

    /// Where files come from.
    pub(crate) fn world(&self) -> &'a dyn Surroundings {
        self.world
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
    let Reader {
        sources,
        folders,
        mut found,
        top,
        span,
        world,
        partial,
        ..
    } = read(source);
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

/// Reads all files and joins them.
pub(crate) fn read(source: Source<'_>) -> Reader<'_> {
    let mut reader = Reader {
        world: source.world,
        sources: Sources::default(),
        folders: Vec::new(),
        budget: Budget::default(),
        found: Findings::default(),
        stack: Vec::new(),
        done: HashMap::new(),
        top: Vec::new(),
        at: HashMap::new(),
        span: Span::default(),
        partial: false,
    };
    match source.text {
        Some(text) => reader.text(source.path, text.to_owned(), None),
        None => reader.file(source.path, None),
    }
    reader
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

/// One YAML text as JSON, aliases expanded, for tools that check it against [`crate::schema()`]. `None` when it is not
/// YAML as we take it, or empty.
pub fn to_json(text: &str) -> Option<serde_json::Value> {
    let mut sources = Sources::default();
    let file = sources.add(String::new(), Arc::from(text));
    let mut found = Vec::new();
    let root = tree::parse(file, &sources, &mut Budget::default(), &mut found);
    root.filter(|_| found.is_empty()).map(|root| root.to_json())
}

pub(crate) struct Reader<'a> {
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
    pub top: Vec<(Key, Node)>,
    /// Where each key stands in `top`.
    at: HashMap<String, usize>,
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
}

#[cfg(test)]
mod tests;
