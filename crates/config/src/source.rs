//! The text of every file that was read, so that a report can show the line it speaks of.

use std::fmt;
use std::sync::Arc;

use crate::span::{FileId, Span};

/// A file that was read.
#[derive(Clone)]
pub struct SourceFile {
    /// Path as it was opened, for display.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
    /// Where each line starts, so that many reports on a large file stay cheap.
    lines: Arc<[usize]>,
}

impl SourceFile {
    fn new(name: String, text: Arc<str>) -> SourceFile {
        let after = |(at, _): (usize, &str)| at + 1;
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(after))
            .collect();
        SourceFile { name, text, lines }
    }

    /// A line from 1, without its end.
    fn line(&self, number: usize) -> Option<&str> {
        let start = *self.lines.get(number.checked_sub(1)?)?;
        let end = self
            .lines
            .get(number)
            .map_or(self.text.len(), |next| next - 1);
        let line = self.text.get(start..end)?;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

/// Every file that was read. Compares equal to any other and prints only names: it says where
/// something stands, never what is configured.
#[derive(Clone, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Adds a file.
    pub(crate) fn add(&mut self, name: String, text: Arc<str>) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(SourceFile::new(name, text));
        id
    }

    /// A file that was read; `None` for an id of another load.
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// Every file, the main one first.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The name of the span's file; empty for an id of another load.
    pub fn name(&self, span: Span) -> &str {
        self.file(span.file).map_or("", |file| file.name.as_str())
    }

    /// The line on which the span starts, without its end; `None` when there is no such line.
    pub fn line(&self, span: Span) -> Option<&str> {
        self.file(span.file)?
            .line(usize::try_from(span.start.line).ok()?)
    }

    /// `file:line:column` of the span's start.
    pub fn place(&self, span: Span) -> String {
        format!(
            "{}:{}:{}",
            self.name(span),
            span.start.line,
            span.start.column
        )
    }
}

impl PartialEq for Sources {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.files.iter().map(|file| &file.name))
            .finish()
    }
}
