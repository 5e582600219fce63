//! The one flag that says "no new work": set once at the end of a process, read by every worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct State {
    draining: AtomicBool,
    replaced: AtomicBool,
    begun: Notify,
}

/// Whether the process is draining. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    state: Arc<State>,
}

impl Drain {
    /// A flag that is not set.
    pub fn new() -> Drain {
        Drain::default()
    }

    /// Begins to drain. There is no way back.
    pub fn begin(&self) {
        self.state.draining.store(true, Ordering::Release);
        self.state.begun.notify_waiters();
    }

    /// As [`Drain::begin`], when another process has taken the listening sockets over: nobody waits for our end.
    pub fn begin_replaced(&self) {
        self.state.replaced.store(true, Ordering::Release);
        self.begin();
    }

    /// Whether another process serves in our place by now.
    #[inline]
    pub fn is_replaced(&self) -> bool {
        self.state.replaced.load(Ordering::Acquire)
    }

    /// Whether draining has begun.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.state.draining.load(Ordering::Relaxed)
    }

    /// Waits until draining has begun. Cancel-safe.
    pub async fn begun(&self) {
        loop {
            let notified = self.state.begun.notified();
            if self.state.draining.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }
}
