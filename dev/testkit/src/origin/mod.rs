//! Origins: servers behind the proxy, each with threads of its own, on ports that the system gives.
//!
//! An [`Origin`] can be stopped and started again on the same port. All that reaches it is recorded per connection and,
//! where it speaks HTTP, read by the [`crate::strict`] reader; a fault there fails the test when the origin is dropped.

mod engine;
mod pattern;
mod reply;
mod secure;
mod stage;
mod standard;
mod websocket;

pub use engine::Origin;
pub use pattern::{Check, pattern};
pub use reply::{Reply, Seen};
pub use stage::{Gate, Stage};
