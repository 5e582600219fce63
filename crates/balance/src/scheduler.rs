//! Runs threads one step at a time, in an order drawn from a seed: every access to a [`Stepped`]
//! cell is a step, before which any other thread may be put in. Orders that real threads meet once
//! in a million requests come up within a few hundred runs, and a seed brings each back. The
//! accesses are sequentially consistent, as those of the board are. A thread under it must not wait
//! for a lock that another may hold over a step.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::cell::Cell;
use crate::hash::mix;

/// Who runs, and who has not ended.
struct Threads {
    running: usize,
    alive: Vec<usize>,
    random: u64,
    /// A step is followed by another of the same thread, but for one in so many.
    switch_one_in: u64,
}

struct Schedule {
    threads: Mutex<Threads>,
    changed: Condvar,
}

thread_local! {
    /// The schedule that this thread runs under, and its number there.
    static SCHEDULE: RefCell<Option<(Arc<Schedule>, usize)>> = const { RefCell::new(None) };
}

/// Runs these to their ends, in the order that the seed says.
pub(crate) fn run(seed: u64, switch_one_in: u64, bodies: Vec<Box<dyn FnOnce() + Send + '_>>) {
    let threads = Threads {
        running: seed as usize % bodies.len(),
        alive: (0..bodies.len()).collect(),
        random: mix(seed),
        switch_one_in,
    };
    let schedule = Arc::new(Schedule {
        threads: Mutex::new(threads),
        changed: Condvar::new(),
    });
    std::thread::scope(|scope| {
        for (number, body) in bodies.into_iter().enumerate() {
            let schedule = Arc::clone(&schedule);
            scope.spawn(move || {
                SCHEDULE.set(Some((Arc::clone(&schedule), number)));
                let _ending = Ending(&schedule, number);
                drop(schedule.wait_for(number, schedule.threads.lock().unwrap()));
                body();
            });
        }
    });
}

impl Schedule {
    fn wait_for<'a>(
        &'a self,
        number: usize,
        threads: MutexGuard<'a, Threads>,
    ) -> MutexGuard<'a, Threads> {
        self.changed
            .wait_while(threads, |threads| threads.running != number)
            .unwrap()
    }

    fn step(&self, number: usize) {
        let mut threads = self.threads.lock().unwrap();
        threads.random = mix(threads.random.wrapping_add(1));
        if threads.random.is_multiple_of(threads.switch_one_in) {
            threads.hand_on();
            self.changed.notify_all();
            drop(self.wait_for(number, threads));
        }
    }

    fn end(&self, number: usize) {
        let mut threads = self.threads.lock().unwrap();
        threads.alive.retain(|other| *other != number);
        if !threads.alive.is_empty() {
            threads.hand_on();
        }
        self.changed.notify_all();
    }
}

/// Hands on when a thread ends, be it by a panic: the others must not wait for it.
struct Ending<'a>(&'a Schedule, usize);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        SCHEDULE.set(None);
        self.0.end(self.1);
    }
}

impl Threads {
    fn hand_on(&mut self) {
        let at = (self.random >> 32) as usize % self.alive.len();
        self.running = self.alive[at];
    }
}

/// A word, every access to which is a step.
#[derive(Debug)]
pub(crate) struct Stepped(AtomicU64);

impl Stepped {
    fn step(&self) -> &AtomicU64 {
        let schedule = SCHEDULE.with_borrow(Clone::clone);
        if let Some((schedule, number)) = schedule {
            schedule.step(number);
        }
        &self.0
    }
}

impl Cell for Stepped {
    fn new(value: u64) -> Self {
        Stepped(AtomicU64::new(value))
    }

    fn load(&self) -> u64 {
        Cell::load(self.step())
    }

    fn store(&self, value: u64) {
        Cell::store(self.step(), value);
    }

    fn swap(&self, value: u64) -> u64 {
        Cell::swap(self.step(), value)
    }

    fn fetch_add(&self, value: u64) {
        Cell::fetch_add(self.step(), value);
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        Cell::compare_exchange(self.step(), current, new)
    }

    fn fetch_min(&self, value: u64) {
        Cell::fetch_min(self.step(), value);
    }

    fn fetch_or(&self, value: u64) {
        Cell::fetch_or(self.step(), value);
    }

    fn fetch_and(&self, value: u64) {
        Cell::fetch_and(self.step(), value);
    }
}
