//! Connections to backends: resolve, connect, keep and reuse.
#![forbid(unsafe_code)]
