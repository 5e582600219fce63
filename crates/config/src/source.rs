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
        self.files.push(SourceFile { name, text });
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
        let text = &*self.file(span.file)?.text;
        let line = usize::try_from(span.start.line).ok()?.checked_sub(1)?;
        text.split('\n')
            .nth(line)
            .map(|line| line.strip_suffix('\r').unwrap_or(line))
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
