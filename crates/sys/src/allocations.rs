//! A global allocator that counts. The data path does not allocate for a plain request; this is how
//! that is seen, in tests and on `/metrics`.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads spread over so many counters, so that they seldom write the same cache line.
const SHARDS: usize = 16;

#[repr(align(64))]
struct Shard(AtomicU64);

static COUNTS: [Shard; SHARDS] = [const { Shard(AtomicU64::new(0)) }; SHARDS];

thread_local! {
    // Never written: its address tells threads apart, and taking it allocates nothing.
    static PLACE: u8 = const { 0 };
}

/// An allocator that counts what is asked of `A`: allocations and reallocations, not frees.
#[derive(Debug, Default)]
pub struct Counting<A>(pub A);

/// Allocations and reallocations since the process began; 0 where [`Counting`] is not the global
/// allocator.
pub fn allocations() -> u64 {
    COUNTS
        .iter()
        .map(|shard| shard.0.load(Ordering::Relaxed))
        .sum()
}

fn count() {
    // During the teardown of a thread the place is gone; any shard will do.
    let place = PLACE
        .try_with(|place| std::ptr::from_ref(place) as usize)
        .unwrap_or(0);
    // Thread-local blocks lie pages apart.
    let shard = (place >> 12) % SHARDS;
    if let Some(shard) = COUNTS.get(shard) {
        shard.0.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to `A`, which upholds the contract of `GlobalAlloc`;
// counting touches no memory but the static counters and does not allocate or panic.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises about `layout` are those that `A` asks for.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc`, `alloc_zeroed` or `realloc` of `A` with this layout.
        unsafe { self.0.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as in `dealloc`, and the caller's promises about `new_size` are those of `A`.
        unsafe { self.0.realloc(ptr, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    #[global_allocator]
    static COUNTED: Counting<System> = Counting(System);

    #[test]
    fn allocations_are_counted_and_frees_are_not() {
        let before = allocations();
        let boxed = std::hint::black_box(Box::new([0u8; 100]));
        let after_one = allocations();
        assert!(after_one > before);
        drop(boxed);
        let mut list: Vec<u64> = Vec::new();
        for number in 0..1000 {
            list.push(std::hint::black_box(number));
        }
        assert!(allocations() > after_one, "growing reallocates");
        assert_eq!(list.iter().sum::<u64>(), 499_500);
    }
}
