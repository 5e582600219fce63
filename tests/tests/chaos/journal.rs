//! What was really done to whom, and when: the plan says when it was to begin, the journal when it was over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan::{Deed, Harm, SETTLE_MS};

/// A server's bad time.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Position of the server.
    pub server: usize,
    /// What it was; `None` for a drain.
    pub harm: Option<Harm>,
    /// Begin, in microseconds of the run.
    pub from_us: u64,
    /// End with the time to settle; for ever while it lasts.
    pub to_us: u64,
}

impl Span {
    /// Whether it and this time have something in common.
    pub fn meets(&self, from_us: u64, to_us: u64) -> bool {
        self.from_us <= to_us && from_us <= self.to_us
    }
}

/// Kept while the run goes on.
#[derive(Debug, Default)]
pub struct Journal {
    spans: Mutex<Vec<Span>>,
    lines: Mutex<Vec<(u64, String)>>,
}

impl Journal {
    /// A harm begins: its number.
    pub fn begin(&self, server: usize, harm: Option<Harm>, now_us: u64) -> usize {
        let mut spans = lock(&self.spans);
        spans.push(Span {
            server,
            harm,
            from_us: now_us,
            to_us: u64::MAX,
        });
        spans.len() - 1
    }

    /// It is over.
    pub fn end(&self, number: usize, now_us: u64) {
        if let Some(span) = lock(&self.spans).get_mut(number) {
            span.to_us = now_us + SETTLE_MS * 1_000;
        }
    }

    /// Notes what was done.
    pub fn say(&self, now_us: u64, what: String) {
        lock(&self.lines).push((now_us, what));
    }

    /// All bad times.
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.spans).clone()
    }

    /// All notes, in order of time.
    pub fn lines(&self) -> Vec<(u64, String)> {
        let mut lines = lock(&self.lines).clone();
        lines.sort();
        lines
    }
}

/// How a deed is written in the journal.
pub fn words(deed: Deed, names: &[String]) -> String {
    match deed {
        Deed::Harm(server, harm, time) => format!("{harm:?} {} for {time} ms", names[server]),
        Deed::Drain(server, time) => format!("Drain {} for {time} ms", names[server]),
        Deed::Reload => "Reload".to_owned(),
        Deed::Upgrade => "Upgrade".to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
