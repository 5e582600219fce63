//! Routes that cannot be reached.

use super::*;
use crate::Shadowed;

fn shadows(matchers: impl IntoIterator<Item = Matcher>) -> Vec<(usize, usize)> {
    router(matchers)
        .unreachable()
        .into_iter()
        .map(|Shadowed { route, by }| (route, by))
        .collect()
}

/// The second is hidden by the first.
fn hidden(wide: Matcher, narrow: Matcher) -> bool {
    shadows([wide, narrow]) == [(1, 0)]
}

#[test]
fn broader_routes_hide_later_ones() {
    let client = |net: &str| Matcher::Client(vec![net.parse().unwrap()]);
    let text = |text: &str| text.to_owned();
    for (wide, narrow) in [
        (Matcher::Always, host("a")),
        (Matcher::Always, Matcher::Always),
        (host("a"), all([host("a"), under("/x")])),
        (host("*.a"), host("b.a")),
        (host("*.a"), host("*.b.a")),
        (under("/api"), under("/api")),
        (under("/api"), under("/api/users")),
        (under("/api"), exact("/api")),
        (under("/api/"), glob("/api/*/x")),
        (begins("/api"), under("/api")),
        (begins("/a"), regex("^/a(b|c)")),
        (glob("/a/*"), exact("/a/b")),
        (regex("^/v[0-9]"), exact("/v1")),
        (regex("^/v[0-9]"), regex("^/v[0-9]")),
        (
            under("/x"),
            all([host("a"), under("/x/y"), method(&["GET"])]),
        ),
        (
            method(&["GET", "POST"]),
            all([under("/x"), method(&["GET"])]),
        ),
        (any([host("a"), host("b")]), host("b")),
        (
            any([host("a"), host("b"), host("c")]),
            any([host("c"), host("a")]),
        ),
        (header("x", ValueTest::Present), header("x", is("1"))),
        (
            header("x", ValueTest::Contains(text("b"))),
            header("x", ValueTest::Prefix(text("abc"))),
        ),
        (header("x", is("1")), all([host("a"), header("X", is("1"))])),
        (
            client("10.0.0.0/8"),
            all([under("/x"), client("10.1.0.0/16")]),
        ),
        (Matcher::Scheme(text("http")), Matcher::Scheme(text("http"))),
        (
            Matcher::Listener(vec![1, 2]),
            all([Matcher::Listener(vec![2]), host("a")]),
        ),
        (not(under("/x/y")), not(under("/x"))),
        (
            all([host("a"), not(header("x", ValueTest::Present))]),
            all([host("a"), under("/x"), not(header("x", ValueTest::Present))]),
        ),
    ] {
        assert!(
            hidden(wide.clone(), narrow.clone()),
            "{wide:?} hides {narrow:?}"
        );
    }
}

#[test]
fn reachable_routes_are_not_named() {
    let text = |text: &str| text.to_owned();
    for (wide, narrow) in [
        (host("a"), Matcher::Always),
        (host("a"), host("b")),
        (host("*.a"), host("a")),
        (under("/api"), under("/apix")),
        (under("/api"), begins("/api")),
        (under("/api/"), under("/api")),
        (exact("/api"), under("/api")),
        (all([host("a"), method(&["GET"])]), host("a")),
        (
            all([host("a"), header("x", is("1"))]),
            all([host("a"), under("/x")]),
        ),
        (regex("/v1"), begins("/v1")),
        (regex("^/v[0-9]"), begins("/v1")),
        (method(&["GET"]), method(&["GET", "POST"])),
        (header("x", is("1")), header("x", ValueTest::Present)),
        (header("x", is("1")), header("x", is("2"))),
        (header("x", ValueTest::Absent), Matcher::Always),
        (header("x", is("1")), cookie("x", is("1"))),
        (
            header("x", ValueTest::Prefix(text("a"))),
            header("x", ValueTest::Suffix(text("a"))),
        ),
        (not(under("/x")), not(under("/x/y"))),
        (Matcher::Listener(vec![1]), Matcher::Listener(vec![1, 2])),
        // OPTIONS * has no slash.
        (under("/"), Matcher::Always),
    ] {
        assert_eq!(
            shadows([wide.clone(), narrow.clone()]),
            [],
            "{wide:?} {narrow:?}"
        );
    }
}

#[test]
fn the_first_that_hides_is_named() {
    let routes = [
        host("z"),
        under("/a"),
        Matcher::Always,
        under("/a/b"),
        host("y"),
    ];
    assert_eq!(shadows(routes), [(3, 1), (4, 2)]);
}

#[test]
fn many_routes_are_compared_fast() {
    // Each is named once and no other covers it; then one that hides them comes last.
    let routes =
        (0..5_000).map(|at| all([host(&format!("h{at}")), header("x", ValueTest::Present)]));
    assert_eq!(shadows(routes.clone()), []);
    let doubled = routes.clone().chain(routes);
    assert_eq!(shadows(doubled).len(), 5_000);
}
