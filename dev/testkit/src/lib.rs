//! Origins, clients and a harness for tests that run the real binary.
#![forbid(unsafe_code)]
