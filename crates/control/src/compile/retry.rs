//! Further attempts: retries of pools and of routes.

use keel_balance::{Backoff, StatusSet};
use keel_config::model::{self, GrpcStatus, Retry};
use keel_http::grpc::Code;
use keel_l7::{RetryOn, RetryPlan};

use super::pools::ms;

/// The plan of a pool, or of a route whose settings were put over a pool's.
pub(super) fn plan(retry: &Retry) -> RetryPlan {
    RetryPlan {
        on: on(retry),
        tries_max: retry.tries,
        within_ms: retry.within.map_or(u64::MAX, ms),
        per_try_ms: retry.per_try.map_or(u64::MAX, ms),
        backoff: retry.backoff.as_ref().map(backoff),
        unsafe_methods: retry.unsafe_methods,
        body_bytes_max: usize::try_from(retry.body).unwrap_or(usize::MAX),
        grpc: retry.grpc.iter().map(code).collect(),
    }
}

fn on(retry: &Retry) -> RetryOn {
    RetryOn {
        error: retry.on.error,
        refused: retry.on.refused,
        connect_timeout: retry.on.connect_timeout,
        answer_timeout: retry.on.answer_timeout,
        invalid: retry.on.invalid,
        statuses: StatusSet::of(retry.on.statuses.codes()),
    }
}

fn backoff(backoff: &model::Backoff) -> Backoff {
    Backoff {
        base_ms: ms(backoff.first),
        cap_ms: ms(backoff.max),
        ..Backoff::default()
    }
}

fn code(status: &GrpcStatus) -> Code {
    match status {
        GrpcStatus::Cancelled => Code::Cancelled,
        GrpcStatus::Unknown => Code::Unknown,
        GrpcStatus::DeadlineExceeded => Code::DeadlineExceeded,
        GrpcStatus::ResourceExhausted => Code::ResourceExhausted,
        GrpcStatus::Aborted => Code::Aborted,
        GrpcStatus::Internal => Code::Internal,
        GrpcStatus::Unavailable => Code::Unavailable,
    }
}
