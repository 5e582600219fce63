//! Explanations.

use super::*;

fn why(matcher: Matcher, request: &Request) -> String {
    let trials = router([matcher]).explain(&request.view(), 10);
    assert_eq!(trials.len(), 1);
    trials[0].why.clone()
}

fn check(sentences: impl IntoIterator<Item = (Matcher, &'static str)>) {
    let request = Request::new("GET", "a.example.com", "/api/x?q=1&q=2").header("X-A", "one");
    for (matcher, sentence) in sentences {
        assert_eq!(why(matcher.clone(), &request), sentence, "{matcher:?}");
    }
}

#[test]
fn hosts_and_paths_say_why() {
    check([
        (Matcher::Always, "every request matches"),
        (
            host("b.example.com"),
            r#"host "a.example.com" is not "b.example.com""#,
        ),
        (
            host("*.org"),
            r#"host "a.example.com" is not under "*.org""#,
        ),
        (host("*.com"), r#"host "a.example.com" is under "*.com""#),
        (host("a.example.com"), r#"host is "a.example.com""#),
        (
            any([host("b"), host("*.c"), host("d")]),
            r#"host "a.example.com" is not "b", "*.c" or "d""#,
        ),
        (under("/ap"), r#"path "/api/x" is not "/ap" or below it"#),
        (under("/api"), r#"path "/api/x" is below "/api""#),
        (exact("/y"), r#"path "/api/x" is not "/y""#),
        (begins("/b"), r#"path "/api/x" does not begin with "/b""#),
        (glob("/*"), r#"path "/api/x" does not match the glob `/*`"#),
        (regex("^/v1"), r#"path "/api/x" does not match `^/v1`"#),
        (
            any([under("/a"), glob("/*")]),
            r#"path "/api/x" does not match "/a" or `/*`"#,
        ),
    ]);
}

#[test]
fn values_and_the_rest_say_why() {
    let client = |net: &str| Matcher::Client(vec![net.parse().unwrap()]);
    let text = |text: &str| text.to_owned();
    check([
        (method(&["POST", "PUT"]), "method GET is not POST or PUT"),
        (header("X-Tenant", is("acme")), "header X-Tenant is missing"),
        (
            header("X-A", is("two")),
            r#"header X-A is "one", not "two""#,
        ),
        (
            header("X-A", ValueTest::Prefix(text("t"))),
            r#"header X-A is "one" and does not begin with "t""#,
        ),
        (header("X-A", ValueTest::Absent), "header X-A is present"),
        (header("X-B", ValueTest::Absent), "header X-B is missing"),
        (
            query("q", is("3")),
            r#"no value of query parameter q is "3"; it has "1" and 1 more"#,
        ),
        (cookie("s", ValueTest::Present), "cookie s is missing"),
        (
            client("10.0.0.0/8"),
            "client 192.0.2.1 is not in 10.0.0.0/8",
        ),
        (Matcher::Scheme(text("https")), "scheme http is not https"),
        (Matcher::Listener(vec![1, 2]), "listener 0 is not 1 or 2"),
    ]);
}

#[test]
fn nested_conditions_say_why() {
    check([
        (
            not(under("/api")),
            r#"path "/api/x" is below "/api", which is excluded"#,
        ),
        (not(under("/b")), r#"path "/api/x" is not "/b" or below it"#),
        (
            any([method(&["POST"]), under("/b")]),
            r#"no alternative holds: method GET is not POST; path "/api/x" is not "/b" or below it"#,
        ),
        (
            all([under("/api"), method(&["GET"])]),
            r#"path "/api/x" is below "/api" and method is GET"#,
        ),
        (
            all([under("/api"), method(&["PUT"])]),
            "method GET is not PUT",
        ),
    ]);
}

#[test]
fn tries_in_order_until_the_match() {
    let router = router([host("a"), host("b"), Matcher::Always, host("c")]);
    let request = Request::new("GET", "b", "/");
    let trials = router.explain(&request.view(), 10);
    assert_eq!(
        trials
            .iter()
            .map(|trial| (trial.route, trial.matched))
            .collect::<Vec<_>>(),
        [(0, false), (1, true)]
    );
    assert_eq!(router.explain(&request.view(), 1).len(), 1);
    assert_eq!(router.name(1), Some("route-1"));
}

#[test]
fn text_of_peers_is_made_safe_and_short() {
    let long = format!("/\u{1b}[31m{}", "a".repeat(1000));
    let sentence = why(exact("/x"), &Request::new("GET", "", &long));
    assert!(sentence.starts_with(r#"path "/\x1b[31maaa"#), "{sentence}");
    assert!(sentence.len() < 200, "{sentence}");
    assert_eq!(
        why(host("a"), &Request::new("GET", "", "/")),
        r#"the empty host is not "a""#
    );
}
