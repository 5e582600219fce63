//! Requests that wait because every server of their pool is full.

use std::sync::atomic::{AtomicUsize, Ordering};

use keel_balance::QueueSettings;

/// The requests of a pool that wait for a place at a server, over all workers.
#[derive(Debug)]
pub struct Queue {
    settings: QueueSettings,
    /// Lower-case name of the header that tells how urgent a request is, 0 (first) to 255.
    priority_header: Option<String>,
    waiting: AtomicUsize,
}

impl Queue {
    /// An empty queue; `priority_header` is the lower-case name of the header that tells how urgent a
    /// request is, from 0 (first) to 255. Without one all are equal.
    pub fn new(settings: QueueSettings, priority_header: Option<String>) -> Queue {
        Queue {
            settings,
            priority_header,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many may wait, and for how long.
    pub fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// The header that tells how urgent a request is.
    pub fn priority_header(&self) -> Option<&str> {
        self.priority_header.as_deref()
    }
}
