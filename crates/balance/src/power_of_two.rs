//! Power of two choices: two draws by weight, and the one with fewer active requests per unit of
//! weight. Almost as even as looking at all of them, at the cost of looking at two.

use crate::hash::{mix, unit};
use crate::members::Members;
use crate::random::bits;
use crate::view::View;

/// How often the second draw may fall on the first before that is accepted.
const REDRAWS: u32 = 3;

/// How often a draw may fall on endpoints that get a part of their traffic only before it stays.
const THINNINGS: u32 = 16;

/// The less busy of two.
pub(crate) fn candidate(view: &View, members: &Members, random: u64, step: u32) -> Option<usize> {
    let mut draw = bits(random, step);
    let first = drawn(view, &mut draw)?;
    if view.ready.list.len() < 2 {
        return Some(first);
    }
    let mut second = first;
    for _ in 0..REDRAWS {
        draw = mix(draw);
        second = drawn(view, &mut draw)?;
        if second != first {
            break;
        }
    }
    let (a, b) = (members.member(first), members.member(second));
    let (a_active, b_active) = (u64::from(a.state.active()), u64::from(b.state.active()));
    // a/wa > b/wb without a division; equal loads keep the first, and with it the weights.
    let busier = if view.warming.is_empty() {
        a_active * u64::from(b.weight) > b_active * u64::from(a.weight)
    } else {
        let a_weight = f64::from(a.weight) * view.share(first);
        let b_weight = f64::from(b.weight) * view.share(second);
        a_active as f64 * b_weight > b_active as f64 * a_weight
    };
    Some(if busier { second } else { first })
}

/// Whom the bits point to, by weight; drawn again in proportion to what endpoints do not get of
/// their traffic.
fn drawn(view: &View, draw: &mut u64) -> Option<usize> {
    let mut index = view.ready.by_random(*draw)?;
    if view.warming.is_empty() {
        return Some(index);
    }
    for _ in 0..THINNINGS {
        *draw = mix(*draw);
        if unit(*draw) < view.share(index) {
            break;
        }
        *draw = mix(*draw);
        index = view.ready.by_random(*draw)?;
    }
    Some(index)
}
