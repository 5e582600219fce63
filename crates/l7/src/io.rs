//! What an exchange reads from and writes to: a connection's bytes, or one stream of HTTP/2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use keel_net::Buf;
use keel_tls::Stream;
use tokio::io::AsyncWrite;

use crate::h2::H2Body;
use crate::relay::{Sink, Source};

/// One side of an exchange.
#[derive(Debug)]
pub enum Io {
    /// HTTP/1.1, or a tunnel: the bytes of a connection.
    Bytes(Stream),
    /// The body of one HTTP/2 stream.
    H2(H2Body),
    /// Nothing, while somebody else has it: a handshake, HTTP/2.
    Away,
}

impl Io {
    /// The connection itself; a stream of HTTP/2 has none of its own.
    #[inline]
    pub fn stream(&mut self) -> Option<&mut Stream> {
        match self {
            Io::Bytes(stream) => Some(stream),
            Io::H2(_) | Io::Away => None,
        }
    }

    /// Takes the connection out; none when there is none of its own.
    pub fn take_stream(&mut self) -> Option<Stream> {
        match std::mem::replace(self, Io::Away) {
            Io::Bytes(stream) => Some(stream),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The body of an HTTP/2 stream, when this is one.
    #[inline]
    pub fn h2(&mut self) -> Option<&mut H2Body> {
        match self {
            Io::Bytes(_) | Io::Away => None,
            Io::H2(body) => Some(body),
        }
    }

    /// Whether this is a stream of HTTP/2, which frames bodies by itself.
    #[inline]
    pub fn is_h2(&self) -> bool {
        matches!(self, Io::H2(_))
    }

    /// Passes the end of a tunnel's direction on; what cannot be passed on finds the far end closed.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Io::Bytes(stream) => AsyncWrite::poll_shutdown(Pin::new(stream), cx).map(drop),
            Io::H2(_) | Io::Away => Poll::Ready(()),
        }
    }
}

impl Source for Io {
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        match self {
            Io::Bytes(stream) => keel_net::poll_read(stream, cx, buf),
            Io::H2(body) => body.poll_read(cx, buf),
            Io::Away => Poll::Ready(Ok(0)),
        }
    }

    fn is_at_end(&self) -> bool {
        match self {
            Io::Bytes(_) | Io::Away => false,
            Io::H2(body) => body.is_received(),
        }
    }

    fn take_trailers(&mut self) -> Vec<u8> {
        match self {
            Io::Bytes(_) | Io::Away => Vec::new(),
            Io::H2(body) => body.take_trailers(),
        }
    }
}

impl Sink for Io {
    #[inline]
    fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: [&[u8]; 3],
        last: bool,
    ) -> Poll<io::Result<usize>> {
        match self {
            Io::Bytes(stream) => keel_net::poll_write_parts(stream, cx, parts),
            Io::H2(body) => body.poll_write_parts(cx, parts, last),
            Io::Away => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Bytes(stream) => AsyncWrite::poll_flush(Pin::new(stream), cx),
            Io::H2(_) | Io::Away => Poll::Ready(Ok(())),
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, trailers: &[u8]) -> Poll<io::Result<()>> {
        match self {
            Io::Bytes(_) | Io::Away => self.poll_flush(cx),
            Io::H2(body) => Poll::Ready(body.end(trailers)),
        }
    }

    fn queued_bytes(&self) -> u64 {
        match self {
            Io::Bytes(stream) => keel_sys::queued_bytes(stream.tcp()) as u64,
            Io::H2(_) | Io::Away => 0,
        }
    }
}
