//! The configuration: YAML in, a complete and checked [`Model`] out, or everything that is wrong with it.
//!
//! Stages: `load` reads files and joins them, `tree` parses the text with the place of every value, `decode` checks each
//! value against the one definition of its key (`keys`) and fills in defaults, `lower` makes the model and checks what
//! concerns several values. [`schema()`] and [`reference()`] come from the same definitions.
//!
//! Invariants: no part of a configuration is ever given back when there was an error; no input makes it panic; every
//! loop over input has a limit. Pure: files and environment come through [`Surroundings`].
#![forbid(unsafe_code)]

mod decode;
pub mod diagnostic;
pub mod edit;
mod effective;
mod guess;
mod keys;
mod load;
mod lower;
pub mod model;
pub mod parse;
mod places;
mod reference;
mod schema;
mod source;
mod span;
mod surroundings;
mod tree;
mod values;
mod words;

pub use decode::{FINDINGS_MAX, REFERENCE_BYTES_MAX};
pub use diagnostic::{Code, Diagnostic, Severity, codes, render_all};
pub use effective::effective;
pub use load::{FILES_MAX, INCLUDE_DEPTH_MAX, Source, load, load_str, to_json};
pub use lower::{ACCESS_LOGS_MAX, LISTENERS_MAX, POOLS_MAX, SERVERS_MAX};
pub use model::Model;
pub use places::admin_sockets;
pub use reference::reference;
pub use schema::schema;
pub use source::{SourceFile, Sources};
pub use span::{FileId, Position, Span, Spanned};
pub use surroundings::{InMemory, Surroundings};
pub use tree::{DEPTH_MAX, FILE_BYTES_MAX, VALUES_MAX};
pub use words::Word;
