//! How many requests and connections there may be at a time, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::connections::Connections;

/// How many requests and connections a pool may have, over all workers. Live: it goes on over
/// reloads, and a reload may change the limits.
#[derive(Debug, Default)]
pub struct PoolLimits {
    requests: Places,
    connections: Connections,
}

impl PoolLimits {
    /// Limits of requests and of connections at a time; 0 is no limit.
    pub fn new(requests_max: u32, connections_max: u32) -> PoolLimits {
        let limits = PoolLimits::default();
        limits.set(requests_max, connections_max);
        limits
    }

    /// Changes the limits; what is over a lower one stays until it ends.
    pub fn set(&self, requests_max: u32, connections_max: u32) {
        self.requests.max.store(requests_max, Ordering::Relaxed);
        self.connections.set(connections_max);
    }

    /// Requests that are under way, and connections that are open.
    pub fn taken(&self) -> (u32, u32) {
        (self.requests.taken(), self.connections.open())
    }

    /// A place for a request; none at the limit.
    pub(crate) fn request(self: &Arc<Self>) -> Option<Place> {
        let entered = self.requests.enter();
        entered.then(|| Place::Request(Arc::clone(self)))
    }

    /// The connections.
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }
}

/// A number of places.
#[derive(Debug, Default)]
struct Places {
    taken: AtomicU32,
    /// 0 is no limit.
    max: AtomicU32,
}

impl Places {
    fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    fn enter(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        if max == 0 {
            self.taken.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        // Whoever is refused never counts: another would be refused for it.
        let more = |taken| (taken < max).then_some(taken + 1);
        let taken = &self.taken;
        taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }
}

/// One of the places of a limit; given back on drop.
#[derive(Debug)]
pub(crate) enum Place {
    /// A request of a pool.
    Request(Arc<PoolLimits>),
    /// A request of the process.
    Process(Arc<Shed>),
}

impl Place {
    fn places(&self) -> &Places {
        match self {
            Place::Request(limits) => &limits.requests,
            Place::Process(shed) => &shed.requests,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places().taken.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Refuses requests before the process runs out of memory or has more of them than it can serve.
/// One for the process; `control` measures the memory about once a second.
#[derive(Debug)]
pub struct Shed {
    requests: Places,
    /// 0 is no limit.
    memory_bytes_max: u64,
    memory_is_short: AtomicBool,
}

impl Shed {
    /// Refuses beyond so many requests at a time, and while more memory is in use; 0 is no limit.
    pub fn new(requests_max: u32, memory_bytes_max: u64) -> Shed {
        let requests = Places::default();
        requests.max.store(requests_max, Ordering::Relaxed);
        Shed {
            requests,
            memory_bytes_max,
            memory_is_short: AtomicBool::new(false),
        }
    }

    /// A place for a request; none at the limit, or while memory is short.
    pub(crate) fn request(self: &Arc<Self>) -> Option<Place> {
        let entered = !self.is_short_of_memory() && self.requests.enter();
        entered.then(|| Place::Process(Arc::clone(self)))
    }

    /// Takes note of the memory in use, in bytes; true when that changed whether requests are refused.
    pub fn measured(&self, memory_bytes: u64) -> bool {
        let short = self.memory_bytes_max != 0 && memory_bytes > self.memory_bytes_max;
        self.memory_is_short.swap(short, Ordering::Relaxed) != short
    }

    /// Whether requests are refused for want of memory.
    pub fn is_short_of_memory(&self) -> bool {
        self.memory_is_short.load(Ordering::Relaxed)
    }

    /// Whether the memory in use matters.
    pub fn watches_memory(&self) -> bool {
        self.memory_bytes_max != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let limits = Arc::new(PoolLimits::new(2, 0));
        let held = [limits.request(), limits.request()];
        assert!(held.iter().all(Option::is_some) && limits.request().is_none());
        limits.set(3, 0);
        assert!(limits.request().is_some());
        drop(held);
        assert_eq!(limits.taken(), (0, 0));
        limits.set(0, 0);
        assert!(limits.request().is_some());
    }

    #[test]
    fn whoever_is_refused_never_counts() {
        let limits = Arc::new(PoolLimits::new(1, 0));
        let held = limits.request();
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| (0..200_000).filter(|_| limits.request().is_some()).count());
            while !asks.is_finished() {
                assert_eq!(limits.taken().0, 1);
            }
            assert_eq!(asks.join().expect("it asks"), 0);
        });
        drop(held);
        assert_eq!(limits.taken().0, 0);
    }

    #[test]
    fn memory_refuses_until_there_is_enough_again() {
        let shed = Arc::new(Shed::new(0, 100));
        assert!(!shed.measured(100) && shed.request().is_some());
        assert!(shed.measured(101) && !shed.measured(102) && shed.request().is_none());
        assert!(shed.measured(90) && shed.request().is_some());
    }
}
