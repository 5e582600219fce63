//! What the phases of one exchange work on, and the two waits that they have in common.

use std::rc::Rc;
use std::task::{Context, Poll};

use keel_balance::EndpointState;
use keel_observe::InFlight;
use keel_types::PoolId;

use crate::client::Client;
use crate::error::Kind;
use crate::exchange::Exchange;
use crate::relay::Sink;
use crate::snapshot::ListenerPlan;
use crate::vars::{ConnectionFacts, Vars};
use crate::worker::{View, Worker};

/// One exchange on its way through the phases.
pub struct Walk<'a> {
    /// The worker.
    pub worker: &'a Rc<Worker>,
    /// The snapshot that the request began with.
    pub view: &'a View,
    /// The listener's plan.
    pub listener: &'a ListenerPlan,
    /// The client's connection.
    pub client: &'a mut Client,
    /// The exchange.
    pub ex: &'a mut Exchange,
    /// Whether the peer's forwarding headers are believed.
    pub trusted: bool,
    /// The final answer, ours or a server's, has begun to go to the client.
    pub answer_begun: bool,
    /// The answer opened a tunnel.
    pub in_tunnel: bool,
    /// Something was waited for since the clock was read last.
    pub waited: bool,
    /// How long the attempt that runs may take to the head of its answer, in milliseconds;
    /// `u64::MAX` leaves it to the timeouts.
    pub try_ms: u64,
    /// Counts the request as in flight on its route.
    pub in_flight: Option<InFlight>,
    /// The server that it is at, which may be drained with a time limit.
    server: Option<&'a EndpointState>,
}

impl<'a> Walk<'a> {
    /// A walk that begins.
    pub fn new(
        worker: &'a Rc<Worker>,
        view: &'a View,
        listener: &'a ListenerPlan,
        client: &'a mut Client,
        ex: &'a mut Exchange,
    ) -> Walk<'a> {
        let trusted = view.snapshot.is_trusted(client.peer.ip());
        Walk {
            worker,
            view,
            listener,
            client,
            ex,
            trusted,
            answer_begun: false,
            in_tunnel: false,
            waited: false,
            try_ms: u64::MAX,
            in_flight: None,
            server: None,
        }
    }

    /// What is waited for from now on is this server's doing: when it is drained with a time limit,
    /// the wait ends with that.
    #[inline]
    pub fn wait_on(&mut self, pool: PoolId, server: usize) {
        let plan = self.view.pool(pool);
        let known = plan.filter(|plan| server < plan.pool.balancer.len());
        self.server = known.map(|plan| &**plan.pool.balancer.state(server));
    }

    /// No server is waited for any more.
    #[inline]
    pub fn wait_on_nobody(&mut self) {
        self.server = None;
    }

    /// The exchange as variables.
    pub fn vars(&self) -> Vars<'_> {
        Vars {
            ex: self.ex,
            view: self.view,
            connection: ConnectionFacts {
                peer: self.client.peer,
                local: self.client.local,
                number: self.client.number,
                requests: self.client.requests,
                scheme: self.listener.scheme,
                listener: usize::from(self.client.listener.0),
            },
            tls: self.client.tls.as_deref(),
            unix_us: self.worker.clock.unix_us(self.worker.clock.now_us()),
        }
    }

    /// Keeps the head that goes to the client, when a log asks for its fields.
    pub fn copy_sent(&mut self, head: &[u8]) {
        if self.view.copies_answers(self.ex.record.route) {
            self.ex.sent_copy.clear();
            self.ex.sent_copy.extend_from_slice(head);
        }
    }

    /// Whether what is waited for is overdue at `due_ms`, which means `kind`, or the drain is. If
    /// not, the task is woken when it will be.
    ///
    /// A client that gives up its stream of HTTP/2 ends every wait.
    pub fn poll_overdue(&mut self, cx: &mut Context<'_>, due_ms: u64, kind: Kind) -> Poll<Kind> {
        self.waited = true;
        if let Some(stream) = self.client.io.h2()
            && stream.poll_gone(cx).is_err()
        {
            return Poll::Ready(match self.answer_begun {
                true => Kind::ClientAborted,
                false => Kind::ClientGone,
            });
        }
        let now_ms = self.worker.clock.now_ms();
        let drain_due_ms = match self.in_tunnel {
            true => self.worker.tunnels_due_ms(),
            false => self.worker.drain_due_ms(),
        };
        if now_ms >= due_ms {
            return Poll::Ready(kind);
        }
        if now_ms >= drain_due_ms {
            return Poll::Ready(Kind::DrainTimeout);
        }
        let cut_at_ms = match self.server.map(EndpointState::cut_at_ms) {
            None | Some(0) => u64::MAX,
            Some(at_ms) => at_ms,
        };
        if now_ms >= cut_at_ms {
            return Poll::Ready(Kind::ServerDrained);
        }
        let due_ms = due_ms.min(drain_due_ms).min(cut_at_ms);
        self.client.deadline.set(due_ms);
        // Whether it has fired is told by the clock; this registers the task.
        let _ = self.client.deadline.poll_fired(cx);
        Poll::Pending
    }

    /// Writes bytes to the client, which must take some within `timeout_ms`; they are the `last` of
    /// a message or not.
    pub async fn write_all(
        &mut self,
        bytes: &[u8],
        last: bool,
        timeout_ms: u64,
    ) -> Result<(), Kind> {
        let mut left = bytes;
        let mut due_ms = self.worker.clock.now_ms() + timeout_ms;
        std::future::poll_fn(|cx| {
            while !left.is_empty() {
                let parts = [left, &[], &[]];
                match self.client.io.poll_write_parts(cx, parts, last) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        left = left.get(n..).unwrap_or(&[]);
                        due_ms = self.worker.clock.now_ms() + timeout_ms;
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Kind::ClientAborted)),
                    Poll::Pending => {
                        return self.poll_overdue(cx, due_ms, Kind::ClientStalled).map(Err);
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}
