//! Round robin: the next by one turn that all workers share; by weight with a prepared order.
//!
//! A turn that falls on an endpoint which is full or was tried is spent, so that its neighbour
//! does not get twice its share.

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
}

/// Whose turn is next.
pub(crate) fn candidate(view: &View, turn: &Turn) -> Option<usize> {
    view.ready.by_turn(turn.next())
}
