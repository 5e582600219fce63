//! What a relay is made of: framing on both sides, where it writes, how it fails.

use std::io;

use keel_http::{BodyFault, ChunkItem, ChunkedDecoder};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Framing of the bytes that come in.
#[derive(Debug)]
pub(crate) enum Decode {
    /// So many bytes are still to come.
    Fixed(u64),
    /// Chunks.
    Chunked(Box<ChunkedDecoder>),
    /// Everything until the source closes.
    UntilClose,
}

/// Framing of the bytes that go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encode {
    /// As they are: the length was announced, or the end is the end of the connection.
    Raw,
    /// As chunks.
    Chunked,
}

/// Where a relay writes to.
pub trait Sink: AsyncWrite + Unpin {
    /// Bytes that were written and that the far end has not taken yet.
    fn queued_bytes(&self) -> u64;
}

impl Sink for TcpStream {
    fn queued_bytes(&self) -> u64 {
        keel_sys::queued_bytes(self) as u64
    }
}

/// How a relay that did not reach its end failed.
#[derive(Debug, thiserror::Error)]
pub enum RelayFault {
    /// Reading failed.
    #[error("reading failed")]
    Source(#[source] io::Error),
    /// The source closed before the end of the body.
    #[error("the connection was closed before the end of the body")]
    Cut,
    /// The source's framing is broken.
    #[error("the framing of the body is broken")]
    Framing(#[source] BodyFault),
    /// The body is longer than the limit.
    #[error("the body is longer than the limit")]
    TooLarge,
    /// Writing failed.
    #[error("writing failed")]
    Sink(#[source] io::Error),
}

/// What a relay waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// For the source to send.
    Source,
    /// For the sink to take.
    Sink,
    /// For nothing: it is done.
    Nothing,
}

/// Decodes all chunks in `input`, moving their data together at its front. Gives the length of the
/// data, the length of input it came from, and whether the body ended.
pub(crate) fn decode_chunks(
    decoder: &mut ChunkedDecoder,
    input: &mut [u8],
) -> Result<(usize, usize, bool), RelayFault> {
    let (mut data_len, mut raw_len) = (0, 0);
    loop {
        let rest = input.get(raw_len..).unwrap_or(&[]);
        let step = decoder.step(rest).map_err(RelayFault::Framing)?;
        match step.item {
            ChunkItem::Data(range) => {
                let from = raw_len + range.start..raw_len + range.end;
                let n = range.len();
                if from.start != data_len {
                    input.copy_within(from, data_len);
                }
                data_len += n;
                raw_len += step.consumed;
            }
            ChunkItem::More => return Ok((data_len, raw_len + step.consumed, false)),
            ChunkItem::End => return Ok((data_len, raw_len + step.consumed, true)),
        }
    }
}
