//! The bridge between gRPC-Web and gRPC: bodies, piece by piece.
//!
//! In binary form the request's body is the same in both. In text form it is base64, and each piece that the sender
//! wrote may have padding of its own, so padding may stand in the middle. An answer ends with its trailers as a frame.

use super::{GrpcFault, Kind};
use crate::base64;
use crate::syntax::trim_ows;

/// Flag of the frame that has the trailers.
const TRAILERS_FLAG: u8 = 0x80;

/// Turns the body of a gRPC-Web request into one of gRPC. Holds at most three bytes.
#[derive(Debug, Clone)]
pub struct RequestDecoder {
    text: bool,
    /// The bits of the characters so far of four that belong together.
    bits: u32,
    count: u8,
    padding: u8,
}

impl RequestDecoder {
    /// A decoder for a body of this kind; all but [`Kind::WebText`] pass as they are.
    pub fn new(kind: Kind) -> RequestDecoder {
        RequestDecoder {
            text: kind == Kind::WebText,
            bits: 0,
            count: 0,
            padding: 0,
        }
    }

    /// Appends what `input` stands for. The alphabet is that of RFC 4648, section 4, with padding; white space is a
    /// fault. After a fault the body is lost.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), GrpcFault> {
        if !self.text {
            out.extend_from_slice(input);
            return Ok(());
        }
        out.reserve(input.len() / 4 * 3 + 3);
        for &byte in input {
            let value = match byte {
                b'=' if self.count >= 2 => {
                    self.padding += 1;
                    0
                }
                b'=' => return Err(GrpcFault::Base64Padding),
                _ if self.padding > 0 => return Err(GrpcFault::Base64Padding),
                _ => sextet(byte).ok_or(GrpcFault::Base64Byte)?,
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 1;
            if self.count == 4 {
                self.take(out)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, out: &mut Vec<u8>) -> Result<(), GrpcFault> {
        let [_, a, b, c] = self.bits.to_be_bytes();
        let unused = match self.padding {
            0 => {
                out.extend_from_slice(&[a, b, c]);
                0
            }
            1 => {
                out.extend_from_slice(&[a, b]);
                c
            }
            _ => {
                out.push(a);
                b
            }
        };
        (self.bits, self.count, self.padding) = (0, 0, 0);
        if unused == 0 {
            Ok(())
        } else {
            Err(GrpcFault::Base64Padding)
        }
    }

    /// To be called at the end of the body: a fault when it ends within a group of four characters.
    pub fn finish(&self) -> Result<(), GrpcFault> {
        if self.count == 0 {
            Ok(())
        } else {
            Err(GrpcFault::Base64Cut)
        }
    }
}

/// The six bits of a character of base64.
#[inline]
const fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Turns the body and trailers of a gRPC answer into a body of gRPC-Web. Holds nothing back: in text form each piece
/// is base64 with padding of its own, so that a message is never waited for.
#[derive(Debug, Clone)]
pub struct AnswerEncoder {
    text: bool,
    /// The trailers' frame before base64.
    frame: Vec<u8>,
}

impl AnswerEncoder {
    /// An encoder for a client of this kind; only [`Kind::WebText`] is base64.
    pub fn new(kind: Kind) -> AnswerEncoder {
        AnswerEncoder {
            text: kind == Kind::WebText,
            frame: Vec::new(),
        }
    }

    /// Appends a piece of the body. Larger pieces cost less padding.
    pub fn data(&self, input: &[u8], out: &mut Vec<u8>) {
        if self.text {
            base64::encode(input, out);
        } else {
            out.extend_from_slice(input);
        }
    }

    /// Appends the last frame: flag 0x80, four bytes of length, and the trailers as `name: value` lines with CRLF, the
    /// names in lower case. For trailers that have passed [`crate::trailer_lines`] or [`crate::ChunkedDecoder`], which
    /// also bound them.
    pub fn trailers<'f>(
        &mut self,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        out: &mut Vec<u8>,
    ) {
        self.frame.clear();
        self.frame.extend_from_slice(&[TRAILERS_FLAG, 0, 0, 0, 0]);
        for (name, value) in fields {
            self.frame.extend(name.iter().map(u8::to_ascii_lowercase));
            self.frame.extend_from_slice(b": ");
            self.frame.extend_from_slice(trim_ows(value));
            self.frame.extend_from_slice(b"\r\n");
        }
        let len = self.frame.len().saturating_sub(5) as u32;
        if let Some(room) = self.frame.get_mut(1..5) {
            room.copy_from_slice(&len.to_be_bytes());
        }
        self.data(&self.frame, out);
    }
}
