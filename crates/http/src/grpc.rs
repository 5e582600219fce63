//! What a proxy must know of gRPC (the protocol "gRPC over HTTP2"): content types, deadlines, status and message, and
//! the bridge for gRPC-Web.
//!
//! Messages are never looked into: on the way they are bytes of a body.

mod status;
mod timeout;
mod web;

pub use status::{Code, decode_message, encode_message, parse_status, write_status};
pub use timeout::{TIMEOUT_BYTES_MAX, parse_timeout, write_timeout};
pub use web::{AnswerEncoder, RequestDecoder};

use thiserror::Error;

/// What is wrong with something of gRPC that a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum GrpcFault {
    /// grpc-timeout is not one to eight digits and a unit of `HMSmun`.
    #[error("grpc-timeout is not a number of at most eight digits with a unit")]
    TimeoutMalformed,
    /// A byte outside the alphabet of base64 (RFC 4648, 4).
    #[error("the body has a byte that is not base64")]
    Base64Byte,
    /// Padding where none may stand, or bits set that padding leaves unused (RFC 4648, 3.5).
    #[error("the body has misplaced base64 padding")]
    Base64Padding,
    /// The body ends within four characters that belong together.
    #[error("the base64 of the body is cut off")]
    Base64Cut,
}

/// The kinds of gRPC that a content type can announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `application/grpc`: HTTP/2 with trailers.
    Grpc,
    /// `application/grpc-web`: trailers are the last frame of the body.
    Web,
    /// `application/grpc-web-text`: the same in base64.
    WebText,
}

impl Kind {
    /// The kind that a Content-Type names, in any case; a format (`+proto`) or parameters (`;…`) may follow.
    pub fn of(content_type: &[u8]) -> Option<Kind> {
        split(content_type).map(|(kind, _)| kind)
    }

    /// The media type without format.
    pub const fn media_type(self) -> &'static str {
        match self {
            Kind::Grpc => "application/grpc",
            Kind::Web => "application/grpc-web",
            Kind::WebText => "application/grpc-web-text",
        }
    }

    /// Appends the Content-Type of this kind with the format and parameters of `content_type`, as a bridge has to
    /// write it. One that is not of gRPC gives none.
    pub fn write_content_type(self, content_type: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.media_type().as_bytes());
        if let Some((_, rest)) = split(content_type) {
            out.extend_from_slice(rest);
        }
    }
}

/// The kind and what follows the media type.
fn split(content_type: &[u8]) -> Option<(Kind, &[u8])> {
    // The longest first, because each begins with the one after it.
    [Kind::WebText, Kind::Web, Kind::Grpc]
        .into_iter()
        .find_map(|kind| {
            let name = kind.media_type().as_bytes();
            let (media_type, rest) = content_type.split_at_checked(name.len())?;
            let ends = matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..]);
            (ends && media_type.eq_ignore_ascii_case(name)).then_some((kind, rest))
        })
}

#[cfg(test)]
mod tests;
