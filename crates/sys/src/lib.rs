//! The only crate with unsafe code: what the system or the language offers no safe door to.
//!
//! Every block is small, says why it is sound, and stands behind a safe interface.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod accounts;
mod allocations;
mod environment;
mod inherited;
mod memory;
mod socket;

pub use accounts::{Account, become_user, group, groups_of, user};
pub use allocations::{Counting, allocations};
pub use environment::take_variables;
pub use inherited::take_inherited;
pub use memory::release_free_memory;
pub use socket::queued_bytes;
