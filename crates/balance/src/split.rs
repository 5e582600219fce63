//! A weighted split of traffic over targets, sticky by a hash or at random, and the canary test.

use std::net::IpAddr;

use crate::hash::{AddressText, md5, mix, reduce};

/// Sets the hash of a split apart from that of the pools behind it.
const SPLIT_SALT: u64 = 0x5370_6c69_7420_6b65;

/// Shares of traffic by weight. The shares lie one after the other on a line in the order given, so
/// that moving weight between two neighbours moves only the keys between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Running sums of the weights.
    ends: Box<[u64]>,
}

impl Split {
    /// A split over as many targets as there are weights. Weight 0 gets nothing; when all are 0
    /// (or none is given) everything goes to target 0.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let sums = weights.into_iter().scan(0u64, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Split {
            ends: sums.collect(),
        }
    }

    /// Number of targets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without targets.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The weight of a target; 0 when there is no such target.
    pub fn weight(&self, index: usize) -> u64 {
        let end = self.ends.get(index).copied().unwrap_or(0);
        let start = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied();
        end.saturating_sub(start.unwrap_or(0))
    }

    /// The target of a key: the same key, the same target. Take the hash from
    /// [`crate::hash_key`] or [`crate::hash_address`].
    pub fn choose_hash(&self, hash: u64) -> usize {
        let total = self.ends.last().copied().unwrap_or(0);
        if total == 0 {
            return 0;
        }
        // Mixed, so that a target sees all hashes and its pool can hash by the same key.
        let point = reduce(mix(hash ^ SPLIT_SALT), total);
        self.ends.partition_point(|end| *end <= point)
    }

    /// A target by fresh random bits.
    pub fn choose_random(&self, random: u64) -> usize {
        self.choose_hash(random)
    }
}

/// True when this client belongs to the `percent` of canary clients: the MD5 of its address as
/// text, read as one integer, modulo 100, is less than `percent`.
pub fn canary_percent(client: IpAddr, percent: u32) -> bool {
    let number = u128::from_be_bytes(md5(AddressText::new(client).as_str().as_bytes()));
    number % 100 < u128::from(percent)
}
