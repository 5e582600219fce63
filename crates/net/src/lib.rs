//! Listeners, buffers, worker clock, deadlines and drain guards.
#![forbid(unsafe_code)]
