//! Metrics: cells with one writer, typed handles over them, and the registry that sums them.
//!
//! A [`Registry`] is built from the [`Names`] of a configuration. Each worker thread asks it for its
//! [`WorkerMetrics`] once per configuration and then counts through handles that it finds by index:
//! no name is looked up, nothing is locked and, after the first use of a handle, nothing is
//! allocated.

mod catalog;
mod cell;
mod exposition;
mod handles;
mod histogram;
mod process;
mod protect;
mod registry;
mod series;
mod worker;

pub use catalog::{METRICS, Metric, MetricKind, metrics_reference};
pub use exposition::{ConfigFigures, NameFigures, ScrapeSources, TEXT_FORMAT, TlsFigures};
pub use handles::{
    ErrorKind, InFlight, ListenerMetrics, PoolMetrics, RejectReason, RouteMetrics, ServerMetrics,
    StatusClass,
};
pub use histogram::{BUCKET_COUNT, Buckets, bucket_bounds_us, bucket_of_us};
pub use process::ProcessReadings;
pub use protect::{BreakerTurn, Refusal};
pub use registry::{ListenerTotals, Names, PoolNames, Registry, RouteTotals, ServerTotals, Totals};
pub use worker::WorkerMetrics;

#[cfg(test)]
mod tests;
