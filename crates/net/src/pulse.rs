//! Whether every worker still ticks, for a watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A worker that has ended in good order.
const ENDED: u64 = u64::MAX;

/// When each worker ticked last, in milliseconds of the clock that they share. Clones share it.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<[AtomicU64]>);

impl Pulse {
    /// For so many workers, each of which counts as having ticked at 0.
    pub fn new(workers: usize) -> Pulse {
        Pulse((0..workers).map(|_| AtomicU64::new(0)).collect())
    }

    /// A worker has ticked.
    #[inline]
    pub fn beat(&self, worker: usize, now_ms: u64) {
        if let Some(at) = self.0.get(worker) {
            at.store(now_ms, Ordering::Relaxed);
        }
    }

    /// A worker will tick no more, and that is as it should be.
    pub fn end(&self, worker: usize) {
        self.beat(worker, ENDED);
    }

    /// The workers that have not ticked for longer than `limit_ms`.
    pub fn stuck(&self, now_ms: u64, limit_ms: u64) -> Vec<usize> {
        let late = |at: &AtomicU64| at.load(Ordering::Relaxed).saturating_add(limit_ms) < now_ms;
        let all = self.0.iter().enumerate();
        all.filter(|(_, at)| late(at)).map(|(it, _)| it).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_tick_is_told_and_who_has_ended_is_not() {
        let pulse = Pulse::new(3);
        assert!(pulse.stuck(500, 500).is_empty());
        assert_eq!(pulse.stuck(501, 500), [0, 1, 2]);
        pulse.beat(0, 600);
        pulse.end(2);
        pulse.beat(9, 600);
        assert_eq!(pulse.stuck(1000, 500), [1]);
        assert_eq!(pulse.stuck(1101, 500), [0, 1]);
        assert_eq!(pulse.stuck(u64::MAX, 500), [0, 1]);
    }
}
