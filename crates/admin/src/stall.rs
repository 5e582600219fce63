//! A stream on which a peer that takes nothing is given up.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a peer may take no byte of an answer.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream whose writes fail when the peer takes nothing for [`STALL_TIMEOUT`].
#[derive(Debug)]
pub struct Impatient<S> {
    inner: S,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// The same stream, with a limit.
    pub fn new(inner: S) -> Impatient<S> {
        Impatient { inner, stall: None }
    }

    /// What came of a write, or that its time is up.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stall = None;
            return outcome;
        }
        let stall = self
            .stall
            .get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.judge(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.judge(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.judge(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let (near, far) = duplex(4);
        let begin = Instant::now();
        let failed = Impatient::new(near).write_all(&[0; 8]).await;
        assert_eq!(failed.map_err(|it| it.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(begin.elapsed().as_secs(), STALL_TIMEOUT.as_secs());
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_is_not() {
        let (near, mut far) = duplex(4);
        let reading = tokio::spawn(async move {
            let mut bytes = Vec::new();
            for _ in 0..10 {
                sleep(STALL_TIMEOUT - Duration::from_secs(1)).await;
                let mut some = [0; 4];
                let n = far.read(&mut some).await.unwrap_or(0);
                bytes.extend_from_slice(some.get(..n).unwrap_or_default());
            }
            bytes.len()
        });
        let mut stream = Impatient::new(near);
        assert!(stream.write_all(&[0; 40]).await.is_ok());
        assert_eq!(reading.await.ok(), Some(40));
    }
}
