//! What keeps an HTTP/2 connection to a server going.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use keel_http2::{Config, H2Abuse, H2GuardLimits};

use super::conn::{Came, Wire};
use super::upstream::Shared;
use crate::snapshot::ServerHttp2Plan;

/// What a window is at most (RFC 9113, 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// What servers may send as the fields of an answer, in bytes.
const HEADER_LIST_BYTES_MAX: u32 = 64 << 10;

/// Reads at a time; then others have their turn.
const READS_MAX: usize = 8;

/// How long nothing runs on a connection before it gives memory back, in milliseconds.
pub(super) const TRIM_AFTER_MS: u64 = 1_000;

/// How long what the server said before it took no more may still be read, in milliseconds.
const DEAF_MS: u64 = 1_000;

/// What is announced to servers, and limits towards them.
pub(super) fn client_config(plan: &ServerHttp2Plan) -> Config {
    // Room for all streams at once: clients that take nothing of their answers must not hold up those of others.
    let streams = u32::try_from(plan.streams_max).unwrap_or(u32::MAX);
    let window_bytes = plan.stream_window_bytes.saturating_mul(streams);
    let window_bytes = window_bytes.max(plan.connection_window_bytes);
    Config {
        stream_window_bytes: plan.stream_window_bytes,
        connection_window_bytes: window_bytes.min(WINDOW_MAX),
        streams_max: 0,
        header_list_bytes_max: HEADER_LIST_BYTES_MAX,
        out_bytes_max: plan.out_bytes_max,
        limits: H2GuardLimits::default(),
    }
}

/// Keeps a connection going until it ends: moves its bytes, pings, and closes it when it idles.
pub(super) struct Keeper {
    shared: Rc<Shared>,
    wire: Wire,
    ping_every_ms: u64,
    ping_timeout_ms: u64,
    next_ping_ms: u64,
    pong_due_ms: Option<u64>,
    /// The server takes nothing more. What it said before, answers and GOAWAY, may still have to be read; by then.
    deaf_due_ms: Option<u64>,
    /// Streams that the server took at a time when it was last looked.
    streams_max: usize,
    /// It took further streams when it was last looked.
    was_open: bool,
    /// Since when nothing ran when memory was given back last.
    trimmed_ms: u64,
    /// The connection's place in a limit.
    _held: Option<Box<dyn std::fmt::Debug>>,
}

/// Why a connection ends.
enum End {
    /// The server said its end, or the socket failed.
    Lost,
    /// The server did what ends a connection.
    Broken(H2Abuse),
    /// Its streams are done, and there will be no others.
    Over,
    /// Nothing runs on it, and it is not kept.
    Idle,
    /// The server does not answer.
    Dead,
}

impl Keeper {
    /// A keeper of a connection that is `held` in a limit.
    pub(super) fn new(
        shared: Rc<Shared>,
        wire: Wire,
        plan: &ServerHttp2Plan,
        held: Option<Box<dyn std::fmt::Debug>>,
    ) -> Keeper {
        let now_ms = shared.conn.worker.clock.now_ms();
        Keeper {
            shared,
            wire,
            ping_every_ms: plan.ping_every_ms,
            ping_timeout_ms: plan.ping_timeout_ms,
            next_ping_ms: now_ms.saturating_add(plan.ping_every_ms),
            pong_due_ms: None,
            deaf_due_ms: None,
            streams_max: 0,
            was_open: true,
            trimmed_ms: 0,
            _held: held,
        }
    }

    /// Runs until the connection ends.
    pub(super) async fn keep(mut self) {
        poll_fn(|cx| {
            let end = ready!(self.poll(cx));
            self.end(cx, end);
            Poll::Ready(())
        })
        .await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let moved = self.poll_wire(cx);
        self.tell_of_room();
        if let Poll::Ready(end) = moved {
            return Poll::Ready(end);
        }
        if self.shared.conn.engine().is_over() {
            return Poll::Ready(End::Over);
        }
        self.poll_due(cx)
    }

    /// Reads what has come, and writes what there is to be written. Pending when nothing more can be done now.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let conn = &*self.shared.conn;
        let mut reads = 0;
        let stuffed = loop {
            if self.deaf_due_ms.is_none() && !conn.engine().wants_bytes() {
                break true;
            }
            if reads == READS_MAX {
                cx.waker().wake_by_ref();
                break false;
            }
            reads += 1;
            // A server opens no streams: push is off.
            match self.wire.poll_read(cx, conn, |_| {}) {
                Poll::Pending => break false,
                Poll::Ready(Came::Bytes) => {}
                Poll::Ready(Came::End) => return Poll::Ready(End::Lost),
                Poll::Ready(Came::Abuse(abuse)) => return Poll::Ready(End::Broken(abuse)),
            }
        };
        if self.deaf_due_ms.is_none()
            && let Poll::Ready(Err(_)) = self.wire.poll_write(cx, conn)
        {
            self.deaf_due_ms = Some(conn.now_ms().saturating_add(DEAF_MS));
            self.shared.closed.set(true);
            // There may be more to read than this turn has seen.
            cx.waker().wake_by_ref();
        }
        conn.watch(cx);
        if stuffed && conn.engine().wants_bytes() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whoever waits for a stream looks again when the server takes more of them, and when it takes no more of them here.
    fn tell_of_room(&mut self) {
        let streams_max = self.shared.streams_max();
        let is_open = self.shared.is_open();
        if streams_max > self.streams_max || self.was_open && !is_open {
            self.shared.line.tell_all();
        }
        self.streams_max = streams_max;
        self.was_open = is_open;
    }

    /// Whether the connection is dead, or idle for too long.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let shared = &*self.shared;
        let mut engine = shared.conn.engine();
        let now_ms = shared.conn.worker.clock.now_ms();
        let idle = shared.active.get() == 0;
        if self.deaf_due_ms.is_some_and(|due| now_ms >= due) {
            return Poll::Ready(End::Lost);
        }
        if engine.take_pong() {
            self.pong_due_ms = None;
        }
        if self.pong_due_ms.is_some_and(|due| now_ms >= due) {
            tracing::debug!(server = %shared.address, "no answer to a ping");
            return Poll::Ready(End::Dead);
        }
        if now_ms >= self.next_ping_ms {
            self.next_ping_ms = now_ms.saturating_add(self.ping_every_ms);
            if !idle && self.pong_due_ms.is_none() {
                self.pong_due_ms = Some(now_ms.saturating_add(self.ping_timeout_ms));
                // It goes out with the next turn, for which the engine wakes this task.
                engine.ping();
            }
        }
        let mut due_ms = self.next_ping_ms.min(self.pong_due_ms.unwrap_or(u64::MAX));
        due_ms = due_ms.min(self.deaf_due_ms.unwrap_or(u64::MAX));
        shared.due_ms.set(due_ms);
        if idle {
            let quiet_ms = shared.quiet_since_ms.get();
            let trim_due_ms = quiet_ms.saturating_add(TRIM_AFTER_MS);
            if self.trimmed_ms != quiet_ms && now_ms >= trim_due_ms {
                engine.trim();
                self.trimmed_ms = quiet_ms;
            } else if self.trimmed_ms != quiet_ms {
                due_ms = due_ms.min(trim_due_ms);
            }
            drop(engine);
            let idle_due_ms = quiet_ms.saturating_add(shared.keep.idle_timeout_ms);
            if now_ms >= idle_due_ms || !shared.is_of_use() {
                return Poll::Ready(End::Idle);
            }
            due_ms = due_ms.min(idle_due_ms);
        }
        shared.deadline.set(due_ms);
        let _ = shared.deadline.poll_fired(cx);
        Poll::Pending
    }

    /// Fails what still runs, and tells the server as far as that costs no wait.
    fn end(&mut self, cx: &mut Context<'_>, end: End) {
        let shared = &*self.shared;
        shared.closed.set(true);
        let conn = &*shared.conn;
        let says = match end {
            End::Broken(abuse) => {
                let (server, kind) = (shared.address, abuse.name());
                tracing::debug!(%server, kind, "a server broke the rules of HTTP/2");
                true
            }
            End::Lost | End::Dead => false,
            End::Over | End::Idle => {
                conn.engine().drain();
                true
            }
        };
        if says && self.deaf_due_ms.is_none() {
            let _ = self.wire.poll_write(cx, conn);
            let _ = self.wire.poll_shutdown(cx);
        }
        conn.engine().lost();
        shared.line.tell_all();
    }
}
