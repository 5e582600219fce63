//! Compiled request matchers and the route index; pure.
//!
//! Routes are tried in file order and the first that matches wins. [`Router::compile`] checks every pattern and
//! reports all faults at once; [`Router::find`] answers for one request without allocating, at a cost that does not
//! grow with the number of routes as long as they differ in listener, host, path or an exact header, cookie or query
//! value.
//!
//! Invariants:
//! - `find` gives exactly what trying each route in order would give (property-tested).
//! - Hosts in a [`RequestView`] are lowercase and have no port and no trailing dot; paths are normalised. Patterns are
//!   brought into the same form when they are compiled.
//! - Nothing in a request can make matching panic, recurse deeper than [`MATCHER_DEPTH_MAX`] or take more than linear
//!   time in the size of the request per candidate route.
//!
//! It does not normalise requests, choose servers or know the configuration's syntax.
#![forbid(unsafe_code)]

mod build;
mod compile;
mod condition;
mod explain;
mod fault;
mod glob;
mod index;
mod keys;
mod networks;
mod normal;
mod pattern;
mod router;
mod shadow;
mod spec;
mod value;
mod view;

#[cfg(test)]
mod tests;

pub use compile::{LIST_LEN_MAX, MATCHER_DEPTH_MAX, ROUTES_MAX};
pub use fault::{PathInMatcher, RouteFault, Step};
pub use glob::GLOB_TOKENS_MAX;
pub use ipnet::IpNet;
pub use pattern::{PATTERN_BYTES_MAX, REGEX_BYTES_MAX, REGEX_NEST_MAX};
pub use router::{Router, Shadowed, Trial};
pub use spec::{HostPattern, Matcher, PathPattern, RouteSpec, ValueTest};
pub use view::{HeaderSource, NoHeaders, RequestView, TlsFact};
