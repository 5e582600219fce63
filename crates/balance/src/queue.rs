//! The queue of requests that wait because every server is full: who is next, whose time is up, and
//! who has to leave when it is full itself.
//!
//! More urgent requests go first; equal ones in the order of arrival. When the queue is full, one
//! whose time is up makes room, else the last of the least urgent does, provided the newcomer is
//! more urgent than that one. Every operation costs the logarithm of the length.

use std::collections::{BTreeMap, BTreeSet};

/// How many may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// Most requests that wait; 0 is no queue. Default 1,000.
    pub len_max: usize,
    /// Longest wait in milliseconds. Default 5 s.
    pub wait_max_ms: u64,
}

impl Default for QueueSettings {
    fn default() -> Self {
        QueueSettings {
            len_max: 1_000,
            wait_max_ms: 5_000,
        }
    }
}

/// How urgent a request is: 0 goes first, 255 last. Default 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub u8);

impl Default for Priority {
    fn default() -> Self {
        Priority(128)
    }
}

/// The name of one that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    priority: Priority,
    number: u64,
}

/// Why one left without its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Its time was up.
    Expired,
    /// A more urgent one took its place.
    Displaced,
}

/// One that left without its turn.
#[derive(Debug, PartialEq, Eq)]
pub struct Left<T> {
    /// Its name.
    pub ticket: Ticket,
    /// What was queued.
    pub item: T,
    /// Why.
    pub why: Leave,
}

/// A queue of `T`, which stands for the request (a waker, say).
#[derive(Debug)]
pub struct WaitQueue<T> {
    settings: QueueSettings,
    next_number: u64,
    waiting: BTreeMap<Ticket, Waiting<T>>,
    deadlines: BTreeSet<(u64, Ticket)>,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    deadline_ms: u64,
}

impl<T> WaitQueue<T> {
    /// An empty queue.
    pub fn new(settings: QueueSettings) -> Self {
        WaitQueue {
            settings,
            next_number: 0,
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Queues `item`, until `deadline_ms` (its own, or of the request) or the longest wait. Answers
    /// with its ticket and the one that had to leave for it.
    ///
    /// # Errors
    /// Gives `item` back when the queue is full of requests that are as urgent, or its time is up.
    pub fn push(
        &mut self,
        item: T,
        priority: Priority,
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(Ticket, Option<Left<T>>), T> {
        let longest = now_ms.saturating_add(self.settings.wait_max_ms);
        let deadline_ms = deadline_ms.map_or(longest, |own| own.min(longest));
        if deadline_ms <= now_ms || self.settings.len_max == 0 {
            return Err(item);
        }
        let mut left = None;
        if self.len() >= self.settings.len_max {
            left = self.make_room(priority, now_ms);
            if left.is_none() {
                return Err(item);
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        let ticket = Ticket { priority, number };
        self.deadlines.insert((deadline_ms, ticket));
        self.waiting.insert(ticket, Waiting { item, deadline_ms });
        debug_assert!(self.waiting.len() <= self.settings.len_max);
        Ok((ticket, left))
    }

    /// Whose turn it is; out of the queue with that. Those whose time is up are passed over and
    /// stay for [`WaitQueue::expire`].
    pub fn pop(&mut self, now_ms: u64) -> Option<(Ticket, T)> {
        let ticket = self.peek(now_ms)?.0;
        let item = self.cancel(ticket)?;
        Some((ticket, item))
    }

    /// Whose turn it is, left in the queue. Those whose time is up are passed over.
    pub fn peek(&self, now_ms: u64) -> Option<(Ticket, &T)> {
        let alive = |waiting: &Waiting<T>| waiting.deadline_ms > now_ms;
        let next = self.waiting.iter().find(|(_, waiting)| alive(waiting))?;
        Some((*next.0, &next.1.item))
    }

    /// Takes one out whose time is up, the earliest first. Call until there is none.
    pub fn expire(&mut self, now_ms: u64) -> Option<Left<T>> {
        let (deadline_ms, ticket) = *self.deadlines.first()?;
        if deadline_ms > now_ms {
            return None;
        }
        self.leave(ticket, Leave::Expired)
    }

    /// Takes one out (its client is gone); `None` when it is not there any more.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        let waiting = self.waiting.remove(&ticket)?;
        let known = self.deadlines.remove(&(waiting.deadline_ms, ticket));
        debug_assert!(known, "every one that waits has a deadline");
        Some(waiting.item)
    }

    /// When the next one's time is up.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// How many wait, those included whose time is up.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn make_room(&mut self, priority: Priority, now_ms: u64) -> Option<Left<T>> {
        let expired = self.expire(now_ms);
        if expired.is_some() {
            return expired;
        }
        let last = *self.waiting.last_key_value()?.0;
        if last.priority <= priority {
            return None;
        }
        self.leave(last, Leave::Displaced)
    }

    fn leave(&mut self, ticket: Ticket, why: Leave) -> Option<Left<T>> {
        let item = self.cancel(ticket)?;
        Some(Left { ticket, item, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URGENT: Priority = Priority(1);
    const LAZY: Priority = Priority(200);

    fn queue(len_max: usize) -> WaitQueue<&'static str> {
        WaitQueue::new(QueueSettings {
            len_max,
            wait_max_ms: 100,
        })
    }

    #[test]
    fn urgent_ones_go_first_and_equals_in_order() {
        let mut queue = queue(9);
        for (item, priority) in [("a", LAZY), ("b", URGENT), ("c", LAZY), ("d", URGENT)] {
            assert!(queue.push(item, priority, None, 0).is_ok());
        }
        let order: Vec<&str> = std::iter::from_fn(|| queue.pop(1)).map(|it| it.1).collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
    }

    #[test]
    fn a_full_queue_displaces_the_last_of_the_least_urgent() {
        let mut queue = queue(2);
        assert!(queue.push("a", LAZY, None, 0).is_ok());
        assert!(queue.push("b", LAZY, None, 0).is_ok());
        assert_eq!(queue.push("c", LAZY, None, 1), Err("c"));
        let left = queue.push("d", URGENT, None, 1).unwrap().1.unwrap();
        assert_eq!((left.item, left.why), ("b", Leave::Displaced));
        let left = queue.push("e", LAZY, None, 100).unwrap().1.unwrap();
        assert_eq!((left.item, left.why), ("a", Leave::Expired));
        assert_eq!(queue.next_deadline_ms(), Some(101));
    }

    #[test]
    fn those_whose_time_is_up_have_no_turn() {
        let mut queue = queue(9);
        let own = queue.push("a", URGENT, Some(10), 0).unwrap().0;
        assert!(queue.push("b", LAZY, Some(1_000), 0).is_ok());
        assert_eq!(queue.push("c", LAZY, Some(5), 5), Err("c"));
        assert_eq!(queue.peek(9), Some((own, &"a")));
        assert_eq!(queue.pop(10).map(|next| next.1), Some("b"));
        assert_eq!(queue.expire(9), None);
        assert_eq!(queue.expire(10).map(|left| left.ticket), Some(own));
        assert_eq!((queue.cancel(own), queue.is_empty()), (None, true));
    }
}
