//! The only crate with unsafe code: what the system or the language offers no safe door to.
//!
//! Every block is small, says why it is sound, and stands behind a safe interface.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod allocations;
mod memory;
mod socket;

pub use allocations::{Counting, allocations};
pub use memory::release_free_memory;
pub use socket::queued_bytes;
