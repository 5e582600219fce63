//! Who is bound to which server: live state of a pool, shared by the workers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use keel_balance::{Binding, StickySettings, StickyTable};
use keel_tls::MacKey;

/// Parts of the table, each with a lock of its own, so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// The table of one pool. It goes on over reloads, by the pool's name.
#[derive(Debug)]
pub struct Bindings {
    key: MacKey,
    shards: [Mutex<StickyTable>; SHARDS],
}

impl Bindings {
    /// An empty table for `settings.size_max` clients. Its keys are tags under `key`: nobody outside can
    /// choose where a client stands in it. The table of another process takes bindings of this one
    /// when their keys are the same.
    pub fn new(key: MacKey, settings: StickySettings) -> Bindings {
        let part = part_of(settings);
        Bindings {
            key,
            shards: std::array::from_fn(|_| Mutex::new(StickyTable::new(part))),
        }
    }

    /// Goes on under other settings; the least recently used go when there are too many.
    pub fn retune(&self, settings: StickySettings) {
        let part = part_of(settings);
        for shard in &self.shards {
            let mut table = lock(shard);
            if table.settings() != part {
                table.retune(part);
            }
        }
    }

    /// Number of clients that are remembered, some of whom may be too long away by now.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Clients that were forgotten before their time, to make room.
    pub fn evicted(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).evicted()).sum()
    }

    /// Clients that are bound to the server of this name.
    pub fn count_of(&self, server: &str) -> usize {
        let id = self.id_of(server);
        self.shards
            .iter()
            .map(|shard| lock(shard).count_of(id))
            .sum()
    }

    /// Forgets who was too long away.
    pub fn expire(&self, now_ms: u64) {
        for shard in &self.shards {
            lock(shard).expire(now_ms);
        }
    }

    /// All bindings, for the process that follows this one.
    pub fn export(&self) -> Vec<Binding> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).iter());
        }
        all
    }

    /// Takes the bindings of the process before. Their times are of this process's clock.
    pub fn import(&self, bindings: impl IntoIterator<Item = Binding>, now_ms: u64) {
        let mut parts: [Vec<Binding>; SHARDS] = std::array::from_fn(|_| Vec::new());
        for binding in bindings {
            if let Some(part) = parts.get_mut(shard_of(binding.key)) {
                part.push(binding);
            }
        }
        for (shard, part) in self.shards.iter().zip(parts) {
            lock(shard).import(part, now_ms);
        }
    }

    /// What a server of this name is called in the table.
    pub(super) fn id_of(&self, server: &str) -> u64 {
        let tag = self.key.tag(&[b"server\0", server.as_bytes()]);
        (u128::from_le_bytes(tag) >> 64) as u64
    }

    /// What a client is called in the table.
    pub(super) fn key(&self, kind: &[u8], told: &[u8]) -> u128 {
        u128::from_le_bytes(self.key.tag(&[kind, b"\0", told]))
    }

    /// The server that a client is bound to.
    pub(super) fn find(&self, key: u128, now_ms: u64) -> Option<u64> {
        self.shard(key).find(key, now_ms)
    }

    /// Binds a client.
    pub(super) fn bind(&self, key: u128, server: u64, now_ms: u64) {
        self.shard(key).bind(key, server, now_ms);
    }

    /// Binds a client that was bound as `before` says, unless another request did so in the meantime.
    /// Gives whom it is bound to now.
    pub(super) fn hand_on(&self, key: u128, before: Option<u64>, server: u64, now_ms: u64) -> u64 {
        let mut table = self.shard(key);
        match table.find(key, now_ms) {
            Some(now) if Some(now) != before => now,
            _ => {
                table.bind(key, server, now_ms);
                server
            }
        }
    }

    fn shard(&self, key: u128) -> MutexGuard<'_, StickyTable> {
        let shard = self.shards.get(shard_of(key));
        // `shard_of` is a remainder: the first one is never asked in its place.
        lock(shard.unwrap_or(&self.shards[0]))
    }
}

fn shard_of(key: u128) -> usize {
    // Not the bits that the table's own map goes by first.
    (key >> 96) as usize % SHARDS
}

fn part_of(settings: StickySettings) -> StickySettings {
    StickySettings {
        size_max: settings.size_max.div_ceil(SHARDS).max(1),
        ..settings
    }
}

/// A table is whole between two calls, also when a thread died that held it.
fn lock(shard: &Mutex<StickyTable>) -> MutexGuard<'_, StickyTable> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(size_max: usize) -> Bindings {
        let idle_ms = 1_000;
        Bindings::new(MacKey::new(b"a key"), StickySettings { size_max, idle_ms })
    }

    #[test]
    fn a_client_is_handed_on_once_however_many_of_its_requests_try() {
        let bindings = table(100);
        let key = bindings.key(b"header", b"alice");
        let [gone, first, second] = ["a", "b", "c"].map(|name| bindings.id_of(name));
        bindings.bind(key, gone, 0);
        let before = bindings.find(key, 1);
        assert_eq!(before, Some(gone));
        assert_eq!(bindings.hand_on(key, before, first, 1), first);
        assert_eq!(bindings.hand_on(key, before, second, 1), first);
        assert_eq!(bindings.find(key, 1), Some(first));
        assert_eq!((bindings.count_of("a"), bindings.count_of("b")), (0, 1));
    }

    #[test]
    fn room_and_age_are_bounded() {
        let bindings = table(160);
        for client in 0..10_000u32 {
            let key = bindings.key(b"header", &client.to_be_bytes());
            bindings.bind(key, 1, 0);
        }
        assert!(bindings.len() <= 160, "{}", bindings.len());
        assert!(bindings.evicted() > 9_000);
        bindings.expire(1_000);
        assert!(bindings.is_empty());
    }

    #[test]
    fn the_next_process_goes_on_with_the_same_key() {
        let (old, new) = (table(1_000), table(1_000));
        let clients: Vec<u128> = (0..100u8).map(|n| old.key(b"header", &[n])).collect();
        for (at, client) in clients.iter().enumerate() {
            old.bind(*client, old.id_of(["a", "b"][at % 2]), 500);
        }
        new.import(old.export(), 600);
        assert_eq!((new.count_of("a"), new.count_of("b")), (50, 50));
        assert_eq!(new.find(clients[0], 600), Some(new.id_of("a")));
    }

    #[test]
    fn what_a_client_says_is_told_apart_by_kind() {
        let bindings = table(10);
        assert_ne!(bindings.key(b"header", b"x"), bindings.key(b"cookie", b"x"));
    }
}
