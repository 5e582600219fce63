//! A check by HTTP/1.1: one request on a connection, and its answer by the rules of the data plane.

use std::fmt::Write;

use keel_balance::CheckFault;
use keel_http::{
    BodyLength, ChunkItem, ChunkedDecoder, HeadLimits, HeadStatus, Method, ResponseHead,
    frame_response,
};
use keel_tls::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::BODY_MAX;
use super::plan::HttpProbe;
use super::probe::Answer;

/// Most interim answers (1xx) before the real one.
pub(super) const INTERIM_MAX: usize = 8;

/// Bytes that are read at a time.
const READ: usize = 8 * 1024;

/// Asks, and reads the answer.
pub(super) async fn run(
    probe: &HttpProbe,
    host: &str,
    stream: Stream,
) -> Result<Answer, CheckFault> {
    let mut reader = Reader {
        stream,
        buf: Vec::with_capacity(READ),
    };
    let request = request(probe, host);
    let sent = reader.stream.write_all(request.as_bytes()).await;
    // A server may answer and close before it has read all.
    let head = match (reader.head().await, sent) {
        (Ok(head), _) => head,
        (Err(_), Err(_)) => return Err(CheckFault::Closed),
        (Err(fault), Ok(())) => return Err(fault),
    };
    let method = Method::of(probe.method.as_bytes());
    let framing = frame_response(&head, &reader.buf, method, false).map_err(malformed)?;
    reader.buf.drain(..head.len);
    let mut answer = Answer {
        status: head.status,
        ..Answer::default()
    };
    match framing.body {
        BodyLength::Empty => {}
        BodyLength::Chunked => reader.chunked(&mut answer).await?,
        BodyLength::Fixed(len) => reader.plain(&mut answer, Some(len)).await?,
        BodyLength::UntilClose => reader.plain(&mut answer, None).await?,
    }
    Ok(answer)
}

/// The head of the request.
pub(super) fn request(probe: &HttpProbe, host: &str) -> String {
    let mut text = String::new();
    let (method, path) = (&probe.method, &probe.path);
    let _ = write!(text, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in [("User-Agent", "evenkeel-check"), ("Accept", "*/*")] {
        if !probe.has_header(name) {
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    for (name, value) in &probe.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if probe.tells_length() {
        text.push_str("Content-Length: 0\r\n");
    }
    text.push_str("Connection: close\r\n\r\n");
    text
}

/// The answer breaks a rule.
pub(super) fn malformed(fault: impl std::fmt::Display) -> CheckFault {
    CheckFault::Answer(fault.to_string().into())
}

struct Reader {
    stream: Stream,
    buf: Vec<u8>,
}

impl Reader {
    /// The head of the answer, which stays at the start of the buffer.
    async fn head(&mut self) -> Result<ResponseHead, CheckFault> {
        let limits = HeadLimits::default();
        let mut head = ResponseHead::new();
        for _ in 0..=INTERIM_MAX {
            while self.buf.is_empty()
                || head.parse(&self.buf, &limits).map_err(malformed)? == HeadStatus::Partial
            {
                if !self.more().await? {
                    return Err(CheckFault::Closed);
                }
            }
            if !head.is_interim() {
                return Ok(head);
            }
            self.buf.drain(..head.len);
        }
        Err(malformed("more than 8 interim answers"))
    }

    /// Reads a body of this length, or to the end of the connection.
    async fn plain(&mut self, answer: &mut Answer, len: Option<u64>) -> Result<(), CheckFault> {
        let wanted = len.map_or(usize::MAX, |len| usize::try_from(len).unwrap_or(usize::MAX));
        while self.buf.len() < wanted.min(BODY_MAX + 1) {
            if !self.more().await? {
                match len {
                    Some(_) => return Err(CheckFault::Closed),
                    None => break,
                }
            }
        }
        self.buf.truncate(wanted);
        answer.cut = self.buf.len() > BODY_MAX;
        self.buf.truncate(BODY_MAX);
        answer.body = std::mem::take(&mut self.buf);
        Ok(())
    }

    async fn chunked(&mut self, answer: &mut Answer) -> Result<(), CheckFault> {
        let mut decoder = ChunkedDecoder::new();
        loop {
            let mut at = 0;
            loop {
                let rest = self.buf.get(at..).unwrap_or_default();
                let step = decoder.step(rest).map_err(malformed)?;
                match step.item {
                    ChunkItem::Data(range) => {
                        let data = rest.get(range).unwrap_or_default();
                        let room = BODY_MAX - answer.body.len();
                        let some = data.get(..room).unwrap_or(data);
                        answer.body.extend_from_slice(some);
                        if some.len() < data.len() {
                            answer.cut = true;
                            return Ok(());
                        }
                    }
                    ChunkItem::More => break,
                    ChunkItem::End => return Ok(()),
                }
                at += step.consumed;
            }
            self.buf.clear();
            if !self.more().await? {
                return Err(CheckFault::Closed);
            }
        }
    }

    /// Reads on; false at the end of the connection.
    async fn more(&mut self) -> Result<bool, CheckFault> {
        self.buf.reserve(READ);
        let read = self.stream.read_buf(&mut self.buf).await;
        read.map(|read| read > 0).map_err(|_| CheckFault::Closed)
    }
}
