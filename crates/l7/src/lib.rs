//! The HTTP data plane: the phases of a request and the one driver that walks them.
//!
//! Start reading at [`driver`]. A worker ([`run_worker`]) accepts connections ([`accept`]), a session
//! reads heads from one, the driver walks each request through its phases, and two [`relay`]s move
//! the bytes. All configuration comes in as a [`Snapshot`]; nothing here reads a file.
#![forbid(unsafe_code)]

pub mod accept;
pub mod client;
mod connect;
mod connections;
pub mod driver;
pub mod error;
pub mod exchange;
mod finish;
mod forward;
mod forwarded;
mod grpc;
mod h2;
mod handshake;
mod hash;
mod heads;
mod hedge;
pub mod io;
mod limits;
mod link;
mod own;
mod pass;
mod protect;
mod queue;
pub mod relay;
mod reply;
mod retry;
mod run;
mod send;
pub mod session;
mod snapshot;
mod sticky;
mod times;
mod tunnel;
mod vars;
mod walk;
mod worker;

pub use limits::{PoolLimits, Shed};
pub use queue::Queue;
pub use retry::{REPLAY_BYTES_DEFAULT, RetryOn, RetryPlan};
pub use run::{Ack, DrainTimes, Order, run_worker};
pub use snapshot::{
    Edits, ErrorPage, FixedAnswer, ForwardedPlan, HashKey, HostPlan, Http2Plan, KeepRequestId,
    ListenerPlan, MIN_RATE_GRACE_MS, PoolPlan, Produce, RequestIdPlan, RoutePlan, RouteTimeouts,
    ServerHttp2Plan, ServerProtocol, Snapshot, Target, TlsPlan, XForwarded,
};
pub use sticky::{
    Bindings, CookiePlan, CookieSettings, KnownBy, SameSite, Secure, StickyPlan, TablePlan,
};
pub use worker::{Gate, View, Worker};
