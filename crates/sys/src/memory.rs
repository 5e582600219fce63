//! Memory that was freed goes back to the system.

/// Gives free memory of this thread's heap back to the system. Takes from microseconds to a few
/// milliseconds; for after a burst, not for every request. Does nothing when mimalloc is not the
/// global allocator.
pub fn release_free_memory() {
    // SAFETY: `mi_collect` may be called at any time and from any thread; it works on the calling
    // thread's own heap and frees nothing that is in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn may_be_called_at_any_time() {
        let kept = vec![7u8; 1 << 20];
        super::release_free_memory();
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
