//! A strict reader of HTTP/1.1 messages, written from RFC 9112 and RFC 9110 for judging what others send.
//!
//! It shares no code with the proxy, so that a mistake there is not repeated here. It never repairs: a
//! message that could be read in two ways is a [`Fault`]. [`Mode`] says whose bytes are judged: those
//! of a client may use every liberty of the grammar (chunk extensions, absolute-form), those that a proxy sends
//! to a backend must have been written anew and have none of them.

mod body;
mod head;
mod same;
#[cfg(test)]
mod tests;

pub use body::BodyDecoder;
pub use head::{Fields, RequestHead, ResponseHead, take_request_head, take_response_head};
pub use same::{Difference, compare};

/// Why bytes are not a well-formed, unambiguous message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault(pub &'static str);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Whose bytes are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A client's: all that the grammar of RFC 9112 allows and that has one meaning only.
    FromClient,
    /// A proxy's towards a backend: as above, but nothing optional, nothing hop-by-hop, nothing not normalised.
    ToBackend,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// Content-Length, in bytes.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// All until the connection closes (answers only).
    UntilClose,
}

/// A head that may not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// It is there, and took so many bytes.
    Done(T, usize),
    /// More bytes are needed; none so far is wrong.
    NeedMore,
}

/// One whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method, target, fields.
    pub head: RequestHead,
    /// The body, without transfer coding.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Fields,
    /// False when the stream ended, or went wrong, inside the body.
    pub complete: bool,
}

/// What a stream of bytes holds, read as requests.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Requests in order; only the last may be incomplete.
    pub requests: Vec<Request>,
    /// Bytes at the end that are the beginning of a head.
    pub rest: usize,
    /// Where the reading stopped: all bytes, or the beginning of the message with the fault.
    pub at: usize,
    /// What stopped the reading.
    pub fault: Option<Fault>,
}

impl Reading {
    /// Those requests that are whole.
    pub fn complete(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.complete)
    }

    /// True when the stream ended exactly at the end of a message.
    pub fn is_clean(&self) -> bool {
        self.fault.is_none() && self.rest == 0 && self.requests.iter().all(|r| r.complete)
    }
}

/// Reads a whole stream as requests, up to the first fault.
pub fn read_requests(bytes: &[u8], mode: Mode) -> Reading {
    let mut reading = Reading::default();
    let mut at = 0;
    while at < bytes.len() {
        reading.at = at;
        let (head, used) = match take_request_head(&bytes[at..], mode) {
            Ok(Step::Done(head, used)) => (head, used),
            Ok(Step::NeedMore) => {
                reading.rest = bytes.len() - at;
                return reading;
            }
            Err(fault) => {
                reading.fault = Some(fault);
                return reading;
            }
        };
        at += used;
        let mut decoder = BodyDecoder::new(head.framing, mode);
        let mut body = Vec::new();
        let outcome = decoder.feed(&bytes[at..], &mut |data| body.extend_from_slice(data));
        let complete = outcome.is_ok() && decoder.is_done();
        let trailers = decoder.into_trailers();
        reading.requests.push(Request {
            head,
            body,
            trailers,
            complete,
        });
        match outcome {
            Ok(used) => at += used,
            Err(fault) => {
                reading.fault = Some(fault);
                return reading;
            }
        }
    }
    reading.at = at;
    reading
}

/// tchar of RFC 9110 section 5.6.2.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// The elements of a comma list, trimmed, empty ones left out, lower case.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    value
        .split(|&byte| byte == b',')
        .map(|part| part.trim_ascii().to_ascii_lowercase())
        .filter(|part| !part.is_empty())
}
