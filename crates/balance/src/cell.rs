//! The atomic word that boards and windows are made of, as a trait: tests put in words under a scheduler of
//! their own and so reach the rare orders of events. Every access is sequentially consistent; the
//! board's proof needs that.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A sequentially consistent word of 64 bits.
pub(crate) trait Cell: std::fmt::Debug + Send + Sync {
    fn new(value: u64) -> Self;
    fn load(&self) -> u64;
    fn store(&self, value: u64);
    fn swap(&self, value: u64) -> u64;
    fn fetch_add(&self, value: u64);
    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64>;
    fn fetch_min(&self, value: u64);
    fn fetch_or(&self, value: u64);
    fn fetch_and(&self, value: u64);
}

impl Cell for AtomicU64 {
    fn new(value: u64) -> Self {
        AtomicU64::new(value)
    }

    #[inline]
    fn load(&self) -> u64 {
        AtomicU64::load(self, SeqCst)
    }

    #[inline]
    fn store(&self, value: u64) {
        AtomicU64::store(self, value, SeqCst);
    }

    #[inline]
    fn swap(&self, value: u64) -> u64 {
        AtomicU64::swap(self, value, SeqCst)
    }

    #[inline]
    fn fetch_add(&self, value: u64) {
        AtomicU64::fetch_add(self, value, SeqCst);
    }

    #[inline]
    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        AtomicU64::compare_exchange(self, current, new, SeqCst, SeqCst)
    }

    #[inline]
    fn fetch_min(&self, value: u64) {
        AtomicU64::fetch_min(self, value, SeqCst);
    }

    #[inline]
    fn fetch_or(&self, value: u64) {
        AtomicU64::fetch_or(self, value, SeqCst);
    }

    #[inline]
    fn fetch_and(&self, value: u64) {
        AtomicU64::fetch_and(self, value, SeqCst);
    }
}
