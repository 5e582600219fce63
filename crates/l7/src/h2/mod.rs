//! HTTP/2 at its edges: frames, streams and flow control are the engine's ([`keel_http2`]), heads and bodies become
//! what the one driver knows.
//!
//! A connection has a task that owns the socket and moves bytes between it and the engine; streams share the engine
//! with it ([`conn::H2Conn`]). Heads come in as lists of fields and are written into a buffer in the form of HTTP/1.1,
//! where the same checks, the same router and the same edits find them ([`keel_http`]); on the way out the field lines
//! that the driver wrote become a list again. Bodies are the same bytes on both sides.

mod abuse;
mod body;
mod conn;
mod heads;
mod keeper;
mod leave;
mod serve;
mod upstream;
mod waiting;

pub use body::H2Body;
pub use heads::{read_answer, read_request, request_head};
pub use serve::{Shared, serve_h2};
pub use upstream::{H2Call, H2Connections, Way};
