//! A byte stream to a client or to a server, in clear or in TLS.
//!
//! What TLS changes for the caller, beyond `AsyncRead` and `AsyncWrite`:
//! - A write counts bytes only when their records are in the socket, so that nobody needs to flush.
//!   Bytes that were encrypted and did not fit are *held*: the write is pending, and the next write
//!   has to begin with the same bytes, as every loop that writes a buffer to its end does. Other
//!   bytes are an error, never a corrupt stream.
//! - The end of the stream is an end only after the peer's close_notify. TCP's end alone is
//!   [`io::ErrorKind::UnexpectedEof`] (RFC 8446 section 6.1: a truncated stream).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustls::{ClientConnection, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::facts::TlsFacts;
use crate::session::Session;

/// A connection to a client or to a server.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Plain(TcpStream),
    /// From a client, in TLS.
    Accepted(Box<Session<ServerConnection>>),
    /// To a server, in TLS.
    Connected(Box<Session<ClientConnection>>),
}

/// Does the same with the stream of each variant.
macro_rules! each {
    ($stream:expr, $one:ident => $what:expr) => {
        match $stream {
            Stream::Plain($one) => $what,
            Stream::Accepted($one) => $what,
            Stream::Connected($one) => $what,
        }
    };
}

impl Stream {
    /// The socket below: for addresses and options. Reading or writing it breaks a TLS stream.
    #[inline]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Accepted(session) => session.tcp(),
            Stream::Connected(session) => session.tcp(),
        }
    }

    /// What was agreed in the handshake; none in clear.
    #[inline]
    pub fn facts(&self) -> Option<&TlsFacts> {
        match self {
            Stream::Plain(_) => None,
            Stream::Accepted(session) => Some(session.facts()),
            Stream::Connected(session) => Some(session.facts()),
        }
    }

    /// Whether the stream is in TLS.
    #[inline]
    pub fn is_tls(&self) -> bool {
        !matches!(self, Stream::Plain(_))
    }

    /// Whether an idle connection may carry a request: it is open and nothing has come in that
    /// nobody asked for. Costs no system call unless the runtime saw the socket become readable.
    /// In TLS it takes in what is no data (session tickets, key updates), which is why it needs the
    /// stream for itself. Takes the place of the last waker for reading.
    pub fn poll_alive(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        match self {
            Stream::Plain(tcp) => match tcp.poll_read_ready(&mut cx) {
                Poll::Pending => true,
                Poll::Ready(Err(_)) => false,
                // Readiness may be a left-over of a read that filled its buffer exactly.
                Poll::Ready(Ok(())) => matches!(
                    tcp.try_read(&mut [0]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock
                ),
            },
            Stream::Accepted(session) => session.poll_read_ready(&mut cx).is_pending(),
            Stream::Connected(session) => session.poll_read_ready(&mut cx).is_pending(),
        }
    }

    /// Ready when a read would not have to wait: data, the end, or an error that the read will
    /// tell. In clear this may be wrong once (the read is pending then), as with every readiness.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(tcp) => tcp.poll_read_ready(cx),
            Stream::Accepted(session) => session.poll_read_ready(cx),
            Stream::Connected(session) => session.poll_read_ready(cx),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Stream {
        Stream::Plain(tcp)
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), one => Pin::new(one).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), one => Pin::new(one).poll_write(cx, buf))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), one => Pin::new(one).poll_write_vectored(cx, parts))
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), one => Pin::new(one).poll_flush(cx))
    }

    /// Says the end to the peer: close_notify in TLS, and the end of TCP's stream below it.
    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), one => Pin::new(one).poll_shutdown(cx))
    }
}
