//! Requests that wait for a stream to a server, in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Who waits for streams to one server. Who came first may take the first place that is free; the others
/// of the line, and who comes anew, only what is left beside it.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiters: RefCell<VecDeque<Waiter>>,
    tickets: Cell<u64>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// It was told to look again, and did not yet.
    told: bool,
    waker: Option<Waker>,
}

impl Waiter {
    fn tell(&mut self) {
        self.told = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A place in a [`Line`]; given up on drop, of which the next one is told.
#[derive(Debug)]
pub struct Ticket {
    line: Rc<Line>,
    number: u64,
}

impl Line {
    /// A place at the end.
    pub(super) fn join(self: &Rc<Line>) -> Ticket {
        let number = self.tickets.get();
        self.tickets.set(number + 1);
        self.waiters.borrow_mut().push_back(Waiter {
            number,
            told: false,
            waker: None,
        });
        Ticket {
            line: self.clone(),
            number,
        }
    }

    /// How many come before this one, or before who has no place here.
    pub(super) fn ahead_of(self: &Rc<Line>, ticket: Option<&Ticket>) -> usize {
        let waiters = self.waiters.borrow();
        match ticket {
            Some(ticket) if ticket.is_of(self) => {
                waiters.partition_point(|it| it.number < ticket.number)
            }
            _ => waiters.len(),
        }
    }

    /// Whether one of the first `ahead` was told to look again and has yet to do it.
    pub(super) fn is_awaited(&self, ahead: usize) -> bool {
        let waiters = self.waiters.borrow();
        waiters.iter().take(ahead).any(|it| it.told)
    }

    /// There is room for one more: the first that has not been told yet is to look.
    pub(super) fn tell_one(&self) {
        let mut waiters = self.waiters.borrow_mut();
        if let Some(first) = waiters.iter_mut().find(|it| !it.told) {
            first.tell();
        }
    }

    /// Something changed for all of them.
    pub(super) fn tell_all(&self) {
        self.waiters.borrow_mut().iter_mut().for_each(Waiter::tell);
    }
}

impl Ticket {
    /// Whether it is a place in this line.
    pub(super) fn is_of(&self, line: &Rc<Line>) -> bool {
        Rc::ptr_eq(&self.line, line)
    }

    /// Waits until it is time to look again.
    pub async fn told(&self) {
        poll_fn(|cx| {
            let mut waiters = self.line.waiters.borrow_mut();
            let at = waiters.partition_point(|it| it.number < self.number);
            match waiters.get_mut(at) {
                Some(waiter) if !waiter.told => {
                    waiter.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                Some(waiter) => {
                    waiter.told = false;
                    Poll::Ready(())
                }
                None => Poll::Ready(()),
            }
        })
        .await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        {
            let mut waiters = self.line.waiters.borrow_mut();
            let at = waiters.partition_point(|it| it.number < self.number);
            if waiters.get(at).is_some_and(|it| it.number == self.number) {
                waiters.remove(at);
            }
        }
        // It may have been told of what it did not take.
        self.line.tell_one();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn is_told(ticket: &Ticket) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(ticket.told()).as_mut().poll(&mut cx).is_ready()
    }

    #[test]
    fn who_came_first_is_told_first_and_once() {
        let line = Rc::new(Line::default());
        let (first, second) = (line.join(), line.join());
        assert_eq!(line.ahead_of(Some(&first)), 0);
        assert_eq!(line.ahead_of(Some(&second)), 1);
        assert_eq!(line.ahead_of(None), 2);
        assert!(!is_told(&first) && !is_told(&second));
        line.tell_one();
        assert!(line.is_awaited(2) && !line.is_awaited(0));
        assert!(!is_told(&second) && is_told(&first) && !is_told(&first));
        assert!(!line.is_awaited(2));
        line.tell_one();
        line.tell_one();
        assert!(is_told(&first) && is_told(&second));
    }

    #[test]
    fn what_one_does_not_take_is_told_to_the_next() {
        let line = Rc::new(Line::default());
        let (first, second, third) = (line.join(), line.join(), line.join());
        line.tell_one();
        drop(first);
        assert!(is_told(&second) && !is_told(&third));
        assert_eq!(line.ahead_of(Some(&third)), 1);
        drop(second);
        assert!(is_told(&third));
        drop(third);
        assert_eq!(line.ahead_of(None), 0);
        line.tell_all();
    }

    #[test]
    fn a_ticket_of_another_line_is_none() {
        let (line, other) = (Rc::new(Line::default()), Rc::new(Line::default()));
        let (old, _one) = (other.join(), line.join());
        assert_eq!(line.ahead_of(Some(&old)), 1);
        assert!(old.is_of(&other) && !old.is_of(&line));
    }
}
