//! From header blocks to fields.

use thiserror::Error;

use super::table::{DynamicTable, ENTRY_OVERHEAD};
use super::{DEFAULT_TABLE_BYTES, fixed, huffman};
use crate::FieldList;

/// A block that nobody can read (RFC 9113, 4.3): the connection ends with COMPRESSION_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a header block cannot be read")]
pub struct DecodeError;

/// The most octets of an integer after its prefix: enough for all of 32 bits, and zeroes to spare.
const INTEGER_OCTETS_MAX: u32 = 5;

/// The decoding end of one direction of a connection.
///
/// Whether names and values are sound is not looked at. Nothing in a block makes it take more memory than the table
/// and the list may have, and a list that is over its limit is not copied any more.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    table_bytes_max: u32,
}

impl Decoder {
    /// A decoder whose dynamic table has at most `table_bytes_max`, which is what SETTINGS_HEADER_TABLE_SIZE announced
    /// and at most 2^30. The table begins with 4096 bytes, as the peer's does before it reads our SETTINGS (RFC 9113,
    /// 6.5.2), and changes when the peer says so.
    pub fn new(table_bytes_max: u32) -> Decoder {
        Decoder {
            table: DynamicTable::new(DEFAULT_TABLE_BYTES),
            table_bytes_max,
        }
    }

    /// Decodes a whole block and appends its fields to `out`, which takes no more than `list_bytes_max` of them (see
    /// [`FieldList::push`]); the table is kept up in any case.
    pub fn decode(
        &mut self,
        block: &[u8],
        list_bytes_max: usize,
        out: &mut FieldList,
    ) -> Result<(), DecodeError> {
        let mut block = Block(block);
        let mut resizable = true;
        while let Some(first) = block.octet() {
            if first & 0x80 != 0 {
                let index = block.integer(first, 0x7f)?;
                let (joined, name_len) = self.indexed(index)?;
                out.push_joined(joined, name_len, list_bytes_max);
            } else if first & 0x40 != 0 {
                let name = block.name(first, 0x3f)?;
                self.literal(&name, &block.string()?, true, list_bytes_max, out)?;
            } else if first & 0x20 == 0 {
                // Without indexing and never indexed: the same to us, as the encoder knows the names that are secret.
                let name = block.name(first, 0x0f)?;
                self.literal(&name, &block.string()?, false, list_bytes_max, out)?;
            } else {
                let max = block.integer(first, 0x1f)?;
                if !resizable || max > self.table_bytes_max as usize {
                    return Err(DecodeError);
                }
                self.table.set_max(max as u32);
                continue;
            }
            resizable = false;
        }
        Ok(())
    }

    /// Bytes of memory that are held.
    pub fn held_bytes(&self) -> usize {
        self.table.held_bytes()
    }

    /// The name and the value of `index` in one, and where the name ends.
    #[inline]
    fn indexed(&self, index: usize) -> Result<(&[u8], usize), DecodeError> {
        match fixed::get(index) {
            Some(fixed) => Ok(fixed.joined()),
            // Index 0 wraps to far beyond the table.
            None => self
                .table
                .get(index.wrapping_sub(fixed::LEN + 1))
                .ok_or(DecodeError),
        }
    }

    /// Appends a field to `out`'s memory, beyond its list. It stays there if the list takes it, and is copied to the
    /// table if it is to be `inserted`; when neither has room for it, it is not written at all.
    fn literal(
        &mut self,
        name: &Name<'_>,
        value: &Text<'_>,
        inserted: bool,
        list_bytes_max: usize,
        out: &mut FieldList,
    ) -> Result<(), DecodeError> {
        let mut room = out.room(list_bytes_max);
        if inserted {
            room = room.max(self.table.max().saturating_sub(ENTRY_OVERHEAD));
        }
        let tail = out.tail();
        let start = tail.len();
        let name_len = match name {
            Name::Literal(text) => text.append(tail, room)?,
            Name::Index(index) => {
                let (joined, name_len) = self.indexed(*index)?;
                let octets = joined.get(..name_len).unwrap_or_default();
                Text::plain(octets).append(tail, room)?
            }
        };
        let value_len = value.append(tail, room.saturating_sub(name_len))?;
        if inserted {
            let written = tail.get(start..).unwrap_or_default();
            match written.split_at_checked(name_len) {
                Some((name, value)) if value.len() == value_len => self.table.insert(name, value),
                _ => self.table.clear(),
            }
        }
        out.settle(start, name_len, value_len, list_bytes_max);
        Ok(())
    }
}

/// What is left of a block.
struct Block<'a>(&'a [u8]);

impl<'a> Block<'a> {
    #[inline]
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An integer whose prefix is what `mask` leaves of `first` (RFC 7541, 5.1).
    #[inline]
    fn integer(&mut self, first: u8, mask: u8) -> Result<usize, DecodeError> {
        if first & mask < mask {
            return Ok(usize::from(first & mask));
        }
        self.long_integer(mask)
    }

    fn long_integer(&mut self, mask: u8) -> Result<usize, DecodeError> {
        let mut value = u64::from(mask);
        for nth in 0..INTEGER_OCTETS_MAX {
            let octet = self.octet().ok_or(DecodeError)?;
            value += u64::from(octet & 0x7f) << (7 * nth);
            if octet & 0x80 == 0 {
                let value = u32::try_from(value).map_err(|_| DecodeError)?;
                return usize::try_from(value).map_err(|_| DecodeError);
            }
        }
        Err(DecodeError)
    }

    #[inline]
    fn name(&mut self, first: u8, mask: u8) -> Result<Name<'a>, DecodeError> {
        match self.integer(first, mask)? {
            0 => self.string().map(Name::Literal),
            index => Ok(Name::Index(index)),
        }
    }

    #[inline]
    fn string(&mut self) -> Result<Text<'a>, DecodeError> {
        let first = self.octet().ok_or(DecodeError)?;
        let len = self.integer(first, 0x7f)?;
        let (octets, rest) = self.0.split_at_checked(len).ok_or(DecodeError)?;
        self.0 = rest;
        Ok(Text {
            octets,
            coded: first & 0x80 != 0,
        })
    }
}

/// The name of a literal field.
enum Name<'a> {
    Index(usize),
    Literal(Text<'a>),
}

/// A string of a block (RFC 7541, 5.2).
struct Text<'a> {
    octets: &'a [u8],
    /// Whether it is in the Huffman code.
    coded: bool,
}

impl<'a> Text<'a> {
    fn plain(octets: &'a [u8]) -> Text<'a> {
        Text {
            octets,
            coded: false,
        }
    }

    /// Appends the string to `out` if it has no more octets than there is `room`, and returns how many it has.
    #[inline]
    fn append(&self, out: &mut Vec<u8>, room: usize) -> Result<usize, DecodeError> {
        if self.coded {
            return self.append_coded(out, room);
        }
        if self.octets.len() <= room {
            out.extend_from_slice(self.octets);
        }
        Ok(self.octets.len())
    }

    fn append_coded(&self, out: &mut Vec<u8>, room: usize) -> Result<usize, DecodeError> {
        let start = out.len();
        let most = huffman::decoded_len_max(self.octets.len()).min(room);
        // One more, as the decoder writes two octets at a time.
        out.resize(start + most + 1, 0);
        let len = huffman::decode(self.octets, out.get_mut(start..).unwrap_or_default());
        let written = len.filter(|len| *len <= room).unwrap_or(0);
        out.truncate(start + written);
        len.ok_or(DecodeError)
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
