//! Names looked up: in the hosts file first, then at the name servers.
//!
//! One question is one [`Dns::host`] or [`Dns::service`]: nothing is kept from one to the next, and
//! every one ends in time. When to ask again, and what to make of a failure, is `discover`'s.

mod answer;
mod dns;
mod servers;
mod settings;

pub use answer::{HostAnswer, ResolveFault, ServiceAnswer, ServiceRecord};
pub use dns::Dns;
pub use settings::ResolverSettings;

#[cfg(test)]
mod tests;
