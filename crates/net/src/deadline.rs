//! Coarse deadlines: one slot a connection, moved by a store, checked by one scan a tick.
//!
//! A request moves its connection's deadline several times (head, connect, answer, idle), so a timer
//! wheel would pay for each move. Here a move is one store into a table that the worker scans every
//! [`TICK`]: ten thousand connections cost it some twenty microseconds. A deadline therefore fires
//! up to one tick late and never early.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

/// How often the table is scanned, and so how late a deadline may fire.
pub const TICK: Duration = Duration::from_millis(100);

/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;

const FIRED: u64 = 0;

#[derive(Debug, Default)]
struct Slot {
    at_ms: u64,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

/// The deadlines of one worker.
#[derive(Debug, Clone, Default)]
pub struct Deadlines {
    table: Rc<RefCell<Table>>,
}

impl Deadlines {
    /// An empty table.
    pub fn new() -> Deadlines {
        Deadlines::default()
    }

    /// Takes a slot. Its deadline is [`NEVER`] until it is set; the slot is given back on drop.
    pub fn add(&self) -> Deadline {
        let mut table = self.table.borrow_mut();
        let index = match table.free.pop() {
            Some(index) => index,
            None => {
                table.slots.push(Slot::default());
                (table.slots.len() - 1) as u32
            }
        };
        if let Some(slot) = table.slots.get_mut(index as usize) {
            *slot = Slot {
                at_ms: NEVER,
                waker: None,
            };
        }
        Deadline {
            table: self.table.clone(),
            index,
        }
    }

    /// Wakes every task whose deadline has come. Call it every [`TICK`].
    pub fn fire(&self, now_ms: u64) {
        let mut woken: Vec<Waker> = Vec::new();
        for slot in &mut self.table.borrow_mut().slots {
            if slot.at_ms <= now_ms && slot.at_ms != FIRED {
                slot.at_ms = FIRED;
                woken.extend(slot.waker.take());
            }
        }
        // Woken outside the borrow: a waker may run code that moves a deadline.
        woken.into_iter().for_each(Waker::wake);
    }

    /// Wakes every waiting task, whatever its deadline, so that each looks at the drain flag.
    pub fn wake_all(&self) {
        let woken: Vec<Waker> = self
            .table
            .borrow()
            .slots
            .iter()
            .filter_map(|slot| slot.waker.clone())
            .collect();
        woken.into_iter().for_each(Waker::wake);
    }

    /// Number of slots in use.
    pub fn len(&self) -> usize {
        let table = self.table.borrow();
        table.slots.len() - table.free.len()
    }

    /// Whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One connection's deadline.
#[derive(Debug)]
pub struct Deadline {
    table: Rc<RefCell<Table>>,
    index: u32,
}

impl Deadline {
    /// Moves the deadline to `at_ms` of the worker's clock; [`NEVER`] for none.
    #[inline]
    pub fn set(&self, at_ms: u64) {
        if let Some(slot) = self.table.borrow_mut().slots.get_mut(self.index as usize) {
            // 0 is the mark of a deadline that fired; nobody means the clock's first instant.
            slot.at_ms = at_ms.max(1);
        }
    }

    /// Whether the deadline has fired since it was last set; if not, the task is woken when it does.
    #[inline]
    pub fn poll_fired(&self, cx: &Context<'_>) -> bool {
        let mut table = self.table.borrow_mut();
        let Some(slot) = table.slots.get_mut(self.index as usize) else {
            return false;
        };
        if slot.at_ms == FIRED {
            return true;
        }
        match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => slot.waker = Some(cx.waker().clone()),
        }
        false
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut table = self.table.borrow_mut();
        if let Some(slot) = table.slots.get_mut(self.index as usize) {
            *slot = Slot {
                at_ms: NEVER,
                waker: None,
            };
        }
        table.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn fires_once_at_its_time_and_again_when_set_again() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let deadlines = Deadlines::new();
        let deadline = deadlines.add();
        deadline.set(500);
        assert!(!deadline.poll_fired(&cx));
        deadlines.fire(499);
        assert!(!deadline.poll_fired(&cx));
        deadlines.fire(500);
        assert!(deadline.poll_fired(&cx));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        deadlines.fire(600);
        assert_eq!(
            count.0.load(Ordering::Relaxed),
            1,
            "a fired deadline wakes once"
        );
        deadline.set(700);
        assert!(!deadline.poll_fired(&cx));
        deadlines.fire(701);
        assert!(deadline.poll_fired(&cx));
    }

    #[test]
    fn a_moved_deadline_does_not_fire_at_its_old_time() {
        let deadlines = Deadlines::new();
        let deadline = deadlines.add();
        deadline.set(100);
        deadline.set(900);
        deadlines.fire(500);
        assert!(!deadline.poll_fired(&Context::from_waker(Waker::noop())));
    }

    #[test]
    fn slots_are_used_again_and_never_inherit() {
        let deadlines = Deadlines::new();
        let first = deadlines.add();
        first.set(1);
        deadlines.fire(10);
        drop(first);
        let second = deadlines.add();
        assert_eq!(deadlines.len(), 1);
        deadlines.fire(u64::MAX - 1);
        assert!(!second.poll_fired(&Context::from_waker(Waker::noop())));
    }
}
