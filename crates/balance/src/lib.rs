//! Endpoint sets and balancing algorithms; pure.
#![forbid(unsafe_code)]
