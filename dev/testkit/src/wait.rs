//! Waiting for events, with deadlines.

use std::time::{Duration, Instant};

/// Deadline of everything that should take no time. Long, because tests share two cores; a test that is right never waits so long.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until the answer is `Some`; panics with `what` after [`SOON`].
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(SOON, ask).unwrap_or_else(|| panic!("not within {SOON:?}: {what}"))
}

/// Asks again and again until the answer is `Some`, or `limit` has passed.
pub fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Like [`until`], for a condition.
pub fn until_true(what: &str, mut ask: impl FnMut() -> bool) {
    until(what, || ask().then_some(()));
}
