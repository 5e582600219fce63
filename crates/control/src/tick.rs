//! What is due each second: servers compared with each other, memory measured.

use std::time::Duration;

use keel_balance::Passive;

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
        sweep(&status);
        measure(&status);
    }
}

/// Outliers are found by comparison, which no request does.
fn sweep(status: &Status) {
    let now_ms = status.now_ms();
    for plan in &status.snapshot.pools {
        let balancer = &plan.pool.balancer;
        if !matches!(balancer.rules().passive, Passive::Outlier(_)) {
            continue;
        }
        for (index, change) in balancer.sweep(now_ms) {
            let server = plan.pool.servers.get(index);
            let server = server.map_or("", |it| it.name.as_str());
            let pool = &plan.pool.name;
            tracing::warn!(
                pool,
                server,
                "server ejected: {}",
                crate::words::change(change)
            );
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
