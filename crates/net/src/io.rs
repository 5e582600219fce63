//! Reads and writes on a stream, in the shape the data plane polls them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Buf;

/// Reads once into the free space of `buf`. `Ok(0)` is the end of the stream; a buffer without free
/// space is an error and reads nothing.
#[inline]
pub fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buf: &mut Buf,
) -> Poll<io::Result<usize>> {
    let space = buf.space();
    if space.is_empty() {
        // Reading nothing would look like the end of the stream.
        return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
    }
    let mut window = ReadBuf::new(space);
    ready!(Pin::new(stream).poll_read(cx, &mut window))?;
    let n = window.filled().len();
    buf.fill(n);
    Poll::Ready(Ok(n))
}

/// Writes up to three parts as if they were one, in one system call; gives the bytes written.
#[inline]
pub fn poll_write_parts<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    parts: [&[u8]; 3],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    match parts.map(|part| part.is_empty()) {
        [false, true, true] => stream.poll_write(cx, parts[0]),
        [true, false, true] => stream.poll_write(cx, parts[1]),
        [true, true, false] => stream.poll_write(cx, parts[2]),
        [true, true, true] => Poll::Ready(Ok(0)),
        _ => {
            let slices = parts.map(IoSlice::new);
            stream.poll_write_vectored(cx, &slices)
        }
    }
}
