//! Faults: all of them, each with its place.

use super::*;
use crate::{LIST_LEN_MAX, MATCHER_DEPTH_MAX, ROUTES_MAX, Step};

#[test]
fn all_faults_are_reported_with_their_place() {
    let faults = compile([
        all([host("a:80"), under("api")]),
        Matcher::Always,
        any([host("ok"), not(regex("("))]),
        method(&["GET", "PO ST", ""]),
        Matcher::Any(Vec::new()),
        Matcher::Method(Vec::new()),
        Matcher::Listener(Vec::new()),
        Matcher::Client(Vec::new()),
        Matcher::Scheme("ftp".to_owned()),
        header("x y", ValueTest::Present),
        cookie("", ValueTest::Present),
        query("", ValueTest::Present),
        glob("*.jpg"),
        under("/api/*"),
        host("a.*.com"),
        host("*."),
        host("*com"),
        header("x", ValueTest::Regex("[".to_owned())),
    ])
    .unwrap_err();
    let places: Vec<_> = faults
        .iter()
        .map(|fault| (fault.route, fault.part.to_string()))
        .collect();
    let expected = [
        (0, "match.all[0]"),
        (0, "match.all[1]"),
        (2, "match.any[1].not"),
        (3, "match[1]"),
        (3, "match[2]"),
        (4, "match"),
        (5, "match"),
        (6, "match"),
        (7, "match"),
        (8, "match"),
        (9, "match"),
        (10, "match"),
        (11, "match"),
        (12, "match"),
        (13, "match"),
        (14, "match"),
        (15, "match"),
        (16, "match"),
        (17, "match"),
    ];
    assert_eq!(
        places,
        expected.map(|(route, place)| (route, place.to_owned()))
    );
    assert_eq!(faults[2].part.0, [Step::Any(1), Step::Not]);
    assert_eq!(
        faults[0].to_string(),
        "route 0, match.all[0]: hosts are matched without their port; write `a`, and `listener` to tell ports apart"
    );
}

#[test]
fn depth_is_limited() {
    let nested = |depth| (0..depth).fold(Matcher::Always, |inner, _| not(inner));
    assert!(compile([nested(MATCHER_DEPTH_MAX)]).is_ok());
    let faults = compile([nested(MATCHER_DEPTH_MAX + 1)]).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.contains("16 deep"));
    let sideways = (0..40).fold(host("a"), |inner, _| all([under("/"), any([inner])]));
    assert!(compile([sideways]).is_err());
}

#[test]
fn lists_and_routes_are_limited() {
    let long = Matcher::Listener(vec![1; LIST_LEN_MAX + 1]);
    assert!(compile([long]).unwrap_err()[0].message.contains("65537"));
    let parts = Matcher::All(vec![Matcher::Always; LIST_LEN_MAX + 1]);
    assert!(compile([parts]).is_err());
    let faults = compile(vec![Matcher::Always; ROUTES_MAX + 1]).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(compile([Matcher::Listener(vec![1; LIST_LEN_MAX])]).is_ok());
}
