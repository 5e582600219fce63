//! Which streams are not young any more.

use super::window::long_before;

/// A stream is young for one to two of these: that long a reset of it may be part of a rapid reset.
const YOUNG_MS: u32 = 1000;

/// Which streams are not young any more. Times are the low 32 bits of milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    /// The last stream that is surely old.
    old: u32,
    /// The last stream at `marked_ms`.
    recent: u32,
    marked_ms: u32,
    last_opened_ms: u32,
}

impl Ages {
    pub(super) fn new(now_ms: u32) -> Ages {
        let long_ago = long_before(now_ms);
        Ages {
            old: 0,
            recent: 0,
            marked_ms: long_ago,
            last_opened_ms: long_ago,
        }
    }

    /// A stream was opened; `last` is the one before it.
    #[inline]
    pub(super) fn opened(&mut self, last: u32, now_ms: u32) {
        if now_ms.wrapping_sub(self.last_opened_ms) >= YOUNG_MS {
            (self.old, self.recent, self.marked_ms) = (last, last, now_ms);
        } else if now_ms.wrapping_sub(self.marked_ms) >= YOUNG_MS {
            (self.old, self.recent, self.marked_ms) = (self.recent, last, now_ms);
        }
        self.last_opened_ms = now_ms;
    }

    #[inline]
    pub(super) fn is_old(&self, stream: u32, now_ms: u32) -> bool {
        let quiet = now_ms.wrapping_sub(self.last_opened_ms) >= YOUNG_MS;
        stream <= self.old || quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_grow_old() {
        for begin in [0, u32::MAX - 700] {
            let at = |ms: u32| begin.wrapping_add(ms);
            let mut ages = Ages::new(at(0));
            ages.opened(0, at(0));
            assert!(!ages.is_old(1, at(999)));
            assert!(ages.is_old(1, at(1000)), "nothing was opened since");
            // One each 100 ms: each is young for at least one second, and old after two.
            let mut opened = vec![(1, 0)];
            for (stream, ms) in (3..200).step_by(2).zip((100..).step_by(100)) {
                ages.opened(stream - 2, at(ms));
                opened.push((stream, ms));
                for &(stream, since) in &opened {
                    let old = ages.is_old(stream, at(ms));
                    assert!(old || ms - since <= 2000, "{stream} at {ms}");
                    assert!(!old || ms - since >= 1000, "{stream} at {ms}");
                }
            }
        }
    }
}
