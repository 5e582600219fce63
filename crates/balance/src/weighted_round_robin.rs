//! Weighted round robin as a function of one shared turn, so that its order is exact over workers.
//!
//! Three forms. A *cycle* is the order written out: smooth as in nginx (every turn each endpoint
//! gains its weight, the highest is chosen and pays the total), which costs endpoints x turns once
//! per change of the ready set and is used while that stays within [`STEPS_MAX`]. A *burst* needs
//! no list: the turn modulo the total is a point on the line of weights. Beyond the budget (1,000
//! servers with weights in the hundreds; two with weights that share no factor are still a cycle)
//! the turn times the golden ratio is the point: by the three-gap theorem every endpoint returns at
//! two or three near-equal distances, and the counts stay within a few turns of the exact shares.

use crate::hash::GOLDEN;
use crate::weighted_random::Line;

/// Longest order that is written out.
const CYCLE_LEN_MAX: u64 = 1 << 17;

/// Most steps spent on writing an order out (a few hundred microseconds).
const STEPS_MAX: u64 = 1 << 19;

/// Who has which turn.
#[derive(Debug, Clone)]
pub(crate) enum Turns {
    /// The order written out, to be repeated.
    Cycle(Box<[u16]>),
    /// All turns of one, then all of the next.
    Burst(Line),
    /// Evenly spread by the golden ratio.
    Spread(Line),
}

impl Turns {
    /// Turns for (position, weight above 0).
    pub(crate) fn new(weights: &[(u16, u32)], burst: bool) -> Self {
        if burst {
            return Turns::Burst(Line::new(weights.iter().copied()));
        }
        let divisor = weights
            .iter()
            .fold(0, |divisor, (_, weight)| gcd(divisor, *weight))
            .max(1);
        let reduced = || {
            weights
                .iter()
                .map(move |(index, weight)| (*index, weight / divisor))
        };
        let total: u64 = reduced().map(|(_, weight)| u64::from(weight)).sum();
        if total == weights.len() as u64 {
            Turns::Cycle(weights.iter().map(|(index, _)| *index).collect())
        } else if total <= CYCLE_LEN_MAX && total * weights.len() as u64 <= STEPS_MAX {
            Turns::Cycle(smooth(reduced(), total))
        } else {
            Turns::Spread(Line::new(reduced()))
        }
    }

    /// Whose turn it is.
    pub(crate) fn at(&self, turn: u64) -> Option<usize> {
        match self {
            Turns::Cycle(cycle) => {
                let at = turn.checked_rem(cycle.len() as u64)?;
                Some(usize::from(cycle[at as usize]))
            }
            Turns::Burst(line) => line.at(turn.checked_rem(line.total())?),
            Turns::Spread(line) => line.at_random(turn.wrapping_mul(GOLDEN)),
        }
    }
}

/// One period of nginx's smooth order.
fn smooth(weights: impl Iterator<Item = (u16, u32)>, total: u64) -> Box<[u16]> {
    let (indices, weights): (Vec<u16>, Vec<i64>) = weights
        .map(|(index, weight)| (index, i64::from(weight)))
        .unzip();
    let mut current = vec![0i64; weights.len()];
    let mut turn = || {
        let mut best = 0;
        for at in 0..current.len() {
            current[at] += weights[at];
            if current[at] > current[best] {
                best = at;
            }
        }
        current[best] -= total as i64;
        indices[best]
    };
    (0..total).map(|_| turn()).collect()
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(weights: &[u32], burst: bool, len: u64) -> Vec<usize> {
        let weights: Vec<(u16, u32)> = (1u16..).zip(weights.iter().copied()).collect();
        let turns = Turns::new(&weights, burst);
        (0..len).map(|turn| turns.at(turn).unwrap()).collect()
    }

    #[test]
    fn smooth_orders_are_those_of_nginx() {
        assert_eq!(order(&[3, 2, 1], false, 7), [1, 2, 1, 3, 2, 1, 1]);
        assert_eq!(order(&[5, 1, 1], false, 7), [1, 1, 2, 1, 3, 1, 1]);
        assert_eq!(order(&[300, 200, 100], false, 6), [1, 2, 1, 3, 2, 1]);
        assert_eq!(order(&[4, 4, 4], false, 4), [1, 2, 3, 1]);
    }

    #[test]
    fn burst_order_is_one_after_the_other() {
        assert_eq!(order(&[3, 2, 1], true, 8), [1, 1, 1, 2, 2, 3, 1, 1]);
        assert_eq!(order(&[2, 2], true, 5), [1, 1, 2, 2, 1]);
        assert_eq!(
            order(&[65_535, 1], true, 65_537)
                .iter()
                .filter(|i| **i == 2)
                .count(),
            1
        );
    }

    #[test]
    fn a_long_order_is_spread_within_a_few_turns_of_the_shares() {
        let weights: Vec<(u16, u32)> = (0..1_000u16).map(|i| (i, 1 + u32::from(i) * 65)).collect();
        let turns = Turns::new(&weights, false);
        assert!(matches!(turns, Turns::Spread(_)));
        let total: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut counts = vec![0u64; weights.len()];
        let len = 300_000;
        for turn in 0..len {
            counts[turns.at(turn).unwrap()] += 1;
        }
        for (index, weight) in weights {
            let share = (len * u64::from(weight)) as f64 / total as f64;
            let off = (counts[usize::from(index)] as f64 - share).abs();
            assert!(off <= 4.0, "{index} is {off} turns off");
        }
    }

    #[test]
    fn no_weights_no_turns() {
        assert_eq!(Turns::new(&[], false).at(3), None);
        assert_eq!(Turns::new(&[], true).at(3), None);
    }
}
