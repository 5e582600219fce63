//! The typed values of one section, taken out by the key's definition.

use std::time::Duration;

use super::{Data, Item, Text};
use crate::keys::{Key, Table};
use crate::span::{Span, Spanned};
use crate::words::Word;

/// The values of a section, by position in its table.
#[derive(Debug)]
pub(crate) struct Fields {
    table: &'static Table,
    span: Span,
    items: Vec<Option<Item>>,
    set: Vec<bool>,
}

impl Fields {
    pub fn empty(table: &'static Table, span: Span) -> Fields {
        let count = table.keys.len();
        let items = std::iter::repeat_with(|| None).take(count).collect();
        Fields {
            table,
            span,
            items,
            set: vec![false; count],
        }
    }

    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// Where the section stands.
    pub fn span(&self) -> Span {
        self.span
    }

    pub(super) fn put(&mut self, at: usize, item: Item, set: bool) {
        if let (Some(slot), Some(flag)) = (self.items.get_mut(at), self.set.get_mut(at)) {
            *slot = Some(item);
            *flag = set;
        }
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.items.get(at).is_some_and(Option::is_some)
    }

    fn at(&self, key: &Key) -> Option<usize> {
        let at = self.table.position(key);
        debug_assert!(
            at.is_some(),
            "`{}` is not a key of {}",
            key.name,
            self.table.id
        );
        at
    }

    /// Whether the file sets the key, rather than its default.
    pub fn is_set(&self, key: &Key) -> bool {
        self.at(key)
            .and_then(|at| self.set.get(at))
            .copied()
            .unwrap_or(false)
    }

    /// Where the key's value stands; the section when it is not set.
    pub fn span_of(&self, key: &Key) -> Span {
        let item = self
            .at(key)
            .and_then(|at| self.items.get(at))
            .and_then(Option::as_ref);
        item.map_or(self.span, |item| item.span)
    }

    /// Looks at the value, without taking it.
    pub fn peek(&self, key: &Key) -> Option<&Data> {
        let item = self.items.get(self.at(key)?)?.as_ref()?;
        Some(&item.data)
    }

    /// Takes the value. `None` when it is absent without a default, or was reported as wrong.
    pub fn item(&mut self, key: &Key) -> Option<Item> {
        let at = self.at(key)?;
        let item = self.items.get_mut(at)?.take()?;
        if matches!(item.data, Data::Bad) {
            None
        } else {
            Some(item)
        }
    }

    /// Takes the value as a type.
    pub fn get<T: FromItem>(&mut self, key: &Key) -> Option<T> {
        self.item(key).and_then(T::from_item)
    }

    /// Takes the value of a key that has a default or must be set. What stands in for a value that was
    /// reported as wrong is never seen: such a configuration is refused.
    pub fn value<T: FromItem + Default>(&mut self, key: &Key) -> T {
        self.get(key).unwrap_or_default()
    }

    /// As [`Fields::value`], for a word.
    pub fn word<T: Word>(&mut self, key: &Key) -> T {
        self.item(key).and_then(word_of).unwrap_or(T::ALL[0])
    }

    /// Takes the items of a list.
    pub fn items(&mut self, key: &Key) -> Vec<Item> {
        self.item(key).map(items_of).unwrap_or_default()
    }

    /// Takes the entries of a map.
    pub fn entries(&mut self, key: &Key) -> Vec<(Spanned<String>, Item)> {
        match self.item(key).map(|item| item.data) {
            Some(Data::Entries(entries)) => entries,
            _ => Vec::new(),
        }
    }

    /// Takes a section.
    pub fn section(&mut self, key: &Key) -> Option<Fields> {
        match self.item(key)?.data {
            Data::Fields(fields) => Some(fields),
            _ => None,
        }
    }
}

/// The word of an item.
pub(crate) fn word_of<T: Word>(item: Item) -> Option<T> {
    match item.data {
        Data::Word(at) => T::ALL.get(at).copied(),
        _ => None,
    }
}

/// The items of a list.
pub(crate) fn items_of(item: Item) -> Vec<Item> {
    match item.data {
        Data::Items(items) => items,
        _ => Vec::new(),
    }
}

/// A type that a value can be taken as.
pub(crate) trait FromItem: Sized {
    fn from_item(item: Item) -> Option<Self>;
}

impl FromItem for bool {
    fn from_item(item: Item) -> Option<Self> {
        match item.data {
            Data::Bool(value) => Some(value),
            _ => None,
        }
    }
}

impl FromItem for f64 {
    fn from_item(item: Item) -> Option<Self> {
        match item.data {
            Data::Number(value) => Some(value),
            _ => None,
        }
    }
}

impl FromItem for Duration {
    fn from_item(item: Item) -> Option<Self> {
        match item.data {
            Data::Time(value) => Some(value),
            _ => None,
        }
    }
}

impl FromItem for u64 {
    fn from_item(item: Item) -> Option<Self> {
        match item.data {
            Data::Size(value) => Some(value),
            Data::Int(value) => value.try_into().ok(),
            _ => None,
        }
    }
}

impl FromItem for u32 {
    fn from_item(item: Item) -> Option<Self> {
        match item.data {
            Data::Int(value) => value.try_into().ok(),
            _ => None,
        }
    }
}

impl FromItem for u16 {
    fn from_item(item: Item) -> Option<Self> {
        match item.data {
            Data::Int(value) => value.try_into().ok(),
            _ => None,
        }
    }
}

impl FromItem for Spanned<Text> {
    fn from_item(item: Item) -> Option<Self> {
        match item.data {
            Data::Text(text) => Some(Spanned::new(text, item.span)),
            _ => None,
        }
    }
}

impl FromItem for Spanned<String> {
    fn from_item(item: Item) -> Option<Self> {
        Spanned::<Text>::from_item(item).map(|text| text.map(|text| text.text))
    }
}

impl FromItem for String {
    fn from_item(item: Item) -> Option<Self> {
        Spanned::<String>::from_item(item).map(|text| text.value)
    }
}
