//! The only crate with unsafe code.
#![deny(unsafe_op_in_unsafe_fn)]
