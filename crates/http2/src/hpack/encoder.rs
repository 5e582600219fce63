//! From fields to header blocks.

use std::collections::VecDeque;

use super::fixed::{self, Indexing};
use super::hash::{NameHash, same_name};
use super::table::{DynamicTable, ENTRY_OVERHEAD};
use super::{DEFAULT_TABLE_BYTES, huffman};

/// A cookie shorter than this could be guessed by trying what is in the table (RFC 7541, 7.1.3).
const COOKIE_BYTES_MIN: usize = 20;

/// Shorter strings are not worth the time that the Huffman code takes.
const CODED_BYTES_MIN: usize = 32;

/// Number of fields that are remembered, of those that were in no table.
const SEEN: usize = 64;

/// In the tag of a name that is not in the static table.
const TAG_UNKNOWN: u16 = 0x8000;

// The forms of RFC 7541, 6.1 to 6.3: the bits before the prefix, and what the prefix leaves.
const INDEXED: (u8, u8) = (0x80, 0x7f);
const INSERTED: (u8, u8) = (0x40, 0x3f);
const PLAIN: (u8, u8) = (0x00, 0x0f);
const NEVER_INDEXED: (u8, u8) = (0x10, 0x0f);
const RESIZED: (u8, u8) = (0x20, 0x1f);

/// The encoding end of one direction of a connection.
///
/// A field goes into the dynamic table when it comes for the second time in a short while, so that fields which
/// change with each message do not push out those that stay.
#[derive(Debug)]
pub struct Encoder {
    table: DynamicTable,
    /// For each entry of the table, the newest first: tags of its name and of all of it. The name's is its index in
    /// the static table, or a hash and [`TAG_UNKNOWN`].
    tags: VecDeque<(u16, u16)>,
    table_bytes_max: u32,
    /// The smallest that the table was since the last block, if it changed.
    smallest: Option<u32>,
    /// Tags of fields, and of names that were in no table, which came lately.
    seen: [u16; SEEN],
    /// Which of them is the oldest.
    seen_next: usize,
}

impl Encoder {
    /// An encoder whose dynamic table never has more than `table_bytes_max` nor 4096 bytes, whatever the peer allows.
    pub fn new(table_bytes_max: u32) -> Encoder {
        let max = table_bytes_max.min(DEFAULT_TABLE_BYTES);
        Encoder {
            table: DynamicTable::new(max),
            tags: VecDeque::new(),
            table_bytes_max: max,
            smallest: (max < DEFAULT_TABLE_BYTES).then_some(max),
            seen: [0; SEEN],
            seen_next: 0,
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. What changes is told in the next block.
    pub fn set_peer_max(&mut self, table_bytes_max: u32) {
        let max = table_bytes_max.min(self.table_bytes_max);
        if max as usize == self.table.max() {
            return;
        }
        self.smallest = Some(self.smallest.map_or(max, |smallest| smallest.min(max)));
        self.table.set_max(max);
        self.tags.truncate(self.table.len());
        self.tags.shrink_to_fit();
    }

    /// Begins a block: writes the changes of the table's size, when there are any, to `out`.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(smallest) = self.smallest.take() else {
            return;
        };
        // Both, as the peer's table has lost what the smaller one did not hold (RFC 7541, 4.2).
        if (smallest as usize) < self.table.max() {
            write_integer(RESIZED, smallest as usize, out);
        }
        write_integer(RESIZED, self.table.max(), out);
    }

    /// Appends a field to the block in `out`. The name may be in any case, and is written in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let hash = NameHash::of(name);
        let Some(known) = fixed::find(name, hash) else {
            if is_secret(name) {
                return write_literal(NEVER_INDEXED, 0, name, value, out);
            }
            return self.insertable(0, name, hash, value, out);
        };
        if let Some(index) = known.whole(value) {
            return write_integer(INDEXED, index, out);
        }
        let index = usize::from(known.index);
        let form = match known.indexing {
            Indexing::Changing => PLAIN,
            Indexing::Secret => NEVER_INDEXED,
            Indexing::SecretWhenShort if value.len() < COOKIE_BYTES_MIN => NEVER_INDEXED,
            Indexing::Taken | Indexing::SecretWhenShort => {
                return self.insertable(index, name, hash, value, out);
            }
        };
        write_literal(form, index, name, value, out);
    }

    /// Bytes of memory that are held.
    pub fn held_bytes(&self) -> usize {
        self.table.held_bytes() + self.tags.capacity() * size_of::<(u16, u16)>()
    }

    /// A field that may be in the dynamic table, or go there. `known` is the name's index in the static table, or 0.
    #[inline]
    fn insertable(
        &mut self,
        known: usize,
        name: &[u8],
        hash: NameHash,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        let size = name
            .len()
            .saturating_add(value.len())
            .saturating_add(ENTRY_OVERHEAD);
        // What would push out most of the others is better sent each time.
        if size > self.table.max() / 4 * 3 {
            return write_literal(PLAIN, known, name, value, out);
        }
        let name_tag = match known {
            0 => hash.tag() | TAG_UNKNOWN,
            known => known as u16,
        };
        let tags = (name_tag, hash.field_tag(value));
        let index = match self.find(known, name, value, tags) {
            Found::Whole(index) => return write_integer(INDEXED, index, out),
            Found::Name(index) => index,
            Found::Nothing => 0,
        };
        // A name that comes again is worth an entry even if its value never does.
        let again = self.saw(tags.1) | (index == 0 && self.saw(tags.0));
        if !again {
            return write_literal(PLAIN, index, name, value, out);
        }
        write_literal(INSERTED, index, name, value, out);
        self.table.insert(name, value);
        self.table.lower_newest_name();
        self.tags.push_front(tags);
        self.tags.truncate(self.table.len());
    }

    /// Looks a field up in the dynamic table, or its name, when it is not `known`.
    #[inline]
    fn find(&self, known: usize, name: &[u8], value: &[u8], tags: (u16, u16)) -> Found {
        let mut found = match known {
            0 => Found::Nothing,
            known => Found::Name(known),
        };
        for (at, its_tags) in self.tags.iter().enumerate() {
            if its_tags.0 != tags.0 || (known != 0 && its_tags.1 != tags.1) {
                continue;
            }
            let Some((joined, name_len)) = self.table.get(at) else {
                break;
            };
            let (its_name, its_value) = joined.split_at_checked(name_len).unwrap_or_default();
            if known == 0 && !same_name(its_name, name) {
                continue;
            }
            let index = fixed::LEN + 1 + at;
            if its_value == value {
                return Found::Whole(index);
            }
            if matches!(found, Found::Nothing) {
                found = Found::Name(index);
            }
        }
        found
    }

    /// Whether `tag` came lately; it did now.
    #[inline]
    fn saw(&mut self, tag: u16) -> bool {
        // All of them are compared, as that is done many at a time.
        let seen = self
            .seen
            .iter()
            .fold(false, |seen, its| seen | (*its == tag));
        if !seen && let Some(oldest) = self.seen.get_mut(self.seen_next) {
            *oldest = tag;
            self.seen_next = (self.seen_next + 1) % SEEN;
        }
        seen
    }
}

/// Whether a name that the static table does not have is one of a secret, as it ends: `x-api-key`, `x-csrf-token`. On a
/// connection that clients share, the length of a block must not tell one what another's is (RFC 7541, 7.1).
fn is_secret(name: &[u8]) -> bool {
    const ENDS: [&[u8]; 5] = [b"token", b"key", b"secret", b"password", b"assertion"];
    ENDS.iter().any(|end| {
        let own = name
            .len()
            .checked_sub(end.len())
            .and_then(|at| name.get(at..));
        own.is_some_and(|own| own.eq_ignore_ascii_case(end))
    })
}

/// What the tables have of a field: an index.
enum Found {
    Whole(usize),
    Name(usize),
    Nothing,
}

/// Writes an integer (RFC 7541, 5.1) after the bits of `form`.
#[inline]
fn write_integer((bits, mask): (u8, u8), value: usize, out: &mut Vec<u8>) {
    if value < usize::from(mask) {
        return out.push(bits | value as u8);
    }
    out.push(bits | mask);
    let mut left = value - usize::from(mask);
    while left >= 0x80 {
        out.push(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Writes a literal field, its name as `index` unless that is 0.
#[inline]
fn write_literal(form: (u8, u8), index: usize, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    write_integer(form, index, out);
    if index == 0 {
        write_name(name, out);
    }
    write_string(value, out);
}

fn write_name(name: &[u8], out: &mut Vec<u8>) {
    write_integer((0, 0x7f), name.len(), out);
    let start = out.len();
    out.extend_from_slice(name);
    out.get_mut(start..)
        .unwrap_or_default()
        .make_ascii_lowercase();
}

/// Writes a string, in the Huffman code if that is shorter and the string not very short (RFC 7541, 5.2).
#[inline]
fn write_string(text: &[u8], out: &mut Vec<u8>) {
    if text.len() >= CODED_BYTES_MIN {
        let coded = huffman::coded_len(text);
        if coded < text.len() {
            write_integer((0x80, 0x7f), coded, out);
            return huffman::encode(text, out);
        }
    }
    write_integer((0, 0x7f), text.len(), out);
    out.extend_from_slice(text);
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
