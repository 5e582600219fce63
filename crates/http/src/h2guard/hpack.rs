//! Header blocks (RFC 7541) as far as their form goes: nothing is unfolded, only lengths are kept.
//!
//! The library answers a broken block with PROTOCOL_ERROR where COMPRESSION_ERROR is due, and drops pseudo-header
//! fields of trailers in silence. Both are seen here, in one pass over the bytes, in whatever pieces they come.

mod huffman;
mod tables;

use huffman::Huffman;
use tables::{Dynamic, Entry, entry_of};

/// A block that nobody can read (RFC 9113, 4.3): COMPRESSION_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// What an integer that is being read is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    /// A field by its index.
    Indexed,
    /// The name of a literal by its index; 0 when the name follows.
    NameIndex,
    TableSize,
    NameLength {
        huffman: bool,
    },
    ValueLength {
        huffman: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a field.
    Field,
    /// Within an integer of more than one byte.
    Number { what: Number, value: u32, shift: u8 },
    /// Before a string.
    Length { of_name: bool },
    /// Within a string: bytes to come, characters so far.
    Plain {
        of_name: bool,
        left: u32,
        chars: u32,
    },
    Coded {
        of_name: bool,
        left: u32,
        text: Huffman,
    },
}

/// Reads the header blocks of one direction of a connection, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    state: State,
    table: Dynamic,
    /// The literal that is being read.
    literal: Entry,
    /// It goes into the table.
    kept: bool,
    /// A field was there, so that the table may not be resized any more.
    begun: bool,
    pseudo: bool,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        Blocks {
            state: State::Field,
            table: Dynamic::new(),
            literal: Entry::default(),
            kept: false,
            begun: false,
            pseudo: false,
        }
    }

    /// A block begins.
    pub(super) fn begin(&mut self) {
        self.state = State::Field;
        self.begun = false;
        self.pseudo = false;
    }

    /// Ends a block. Gives whether it has pseudo-header fields.
    pub(super) fn end(&mut self) -> Result<bool, Broken> {
        match self.state {
            State::Field => Ok(self.pseudo),
            _ => Err(Broken),
        }
    }

    /// Reads on.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Field => {
                    bytes = rest;
                    self.field(byte)?;
                }
                State::Length { of_name } => {
                    bytes = rest;
                    let huffman = byte & 0x80 != 0;
                    let what = match of_name {
                        true => Number::NameLength { huffman },
                        false => Number::ValueLength { huffman },
                    };
                    self.number(what, byte, 7)?;
                }
                State::Number { what, value, shift } => {
                    bytes = rest;
                    // No more than 2^28 is of use; five bytes hold it.
                    if *shift > 21 {
                        return Err(Broken);
                    }
                    *value += u32::from(byte & 0x7f) << *shift;
                    *shift += 7;
                    let (what, value) = (*what, *value);
                    if byte & 0x80 == 0 {
                        self.got(what, value)?;
                    }
                }
                State::Plain { .. } | State::Coded { .. } => {
                    bytes = self.text(bytes)?;
                }
            }
        }
        Ok(())
    }

    /// The first byte of a field, or of a change of the table's size (RFC 7541, 6).
    fn field(&mut self, byte: u8) -> Result<(), Broken> {
        if byte & 0xe0 == 0x20 {
            return match self.begun {
                true => Err(Broken),
                false => self.number(Number::TableSize, byte, 5),
            };
        }
        self.begun = true;
        self.kept = byte & 0xc0 == 0x40;
        if byte & 0x80 != 0 {
            self.number(Number::Indexed, byte, 7)
        } else {
            let prefix = if self.kept { 6 } else { 4 };
            self.number(Number::NameIndex, byte, prefix)
        }
    }

    /// The first byte of an integer (RFC 7541, 5.1).
    fn number(&mut self, what: Number, byte: u8, prefix: u8) -> Result<(), Broken> {
        let mask = ((1_u16 << prefix) - 1) as u8;
        let value = byte & mask;
        if value < mask {
            return self.got(what, u32::from(value));
        }
        self.state = State::Number {
            what,
            value: u32::from(value),
            shift: 0,
        };
        Ok(())
    }

    /// An integer is there.
    fn got(&mut self, what: Number, value: u32) -> Result<(), Broken> {
        self.state = State::Field;
        match what {
            Number::TableSize => self.table.resize(value),
            Number::Indexed => {
                self.pseudo |= entry_of(&self.table, value).ok_or(Broken)?.pseudo;
                Ok(())
            }
            Number::NameIndex => {
                self.literal = Entry::default();
                if value > 0 {
                    self.literal = entry_of(&self.table, value).ok_or(Broken)?;
                    self.pseudo |= self.literal.pseudo;
                }
                self.state = State::Length {
                    of_name: value == 0,
                };
                Ok(())
            }
            Number::NameLength { huffman } => self.begin_text(true, huffman, value),
            Number::ValueLength { huffman } => self.begin_text(false, huffman, value),
        }
    }

    fn begin_text(&mut self, of_name: bool, huffman: bool, left: u32) -> Result<(), Broken> {
        self.state = match huffman {
            true => State::Coded {
                of_name,
                left,
                text: Huffman::default(),
            },
            false => State::Plain {
                of_name,
                left,
                chars: 0,
            },
        };
        match left {
            0 => self.end_text(of_name, 0),
            _ => Ok(()),
        }
    }

    /// Reads of a string what is there of it, and gives what comes behind.
    fn text<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
        let (of_name, left, chars) = match &mut self.state {
            State::Plain {
                of_name,
                left,
                chars,
            } => {
                let n = bytes.len().min(*left as usize);
                if *of_name && *chars == 0 && bytes.first() == Some(&b':') {
                    self.literal.pseudo = true;
                }
                *left -= n as u32;
                *chars += n as u32;
                (*of_name, (n, *left), *chars)
            }
            State::Coded {
                of_name,
                left,
                text,
            } => {
                let n = bytes.len().min(*left as usize);
                text.feed(bytes.get(..n).unwrap_or_default())?;
                *left -= n as u32;
                if *left == 0 {
                    text.end()?;
                    self.literal.pseudo |= *of_name && text.begins_with_colon();
                }
                (*of_name, (n, *left), text.chars())
            }
            _ => return Ok(bytes),
        };
        if left.1 == 0 {
            self.end_text(of_name, chars)?;
        }
        Ok(bytes.get(left.0..).unwrap_or_default())
    }

    fn end_text(&mut self, of_name: bool, chars: u32) -> Result<(), Broken> {
        if of_name {
            self.pseudo |= self.literal.pseudo;
            self.literal.name_len = chars;
            self.state = State::Length { of_name: false };
            return Ok(());
        }
        self.state = State::Field;
        if self.kept {
            self.literal.value_len = chars;
            self.table.insert(self.literal);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
