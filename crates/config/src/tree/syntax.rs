//! Help with the slips that YAML is known for.

use super::lines::Lines;
use crate::diagnostic::{Diagnostic, codes};
use crate::source::Sources;
use crate::span::{FileId, Position, Span};
use saphyr_parser::ScanError;

/// A report of the parser's error, with a word on the likely slip.
pub(super) fn report(error: &ScanError, lines: &Lines<'_>, sources: &Sources) -> Diagnostic {
    let span = lines.point(*error.marker());
    let line = sources.line(span).unwrap_or_default();
    let mut report = Diagnostic::new(
        &codes::SYNTAX,
        sources,
        span,
        format!("this is not YAML: {}", error.info()),
    );
    let at_end = sources
        .file(span.file)
        .is_some_and(|file| span.start.offset as usize >= file.text.trim_end().len());
    if at_end {
        report = report
            .help("the text ends inside a value: check that every quote, `{` and `[` is closed");
    } else if let Some(help) = help(line, error.info()) {
        report = report.help(help);
    }
    report
}

fn help(line: &str, info: &str) -> Option<String> {
    let indent: &str = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') || info.contains("tab") {
        return Some("indent with spaces, YAML does not take tabs there".to_owned());
    }
    if let Some(value) = bare_special(line) {
        return Some(format!(
            "put the value in quotes: \"{value}\"; a bare `{}` has a meaning of its own in YAML",
            value.chars().next().unwrap_or_default()
        ));
    }
    if info.contains("mapping values are not allowed") || info.contains("mapping values") {
        return Some(
            "put a value that has `: ` in it in quotes, and check that keys of one map start in the same column"
                .to_owned(),
        );
    }
    if line.matches('"').count() % 2 == 1 || line.matches('\'').count() % 2 == 1 {
        return Some("check that every quote is closed".to_owned());
    }
    if line.contains(['{', '[', '}', ']']) || info.contains("flow") {
        return Some("check that every `{` has its `}` and every `[` its `]`, and that items are separated by commas".to_owned());
    }
    Some("check the indentation, and that every key is followed by `: `".to_owned())
}

/// A value without quotes that starts with a character that YAML keeps for itself.
fn bare_special(line: &str) -> Option<&str> {
    let starts = line
        .match_indices([' ', '[', ',', '{'])
        .map(|(at, found)| at + found.len());
    for start in std::iter::once(0).chain(starts) {
        let value = line.get(start..).unwrap_or_default();
        if value.starts_with(['*', '%', '@', '`', '&', '!']) {
            let end = value.find([' ', ',', ']', '}', '"']).unwrap_or(value.len());
            return value.get(..end);
        }
    }
    None
}

/// Characters that YAML does not allow, and lone carriage returns, which editors count differently.
/// The parser would take NUL for the end of the text.
pub(super) fn forbidden(text: &str, file: FileId, sources: &Sources) -> Option<Diagnostic> {
    let mut at = Position {
        line: 1,
        column: 1,
        offset: 0,
    };
    let mut chars = text.char_indices().peekable();
    while let Some((offset, c)) = chars.next() {
        at.offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let lone_return = c == '\r' && chars.peek().is_none_or(|(_, next)| *next != '\n');
        if lone_return || (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) {
            let span = Span {
                file,
                start: at,
                end: at,
            };
            let what = format!(
                "the character U+{:04X} is not allowed in YAML",
                u32::from(c)
            );
            let report = Diagnostic::new(&codes::SYNTAX, sources, span, what);
            return Some(report.help(if lone_return {
                "end lines with a line feed"
            } else {
                "remove it, or write it as an escape in a quoted text: \"\\x07\""
            }));
        }
        if c == '\n' {
            at.line += 1;
            at.column = 1;
        } else {
            at.column += 1;
        }
    }
    None
}
