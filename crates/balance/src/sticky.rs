//! Which server a client is bound to: a table of bounded size and age.
//!
//! The one that was used least recently goes first, be it for age or for room. A map finds an
//! entry, and a list through the entries keeps them in the order of their use, so that every
//! operation costs the same however many there are (a map that grows costs more for once).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// No entry.
const NONE: u32 = u32::MAX;

/// How large a table may be, and how long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StickySettings {
    /// Most entries; at least 1 and below 2^32. Default 100,000 (some 7 MB).
    pub size_max: usize,
    /// How long an entry lives without use, in milliseconds. Default 30 min.
    pub idle_ms: u64,
}

impl Default for StickySettings {
    fn default() -> Self {
        StickySettings {
            size_max: 100_000,
            idle_ms: 1_800_000,
        }
    }
}

/// A binding as it is handed over to another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Hash of what the client is known by.
    pub key: u128,
    /// Id of the server's name.
    pub server: u64,
    /// When it was used last, in milliseconds.
    pub used_ms: u64,
}

/// Bindings of clients to servers. One owner; the caller locks.
///
/// The key must be a hash that no client can choose (a keyed one), since the table does not hash it
/// again.
#[derive(Debug)]
pub struct StickyTable {
    settings: StickySettings,
    places: HashMap<u128, u32, BuildHasherDefault<Fold>>,
    entries: Vec<Entry>,
    /// Head of the list of unused places, linked by `older`.
    free: u32,
    newest: u32,
    oldest: u32,
    counts: HashMap<u64, usize>,
    evicted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    binding: Binding,
    newer: u32,
    older: u32,
}

/// Takes a key that is a hash already.
#[derive(Debug, Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 64) as u64 ^ key as u64;
    }
}

impl StickyTable {
    /// An empty table.
    pub fn new(settings: StickySettings) -> Self {
        StickyTable {
            settings: valid(settings),
            places: HashMap::default(),
            entries: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            counts: HashMap::new(),
            evicted: 0,
        }
    }

    /// The server that `key` is bound to. Counts as a use.
    pub fn find(&mut self, key: u128, now_ms: u64) -> Option<u64> {
        let place = *self.places.get(&key)?;
        let entry = self.entries.get_mut(place as usize)?;
        if entry.binding.used_ms.saturating_add(self.settings.idle_ms) <= now_ms {
            self.remove(key);
            return None;
        }
        entry.binding.used_ms = entry.binding.used_ms.max(now_ms);
        let server = entry.binding.server;
        self.touch(place);
        Some(server)
    }

    /// Binds `key` to a server, anew when it is bound already. Makes room for it: what is too old
    /// goes, and the least recently used when that does not suffice.
    pub fn bind(&mut self, key: u128, server: u64, now_ms: u64) {
        // Two for one: however many are too old, no call pays for all of them.
        for _ in 0..2 {
            self.remove_oldest_if(|oldest, idle_ms| {
                oldest.used_ms.saturating_add(idle_ms) <= now_ms
            });
        }
        if let Some(place) = self.places.get(&key).copied() {
            if let Some(entry) = self.entries.get_mut(place as usize) {
                let before = std::mem::replace(&mut entry.binding.server, server);
                entry.binding.used_ms = entry.binding.used_ms.max(now_ms);
                self.uncount(before);
                self.count(server);
            }
            self.touch(place);
            return;
        }
        if self.len() >= self.settings.size_max && self.remove_oldest_if(|_, _| true) {
            self.evicted += 1;
        }
        self.insert(Binding {
            key,
            server,
            used_ms: now_ms,
        });
    }

    /// Forgets a binding; the server when there was one.
    pub fn remove(&mut self, key: u128) -> Option<u64> {
        let place = self.places.remove(&key)?;
        self.unlink(place);
        let entry = self.entries.get_mut(place as usize)?;
        entry.older = self.free;
        self.free = place;
        let server = entry.binding.server;
        self.uncount(server);
        Some(server)
    }

    /// Forgets what is too old; how many that were. Costs as much as there are.
    pub fn expire(&mut self, now_ms: u64) -> usize {
        let before = self.len();
        while self
            .remove_oldest_if(|oldest, idle_ms| oldest.used_ms.saturating_add(idle_ms) <= now_ms)
        {
        }
        before - self.len()
    }

    /// Goes on under other settings; the least recently used go when there are too many.
    pub fn retune(&mut self, settings: StickySettings) {
        self.settings = valid(settings);
        while self.len() > self.settings.size_max && self.remove_oldest_if(|_, _| true) {}
    }

    /// Takes the bindings of another table (of the process before an upgrade, from
    /// [`StickyTable::iter`]); a key that is bound here already stays as it is. Of too many the
    /// first are lost.
    pub fn import(&mut self, bindings: impl IntoIterator<Item = Binding>, now_ms: u64) {
        let mut all: Vec<Binding> = bindings
            .into_iter()
            .filter(|one| !self.places.contains_key(&one.key))
            .filter(|one| one.used_ms.saturating_add(self.settings.idle_ms) > now_ms)
            .collect();
        all.extend(self.iter());
        // Stable: equal times keep their order.
        all.sort_by_key(|one| one.used_ms);
        let surplus = all.len().saturating_sub(self.settings.size_max);
        *self = StickyTable {
            evicted: self.evicted,
            ..StickyTable::new(self.settings)
        };
        for binding in all.into_iter().skip(surplus) {
            if !self.places.contains_key(&binding.key) {
                self.insert(binding);
            }
        }
    }

    /// All bindings, the least recently used first.
    pub fn iter(&self) -> impl Iterator<Item = Binding> + '_ {
        let mut place = self.oldest;
        std::iter::from_fn(move || {
            let entry = self.entries.get(place as usize)?;
            place = entry.newer;
            Some(entry.binding)
        })
    }

    /// Number of bindings, some of which may be too old by now.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True without bindings.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bindings to this server.
    pub fn count_of(&self, server: u64) -> usize {
        self.counts.get(&server).copied().unwrap_or(0)
    }

    /// Bindings that made room for others before their time.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The settings in use.
    pub fn settings(&self) -> StickySettings {
        self.settings
    }

    /// Puts a new binding at the end of those most recently used.
    fn insert(&mut self, binding: Binding) {
        let entry = Entry {
            binding,
            newer: NONE,
            older: NONE,
        };
        let place = match self.entries.get_mut(self.free as usize) {
            Some(unused) => {
                let place = self.free;
                self.free = unused.older;
                *unused = entry;
                place
            }
            None => {
                // Below `NONE`: the size is.
                let place = self.entries.len() as u32;
                self.entries.push(entry);
                place
            }
        };
        self.places.insert(binding.key, place);
        self.count(binding.server);
        self.link(place);
    }

    fn remove_oldest_if(&mut self, goes: impl Fn(&Binding, u64) -> bool) -> bool {
        let Some(entry) = self.entries.get(self.oldest as usize) else {
            return false;
        };
        if !goes(&entry.binding, self.settings.idle_ms) {
            return false;
        }
        let key = entry.binding.key;
        self.remove(key).is_some()
    }

    fn touch(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    /// Makes `place` the most recently used.
    fn link(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.newer = NONE;
            entry.older = before;
        }
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(Entry { newer, older, .. }) = self.entries.get(place as usize).copied() else {
            return;
        };
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn count(&mut self, server: u64) {
        *self.counts.entry(server).or_default() += 1;
    }

    fn uncount(&mut self, server: u64) {
        if let Some(count) = self.counts.get_mut(&server) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&server);
            }
        }
    }
}

/// Settings that a table can keep to.
fn valid(settings: StickySettings) -> StickySettings {
    StickySettings {
        size_max: settings.size_max.clamp(1, NONE as usize - 1),
        ..settings
    }
}
