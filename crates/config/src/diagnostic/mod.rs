//! What is wrong with a configuration, where, why it matters and how to mend it.
//!
//! A [`Diagnostic`] holds all its text: it can be printed without the files. Later stages (regexes,
//! templates, routes that cannot be reached) make theirs with [`Diagnostic::new`] from a code of
//! [`codes`] and the span of the model's value, so that they look the same.

pub mod codes;
mod render;

use std::fmt;

use crate::source::Sources;
use crate::span::Span;
pub use codes::Code;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken; somebody should look.
    Warning,
}

/// A stretch of a line that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// File name; empty when there is no file.
    pub file: String,
    /// Line from 1; 0 when the report is about the file as a whole.
    pub line: u32,
    /// Column in characters from 1; 0 when the report is about the file as a whole.
    pub column: u32,
    /// How many characters of the line are meant, at least 1.
    pub width: u32,
    /// The line itself.
    pub source: Option<String>,
}

impl Excerpt {
    /// Takes the first line of a span.
    pub fn of(sources: &Sources, span: Span) -> Excerpt {
        let source = sources.line(span);
        let rest = source.map_or(0, |line| {
            u32::try_from(line.chars().count()).unwrap_or(u32::MAX)
        });
        let end = if span.end.line == span.start.line {
            span.end.column
        } else {
            rest.saturating_add(1)
        };
        Excerpt {
            file: sources.name(span).to_owned(),
            line: span.start.line,
            column: span.start.column,
            width: end.saturating_sub(span.start.column).max(1),
            source: source.map(str::to_owned),
        }
    }
}

/// Another place that has to do with a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub at: Excerpt,
    /// What stands there.
    pub text: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code with its meaning.
    pub code: &'static Code,
    /// Where.
    pub at: Excerpt,
    /// What is wrong, one clear sentence without a full stop.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// How to mend it.
    pub help: Option<String>,
    /// What was probably meant.
    pub guess: Option<String>,
    /// Other places.
    pub related: Vec<Related>,
}

impl Diagnostic {
    /// A finding at a span. Why it matters is taken from the code.
    pub fn new(
        code: &'static Code,
        sources: &Sources,
        span: Span,
        what: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            code,
            at: Excerpt::of(sources, span),
            what: what.into(),
            why: code.why.to_owned(),
            help: None,
            guess: None,
            related: Vec::new(),
        }
    }

    /// Says why it matters in this case.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what was probably meant.
    #[must_use]
    pub fn guess(mut self, guess: Option<impl Into<String>>) -> Self {
        self.guess = guess.map(Into::into);
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn related(mut self, sources: &Sources, span: Span, text: impl Into<String>) -> Self {
        self.related.push(Related {
            at: Excerpt::of(sources, span),
            text: text.into(),
        });
        self
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.code.severity
    }

    /// The whole report as several lines, the last one ended, for a terminal (`colour`) or a file.
    pub fn render(&self, colour: bool) -> String {
        render::render(self, colour)
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `file:line:column: error[E0101]: what`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.line > 0 {
            write!(f, "{}:{}:{}: ", self.at.file, self.at.line, self.at.column)?;
        } else if !self.at.file.is_empty() {
            write!(f, "{}: ", self.at.file)?;
        }
        let severity = match self.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}", self.code.id, self.what)
    }
}

/// Renders every report, one after the other with an empty line between, and a last line that counts them.
pub fn render_all(diagnostics: &[Diagnostic], colour: bool) -> String {
    render::render_all(diagnostics, colour)
}
