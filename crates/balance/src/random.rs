//! Random: even bits onto the list of ready endpoints. Weighted random goes the same way over a
//! line of weights.

use crate::hash::mix;
use crate::view::View;

/// Random bits for attempt `step` of a request: its own, then ones derived from them.
pub(crate) const fn bits(random: u64, step: u32) -> u64 {
    if step == 0 {
        random
    } else {
        mix(random.wrapping_add(step as u64))
    }
}

/// Whom the bits of this attempt point to.
pub(crate) fn candidate(view: &View, random: u64, step: u32) -> Option<usize> {
    view.ready.by_random(bits(random, step))
}
