//! Endpoint sets and balancing algorithms; pure.
//!
//! A [`Balancer`] is built from endpoints and an [`Algorithm`]; `select` answers which server takes
//! a request, `report` tells how it went. Time, randomness and the hash of a request's key are
//! arguments ([`Ask`]); nothing here reads a clock, a socket or a file.
#![forbid(unsafe_code)]

mod ask;
mod average;
mod balancer;
mod bits;
mod board;
mod bounded_load;
mod cell;
mod choose;
mod hash;
mod ip_hash;
mod keyed;
mod least_conn;
mod least_time;
mod maglev;
mod members;
mod power_of_two;
mod random;
mod rendezvous;
mod ring;
mod round_robin;
mod spec;
mod split;
mod state;
mod view;
mod weighted_random;
mod weighted_round_robin;

pub use ask::{Ask, Outcome, SelectFault, Selected, Transition};
pub use balancer::Balancer;
pub use hash::{hash_address, hash_key, md5_first8_mod};
pub use spec::{
    Algorithm, BOUNDED_LOAD_DEFAULT, BalanceFault, ENDPOINTS_MAX, EndpointSpec, HashScheme,
    IpHashMode, LEAST_TIME_PROBE_ONE_IN_DEFAULT, MAGLEV_TABLE_DEFAULT, MAGLEV_TABLE_MAX,
    RING_POINTS_DEFAULT, RING_POINTS_MAX, Tie, TimeFormula, WEIGHT_MAX,
};
pub use split::{Split, canary_percent};
pub use state::{EndpointState, Permit};
