//! Collects what is wrong: each finding once, bounded, in the order of the text.

use keel_config::model::Model;
use keel_config::{Code, Diagnostic, FINDINGS_MAX, Severity, Span, codes};
use keel_http::template::{Template, TemplateFault};
use keel_types::ListenerId;

use crate::ground::Ground;

/// What was found so far in a model.
pub(crate) struct Report<'a> {
    pub(crate) model: &'a Model,
    /// Live state that may go on.
    pub(crate) ground: &'a Ground,
    /// Ids of the listeners, in the order of the model.
    pub(crate) ids: Vec<ListenerId>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(model: &'a Model, ground: &'a Ground, ids: Vec<ListenerId>) -> Report<'a> {
        Report {
            model,
            ground,
            ids,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn add(
        &mut self,
        code: &'static Code,
        span: Span,
        what: impl Into<String>,
        help: &str,
    ) {
        let mut diagnostic = Diagnostic::new(code, &self.model.sources, span, what);
        if !help.is_empty() {
            diagnostic = diagnostic.help(help);
        }
        self.push(diagnostic);
    }

    /// Edits at the top are compiled once for each listener: what is wrong with them is kept once.
    /// Errors and warnings are counted apart, so that warnings never push out an error.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let list = match diagnostic.severity() {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if list.len() < FINDINGS_MAX && !list.contains(&diagnostic) {
            list.push(diagnostic);
        }
    }

    /// Whether there was an error.
    pub(crate) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// All findings in the order of the text.
    pub(crate) fn sorted(self) -> Vec<Diagnostic> {
        let files = self.model.sources.files();
        let place = |name: &str| files.iter().position(|file| file.name == name);
        let mut all: Vec<Diagnostic> = self.errors.into_iter().chain(self.warnings).collect();
        all.sort_by_cached_key(|it| (place(&it.at.file), it.at.line, it.at.column));
        all
    }

    /// A template, or a report and an empty one.
    pub(crate) fn template(&mut self, text: &str, span: Span) -> Template {
        match Template::parse(text) {
            Ok(template) => template,
            Err(fault) => {
                self.bad_template(&fault, text, span);
                Template::default()
            }
        }
    }

    pub(crate) fn bad_template(&mut self, fault: &TemplateFault, text: &str, span: Span) {
        let alone = text.strip_prefix('$') == Some(&fault.name);
        let shown = match fault.name.is_empty() || alone {
            true => format!("`{text}`: {fault}"),
            false => format!("`${}` in `{text}`: {fault}", fault.name),
        };
        let diagnostic = Diagnostic::new(&codes::BAD_TEMPLATE, &self.model.sources, span, shown)
            .guess(fault.suggestion.map(|name| format!("${name}")))
            .help("the reference page of variables lists every name; write `$$` for a dollar");
        self.push(diagnostic);
    }
}
