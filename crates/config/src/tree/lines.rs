//! Turns the parser's positions, which count characters, into lines, columns and bytes.

use crate::span::{FileId, Position, Span};
use saphyr_parser::Marker;

/// Characters between two remembered byte offsets.
const STRIDE: usize = 64;

/// Byte offset of every 64th character; empty when the text is ASCII.
pub(super) struct Lines<'t> {
    text: &'t str,
    file: FileId,
    marks: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub fn new(text: &'t str, file: FileId) -> Self {
        let marks = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices()
                .step_by(STRIDE)
                .map(|(offset, _)| offset)
                .collect()
        };
        Lines { text, file, marks }
    }

    fn offset(&self, index: usize) -> usize {
        if self.marks.is_empty() {
            return index.min(self.text.len());
        }
        let Some(&start) = self.marks.get(index / STRIDE) else {
            return self.text.len();
        };
        let rest = self.text.get(start..).unwrap_or_default();
        rest.char_indices()
            .nth(index % STRIDE)
            .map_or(self.text.len(), |(at, _)| start + at)
    }

    pub fn position(&self, marker: Marker) -> Position {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: small(marker.line()).max(1),
            column: small(marker.col()).saturating_add(1),
            offset: small(self.offset(marker.index())),
        }
    }

    pub fn span(&self, span: saphyr_parser::Span) -> Span {
        let start = self.position(span.start);
        let mut end = self.position(span.end);
        if end.offset < start.offset {
            end = start;
        }
        Span {
            file: self.file,
            start,
            end,
        }
    }

    /// Without the blanks at the end, which the parser counts to a quoted scalar.
    pub fn trimmed(&self, span: Span) -> Span {
        let (start, end) = (span.start.offset as usize, span.end.offset as usize);
        let Some(text) = self.text.get(start..end) else {
            return span;
        };
        let kept = text.trim_end();
        if kept.len() == text.len() || kept.is_empty() {
            return span;
        }
        let mut end = span.start;
        for c in kept.chars() {
            if c == '\n' {
                end.line += 1;
                end.column = 1;
            } else {
                end.column += 1;
            }
        }
        end.offset = span.start.offset + u32::try_from(kept.len()).unwrap_or(0);
        Span { end, ..span }
    }

    /// An empty span.
    pub fn point(&self, marker: Marker) -> Span {
        let at = self.position(marker);
        Span {
            file: self.file,
            start: at,
            end: at,
        }
    }
}
