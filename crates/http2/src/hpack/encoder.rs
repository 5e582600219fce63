//! From fields to header blocks.

/// The encoding end of one direction of a connection.
#[derive(Debug)]
pub struct Encoder {}

impl Encoder {
    /// An encoder whose dynamic table never has more than `table_bytes_max`, whatever the peer allows.
    pub fn new(table_bytes_max: u32) -> Encoder {
        let _ = table_bytes_max;
        Encoder {}
    }

    /// Bytes of memory that are held.
    pub fn held_bytes(&self) -> usize {
        0
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. What changes is told in the next block.
    pub fn set_peer_max(&mut self, table_bytes_max: u32) {
        let _ = table_bytes_max;
    }

    /// Begins a block: writes the changes of the table's size, when there are any, to `out`.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends a field to the block in `out`. The name may be in any case, and is written in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let _ = (name, value, out);
    }
}
