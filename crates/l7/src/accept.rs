//! Taking connections: one task for each listening socket of a worker.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use keel_net::{Bound, is_exhaustion};
use keel_observe::RejectReason;
use keel_types::ListenerId;
use tokio::net::TcpListener;

use crate::session::{Held, serve};
use crate::worker::{Pass, Worker};

/// How long accepting rests when descriptors or memory have run out, or the limit is reached.
const REST: Duration = Duration::from_millis(50);
/// Warnings about exhaustion are at least this far apart, in milliseconds.
const WARN_EVERY_MS: u64 = 60_000;

/// Takes connections until the drain begins. Must run on the worker's own thread and runtime.
///
/// At the limit of connections, or without descriptors, it rests: clients wait in the backlog of the
/// kernel and nobody who is connected suffers.
pub async fn accept(worker: Rc<Worker>, bound: Bound, listener: ListenerId) -> std::io::Result<()> {
    let local = bound.address;
    let socket = TcpListener::from_std(bound.listener)?;
    let mut warned_ms: Option<u64> = None;
    loop {
        let pass = tokio::select! {
            biased;
            () = worker.drain.begun() => break,
            pass = enter(&worker, listener) => pass,
        };
        let accepted = tokio::select! {
            biased;
            () = worker.drain.begun() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => take(&worker, stream, peer, local, listener, pass),
            Err(error) if is_exhaustion(&error) => {
                drop(pass);
                count_rejected(&worker, listener, RejectReason::Resources);
                let now_ms = worker.clock.tick() / 1000;
                if warned_ms.is_none_or(|at| now_ms >= at + WARN_EVERY_MS) {
                    warned_ms = Some(now_ms);
                    tracing::warn!(
                        %local,
                        "accepting rests: {error}; raise the limit of open files or lower `connections`"
                    );
                }
                tokio::time::sleep(REST).await;
            }
            // The client was gone before we came to it, or the network said no: the next one.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Waits for a place behind the gate.
async fn enter(worker: &Worker, listener: ListenerId) -> Pass {
    let mut told = false;
    loop {
        if let Some(pass) = worker.gate.enter() {
            return pass;
        }
        if !told {
            told = true;
            count_rejected(worker, listener, RejectReason::Limit);
        }
        tokio::time::sleep(REST).await;
    }
}

fn count_rejected(worker: &Worker, listener: ListenerId, reason: RejectReason) {
    worker.view().metrics.listener(listener).rejected(reason);
}

fn take(
    worker: &Rc<Worker>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    listener: ListenerId,
    pass: Pass,
) {
    // A socket bound to all addresses only knows per connection which one it was; asked lazily it
    // would cost a call per log line, asked here it costs one per connection and only there.
    let local = if local.ip().is_unspecified() {
        stream.local_addr().unwrap_or(local)
    } else {
        local
    };
    let counted = worker.view().metrics.listener(listener).accept();
    let held = Held {
        pass,
        open: worker.open_connection(),
        counted,
    };
    tokio::task::spawn_local(serve(worker.clone(), stream, peer, local, listener, held));
}
