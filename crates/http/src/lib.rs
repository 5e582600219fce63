//! HTTP semantics without I/O: heads, framing, normalising, chunked bodies, templates.
//!
//! Invariants: bytes of a peer never panic; what is ambiguous is rejected, never repaired; nothing here allocates
//! for an ordinary request once the reused values (`RequestHead`, `NormalRequest`, …) have grown to their size.
//! Positions are [`Span`]s into the buffer that was parsed: the caller keeps that buffer unchanged (appending is
//! fine) for as long as it uses them.
//!
//! Order of use for a request of HTTP/1: [`HeadScan::ready`], [`RequestHead::parse`], [`frame_request`],
//! [`NormalRequest::read`]. For an answer: [`ResponseHead::parse`], [`frame_response`]. HTTP/2 has one step in place
//! of scan, parse and frame: [`RequestHead::read_h2`] and [`ResponseHead::read_h2`].
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod authority;
mod base64;
mod chunked;
mod diagnose;
mod fault;
mod fields;
pub mod forwarded;
mod framing;
pub mod grpc;
mod h2head;
mod header;
mod method;
pub mod negotiate;
mod normalise;
mod path;
mod request;
mod response;
mod scan;
mod span;
mod syntax;
pub mod template;
pub mod websocket;

pub use base64::url_array as base64url;
pub use chunked::{ChunkItem, ChunkLimits, ChunkStep, ChunkedDecoder, write_chunk_size};
pub use fault::{BodyFault, HeadFault};
pub use fields::{Field, Fields};
pub use framing::{
    BodyLength, HOP_BY_HOP, RequestFraming, ResponseFraming, frame_request, frame_response,
    is_nominated,
};
pub use h2head::{h2_fields, lower_name, trailer_fields, trailer_lines, written_host};
pub use header::{HeaderId, HeaderSet};
pub use method::{Method, Version};
pub use normalise::NormalRequest;
pub use request::{FIELDS_CEILING, HeadLimits, HeadStatus, METHOD_BYTES_MAX, RequestHead};
pub use response::ResponseHead;
pub use scan::HeadScan;
pub use span::Span;
