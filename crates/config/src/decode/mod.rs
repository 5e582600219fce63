//! Turns the tree into typed values by the tables of [`crate::keys`], and reports everything that does not fit.
//!
//! What is done here holds for every key alike: unknown keys, types, units, ranges, words, forms of text, `env:` and
//! `file:`, defaults. What is left for [`crate::lower`] is what concerns several values: names that refer
//! to others, settings that do not go together.

mod fields;
mod findings;
mod scalar;

pub(crate) use fields::{Fields, items_of, word_of};
pub use findings::FINDINGS_MAX;
pub(crate) use findings::Findings;
pub use scalar::REFERENCE_BYTES_MAX;
pub(crate) use scalar::read_reference;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostic::{Code, Diagnostic, codes};
use crate::guess::{closest, join};
use crate::keys::synonyms::SYNONYMS;
use crate::keys::{self, Default, EXTENSION_PREFIX, Form, Key, Kind, TABLES, Table};
use crate::source::Sources;
use crate::span::{Span, Spanned};
use crate::surroundings::Surroundings;
use crate::tree::{Node, Value};

/// What the loader reads from.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub sources: &'a Sources,
    /// Folder of each file, by its id.
    pub folders: &'a [PathBuf],
    pub world: &'a dyn Surroundings,
    /// A file could not be read, so names that refer to nothing may stand there.
    pub partial: bool,
}

impl Input<'_> {
    /// A path that stands in a file: relative to that file's folder.
    pub fn path(&self, span: Span, path: &str) -> PathBuf {
        let folder = self
            .folders
            .get(span.file.0 as usize)
            .map_or(Path::new(""), |f| f.as_path());
        folder.join(path)
    }
}

/// A typed value and where it stands.
#[derive(Debug)]
pub(crate) struct Item {
    pub span: Span,
    pub data: Data,
}

/// A typed value.
#[derive(Debug)]
pub(crate) enum Data {
    /// Something was wrong with it and was reported.
    Bad,
    Bool(bool),
    Int(i64),
    Number(f64),
    Time(Duration),
    Size(u64),
    Text(Text),
    /// Position in the words of its kind.
    Word(usize),
    Fields(Fields),
    Entries(Vec<(Spanned<String>, Item)>),
    Items(Vec<Item>),
}

/// A text, and the bytes of the file when it came from one.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub text: String,
    /// The file that `file:` named.
    pub file: Option<(PathBuf, Vec<u8>)>,
}

/// Decodes one configuration.
pub(crate) struct Decoder<'a> {
    pub input: Input<'a>,
    pub found: &'a mut Findings,
    /// Where we are, for messages: `listeners`, `web`, `bind`.
    path: Vec<String>,
    /// The key that we are in.
    key: Option<&'static Key>,
}

impl<'a> Decoder<'a> {
    pub fn new(input: Input<'a>, found: &'a mut Findings) -> Self {
        Decoder {
            input,
            found,
            path: Vec::new(),
            key: None,
        }
    }

    fn report(&self, code: &'static Code, span: Span, what: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, self.input.sources, span, what)
    }

    /// The place we are at, as a word of a sentence.
    fn here(&self) -> String {
        if self.path.is_empty() {
            "the configuration".to_owned()
        } else {
            format!("`{}`", self.path.join("."))
        }
    }

    /// Decodes a node as a section of a table.
    pub fn section(&mut self, node: &Node, table: &'static Table) -> Fields {
        match &node.value {
            Value::Map(entries) => self.fields(node, entries, table),
            _ => {
                self.wrong_type(node, &Kind::Section(table));
                Fields::empty(table, node.span)
            }
        }
    }

    /// Decodes a node.
    fn item(&mut self, node: &Node, kind: &'static Kind) -> Item {
        let data = match (kind, &node.value) {
            (Kind::Shape { scalar, list, map }, value) => {
                let kind_of_shape = match value {
                    Value::List(_) => list,
                    Value::Map(_) => map,
                    Value::Scalar { .. } => scalar,
                    Value::Null => return self.nothing(node),
                };
                return match kind_of_shape {
                    Some(kind) => self.item(node, kind),
                    None => self.wrong_type(node, kind),
                };
            }
            (_, Value::Null) => return self.nothing(node),
            (Kind::OneOrMany { item, min }, Value::List(items)) => {
                self.list(node, items, item, *min)
            }
            (Kind::OneOrMany { item, .. }, _) => {
                let one = self.item(node, item);
                match one.data {
                    Data::Bad => Data::Bad,
                    _ => Data::Items(vec![one]),
                }
            }
            (Kind::List { item, min }, Value::List(items)) => self.list(node, items, item, *min),
            (Kind::Section(table), Value::Map(entries)) => {
                Data::Fields(self.fields(node, entries, table))
            }
            (Kind::Map { name, value, min }, Value::Map(entries)) => {
                self.entries(node, entries, name, value, *min)
            }
            (Kind::List { .. } | Kind::Section(_) | Kind::Map { .. }, _)
            | (_, Value::List(_) | Value::Map(_)) => return self.wrong_type(node, kind),
            (_, Value::Scalar { text, plain }) => self.scalar(node, text, *plain, kind),
        };
        Item {
            span: node.span,
            data,
        }
    }

    fn nothing(&mut self, node: &Node) -> Item {
        let what = format!("{} has no value", self.here());
        let mut report = self.report(&codes::EMPTY, node.span, what);
        report = match self.key.filter(|key| !key.example.is_empty()) {
            Some(key) => report.help(format!(
                "write a value, such as `{}: {}`, or remove the key",
                key.name, key.example
            )),
            None => report.help("write a value, or remove the key"),
        };
        self.found.push(report);
        Item {
            span: node.span,
            data: Data::Bad,
        }
    }

    fn wrong_type(&mut self, node: &Node, kind: &Kind) -> Item {
        if self.found.full() {
            return Item {
                span: node.span,
                data: Data::Bad,
            };
        }
        let what = format!(
            "{} takes {}; this is {}",
            self.here(),
            kind.describe(),
            node.describe()
        );
        let mut report = self.report(&codes::WRONG_TYPE, node.span, what);
        if let (Kind::Section(table), Value::Scalar { text, .. }) = (kind, &node.value)
            && let Some(key) = table
                .keys
                .iter()
                .find(|key| matches!(key.default, Default::Required))
        {
            report = report.help(format!(
                "write `{{ {}: \"{}\" }}`",
                key.name,
                crate::tree::shorten(text)
            ));
        } else if let Some(key) = self.key.filter(|key| !key.example.is_empty()) {
            report = report.help(format!("for example `{}: {}`", key.name, key.example));
        }
        self.found.push(report);
        Item {
            span: node.span,
            data: Data::Bad,
        }
    }

    fn too_few(&mut self, span: Span, is: usize, min: usize, of: &str) -> bool {
        if is >= min {
            return false;
        }
        let code = if std::ptr::eq(self.key.unwrap_or(&keys::LISTENERS), &keys::POOL_SERVERS) {
            &codes::NO_SERVERS
        } else {
            &codes::EMPTY
        };
        let what = format!("{} is an empty {of}", self.here());
        let report = self.report(code, span, what);
        self.found
            .push(report.help("write at least one, or remove what it stands in"));
        true
    }

    fn list(&mut self, node: &Node, items: &[Node], kind: &'static Kind, min: usize) -> Data {
        if self.too_few(node.span, items.len(), min, "list") {
            return Data::Bad;
        }
        let mut decoded = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let label = match item.name() {
                Some(name) => format!(".{name}"),
                None => format!("[{}]", at + 1),
            };
            // An item is shown as `routes.api` by its name, or else as `routes[2]`, counted from 1.
            let before = self.path.clone();
            match label.strip_prefix('.') {
                Some(name) => self.path.push(name.to_owned()),
                None => {
                    if let Some(last) = self.path.last_mut() {
                        last.push_str(&label);
                    }
                }
            }
            let item = self.item(item, kind);
            decoded.push(item);
            self.path = before;
        }
        Data::Items(decoded)
    }

    fn entries(
        &mut self,
        node: &Node,
        entries: &[(crate::tree::Key, Node)],
        form: &'static Form,
        kind: &'static Kind,
        min: usize,
    ) -> Data {
        if self.too_few(node.span, entries.len(), min, "map") {
            return Data::Bad;
        }
        let mut decoded = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if let Err(fault) = (form.check)(&key.text) {
                let subject = match key.text.as_str() {
                    "" => format!("a name in {}", self.here()),
                    name => format!("`{}`", crate::tree::shorten(name)),
                };
                self.fault(&fault, key.span, &subject, true, form.name);
            }
            self.path.push(key.text.clone());
            let item = self.item(value, kind);
            decoded.push((Spanned::new(key.text.clone(), key.span), item));
            self.path.pop();
        }
        Data::Entries(decoded)
    }

    fn fields(
        &mut self,
        node: &Node,
        entries: &[(crate::tree::Key, Node)],
        table: &'static Table,
    ) -> Fields {
        let mut fields = Fields::empty(table, node.span);
        // Keys that a slip stands for: they are not reported as missing besides.
        let mut meant = Vec::new();
        for (name, value) in entries {
            let is_extension = self.path.is_empty() && name.text.starts_with(EXTENSION_PREFIX);
            match table.find(&name.text) {
                Some((at, key)) => {
                    let item = self.value(name, value, key);
                    fields.put(at, item, true);
                }
                None if is_extension => {}
                None => meant.extend(self.unknown_key(name, table).map(|key| (key, name, value))),
            }
        }
        // What stands under a misspelt key is checked as well, so that everything is told at once.
        for (key, name, value) in &meant {
            if let Some((at, key)) = table.find(key).filter(|(at, _)| !fields.has(*at)) {
                let item = self.value(name, value, key);
                fields.put(at, item, true);
            }
        }
        if !meant.iter().any(|(key, ..)| table.one_of.contains(key)) {
            self.one_of(node, entries, table);
        }
        self.defaults(&mut fields, node);
        fields
    }

    fn value(&mut self, name: &crate::tree::Key, value: &Node, key: &'static Key) -> Item {
        let outer = self.key.replace(key);
        self.path.push(name.text.clone());
        let item = self.item(value, &key.kind);
        self.path.pop();
        self.key = outer;
        item
    }

    fn defaults(&mut self, fields: &mut Fields, node: &Node) {
        for (at, key) in fields.table().keys.iter().enumerate() {
            if fields.has(at) {
                continue;
            }
            match key.default {
                Default::Absent(_) => {}
                Default::Value(text) => {
                    let value = crate::tree::fragment(text, node.span);
                    let item = self.item(&value, &key.kind);
                    fields.put(at, item, false);
                }
                // It may stand in a file that could not be read.
                Default::Required if self.input.partial && self.path.is_empty() => {}
                Default::Required => {
                    let what = format!("`{}` is missing in {}", key.name, self.here());
                    let report = self.report(&codes::MISSING_KEY, node.span, what);
                    let about = first_sentence(key.about);
                    self.found.push(
                        report.help(format!("add `{}: {}` ({about})", key.name, key.example)),
                    );
                }
            }
        }
    }

    /// Exactly one of some keys.
    fn one_of(&mut self, node: &Node, entries: &[(crate::tree::Key, Node)], table: &Table) {
        if table.one_of.is_empty() {
            return;
        }
        let mut given = entries
            .iter()
            .filter(|(key, _)| table.one_of.contains(&key.text.as_str()));
        let names = join(table.one_of.iter().copied());
        let Some((first, _)) = given.next() else {
            let what = format!("{} has none of {names}", self.here());
            let report = self.report(&codes::ONE_OF, node.span, what);
            self.found
                .push(report.help(format!("write one of {names}")));
            return;
        };
        let others: Vec<_> = given.collect();
        for (other, _) in others {
            let what = format!(
                "{} has both `{}` and `{}`",
                self.here(),
                first.text,
                other.text
            );
            let report = self.report(&codes::ONE_OF, other.span, what);
            let sources = self.input.sources;
            self.found.push(
                report
                    .related(sources, first.span, "the other one")
                    .help(format!(
                        "keep one; {} takes exactly one of {names}",
                        table.title
                    )),
            );
        }
    }

    /// Reports a key that is not known; gives the one that was probably meant.
    fn unknown_key(
        &mut self,
        name: &crate::tree::Key,
        table: &'static Table,
    ) -> Option<&'static str> {
        if self.found.full() {
            return None;
        }
        let shown = crate::tree::shorten(&name.text);
        let what = if self.path.is_empty() {
            format!("`{shown}` is not a key at the top of the configuration")
        } else {
            format!(
                "`{shown}` is not a key of {} ({})",
                self.here(),
                table.title
            )
        };
        let here = || table.keys.iter().map(|key| key.name);
        let meant = SYNONYMS
            .iter()
            .find(|(word, key)| *word == name.text && table.find(key).is_some())
            .map(|(_, key)| *key)
            .or_else(|| closest(&name.text, here()));
        let elsewhere = TABLES
            .iter()
            .filter(|other| !std::ptr::eq(**other, table) && other.find(&name.text).is_some())
            .map(|other| other.places)
            .next();
        let mut report = self
            .report(&codes::UNKNOWN_KEY, name.span, what)
            .guess(meant);
        if meant.is_none() {
            let known = format!("keys here are {}", join(here()));
            report = report.help(match elsewhere {
                Some(place) => format!("`{shown}` belongs in {place}; {known}"),
                None => known,
            });
        }
        self.found.push(report);
        meant
    }

    /// Reports a fault of a text. `shown`: whether the text may be shown; `needed`: what is needed instead.
    fn fault(
        &mut self,
        fault: &crate::values::Fault,
        span: Span,
        subject: &str,
        shown: bool,
        needed: &str,
    ) {
        let mut report = self.report(fault.code, span, format!("{subject} {}", fault.says));
        if shown {
            report.help.clone_from(&fault.help);
            report.guess.clone_from(&fault.guess);
        }
        if report.help.is_none() && report.guess.is_none() {
            report.help = Some(format!("write {needed}"));
        }
        self.found.push(report);
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ")
        .map_or_else(|| text.trim_end_matches('.'), |(first, _)| first)
}
