//! The admin API: what the process tells (`/health`, `/stats`, `/metrics`, `/pools`, `/config`) and what it can be told
//! (reload, changes of servers, save, drain, upgrade), over a unix socket and over TCP.
//!
//! It runs on the control plane's runtime, sees only [`keel_control::Control`], and can neither slow nor stop the data
//! plane. Who may change something is decided in `access`, for every request: root and the process's own user over the
//! unix socket; over TCP whoever has the token, or a client certificate that was verified.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod access;
mod answer;
mod body;
mod openapi;
mod routes;
mod serve;
mod servers;
mod socket;
mod stall;

pub use access::Token;
pub use answer::ASK_SUCCESSOR;
pub use serve::{Admin, AdminTls, Listening, serve};
pub use socket::{SocketFault, SocketName, bind};
