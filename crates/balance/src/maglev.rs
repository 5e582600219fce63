//! A Maglev table: every endpoint has a preference order over the slots, and they take turns, by
//! weight, in claiming the next free slot that they prefer.
//!
//! The most even of the schemes: shares are exact to one slot. When an endpoint goes, its slots
//! move and a few others with them, since the turns shift. A lost endpoint does not change the
//! table: its keys are hashed again until they fall on one that is there, which moves only them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::hash::{mix, reduce};
use crate::members::Share;

/// Marks a slot that nobody has claimed yet.
const NOBODY: u16 = u16::MAX;

/// Sets the second hash of a name, its stride, apart from the first.
const SKIP_SALT: u64 = 0x6d61_676c_6576;

/// Who has which slot.
#[derive(Debug, Clone)]
pub(crate) struct Maglev {
    owners: Box<[u16]>,
}

impl Maglev {
    /// The table of these endpoints with `size` slots, a prime.
    pub(crate) fn new(shares: &[Share], size: u32) -> Self {
        if shares.is_empty() {
            return Maglev {
                owners: Box::default(),
            };
        }
        let size = u64::from(size.max(2));
        let mut owners = vec![NOBODY; size as usize];
        let mut turns: BinaryHeap<Claimant> = shares
            .iter()
            .map(|share| Claimant::new(share, size))
            .collect();
        for _ in 0..size {
            let Some(mut claimant) = turns.peek_mut() else {
                break;
            };
            while owners[claimant.slot as usize] != NOBODY {
                claimant.step(size);
            }
            owners[claimant.slot as usize] = claimant.share.index;
            claimant.claimed(size);
        }
        Maglev {
            owners: owners.into(),
        }
    }

    /// Who has the slot of `hash`.
    pub(crate) fn endpoint(&self, hash: u64) -> Option<usize> {
        let slot = reduce(hash, self.owners.len() as u64);
        self.owners
            .get(slot as usize)
            .map(|owner| usize::from(*owner))
    }
}

/// An endpoint between two claims. The one whose next claim is due first is the greatest.
struct Claimant {
    share: Share,
    slot: u64,
    skip: u64,
    claims: f64,
    due: f64,
}

impl Claimant {
    fn new(share: &Share, size: u64) -> Self {
        let mut claimant = Claimant {
            share: *share,
            slot: mix(share.identity) % size,
            skip: mix(share.identity ^ SKIP_SALT) % (size - 1) + 1,
            claims: 0.0,
            due: 0.0,
        };
        claimant.set_due();
        claimant
    }

    fn step(&mut self, size: u64) {
        self.slot = (self.slot + self.skip) % size;
    }

    fn claimed(&mut self, size: u64) {
        self.step(size);
        self.claims += 1.0;
        self.set_due();
    }

    /// A claim is due in the middle of its share, so that shares are rounded to the nearest.
    fn set_due(&mut self) {
        self.due = (self.claims + 0.5) / f64::from(self.share.weight);
    }
}

impl Ord for Claimant {
    fn cmp(&self, other: &Self) -> Ordering {
        // By name among equals, so that the table does not depend on the order of the file.
        let due = other.due.total_cmp(&self.due);
        due.then_with(|| other.share.identity.cmp(&self.share.identity))
    }
}

impl PartialOrd for Claimant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Claimant {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Claimant {}
