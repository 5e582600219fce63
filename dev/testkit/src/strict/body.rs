//! Bodies, decoded piece by piece so that gigabytes need no memory.

use super::head::field_line;
use super::{Fault, Fields, Framing, Mode, is_token_byte};

/// Longest chunk-size line or trailer line that is read; far above what any test sends.
const LINE_LEN_MAX: usize = 128 * 1024;

/// Names that must not stand in trailers, for they would change how the message is read (RFC 9110 section 6.5.1).
const NOT_IN_TRAILERS: [&str; 6] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "trailer",
    "te",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fixed(u64),
    UntilClose,
    SizeLine,
    Data(u64),
    DataEnd,
    TrailerLine,
    Done,
}

/// Finds the end of a body and takes the transfer coding off it.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    line: Vec<u8>,
    trailers: Fields,
    mode: Mode,
}

impl BodyDecoder {
    /// A decoder for a body that is framed so.
    pub fn new(framing: Framing, mode: Mode) -> BodyDecoder {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Fixed(length),
            Framing::Chunked => State::SizeLine,
            Framing::UntilClose => State::UntilClose,
        };
        BodyDecoder {
            state,
            line: Vec::new(),
            trailers: Fields::default(),
            mode,
        }
    }

    /// True when the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// True when the end of the stream is the proper end of this body.
    pub fn may_end_here(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// The trailer fields that came after a chunked body.
    pub fn into_trailers(self) -> Fields {
        self.trailers
    }

    /// Takes bytes, gives the data in them to `sink`, and returns how many belonged to this body.
    pub fn feed(&mut self, input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, Fault> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Done => break,
                State::UntilClose => {
                    sink(&input[at..]);
                    at = input.len();
                }
                State::Fixed(left) | State::Data(left) => {
                    let take = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(input.len() - at);
                    sink(&input[at..at + take]);
                    at += take;
                    self.advance_data(left - take as u64);
                }
                State::SizeLine | State::DataEnd | State::TrailerLine => {
                    let byte = input[at];
                    at += 1;
                    if let Some(line) = self.push(byte)? {
                        self.line_done(&line)?;
                    }
                }
            }
        }
        Ok(at)
    }

    fn advance_data(&mut self, left: u64) {
        self.state = match self.state {
            State::Fixed(_) if left == 0 => State::Done,
            State::Fixed(_) => State::Fixed(left),
            _ if left == 0 => State::DataEnd,
            _ => State::Data(left),
        };
    }

    /// Adds a byte to the line; gives the line, without its CRLF, when it is whole.
    fn push(&mut self, byte: u8) -> Result<Option<Vec<u8>>, Fault> {
        if self.state == State::DataEnd && self.line.is_empty() && byte != b'\r' {
            return Err(Fault("chunk data that is not followed by CRLF"));
        }
        let after_cr = self.line.last() == Some(&b'\r');
        match byte {
            b'\n' if after_cr => {
                self.line.pop();
                return Ok(Some(std::mem::take(&mut self.line)));
            }
            b'\n' => return Err(Fault("a bare LF in chunked framing")),
            _ if after_cr => return Err(Fault("a bare CR in chunked framing")),
            0 => return Err(Fault("a NUL in chunked framing")),
            _ if self.line.len() >= LINE_LEN_MAX => return Err(Fault("an endless framing line")),
            _ => self.line.push(byte),
        }
        Ok(None)
    }

    fn line_done(&mut self, line: &[u8]) -> Result<(), Fault> {
        match self.state {
            State::SizeLine => {
                let size = chunk_size(line, self.mode)?;
                self.state = if size == 0 {
                    State::TrailerLine
                } else {
                    State::Data(size)
                };
            }
            State::DataEnd if line.is_empty() => self.state = State::SizeLine,
            State::DataEnd => return Err(Fault("chunk data that is not followed by CRLF")),
            _ if line.is_empty() => self.state = State::Done,
            _ => {
                let (name, value) = field_line(line)?;
                if NOT_IN_TRAILERS.contains(&name.to_ascii_lowercase().as_str()) {
                    return Err(Fault("a framing field in the trailers"));
                }
                self.trailers.0.push((name, value));
            }
        }
        Ok(())
    }
}

/// chunk-size [ chunk-ext ], RFC 9112 section 7.1.
fn chunk_size(line: &[u8], mode: Mode) -> Result<u64, Fault> {
    let end = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let size =
        u64::from_str_radix(text, 16).map_err(|_| Fault("a chunk size that is no number"))?;
    match mode {
        Mode::ToBackend if !extension.is_empty() => {
            Err(Fault("a chunk extension towards a backend"))
        }
        Mode::FromClient if !extension_is_valid(extension) => {
            Err(Fault("a broken chunk extension"))
        }
        _ => Ok(size),
    }
}

/// *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ), RFC 9112 section 7.1.1.
fn extension_is_valid(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = skip_space(rest).strip_prefix(b";") else {
            return false;
        };
        let Some(after) = skip_token(skip_space(after)) else {
            return false;
        };
        rest = after;
        if let Some(value) = skip_space(rest).strip_prefix(b"=") {
            let value = skip_space(value);
            let after = match value.strip_prefix(b"\"") {
                Some(quoted) => skip_quoted(quoted),
                None => skip_token(value),
            };
            let Some(after) = after else { return false };
            rest = after;
        }
    }
    true
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    let from = bytes
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'))
        .unwrap_or(bytes.len());
    &bytes[from..]
}

fn skip_token(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes
        .iter()
        .position(|&byte| !is_token_byte(byte))
        .unwrap_or(bytes.len());
    (end > 0).then(|| &bytes[end..])
}

fn skip_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if byte != b'\t' && (byte < 0x20 || byte == 0x7f) => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(&bytes[at + 1..]),
            _ => {}
        }
    }
    None
}
