//! Public suites of raw HTTP/1.1, sent into the binary and judged by what comes out on the other side.
//!
//! For every case: whatever reaches the backend is one or more well-framed requests, each one of those that the
//! client sent; whatever reaches the client is well-framed; nothing hangs, panics or leaks. Where a suite gives a verdict it is
//! held too; where ours differs, `data/corpora.txt` says so with the reason.
//!
//! The suites are read from `EVENKEEL_CORPORA`, else from `../shared/corpora` beside the repository. Without them the
//! tests say so and pass, or fail when `EVENKEEL_REQUIRE_CORPORA=1`, which CI sets.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

mod answers;
mod case;
mod escape;
mod gunicorn;
mod h2o;
mod http11probe;
mod judge;
mod lane;
mod libhtp;
mod llhttp;
mod verdicts;

use std::path::PathBuf;

/// The folder of a suite, or `None` when it is not there.
fn suite(name: &str) -> Option<PathBuf> {
    let beside = || keel_testkit::binary::repository().join("../shared/corpora");
    let root = std::env::var_os("EVENKEEL_CORPORA").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var_os("EVENKEEL_REQUIRE_CORPORA").is_some_and(|value| value == "1");
    assert!(
        !required,
        "no {}, and EVENKEEL_REQUIRE_CORPORA=1",
        folder.display()
    );
    eprintln!("skipped: {} not found", folder.display());
    None
}
