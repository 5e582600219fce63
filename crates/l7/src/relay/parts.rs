//! What a relay is made of: framing on both sides, where it writes, how it fails.

use std::io;
use std::task::{Context, Poll};

use keel_http::grpc::{AnswerEncoder, GrpcFault, RequestDecoder};
use keel_http::{BodyFault, ChunkItem, ChunkedDecoder, trailer_fields};
use keel_net::Buf;

/// Framing of the bytes that come in.
#[derive(Debug)]
pub(crate) enum Decode {
    /// So many bytes are still to come.
    Fixed(u64),
    /// Chunks.
    Chunked(Box<ChunkedDecoder>),
    /// Everything until the source closes.
    UntilClose,
    /// Everything until the source says that it is the end (HTTP/2), which must be after so many
    /// bytes when the head told.
    Stream(Option<u64>),
}

/// Framing of the bytes that go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encode {
    /// As they are: the length was announced, or the end is the end of the connection.
    Raw,
    /// As chunks.
    Chunked,
    /// As they are; the sink is told where the message ends (HTTP/2).
    Stream,
}

/// Where a relay reads from.
pub trait Source {
    /// Reads into the free space of `buf`; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>>;

    /// Whether it is known already that the next read gives the end, and that no trailers come.
    fn is_at_end(&self) -> bool;

    /// Field lines that came after the body, once the end has been read.
    fn take_trailers(&mut self) -> Vec<u8>;
}

/// Where a relay writes to.
pub trait Sink {
    /// Writes parts as if they were one; gives the bytes taken. `last` says that nothing of the
    /// message follows.
    fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: [&[u8]; 3],
        last: bool,
    ) -> Poll<io::Result<usize>>;

    /// Ready when nothing of what was written is held back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The message has ended; `trailers` are field lines that come after its body.
    fn poll_end(&mut self, cx: &mut Context<'_>, trailers: &[u8]) -> Poll<io::Result<()>>;

    /// Bytes that were written and that the far end has not taken yet.
    fn queued_bytes(&self) -> u64;
}

/// What a body is turned into on the way between gRPC-Web and gRPC.
#[derive(Debug)]
pub enum Web {
    /// The body of a request in text form becomes binary.
    Request(RequestDecoder),
    /// The trailers of an answer become the last frame of its body.
    Answer(AnswerEncoder),
}

impl Web {
    /// Appends what `data` becomes.
    pub(crate) fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), RelayFault> {
        match self {
            Web::Request(decoder) => decoder.decode(data, out).map_err(RelayFault::Recoding),
            Web::Answer(encoder) => {
                encoder.data(data, out);
                Ok(())
            }
        }
    }

    /// Appends what comes after the last data; `trailers` are field lines.
    pub(crate) fn end(&mut self, trailers: &[u8], out: &mut Vec<u8>) -> Result<(), RelayFault> {
        match self {
            Web::Request(decoder) => decoder.finish().map_err(RelayFault::Recoding),
            Web::Answer(encoder) => {
                encoder.trailers(trailer_fields(trailers), out);
                Ok(())
            }
        }
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
    /// The body cannot be turned into what the far end speaks.
    #[error("the body is not what its content type says")]
    Recoding(#[source] GrpcFault),
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

/// Writes what ends a body; trailers that the sink has to be told are given back.
pub(crate) fn write_body_end(
    encode: Encode,
    trailers: &[u8],
    out: &mut Vec<u8>,
) -> Option<Box<[u8]>> {
    match encode {
        Encode::Chunked => {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
            None
        }
        Encode::Stream if !trailers.is_empty() => Some(trailers.into()),
        Encode::Stream | Encode::Raw => None,
    }
}
