//! Requests prepared once: GETs as HEADERS frames, in which only the stream has to be filled in.
//!
//! As common clients do, the first request of a connection puts host, agent and accept into the table of headers and the
//! later ones refer to it; a path is always written out.

use crate::h2::frames::{self, END_HEADERS, END_STREAM, HEADERS};

/// A GET without a body: `:method: GET`, `:scheme: https` (RFC 7541, appendix A).
const METHOD_AND_SCHEME: [u8; 2] = [0x82, 0x87];
/// A field that is not to be kept, with name 4, `:path`.
const PATH: u8 = 0x04;
/// Fields to be kept with names 1, `:authority`, 58, `user-agent`, and 19, `accept`.
const AUTHORITY: u8 = 0x40 | 1;
const USER_AGENT: u8 = 0x40 | 58;
const ACCEPT: u8 = 0x40 | 19;
/// The three of them, the first kept one being the last in the table, which begins at 62.
const KEPT: [u8; 3] = [0x80 | 64, 0x80 | 63, 0x80 | 62];

/// A request as it is sent first on a connection, and later.
#[derive(Debug, Clone)]
pub struct Request {
    first: Vec<u8>,
    later: Vec<u8>,
}

impl Request {
    /// A GET of `path` from `host`.
    pub fn get(path: &str, host: &str) -> Request {
        let mut block = METHOD_AND_SCHEME.to_vec();
        block.push(PATH);
        put_text(&mut block, path);
        let later = [&block[..], &KEPT].concat();
        for (name, value) in [
            (AUTHORITY, host),
            (USER_AGENT, "keel-bench/0.1"),
            (ACCEPT, "*/*"),
        ] {
            block.push(name);
            put_text(&mut block, value);
        }
        Request {
            first: frame(&block),
            later: frame(&later),
        }
    }

    /// Appends it for `stream`, the first of its connection being 1.
    pub fn put(&self, out: &mut Vec<u8>, stream: u32) {
        let bytes = if stream == 1 {
            &self.first
        } else {
            &self.later
        };
        let start = out.len();
        out.extend_from_slice(bytes);
        out[start + 5..start + 9].copy_from_slice(&stream.to_be_bytes());
    }

    /// Appends the first request of a connection, but without the flag that ends its header block.
    pub fn put_cut_off(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.put(out, 1);
        out[start + 4] &= !END_HEADERS;
    }
}

fn frame(block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frames::put(&mut out, HEADERS, END_HEADERS | END_STREAM, 0, block);
    out
}

/// A string without Huffman code (RFC 7541, 5.2).
fn put_text(block: &mut Vec<u8>, text: &str) {
    let mut len = text.len();
    if len < 127 {
        block.push(len as u8);
    } else {
        block.push(127);
        len -= 127;
        while len >= 128 {
            block.push(len as u8 | 0x80);
            len >>= 7;
        }
        block.push(len as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_writes_what_later_ones_refer_to() {
        let request = Request::get("/small", "a.example");
        let mut first = Vec::new();
        request.put(&mut first, 1);
        let block = b"\x82\x87\x04\x06/small\x41\x09a.example\x7a\x0ekeel-bench/0.1\x53\x03*/*";
        assert_eq!(first[..9], [0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
        assert_eq!(first[9..], block[..]);
        let mut later = Vec::new();
        request.put(&mut later, 0x0102_0305);
        assert_eq!(
            later,
            b"\0\0\x0d\x01\x05\x01\x02\x03\x05\x82\x87\x04\x06/small\xc0\xbf\xbe"
        );
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let mut block = Vec::new();
        put_text(&mut block, &"a".repeat(127));
        put_text(&mut block, &"a".repeat(127 + 1337));
        assert_eq!(block[..2], [127, 0]);
        // 1337 in the 7-bit groups of RFC 7541, C.1.2.
        assert_eq!(block[129..132], [127, 0xb9, 0x0a]);
    }

    #[test]
    fn a_cut_off_block_is_not_ended() {
        let mut out = Vec::new();
        Request::get("/", "a").put_cut_off(&mut out);
        assert_eq!(out[4], END_STREAM);
    }
}
