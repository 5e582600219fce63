//! The router: compiled routes in file order.

use crate::build::build;
use crate::compile::compile_routes;
use crate::condition::Condition;
use crate::explain::{failure, success};
use crate::fault::RouteFault;
use crate::index::Index;
use crate::shadow::unreachable;
use crate::spec::RouteSpec;
use crate::view::RequestView;

/// Routes, checked and compiled. Immutable; shared by all workers.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Compiled>,
    index: Index,
}

#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) name: String,
    pub(crate) condition: Condition,
}

/// One route that [`Router::explain`] tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Position of the route.
    pub route: usize,
    /// It took the request.
    pub matched: bool,
    /// What made it match, or a condition that did not hold, as a sentence part without a full stop.
    pub why: String,
}

/// A route that no request can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadowed {
    /// Position of the route that is never reached.
    pub route: usize,
    /// Position of an earlier route that takes every request it could match.
    pub by: usize,
}

impl Router {
    /// Checks and compiles routes, which are tried in the order given.
    ///
    /// # Errors
    /// Every fault of every route, in order.
    pub fn compile(routes: Vec<RouteSpec>) -> Result<Self, Vec<RouteFault>> {
        let routes = compile_routes(routes)?;
        let index = build(&routes);
        Ok(Self { routes, index })
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// There are no routes.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Name of a route.
    pub fn name(&self, route: usize) -> Option<&str> {
        self.routes.get(route).map(|route| route.name.as_str())
    }

    /// Position of the first route, in file order, that matches.
    pub fn find(&self, view: &RequestView<'_>) -> Option<usize> {
        self.index.find(&self.routes, view)
    }

    /// As [`find`](Self::find), by trying each route: the meaning of `find`, kept for tests and comparison.
    #[doc(hidden)]
    pub fn find_linear(&self, view: &RequestView<'_>) -> Option<usize> {
        self.routes
            .iter()
            .position(|route| route.condition.holds(view))
    }

    /// Tries routes in order until one matches or `max` were tried, and says of each why.
    pub fn explain(&self, view: &RequestView<'_>, max: usize) -> Vec<Trial> {
        let mut trials = Vec::new();
        for (route, compiled) in self.routes.iter().enumerate().take(max) {
            let matched = compiled.condition.holds(view);
            let say = if matched { success } else { failure };
            trials.push(Trial {
                route,
                matched,
                why: say(&compiled.condition, view),
            });
            if matched {
                break;
            }
        }
        trials
    }

    /// Routes that can never be reached because an earlier one takes all their requests. Only sure cases: a route that is
    /// not listed may still be out of reach.
    pub fn unreachable(&self) -> Vec<Shadowed> {
        unreachable(&self.routes, &self.index)
    }
}
