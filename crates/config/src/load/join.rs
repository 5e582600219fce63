//! Joins what several files say, key by key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Reader;
use crate::diagnostic::codes;
use crate::keys;
use crate::span::Span;
use crate::tree::{Key, Node, Value};

impl Reader<'_> {
    /// Adds one key of a file.
    pub(super) fn entry(&mut self, key: Key, value: Node) {
        if key.text == keys::INCLUDE.name {
            self.includes(&value);
            // Kept once, so that its type is checked with all others.
            if !self.at.contains_key(&key.text) {
                self.add(key, value);
            }
            return;
        }
        match self.at.get(&key.text) {
            Some(at) => self.join(*at, key, value),
            None => self.add(key, value),
        }
    }

    fn add(&mut self, key: Key, value: Node) {
        if let Entry::Vacant(slot) = self.at.entry(key.text.clone()) {
            slot.insert(self.top.len());
            self.top.push((key, value));
        }
    }

    fn includes(&mut self, value: &Node) {
        let texts = match &value.value {
            Value::Scalar { .. } => std::slice::from_ref(value),
            Value::List(items) => items.as_slice(),
            _ => &[],
        };
        for node in texts {
            if let Value::Scalar { text, .. } = &node.value {
                self.include(text, node.span);
            }
        }
    }

    /// Joins a key with what another file says of it.
    fn join(&mut self, at: usize, key: Key, value: Node) {
        let is_joined = [&keys::LISTENERS, &keys::POOLS, &keys::ACCESS_LOGS]
            .iter()
            .any(|joined| joined.name == key.text);
        let (first, existing) = &mut self.top[at];
        let first = first.span;
        match (&mut existing.value, value.value) {
            (Value::Map(entries), Value::Map(more)) if is_joined => {
                for (name, span, first) in join_maps(entries, more) {
                    self.twice(&format!("{}.{name}", key.text), span, first);
                }
            }
            (Value::List(items), Value::List(more)) if key.text == keys::ROUTES.name => {
                items.extend(more);
            }
            _ if key.text.starts_with(keys::EXTENSION_PREFIX) => {}
            _ => self.twice(&key.text, key.span, first),
        }
    }

    fn twice(&mut self, what: &str, span: Span, first: Span) {
        let what = format!("`{what}` is set in two files");
        let report = self.report(&codes::SET_IN_TWO_FILES, Some(span), what);
        let report = report.related(&self.sources, first, "the other place");
        self.found.push(report.help("keep it in one of the files"));
    }
}

/// Adds entries to a map; gives the names that were there already, with both places.
fn join_maps(entries: &mut Vec<(Key, Node)>, more: Vec<(Key, Node)>) -> Vec<(String, Span, Span)> {
    let known = entries.iter().map(|(key, _)| (key.text.clone(), key.span));
    let mut seen: HashMap<String, Span> = known.collect();
    let mut twice = Vec::new();
    for (name, value) in more {
        match seen.insert(name.text.clone(), name.span) {
            Some(first) => twice.push((name.text, name.span, first)),
            None => entries.push((name, value)),
        }
    }
    twice
}
