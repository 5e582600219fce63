//! Scalars: numbers with units and ranges, words, texts and what they refer to.

use std::path::PathBuf;
use std::time::Duration;

use super::{Data, Decoder, Findings, Input, Text};
use crate::diagnostic::{Diagnostic, codes};
use crate::guess::{closest, join};
use crate::keys::synonyms::WORD_SYNONYMS;
use crate::keys::{Form, Kind, Refs, Words, show_duration, show_size};
use crate::span::Span;
use crate::tree::{Node, is_bool, is_number, shorten};
use crate::values::{self, Fault};

/// Largest file that a value may refer to, in bytes.
pub const REFERENCE_BYTES_MAX: usize = 1024 * 1024;

/// Where a text came from.
enum Origin {
    Literal,
    Env,
    File,
}

impl Decoder<'_> {
    pub(super) fn scalar(
        &mut self,
        node: &Node,
        text: &str,
        plain: bool,
        kind: &'static Kind,
    ) -> Data {
        match kind {
            Kind::Text(form) => self.text(node.span, text, form),
            Kind::Words(words) => self.word(node, text, words),
            Kind::WordOr(words, other) => self.word_or(node, text, plain, words, other, kind),
            Kind::Bool => self.boolean(node, text, plain),
            Kind::Int { min, max } => {
                let read = unquoted(plain, text).and_then(|()| values::whole(text));
                let range = (*min..=*max, format!("{min} to {max}"));
                self.ranged(node, text, read, range)
                    .map_or(Data::Bad, Data::Int)
            }
            Kind::Number { min, max } => {
                let read = unquoted(plain, text).and_then(|()| values::decimal(text));
                let range = (*min..=*max, format!("{min} to {max}"));
                self.ranged(node, text, read, range)
                    .map_or(Data::Bad, Data::Number)
            }
            Kind::PercentOr { other, .. } if !text.ends_with('%') => {
                self.scalar(node, text, plain, other)
            }
            Kind::Percent { min, max } | Kind::PercentOr { min, max, .. } => {
                let range = (*min..=*max, format!("{min}% to {max}%"));
                let percent = self.ranged(node, text, values::percent(text), range);
                percent.map_or(Data::Bad, |percent| Data::Number(percent / 100.0))
            }
            Kind::Duration { min_ms, max_ms } => {
                let shown = format!("{} to {}", show_duration(*min_ms), show_duration(*max_ms));
                let range = (*min_ms..=*max_ms, shown);
                let ms = self.ranged(node, text, values::duration(text), range);
                ms.map_or(Data::Bad, |ms| Data::Time(Duration::from_millis(ms)))
            }
            Kind::Size { min, max } => {
                let shown = format!("{} to {}", show_size(*min), show_size(*max));
                let size = self.ranged(node, text, values::size(text), (*min..=*max, shown));
                size.map_or(Data::Bad, Data::Size)
            }
            _ => self.wrong_type(node, kind).data,
        }
    }

    /// A value that was read, when it is in its range.
    fn ranged<T: PartialOrd>(
        &mut self,
        node: &Node,
        text: &str,
        read: Result<T, Fault>,
        (range, shown): (std::ops::RangeInclusive<T>, String),
    ) -> Option<T> {
        let subject = format!("{} is `{}`, which", self.here(), shorten(text));
        match read {
            Err(fault) => {
                self.fault(
                    &fault,
                    node.span,
                    &subject,
                    true,
                    &format!("a value from {shown}"),
                );
                None
            }
            Ok(value) if range.contains(&value) => Some(value),
            Ok(_) => {
                let what = format!("{subject} is outside its range, {shown}");
                let report = self.report(&codes::OUT_OF_RANGE, node.span, what);
                self.found
                    .push(report.help(format!("write a value from {shown}")));
                None
            }
        }
    }

    fn boolean(&mut self, node: &Node, text: &str, plain: bool) -> Data {
        match text {
            "true" | "True" | "TRUE" if plain => return Data::Bool(true),
            "false" | "False" | "FALSE" if plain => return Data::Bool(false),
            _ => {}
        }
        let meant = match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "y" => Some("true"),
            "false" | "no" | "off" | "0" | "n" => Some("false"),
            _ => None,
        };
        let what = format!(
            "{} takes `true` or `false`; this is {}",
            self.here(),
            node.describe()
        );
        let report = self.report(&codes::WRONG_TYPE, node.span, what);
        self.found.push(
            report
                .guess(meant)
                .help("write `true` or `false`, without quotes"),
        );
        Data::Bad
    }

    fn word(&mut self, node: &Node, text: &str, words: Words) -> Data {
        if let Some(at) = words.iter().position(|(word, _)| *word == text) {
            return Data::Word(at);
        }
        let names = || words.iter().map(|(word, _)| *word);
        let what = format!(
            "{} is `{}`, which is not known here",
            self.here(),
            shorten(text)
        );
        let report = self.report(&codes::UNKNOWN_WORD, node.span, what);
        let guess = off(text, words)
            .or_else(|| word_meant(text, words))
            .or_else(|| closest(text, names()));
        self.found.push(
            report
                .guess(guess)
                .help(format!("write one of {}", join(names()))),
        );
        Data::Bad
    }

    fn word_or(
        &mut self,
        node: &Node,
        text: &str,
        plain: bool,
        words: Words,
        other: &'static Kind,
        kind: &'static Kind,
    ) -> Data {
        if let Some(at) = words.iter().position(|(word, _)| *word == text) {
            return Data::Word(at);
        }
        let nearly = words
            .iter()
            .map(|(word, _)| *word)
            .find(|word| word.eq_ignore_ascii_case(text));
        let is_text = matches!(other, Kind::Text(_));
        let meant = nearly.or_else(|| off(text, words).filter(|_| plain));
        if meant.is_some()
            || (!is_text
                && !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+')))
        {
            let what = format!(
                "{} is `{}`, which is not known here",
                self.here(),
                shorten(text)
            );
            let report = self.report(&codes::UNKNOWN_WORD, node.span, what);
            let guess = meant.or_else(|| closest(text, words.iter().map(|(word, _)| *word)));
            self.found.push(
                report
                    .guess(guess)
                    .help(format!("write {}", kind.describe())),
            );
            return Data::Bad;
        }
        self.scalar(node, text, plain, other)
    }

    /// A text of a form, after `env:` and `file:`.
    fn text(&mut self, span: Span, written: &str, form: &'static Form) -> Data {
        let Some((mut text, origin)) = self.resolve(span, written, form) else {
            return Data::Bad;
        };
        let subject = match origin {
            Origin::Literal if text.text.is_empty() => self.here(),
            Origin::Literal => format!("{}: `{}`", self.here(), shorten(&text.text)),
            Origin::Env | Origin::File => {
                format!("{}: the value of `{}`", self.here(), shorten(written))
            }
        };
        if text.text.is_empty() && text.file.is_none() && !form.empty {
            let report = self.report(&codes::EMPTY, span, format!("{subject} is empty"));
            self.found.push(report.help(format!("write {}", form.name)));
            return Data::Bad;
        }
        let is_bytes = form.refs == Refs::Bytes && text.file.is_some();
        if !is_bytes && let Err(fault) = (form.check)(&text.text) {
            let literal = matches!(origin, Origin::Literal);
            self.fault(&fault, span, &subject, literal, form.name);
            return Data::Bad;
        }
        if form.template && !matches!(origin, Origin::Literal) {
            text.text = text.text.replace('$', "$$");
        }
        Data::Text(text)
    }

    fn resolve(&mut self, span: Span, written: &str, form: &Form) -> Option<(Text, Origin)> {
        if form.refs != Refs::None {
            if let Some(name) = written.strip_prefix("env:") {
                return self.variable(span, name).map(|text| (text, Origin::Env));
            }
            if let Some(path) = written.strip_prefix("file:") {
                return self.file(span, path, form).map(|text| (text, Origin::File));
            }
        }
        Some((
            Text {
                text: written.to_owned(),
                file: None,
            },
            Origin::Literal,
        ))
    }

    fn variable(&mut self, span: Span, name: &str) -> Option<Text> {
        if let Some(text) = self.input.world.variable(name) {
            return Some(Text { text, file: None });
        }
        let what = if name.is_empty() {
            format!("{} has no variable's name after `env:`", self.here())
        } else {
            format!("the environment variable `{}` is not set", shorten(name))
        };
        let report = self.report(&codes::ENV_UNSET, span, what);
        self.found
            .push(report.help("set it where evenkeel is started, also for `evenkeel check`"));
        None
    }

    fn file(&mut self, span: Span, path: &str, form: &Form) -> Option<Text> {
        let (path, bytes) = read_reference(self.input, self.found, span, path)?;
        if form.refs == Refs::Bytes {
            return Some(Text {
                text: String::new(),
                file: Some((path, bytes)),
            });
        }
        let Ok(mut text) = String::from_utf8(bytes) else {
            let what = format!("`{}` is not UTF-8 text", path.display());
            let report = self.report(&codes::REFERENCE_UNREADABLE, span, what);
            self.found.push(report);
            return None;
        };
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Some(Text { text, file: None })
    }
}

/// Reads a file that a value names; the path is relative to the file in which it stands.
pub(crate) fn read_reference(
    input: Input<'_>,
    found: &mut Findings,
    span: Span,
    path: &str,
) -> Option<(PathBuf, Vec<u8>)> {
    let mut report = |code, what: String, help: &str| {
        found.push(Diagnostic::new(code, input.sources, span, what).help(help));
    };
    if path.is_empty() {
        let what = "there is no path after `file:`".to_owned();
        report(&codes::REFERENCE_UNREADABLE, what, "write `file:PATH`");
        return None;
    }
    let path = input.path(span, path);
    match input.world.read(&path, REFERENCE_BYTES_MAX) {
        Ok(bytes) if bytes.len() <= REFERENCE_BYTES_MAX => Some((path, bytes)),
        Ok(_) => {
            let most = show_size(REFERENCE_BYTES_MAX as u64);
            let what = format!("`{}` is larger than {most}", path.display());
            report(
                &codes::REFERENCE_TOO_LARGE,
                what,
                "serve large files from a pool",
            );
            None
        }
        Err(error) => {
            let what = format!("`{}` cannot be read: {error}", path.display());
            let help =
                "check its rights and its path, which is relative to the file in which it stands";
            report(&codes::REFERENCE_UNREADABLE, what, help);
            None
        }
    }
}

/// The word that stands for another server's word.
fn word_meant(text: &str, words: Words) -> Option<&'static str> {
    let there = |meant: &str| words.iter().any(|(word, _)| *word == meant);
    WORD_SYNONYMS
        .iter()
        .find(|(word, meant)| word.eq_ignore_ascii_case(text) && there(meant))
        .map(|(_, meant)| *meant)
}

/// `off` for what people write in its place.
fn off(text: &str, words: Words) -> Option<&'static str> {
    let off = words
        .iter()
        .map(|(word, _)| *word)
        .find(|word| *word == "off")?;
    matches!(
        text,
        "false" | "no" | "none" | "False" | "FALSE" | "disabled"
    )
    .then_some(off)
}

/// A number must stand without quotes, as everywhere in YAML and JSON.
fn unquoted(plain: bool, text: &str) -> Result<(), Fault> {
    if !plain && is_number(text) {
        return Err(Fault::new(&codes::WRONG_TYPE, "is a text because of its quotes").guess(text));
    }
    if plain && is_bool(text) {
        return Err(Fault::new(&codes::WRONG_TYPE, "is not a number"));
    }
    Ok(())
}
