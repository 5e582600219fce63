//! Header compression (RFC 7541): the simplest writer, and a whole, strict reader.

use std::collections::VecDeque;

use super::huffman;
use crate::strict::Fault;

/// Size that counts for each entry beside its bytes (section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// Size of the dynamic table when nobody has said anything.
const TABLE_SIZE: usize = 4096;

/// Appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// Writes fields as literals without indexing and without Huffman: every byte as given, whatever it is.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            integer(&mut out, 0, 7, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// Writes an integer with a prefix (section 5.1); `first` holds the bits above it.
pub fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let full = (1_usize << prefix) - 1;
    let low = |value: usize| u8::try_from(value).expect("below 256");
    if value < full {
        return out.push(first | low(value));
    }
    out.push(first | low(full));
    let mut rest = value - full;
    while rest >= 128 {
        out.push(low(rest % 128) | 128);
        rest /= 128;
    }
    out.push(low(rest));
}

/// A name and a value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Reads header blocks.
#[derive(Debug)]
pub struct Decoder {
    table: VecDeque<Pair>,
    size: usize,
    size_max: usize,
    /// What our SETTINGS allow.
    allowed: usize,
    /// The peer has to say that it took a smaller table.
    must_shrink: bool,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            table: VecDeque::new(),
            size: 0,
            size_max: TABLE_SIZE,
            allowed: TABLE_SIZE,
            must_shrink: false,
        }
    }
}

impl Decoder {
    /// The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE.
    pub fn allow(&mut self, size: usize) {
        self.allowed = size;
        self.must_shrink = self.size_max > size;
    }

    /// Entries of the dynamic table.
    pub fn entries(&self) -> usize {
        self.table.len()
    }

    /// Reads a whole block.
    pub fn decode(&mut self, block: &[u8]) -> Result<Vec<Pair>, Fault> {
        let mut fields = Vec::new();
        let mut input = Input(block);
        while let Some(&first) = input.0.first() {
            if first & 0xe0 == 0x20 {
                if !fields.is_empty() {
                    return Err(Fault("a table size update that is not at the beginning"));
                }
                let size = input.integer(5)?;
                if size > self.allowed {
                    return Err(Fault("a table size update above our SETTINGS"));
                }
                self.size_max = size;
                self.must_shrink = false;
                self.evict();
                continue;
            }
            if self.must_shrink {
                return Err(Fault("no table size update after smaller SETTINGS"));
            }
            fields.push(self.field(first, &mut input)?);
        }
        Ok(fields)
    }

    fn field(&mut self, first: u8, input: &mut Input<'_>) -> Result<Pair, Fault> {
        if first & 0x80 != 0 {
            let index = input.integer(7)?;
            return self.entry(index);
        }
        let remembered = first & 0x40 != 0;
        let index = input.integer(if remembered { 6 } else { 4 })?;
        let name = match index {
            0 => input.string()?,
            _ => self.entry(index)?.0,
        };
        let pair = (name, input.string()?);
        if remembered {
            self.size += pair.0.len() + pair.1.len() + ENTRY_OVERHEAD;
            self.table.push_front(pair.clone());
            self.evict();
        }
        Ok(pair)
    }

    fn evict(&mut self) {
        while self.size > self.size_max {
            let Some((name, value)) = self.table.pop_back() else {
                return;
            };
            self.size -= name.len() + value.len() + ENTRY_OVERHEAD;
        }
    }

    fn entry(&self, index: usize) -> Result<Pair, Fault> {
        let at = index.checked_sub(1).ok_or(Fault("index 0"))?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        let found = self.table.get(at - STATIC.len());
        found
            .cloned()
            .ok_or(Fault("an index beyond the dynamic table"))
    }
}

/// What is left of a block.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let (&first, rest) = self
            .0
            .split_first()
            .ok_or(Fault("a header block that is cut off"))?;
        self.0 = rest;
        Ok(first)
    }

    fn integer(&mut self, prefix: u32) -> Result<usize, Fault> {
        let full = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & full;
        if value < full {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Ok(value);
            }
        }
        Err(Fault("an integer that is too long"))
    }

    fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let huffman = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let len = self.integer(7)?;
        if len > self.0.len() {
            return Err(Fault("a string that is cut off"));
        }
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        match huffman {
            true => huffman::decode(text),
            false => Ok(text.to_vec()),
        }
    }
}
