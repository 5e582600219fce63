//! Opening access logs, and the handle to the one thread that writes them all.
//!
//! Invariant: the queue is bounded and nothing on the data path waits for room in it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::buffer::LogBuffer;
use super::clock::UtcOffset;
use super::destination::{Destination, SyslogTarget};
use super::format::{FormatFault, LineFormat};
use super::outlet::{Counts, LogStats, Outlet, Trouble};
use super::syslog::{Facility, SyslogHeader, SyslogTag};
use super::thread::{Message, Shared, WriterThread};

/// Pause of a caller that waits for room in the queue (control plane only).
pub(crate) const ROOM_WAIT: Duration = Duration::from_millis(1);

/// The bounds of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Chunks waiting for the writer, over all workers. Default 256.
    pub queue_chunks: usize,
    /// A worker hands its lines over when it holds this many bytes for a destination. Default 64 KiB.
    pub chunk_bytes: usize,
    /// Bytes kept for a destination that is slow or failing. Default 4 MiB.
    pub backlog_bytes: usize,
    /// Longest line; what is beyond is cut off. Default 256 KiB.
    pub line_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits {
            queue_chunks: 256,
            chunk_bytes: 64 * 1024,
            backlog_bytes: 4 * 1024 * 1024,
            line_bytes: 256 * 1024,
        }
    }
}

/// An access log as the configuration describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    /// Its name, for messages.
    pub name: String,
    /// Where its lines go.
    pub destination: Destination,
    /// The name of a format, or a template; see [`check_format`](super::check_format).
    pub format: String,
    /// The facility of syslog messages. Only used for a syslog destination.
    pub facility: Facility,
    /// The tag of syslog messages. Only used for a syslog destination.
    pub tag: SyslogTag,
}

/// An access log that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    /// Its format cannot be used.
    #[error("access log `{log}` has an unusable format")]
    Format {
        /// The log's name.
        log: String,
        /// What is wrong.
        #[source]
        fault: FormatFault,
    },
    /// Its destination cannot be opened.
    #[error(
        "access log `{log}` cannot be opened at {destination}: {fault}; check that its directory exists and that this user may write there"
    )]
    Open {
        /// The log's name.
        log: String,
        /// The destination, as [`Destination`] displays it.
        destination: String,
        /// What the system said.
        fault: io::Error,
    },
}

/// Not everything was written in time; the rest stays queued, or is lost when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access log could not be written out in time")]
pub struct LogTimeout;

/// An open access log: a format and a destination. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Open>);

#[derive(Debug)]
struct Open {
    name: String,
    format: LineFormat,
    header: Option<SyslogHeader>,
    outlet: Arc<Outlet>,
}

impl AccessLog {
    /// The log's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn format(&self) -> &LineFormat {
        &self.0.format
    }

    pub(crate) fn header(&self) -> Option<&SyslogHeader> {
        self.0.header.as_ref()
    }

    pub(crate) fn outlet(&self) -> &Arc<Outlet> {
        &self.0.outlet
    }
}

/// The handle to the writer thread. Cheap to clone; the thread ends after
/// [`shutdown`](LogWriter::shutdown), or when all handles and buffers are gone.
#[derive(Debug, Clone)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl LogWriter {
    /// Starts the writer thread. Troubles go to the process's own log as warnings.
    pub fn start(limits: LogLimits, offset: UtcOffset) -> io::Result<LogWriter> {
        LogWriter::start_reporting(limits, offset, |trouble| {
            // A warning about standard error would go to where nothing can be written.
            if trouble.destination != "stderr" {
                tracing::warn!(
                    destination = %trouble.destination,
                    error = trouble.error.as_deref().unwrap_or("the queue is full"),
                    errors = trouble.errors,
                    lines_dropped = trouble.lines_dropped,
                    "access log is failing"
                );
            }
        })
    }

    /// Starts the writer thread with another receiver for [`Trouble`]s. `report` runs on the writer
    /// thread, once a minute at most for each destination.
    pub fn start_reporting(
        limits: LogLimits,
        offset: UtcOffset,
        report: impl FnMut(Trouble) + Send + 'static,
    ) -> io::Result<LogWriter> {
        let (queue, messages) = sync_channel(limits.queue_chunks.max(1));
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let shared = Arc::new(Shared {
            limits,
            offset,
            host,
            reopens: AtomicU64::new(0),
            outlets: Mutex::default(),
        });
        let thread = WriterThread::new(Arc::clone(&shared), report);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || thread.run(messages))?;
        Ok(LogWriter { queue, shared })
    }

    /// Opens an access log. Files are made when they are missing. A syslog socket that cannot be
    /// reached is a warning only, because its daemon may start later.
    pub fn open(&self, spec: &LogSpec) -> Result<AccessLog, LogFault> {
        let format = LineFormat::parse(&spec.format).map_err(|fault| LogFault::Format {
            log: spec.name.clone(),
            fault,
        })?;
        let outlet = self.outlet(spec)?;
        let header = match &spec.destination {
            Destination::Syslog(SyslogTarget::Unix(_)) => {
                Some(SyslogHeader::new(spec.facility, None, &spec.tag))
            }
            Destination::Syslog(SyslogTarget::Udp(_)) => Some(SyslogHeader::new(
                spec.facility,
                Some(&self.shared.host),
                &spec.tag,
            )),
            _ => None,
        };
        Ok(AccessLog(Arc::new(Open {
            name: spec.name.clone(),
            format,
            header,
            outlet,
        })))
    }

    fn outlet(&self, spec: &LogSpec) -> Result<Arc<Outlet>, LogFault> {
        let outlets = &mut *self.shared.outlets();
        let same = |outlet: &Arc<Outlet>| *outlet.destination() == spec.destination;
        if let Some(outlet) = outlets.open.iter().filter_map(Weak::upgrade).find(same) {
            return Ok(outlet);
        }
        let counts = match outlets.counts.get(&spec.destination) {
            Some(counts) => Arc::clone(counts),
            None => Arc::new(Counts::new(&spec.destination)),
        };
        let opened = Outlet::open(
            &spec.destination,
            Arc::clone(&counts),
            self.shared.limits.backlog_bytes,
        );
        let (outlet, unreachable) = opened.map_err(|fault| LogFault::Open {
            log: spec.name.clone(),
            destination: spec.destination.to_string(),
            fault,
        })?;
        if let Some(fault) = unreachable {
            tracing::warn!(
                log = %spec.name,
                destination = %spec.destination,
                error = %fault,
                "syslog cannot be reached yet; its lines are kept for a while"
            );
        }
        let outlet = Arc::new(outlet);
        outlets.counts.insert(spec.destination.clone(), counts);
        outlets.open.push(Arc::downgrade(&outlet));
        Ok(outlet)
    }

    /// A buffer for one worker.
    pub fn buffer(&self) -> LogBuffer {
        LogBuffer::new(self.queue.clone(), self.shared.limits, self.shared.offset)
    }

    /// Asks for all files to be opened anew (after they were renamed) and returns at once. Errors
    /// are reported by the thread, and the old file stays in use. To wait for it, call
    /// [`flush`](Self::flush) next.
    pub fn reopen(&self) {
        self.shared.reopens.fetch_add(1, Ordering::Release);
        // A full queue wakes the thread as well.
        let _ = self.queue.try_send(Message::Wake);
    }

    /// Waits until everything that was handed over before is written, also what destinations with a
    /// backlog still hold. Lines that workers have not handed over are not meant: see
    /// [`LogBuffer::flush`]. Not for the data path.
    pub fn flush(&self, within: Duration) -> Result<(), LogTimeout> {
        let deadline = Instant::now() + within;
        let (done, wait) = sync_channel(1);
        self.post(Message::Flush(done), deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        wait.recv_timeout(left).map_err(|_| LogTimeout)
    }

    /// Writes out everything that was handed over and ends the thread, not later than `within`.
    /// Workers should have dropped or flushed their buffers before; what comes later is dropped and
    /// counted. Calling it again is fine.
    pub fn shutdown(&self, within: Duration) -> Result<(), LogTimeout> {
        let deadline = Instant::now() + within;
        let (done, wait) = sync_channel(1);
        self.post(Message::Stop(done, deadline), deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        match wait.recv_timeout(left) {
            Ok(()) => Ok(()),
            // The thread has given up at the deadline, or had ended before it read the message.
            Err(RecvTimeoutError::Disconnected) if Instant::now() < deadline => Ok(()),
            Err(_) => Err(LogTimeout),
        }
    }

    fn post(&self, mut message: Message, deadline: Instant) -> Result<(), LogTimeout> {
        loop {
            message = match self.queue.try_send(message) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return Ok(()),
                Err(TrySendError::Full(message)) => message,
            };
            if Instant::now() >= deadline {
                return Err(LogTimeout);
            }
            std::thread::sleep(ROOM_WAIT);
        }
    }

    /// The figures of every destination since the start, sorted by destination.
    pub fn stats(&self) -> Vec<LogStats> {
        let mut stats: Vec<LogStats> = self
            .shared
            .outlets()
            .counts
            .values()
            .map(|counts| counts.read())
            .collect();
        stats.sort_by(|a, b| a.destination.cmp(&b.destination));
        stats
    }
}
