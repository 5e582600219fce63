//! What an origin saw, and what it answers.

use std::time::Duration;

use super::{Check, Stage, pattern};
use crate::strict::{Fields, RequestHead};

/// Most bytes of a body that an origin keeps.
pub(super) const BODY_KEPT_MAX: usize = 64 * 1024;

/// A request as an origin saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method, target and fields.
    pub head: RequestHead,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// Its whole length, and whether it followed the [`pattern()`].
    pub check: Check,
    /// Trailer fields.
    pub trailers: Fields,
    /// Which connection, from 0.
    pub connection: usize,
    /// Which request on that connection, from 1.
    pub nth: usize,
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Bytes(Vec<u8>),
    Chunks(Vec<Vec<u8>>, String),
    Pattern(u64),
    PatternChunks(u64),
    PatternUntilClose(u64),
    Raw(Vec<u8>),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    fields: Vec<(String, String)>,
    body: Body,
    delay: Duration,
    close: bool,
}

impl Reply {
    /// An answer without a body.
    pub fn new(status: u16) -> Reply {
        Reply {
            status,
            fields: Vec::new(),
            body: Body::None,
            delay: Duration::ZERO,
            close: false,
        }
    }

    /// 200 with a text.
    pub fn text(text: &str) -> Reply {
        Reply::new(200).body(text)
    }

    /// These bytes instead of a well-formed answer, and the connection closes after them.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
        Reply {
            body: Body::Raw(bytes.into()),
            close: true,
            ..Reply::new(200)
        }
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body with Content-Length.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            body: Body::Bytes(body.into()),
            ..self
        }
    }

    /// A chunked body, and trailers as `Name: value\r\n` lines.
    pub fn chunks(self, chunks: &[&str], trailers: &str) -> Reply {
        let chunks = chunks
            .iter()
            .map(|chunk| chunk.as_bytes().to_vec())
            .collect();
        Reply {
            body: Body::Chunks(chunks, trailers.to_owned()),
            ..self
        }
    }

    /// So many bytes of the pattern, with Content-Length.
    pub fn pattern(self, len: u64) -> Reply {
        Reply {
            body: Body::Pattern(len),
            ..self
        }
    }

    /// So many bytes of the pattern, chunked.
    pub fn pattern_chunks(self, len: u64) -> Reply {
        Reply {
            body: Body::PatternChunks(len),
            ..self
        }
    }

    /// So many bytes of the pattern, then the connection closes.
    pub fn pattern_until_close(self, len: u64) -> Reply {
        Reply {
            body: Body::PatternUntilClose(len),
            close: true,
            ..self
        }
    }

    /// Waits before it answers.
    pub fn after(self, delay: Duration) -> Reply {
        Reply { delay, ..self }
    }

    /// Closes the connection after the answer, and says so.
    pub fn close(self) -> Reply {
        Reply {
            close: true,
            ..self
        }
    }

    /// Sends it; false when the connection must not be used again.
    pub(super) fn send(&self, stage: &mut Stage, method: &str, origin: &str) -> bool {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        if let Body::Raw(bytes) = &self.body {
            stage.send(bytes);
            return false;
        }
        let mut head = format!("HTTP/1.1 {} Status\r\n", self.status);
        if !origin.is_empty() {
            head.push_str(&format!("X-Origin: {origin}\r\n"));
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&self.framing_field());
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let sent = match &self.body {
            Body::Bytes(bytes) if method != "HEAD" => {
                stage.send([head.as_bytes(), bytes.as_slice()].concat())
            }
            _ => stage.send(head) && (method == "HEAD" || self.send_body(stage)),
        };
        sent && !self.close
    }

    fn framing_field(&self) -> String {
        match &self.body {
            Body::None if matches!(self.status, 100..200 | 204 | 304) => String::new(),
            Body::None => "Content-Length: 0\r\n".to_owned(),
            Body::Bytes(bytes) => format!("Content-Length: {}\r\n", bytes.len()),
            Body::Pattern(len) => format!("Content-Length: {len}\r\n"),
            Body::Chunks(..) | Body::PatternChunks(_) => {
                "Transfer-Encoding: chunked\r\n".to_owned()
            }
            Body::PatternUntilClose(_) | Body::Raw(_) => String::new(),
        }
    }

    fn send_body(&self, stage: &mut Stage) -> bool {
        match &self.body {
            Body::None | Body::Bytes(_) | Body::Raw(_) => true,
            Body::Pattern(len) | Body::PatternUntilClose(len) => {
                pieces(*len).all(|piece| stage.send(piece))
            }
            Body::PatternChunks(len) => {
                let mut sent = pieces(*len).map(|piece| stage.send(chunk(piece)));
                sent.all(|sent| sent) && stage.send("0\r\n\r\n")
            }
            Body::Chunks(chunks, trailers) => {
                let mut sent = chunks.iter().map(|piece| stage.send(chunk(piece)));
                sent.all(|sent| sent) && stage.send(format!("0\r\n{trailers}\r\n"))
            }
        }
    }
}

fn chunk(data: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

/// The pattern in blocks, the last one cut.
fn pieces(len: u64) -> impl Iterator<Item = &'static [u8]> {
    let mut left = len;
    std::iter::from_fn(move || {
        let block = pattern();
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        left -= take as u64;
        (take > 0).then(|| &block[..take])
    })
}
