//! Ids, phases and reasons that every crate shares. No logic beyond naming.
#![forbid(unsafe_code)]

mod ids;
mod termination;

pub use ids::{ListenerId, PoolId, RouteId, ServerIndex};
pub use termination::{Phase, Reason, Side, Termination};
