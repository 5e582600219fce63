//! A destination with its open sink, its backlog and its figures.
//!
//! Invariants: only the writer thread writes, so the lock on the state is never contended. While
//! there is a backlog nothing overtakes it. The backlog is bounded; what does not fit is dropped in
//! whole chunks and counted, never in the middle of a line.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::destination::Destination;
use super::sink::{Progress, Sink, State};

/// The shortest and longest pause before a slow reader is tried again.
const BUSY_WAIT_MIN: Duration = Duration::from_millis(1);
const BUSY_WAIT_MAX: Duration = Duration::from_millis(64);

/// The pause after an error.
const FAILED_WAIT: Duration = Duration::from_secs(1);

/// Errors and drops of one destination are reported at most this often.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The figures of one destination since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStats {
    /// The destination, as [`Destination`] displays it.
    pub destination: String,
    /// Lines written out whole.
    pub lines_written: u64,
    /// Lines dropped because the queue or the backlog was full, or because nobody will read them.
    pub lines_dropped: u64,
    /// Lines cut because they were longer than a line or a datagram may be.
    pub lines_truncated: u64,
    /// Failed writes and failed attempts to open or connect.
    pub errors: u64,
}

/// A report that a destination has been failing; see [`LogWriter`](super::LogWriter).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The destination, as [`Destination`] displays it.
    pub destination: String,
    /// The last error, with its causes.
    pub error: Option<String>,
    /// Errors since the last report.
    pub errors: u64,
    /// Lines dropped since the last report.
    pub lines_dropped: u64,
}

#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) destination: String,
    written: AtomicU64,
    dropped: AtomicU64,
    truncated: AtomicU64,
    errors: AtomicU64,
}

impl Counts {
    pub(crate) fn new(destination: &Destination) -> Counts {
        Counts {
            destination: destination.to_string(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> LogStats {
        LogStats {
            destination: self.destination.clone(),
            lines_written: self.written.load(Relaxed),
            lines_dropped: self.dropped.load(Relaxed),
            lines_truncated: self.truncated.load(Relaxed),
            errors: self.errors.load(Relaxed),
        }
    }

    pub(crate) fn dropped(&self, lines: u64) {
        self.dropped.fetch_add(lines, Relaxed);
    }

    pub(crate) fn truncated(&self, lines: u64) {
        self.truncated.fetch_add(lines, Relaxed);
    }
}

/// A destination that one or more access logs write to.
#[derive(Debug)]
pub(crate) struct Outlet {
    destination: Destination,
    pub(crate) counts: Arc<Counts>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    sink: Sink,
    backlog: Backlog,
    backlog_bytes_max: usize,
    /// No attempt before this while there is a backlog.
    retry_at: Instant,
    busy_wait: Duration,
    last_error: Option<String>,
    reported_at: Option<Instant>,
    reported_errors: u64,
    reported_dropped: u64,
}

/// Bytes that are not written yet. `bytes[line..head]` is the written part of a line that was cut
/// off; it is kept so that the line can be begun anew in another file. What is before `line` is done.
#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    line: usize,
    head: usize,
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.bytes.len() == self.head
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.line
    }

    fn pending(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Marks `n` pending bytes as written. Gives memory back when all is written, and moves the rest
    /// to the front only when more than half is done.
    fn advance(&mut self, n: usize) {
        let written = self.head..self.head + n;
        self.head += n;
        debug_assert!(self.line <= self.head && self.head <= self.bytes.len());
        if self.is_empty() {
            *self = Backlog::default();
            return;
        }
        if let Some(end) = memchr::memrchr(b'\n', &self.bytes[written.clone()]) {
            self.line = written.start + end + 1;
        }
        if self.line > self.bytes.len() / 2 {
            self.bytes.drain(..self.line);
            self.head -= self.line;
            self.line = 0;
        }
    }

    /// Begins the line that was cut off anew.
    fn rewind(&mut self) {
        self.head = self.line;
    }
}

impl Outlet {
    /// Opens a destination. The second value is why a syslog socket cannot be reached yet.
    pub(crate) fn open(
        destination: &Destination,
        counts: Arc<Counts>,
        backlog_bytes_max: usize,
    ) -> io::Result<(Outlet, Option<io::Error>)> {
        let (sink, fault) = Sink::open(destination)?;
        let inner = Inner {
            sink,
            backlog: Backlog::default(),
            backlog_bytes_max,
            retry_at: Instant::now(),
            busy_wait: BUSY_WAIT_MIN,
            last_error: None,
            reported_at: None,
            reported_errors: counts.errors.load(Relaxed),
            reported_dropped: counts.dropped.load(Relaxed),
        };
        let outlet = Outlet {
            destination: destination.clone(),
            counts,
            inner: Mutex::new(inner),
        };
        Ok((outlet, fault))
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Writes a chunk of whole lines, or keeps what cannot be written now. Returns whether a backlog
    /// is left.
    pub(crate) fn accept(&self, chunk: &[u8], now: Instant) -> bool {
        let inner = &mut *self.lock();
        if !inner.backlog.is_empty() {
            if inner.backlog.len() + chunk.len() > inner.backlog_bytes_max {
                self.counts.dropped(lines_of(chunk));
            } else {
                inner.backlog.bytes.extend_from_slice(chunk);
            }
            return self.pump(inner, now);
        }
        let progress = inner.sink.write(chunk);
        let consumed = progress.consumed;
        if !self.note(inner, &progress, lines_of(&chunk[..consumed]), now) {
            self.counts.dropped(lines_of(&chunk[consumed..]));
            return false;
        }
        if consumed < chunk.len() {
            let line_start = memchr::memrchr(b'\n', &chunk[..consumed]).map_or(0, |at| at + 1);
            inner.backlog.bytes.extend_from_slice(&chunk[line_start..]);
            inner.backlog.head = consumed - line_start;
        }
        !inner.backlog.is_empty()
    }

    /// Tries the backlog again when it is time. Returns when the next time is, while one is left.
    pub(crate) fn retry(&self, now: Instant) -> Option<Instant> {
        let inner = &mut *self.lock();
        self.pump(inner, now).then_some(inner.retry_at)
    }

    fn pump(&self, inner: &mut Inner, now: Instant) -> bool {
        if inner.backlog.is_empty() || now < inner.retry_at {
            return !inner.backlog.is_empty();
        }
        let progress = inner.sink.write(inner.backlog.pending());
        let lines = lines_of(&inner.backlog.pending()[..progress.consumed]);
        let alive = self.note(inner, &progress, lines, now);
        inner.backlog.advance(progress.consumed);
        if !alive {
            self.counts.dropped(lines_of(inner.backlog.pending()));
            inner.backlog = Backlog::default();
        }
        !inner.backlog.is_empty()
    }

    /// Counts what an attempt did and sets the time of the next one. False when the rest is lost.
    fn note(&self, inner: &mut Inner, progress: &Progress, lines: u64, now: Instant) -> bool {
        self.counts
            .written
            .fetch_add(lines - progress.discarded, Relaxed);
        self.counts.dropped(progress.discarded);
        self.counts.truncated(progress.cut);
        if progress.consumed > 0 {
            inner.busy_wait = BUSY_WAIT_MIN;
        }
        match &progress.state {
            State::Done => {}
            State::Busy => {
                inner.retry_at = now + inner.busy_wait;
                inner.busy_wait = (inner.busy_wait * 2).min(BUSY_WAIT_MAX);
            }
            State::Failed(fault) => {
                inner.retry_at = now + FAILED_WAIT;
                self.fail(inner, fault);
            }
            State::Gone(fault) => {
                self.fail(inner, fault);
                return false;
            }
        }
        true
    }

    fn fail(&self, inner: &mut Inner, fault: &io::Error) {
        self.counts.errors.fetch_add(1, Relaxed);
        inner.last_error = Some(fault.to_string());
    }

    /// Opens the destination anew: a file that was renamed gets a successor. On an error the old one
    /// stays in use. Standard output and error stay as they are.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        if matches!(self.destination, Destination::Stdout | Destination::Stderr) {
            return Ok(());
        }
        let opened = Sink::open(&self.destination);
        let inner = &mut *self.lock();
        match opened {
            Ok((sink, None)) => {
                if !sink.is_same_file(&inner.sink) {
                    // A line that the old file holds a part of is written whole to the new one.
                    inner.backlog.rewind();
                }
                inner.sink = sink;
                inner.retry_at = Instant::now();
                Ok(())
            }
            Ok((_, Some(fault))) | Err(fault) => {
                self.fail(inner, &fault);
                Err(fault)
            }
        }
    }

    /// What has gone wrong since the last report, when it is time for one.
    pub(crate) fn take_trouble(&self, now: Instant) -> Option<Trouble> {
        let inner = &mut *self.lock();
        let errors = self.counts.errors.load(Relaxed);
        let dropped = self.counts.dropped.load(Relaxed);
        if errors == inner.reported_errors && dropped == inner.reported_dropped {
            return None;
        }
        if inner.reported_at.is_some_and(|at| now < at + REPORT_EVERY) {
            return None;
        }
        let trouble = Trouble {
            destination: self.counts.destination.clone(),
            error: inner.last_error.take(),
            errors: errors - inner.reported_errors,
            lines_dropped: dropped - inner.reported_dropped,
        };
        inner.reported_at = Some(now);
        inner.reported_errors = errors;
        inner.reported_dropped = dropped;
        Some(trouble)
    }

    /// Counts a backlog that is given up at the end of the process.
    pub(crate) fn abandon(&self) {
        let inner = &mut *self.lock();
        self.counts.dropped(lines_of(inner.backlog.pending()));
        inner.backlog = Backlog::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // The state is consistent between any two statements that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many lines end in these bytes.
pub(crate) fn lines_of(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_backlog_gives_its_bytes_in_order_and_whole_lines_after_a_rewind(
            text in "[a-z\n]{0,300}",
            steps in prop::collection::vec((0usize..40, any::<bool>()), 0..60),
        ) {
            let mut backlog = Backlog { bytes: text.clone().into_bytes(), line: 0, head: 0 };
            let mut done = 0;
            for (n, rewinds) in steps {
                if backlog.is_empty() {
                    break;
                }
                prop_assert_eq!(backlog.pending(), &text.as_bytes()[done..]);
                let n = n.min(backlog.pending().len());
                backlog.advance(n);
                done += n;
                if rewinds && !backlog.is_empty() {
                    backlog.rewind();
                    done = text[..done].rfind('\n').map_or(0, |at| at + 1);
                    prop_assert_eq!(backlog.len(), text.len() - done);
                }
            }
        }
    }
}
