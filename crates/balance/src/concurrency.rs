//! An adaptive limit of concurrent requests: as many as the servers take without getting slower.
//!
//! The response time of an idle server is known (`min`); what is measured now (`sample`, the mean
//! over a short window) is compared with it. `gradient = min x (1 + tolerance) / sample`, kept from
//! a half to two; the new limit is `limit x gradient + sqrt(limit)`. The root is room to grow: a
//! limit that is not felt rises until the response time shows a queue, and falls as soon as it does.
//! A limit that traffic does not come near stays, or it would grow without evidence.
//!
//! `min` is measured at the start and from time to time, with the limit at its lowest for a few
//! dozen requests: what was measured under load would hold the queue for normal.
//!
//! Shared by all workers: a request costs two atomic operations at its begin and five at its end.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

/// Bounds and pace of the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConcurrencySettings {
    /// Lowest limit, in use while `min` is measured; 0 counts as 1. Default 10.
    pub limit_min: u32,
    /// Highest limit. Default 1,000.
    pub limit_max: u32,
    /// By how much a response may be slower than on an idle server, as a share. Default 0.25.
    pub tolerance: f64,
    /// Least time between two changes, in milliseconds. Default 100 ms.
    pub window_ms: u64,
    /// Fewest responses for a change, and for a measurement of `min`; 0 counts as 1. Default 50.
    pub samples_min: u32,
    /// Time between two measurements of `min`, in milliseconds. Default 60 s.
    pub measure_every_ms: u64,
}

impl Default for ConcurrencySettings {
    fn default() -> Self {
        ConcurrencySettings {
            limit_min: 10,
            limit_max: 1_000,
            tolerance: 0.25,
            window_ms: 100,
            samples_min: 50,
            measure_every_ms: 60_000,
        }
    }
}

impl ConcurrencySettings {
    /// The limit that follows `limit` with these response times in microseconds.
    pub fn next_limit(&self, limit: u32, min_us: u64, sample_us: u64) -> u32 {
        let tolerated = min_us as f64 * (1.0 + self.tolerance.max(0.0));
        let gradient = (tolerated / sample_us.max(1) as f64).clamp(0.5, 2.0);
        let limit = f64::from(limit);
        self.bounded((limit * gradient + limit.sqrt()) as u32)
    }

    fn bounded(&self, limit: u32) -> u32 {
        let least = self.limit_min.max(1);
        limit.clamp(least, self.limit_max.max(least))
    }
}

/// A change of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitChange {
    /// The limit before.
    pub from: u32,
    /// The limit now.
    pub to: u32,
    /// Response time of an idle server, in microseconds; 0 before the first measurement.
    pub min_us: u64,
    /// Response time that led to the change, in microseconds.
    pub sample_us: u64,
}

/// The limit of a pool or of one server.
#[derive(Debug)]
pub struct Limiter {
    settings: ConcurrencySettings,
    limit: AtomicU32,
    in_flight: AtomicU32,
    /// Most in flight in this window.
    peak: AtomicU32,
    sum_us: AtomicU64,
    samples: AtomicU32,
    window_end_ms: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    min_us: u64,
    /// The limit to go on with after a measurement; `None` when none is going on.
    after: Option<u32>,
    measure_at_ms: u64,
}

impl Limiter {
    /// A limiter at its lowest limit, about to measure `min`.
    pub fn new(settings: ConcurrencySettings) -> Self {
        let least = settings.bounded(0);
        Limiter {
            settings,
            limit: AtomicU32::new(least),
            in_flight: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            sum_us: AtomicU64::new(0),
            samples: AtomicU32::new(0),
            window_end_ms: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                min_us: 0,
                after: Some(least),
                measure_at_ms: 0,
            }),
        }
    }

    /// Takes a place, unless the limit is reached.
    pub fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        if before >= self.limit.load(Ordering::Relaxed) {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        if before >= self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        Some(InFlight {
            limiter: Arc::clone(self),
        })
    }

    /// The limit now.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Requests that hold a place.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// The settings in use.
    pub fn settings(&self) -> &ConcurrencySettings {
        &self.settings
    }

    fn sample(&self, took_us: u64, now_ms: u64) -> Option<LimitChange> {
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
        let samples = self.samples.fetch_add(1, Ordering::Relaxed) + 1;
        let due = samples >= self.settings.samples_min.max(1)
            && now_ms >= self.window_end_ms.load(Ordering::Relaxed);
        if due { self.update(now_ms) } else { None }
    }

    #[cold]
    fn update(&self, now_ms: u64) -> Option<LimitChange> {
        // Whoever comes while another is about it has nothing to add.
        let mut inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let samples = self.samples.swap(0, Ordering::Relaxed);
        let sum_us = self.sum_us.swap(0, Ordering::Relaxed);
        let peak = self.peak.swap(self.in_flight(), Ordering::Relaxed);
        if samples < self.settings.samples_min.max(1) {
            return None;
        }
        let sample_us = sum_us / u64::from(samples);
        let from = self.limit();
        let to = self.decide(&mut inner, from, peak, sample_us, now_ms);
        let window_end_ms = now_ms.saturating_add(self.settings.window_ms);
        self.window_end_ms.store(window_end_ms, Ordering::Relaxed);
        self.limit.store(to, Ordering::Relaxed);
        let min_us = inner.min_us;
        (from != to).then_some(LimitChange {
            from,
            to,
            min_us,
            sample_us,
        })
    }

    /// The limit after a window.
    fn decide(&self, inner: &mut Inner, limit: u32, peak: u32, sample_us: u64, now_ms: u64) -> u32 {
        let settings = &self.settings;
        if let Some(after) = inner.after {
            // The requests of before, slow under the old limit, have to be through.
            if peak > limit {
                return limit;
            }
            inner.min_us = sample_us;
            inner.after = None;
            inner.measure_at_ms = now_ms.saturating_add(settings.measure_every_ms);
            return after;
        }
        if now_ms >= inner.measure_at_ms {
            inner.after = Some(limit);
            return settings.bounded(0);
        }
        let next = settings.next_limit(limit, inner.min_us, sample_us);
        let felt = u64::from(peak) * 2 >= u64::from(limit);
        if next > limit && !felt { limit } else { next }
    }
}

/// A request's place under the limit; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "dropping it ends the request's place under the limit"]
pub struct InFlight {
    limiter: Arc<Limiter>,
}

impl InFlight {
    /// Ends the request and takes its response time in. Not for one that never reached a server,
    /// nor for one that the client ended: those are dropped.
    pub fn finish(self, took_us: u64, now_ms: u64) -> Option<LimitChange> {
        self.limiter.sample(took_us, now_ms)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let before = self.limiter.in_flight.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a place was given back that nobody took");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_the_gradient_within_its_bounds() {
        let settings = ConcurrencySettings::default();
        assert_eq!(settings.next_limit(100, 1_000, 1_250), 110);
        assert_eq!(settings.next_limit(100, 1_000, 2_500), 60);
        assert_eq!(
            settings.next_limit(100, 1_000, 1_000_000),
            60,
            "half at once"
        );
        assert_eq!(settings.next_limit(100, 1_000, 1), 210, "twice at once");
        assert_eq!(settings.next_limit(10, 1_000, 1_000_000), 10);
        assert_eq!(settings.next_limit(1_000, 1_000, 0), 1_000);
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let limiter = Arc::new(Limiter::new(ConcurrencySettings::default()));
        let places: Vec<_> = std::iter::from_fn(|| limiter.enter()).collect();
        assert_eq!((places.len(), limiter.in_flight()), (10, 10));
        drop(places);
        assert_eq!(limiter.in_flight(), 0);
    }
}
