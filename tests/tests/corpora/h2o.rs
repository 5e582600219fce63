//! h2o's fuzzing corpus: no verdicts, thousands of odd byte streams.

use crate::case::{Case, Verdict};
use crate::gunicorn::files;
use crate::{judge, suite};

#[test]
fn h2o() {
    let Some(folder) = suite("fuzz-seeds/h2o/http1-corpus") else {
        return;
    };
    let cases: Vec<Case> = files(&folder, "")
        .into_iter()
        .map(|(name, bytes)| Case::new(format!("h2o/{name}"), bytes, Verdict::None))
        .collect();
    assert!(
        cases.len() >= 1972,
        "only {} cases in {}",
        cases.len(),
        folder.display()
    );
    judge::run("h2o", cases);
}
