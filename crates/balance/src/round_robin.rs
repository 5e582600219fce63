//! Round robin: the next by one turn that all workers share; by weight with a prepared order.
//!
//! A turn that falls on an endpoint which is full is spent, so that its neighbour does not get twice
//! its share. Further attempts of a request spend none: they would bring first attempts into step with
//! a server that fails, which would then get all of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::view::View;

/// The shared turn, on a cache line of its own since every request writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Turn(AtomicU64);

impl Turn {
    /// Takes the next turn.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The turn that is `ahead` turns away; nobody's is spent.
    fn ahead(&self, ahead: u32) -> u64 {
        self.0.load(Ordering::Relaxed).wrapping_add(ahead.into())
    }
}

/// Whose turn is next; `step` counts the candidates of this attempt, `further` tells that it is not the
/// request's first.
pub(crate) fn candidate(view: &View, turn: &Turn, step: u32, further: bool) -> Option<usize> {
    view.ready.by_turn(match further {
        true => turn.ahead(step),
        false => turn.next(),
    })
}
