//! The limit of connections of a pool, over all workers.
//!
//! Whoever needs a connection at the limit waits in line. Idle connections hold places, so that while
//! somebody waits they are closed rather than kept.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The connections of a pool to its servers, idle ones included.
#[derive(Debug)]
pub struct Connections {
    places: Arc<Semaphore>,
    count: Arc<Count>,
    /// Told when there is no limit any more.
    lifted: Notify,
}

#[derive(Debug, Default)]
struct Count {
    /// 0 is no limit.
    max: AtomicU32,
    open: AtomicU32,
    waiting: AtomicU32,
    /// Places that a lower limit took away while they were in use.
    owed: AtomicU32,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections {
            places: Arc::new(Semaphore::new(0)),
            count: Arc::default(),
            lifted: Notify::new(),
        }
    }
}

/// The place of one connection; given back on drop.
#[derive(Debug)]
pub struct ConnectionPlace {
    /// None when there was no limit.
    place: Option<OwnedSemaphorePermit>,
    count: Arc<Count>,
}

impl Connections {
    /// Changes the limit; 0 is none, and whoever waits goes at once. What is over a lower one stays
    /// until it is closed.
    pub fn set(&self, max: u32) {
        let before = self.count.max.swap(max, Ordering::SeqCst);
        let more = max.saturating_sub(before);
        let paid = self.pay(more);
        self.places.add_permits((more - paid) as usize);
        let fewer = before.saturating_sub(max);
        let forgotten = self.places.forget_permits(fewer as usize);
        let owed = fewer - u32::try_from(forgotten).unwrap_or(fewer).min(fewer);
        self.count.owed.fetch_add(owed, Ordering::SeqCst);
        if max == 0 {
            self.lifted.notify_waiters();
        }
    }

    /// Takes up to `places` off what is owed, and says how many.
    fn pay(&self, places: u32) -> u32 {
        let owed = self
            .count
            .owed
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |owed| {
                Some(owed - owed.min(places))
            });
        owed.unwrap_or_else(|owed| owed).min(places)
    }

    /// Connections that are open, or being opened.
    pub fn open(&self) -> u32 {
        self.count.open.load(Ordering::Relaxed)
    }

    /// Whether somebody waits for a place.
    #[inline]
    pub fn are_wanted(&self) -> bool {
        self.count.waiting.load(Ordering::Relaxed) != 0
    }

    /// Whether there are as many as may be.
    pub fn are_all_taken(&self) -> bool {
        let max = self.count.max.load(Ordering::Relaxed);
        self.are_wanted() || max != 0 && self.open() >= max
    }

    /// A place, if there is one now and nobody waits.
    pub fn try_take(&self) -> Option<ConnectionPlace> {
        let place = match self.count.max.load(Ordering::Relaxed) {
            0 => None,
            _ => Some(Arc::clone(&self.places).try_acquire_owned().ok()?),
        };
        Some(self.taken(place))
    }

    /// Waits in line for a place. `free_one` may close an idle connection; it is called once, when it
    /// is known that somebody waits.
    pub async fn take(&self, free_one: impl FnOnce()) -> ConnectionPlace {
        let _waiting = Waiting::new(&self.count);
        free_one();
        let mut lifted = pin!(self.lifted.notified());
        // Before the look at the limit, so that no change falls between the two.
        lifted.as_mut().enable();
        if self.count.max.load(Ordering::SeqCst) == 0 {
            return self.taken(None);
        }
        let place = tokio::select! {
            biased;
            // The semaphore is never closed.
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
            () = lifted => None,
        };
        self.taken(place)
    }

    fn taken(&self, place: Option<OwnedSemaphorePermit>) -> ConnectionPlace {
        self.count.open.fetch_add(1, Ordering::Relaxed);
        ConnectionPlace {
            place,
            count: Arc::clone(&self.count),
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.count.open.fetch_sub(1, Ordering::Relaxed);
        let Some(place) = self.place.take() else {
            return;
        };
        let less = |owed: u32| owed.checked_sub(1);
        let owed = &self.count.owed;
        if owed
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            place.forget();
        }
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a Count);

impl<'a> Waiting<'a> {
    fn new(count: &'a Count) -> Waiting<'a> {
        count.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_may_change_under_its_connections() {
        let connections = Connections::default();
        let free = connections.try_take().expect("no limit");
        connections.set(2);
        let mut held = vec![connections.try_take(), connections.try_take()];
        assert!(held.iter().all(Option::is_some) && connections.try_take().is_none());
        connections.set(1);
        held.pop();
        assert!(connections.try_take().is_none(), "one is as many as may be");
        connections.set(3);
        held.extend([connections.try_take(), connections.try_take()]);
        assert!(held.iter().all(Option::is_some) && connections.try_take().is_none());
        assert_eq!(connections.open(), 4);
        drop((held, free));
        assert_eq!(connections.open(), 0);
        connections.set(0);
        assert!(connections.try_take().is_some());
    }

    #[tokio::test]
    async fn whoever_waits_is_next() {
        let connections = Connections::default();
        connections.set(1);
        let held = connections.try_take();
        let mut waits = std::pin::pin!(connections.take(|| ()));
        let ready = futures_ready(&mut waits).await;
        assert!(!ready && connections.are_wanted());
        drop(held);
        assert!(
            connections.try_take().is_none(),
            "it is taken for the one that waits"
        );
        let place = waits.await;
        assert!(!connections.are_wanted());
        drop(place);
        assert!(connections.try_take().is_some());
    }

    #[tokio::test]
    async fn without_a_limit_nobody_waits() {
        let connections = Connections::default();
        connections.set(1);
        let held = connections.try_take();
        let mut waits = std::pin::pin!(connections.take(|| ()));
        assert!(!futures_ready(&mut waits).await);
        connections.set(0);
        let place = waits.await;
        assert_eq!(connections.open(), 2);
        let mut waits = std::pin::pin!(connections.take(|| ()));
        assert!(futures_ready(&mut waits).await, "the look came too late");
        drop((held, place));
        connections.set(1);
        assert!(connections.try_take().is_some());
    }

    async fn futures_ready<F: Future>(future: &mut std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }
}
