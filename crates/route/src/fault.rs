//! Faults found while compiling routes, with the place in the matcher that has each.

use std::fmt;

/// One thing that is wrong with a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {route}, {part}: {message}")]
pub struct RouteFault {
    /// Position of the route in the list given to [`Router::compile`](crate::Router::compile).
    pub route: usize,
    /// Where in its matcher.
    pub part: PathInMatcher,
    /// What is wrong and how to mend it, as one or two sentences.
    pub message: String,
}

/// Steps from the root of a matcher down to a part of it; empty is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathInMatcher(pub Vec<Step>);

/// One step down into a matcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Part of an `All` at this position.
    All(usize),
    /// Part of an `Any` at this position.
    Any(usize),
    /// The part of a `Not`.
    Not,
    /// Element of a leaf's own list (methods, networks, listeners) at this position.
    Item(usize),
}

impl fmt::Display for PathInMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("match")?;
        for step in &self.0 {
            match step {
                Step::All(at) => write!(f, ".all[{at}]")?,
                Step::Any(at) => write!(f, ".any[{at}]")?,
                Step::Not => f.write_str(".not")?,
                Step::Item(at) => write!(f, "[{at}]")?,
            }
        }
        Ok(())
    }
}
