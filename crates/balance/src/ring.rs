//! A ring of points; a key belongs to the next point from its own place on.
//!
//! Skipping the points of a lost endpoint gives exactly the ring without it, so that only its keys
//! move. The heaviest endpoint has `points` points (between half and all of them, to be exact), the
//! others in proportion, at least one. The scale is a power of two so that it hardly ever changes
//! when endpoints come and go: a change of scale moves many keys.

use crate::hash::{GOLDEN, mix};
use crate::members::Share;

/// Points in order, each 48 bits of place and 16 of position, with an index by the highest bits so
/// that a search is a step or two instead of a bisection through a megabyte.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    points: Box<[u64]>,
    starts: Box<[u32]>,
    shift: u32,
}

impl Ring {
    /// A ring on which the heaviest endpoint has up to `points` points.
    pub(crate) fn new(shares: &[Share], points: u32) -> Self {
        let heaviest = shares.iter().map(|share| share.weight).max().unwrap_or(1);
        let scale = u64::from(heaviest.next_power_of_two());
        let mut all = Vec::new();
        for share in shares {
            let own = (u64::from(points) * u64::from(share.weight))
                .div_ceil(scale)
                .max(1);
            all.extend((1..=own).map(|at| {
                let place = mix(share.identity.wrapping_add(at.wrapping_mul(GOLDEN)));
                place & !0xffff | u64::from(share.index)
            }));
        }
        all.sort_unstable();
        let bits = all.len().next_power_of_two().trailing_zeros().max(1);
        let shift = 64 - bits;
        let mut starts = Vec::with_capacity(1 << bits);
        let mut at = 0;
        for bucket in 0..1u64 << bits {
            while all.get(at).is_some_and(|point| point >> shift < bucket) {
                at += 1;
            }
            starts.push(u32::try_from(at).expect("ENDPOINTS_MAX x RING_POINTS_MAX is below 2^32"));
        }
        Ring {
            points: all.into(),
            starts: starts.into(),
            shift,
        }
    }

    /// The position on the ring from which on `hash` looks.
    pub(crate) fn start(&self, hash: u64) -> usize {
        let mut at = self.starts[(hash >> self.shift) as usize] as usize;
        while self
            .points
            .get(at)
            .is_some_and(|point| *point < hash & !0xffff)
        {
            at += 1;
        }
        at
    }

    /// The endpoint at the point `at`, or at the first one after the last.
    pub(crate) fn endpoint(&self, at: usize) -> Option<usize> {
        let point = self.points.get(at.checked_rem(self.points.len())?)?;
        Some((point & 0xffff) as usize)
    }
}
