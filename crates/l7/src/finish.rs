//! The last phase, run exactly once for every request: the counters and the access log.

use crate::walk::Walk;

/// Counts the request and writes its line.
pub fn finish(walk: &mut Walk<'_>) {
    let now_us = match walk.waited {
        true => walk.worker.clock.tick(),
        false => walk.worker.clock.now_us(),
    };
    let ex = &mut *walk.ex;
    if ex.record.end_us == 0 {
        ex.record.end_us = now_us;
    }
    ex.record.bytes_received += ex.up.body_bytes;
    walk.in_flight = None;
    let record = &ex.record;
    let view = walk.view;
    let took = record.end_us.saturating_sub(record.start_us);
    let unrouted = record.bad_head || record.route == view.snapshot.no_route();
    let metrics = if unrouted {
        view.metrics.unrouted()
    } else {
        view.metrics.route(record.route)
    };
    let status = match record.failed_as {
        0 => record.status,
        // The client of gRPC got 200 and a status of its own behind it: a failure all the same.
        failed_as => failed_as,
    };
    metrics.finish(status, took);
    metrics.bytes(record.bytes_received, record.bytes_sent);
    let Some(route) = view.snapshot.routes.get(record.route.0 as usize) else {
        return;
    };
    let logs = route.logs.as_ref().unwrap_or(&walk.listener.logs);
    if !logs.is_empty() {
        let vars = walk.vars();
        for log in logs {
            if let Some(log) = view.snapshot.logs.get(*log) {
                let mut lines = walk.worker.log.borrow_mut();
                lines.write(log, vars.unix_us / 1000, &vars);
            }
        }
    }
    let bufs = &walk.worker.bufs;
    walk.ex.clear(bufs);
}
