//! Power of two choices: two draws by weight, and the one with fewer active requests per unit of
//! weight. Almost as even as looking at all of them, at the cost of looking at two.

use crate::hash::mix;
use crate::members::Members;
use crate::random::bits;
use crate::view::View;

/// How often the second draw may fall on the first before that is accepted.
const REDRAWS: u32 = 3;

/// The less busy of two.
pub(crate) fn candidate(view: &View, members: &Members, random: u64, step: u32) -> Option<usize> {
    let bits = bits(random, step);
    let first = view.ready.by_random(bits)?;
    if view.ready.list.len() < 2 {
        return Some(first);
    }
    let mut second = first;
    let mut draw = bits;
    for _ in 0..REDRAWS {
        draw = mix(draw);
        second = view.ready.by_random(draw)?;
        if second != first {
            break;
        }
    }
    let (a, b) = (members.member(first), members.member(second));
    // a/wa > b/wb without a division; equal loads keep the first, and with it the weights.
    let busier = u64::from(a.state.active()) * u64::from(b.weight)
        > u64::from(b.state.active()) * u64::from(a.weight);
    Some(if busier { second } else { first })
}
