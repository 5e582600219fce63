//! The static table (RFC 7541, appendix A) and the dynamic one, as lengths.

use std::collections::VecDeque;

use super::Broken;

/// What SETTINGS_HEADER_TABLE_SIZE is when it is not sent, as by us.
const SIZE_MAX: u32 = 4096;
/// What an entry costs beyond its name and value (RFC 7541, 4.1).
const ENTRY_OVERHEAD: u32 = 32;

/// Lengths of the names of the static table.
const NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, // the last pseudo-header field is 14
    14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17,
    13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];
const LAST_PSEUDO: usize = 14;

/// A field by its lengths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name_len: u32,
    pub(super) value_len: u32,
    pub(super) pseudo: bool,
}

impl Entry {
    fn size(&self) -> u32 {
        let text = self.name_len.saturating_add(self.value_len);
        text.saturating_add(ENTRY_OVERHEAD)
    }
}

/// The entry of an index of either table. Values of the static table are not known here, and not needed.
pub(super) fn entry_of(table: &Dynamic, index: u32) -> Option<Entry> {
    let at = (index as usize).checked_sub(1)?;
    match NAMES.get(at) {
        Some(&name_len) => Some(Entry {
            name_len: u32::from(name_len),
            value_len: 0,
            pseudo: at < LAST_PSEUDO,
        }),
        None => table.get(at - NAMES.len()),
    }
}

/// An entry in four bytes: an entry that fits is no longer than the table.
#[derive(Debug, Clone, Copy)]
struct Packed {
    name_len: u16,
    size: u16,
}

const PSEUDO: u16 = 0x8000;

/// The dynamic table.
#[derive(Debug, Clone)]
pub(super) struct Dynamic {
    /// The newest first.
    entries: VecDeque<Packed>,
    size: u32,
    max: u32,
}

impl Dynamic {
    pub(super) fn new() -> Dynamic {
        Dynamic {
            entries: VecDeque::new(),
            size: 0,
            max: SIZE_MAX,
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    fn get(&self, at: usize) -> Option<Entry> {
        self.entries.get(at).map(|it| Entry {
            name_len: u32::from(it.name_len & !PSEUDO),
            value_len: 0,
            pseudo: it.name_len & PSEUDO != 0,
        })
    }

    fn shrink(&mut self, room: u32) {
        while self.size > room {
            let Some(gone) = self.entries.pop_back() else {
                return;
            };
            self.size -= u32::from(gone.size);
        }
    }

    /// The peer sets how much it uses.
    pub(super) fn resize(&mut self, max: u32) -> Result<(), Broken> {
        if max > SIZE_MAX {
            return Err(Broken);
        }
        self.max = max;
        self.shrink(max);
        Ok(())
    }

    /// Puts a field in front. One that is longer than the table empties it.
    pub(super) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.shrink(self.max.saturating_sub(size));
        if size <= self.max {
            let pseudo = if entry.pseudo { PSEUDO } else { 0 };
            self.entries.push_front(Packed {
                name_len: entry.name_len as u16 | pseudo,
                size: size as u16,
            });
            self.size += size;
        }
    }
}
