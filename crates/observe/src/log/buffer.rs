//! A worker's side of the access log: lines are rendered here and handed over in chunks.
//!
//! Invariants: a chunk holds whole lines only. Handing over never waits. After the first few chunks
//! nothing is allocated: buffers come back from the writer thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use keel_http::template::{Var, Variables};

use super::clock::{LogClock, UtcOffset};
use super::outlet::Outlet;
use super::thread::{Chunk, Message};
use super::writer::{AccessLog, LogLimits, LogTimeout, ROOM_WAIT};

/// Emptied buffers that a worker keeps for later.
const SPARE_BUFFERS_MAX: usize = 8;

/// Room above the chunk size, so that the line that fills a chunk seldom moves it.
const CHUNK_SLACK: usize = 4 * 1024;

/// Collects the lines of one worker. Call [`flush`](LogBuffer::flush) every 200 ms or so; dropping
/// it hands over what is left.
#[derive(Debug)]
pub struct LogBuffer {
    limits: LogLimits,
    queue: SyncSender<Message>,
    home: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    slots: Vec<Slot>,
    clock: LogClock,
}

/// The lines for one destination that are not handed over yet. Never empty between calls.
#[derive(Debug)]
struct Slot {
    outlet: Arc<Outlet>,
    data: Vec<u8>,
    lines: u64,
}

impl LogBuffer {
    pub(crate) fn new(
        queue: SyncSender<Message>,
        limits: LogLimits,
        offset: UtcOffset,
    ) -> LogBuffer {
        let (home, spare) = sync_channel(SPARE_BUFFERS_MAX);
        let clock = LogClock::new(offset);
        LogBuffer {
            limits,
            queue,
            home,
            spare,
            slots: Vec::with_capacity(4),
            clock,
        }
    }

    /// Writes the line of a request. `unix_ms` is the time that `$time_local`, `$time_iso8601` and
    /// `$msec` show, in milliseconds since the Unix epoch; `vars` gives all other values.
    #[inline]
    pub fn write(&mut self, log: &AccessLog, unix_ms: u64, vars: &dyn Variables) {
        self.clock.set(unix_ms);
        let at = self.slot(log.outlet());
        let slot = &mut self.slots[at];
        if let Some(header) = log.header() {
            slot.data.extend_from_slice(&header.before_time);
            slot.data.extend_from_slice(self.clock.syslog());
            slot.data.extend_from_slice(&header.after_time);
        }
        let start = slot.data.len();
        log.format().render(
            &Timed {
                clock: &self.clock,
                vars,
            },
            &mut slot.data,
        );
        if slot.data.len() - start > self.limits.line_bytes {
            slot.data.truncate(start + self.limits.line_bytes);
            slot.outlet.counts.truncated(1);
        }
        keep_on_one_line(&mut slot.data[start..]);
        slot.data.push(b'\n');
        slot.lines += 1;
        if slot.data.len() >= self.limits.chunk_bytes {
            self.hand_over(at);
        }
    }

    /// Hands over all lines. When the queue is full they stay here for the next time, up to the size
    /// of a chunk.
    pub fn flush(&mut self) {
        for at in (0..self.slots.len()).rev() {
            if let Err(slot) = self.send(at) {
                self.slots.push(slot);
            }
        }
    }

    /// Hands over all lines and waits for room in the queue if need be, not longer than `within`;
    /// what finds none is dropped and counted. For the end of a worker, not for the data path.
    pub fn close(mut self, within: Duration) -> Result<(), LogTimeout> {
        let deadline = Instant::now() + within;
        loop {
            self.flush();
            if self.slots.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(LogTimeout);
            }
            std::thread::sleep(ROOM_WAIT);
        }
    }

    /// Whether lines wait to be handed over.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn slot(&mut self, outlet: &Arc<Outlet>) -> usize {
        if let Some(at) = self
            .slots
            .iter()
            .position(|slot| Arc::ptr_eq(&slot.outlet, outlet))
        {
            return at;
        }
        let data = match self.spare.try_recv() {
            Ok(data) => data,
            Err(_) => Vec::with_capacity(self.limits.chunk_bytes + CHUNK_SLACK),
        };
        self.slots.push(Slot {
            outlet: Arc::clone(outlet),
            data,
            lines: 0,
        });
        self.slots.len() - 1
    }

    /// Hands a full chunk over, or drops it.
    #[cold]
    fn hand_over(&mut self, at: usize) {
        if let Err(mut slot) = self.send(at) {
            slot.outlet.counts.dropped(slot.lines);
            slot.data.clear();
            self.recycle(slot.data);
        }
    }

    /// Takes a slot away and queues its lines; gives it back when there is no room.
    fn send(&mut self, at: usize) -> Result<(), Slot> {
        let Slot {
            outlet,
            data,
            lines,
        } = self.slots.swap_remove(at);
        let chunk = Chunk {
            outlet,
            data,
            home: self.home.clone(),
        };
        match self.queue.try_send(Message::Lines(chunk)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Message::Lines(mut chunk))) => Err(Slot {
                outlet: Arc::clone(&chunk.outlet),
                data: std::mem::take(&mut chunk.data),
                lines,
            }),
            // The writer has ended: nothing will ever be written, and the chunk counts its loss.
            Err(_) => Ok(()),
        }
    }

    fn recycle(&self, data: Vec<u8>) {
        // With enough spares the buffer is let go.
        let _ = self.home.try_send(data);
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        while !self.slots.is_empty() {
            self.hand_over(self.slots.len() - 1);
        }
    }
}

/// Templates escape what peers send; this holds whatever a value's source forgot.
#[inline]
fn keep_on_one_line(line: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &line[from..]) {
        line[from + at] = b' ';
        from += at + 1;
    }
}

/// The worker's values with the times of the log's own clock.
struct Timed<'a> {
    clock: &'a LogClock,
    vars: &'a dyn Variables,
}

impl Variables for Timed<'_> {
    #[inline]
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        match var {
            Var::TimeLocal => out.extend_from_slice(self.clock.local()),
            Var::TimeIso8601 => out.extend_from_slice(self.clock.iso8601()),
            Var::Msec => self.clock.write_msec(out),
            other => return self.vars.write(other, out),
        }
        true
    }
}
