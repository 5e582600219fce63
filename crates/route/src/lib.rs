//! Compiled request matchers and the route index; pure.
#![forbid(unsafe_code)]
