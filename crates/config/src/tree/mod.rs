//! The text as a tree of values, each with its place.
//!
//! Invariants of a tree that [`parse`] returns: keys of a map are text and unique, no tags, no
//! aliases, at most [`DEPTH_MAX`] deep, and its size was taken from the [`Budget`] before it was
//! built, so that aliases that multiply cost an error and not the memory.

mod build;
mod lines;
mod syntax;

pub(crate) use build::{fragment, parse};

use crate::span::Span;

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 64;
/// Most values over all files, aliases expanded. A long text counts as several.
pub const VALUES_MAX: usize = 1_000_000;
/// Bytes of text that count as one more value.
const TEXT_BYTES_PER_VALUE: usize = 64;

/// What is left of the limit on values.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { left: VALUES_MAX }
    }
}

impl Budget {
    /// Takes `cost`; false when there is not enough.
    fn take(&mut self, cost: usize) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

/// A value of the YAML core schema; scalars keep their text.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar; `plain` when it was written without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map in file order; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub text: String,
    pub span: Span,
}

impl Node {
    /// What kind of value this is, for messages: `a list`, `the number 30`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar { text, plain: true } if is_number(text) => format!("the number {text}"),
            Value::Scalar { text, plain: true } if is_bool(text) => format!("`{text}`"),
            Value::Scalar { text, .. } => format!("the text `{}`", shorten(text)),
        }
    }

    /// The value of `name` when this is a map that has one.
    pub fn name(&self) -> Option<&str> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        entries.iter().find_map(|(key, value)| match &value.value {
            Value::Scalar { text, .. } if key.text == "name" => Some(text.as_str()),
            _ => None,
        })
    }

    /// This value as JSON: plain scalars by the core schema, all others as text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Scalar { text, plain: true } if is_bool(text) => {
                Json::Bool(text.eq_ignore_ascii_case("true"))
            }
            Value::Scalar { text, plain: true } if is_number(text) => {
                let number = text.trim_start_matches('+');
                let whole = number.parse::<i64>().map(Json::from);
                whole.unwrap_or_else(|_| number.parse::<f64>().map_or(Json::Null, Json::from))
            }
            Value::Scalar { text, .. } => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.text.clone(), value.to_json()))
                    .collect(),
            ),
        }
    }

    /// How many levels of lists and maps this is, 0 for a scalar.
    fn height(&self) -> usize {
        match &self.value {
            Value::Null | Value::Scalar { .. } => 0,
            Value::List(items) => 1 + items.iter().map(Node::height).max().unwrap_or(0),
            Value::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|(_, value)| value.height())
                    .max()
                    .unwrap_or(0)
            }
        }
    }

    /// How much of the budget this node and all below it took.
    fn cost(&self) -> usize {
        match &self.value {
            Value::Null => 1,
            Value::Scalar { text, .. } => scalar_cost(text),
            Value::List(items) => 1 + items.iter().map(Node::cost).sum::<usize>(),
            Value::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|(k, v)| scalar_cost(&k.text) + v.cost())
                    .sum::<usize>()
            }
        }
    }
}

fn scalar_cost(text: &str) -> usize {
    1 + text.len() / TEXT_BYTES_PER_VALUE
}

/// The start of a text, for a message.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    if text.chars().count() <= SHOWN_CHARS_MAX {
        text.to_owned()
    } else {
        text.chars()
            .take(SHOWN_CHARS_MAX)
            .chain(std::iter::once('…'))
            .collect()
    }
}

/// Whether a plain scalar is a number of the core schema.
pub(crate) fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

/// Whether a plain scalar is a boolean of the core schema.
pub(crate) fn is_bool(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}
