//! From header blocks to fields.

use thiserror::Error;

use crate::FieldList;

/// A block that nobody can read (RFC 9113, 4.3): the connection ends with COMPRESSION_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a header block cannot be read")]
pub struct DecodeError;

/// The decoding end of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// A decoder whose dynamic table has at most `table_bytes_max`, which is what SETTINGS_HEADER_TABLE_SIZE announced.
    pub fn new(table_bytes_max: u32) -> Decoder {
        let _ = table_bytes_max;
        Decoder {}
    }

    /// Bytes of memory that are held.
    pub fn held_bytes(&self) -> usize {
        0
    }

    /// Decodes a whole block and appends its fields to `out`, which takes no more than `list_bytes_max` of them (see
    /// [`FieldList::push`]); the table is kept up in any case.
    pub fn decode(
        &mut self,
        block: &[u8],
        list_bytes_max: usize,
        out: &mut FieldList,
    ) -> Result<(), DecodeError> {
        let _ = (block, list_bytes_max, out);
        Err(DecodeError)
    }
}
