//! Clients that were shut out: counted all, told of once a minute.

use std::net::SocketAddr;
use std::sync::Mutex;

use keel_http2::H2Abuse;
use keel_types::ListenerId;

use crate::worker::Worker;

/// How long nothing more is said of one kind on one listener, in milliseconds.
const SILENCE_MS: u64 = 60_000;
/// Pairs of a listener and a kind that are remembered; with more listeners than that some lines
/// come more often.
const REMEMBERED_MAX: usize = 4096;

/// When which line went out last. All workers write to one log, so that they share it; only who
/// shuts a client out comes here.
static TOLD: Mutex<Vec<(ListenerId, H2Abuse, u64)>> = Mutex::new(Vec::new());

/// Counts a connection that was ended for what the client did, and says so.
pub fn note(worker: &Worker, listener: ListenerId, client: SocketAddr, abuse: H2Abuse) {
    let view = worker.view();
    let metrics = view.metrics.listener(listener);
    metrics.bad_request();
    metrics.http2_abuse(abuse);
    let plan = view.snapshot.listeners.get(usize::from(listener.0));
    let name = plan.map_or("", |plan| plan.name.as_str());
    let kind = abuse.name();
    if !is_due(listener, abuse, worker.clock.now_ms()) {
        tracing::debug!(%client, listener = name, kind, "HTTP/2 connection ended: {abuse}");
    } else if abuse.is_flood() {
        tracing::warn!(%client, listener = name, kind, "HTTP/2 connection ended: {abuse}; more like it are only counted for a minute");
    } else {
        tracing::info!(%client, listener = name, kind, "HTTP/2 connection ended: {abuse}; more like it are only counted for a minute");
    }
}

fn is_due(listener: ListenerId, abuse: H2Abuse, now_ms: u64) -> bool {
    // Whoever panicked while it held the list left it whole.
    let mut told = match TOLD.lock() {
        Ok(told) => told,
        Err(poisoned) => poisoned.into_inner(),
    };
    let next_ms = now_ms + SILENCE_MS;
    match told.iter_mut().find(|it| it.0 == listener && it.1 == abuse) {
        Some((.., due_ms)) if now_ms < *due_ms => false,
        Some((.., due_ms)) => {
            *due_ms = next_ms;
            true
        }
        None => {
            if told.len() >= REMEMBERED_MAX {
                told.clear();
            }
            told.push((listener, abuse, next_ms));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_for_each_listener_and_kind() {
        let (a, b) = (ListenerId(901), ListenerId(902));
        assert!(is_due(a, H2Abuse::PingFlood, 10));
        assert!(!is_due(a, H2Abuse::PingFlood, 10 + SILENCE_MS - 1));
        assert!(is_due(b, H2Abuse::PingFlood, 11));
        assert!(is_due(a, H2Abuse::RapidReset, 12));
        assert!(is_due(a, H2Abuse::PingFlood, 10 + SILENCE_MS));
        assert!(!is_due(a, H2Abuse::PingFlood, 20 + SILENCE_MS));
    }
}
