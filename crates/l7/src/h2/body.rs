//! The body of one stream, both ways.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use keel_http::trailer_fields;
use keel_http2::{ErrorCode, Head, StreamError, StreamRef};
use keel_net::Buf;

use super::conn::H2Conn;
use super::heads::{AnswerFields, opening_fields};

/// What a stream of HTTP/2 brings and takes, whichever side of us it is on. The stream is given up on drop.
#[derive(Debug, Default)]
pub struct H2Body {
    /// Unset until our request went out, when the far end is a server.
    open: Option<Open>,
}

/// A stream that is there.
#[derive(Debug)]
struct Open {
    conn: Rc<H2Conn>,
    stream: StreamRef,
}

impl Drop for Open {
    fn drop(&mut self) {
        let now_ms = self.conn.now_ms();
        self.conn.engine().release(self.stream, now_ms);
    }
}

impl H2Body {
    /// A stream that a client opened, or that we opened to a server.
    pub fn new(conn: Rc<H2Conn>, stream: StreamRef) -> H2Body {
        H2Body {
            open: Some(Open { conn, stream }),
        }
    }

    fn open(&self) -> io::Result<&Open> {
        self.open
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends the head of the final answer to the client, which is in the form of HTTP/1.1; `ended` when nothing
    /// follows it.
    pub fn send_answer(&mut self, status: u16, head: &[u8], ended: bool) -> io::Result<()> {
        let Open { conn, stream } = self.open()?;
        let answer = AnswerFields::new(status, head);
        let mut priority = None;
        let fields = answer.iter().inspect(|(name, value)| {
            if name.eq_ignore_ascii_case(b"priority") {
                priority = Some(*value);
            }
        });
        let mut engine = conn.engine();
        let sent = engine.send_head(*stream, fields, ended, conn.now_ms());
        sent.map_err(as_io)?;
        if let Some(value) = priority {
            engine.answer_priority(*stream, value);
        }
        Ok(())
    }

    /// Sends the answer that opens a WebSocket (RFC 8441, 5), from the 101 that we wrote.
    pub fn send_opening(&mut self, head: &[u8]) -> io::Result<()> {
        let Open { conn, stream } = self.open()?;
        let fields = opening_fields(head);
        let sent = conn
            .engine()
            .send_head(*stream, fields, false, conn.now_ms());
        sent.map_err(as_io)
    }

    /// Sends an interim answer to the client, whose head is in the form of HTTP/1.1.
    pub fn send_interim(&mut self, status: u16, head: &[u8]) -> io::Result<()> {
        let Open { conn, stream } = self.open()?;
        let answer = AnswerFields::new(status, head);
        let sent = conn
            .engine()
            .send_head(*stream, answer.iter(), false, conn.now_ms());
        sent.map_err(as_io)
    }

    /// The head of the far end's next message: of the client's request, of the server's next answer, which is an
    /// interim one or the final one. Its memory goes back with [`H2Body::give_head`].
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, StreamError>> {
        match &self.open {
            Some(open) => open.conn.engine().poll_head(open.stream, cx),
            None => Poll::Pending,
        }
    }

    /// Gives the memory of a head back.
    pub fn give_head(&mut self, head: Head) {
        if let Some(open) = &self.open {
            open.conn.engine().give_fields(head.fields);
        }
    }

    /// Reads what has come of the body; 0 is its end.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        let Some(open) = &self.open else {
            return Poll::Pending;
        };
        let space = buf.space();
        if space.is_empty() {
            // Reading nothing would look like the end.
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        let read = open.conn.engine().poll_read(open.stream, cx, space);
        let n = ready!(read).map_err(as_io)?;
        buf.fill(n);
        Poll::Ready(Ok(n))
    }

    /// The field lines that came after the body.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        match &self.open {
            Some(open) => open.conn.engine().take_trailers(open.stream),
            None => Vec::new(),
        }
    }

    /// Whether the far end has sent all that it will, and no trailers.
    pub fn is_received(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.conn.engine().is_received(open.stream))
    }

    /// Sends as much of the parts as the far end's window takes. With `last`, the message ends when
    /// all of them are taken.
    #[inline]
    pub fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: [&[u8]; 3],
        last: bool,
    ) -> Poll<io::Result<usize>> {
        let Open { conn, stream } = self.open()?;
        if parts.iter().all(|part| part.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let mut engine = conn.engine();
        if engine.has_ended(*stream) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let sent = engine.poll_send(*stream, cx, parts, last, conn.now_ms());
        sent.map_err(as_io)
    }

    /// Ends the message, with field lines behind the body when there are any.
    pub fn end(&mut self, trailers: &[u8]) -> io::Result<()> {
        let Open { conn, stream } = self.open()?;
        let now_ms = conn.now_ms();
        let mut engine = conn.engine();
        if engine.has_ended(*stream) {
            return Ok(());
        }
        let ended = match trailers.is_empty() {
            true => engine.end_stream(*stream, now_ms),
            false => engine.send_trailers(*stream, trailer_fields(trailers), now_ms),
        };
        ended.map_err(as_io)
    }

    /// Whether we said all that we had to say.
    pub fn has_ended(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.conn.engine().has_ended(open.stream))
    }

    /// Ends the stream at once, in the middle of whatever was going on.
    pub fn reset(&mut self, code: ErrorCode) {
        if let Some(Open { conn, stream }) = &self.open {
            conn.engine().reset(*stream, code, conn.now_ms());
        }
    }

    /// Fails when the far end has given the stream up before we said all that we have to say.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(Open { conn, stream }) = &self.open else {
            return Ok(());
        };
        let mut engine = conn.engine();
        let gone = !engine.has_ended(*stream) && engine.poll_failed(*stream, cx).is_ready();
        match gone {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

/// An error of a stream as one of a connection that carries bytes.
pub(super) fn as_io(error: StreamError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
