//! The TLS handshake with a client.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use keel_observe::RejectReason;
use keel_tls::{HandshakeFault, Stream};
use keel_types::ListenerId;
use tokio::net::TcpStream;

use crate::client::Client;
use crate::worker::Worker;

/// A handshake that goes on; counted while it does.
struct Going<'a> {
    worker: &'a Worker,
    listener: ListenerId,
}

impl<'a> Going<'a> {
    fn enter(worker: &'a Worker, listener: ListenerId, max: usize) -> Option<Going<'a>> {
        // Not made unless it is counted: its drop counts it out.
        let begun = worker.begin_handshake(listener, max);
        begun.then(|| Going { worker, listener })
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.worker.end_handshake(self.listener);
    }
}

/// Takes a connection through the handshake; none when it failed, which was counted.
///
/// A handshake costs as much as a hundred requests, so there is a limit to how many go on at a time,
/// how often one client begins one, and how long each may take.
pub async fn handshake(
    worker: &Worker,
    stream: TcpStream,
    peer: SocketAddr,
    listener: ListenerId,
) -> Option<Stream> {
    let view = worker.view();
    let metrics = view.metrics.listener(listener);
    let plan = view.snapshot.listeners.get(usize::from(listener.0))?;
    let tls = plan.tls.as_ref()?;
    let going = Going::enter(worker, listener, tls.handshakes_max);
    let Some(_going) = going else {
        metrics.rejected(RejectReason::Handshakes);
        return None;
    };
    if !worker.may_shake(listener, tls.per_client, peer.ip()) {
        metrics.rejected(RejectReason::HandshakeRate);
        return None;
    }
    let deadline = worker.deadlines.add();
    let due_ms = worker.clock.now_ms() + tls.handshake_timeout_ms;
    let mut accepting = pin!(tls.acceptor.accept(stream));
    let shaken = std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = accepting.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let now_ms = worker.clock.now_ms();
        if now_ms >= due_ms || now_ms >= worker.drain_due_ms() {
            return Poll::Ready(None);
        }
        deadline.set(due_ms.min(worker.drain_due_ms()));
        let _ = deadline.poll_fired(cx);
        Poll::Pending
    })
    .await;
    match shaken {
        Some(Ok(stream)) => {
            metrics.handshake(true);
            return Some(stream);
        }
        Some(Err(HandshakeFault::Plain { first, tcp })) => {
            metrics.handshake(false);
            answer_in_clear(worker, (tcp, peer), listener, &first).await;
        }
        Some(Err(fault)) => {
            metrics.handshake(false);
            tracing::debug!(client = %peer, "TLS handshake failed: {fault}");
        }
        None => {
            metrics.handshake(false);
            tracing::debug!(client = %peer, "TLS handshake did not end in time");
        }
    }
    None
}

/// Tells a client that speaks HTTP in clear what is wrong; whatever else came is not worth a word.
async fn answer_in_clear(
    worker: &Worker,
    (tcp, peer): (TcpStream, SocketAddr),
    listener: ListenerId,
    first: &[u8],
) {
    const BODY: &str = "This port speaks HTTPS: use https:// in the address.\n";

    let view = worker.view();
    let plan = view.snapshot.listeners.get(usize::from(listener.0));
    let like_http = first.iter().take(3).all(u8::is_ascii_uppercase) && first.len() >= 3;
    let (Some(plan), true, Ok(local)) = (plan, like_http, tcp.local_addr()) else {
        return;
    };
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nX-Error: Plain-HTTP\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    // A fresh socket takes this much at once, or nobody reads at the other end.
    if tcp.try_write(answer.as_bytes()).is_ok() {
        let mut client = Client::new(worker, tcp, peer, local, listener, plan);
        client.linger(worker).await;
    }
}
