//! Metric families and the access log.
//!
//! Two halves that the data plane feeds and the admin listener reads:
//!
//! * [`metrics`]: per-worker counters, gauges and histograms. Each worker thread is the only writer
//!   of its own cells, so counting is a plain load and store; a scrape sums the cells of all
//!   workers. Gauges move through guards that lower them on drop.
//! * [`log`]: the access log. A worker formats lines into its own buffer; one thread for the whole
//!   process writes them out. The data path never waits for a disk, a pipe or a syslog daemon: what
//!   cannot be queued is dropped, whole lines at a time, and counted.
//!
//! What this crate does not do: serve `/metrics` (the admin crate does), catch signals (the binary
//! does), know the configuration (the control crate hands names and destinations over).
#![forbid(unsafe_code)]

pub mod log;
pub mod metrics;

pub use log::{AccessLog, LogBuffer, LogLimits, LogSpec, LogWriter};
pub use metrics::{
    BreakerTurn, ErrorKind, InFlight, ListenerMetrics, Names, PoolMetrics, PoolNames, Refusal,
    Registry, RejectReason, RouteMetrics, ServerMetrics, StatusClass, WorkerMetrics,
};
