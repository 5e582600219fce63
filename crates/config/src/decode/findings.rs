//! What was found, bounded: errors and warnings have limits of their own, so that warnings never push out an error.

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Sources;

/// Most errors, and most warnings, that are kept; a file with more is the wrong file.
pub const FINDINGS_MAX: usize = 500;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Findings {
    pub fn push(&mut self, found: Diagnostic) {
        let list = match found.severity() {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if list.len() < FINDINGS_MAX {
            list.push(found);
        }
    }

    /// Whether one more error would not be kept, so that the work of telling it can be saved.
    pub fn full(&self) -> bool {
        self.errors.len() >= FINDINGS_MAX
    }

    pub fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// All of them in the order of the text.
    pub fn sorted(self, sources: &Sources) -> Vec<Diagnostic> {
        let mut all: Vec<Diagnostic> = self.errors.into_iter().chain(self.warnings).collect();
        let place = |name: &str| sources.files().iter().position(|file| file.name == name);
        all.sort_by_cached_key(|d| (place(&d.at.file), d.at.line, d.at.column));
        all
    }
}
