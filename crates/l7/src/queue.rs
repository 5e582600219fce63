//! Requests that wait because every server of their pool is full.
//!
//! The most urgent one, and of those the first, is the *head*. Only the head looks for a server; it
//! stays in the queue while it does, so that nobody who comes later takes what became free. Whoever
//! gives a place back tells the head, on whichever worker that waits; with nobody waiting this is one
//! load.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use keel_balance::{Leave, Left, Priority, QueueSettings, Ticket, WaitQueue};
use keel_observe::{PoolMetrics, Refusal};
use tokio::sync::Notify;

use crate::error::Kind;
use crate::protect::{For, Taken, Unserved, refuse, take};
use crate::retry::Tries;
use crate::walk::Walk;

/// The head looks again after so long, in milliseconds: a server that recovers tells nobody.
const LOOK_AGAIN_MS: u64 = 100;

/// The requests of a pool that wait for a place at a server, over all workers.
#[derive(Debug)]
pub struct Queue {
    settings: QueueSettings,
    /// Lower-case name of the header that tells how urgent a request is, 0 (first) to 255.
    priority_header: Option<String>,
    /// How many wait; written under the lock.
    waiting: AtomicUsize,
    line: Mutex<WaitQueue<Arc<Waiter>>>,
}

/// One that waits.
#[derive(Debug, Default)]
struct Waiter {
    /// Told when it is the head and there may be room, and when it is out.
    turn: Notify,
    /// See [`IN_LINE`].
    out: AtomicU8,
}

const IN_LINE: u8 = 0;
const EXPIRED: u8 = 1;
const DISPLACED: u8 = 2;

impl Queue {
    /// An empty queue; `priority_header` is the lower-case name of the header that tells how urgent a
    /// request is, from 0 (first) to 255. Without one all are equal.
    pub fn new(settings: QueueSettings, priority_header: Option<String>) -> Queue {
        Queue {
            settings,
            priority_header,
            waiting: AtomicUsize::new(0),
            line: Mutex::new(WaitQueue::new(settings)),
        }
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How many may wait, and for how long.
    pub fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// The header that tells how urgent a request is.
    pub fn priority_header(&self) -> Option<&str> {
        self.priority_header.as_deref()
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue<Arc<Waiter>>> {
        // Nothing panics under the lock, and the line stays usable if it did.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the line, until `due_ms` at most.
    fn join(self: &Arc<Self>, priority: Priority, due_ms: u64, now_ms: u64) -> Option<InLine> {
        let waiter = Arc::new(Waiter::default());
        let mut line = self.lock();
        let pushed = line.push(Arc::clone(&waiter), priority, Some(due_ms), now_ms);
        self.waiting.store(line.len(), Ordering::SeqCst);
        drop(line);
        let (ticket, left) = pushed.ok()?;
        if let Some(Left { item, why, .. }) = left {
            let out = match why {
                Leave::Expired => EXPIRED,
                Leave::Displaced => DISPLACED,
            };
            item.out.store(out, Ordering::Release);
            item.turn.notify_one();
        }
        Some(InLine {
            queue: Arc::clone(self),
            waiter,
            ticket,
        })
    }

    /// There may be room: the head is to look.
    #[cold]
    fn tell_head(&self, now_ms: u64) {
        if let Some((_, head)) = self.lock().peek(now_ms) {
            head.turn.notify_one();
        }
    }
}

/// Tells whoever waits that a place became free, when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Freed(pub Option<Arc<Queue>>);

impl Drop for Freed {
    #[inline]
    fn drop(&mut self) {
        if let Some(queue) = &self.0
            && queue.waiting() != 0
        {
            // Those whose time is up look after themselves; any head will do.
            queue.tell_head(0);
        }
    }
}

/// A place in the line; left on drop.
struct InLine {
    queue: Arc<Queue>,
    waiter: Arc<Waiter>,
    ticket: Ticket,
}

impl InLine {
    fn is_head(&self, now_ms: u64) -> bool {
        let line = self.queue.lock();
        line.peek(now_ms).is_some_and(|head| head.0 == self.ticket)
    }

    fn out(&self) -> Option<Refusal> {
        match self.waiter.out.load(Ordering::Acquire) {
            IN_LINE => None,
            DISPLACED => Some(Refusal::QueueFull),
            _ => Some(Refusal::QueueTimeout),
        }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut line = self.queue.lock();
        line.cancel(self.ticket);
        self.queue.waiting.store(line.len(), Ordering::SeqCst);
        // What this one was told is for the next.
        if let Some((_, head)) = line.peek(0) {
            head.turn.notify_one();
        }
    }
}

/// Counts one that waits, for as long as it does.
struct Counted<'a> {
    metrics: &'a PoolMetrics,
    since: std::time::Instant,
}

impl<'a> Counted<'a> {
    fn new(metrics: &'a PoolMetrics) -> Counted<'a> {
        metrics.wait_began();
        Counted {
            metrics,
            since: std::time::Instant::now(),
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let waited = u64::try_from(self.since.elapsed().as_micros());
        self.metrics.wait_ended(waited.unwrap_or(u64::MAX));
    }
}

/// Waits for a server. The client's going and a drain end the wait.
pub(crate) async fn wait(
    walk: &mut Walk<'_>,
    tries: &mut Tries<'_>,
    queue: &Arc<Queue>,
) -> Result<Taken, Kind> {
    let plan = tries.plan;
    let now_ms = walk.worker.clock.tick() / 1000;
    let call_due_ms = walk.ex.call.map_or(u64::MAX, |call| call.due_ms);
    let wait_due_ms = now_ms.saturating_add(queue.settings.wait_max_ms);
    let due_ms = wait_due_ms.min(call_due_ms);
    let Some(place) = queue.join(priority(walk, queue), due_ms, now_ms) else {
        return Err(refuse(walk, plan, Refusal::QueueFull, 1));
    };
    let metrics = walk.view.metrics.pool(plan.pool.id);
    let _counted = Counted::new(metrics);
    loop {
        let now_ms = walk.worker.clock.tick() / 1000;
        if let Some(why) = place.out() {
            return Err(refuse(walk, plan, why, 1));
        }
        let is_head = place.is_head(now_ms);
        if is_head {
            match take(walk, tries, For::Request) {
                Ok(taken) => return Ok(taken),
                Err(Unserved::Kind(kind)) => return Err(kind),
                Err(Unserved::Full) => {}
            }
        }
        if now_ms >= due_ms {
            return Err(match call_due_ms < wait_due_ms {
                true => Kind::DeadlinePassed,
                false => refuse(walk, plan, Refusal::QueueTimeout, 1),
            });
        }
        let left_ms = due_ms - now_ms;
        let nap_ms = match is_head {
            true => left_ms.min(LOOK_AGAIN_MS),
            false => left_ms,
        };
        nap(walk, &place, nap_ms).await?;
    }
}

/// Waits until the request is told something, for so long at most.
async fn nap(walk: &mut Walk<'_>, place: &InLine, nap_ms: u64) -> Result<(), Kind> {
    let mut told = pin!(place.waiter.turn.notified());
    let mut over = pin!(tokio::time::sleep(Duration::from_millis(nap_ms)));
    poll_fn(|cx| {
        if told.as_mut().poll(cx).is_ready() || over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        walk.client
            .poll_watch(cx, walk.worker)
            .map_err(|_| Kind::ClientGone)?;
        walk.poll_overdue(cx, u64::MAX, Kind::QueueTimeout).map(Err)
    })
    .await
}

/// How urgent the request says it is.
fn priority(walk: &Walk<'_>, queue: &Queue) -> Priority {
    let told = queue.priority_header().and_then(|name| {
        let fields = &walk.ex.head.fields;
        fields.first_named(name.as_bytes(), walk.ex.bytes())
    });
    let number = told.and_then(|value| std::str::from_utf8(value).ok());
    number
        .and_then(|text| text.trim().parse().ok())
        .map_or_else(Priority::default, Priority)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn queue(len_max: usize) -> Arc<Queue> {
        let settings = QueueSettings {
            len_max,
            wait_max_ms: 1_000,
        };
        Arc::new(Queue::new(settings, None))
    }

    /// Whether it was told something since it was asked last.
    fn is_told(place: &InLine) -> bool {
        let mut told = pin!(place.waiter.turn.notified());
        let mut cx = Context::from_waker(Waker::noop());
        told.as_mut().poll(&mut cx).is_ready()
    }

    fn join(queue: &Arc<Queue>, priority: u8) -> InLine {
        let joined = queue.join(Priority(priority), u64::MAX, 1);
        joined.expect("room in the queue")
    }

    #[test]
    fn a_place_that_becomes_free_is_for_the_head() {
        let queue = queue(9);
        drop(Freed(Some(Arc::clone(&queue))));
        let (first, second) = (join(&queue, 5), join(&queue, 5));
        assert!(first.is_head(1) && !second.is_head(1));
        drop(Freed(Some(Arc::clone(&queue))));
        assert!(is_told(&first) && !is_told(&second));
        // What the head was told goes to the next when it leaves.
        drop(first);
        assert!(second.is_head(1) && is_told(&second));
        let urgent = join(&queue, 1);
        assert!(urgent.is_head(1) && !second.is_head(1));
        drop((urgent, second));
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn whoever_is_put_out_is_told_why() {
        let queue = queue(1);
        let lazy = join(&queue, 200);
        assert!(queue.join(Priority(200), u64::MAX, 1).is_none());
        assert_eq!(lazy.out(), None);
        let urgent = join(&queue, 1);
        assert!(is_told(&lazy));
        assert_eq!(lazy.out(), Some(Refusal::QueueFull));
        drop(lazy);
        assert_eq!(queue.waiting(), 1);
        // Its time is over: it makes room.
        let next = queue.join(Priority(9), u64::MAX, 1_001);
        assert!(next.is_some());
        assert_eq!(urgent.out(), Some(Refusal::QueueTimeout));
    }
}
