//! The key of a WebSocket's opening handshake and the answer to it (RFC 6455, 4.1 and 4.2.2).
//!
//! HTTP/2 opens WebSockets without them (RFC 8441, 5), so where one side speaks HTTP/1.1 we make what it lacks.

use sha1::{Digest, Sha1};

use crate::base64;

/// Every WebSocket server appends this to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Key` of 16 bytes. It protects nobody; it only has to differ from connection to connection.
pub fn key(random: [u64; 2]) -> [u8; 24] {
    let mut bytes = [0; 16];
    for (half, number) in bytes.chunks_exact_mut(8).zip(random) {
        half.copy_from_slice(&number.to_be_bytes());
    }
    base64::array(&bytes)
}

/// The `Sec-WebSocket-Accept` that answers `key`.
pub fn accept(key: &[u8]) -> [u8; 28] {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    base64::array(&hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        let key = b"dGhlIHNhbXBsZSBub25jZQ==";
        assert_eq!(&accept(key), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let bytes: [u8; 16] = *b"the sample nonce";
        let half = |at: usize| u64::from_be_bytes(std::array::from_fn(|n| bytes[at + n]));
        assert_eq!(&super::key([half(0), half(8)]), key);
    }
}
