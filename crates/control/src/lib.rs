//! Turns configuration into a snapshot, publishes it and owns live state.
#![forbid(unsafe_code)]
