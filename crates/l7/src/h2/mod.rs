//! HTTP/2 at its edges: frames, streams and flow control are the library's, heads and bodies become
//! what the one driver knows.
//!
//! Heads come in as header lists and are written into a buffer in the form of HTTP/1.1, where the
//! same checks, the same router and the same edits find them ([`keel_http`]); on the way out the
//! field lines that the driver wrote become a header list again. Bodies are the same bytes on both
//! sides.

mod abuse;
mod body;
mod guarded;
mod heads;
mod inbox;
mod serve;
mod upstream;

pub use body::H2Body;
pub use heads::{answer_head, opening_head, read_answer, read_request, request_head};
pub use serve::{Shared, serve_h2};
pub use upstream::{H2Call, H2Connections, Way, client_builder};
