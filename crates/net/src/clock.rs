//! The worker's clock: one reading serves everything that happens in the same breath.
//!
//! Reading the clock costs as much as routing a request, so the worker reads it when a request
//! begins, when an answer arrives and on every tick of its [`crate::Deadlines`], and hands out the
//! cached value in between.

use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock and the matching wall clock, cached until the next [`Clock::tick`].
#[derive(Debug)]
pub struct Clock {
    base: Instant,
    base_unix_us: Cell<u64>,
    now_us: Cell<u64>,
}

impl Clock {
    /// A clock that counts from now. All workers should share one `base` so that times compare.
    pub fn new(base: Instant) -> Clock {
        let clock = Clock {
            base,
            base_unix_us: Cell::new(0),
            now_us: Cell::new(0),
        };
        clock.tick();
        clock.follow_wall();
        clock
    }

    /// Reads the clock, keeps the value and gives it in microseconds since the base.
    #[inline]
    pub fn tick(&self) -> u64 {
        let now = self.base.elapsed().as_micros() as u64;
        self.now_us.set(now);
        now
    }

    /// The last reading, in microseconds since the base.
    #[inline]
    pub fn now_us(&self) -> u64 {
        self.now_us.get()
    }

    /// The last reading, in milliseconds since the base.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        self.now_us.get() / 1000
    }

    /// The wall clock at `at_us` of this clock, in microseconds since the Unix epoch. Steps of the
    /// system's time are followed by [`Clock::follow_wall`].
    #[inline]
    pub fn unix_us(&self, at_us: u64) -> u64 {
        self.base_unix_us.get() + at_us
    }

    /// Takes the system's time anew, so that a step of it does not stay out of the logs.
    pub fn follow_wall(&self) {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.base_unix_us
            .set(unix.saturating_sub(self.base.elapsed()).as_micros() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_stays_until_the_next_tick() {
        let clock = Clock::new(Instant::now());
        let first = clock.tick();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(clock.now_us(), first);
        assert!(clock.tick() >= first + 2000);
    }
}
