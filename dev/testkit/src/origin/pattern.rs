//! Bytes that can be generated and checked at any offset without keeping them.

use std::sync::OnceLock;

/// A prime, so that no buffer size of the proxy lines up with the block.
const BLOCK_LEN: usize = 65_521;

/// The endless pattern, as one block that repeats.
pub fn pattern() -> &'static [u8] {
    static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let next = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).expect("eight bits")
        };
        (0..BLOCK_LEN).map(next).collect()
    })
}

/// Checks that bytes follow the pattern from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Check {
    /// Bytes so far.
    pub len: u64,
    /// True once a byte differed.
    pub broken: bool,
}

impl Check {
    /// Takes more bytes.
    pub fn feed(&mut self, mut data: &[u8]) {
        let block = pattern();
        while !data.is_empty() {
            let at =
                usize::try_from(self.len % BLOCK_LEN as u64).expect("below the block's length");
            let take = data.len().min(BLOCK_LEN - at);
            self.broken |= data[..take] != block[at..at + take];
            self.len += take as u64;
            data = &data[take..];
        }
    }
}
