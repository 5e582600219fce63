//! The admin listener: health, stats and metrics.
#![forbid(unsafe_code)]
