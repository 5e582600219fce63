//! What is due each second: memory is measured, and who was away for too long is forgotten.

use std::time::Duration;

use keel_l7::StickyPlan;

use crate::live::Control;
use crate::memory;
use crate::status::Status;

const EVERY: Duration = Duration::from_secs(1);

/// Runs as long as the process serves.
pub(crate) async fn run(control: Control) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let status = control.status();
        measure(&status);
        forget(&status);
    }
}

/// Clients that were bound to a server and were away for too long.
fn forget(status: &Status) {
    for plan in &status.snapshot.pools {
        if let Some(StickyPlan::Table(table)) = &plan.sticky {
            table.bindings().expire(status.now_ms());
        }
    }
}

fn measure(status: &Status) {
    let Some(shed) = status
        .snapshot
        .shed
        .as_ref()
        .filter(|it| it.watches_memory())
    else {
        return;
    };
    let Some(bytes) = memory::resident_bytes() else {
        return;
    };
    if shed.measured(bytes) {
        match shed.is_short_of_memory() {
            true => tracing::warn!(bytes, "memory is short: requests are refused (`shed`)"),
            false => tracing::info!(bytes, "memory is enough again: requests are taken"),
        }
    }
}
