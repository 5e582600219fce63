//! SETTINGS of a client, as far as the library gives another error code than it should.

use super::H2Abuse;

const ENTRY_BYTES: usize = 6;
const INITIAL_WINDOW_SIZE: u16 = 4;
const WINDOW_MAX: u32 = 0x7fff_ffff;

/// Reads the payloads of SETTINGS in any pieces. Their lengths are multiples of an entry, which is checked before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Settings {
    entry: [u8; ENTRY_BYTES],
    have: usize,
}

impl Settings {
    pub(super) fn feed(&mut self, part: &[u8]) -> Result<(), H2Abuse> {
        for &byte in part {
            if let Some(slot) = self.entry.get_mut(self.have) {
                *slot = byte;
            }
            self.have += 1;
            if self.have == ENTRY_BYTES {
                self.have = 0;
                let [i0, i1, v0, v1, v2, v3] = self.entry;
                let value = u32::from_be_bytes([v0, v1, v2, v3]);
                if u16::from_be_bytes([i0, i1]) == INITIAL_WINDOW_SIZE && value > WINDOW_MAX {
                    return Err(H2Abuse::WindowSetting);
                }
            }
        }
        Ok(())
    }
}
