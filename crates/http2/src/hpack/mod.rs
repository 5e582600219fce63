//! HPACK (RFC 7541): header blocks from and to lists of fields.

mod decoder;
mod encoder;

pub use decoder::{DecodeError, Decoder};
pub use encoder::Encoder;
