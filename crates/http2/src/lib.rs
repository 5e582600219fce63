//! HTTP/2 (RFC 9113) without I/O: bytes of a peer go in, events and bytes for it come out.
//!
//! A [`Connection`] is one end, of a server or of a client. It decodes header blocks ([`hpack`]), keeps the streams
//! and both flow-control windows, orders what it sends by priority (RFC 9218), and ends connections whose peer breaks
//! the protocol or floods it ([`H2Abuse`]). It does no I/O, knows no clock and makes no task: `now` is an argument,
//! and whoever waits is woken. What a list of fields means is `keel-http`'s to say.

#![forbid(unsafe_code)]

mod code;
mod connection;
mod fields;
mod frame;
mod guard;
pub mod hpack;
mod late;
mod priority;
mod settings;
mod stream;

pub use code::ErrorCode;
pub use connection::{Config, Connection, Event, Head, StreamError, StreamRef};
pub use fields::FieldList;
pub use guard::{H2Abuse, H2GuardLimits};
pub use priority::read_priority;
