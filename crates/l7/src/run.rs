//! A worker's life: its runtime, its listeners, its tick, and its drain.

use std::rc::Rc;
use std::time::Duration;

use keel_net::{Bound, TICK};
use keel_types::ListenerId;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinSet;

use crate::accept::accept;
use crate::worker::Worker;

/// Ticks between two flushes of the access log.
const TICKS_PER_FLUSH: u64 = 2;
/// Ticks between two looks at the free buffers.
const TICKS_PER_TRIM: u64 = 3;
/// Ticks between two sweeps of idle server connections.
const TICKS_PER_SWEEP: u64 = 10;

/// How long a drain may take.
#[derive(Debug, Clone, Copy)]
pub struct DrainTimes {
    /// For requests that run.
    pub requests: Duration,
    /// For tunnels.
    pub tunnels: Duration,
}

/// Runs a worker on this thread until the drain is over: every connection closed, or
/// `drain_times` after its begin.
///
/// # Errors
/// When the runtime cannot be made or a socket cannot be registered with it.
pub fn run_worker(
    make: impl FnOnce() -> Worker,
    listeners: Vec<(ListenerId, Bound)>,
    drain_times: DrainTimes,
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let worker = Rc::new(make());
    runtime.block_on(async {
        let ticker = tokio::task::spawn_local(tick(worker.clone()));
        let mut accepting = JoinSet::new();
        for (listener, bound) in listeners {
            accepting.spawn_local(accept(worker.clone(), bound, listener));
        }
        let mut failed = None;
        while let Some(ended) = accepting.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(std::io::Error::other("accepting panicked")),
            }
            if failed.is_some() {
                break;
            }
        }
        drain(&worker, drain_times).await;
        ticker.abort();
        worker.flush_logs();
        failed.map_or(Ok(()), Err)
    })
}

/// Fires deadlines, flushes logs, sweeps idle connections.
async fn tick(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count: u64 = 0;
    loop {
        interval.tick().await;
        count += 1;
        let now_us = worker.clock.tick();
        worker.deadlines.fire(now_us / 1000);
        if count.is_multiple_of(TICKS_PER_FLUSH) {
            worker.flush_logs();
        }
        if count.is_multiple_of(TICKS_PER_TRIM) {
            worker.trim();
        }
        if count.is_multiple_of(TICKS_PER_SWEEP) {
            worker.clock.follow_wall();
            worker.sweep();
        }
    }
}

/// Waits for the connections to end, waking those that idle so that they close. What still runs at
/// the end of the time is ended by its own driver, which answers, logs and counts it.
async fn drain(worker: &Rc<Worker>, times: DrainTimes) {
    /// Time for the drivers to end what they run.
    const GRACE: Duration = Duration::from_millis(500);

    let now_ms = worker.clock.tick() / 1000;
    let after =
        |time: Duration| now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    worker.set_drain_due(after(times.requests), after(times.tunnels));
    let due = tokio::time::Instant::now() + times.requests.max(times.tunnels);
    while worker.open_connections() > 0 && tokio::time::Instant::now() < due + GRACE {
        worker.deadlines.wake_all();
        tokio::time::sleep(Duration::from_millis(20)).await;
        worker.clock.tick();
        if tokio::time::Instant::now() >= due {
            let left = worker.open_connections();
            tracing::debug!(
                worker = worker.index,
                left,
                "drain timeout: ending what is left"
            );
        }
    }
    let left = worker.open_connections();
    if left > 0 {
        tracing::warn!(
            worker = worker.index,
            connections = left,
            "drain timeout: closed what was left"
        );
    }
}
