//! What the fuzz targets share: reading a whole conversation of pipelined requests with our parsers.
#![forbid(unsafe_code)]

use keel_http::{
    BodyLength, ChunkItem, ChunkedDecoder, Fields, HeadLimits, HeadStatus, NormalRequest,
    RequestHead, frame_request,
};

/// One request as a reader understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: Vec<u8>,
    /// The target as it was sent.
    pub target: Vec<u8>,
    /// 0 or 1.
    pub minor_version: u8,
    /// Names in lower case and values, sorted by name but in order within one name.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The decoded body.
    pub body: Vec<u8>,
}

/// Names in lower case and values, sorted by name.
pub fn sorted_fields<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list: Vec<_> = fields
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
        .collect();
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list
}

/// Names and values of parsed fields.
pub fn pairs<'a>(fields: &'a Fields, buf: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields
        .iter()
        .map(|field| (field.name.of(buf), field.value.of(buf)))
}

/// Decodes a chunked body at the start of `input`, offered in pieces whose sizes `piece` gives: data, bytes used up
/// and trailers, or `None` when it is refused or not whole.
pub fn decode_chunked(
    input: &[u8],
    mut piece: impl FnMut() -> usize,
) -> Option<(Vec<u8>, usize, Vec<u8>)> {
    let mut decoder = ChunkedDecoder::new();
    let (mut data, mut from, mut have) = (Vec::new(), 0usize, 0usize);
    loop {
        let window = &input[from..have];
        let step = decoder.step(window).ok()?;
        assert!(step.consumed <= window.len());
        from += step.consumed;
        match step.item {
            ChunkItem::Data(range) => {
                assert!(!range.is_empty() && range.end <= step.consumed);
                data.extend_from_slice(&window[range]);
            }
            ChunkItem::More => {
                assert_eq!(from, have);
                if have == input.len() {
                    return None;
                }
                have = have.saturating_add(piece().max(1)).min(input.len());
            }
            ChunkItem::End => return Some((data, from, decoder.trailers().to_vec())),
        }
    }
}

/// The requests at the start of `input` that we accept, whole with their bodies, up to the first that is refused or
/// not whole, or that ends the connection.
pub fn read_requests(input: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut at = 0;
    let (mut head, mut normal) = (RequestHead::new(), NormalRequest::new());
    loop {
        let buf = &input[at..];
        if head.parse(buf, &HeadLimits::default()) != Ok(HeadStatus::Complete) {
            return seen;
        }
        let Ok(framing) = frame_request(&head, buf) else {
            return seen;
        };
        if normal.read(&head, buf).is_err() {
            return seen;
        }
        let rest = &buf[head.len..];
        let (body, len) = match framing.body {
            BodyLength::Empty => (Vec::new(), 0),
            BodyLength::Fixed(len) if len <= rest.len() as u64 => {
                (rest[..len as usize].to_vec(), len as usize)
            }
            BodyLength::Fixed(_) => return seen,
            BodyLength::Chunked => match decode_chunked(rest, || usize::MAX) {
                Some((body, len, _)) => (body, len),
                None => return seen,
            },
            BodyLength::UntilClose => unreachable!("no request lasts until close"),
        };
        seen.push(Seen {
            method: head.method_span.of(buf).to_vec(),
            target: head.target.of(buf).to_vec(),
            minor_version: if head.version.as_str() == "HTTP/1.1" {
                1
            } else {
                0
            },
            fields: sorted_fields(pairs(&head.fields, buf)),
            body,
        });
        at += head.len + len;
        if !framing.keep_alive {
            return seen;
        }
    }
}
