//! The thread that writes: chunks from the queue, backlogs when their time comes, reports.
//!
//! Invariants: it ends only after a stop, or when nobody holds a sender any more, and then after it
//! has written what was queued. No error of a destination ends it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::clock::UtcOffset;
use super::destination::Destination;
use super::outlet::{Counts, Outlet, Trouble, lines_of};
use super::writer::LogLimits;

/// How often the thread looks after destinations when nothing else happens.
const IDLE_WAIT: Duration = Duration::from_secs(5);

/// The shortest pause between two attempts on destinations with a backlog.
const BACKLOG_WAIT_MIN: Duration = Duration::from_millis(1);

/// Destinations are looked over for troubles to report at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time for backlogs when the thread ends because nobody is left.
const FAREWELL: Duration = Duration::from_secs(1);

/// What goes over the queue.
pub(crate) enum Message {
    /// Whole lines for a destination.
    Lines(Chunk),
    /// Tell when everything before this is written.
    Flush(SyncSender<()>),
    /// Write everything, tell, and end; not later than the deadline.
    Stop(SyncSender<()>, Instant),
    /// Look at the flags.
    Wake,
}

/// Whole lines of one worker for one destination. Those that are still in it when it is dropped, such
/// as in the queue of a writer that has ended, are counted as dropped.
pub(crate) struct Chunk {
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) data: Vec<u8>,
    /// Where the emptied buffer goes.
    pub(crate) home: SyncSender<Vec<u8>>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if !self.data.is_empty() {
            self.outlet.counts.dropped(lines_of(&self.data));
        }
    }
}

/// What the thread and the handles to it share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: LogLimits,
    pub(super) offset: UtcOffset,
    pub(super) host: String,
    /// Raised for each request to reopen.
    pub(super) reopens: AtomicU64,
    pub(super) outlets: Mutex<Outlets>,
}

#[derive(Debug, Default)]
pub(super) struct Outlets {
    pub(super) open: Vec<Weak<Outlet>>,
    /// By destination, of all that were ever open, so that counters never fall.
    pub(super) counts: HashMap<Destination, Arc<Counts>>,
}

impl Shared {
    pub(super) fn outlets(&self) -> std::sync::MutexGuard<'_, Outlets> {
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects the destinations that are in use.
    fn open_outlets(&self, into: &mut Vec<Arc<Outlet>>) {
        let outlets = &mut *self.outlets();
        outlets.open.retain(|outlet| outlet.strong_count() > 0);
        into.extend(outlets.open.iter().filter_map(Weak::upgrade));
    }
}

pub(super) struct WriterThread {
    shared: Arc<Shared>,
    reopens_seen: u64,
    /// Destinations with a backlog.
    struggling: Vec<Arc<Outlet>>,
    /// When the first of them is to be tried again.
    retry_at: Option<Instant>,
    /// Callers that wait until there is none.
    flushes: Vec<SyncSender<()>>,
    looked_at: Instant,
    /// Empty between calls; kept for its room.
    looking_at: Vec<Arc<Outlet>>,
    report: Box<dyn FnMut(Trouble) + Send>,
}

impl WriterThread {
    pub(super) fn new(
        shared: Arc<Shared>,
        report: impl FnMut(Trouble) + Send + 'static,
    ) -> WriterThread {
        WriterThread {
            shared,
            reopens_seen: 0,
            struggling: Vec::new(),
            retry_at: None,
            flushes: Vec::new(),
            looked_at: Instant::now(),
            looking_at: Vec::with_capacity(16),
            report: Box::new(report),
        }
    }

    pub(super) fn run(mut self, messages: Receiver<Message>) {
        loop {
            let received = messages.recv_timeout(self.pause());
            self.follow_reopens();
            match received {
                Ok(Message::Stop(done, deadline)) => {
                    let complete = self.finish(&messages, deadline);
                    // From here on every chunk is refused or counted as dropped, so the figures are
                    // final when the caller hears of it.
                    drop(messages);
                    if complete {
                        let _ = done.try_send(());
                    }
                    return;
                }
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish(&messages, Instant::now() + FAREWELL);
                    return;
                }
            }
            self.look_after();
        }
    }

    /// How long to wait for a message at most.
    fn pause(&self) -> Duration {
        match self.retry_at {
            Some(at) => at
                .saturating_duration_since(Instant::now())
                .max(BACKLOG_WAIT_MIN),
            None => IDLE_WAIT,
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Lines(chunk) => self.write(chunk),
            Message::Flush(done) => self.flushes.push(done),
            // A second stop: its sender sees the channel close when the thread ends.
            Message::Stop(..) | Message::Wake => {}
        }
    }

    fn write(&mut self, mut chunk: Chunk) {
        let mut data = std::mem::take(&mut chunk.data);
        let outlet = &chunk.outlet;
        let has_backlog = outlet.accept(&data, Instant::now());
        let is_known = |known: &Arc<Outlet>| Arc::ptr_eq(known, outlet);
        if has_backlog && !self.struggling.iter().any(is_known) {
            self.struggling.push(Arc::clone(outlet));
        }
        data.clear();
        // A worker that has enough spare buffers, or is gone, lets this one go.
        let _ = chunk.home.try_send(data);
    }

    fn follow_reopens(&mut self) {
        let asked = self.shared.reopens.load(Ordering::Acquire);
        if asked == self.reopens_seen {
            return;
        }
        self.reopens_seen = asked;
        let mut open = Vec::new();
        self.shared.open_outlets(&mut open);
        for outlet in open {
            if outlet.reopen().is_ok() {
                tracing::debug!(destination = %outlet.counts.destination, "access log reopened");
            }
        }
        self.looked_at = Instant::now();
        self.report_troubles();
    }

    /// Tries backlogs, answers flushes, reports.
    fn look_after(&mut self) {
        let now = Instant::now();
        let mut next = None;
        self.struggling.retain(|outlet| {
            let again = outlet.retry(now);
            next = next.into_iter().chain(again).min();
            again.is_some()
        });
        self.retry_at = next;
        if self.struggling.is_empty() {
            for done in self.flushes.drain(..) {
                let _ = done.try_send(());
            }
        }
        if now >= self.looked_at + LOOK_EVERY {
            self.looked_at = now;
            self.report_troubles();
        }
    }

    fn report_troubles(&mut self) {
        let now = Instant::now();
        self.shared.open_outlets(&mut self.looking_at);
        for outlet in self.looking_at.drain(..) {
            if let Some(trouble) = outlet.take_trouble(now) {
                (self.report)(trouble);
            }
        }
    }

    /// Writes all that is queued and all backlogs, until the deadline. False when backlogs had to be
    /// given up.
    fn finish(&mut self, messages: &Receiver<Message>, deadline: Instant) -> bool {
        loop {
            while Instant::now() < deadline
                && let Ok(message) = messages.try_recv()
            {
                self.handle(message);
            }
            self.look_after();
            if self.struggling.is_empty() || Instant::now() >= deadline {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = self.pause().min(left);
            match messages.recv_timeout(wait) {
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {}
                // Comes at once, so the wait is made here.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
            }
        }
        let complete = self.struggling.is_empty();
        for outlet in self.struggling.drain(..) {
            outlet.abandon();
        }
        self.report_troubles();
        complete
    }
}
