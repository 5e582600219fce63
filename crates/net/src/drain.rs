//! The one flag that says "no new work": set once at the end of a process, read by every worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether the process is draining. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    state: Arc<(AtomicBool, Notify)>,
}

impl Drain {
    /// A flag that is not set.
    pub fn new() -> Drain {
        Drain::default()
    }

    /// Begins to drain. There is no way back.
    pub fn begin(&self) {
        self.state.0.store(true, Ordering::Release);
        self.state.1.notify_waiters();
    }

    /// Whether draining has begun.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.state.0.load(Ordering::Relaxed)
    }

    /// Waits until draining has begun. Cancel-safe.
    pub async fn begun(&self) {
        loop {
            let notified = self.state.1.notified();
            if self.state.0.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }
}
