//! The end of a client's connection: what is left goes out, and the client has the time to read it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use keel_http2::{ErrorCode, H2Abuse};
use keel_net::Deadline;

use super::conn::{H2Conn, Wire};

/// How long what is left may take to go out once a connection is given up, in milliseconds.
pub(super) const FAREWELL_MS: u64 = 1_000;

/// How long we read on after our own end, in milliseconds, in all.
const LINGER_MS: u64 = 30_000;

/// The same, without a byte.
const LINGER_IDLE_MS: u64 = 2_000;

/// Why nothing more is served on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    /// All streams are done, and there will be no others.
    Over,
    /// Its time is over.
    End,
    /// The client did what ends a connection.
    Abuse(H2Abuse),
    /// The client said its end, or the socket failed.
    Closed,
}

/// A connection on which nothing is served any more.
struct Leave {
    conn: Rc<H2Conn>,
    wire: Wire,
    deadline: Deadline,
    /// The client's end is waited for.
    lingers: bool,
    /// We have said our end.
    said: bool,
    due_ms: u64,
    /// What `due_ms` is at most.
    end_ms: u64,
}

/// Says our end, and reads and forgets until the client says its own. A socket that is closed with frames unread, and a
/// client that takes an answer sends WINDOW_UPDATE, is reset, and the rest of the answer is lost with that.
pub(super) async fn leave(conn: Rc<H2Conn>, wire: Wire, deadline: Deadline, ending: Ending) {
    let now_ms = conn.now_ms();
    let farewell = (true, FAREWELL_MS, FAREWELL_MS);
    let (lingers, wait_ms, wait_max_ms) = match ending {
        Ending::Over => (true, LINGER_IDLE_MS, LINGER_MS),
        Ending::End => farewell,
        Ending::Abuse(abuse) => (!abuse.is_flood(), FAREWELL_MS, FAREWELL_MS),
        Ending::Closed => (false, FAREWELL_MS, FAREWELL_MS),
    };
    match ending {
        Ending::End => conn.engine().end(ErrorCode::NO_ERROR),
        _ => conn.engine().lost(),
    }
    let end_ms = (now_ms + wait_max_ms).min(conn.worker.drain_due_ms().max(now_ms + FAREWELL_MS));
    let mut leave = Leave {
        due_ms: (now_ms + wait_ms).min(end_ms),
        end_ms,
        conn,
        wire,
        deadline,
        lingers,
        said: false,
    };
    poll_fn(|cx| leave.poll(cx)).await;
}

impl Leave {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.said {
            match self.poll_say(cx) {
                Poll::Ready(true) if self.lingers => self.said = true,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.poll_due(cx),
            }
            self.note_byte();
        }
        loop {
            match self.wire.poll_forget(cx, &self.conn) {
                Poll::Ready(true) => self.note_byte(),
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Pending => return self.poll_due(cx),
            }
            if self.conn.now_ms() >= self.due_ms {
                return Poll::Ready(());
            }
        }
    }

    /// Writes what is left, and our end; ready with whether that was possible.
    fn poll_say(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if ready!(self.wire.poll_write(cx, &self.conn)).is_err() {
            return Poll::Ready(false);
        }
        self.wire.poll_shutdown(cx).map(|done| done.is_ok())
    }

    fn note_byte(&mut self) {
        self.due_ms = (self.conn.now_ms() + LINGER_IDLE_MS).min(self.end_ms);
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.conn.now_ms() >= self.due_ms {
            return Poll::Ready(());
        }
        self.deadline.set(self.due_ms);
        let _ = self.deadline.poll_fired(cx);
        Poll::Pending
    }
}
