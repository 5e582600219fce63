//! Edits of header fields.

use crate::Spanned;

/// A field to write. The value is a template with `$variables`; checked by the later stage. A `$` that came from
/// `env:` or `file:` is doubled already, so that a secret is never read as a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderValue {
    /// Name as written in the file (case kept), a valid token.
    pub name: Spanned<String>,
    /// Value template; no control characters.
    pub value: Spanned<String>,
}

/// Edits of one message: first `remove`, then `set`, then `add`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Fields that replace all of the same name.
    pub set: Vec<HeaderValue>,
    /// Fields that are added beside those of the same name.
    pub add: Vec<HeaderValue>,
    /// Names of fields to take away.
    pub remove: Vec<Spanned<String>>,
}

impl HeaderEdits {
    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Edits of requests (before they go to a server) and of answers (before they go to the client).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderRules {
    /// Edits of requests.
    pub request: HeaderEdits,
    /// Edits of answers, our own ones included.
    pub response: HeaderEdits,
}
