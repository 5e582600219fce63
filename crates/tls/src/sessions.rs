//! Sessions kept in memory, bounded by bytes and by age: for the ids of TLS 1.2 (RFC 5246 section 7.3), and for
//! TLS 1.3 when tickets are off.
//!
//! The store is cut into shards by a keyed hash of the id, each with its own lock and its part of the memory; a lock is
//! held for a look-up, never for longer. When a shard is full its oldest sessions go first. Time comes from
//! [`Sessions::refresh`] alone.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::server::StoresServerSessions;

use crate::settings::SessionSettings;

/// A default for [`SessionSettings::bytes_max`]: about 20,000 sessions without client certificates.
pub const BYTES_MAX: u64 = 10 * 1024 * 1024;
/// A default for [`SessionSettings::timeout`].
pub const TIMEOUT: Duration = Duration::from_secs(600);

const SHARDS: usize = 16;
/// What one session costs beside its id and its state: its place in the table and in the queue (both grow by
/// doubling, so twice), and the allocator's share.
const OVERHEAD: usize = 2 * (size_of::<(Box<[u8]>, Entry)>() + size_of::<(Box<[u8]>, u64)>()) + 48;
/// Longest id that is kept; rustls has 32 bytes at most.
const ID_MAX: usize = 64;

/// Kept sessions. One for each listener, shared by all workers: sessions must not pass from one listener to another
/// that asks clients for other certificates.
pub struct Sessions {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    shard_bytes_max: usize,
    timeout_s: u64,
    /// Seconds since 1970 at the last refresh.
    now: AtomicU64,
    turn: AtomicU64,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Box<[u8]>, Entry>,
    /// Ids with the number of their entry, the oldest first. A number that the entry of that id does not have is of
    /// one that was taken or replaced.
    order: VecDeque<(Box<[u8]>, u64)>,
    bytes: usize,
    /// The number of the next entry.
    next: u64,
}

struct Entry {
    number: u64,
    made: u64,
    state: Box<[u8]>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("timeout_s", &self.timeout_s)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// An empty store. `bytes_max` is divided between 16 shards; a session that is larger than a shard is not kept.
    pub fn new(settings: SessionSettings, now: SystemTime) -> Sessions {
        let sessions = Sessions {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            shard_bytes_max: usize::try_from(settings.bytes_max).unwrap_or(usize::MAX) / SHARDS,
            timeout_s: settings.timeout.as_secs(),
            now: AtomicU64::new(0),
            turn: AtomicU64::new(0),
        };
        sessions.refresh(now);
        sessions
    }

    /// Tells the time and forgets what is too old in one of the shards, the next at each call. About once a second.
    pub fn refresh(&self, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.now.store(now, Ordering::Relaxed);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(shard) = self.shards.get(turn as usize % SHARDS) {
            let mut shard = lock(shard);
            shard.forget(now, self.timeout_s, usize::MAX);
            shard.tidy();
        }
    }

    /// How many sessions are kept, and how many bytes they take, for metrics.
    pub fn usage(&self) -> (usize, usize) {
        let each = self.shards.iter().map(|shard| {
            let shard = lock(shard);
            (shard.entries.len(), shard.bytes)
        });
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn shard(&self, id: &[u8]) -> Option<MutexGuard<'_, Shard>> {
        // The id is the client's: with a keyed hash nobody can fill one shard on purpose.
        let at = self.hasher.hash_one(id) as usize % SHARDS;
        self.shards.get(at).map(lock)
    }

    fn fresh(&self, entry: &Entry) -> bool {
        entry.age(self.now.load(Ordering::Relaxed)) < self.timeout_s
    }
}

impl Entry {
    /// In seconds; 0 when the clock was set back.
    fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.made)
    }
}

impl Shard {
    /// Forgets the oldest entries: those of `timeout_s` or more, and others until no more than `bytes_max` are left.
    fn forget(&mut self, now: u64, timeout_s: u64, bytes_max: usize) {
        while let Some((id, number)) = self.order.front() {
            let entry = self.entries.get(id).filter(|entry| entry.number == *number);
            if entry.is_some_and(|entry| entry.age(now) < timeout_s) && self.bytes <= bytes_max {
                return;
            }
            let gone = entry.is_some();
            let Some((id, _)) = self.order.pop_front() else {
                return;
            };
            if gone {
                self.remove(&id);
            }
        }
    }

    fn remove(&mut self, id: &[u8]) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.bytes -= cost(id, &entry.state);
        Some(entry)
    }

    /// Ids of entries that are gone stay in the queue until they come to its front, but never more of them than there
    /// are entries.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.order
                .retain(|(id, number)| entries.get(id).is_some_and(|e| e.number == *number));
        }
        debug_assert!(self.order.len() <= 2 * self.entries.len() + 16);
    }
}

/// Bytes that a session takes; the id stands in the table and in the queue, where it can be left behind once.
fn cost(id: &[u8], state: &[u8]) -> usize {
    OVERHEAD + 3 * id.len() + state.len()
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, state: Vec<u8>) -> bool {
        let cost = cost(&id, &state);
        if id.len() > ID_MAX || cost > self.shard_bytes_max {
            return false;
        }
        let Some(mut shard) = self.shard(&id) else {
            return false;
        };
        shard.remove(&id);
        let now = self.now.load(Ordering::Relaxed);
        shard.forget(now, self.timeout_s, self.shard_bytes_max - cost);
        let number = shard.next;
        shard.next += 1;
        shard.order.push_back((id.clone().into(), number));
        shard.entries.insert(
            id.into(),
            Entry {
                number,
                made: now,
                state: state.into(),
            },
        );
        shard.bytes += cost;
        shard.tidy();
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        let shard = self.shard(id)?;
        let entry = shard.entries.get(id).filter(|entry| self.fresh(entry))?;
        Some(entry.state.to_vec())
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let mut shard = self.shard(id)?;
        let entry = shard.remove(id)?;
        shard.tidy();
        self.fresh(&entry).then(|| entry.state.into_vec())
    }

    fn can_cache(&self) -> bool {
        self.shard_bytes_max > OVERHEAD && self.timeout_s > 0
    }
}

#[cfg(test)]
mod tests;
