//! The fields of one head: offsets into the buffer, an id for the known names, and a table of what is present.

use crate::header::{HeaderId, HeaderSet};
use crate::request::FIELDS_CEILING;
use crate::span::Span;
use crate::syntax::trim_ows;

/// One field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The name as it was sent.
    pub name: Span,
    /// The value without white space at both ends.
    pub value: Span,
    /// Offset after the CRLF of this line. The line itself begins at `name.start`.
    pub line_end: u32,
    /// The id of the name.
    pub id: HeaderId,
}

/// The fields of a head in the order in which they came. Reused between heads: [`Fields::clear`] keeps the capacity.
#[derive(Debug, Clone)]
pub struct Fields {
    list: Vec<Field>,
    present: HeaderSet,
    repeated: HeaderSet,
    /// Index of the first field of each id; only meaningful where `present` has the id, so it is never cleared.
    first: [u8; 64],
}

impl Default for Fields {
    fn default() -> Fields {
        Fields {
            list: Vec::new(),
            present: HeaderSet::new(),
            repeated: HeaderSet::new(),
            first: [0; 64],
        }
    }
}

impl Fields {
    /// No fields.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Forgets all fields and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
        self.present = HeaderSet::new();
        self.repeated = HeaderSet::new();
    }

    /// Adds a field. The parser bounds their number by [`FIELDS_CEILING`].
    #[inline]
    pub(crate) fn push(&mut self, field: Field) {
        debug_assert!(self.list.len() < FIELDS_CEILING);
        if self.present.contains(field.id) {
            self.repeated = self.repeated.with(field.id);
        } else {
            self.present = self.present.with(field.id);
            if let Some(first) = self.first.get_mut(field.id as usize) {
                *first = self.list.len() as u8;
            }
        }
        self.list.push(field);
    }

    /// Makes room for `count` fields at once.
    #[inline]
    pub(crate) fn reserve(&mut self, count: usize) {
        self.list.reserve(count);
    }

    /// Adjusts the spans after `by` bytes have been inserted at the end of the value of field `index`.
    #[cold]
    pub(crate) fn grow_value(&mut self, index: usize, by: u32) {
        for (at, field) in self.list.iter_mut().enumerate().skip(index) {
            if at > index {
                field.name.start += by;
                field.name.end += by;
                field.value.start += by;
            }
            field.value.end += by;
            field.line_end += by;
        }
    }

    /// The fields in the order in which they came.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    /// How many field lines there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are no fields.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The ids that are present.
    #[inline]
    pub const fn present(&self) -> HeaderSet {
        self.present
    }

    /// Whether a field with this id is present.
    #[inline]
    pub const fn contains(&self, id: HeaderId) -> bool {
        self.present.contains(id)
    }

    /// Whether more than one field line has this id.
    #[inline]
    pub const fn is_repeated(&self, id: HeaderId) -> bool {
        self.repeated.contains(id)
    }

    /// Index of the first field line with this id, where there is one.
    #[inline]
    fn first_index(&self, id: HeaderId) -> usize {
        self.first.get(id as usize).copied().unwrap_or_default() as usize
    }

    /// The first field line with this id.
    #[inline]
    pub fn field(&self, id: HeaderId) -> Option<&Field> {
        if !self.present.contains(id) {
            return None;
        }
        self.list.get(self.first_index(id))
    }

    /// The value of the first field with this id.
    #[inline]
    pub fn first<'a>(&self, id: HeaderId, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.field(id).map(|field| field.value.of(buf))
    }

    /// The values of all fields with this id, in order.
    #[inline]
    pub fn all<'a>(&'a self, id: HeaderId, buf: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        let lines = if self.present.contains(id) {
            self.list.get(self.first_index(id)..).unwrap_or_default()
        } else {
            &[]
        };
        lines
            .iter()
            .filter(move |field| field.id == id)
            .map(move |field| field.value.of(buf))
    }

    /// The value of the first field with this name, whatever its case.
    pub fn first_named<'a>(&'a self, name: &'a [u8], buf: &'a [u8]) -> Option<&'a [u8]> {
        self.all_named(name, buf).next()
    }

    /// The values of all fields with this name, whatever its case, in order.
    pub fn all_named<'a>(
        &'a self,
        name: &'a [u8],
        buf: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> + 'a {
        let id = HeaderId::of(name);
        let known = !matches!(id, HeaderId::Other | HeaderId::LookAlike);
        let lines = if self.present.contains(id) {
            self.list.as_slice()
        } else {
            Default::default()
        };
        lines
            .iter()
            .filter(move |field| {
                field.id == id && (known || field.name.of(buf).eq_ignore_ascii_case(name))
            })
            .map(move |field| field.value.of(buf))
    }

    /// The value of the first cookie with this exact name over all Cookie fields (RFC 6265, 5.4).
    pub fn cookie<'a>(&'a self, name: &'a [u8], buf: &'a [u8]) -> Option<&'a [u8]> {
        self.cookies(name, buf).next()
    }

    /// The values of all cookies with this exact name: a client may have some of several paths or
    /// domains, and says not which is which.
    pub fn cookies<'a>(
        &'a self,
        name: &'a [u8],
        buf: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.all(HeaderId::Cookie, buf).flat_map(move |line| {
            line.split(|&b| b == b';').filter_map(move |pair| {
                let at = memchr::memchr(b'=', pair)?;
                let (key, value) = pair.split_at_checked(at)?;
                (trim_ows(key) == name).then(|| trim_ows(value.get(1..).unwrap_or_default()))
            })
        })
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests;
