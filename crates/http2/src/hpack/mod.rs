//! HPACK (RFC 7541): header blocks from and to lists of fields.

mod decoder;
mod encoder;
mod fixed;
mod hash;
mod huffman;
mod table;

pub use decoder::{DecodeError, Decoder};
pub use encoder::Encoder;

/// What a dynamic table may hold when nothing else was said (RFC 9113, 6.5.2).
const DEFAULT_TABLE_BYTES: u32 = 4096;

#[cfg(test)]
mod tests;
