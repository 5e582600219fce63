//! HTTP semantics without I/O: heads, framing, normalising, templates.
#![forbid(unsafe_code)]
