//! Deadlines of one attempt: whom we wait for, and until when.

use crate::error::Kind;
use crate::relay::Waiting;
use crate::snapshot::{MIN_RATE_GRACE_MS, PoolPlan, RoutePlan};
use crate::walk::Walk;

/// The times that apply to one attempt, in milliseconds.
pub struct Times {
    /// The server must answer, and go on answering.
    pub read_ms: u64,
    /// The server must take something of the request.
    send_ms: u64,
    /// The client must send something of its body.
    body_ms: u64,
    /// The client must take something of the answer.
    pub client_send_ms: u64,
    /// Bytes per second that the client's body must reach.
    body_rate_min: u64,
    started_ms: u64,
    /// An attempt that another one may follow must have its answer within this time.
    try_ms: u64,
    /// When the client gives up, in milliseconds of the worker's clock.
    pub deadline_ms: u64,
}

impl Times {
    /// The times of a route towards a pool.
    pub fn of(walk: &Walk<'_>, route: &RoutePlan, plan: &PoolPlan) -> Times {
        let pool = &plan.pool;
        let tunnel_timeout_ms = route.timeouts.tunnel_ms.unwrap_or(plan.tunnel_timeout_ms);
        let times = &route.timeouts;
        // Streams of gRPC say something when there is something to say.
        let pause_ms = walk.ex.call.map(|_| tunnel_timeout_ms);
        let read_ms = pause_ms.unwrap_or(pool.read_timeout_ms);
        // Over HTTP/1 there are no such streams: what comes is gRPC-Web, whose requests are whole.
        let streamed = walk.ex.call.is_some() && walk.client.io.is_h2();
        let body_ms = match pause_ms {
            Some(pause_ms) if streamed => pause_ms,
            _ => walk.listener.body_timeout_ms,
        };
        Times {
            read_ms: times.read_ms.unwrap_or(read_ms),
            send_ms: times.send_ms.unwrap_or(pool.send_timeout_ms),
            body_ms: times.body_ms.unwrap_or(body_ms),
            client_send_ms: client_send_ms(walk),
            body_rate_min: match streamed {
                true => 0,
                false => walk.listener.body_rate_min,
            },
            deadline_ms: walk.ex.call.map_or(u64::MAX, |call| call.due_ms),
            started_ms: walk.worker.clock.now_ms(),
            try_ms: walk.try_ms,
        }
    }

    /// When what we wait for is overdue, and what that means then.
    pub fn due(&self, walk: &Walk<'_>, sent_ms: Option<u64>, now_ms: u64) -> (u64, Kind) {
        let (due_ms, kind) = self.due_of_phase(walk, sent_ms, now_ms);
        match self.deadline_ms < due_ms {
            true => (self.deadline_ms, Kind::DeadlinePassed),
            false => (due_ms, kind),
        }
    }

    fn due_of_phase(&self, walk: &Walk<'_>, sent_ms: Option<u64>, now_ms: u64) -> (u64, Kind) {
        let up = &walk.ex.up;
        if let Some(sent_ms) = sent_ms {
            return (self.answer_due(sent_ms), Kind::AnswerTimeout);
        }
        match up.waiting() {
            Waiting::Source => (
                self.body_due(up.progress_ms, up.body_bytes),
                Kind::BodyTimeout,
            ),
            Waiting::Sink => (up.progress_ms + self.send_ms, Kind::SendTimeout),
            Waiting::Nothing => (now_ms + self.read_ms, Kind::AnswerTimeout),
        }
    }

    /// When the head of the answer is overdue, of a request that was sent then.
    pub fn answer_due(&self, sent_ms: u64) -> u64 {
        sent_ms.saturating_add(self.read_ms.min(self.try_ms))
    }

    /// When a body is overdue: it must make progress, and after a while keep up a minimum rate.
    pub fn body_due(&self, progress_ms: u64, bytes: u64) -> u64 {
        let silent = progress_ms + self.body_ms;
        if self.body_rate_min == 0 {
            return silent;
        }
        let earned_ms = bytes.saturating_mul(1000) / self.body_rate_min;
        let slow = self.started_ms + MIN_RATE_GRACE_MS.max(earned_ms);
        silent.min(slow)
    }
}

/// A window that stays shut on a stream holds an answer's buffers, so it has a time of its own.
fn client_send_ms(walk: &Walk<'_>) -> u64 {
    let send_ms = walk.listener.send_timeout_ms;
    match &walk.listener.http2 {
        Some(http2) if walk.client.io.is_h2() => send_ms.min(http2.stall_timeout_ms),
        _ => send_ms,
    }
}
