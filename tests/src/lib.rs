//! End-to-end tests: the real binary and a real configuration file. All of them are in `tests/`.
#![forbid(unsafe_code)]
