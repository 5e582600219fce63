//! The dynamic table (RFC 7541, 2.3.2 and 4).

use std::collections::VecDeque;
use std::fmt;

/// What a field counts beyond its name and value (RFC 7541, 4.1).
pub(super) const ENTRY_OVERHEAD: usize = 32;

/// No table is larger, so that places in its memory are numbers of 32 bits.
pub(super) const TABLE_BYTES_MAX: u32 = 1 << 30;

/// The steps in which memory for names and values grows.
const GROWTH_STEP: usize = 64;

/// The entries, the newest first. Memory is taken as they come: about a quarter more than their names and values.
pub(super) struct DynamicTable {
    /// Names and values, the oldest first; each entry's value follows its name.
    bytes: Vec<u8>,
    /// How many bytes at the beginning belong to entries that are gone.
    gone: usize,
    /// What [`Entry::start`] is for an entry at the beginning of `bytes`.
    base: u32,
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Where the name begins: a count of all bytes that ever were put in, which may wrap.
    start: u32,
    name_len: u32,
    value_len: u32,
}

impl Entry {
    fn len(self) -> usize {
        self.name_len as usize + self.value_len as usize
    }
}

impl DynamicTable {
    pub(super) fn new(max: u32) -> DynamicTable {
        DynamicTable {
            bytes: Vec::new(),
            gone: 0,
            base: 0,
            entries: VecDeque::new(),
            size: 0,
            max: max.min(TABLE_BYTES_MAX) as usize,
        }
    }

    /// What the table may hold, in bytes as RFC 7541, 4.1 counts them.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// What the entries have, counted alike.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The name and the value of an entry in one, and where the name ends; the newest entry is 0.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<(&[u8], usize)> {
        let entry = *self.entries.get(at)?;
        let start = entry.start.wrapping_sub(self.base) as usize;
        let joined = self.bytes.get(start..start + entry.len())?;
        Some((joined, entry.name_len as usize))
    }

    /// Changes what the table may hold, and gives back the memory that is not needed then.
    pub(super) fn set_max(&mut self, max: u32) {
        self.max = max.min(TABLE_BYTES_MAX) as usize;
        let before = self.entries.len();
        self.evict(self.max);
        if self.entries.len() < before {
            self.compact();
            self.bytes.shrink_to_fit();
            self.entries.shrink_to_fit();
        }
    }

    /// Adds an entry. One that is larger than the table only empties it (RFC 7541, 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let len = name.len().saturating_add(value.len());
        let size = len.saturating_add(ENTRY_OVERHEAD);
        self.evict(self.max.saturating_sub(size));
        if size > self.max {
            return;
        }
        self.make_room(len);
        let start = self.base.wrapping_add(self.bytes.len() as u32);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_front(Entry {
            start,
            name_len: name.len() as u32,
            value_len: value.len() as u32,
        });
        self.size += size;
    }

    /// Drops all entries and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.evict(0);
    }

    /// Turns the name of the newest entry into lower case.
    pub(super) fn lower_newest_name(&mut self) {
        if let Some(entry) = self.entries.front() {
            let start = entry.start.wrapping_sub(self.base) as usize;
            let name = self.bytes.get_mut(start..start + entry.name_len as usize);
            name.unwrap_or_default().make_ascii_lowercase();
        }
    }

    /// Drops the oldest entries until the others have no more than `size`.
    fn evict(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_back()
        {
            self.gone += entry.len();
            self.size -= entry.len() + ENTRY_OVERHEAD;
        }
    }

    /// Makes room for `len` bytes more. Memory is moved at most once in as many bytes as a quarter of what is held.
    fn make_room(&mut self, len: usize) {
        if self.bytes.capacity() - self.bytes.len() >= len {
            return;
        }
        let wanted = self.bytes.len() - self.gone + len;
        let capacity = (wanted + wanted / 4).next_multiple_of(GROWTH_STEP);
        if capacity <= self.bytes.capacity() {
            return self.compact();
        }
        let mut larger = Vec::with_capacity(capacity);
        larger.extend_from_slice(self.bytes.get(self.gone..).unwrap_or_default());
        self.bytes = larger;
        self.base = self.base.wrapping_add(self.gone as u32);
        self.gone = 0;
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.gone);
        self.base = self.base.wrapping_add(self.gone as u32);
        self.gone = 0;
    }

    /// Bytes of memory that are held.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// Sizes only: fields may be secrets.
impl fmt::Debug for DynamicTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicTable")
            .field("entries", &self.entries.len())
            .field("size", &self.size)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
