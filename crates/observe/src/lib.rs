//! Metric families and the access log.
#![forbid(unsafe_code)]
