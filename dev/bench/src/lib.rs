//! Load scenarios against other proxies and instruction counts.
#![forbid(unsafe_code)]
