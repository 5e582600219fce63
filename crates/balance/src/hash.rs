//! Hashes of keys. Every value here is the same on every node, build and platform.

use std::fmt::{self, Write};
use std::net::IpAddr;

use md5::{Digest, Md5};
use xxhash_rust::xxh3::xxh3_64;

/// Hash of a key for [`crate::Ask::hash`] and [`crate::Split::choose_hash`] (XXH3, 64 bits).
pub fn hash_key(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Hash of a client address: of its 4 or 16 bytes; an IPv4 address mapped into IPv6 counts as IPv4.
pub fn hash_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => hash_key(&v4.octets()),
        IpAddr::V6(v6) => hash_key(&v6.octets()),
    }
}

/// First eight hex digits of the MD5 of `address`, as an integer, modulo `servers`; 0 when there
/// are none.
pub fn md5_first8_mod(address: &str, servers: usize) -> usize {
    (md5_first8(address) as usize)
        .checked_rem(servers)
        .unwrap_or(0)
}

/// First eight hex digits of the MD5 of `address`, as an integer.
pub(crate) fn md5_first8(address: &str) -> u32 {
    let [a, b, c, d, ..] = md5(address.as_bytes());
    u32::from_be_bytes([a, b, c, d])
}

/// The MD5 of `bytes`.
pub(crate) fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// 2^64 divided by the golden ratio: multiples of it are spread evenly.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Turns the bits of `value` over thoroughly (the finaliser of SplitMix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Maps 64 even bits to `0..n` by multiplication; 0 when `n` is 0. Monotonic in `bits`.
pub(crate) const fn reduce(bits: u64, n: u64) -> u64 {
    ((bits as u128 * n as u128) >> 64) as u64
}

/// Even bits as a number from 0 to 1, the latter not reached.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The text of an address without an allocation.
pub(crate) struct AddressText {
    bytes: [u8; AddressText::LEN_MAX],
    len: usize,
}

impl AddressText {
    /// Longest text of an IPv6 address.
    const LEN_MAX: usize = 45;

    /// Writes `address`; an IPv4 address mapped into IPv6 is written as IPv4.
    pub(crate) fn new(address: IpAddr) -> Self {
        let mut text = AddressText {
            bytes: [0; Self::LEN_MAX],
            len: 0,
        };
        write!(text, "{}", address.to_canonical()).expect("the longest address fits the buffer");
        text
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("only str pieces were written")
    }
}

impl Write for AddressText {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let end = self.len + piece.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(piece.as_bytes());
        self.len = end;
        Ok(())
    }
}
