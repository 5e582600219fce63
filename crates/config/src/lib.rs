//! Configuration: tree with spans, validated model, diagnostics, schema, reference; pure.
#![forbid(unsafe_code)]

pub mod diagnostic;
pub mod model;
mod source;
mod span;
mod words;

pub use diagnostic::{Code, Diagnostic, Severity, codes, render_all};
pub use model::Model;
pub use source::{SourceFile, Sources};
pub use span::{FileId, Position, Span, Spanned};
pub use words::Word;
