//! The style of a list, and entries written in it.

use super::NewEntry;
use crate::span::Span;
use crate::tree::{Node, Value};

/// How a list stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With dashes, in this column (from 0).
    Block {
        /// Of the dash.
        column: usize,
    },
    /// `[…]` on one line.
    Line,
    /// `[…]` over several lines.
    Lines,
}

/// How a list and its entries are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub form: Form,
    /// Keys have quotes, as in JSON.
    quoted_keys: bool,
    /// Around texts; `None` = none where it can be so.
    quote: Option<char>,
    /// Entries with several keys are block maps.
    block_maps: bool,
}

impl Style {
    pub fn of(text: &str, key: Span, list: &Node, items: &[Node]) -> Style {
        let at = |node: &Node| {
            text.get(node.span.start.offset as usize..)
                .unwrap_or_default()
        };
        let of_list = text.get(list.span.start.offset as usize..list.span.end.offset as usize);
        let is_flow = at(list).starts_with('[');
        let quoted_keys = text
            .get(key.start.offset as usize..)
            .is_some_and(|key| key.starts_with('"'));
        let form = match is_flow {
            true if of_list.unwrap_or_default().contains('\n') => Form::Lines,
            true => Form::Line,
            false => Form::Block {
                column: column_of_dash(text, items),
            },
        };
        let address = items.first().map(|item| match &item.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.text == "address")
                .map_or(item, |(_, value)| value),
            _ => item,
        });
        let quote = address
            .and_then(|node| at(node).chars().next())
            .filter(|c| matches!(c, '"' | '\''));
        let is_block_map =
            |item: &Node| matches!(item.value, Value::Map(_)) && !at(item).starts_with('{');
        Style {
            form,
            quoted_keys,
            quote: if quoted_keys { Some('"') } else { quote },
            block_maps: !is_flow && items.iter().any(is_block_map),
        }
    }

    pub fn key(&self, name: &str) -> String {
        match self.quoted_keys {
            true => format!("\"{name}\""),
            false => name.to_owned(),
        }
    }

    /// A text that is an address or the name of a server: no escapes are needed.
    fn text(&self, text: &str) -> String {
        let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.contains(|c: char| c.is_ascii_alphabetic() || c == ':')
            && !crate::tree::is_number(text)
            && !crate::tree::is_bool(text)
            && !matches!(text, "null" | "Null" | "NULL")
            && !text.ends_with(':')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
        match self.quote {
            None if plain => text.to_owned(),
            quote => {
                let quote = quote.unwrap_or('"');
                format!("{quote}{text}{quote}")
            }
        }
    }

    /// `a: 1, b: 2`.
    pub fn pairs(&self, pairs: &[(&str, String)]) -> String {
        let pairs = pairs
            .iter()
            .map(|(name, value)| format!("{}: {value}", self.key(name)));
        pairs.collect::<Vec<_>>().join(", ")
    }

    pub fn flow_map(&self, pairs: &[(&str, String)]) -> String {
        format!("{{ {} }}", self.pairs(pairs))
    }

    /// A new entry; `next` is what stands before each further line of it.
    pub fn entry(&self, new: &NewEntry, next: &str) -> String {
        let mut pairs = vec![("address", self.text(&new.address.to_string()))];
        if let Some(name) = &new.name {
            pairs.push(("name", self.text(name)));
        }
        if new.weight != 1 {
            pairs.push(("weight", new.weight.to_string()));
        }
        if new.tier != 0 {
            pairs.push(("tier", new.tier.to_string()));
        }
        if new.max_connections != 0 {
            pairs.push(("max_connections", new.max_connections.to_string()));
        }
        if new.down {
            pairs.push(("down", "true".to_owned()));
        }
        match pairs.as_slice() {
            [(_, address)] if !self.block_maps => address.clone(),
            pairs if self.block_maps => {
                let lines = pairs
                    .iter()
                    .map(|(name, value)| format!("{}: {value}", self.key(name)));
                lines.collect::<Vec<_>>().join(next)
            }
            pairs => self.flow_map(pairs),
        }
    }
}

/// Where a value ends. The parser counts blanks and comments behind some values to them.
pub(super) fn end(text: &str, node: &Node) -> usize {
    let (start, end) = (
        node.span.start.offset as usize,
        node.span.end.offset as usize,
    );
    let written = text.get(start..end).unwrap_or_default();
    let inside = |it: &&Node| (start..end).contains(&(it.span.start.offset as usize));
    let last = match &node.value {
        Value::Map(entries) => entries.iter().map(|(_, it)| it).rfind(inside),
        Value::List(items) => items.iter().rfind(inside),
        Value::Null | Value::Scalar { .. } => None,
    };
    let last = last.map(|last| self::end(text, last));
    match (last, written.chars().next()) {
        (_, Some('{' | '[')) => closed(text, last.unwrap_or(start + 1)).unwrap_or(end),
        (Some(last), _) => last,
        (None, Some(quote @ ('"' | '\''))) => start + quoted(written, quote),
        (None, _) => start + written.trim_end().len(),
    }
}

/// Where the bracket stands that closes a list or map whose last value ends here.
fn closed(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = text.get(at..)?;
        match rest.chars().next()? {
            '}' | ']' => return Some(at + 1),
            '#' => at += rest.find('\n')?,
            c if c == ',' || c.is_whitespace() => at += c.len_utf8(),
            _ => return None,
        }
    }
}

/// Length of a quoted text with its quotes.
fn quoted(written: &str, quote: char) -> usize {
    let mut rest = written.char_indices().skip(1).peekable();
    while let Some((at, c)) = rest.next() {
        let escapes = match quote {
            '"' => c == '\\',
            _ => c == '\'' && rest.peek().is_some_and(|(_, next)| *next == '\''),
        };
        if escapes {
            rest.next();
        } else if c == quote {
            return at + 1;
        }
    }
    written.len()
}

fn column_of_dash(text: &str, items: &[Node]) -> usize {
    let before = items
        .last()
        .and_then(|item| text.get(..item.span.start.offset as usize))
        .unwrap_or_default()
        .trim_end();
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    before.len().saturating_sub(line + 1)
}
