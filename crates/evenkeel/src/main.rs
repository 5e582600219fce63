//! The evenkeel binary.
#![forbid(unsafe_code)]
fn main() {}
