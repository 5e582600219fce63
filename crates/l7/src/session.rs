//! One client connection from accept to close.
//!
//! A connection is *hot* while requests come and *cold* while it waits. Hot, its future holds
//! everything an exchange needs and the next request allocates nothing. After [`HOT_IDLE_MS`]
//! without a request that future is dropped and a small one waits, so that ten thousand idle
//! connections cost little.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use keel_observe::InFlight;
use keel_tls::{Alpn, Stream};

use crate::client::{Client, HeadRead};
use crate::driver::{Next, exchange, refuse};
use crate::error::Kind;
use crate::h2::{Shared, serve_h2};
use crate::handshake::handshake;
use crate::io::Io;
use crate::worker::{OpenConnection, Pass, Worker};

/// How long a connection stays hot without a request, in milliseconds.
pub const HOT_IDLE_MS: u64 = 500;

/// What a connection holds for as long as it is open.
pub struct Held {
    /// Its place behind the gate.
    pub pass: Pass,
    /// Its count at the worker.
    pub open: OpenConnection,
    /// Its count in the metrics.
    pub counted: InFlight,
}

/// How the hot part of a connection ended.
enum Hot {
    /// Nothing came for a while.
    Quiet,
    /// The connection is over.
    Over(Next),
    /// The client speaks HTTP/2.
    Http2,
}

/// Serves a connection until it is closed.
pub async fn serve(worker: Rc<Worker>, mut client: Client, held: Held) {
    let _held = held;
    if worker.speaks_tls(client.listener) {
        let Some(Stream::Plain(tcp)) = client.io.take_stream() else {
            return;
        };
        // Boxed, so that what lasts does not carry the room for it.
        match Box::pin(handshake(&worker, tcp, client.peer, client.listener)).await {
            Some(stream) => client.secure(&worker, stream),
            None => return,
        }
    }
    let h2 = client.tls.as_ref().and_then(|facts| facts.alpn) == Some(Alpn::H2);
    if h2 {
        return Box::pin(go_on_as_h2(&worker, &mut client)).await;
    }
    let next = loop {
        let hot = Box::pin(run_hot(&worker, &mut client)).await;
        match hot {
            Hot::Over(next) => break next,
            Hot::Quiet => worker.note_cooled(),
            Hot::Http2 => return Box::pin(go_on_as_h2(&worker, &mut client)).await,
        }
        if !wait_cold(&worker, &mut client).await {
            break Next::Close;
        }
        worker.note_heated();
    };
    match next {
        Next::Linger => Box::pin(client.linger(&worker)).await,
        Next::Reset => {
            if let Io::Bytes(stream) = &client.io {
                // Without it the close is an ordinary one: less exact, nothing worse.
                let socket = socket2::SockRef::from(stream.tcp());
                let _ = socket.set_linger(Some(std::time::Duration::ZERO));
            }
        }
        Next::Close => client.say_end(),
        Next::KeepAlive | Next::Malformed => {}
    }
    worker.bufs.give(&mut client.input);
}

/// The connection speaks HTTP/2 from here on; what was read of it goes along.
async fn go_on_as_h2(worker: &Rc<Worker>, client: &mut Client) {
    let shared = Shared::new(worker, client);
    let early = std::mem::take(&mut client.input);
    if let Some(stream) = client.io.take_stream() {
        serve_h2(worker, shared, stream, early).await;
    }
}

/// Serves requests for as long as they come.
async fn run_hot(worker: &Rc<Worker>, client: &mut Client) -> Hot {
    let mut ex = crate::exchange::Exchange::new();
    loop {
        let listener = usize::from(client.listener.0);
        let mut view = worker.view();
        let mut generation = worker.generation();
        let mut quiet_at_ms = None;
        let read = poll_fn(|cx| {
            // A request belongs to the snapshot in force when its head is whole.
            if worker.generation() != generation {
                view = worker.view();
                generation = worker.generation();
            }
            let Some(plan) = view.snapshot.listeners.get(listener) else {
                return Poll::Ready(HeadRead::Closed);
            };
            let quiet_at_ms = *quiet_at_ms.get_or_insert_with(|| {
                worker.clock.now_ms() + HOT_IDLE_MS.min(plan.idle_timeout_ms)
            });
            client.poll_head(cx, worker, plan, &mut ex.head, quiet_at_ms)
        })
        .await;
        let Some(plan) = view.snapshot.listeners.get(listener) else {
            return Hot::Over(Next::Close);
        };
        let refused = match read {
            HeadRead::Complete => None,
            HeadRead::Quiet => return Hot::Quiet,
            HeadRead::Http2 => return Hot::Http2,
            HeadRead::Closed | HeadRead::Cut => return Hot::Over(Next::Close),
            HeadRead::TimedOut => Some(Kind::HeadTimeout),
            HeadRead::Fault(fault) => Some(Kind::BadHead(fault)),
        };
        let next = match refused {
            None => exchange(worker, &view, plan, client, &mut ex).await,
            Some(kind) => refuse(worker, &view, plan, client, &mut ex, kind).await,
        };
        client.scan.reset();
        if next != Next::KeepAlive {
            return Hot::Over(next);
        }
        client.head_due_ms = worker.clock.now_ms() + plan.head_timeout_ms;
    }
}

/// Waits for the next bytes with as little memory as can be. Gives whether to go on.
async fn wait_cold(worker: &Worker, client: &mut Client) -> bool {
    let due_ms = {
        let view = worker.view();
        let Some(plan) = view.snapshot.listeners.get(usize::from(client.listener.0)) else {
            return false;
        };
        if client.requests == 0 || !client.input.is_empty() {
            client.head_due_ms
        } else {
            // It was hot for a moment already, which counts.
            worker.clock.now_ms() + plan.idle_timeout_ms.saturating_sub(HOT_IDLE_MS)
        }
    };
    worker.bufs.shrink(&mut client.input);
    poll_fn(|cx| {
        // Bytes that are here already are served, drain or not.
        if client.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        let leaves_at_ms = client.leaves_at_ms(worker);
        if worker.clock.now_ms() >= leaves_at_ms {
            return Poll::Ready(false);
        }
        if worker.clock.now_ms() >= due_ms {
            // A head that was begun is answered by the hot part, silence is not.
            return Poll::Ready(!client.input.is_empty());
        }
        client.deadline.set(due_ms.min(leaves_at_ms));
        let _ = client.deadline.poll_fired(cx);
        Poll::Pending
    })
    .await
}
