//! End-to-end tests: the real binary and a real configuration file.
#![forbid(unsafe_code)]
