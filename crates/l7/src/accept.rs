//! Taking connections: one task for each listening socket of a worker.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use keel_net::is_exhaustion;
use keel_observe::RejectReason;
use keel_types::ListenerId;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::run::Ack;
use crate::session::{Held, serve};
use crate::worker::{Pass, Worker};

/// How long accepting rests when descriptors or memory have run out, or the limit is reached.
const REST: Duration = Duration::from_millis(50);
/// Warnings about exhaustion are at least this far apart, in milliseconds.
const WARN_EVERY_MS: u64 = 60_000;

/// Takes connections until the drain begins or `stopped` says that this socket is to be closed. `lent`
/// is [`keel_net::Bound::lent`]. Must run on the worker's own thread and runtime.
///
/// At the limit of connections, or without descriptors, it rests: clients wait in the backlog of the
/// kernel and nobody who is connected suffers.
pub async fn accept(
    worker: Rc<Worker>,
    socket: TcpListener,
    (listener, local): (ListenerId, SocketAddr),
    lent: bool,
    mut stopped: oneshot::Receiver<Ack>,
) -> std::io::Result<()> {
    let mut failures = Failures::default();
    while !worker.drain.is_draining() {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = worker.drain.begun() => break,
            Ok(done) = &mut stopped => {
                // Whoever lent the socket goes on with it: it must stay as it is.
                if !lent && let Err(error) = keel_net::refuse_new(&socket) {
                    // A client that comes in the instant of the close is reset then.
                    tracing::debug!(%local, "cannot keep new connections off a socket that closes: {error}");
                }
                take_last(&worker, socket, local, listener).await?;
                let _ = done.send(());
                return Ok(());
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                failures.in_a_row = 0;
                // At the limit this one waits in our hand and the others in the kernel's queue.
                match enter(&worker, listener).await {
                    Some(pass) => take(&worker, stream, peer, local, listener, pass),
                    None => take_later(&worker, stream, peer, local, listener),
                }
            }
            Err(error) => failures.after(&worker, listener, local, &error).await,
        }
    }
    take_queued(&worker, &socket.into_std()?, local, listener)
}

/// A socket that is to be closed while the process goes on: whoever has come is served, and nobody is
/// reset by the close.
async fn take_last(
    worker: &Rc<Worker>,
    socket: TcpListener,
    local: SocketAddr,
    listener: ListenerId,
) -> std::io::Result<()> {
    /// Handshakes of TCP that had begun end within this time.
    const LAST_COMERS: Duration = Duration::from_millis(500);

    let last = tokio::time::sleep(LAST_COMERS);
    tokio::pin!(last);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = &mut last => return Ok(()),
            () = worker.drain.begun() => break,
        };
        if let Ok((stream, peer)) = accepted
            && let Some(pass) = enter(worker, listener).await
        {
            take(worker, stream, peer, local, listener, pass);
        }
    }
    take_queued(worker, &socket.into_std()?, local, listener)
}

/// Connections that the kernel accepted before the drain began are served; closing the socket would
/// reset them. The socket itself is asked: the runtime may not have seen them yet.
fn take_queued(
    worker: &Rc<Worker>,
    socket: &std::net::TcpListener,
    local: SocketAddr,
    listener: ListenerId,
) -> std::io::Result<()> {
    /// More than a kernel's queue holds: whoever comes while we look is not waited for.
    const QUEUED_MAX: usize = 4096;

    for _ in 0..QUEUED_MAX {
        // A place first: where another process has the socket too, the queue is left to that one.
        let Some(pass) = worker.gate.enter() else {
            break;
        };
        let Ok((stream, peer)) = socket.accept() else {
            break;
        };
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        take(worker, stream, peer, local, listener, pass);
    }
    Ok(())
}

/// The connection that waits in our hand when a drain begins at the limit: it gets the next place that
/// becomes free, if one does before the drain is over.
fn take_later(
    worker: &Rc<Worker>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    listener: ListenerId,
) {
    let (worker, waits) = (worker.clone(), worker.open_connection());
    tokio::task::spawn_local(async move {
        while worker.clock.now_ms() < worker.drain_due_ms() {
            if let Some(pass) = worker.gate.enter() {
                take(&worker, stream, peer, local, listener, pass);
                break;
            }
            tokio::time::sleep(REST).await;
        }
        drop(waits);
    });
}

/// Failures of accepting.
#[derive(Default)]
struct Failures {
    in_a_row: u32,
    warned_ms: Option<u64>,
}

impl Failures {
    /// Rests when resources have run out or nothing but failures comes.
    async fn after(
        &mut self,
        worker: &Worker,
        listener: ListenerId,
        local: SocketAddr,
        error: &std::io::Error,
    ) {
        /// Single failures mean that a client was gone before we came to it.
        const IN_A_ROW_TO_REST: u32 = 100;

        self.in_a_row += 1;
        if !is_exhaustion(error) && self.in_a_row < IN_A_ROW_TO_REST {
            return;
        }
        count_rejected(worker, listener, RejectReason::Resources);
        let now_ms = worker.clock.tick() / 1000;
        if self.warned_ms.is_none_or(|at| now_ms >= at + WARN_EVERY_MS) {
            self.warned_ms = Some(now_ms);
            tracing::warn!(
                %local,
                "accepting rests: {error}; raise the limit of open files or lower `connections`"
            );
        }
        tokio::time::sleep(REST).await;
    }
}

/// Waits for a place behind the gate; none comes once the drain has begun.
async fn enter(worker: &Worker, listener: ListenerId) -> Option<Pass> {
    let mut told = false;
    loop {
        if let Some(pass) = worker.gate.enter() {
            return Some(pass);
        }
        if worker.drain.is_draining() {
            return None;
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

/// A dual-stack socket, which only a supervisor opens, has IPv4 addresses in the form of IPv6 (RFC 4291,
/// 2.5.5.2).
fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}

fn take(
    worker: &Rc<Worker>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    listener: ListenerId,
    pass: Pass,
) {
    let peer = plain(peer);
    // A socket bound to all addresses only knows per connection which one it was; asked lazily it
    // would cost a call per log line, asked here it costs one per connection and only there.
    let local = if local.ip().is_unspecified() {
        stream.local_addr().map_or(local, plain)
    } else {
        local
    };
    let view = worker.view();
    let Some(plan) = view.snapshot.listeners.get(usize::from(listener.0)) else {
        return;
    };
    let counted = view.metrics.listener(listener).accept();
    let held = Held {
        pass,
        open: worker.open_connection(),
        counted,
    };
    let client = Client::new(worker, stream, peer, local, listener, plan);
    tokio::task::spawn_local(serve(worker.clone(), client, held));
}
