//! A 64-bit cell with one writer and any number of readers.
//!
//! Invariant: all writes to one cell come from one thread. Then a relaxed load and a relaxed store
//! make an addition that loses nothing and needs no locked instruction. Readers see some recent
//! value, never a torn one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter or gauge cell that one thread writes.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`; wraps at 2^64.
    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` away; wraps below zero, so a gauge that is raised in one place and lowered in
    /// another of the same thread is right whatever the order.
    #[inline(always)]
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// The value now, as any thread may see it.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
