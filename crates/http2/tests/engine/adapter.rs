//! Our ends on a pipe of tokio's, and streams of them as async functions. No stream takes more than it is given.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use keel_http2::{Connection, ErrorCode, Event, StreamError, StreamRef};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::side::list;
use crate::wire::Fields;

pub type Shared = Rc<RefCell<Connection>>;

/// A stream that is released when it is dropped.
pub struct Stream {
    pub conn: Shared,
    pub at: StreamRef,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.conn.borrow_mut().release(self.at, 0);
    }
}

/// Moves bytes until the connection is over. Streams that the peer opens go to `opened`.
pub async fn pump(conn: Shared, mut io: DuplexStream, opened: impl Fn(Stream)) {
    let mut eof = false;
    poll_fn(|cx| {
        loop {
            conn.borrow_mut().set_io_waker(cx.waker());
            let read = !eof && poll_read(&conn, &mut io, &opened, &mut eof, cx).is_ready();
            let wrote = poll_write(&conn, &mut io, cx).is_ready();
            let over = conn.borrow().is_over() && conn.borrow().out().is_empty();
            if over || eof {
                return Poll::Ready(());
            }
            if !read && !wrote {
                return Poll::Pending;
            }
        }
    })
    .await;
    conn.borrow_mut().lost();
}

fn poll_read(
    conn: &Shared,
    io: &mut DuplexStream,
    opened: &impl Fn(Stream),
    eof: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if !conn.borrow().wants_bytes() {
        return Poll::Pending;
    }
    let mut room = [0; 8192];
    let mut room = ReadBuf::new(&mut room);
    match Pin::new(io).poll_read(cx, &mut room) {
        Poll::Pending => return Poll::Pending,
        Poll::Ready(done) => done.expect("a pipe"),
    }
    let mut bytes = room.filled();
    *eof = bytes.is_empty();
    while !bytes.is_empty() {
        let found = conn.borrow_mut().receive(&mut bytes, 0);
        match found {
            Ok(Some(Event::Opened(at))) => {
                let conn = conn.clone();
                opened(Stream { conn, at });
            }
            Ok(None) => {}
            Err(abuse) => panic!("a good peer is sent away: {abuse}"),
        }
    }
    Poll::Ready(())
}

fn poll_write(conn: &Shared, io: &mut DuplexStream, cx: &mut Context<'_>) -> Poll<()> {
    let mut conn = conn.borrow_mut();
    if conn.out().is_empty() {
        return Poll::Pending;
    }
    match Pin::new(io).poll_write(cx, conn.out()) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(len)) => {
            conn.written(len);
            Poll::Ready(())
        }
        Poll::Ready(Err(_)) => {
            let len = conn.out().len();
            conn.written(len);
            Poll::Ready(())
        }
    }
}

fn refs<'a>(fields: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

impl Stream {
    pub fn open(
        conn: &Shared,
        fields: &[(&str, &str)],
        ended: bool,
    ) -> Result<Stream, StreamError> {
        let at = conn.borrow_mut().open(refs(fields), ended, false, 0)?;
        let conn = conn.clone();
        Ok(Stream { conn, at })
    }

    pub async fn head(&self) -> Result<(Fields, bool), StreamError> {
        let head = poll_fn(|cx| self.conn.borrow_mut().poll_head(self.at, cx)).await?;
        let fields = list(&head.fields);
        self.conn.borrow_mut().give_fields(head.fields);
        Ok((fields, head.ended))
    }

    /// Up to `room` bytes; none at the end.
    pub async fn read(&self, room: usize) -> Result<Vec<u8>, StreamError> {
        let mut buffer = vec![0; room];
        let read = poll_fn(|cx| self.conn.borrow_mut().poll_read(self.at, cx, &mut buffer)).await?;
        buffer.truncate(read);
        Ok(buffer)
    }

    /// All that is left of the content, and the trailers.
    pub async fn read_all(&self, room: usize) -> Result<(Vec<u8>, Vec<u8>), StreamError> {
        let mut content = Vec::new();
        loop {
            let piece = self.read(room).await?;
            if piece.is_empty() {
                let trailers = self.conn.borrow_mut().take_trailers(self.at);
                return Ok((content, trailers));
            }
            content.extend(piece);
        }
    }

    pub fn send_head(&self, fields: &[(&str, &str)], ended: bool) -> Result<(), StreamError> {
        let mut conn = self.conn.borrow_mut();
        conn.send_head(self.at, refs(fields), ended, 0)
    }

    pub fn send_trailers(&self, fields: &[(&str, &str)]) -> Result<(), StreamError> {
        let mut conn = self.conn.borrow_mut();
        conn.send_trailers(self.at, refs(fields), 0)
    }

    pub fn end(&self) -> Result<(), StreamError> {
        self.conn.borrow_mut().end_stream(self.at, 0)
    }

    pub async fn send(&self, mut content: &[u8], last: bool) -> Result<(), StreamError> {
        while !content.is_empty() {
            let parts = [content, &[][..], &[][..]];
            let sent = poll_fn(|cx| {
                let mut conn = self.conn.borrow_mut();
                conn.poll_send(self.at, cx, parts, last, 0)
            });
            content = &content[sent.await?..];
        }
        Ok(())
    }

    pub fn reset(&self, code: ErrorCode) {
        self.conn.borrow_mut().reset(self.at, code, 0);
    }
}
