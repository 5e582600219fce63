//! A table of names that others refer to.

use std::cell::Cell;
use std::collections::HashMap;

use super::Lower;
use crate::diagnostic::codes;
use crate::guess::{closest, join};
use crate::span::{Span, Spanned};

/// Names of one kind of thing, and whether each was referred to.
pub(super) struct Names<T> {
    kind: &'static str,
    by_name: HashMap<String, usize>,
    entries: Vec<Entry<T>>,
}

struct Entry<T> {
    name: Spanned<String>,
    id: T,
    used: Cell<bool>,
}

impl<T: Copy> Names<T> {
    pub fn new(kind: &'static str) -> Self {
        Names {
            kind,
            by_name: HashMap::new(),
            entries: Vec::new(),
        }
    }

    pub fn add(&mut self, name: &Spanned<String>, id: T) {
        self.by_name.insert(name.value.clone(), self.entries.len());
        self.entries.push(Entry {
            name: name.clone(),
            id,
            used: Cell::new(false),
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn find(&self, name: &str) -> Option<T> {
        let entry = self.entries.get(*self.by_name.get(name)?)?;
        entry.used.set(true);
        Some(entry.id)
    }

    /// What was never referred to: kind, name, where it is defined.
    pub fn unused(&self) -> impl Iterator<Item = (&'static str, &str, Span)> {
        let unused = self.entries.iter().filter(|entry| !entry.used.get());
        unused.map(|entry| (self.kind, entry.name.value.as_str(), entry.name.span))
    }
}

impl Lower<'_> {
    /// Looks a name up, or reports that it refers to nothing.
    pub(super) fn refer<T: Copy>(
        &mut self,
        names: fn(&Self) -> &Names<T>,
        name: &str,
        span: Span,
    ) -> Option<Spanned<T>> {
        let table = names(self);
        if let Some(id) = table.find(name) {
            return Some(Spanned::new(id, span));
        }
        let kind = table.kind;
        let known = || table.entries.iter().map(|entry| entry.name.value.as_str());
        let guess = closest(name, known()).map(str::to_owned);
        let help = match known().next() {
            Some(_) => format!("{kind}s are {}", join(known())),
            None => format!("no {kind} is defined"),
        };
        let what = format!("there is no {kind} named `{}`", crate::tree::shorten(name));
        self.report(&codes::UNKNOWN_NAME, span, what, |report| {
            report.guess(guess).help(help)
        });
        None
    }
}
