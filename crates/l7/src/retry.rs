//! What is tried again: the plan of a pool or a route, and the question whether a failure may be
//! followed by another attempt.

use keel_balance::{Backoff, StatusSet};
use keel_http::grpc::Code;

/// Bytes of a request's body that are kept for another attempt, where nothing else is said.
pub const REPLAY_BYTES_DEFAULT: usize = 64 << 10;

/// When and how often a request is sent again. The default is plain: three tries, at once, for what
/// a server did not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPlan {
    /// After what.
    pub on: RetryOn,
    /// Attempts in all, the first one included; 0 counts as 1, and 16 is the most. Default 3.
    pub tries_max: u32,
    /// No attempt begins later than this after the first one, in milliseconds. Default `u64::MAX`,
    /// no limit.
    pub within_ms: u64,
    /// An attempt must have brought the head of an answer by then, in milliseconds. Default
    /// `u64::MAX`: only the pool's timeouts count.
    pub per_try_ms: u64,
    /// The wait before each further attempt; `None` (the default) is no wait. With it, servers that
    /// were all tried are asked again.
    pub backoff: Option<Backoff>,
    /// Whether methods that are not idempotent (RFC 9110, 9.2.2) are repeated too, though the server
    /// may have acted. Default false.
    pub unsafe_methods: bool,
    /// Bytes of a request's body that are kept so that it can be sent again. Default 64 KiB.
    pub body_bytes_max: usize,
    /// Statuses of gRPC, in an answer of trailers alone, after which another server is asked. Default
    /// none.
    pub grpc: Vec<Code>,
}

impl Default for RetryPlan {
    fn default() -> RetryPlan {
        RetryPlan {
            on: RetryOn::default(),
            tries_max: 3,
            within_ms: u64::MAX,
            per_try_ms: u64::MAX,
            backoff: None,
            unsafe_methods: false,
            body_bytes_max: REPLAY_BYTES_DEFAULT,
            grpc: Vec::new(),
        }
    }
}

/// After which failures another attempt is made. Each only when it is safe: the method is idempotent,
/// or nothing of the request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    /// `error`: no name, no connection, no TLS handshake; or the connection ended before an answer.
    /// Default true.
    pub error: bool,
    /// `refused`: the server refused the connection or the stream, so that it saw nothing of the
    /// request. Default true.
    pub refused: bool,
    /// `timeout`, of the connect and of sending: the server took nothing in time. Default true.
    pub connect_timeout: bool,
    /// `timeout`, of the answer: the server may still be at work. Default false.
    pub answer_timeout: bool,
    /// `invalid`: the head of the answer broke the protocol. Default false.
    pub invalid: bool,
    /// Answers with these statuses. Default none.
    pub statuses: StatusSet,
}

impl Default for RetryOn {
    fn default() -> RetryOn {
        RetryOn {
            error: true,
            refused: true,
            connect_timeout: true,
            answer_timeout: false,
            invalid: false,
            statuses: StatusSet::default(),
        }
    }
}
