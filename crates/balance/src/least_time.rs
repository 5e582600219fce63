//! Least time: the smallest product of average response time and active requests, from the board.
//!
//! A server with a bad average would never be asked again and so never get a better one: a small
//! share of the requests goes anywhere instead. A server that was never measured gets one request
//! at once. A failure counts as a slow answer, or a server that refuses quickly would look idle and
//! draw all traffic.

use crate::board::Board;
use crate::hash::mix;
use crate::view::View;

/// What a failure counts as at least, in microseconds.
pub(crate) const FAILURE_US: u32 = 1_000_000;

/// The best endpoint that was not tried, or any for a probe.
pub(crate) fn candidate(
    view: &View,
    board: &Board,
    probe_one_in: u32,
    random: u64,
    step: u32,
    tried: &[usize],
) -> Option<usize> {
    let probe = step == 0 && random.checked_rem(u64::from(probe_one_in)) == Some(0);
    if probe {
        return view.ready.evenly(mix(random));
    }
    board.least(tried).map(|(index, _, _)| index)
}
