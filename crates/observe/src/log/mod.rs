//! The access log: one line per request, formatted by the worker, written by one thread.
//!
//! The path of a line: the worker renders it into its [`LogBuffer`], which collects lines per
//! destination. Full buffers, and on [`LogBuffer::flush`] the others too, go over a bounded queue to
//! the thread of the [`LogWriter`], which writes them and sends the emptied buffers home.
//!
//! # What is promised
//! * The data path never waits for a destination. When the queue is full, or a destination has
//!   been failing for so long that its backlog is full, whole chunks of lines are dropped and
//!   counted ([`LogStats::lines_dropped`]).
//! * No line is torn: a write that stops in the middle of a line goes on exactly there.
//! * [`LogWriter::reopen`] loses nothing: what was queued goes to the old file or the new one.
//! * Errors never end the thread. They are counted, and reported once a minute at most for each
//!   destination.
//!
//! # What is not promised
//! * Lines of several workers are in order per worker only, and up to a flush interval apart.
//! * A regular file is written with blocking calls: while a disk or a network file system stalls,
//!   the thread stalls too, and with it all destinations; the queue fills and lines are dropped.
//!   Pipes, terminals, FIFOs and sockets are written without blocking.
//! * Datagrams may be lost after they were sent.
//! * A process that is killed loses what its workers and the queue still held.

mod buffer;
mod clock;
mod destination;
mod format;
mod json;
mod outlet;
mod sink;
mod syslog;
mod thread;
mod writer;

pub use buffer::LogBuffer;
pub use clock::{LogClock, UtcOffset};
pub use destination::{Destination, DestinationFault, SyslogTarget};
pub use format::{FormatFault, NAMED_FORMATS, check_format};
pub use json::json_keys;
pub use outlet::{LogStats, Trouble};
pub use syslog::{Facility, SyslogFault, SyslogTag};
pub use writer::{AccessLog, LogFault, LogLimits, LogSpec, LogTimeout, LogWriter};

#[cfg(test)]
mod tests;
