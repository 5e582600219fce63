//! Least connections: the fewest active requests per unit of weight, from the board.
//!
//! Of several equal ones the first in file order, or the one whose turn is next by weighted round
//! robin: without that an idle pool would send everything to its first server, and one with
//! weights would ignore them (nginx breaks ties likewise).

use crate::board::Board;
use crate::hash::{mix, reduce};
use crate::round_robin::Turn;
use crate::spec::Tie;
use crate::view::View;

/// How many turns are looked at before the rest is searched in order.
const TURNS_MAX: usize = 4;

/// The least busy endpoint that was not tried.
pub(crate) fn candidate(
    view: &View,
    board: &Board,
    tie: Tie,
    turn: &Turn,
    tried: &[usize],
) -> Option<usize> {
    let (first, key, count) = board.least(tried)?;
    if tie == Tie::First || count < 2 {
        return Some(first);
    }
    // Further turns are not taken but drawn from this one: with a single busy server its
    // neighbour would get all of that server's turns.
    let mut turn = turn.next();
    for _ in 0..TURNS_MAX {
        let next = view.ready.by_turn(turn)?;
        if board.key(next) == key && !tried.contains(&next) {
            return Some(next);
        }
        turn = mix(turn);
    }
    let start = reduce(turn, view.ready.list.len() as u64) as usize;
    let start = view
        .ready
        .list
        .get(start)
        .map_or(0, |index| usize::from(*index));
    Some(board.first_with(key, start, tried).unwrap_or(first))
}
