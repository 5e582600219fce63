//! What keeps a pool from more than it can take: limits over all workers, and load shed.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many requests and connections a pool may have, over all workers. Live: it goes on over
/// reloads, and a reload may change the limits.
#[derive(Debug, Default)]
pub struct PoolLimits {
    requests: Places,
    connections: Places,
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
        self.connections
            .max
            .store(connections_max, Ordering::Relaxed);
    }

    /// Requests that are under way, and connections that are open.
    pub fn taken(&self) -> (u32, u32) {
        (self.requests.taken(), self.connections.taken())
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
