//! The board of a pool: what its endpoints carry, kept so that the least loaded one, and any that
//! is not full, are found without looking at all of them.
//!
//! Every endpoint has a *key* (its load under the algorithm, [`CLOSED`] when it may not be chosen).
//! Endpoints are grouped, about as many groups as there are in each, and every group keeps the
//! minimum of its keys: choosing looks at the minima and then into one group, 2 x 32 words at 1,000
//! servers. Beside the keys: one bit per endpoint that is at its `max_connections`, and the sum of
//! active requests for bounded load. A board keeps only what its algorithm needs.
//!
//! Everything here is derived from the endpoints' states, the only truth. [`Board::sync`] brings
//! one endpoint up to date after its state changed: it writes, then reads the state again, and
//! repeats when that has moved on. All accesses that matter are sequentially consistent, so whoever
//! writes last has also read the last state, and the same holds for minima against keys: as soon as
//! no thread is in the middle of a change, the board is exact. In between it may lag by the changes
//! in flight, which costs a slightly worse choice and nothing else. No locks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::bits::{Bits, words_for};
use crate::cell::Cell;
use crate::members::Members;
use crate::spec::TimeFormula;
use crate::view::Warming;

/// The key of an endpoint that may not be chosen.
pub(crate) const CLOSED: u64 = u64::MAX;

/// Smallest group, as a power of two. A pool of one group keeps no minima.
const GROUP_SHIFT_MIN: u32 = 5;

/// Weights of the time score are divided out with so many bits behind the point.
const TIME_SCORE_BITS: u32 = 16;

/// The scale of an endpoint that gets all of its traffic; less makes its load look larger.
pub(crate) const SCALE_FULL: u64 = 1 << 10;

/// What an endpoint that was never measured counts as, once it has a request to be measured by.
const UNMEASURED_US: u64 = 1_000;

/// What a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Score {
    /// Active requests per unit of weight.
    Active,
    /// Response time and active requests per unit of weight.
    Time(TimeFormula),
}

/// What a board has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keeps {
    pub(crate) score: Option<Score>,
    pub(crate) full: bool,
    pub(crate) total: bool,
    /// Endpoints may get less than all of their traffic.
    pub(crate) scales: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Board<C = AtomicU64> {
    score: Option<Score>,
    slots: Box<[Slot]>,
    /// One bit per endpoint of the tier in use.
    open: Box<[C]>,
    keys: Box<[C]>,
    minima: Box<[C]>,
    group_shift: u32,
    /// Share of its traffic that every endpoint gets, in parts of [`SCALE_FULL`]; may be empty.
    scales: Box<[C]>,
    /// One bit per endpoint without room; empty when nobody has a limit.
    full: Box<[C]>,
    /// What every endpoint adds to the total; empty when no total is kept.
    counted: Box<[C]>,
    total: Total<C>,
}

#[derive(Debug)]
struct Slot {
    weight: u32,
    max_connections: u32,
}

/// Written on every request: kept off the lines that are only read.
#[derive(Debug)]
#[repr(align(64))]
struct Total<C>(C);

/// What is written about one endpoint, read in one go.
#[derive(PartialEq, Eq)]
struct Reading {
    /// Active requests of an open endpoint.
    active: u64,
    full: bool,
    key: u64,
}

/// The place of an endpoint's state on the board that must hear of its changes.
pub(crate) struct Home {
    pub(crate) board: Arc<Board>,
    pub(crate) slot: usize,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the board: one endpoint would print the whole pool.
        f.debug_struct("Home")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// What a board reads of a state.
pub(crate) trait Truth {
    /// Requests that hold a permit.
    fn active(&self) -> u32;
    /// Average response time in microseconds, 0 before the first.
    fn average_us(&self) -> u32;
}

fn cells<C: Cell>(len: usize, value: u64) -> Box<[C]> {
    std::iter::repeat_with(|| C::new(value)).take(len).collect()
}

impl<C: Cell> Board<C> {
    /// A board on which everybody is closed.
    pub(crate) fn new(members: &Members, keeps: Keeps) -> Self {
        let len = members.len();
        let mut group_shift = GROUP_SHIFT_MIN;
        while len > 1 << (2 * group_shift) {
            group_shift += 1;
        }
        let slots = members.list().iter().map(|member| Slot {
            weight: member.weight,
            max_connections: member.max_connections,
        });
        let kept = |len: usize, wanted: bool| if wanted { len } else { 0 };
        let scored = kept(len, keeps.score.is_some());
        let groups = scored.div_ceil(1 << group_shift);
        Board {
            score: keeps.score,
            slots: slots.collect(),
            open: cells(words_for(len), 0),
            keys: cells(scored, CLOSED),
            minima: cells(kept(groups, groups > 1), CLOSED),
            group_shift,
            scales: cells(kept(scored, keeps.scales), SCALE_FULL),
            full: cells(kept(words_for(len), keeps.full), 0),
            counted: cells(kept(len, keeps.total), 0),
            total: Total(C::new(0)),
        }
    }

    /// True when response times are part of the keys.
    pub(crate) fn hears_times(&self) -> bool {
        matches!(self.score, Some(Score::Time(_)))
    }

    /// The share of its traffic that the endpoint at `slot` gets, up to 1.
    pub(crate) fn share(&self, slot: usize) -> f64 {
        let scale = self
            .scales
            .get(slot)
            .map_or(SCALE_FULL, |scale| scale.load());
        scale as f64 / SCALE_FULL as f64
    }

    /// Opens exactly these endpoints, of which some get a share of their traffic only.
    pub(crate) fn open_exactly(&self, ready: &Bits, warming: &[Warming], members: &Members) {
        let mut shares = warming.iter().peekable();
        for (slot, scale) in self.scales.iter().enumerate() {
            let one = shares.next_if(|one| usize::from(one.index) == slot);
            let share = one.map_or(1.0, |one| one.share);
            scale.store(((SCALE_FULL as f64 * share) as u64).max(1));
        }
        for (at, word) in self.open.iter().enumerate() {
            word.store(ready.word(at));
        }
        for (slot, member) in members.list().iter().enumerate() {
            self.sync(slot, &*member.state);
        }
    }

    /// Brings the board up to date with the state of the endpoint at `slot`.
    pub(crate) fn sync(&self, slot: usize, state: &impl Truth) {
        loop {
            let reading = self.read(slot, state);
            self.write_total(slot, &reading);
            self.write_full(slot, reading.full);
            self.write_key(slot, reading.key);
            if self.read(slot, state) == reading {
                return;
            }
        }
    }

    /// Active requests over all open endpoints, as far as they are known.
    pub(crate) fn total(&self) -> u64 {
        self.total.0.load()
    }

    /// One bit per endpoint without room, for the endpoints of word `at`.
    pub(crate) fn full_word(&self, at: usize) -> u64 {
        self.full.get(at).map_or(0, |word| word.load())
    }

    /// The endpoint with the smallest key and the number of those that share it (2 stands for any
    /// number above 1); of several the first. `None` when all are closed or tried.
    pub(crate) fn least(&self, tried: &[usize]) -> Option<(usize, u64, usize)> {
        if self.minima.is_empty() {
            return self.least_in(0, tried).found();
        }
        // A minimum may be too low for an instant; then the group is put right and the search
        // repeated. Bounded, so that others cannot keep it from ending.
        for _ in 0..4 {
            let best = self.least_minimum(tried);
            if best.key == CLOSED {
                return None;
            }
            let inside = self.least_in(best.at, tried);
            if inside.key <= best.key {
                return Some((inside.at, inside.key, inside.count.max(best.count)));
            }
            self.write_minimum(best.at);
        }
        (0..self.minima.len())
            .map(|group| self.least_in(group, tried))
            .min_by_key(|least| least.key)
            .and_then(Least::found)
    }

    /// The first endpoint from `start` on, and then from the beginning, whose key is `key`.
    pub(crate) fn first_with(&self, key: u64, start: usize, tried: &[usize]) -> Option<usize> {
        let fits = |slot: &usize| self.key(*slot) == key && !tried.contains(slot);
        let len = self.keys.len();
        let start = if start < len { start } else { 0 };
        if self.minima.is_empty() {
            return (start..len).chain(0..start).find(fits);
        }
        let groups = self.minima.len();
        let first = start >> self.group_shift;
        for step in 0..=groups {
            let group = (first + step) % groups;
            if self.minima[group].load() > key {
                continue;
            }
            let mut range = self.group_range(group);
            if step == 0 {
                range.start = start;
            } else if step == groups {
                range.end = start;
            }
            if let Some(slot) = range.into_iter().find(fits) {
                return Some(slot);
            }
        }
        None
    }

    /// The key of `slot`; closed when no keys are kept.
    pub(crate) fn key(&self, slot: usize) -> u64 {
        self.keys.get(slot).map_or(CLOSED, |key| key.load())
    }

    fn read(&self, slot: usize, state: &impl Truth) -> Reading {
        let active = state.active();
        let limit = self.slots[slot].max_connections;
        let full = limit != 0 && active >= limit;
        let open = self.open[slot / 64].load() >> (slot % 64) & 1 != 0;
        let key = match self.score {
            Some(score) if open && !full => {
                let key = score.key(active, state.average_us(), self.slots[slot].weight);
                match self.scales.get(slot) {
                    Some(scale) => scaled(key, scale.load()),
                    None => key,
                }
            }
            _ => CLOSED,
        };
        Reading {
            active: if open { u64::from(active) } else { 0 },
            full,
            key,
        }
    }

    fn write_total(&self, slot: usize, reading: &Reading) {
        if let Some(counted) = self.counted.get(slot) {
            let before = counted.swap(reading.active);
            if before != reading.active {
                self.total.0.fetch_add(reading.active.wrapping_sub(before));
            }
        }
    }

    fn write_full(&self, slot: usize, full: bool) {
        let Some(word) = self.full.get(slot / 64) else {
            return;
        };
        let bit = 1u64 << (slot % 64);
        if full {
            word.fetch_or(bit);
        } else if word.load() & bit != 0 {
            word.fetch_and(!bit);
        }
    }

    fn write_key(&self, slot: usize, key: u64) {
        let Some(cell) = self.keys.get(slot) else {
            return;
        };
        let before = cell.swap(key);
        let group = slot >> self.group_shift;
        let Some(minimum) = self.minima.get(group) else {
            return;
        };
        let known = minimum.load();
        if key <= known {
            minimum.fetch_min(key);
            // Raised by somebody else in between, who cannot have seen this minimum.
            if cell.load() != key {
                self.write_minimum(group);
            }
        } else if before <= known {
            self.write_minimum(group);
        }
    }

    fn write_minimum(&self, group: usize) {
        let mut least = self.least_in(group, &[]).key;
        loop {
            self.minima[group].store(least);
            let again = self.least_in(group, &[]).key;
            if again == least {
                return;
            }
            least = again;
        }
    }

    fn group_range(&self, group: usize) -> std::ops::Range<usize> {
        let start = group << self.group_shift;
        start..(start + (1 << self.group_shift)).min(self.keys.len())
    }

    fn least_in(&self, group: usize, tried: &[usize]) -> Least {
        let range = self.group_range(group);
        let mut least = Least::none();
        let start = range.start;
        for (offset, key) in self.keys[range].iter().enumerate() {
            let key = key.load();
            if key <= least.key && (tried.is_empty() || !tried.contains(&(start + offset))) {
                least.take(start + offset, key);
            }
        }
        least
    }

    /// The group with the smallest minimum; groups with tried endpoints are looked into.
    fn least_minimum(&self, tried: &[usize]) -> Least {
        let mut least = Least::none();
        for (group, minimum) in self.minima.iter().enumerate() {
            let mut key = minimum.load();
            if tried.iter().any(|slot| slot >> self.group_shift == group) {
                key = self.least_in(group, tried).key;
            }
            if key <= least.key {
                least.take(group, key);
            }
        }
        least
    }
}

/// The running result of a search for the smallest key.
#[derive(Clone, Copy)]
struct Least {
    at: usize,
    key: u64,
    count: usize,
}

impl Least {
    const fn none() -> Self {
        Least {
            at: 0,
            key: CLOSED,
            count: 0,
        }
    }

    fn take(&mut self, at: usize, key: u64) {
        if key < self.key {
            *self = Least { at, key, count: 1 };
        } else {
            self.count = 2;
        }
    }

    fn found(self) -> Option<(usize, u64, usize)> {
        (self.key != CLOSED).then_some((self.at, self.key, self.count))
    }
}

impl Score {
    /// The key under this score; smaller is better and `CLOSED` is never reached.
    fn key(self, active: u32, average_us: u32, weight: u32) -> u64 {
        match self {
            // Two fractions with weights below 2^16 differ by at least 2^-32, so that 32 bits
            // behind the point keep their order, and equal ones stay equal.
            Score::Active => per_weight(u64::from(active) << 32, weight),
            Score::Time(formula) => {
                let score = time_score(formula, active, average_us);
                let wide = u128::from(score) << TIME_SCORE_BITS;
                let key = wide / u128::from(weight.max(1));
                u64::try_from(key).unwrap_or(CLOSED).min(CLOSED - 1)
            }
        }
    }
}

/// The key of an endpoint that gets a part of its traffic only.
fn scaled(key: u64, scale: u64) -> u64 {
    if scale >= SCALE_FULL {
        return key;
    }
    let wide = u128::from(key) * u128::from(SCALE_FULL) / u128::from(scale.max(1));
    u64::try_from(wide).unwrap_or(CLOSED).min(CLOSED - 1)
}

fn per_weight(load: u64, weight: u32) -> u64 {
    // A division costs more than the rest of the key, and most pools have equal weights.
    if weight <= 1 {
        load
    } else {
        load / u64::from(weight)
    }
}

/// Response time times active requests; an endpoint that was never measured is tried at once, but
/// with one request only until the answer is there.
fn time_score(formula: TimeFormula, active: u32, average_us: u32) -> u64 {
    let factor = match formula {
        TimeFormula::Active => u64::from(active),
        TimeFormula::ActivePlusOne => u64::from(active) + 1,
    };
    match (average_us, active) {
        (0, 0) => 0,
        (0, _) => UNMEASURED_US * factor,
        _ => u64::from(average_us) * factor,
    }
}

#[cfg(test)]
mod tests;
