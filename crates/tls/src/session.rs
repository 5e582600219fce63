//! One TLS connection over TCP: records in, records out.
//!
//! Reads go through one buffer for each thread, so that a system call takes in several records while
//! an idle connection keeps no buffer for them. Writes are encrypted in pieces of a few records and
//! leave in one vectored call each. How writes count is told in [`crate::stream`].

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, IoSlice, Write};
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::{ConnectionCommon, SideData};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::facts::TlsFacts;

/// Bytes that one system call takes in at most.
const READ: usize = 64 * 1024;

/// The least that a read asks of the socket: a small buffer of the caller shall not cost a system
/// call for each few bytes of a record.
const READ_LEAST: usize = 4096;

/// What the records of one read add to their data (5 bytes of header, 16 of tag, 1 of type each).
const OVERHEAD: usize = 512;

/// Bytes encrypted before they are sent: four full records, which the second level cache holds.
const PIECE: usize = 64 * 1024;

/// Parts of a vectored write taken at once.
const PARTS: usize = 16;

thread_local! {
    /// Ciphertext between the socket and rustls; empty between calls.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A TLS connection after its handshake (inside this crate: also during it).
pub struct Session<C> {
    tcp: TcpStream,
    conn: C,
    facts: TlsFacts,
    /// Ciphertext that was read and that rustls had no room for.
    ahead: Vec<u8>,
    /// Bytes of the caller that are encrypted, but were not counted as written yet.
    held: usize,
    /// A sample of the held bytes: the next write has to begin with the same.
    mark: u64,
    shut: bool,
    /// A record could not be taken; each further read says so.
    broken: bool,
}

impl<C> fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("tcp", &self.tcp)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl<C> Session<C> {
    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What the handshake agreed on.
    pub fn facts(&self) -> &TlsFacts {
        &self.facts
    }

    pub(crate) fn conn(&self) -> &C {
        &self.conn
    }

    pub(crate) fn set_facts(&mut self, facts: TlsFacts) {
        self.facts = facts;
    }
}

impl<C, D> Session<C>
where
    C: DerefMut<Target = ConnectionCommon<D>> + Unpin,
    D: SideData,
{
    /// A session before its handshake; `first` was read from `tcp` already.
    pub(crate) fn new(tcp: TcpStream, mut conn: C, first: Vec<u8>) -> Session<C> {
        // The pieces limit what is encrypted ahead.
        conn.set_buffer_limit(None);
        Session {
            tcp,
            conn,
            facts: TlsFacts::default(),
            ahead: first,
            held: 0,
            mark: 0,
            shut: false,
            broken: false,
        }
    }

    /// Ready when the handshake is over and all that it sends is in the socket. An error that rustls
    /// found comes as `Ok(Err(error))`, after an attempt to send the alert.
    pub(crate) fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Result<(), rustls::Error>>> {
        loop {
            while !self.ahead.is_empty() && self.conn.is_handshaking() {
                if let Err(error) = self.take_ahead(&mut ReadBuf::new(&mut [])) {
                    let _ = self.poll_push(cx);
                    return Poll::Ready(Ok(Err(error)));
                }
            }
            let pushed = self.poll_push(cx)?;
            if !self.conn.is_handshaking() {
                ready!(pushed);
                return Poll::Ready(Ok(Ok(())));
            }
            if !self.conn.wants_read() {
                ready!(pushed);
            }
            if ready!(self.poll_ahead(cx, READ_LEAST))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads from the socket into `ahead`; the number of bytes, 0 at the end.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let before = self.ahead.len();
        let (tcp, ahead) = (&mut self.tcp, &mut self.ahead);
        ready!(poll_socket(tcp, cx, most, |bytes| {
            ahead.extend_from_slice(bytes);
            Ok(())
        }))?;
        Poll::Ready(Ok(self.ahead.len() - before))
    }

    /// Gives what is `ahead` to rustls, as far as it has room, and frees the rest's memory.
    fn take_ahead(&mut self, out: &mut ReadBuf<'_>) -> Result<(), rustls::Error> {
        let ahead = std::mem::take(&mut self.ahead);
        let mut rest = ahead.as_slice();
        let done = decrypt(&mut self.conn, &mut rest, out);
        if !rest.is_empty() {
            let taken = ahead.len() - rest.len();
            self.ahead = ahead;
            self.ahead.drain(..taken);
        }
        done
    }

    /// Sends the records that wait.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.conn.wants_write() {
            let mut socket = Socket {
                tcp: &mut self.tcp,
                cx,
            };
            match self.conn.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in ciphertext, `most` bytes of the socket at most, and puts data into `out` as far as
    /// it has room. `Ready` says that something changed, also that the stream ended: ask the reader.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = if self.broken {
            self.conn.process_new_packets().map(|_| ())
        } else if self.ahead.is_empty() {
            let mut done = Ok(());
            let (tcp, conn, ahead) = (&mut self.tcp, &mut self.conn, &mut self.ahead);
            ready!(poll_socket(tcp, cx, most, |bytes| {
                let mut rest = bytes;
                if rest.is_empty() {
                    // Makes the reader tell a clean end from a truncated stream.
                    conn.read_tls(&mut rest)?;
                }
                done = decrypt(conn, &mut rest, out);
                ahead.extend_from_slice(rest);
                Ok(())
            }))?;
            done
        } else {
            self.take_ahead(out)
        };
        self.broken = done.is_err();
        // Answers to key updates, and alerts. A write that waits pushes them itself, with its own waker.
        if self.conn.wants_write() && self.held == 0 {
            let _ = self.poll_push(cx)?;
        }
        Poll::Ready(done.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    /// Ready when a read has something to tell.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.conn.reader().into_first_chunk() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return Poll::Ready(Ok(())),
            }
            ready!(self.poll_fill(cx, READ_LEAST, &mut ReadBuf::new(&mut [])))?;
        }
    }

    fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if self.held > 0 && (total < self.held || sample(parts, self.held) != self.mark) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a pending TLS write has to be repeated with the same bytes",
            )));
        }
        let mut written = 0;
        loop {
            match self.poll_push(cx) {
                Poll::Ready(Ok(())) => written += std::mem::take(&mut self.held),
                Poll::Ready(Err(error)) if written == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if written == 0 => return Poll::Pending,
                // What is held begins where the caller's next write will.
                _ => return Poll::Ready(Ok(written)),
            }
            if written == total {
                return Poll::Ready(Ok(written));
            }
            let mut store = [IoSlice::new(&[]); PARTS];
            let piece = window(parts, written, &mut store);
            self.held = self.conn.writer().write_vectored(piece)?;
            self.mark = sample(piece, self.held);
        }
    }
}

impl<C, D> AsyncRead for Session<C>
where
    C: DerefMut<Target = ConnectionCommon<D>> + Unpin,
    D: SideData,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let session = self.get_mut();
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            match give(&mut session.conn, buf) {
                // The peer said that this is the end.
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    if buf.filled().len() > before {
                        break;
                    }
                    return Poll::Ready(Err(error));
                }
                Err(_) => {
                    let most = (buf.remaining() + OVERHEAD).clamp(READ_LEAST, READ);
                    let filled = session.poll_fill(cx, most, buf);
                    // An error comes again with the next read, after the data that came before it.
                    if buf.filled().len() == before {
                        ready!(filled)?;
                    }
                }
            }
            if buf.filled().len() > before && session.ahead.is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<C, D> AsyncWrite for Session<C>
where
    C: DerefMut<Target = ConnectionCommon<D>> + Unpin,
    D: SideData,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_parts(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_parts(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Sends what is held. It counts as written when the caller repeats its write.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_push(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = self.get_mut();
        if !session.shut {
            session.shut = true;
            session.conn.send_close_notify();
        }
        ready!(session.poll_push(cx))?;
        Pin::new(&mut session.tcp).poll_shutdown(cx)
    }
}

/// One read of at most `most` bytes; they are given to `take`, none at the end of TCP's stream.
fn poll_socket(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    most: usize,
    take: impl FnOnce(&[u8]) -> io::Result<()>,
) -> Poll<io::Result<()>> {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.is_empty() {
            scratch.resize(READ, 0);
        }
        let space = scratch.get_mut(..most.min(READ)).unwrap_or_default();
        let mut window = ReadBuf::new(space);
        ready!(Pin::new(tcp).poll_read(cx, &mut window))?;
        Poll::Ready(take(window.filled()))
    })
}

/// Gives `rest` to rustls and moves data into `out`, until neither has room.
fn decrypt<D>(
    conn: &mut ConnectionCommon<D>,
    rest: &mut &[u8],
    out: &mut ReadBuf<'_>,
) -> Result<(), rustls::Error> {
    while !rest.is_empty() {
        match conn.read_tls(rest) {
            // After close_notify all further bytes are ignored (RFC 8446 section 6.1).
            Ok(0) => *rest = &[],
            Ok(_) => {
                conn.process_new_packets()?;
            }
            // rustls holds all the data that it may.
            Err(error) if error.kind() == io::ErrorKind::Other => match give(conn, out) {
                Ok(n) if n > 0 => {}
                _ => break,
            },
            Err(_) => return Err(rustls::Error::PeerSentOversizedRecord),
        }
    }
    let _ = give(conn, out);
    Ok(())
}

/// Moves data that rustls holds into `out` as far as it has room; how much, 0 at the end of the stream.
/// Room that stays free is not touched: memory that nobody wrote to costs nothing.
fn give<D>(conn: &mut ConnectionCommon<D>, out: &mut ReadBuf<'_>) -> io::Result<usize> {
    let mut reader = conn.reader();
    let before = out.remaining();
    while out.remaining() > 0 {
        let piece = match reader.fill_buf() {
            Ok(piece) => piece,
            // It comes again with the next read.
            Err(_) if out.remaining() < before => break,
            Err(error) => return Err(error),
        };
        let piece = piece.get(..out.remaining()).unwrap_or(piece);
        if piece.is_empty() {
            break;
        }
        let len = piece.len();
        out.put_slice(piece);
        reader.consume(len);
    }
    Ok(before - out.remaining())
}

/// The parts from `skip` on, as far as one piece and `store` reach.
fn window<'s, 'a>(
    parts: &'a [IoSlice<'_>],
    mut skip: usize,
    store: &'s mut [IoSlice<'a>; PARTS],
) -> &'s [IoSlice<'a>] {
    let mut room = PIECE;
    let mut count = 0;
    for part in parts {
        let from = skip.min(part.len());
        skip -= from;
        let to = part.len().min(from + room);
        let (Some(slot), Some(bytes)) = (store.get_mut(count), part.get(from..to)) else {
            break;
        };
        if !bytes.is_empty() {
            room -= bytes.len();
            *slot = IoSlice::new(bytes);
            count += 1;
        }
    }
    store.get(..count).unwrap_or_default()
}

/// Four bytes from the begin and four from the end of the first `len` bytes of `parts`, and `len`.
fn sample(parts: &[IoSlice<'_>], len: usize) -> u64 {
    let byte = |mut at: usize| {
        for part in parts {
            match part.get(at) {
                Some(byte) => return u64::from(*byte),
                None => at -= part.len(),
            }
        }
        0
    };
    (0..len.min(4))
        .chain(len.saturating_sub(4)..len)
        .fold(len as u64, |sum, at| sum.rotate_left(8) ^ byte(at))
}

/// The socket as rustls writes to it; a full socket is `WouldBlock`.
struct Socket<'a, 'c> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, parts) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
