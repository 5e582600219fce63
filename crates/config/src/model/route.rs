//! Routes and their targets.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Condition, ErrorPages, Forwarded, HeaderRules, HeaderValue, HostHeader, LogId, PoolId,
    RouteRetry,
};
use crate::Spanned;
use crate::words::words;

/// A pool that is referred to, and where.
pub type PoolRef = Spanned<PoolId>;

words! {
    /// Status of a redirect.
    RedirectStatus {
        /// Moved permanently; the method may become GET.
        MovedPermanently = "301",
        /// Found, for now; the method may become GET.
        Found = "302",
        /// See another page with GET.
        SeeOther = "303",
        /// For now; the method stays.
        Temporary = "307",
        /// Permanently; the method stays.
        Permanent = "308",
    }
}

impl RedirectStatus {
    /// The status code.
    pub const fn code(self) -> u16 {
        match self {
            RedirectStatus::MovedPermanently => 301,
            RedirectStatus::Found => 302,
            RedirectStatus::SeeOther => 303,
            RedirectStatus::Temporary => 307,
            RedirectStatus::Permanent => 308,
        }
    }
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Template of Location; `https` became `https://$host$request_uri`. Checked by the later stage.
    pub to: Spanned<String>,
    /// Status; default 302, 301 for `https`.
    pub status: RedirectStatus,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// Status, 200 to 599; default 200.
    pub status: u16,
    /// Body as it is (no template); empty by default, always empty for 204 and 304.
    pub body: Arc<[u8]>,
    /// Content-Type; `None` when the body is empty and no type was given.
    pub content_type: Option<String>,
    /// More fields.
    pub headers: Vec<HeaderValue>,
}

words! {
    /// One of our own endpoints.
    Expose {
        /// Whether there is a healthy server, as JSON.
        Health = "health",
        /// Counters, servers and routes, as JSON.
        Stats = "stats",
        /// Metrics in the text format of Prometheus.
        Metrics = "metrics",
    }
}

/// What a split is chosen by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitBy {
    /// Hash of the client's address: a client stays where it is.
    ClientAddress,
    /// Chance, anew for each request.
    Random,
    /// Hash of a request header; the client's address when it is missing.
    Header(Spanned<String>),
    /// Hash of a cookie; the client's address when it is missing.
    Cookie(Spanned<String>),
}

/// A part of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitPart {
    /// The pool.
    pub pool: PoolRef,
    /// Its share of the sum of all weights, 0 to 65535.
    pub weight: u32,
}

/// A weighted split over pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// In file order; the sum of weights is above 0.
    pub parts: Vec<SplitPart>,
    /// What it is chosen by; default the client's address.
    pub by: SplitBy,
}

/// Where a route's requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A pool.
    Pool(PoolRef),
    /// A split over pools.
    Split(Split),
    /// A redirect.
    Redirect(Redirect),
    /// A fixed answer.
    Respond(Respond),
    /// One of our own endpoints.
    Expose(Expose),
}

/// A route's own timeouts; `None` = the pool's (`connect`, `read`, `send`, `tunnel`) or the listener's (`body`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteTimeouts {
    /// Connecting to a server.
    pub connect: Option<Duration>,
    /// Waiting for bytes of the answer.
    pub read: Option<Duration>,
    /// Without progress in sending to the server.
    pub send: Option<Duration>,
    /// Without a byte either way after an upgrade.
    pub tunnel: Option<Duration>,
    /// Without progress in the client's body.
    pub body: Option<Duration>,
}

/// A route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Name, unique; `route-N` (N from 1) when the file gives none.
    pub name: Spanned<String>,
    /// Which requests; the span is that of `match`, or of the route when there is none.
    pub condition: Spanned<Condition>,
    /// Where they go.
    pub target: Spanned<Target>,
    /// Header edits, after the global and the listener's ones.
    pub headers: HeaderRules,
    /// Bytes of a request's body; `None` = the listener's.
    pub body_limit: Option<u64>,
    /// Own timeouts.
    pub timeouts: RouteTimeouts,
    /// Own settings of retries.
    pub retry: RouteRetry,
    /// Own logs; `None` = as the listener or the global setting says, empty = not logged.
    pub access_log: Option<Vec<LogId>>,
    /// Error pages, complete (global ones are merged in).
    pub error_pages: ErrorPages,
    /// Own setting; `None` = the global one.
    pub show_backend: Option<bool>,
    /// Host sent to the server; `None` = the pool's.
    pub host: Option<HostHeader>,
    /// What is said about the client, complete (global settings and defaults are filled in).
    pub forwarded: Forwarded,
    /// Whether gRPC-Web is turned into gRPC; default false.
    pub grpc_web: Spanned<bool>,
}
