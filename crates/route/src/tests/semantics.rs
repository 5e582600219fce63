//! What each condition means.

use super::*;

fn get(host: &str, target: &str) -> Request {
    Request::new("GET", host, target)
}

#[test]
fn hosts() {
    for (pattern, asked, matches) in [
        ("example.com", "example.com", true),
        ("EXAMPLE.com.", "example.com", true),
        ("example.com", "www.example.com", false),
        ("*.example.com", "www.example.com", true),
        ("*.example.com", "a.b.example.com", true),
        ("*.example.com", "example.com", false),
        ("*.example.com", ".example.com", false),
        ("*.example.com", "notexample.com", false),
        ("*.com", "a.example.com", true),
        ("*", "anything", true),
        ("*", "", true),
        ("", "", true),
        ("", "x", false),
        ("[2001:DB8::1]", "[2001:db8::1]", true),
        ("127.0.0.1", "127.0.0.1", true),
    ] {
        assert_eq!(
            takes(host(pattern), &get(asked, "/")),
            matches,
            "{pattern} {asked}"
        );
    }
    assert!(takes(Matcher::Host(HostPattern::Any), &get("x", "/")));
}

#[test]
fn file_order_wins_over_precision() {
    let router = router([
        host("*.example.com"),
        host("a.example.com"),
        all([host("b.example.org"), exact("/x")]),
        host("b.example.org"),
        Matcher::Always,
    ]);
    assert_eq!(find(&router, &get("a.example.com", "/")), Some(0));
    assert_eq!(find(&router, &get("b.example.org", "/x")), Some(2));
    assert_eq!(find(&router, &get("b.example.org", "/y")), Some(3));
    assert_eq!(find(&router, &get("c", "/")), Some(4));
}

#[test]
fn wildcards_of_many_depths() {
    let deep = |labels: usize| vec!["a"; labels].join(".");
    let wildcards: Vec<_> = [70, 64, 63, 62, 2, 1]
        .iter()
        .map(|&labels| host(&format!("*.{}", deep(labels))))
        .collect();
    let router = router(wildcards);
    for (labels, route) in [
        (71, 0),
        (80, 0),
        (70, 1),
        (65, 1),
        (64, 2),
        (63, 3),
        (62, 4),
        (3, 4),
        (2, 5),
    ] {
        assert_eq!(
            find(&router, &get(&deep(labels), "/")),
            Some(route),
            "{labels}"
        );
    }
    assert_eq!(find(&router, &get("a", "/")), None);
}

#[test]
fn user_written_paths_are_normalised() {
    for (matcher, path) in [
        (exact("/%7euser/./x"), "/~user/x"),
        (under("//api//"), "/api/x"),
        (exact("/a%2fb"), "/a%2Fb"),
        (under("/caf\u{e9}"), "/caf%C3%A9/x"),
        (glob("/%61/*"), "/a/b"),
        (exact("*"), "*"),
    ] {
        assert!(
            takes(matcher.clone(), &get("x", path)),
            "{matcher:?} {path}"
        );
    }
}

#[test]
fn methods() {
    for (names, asked, matches) in [
        (&["GET"][..], "GET", true),
        (&["get"], "GET", true),
        (&["GET"], "get", false),
        (&["GET"], "HEAD", false),
        (&["POST", "PURGE"], "PURGE", true),
        (&["PURGE"], "purge", false),
        (&["PURGE"], "BAN", false),
        (&["POST"], "PURGE", false),
    ] {
        let request = Request::new(asked, "x", "/");
        assert_eq!(takes(method(names), &request), matches, "{names:?} {asked}");
    }
}

#[test]
fn values_over_all_occurrences() {
    let request = get("x", "/?tag=a&tag=b+c&%74ag=d%2Fe&flag")
        .header("X-A", "one")
        .header("x-a", "two")
        .header("Cookie", "s=1; t=2")
        .header("Cookie", "s=3");
    let text = |text: &str| text.to_owned();
    for (matcher, matches) in [
        (header("x-A", ValueTest::Present), true),
        (header("x-A", ValueTest::Absent), false),
        (header("x-b", ValueTest::Present), false),
        (header("x-b", ValueTest::Absent), true),
        (header("x-a", is("two")), true),
        (header("x-a", is("Two")), false),
        (header("x-a", ValueTest::Prefix(text("tw"))), true),
        (header("x-a", ValueTest::Suffix(text("ne"))), true),
        (header("x-a", ValueTest::Contains(text("w"))), true),
        (header("x-a", ValueTest::Contains(text("z"))), false),
        (header("x-a", ValueTest::Regex(text("w"))), true),
        (header("x-a", ValueTest::RegexStart(text("w"))), false),
        (cookie("s", is("1")), true),
        (cookie("s", is("3")), true),
        (cookie("s", is("2")), false),
        (cookie("S", is("1")), false),
        (cookie("t", ValueTest::Absent), false),
        (cookie("u", ValueTest::Absent), true),
        (query("tag", is("a")), true),
        (query("tag", is("b c")), true),
        (query("tag", is("d/e")), true),
        (query("tag", ValueTest::Suffix(text("/e"))), true),
        (query("tag", ValueTest::Regex(text("^b c$"))), true),
        (query("flag", is("")), true),
        (query("flag", ValueTest::Present), true),
        (query("Tag", ValueTest::Present), false),
        (query("none", ValueTest::Absent), true),
    ] {
        assert_eq!(takes(matcher.clone(), &request), matches, "{matcher:?}");
    }
}

#[test]
fn clients_schemes_and_listeners() {
    let mut request = get("x", "/");
    request.client = "::ffff:10.1.2.3".parse().unwrap();
    request.scheme = "https";
    request.listener = 3;
    let client = |net: &str| Matcher::Client(vec![net.parse().unwrap()]);
    for (matcher, matches) in [
        (client("10.0.0.0/8"), true),
        (client("10.1.2.3/32"), true),
        (client("fd00::/8"), false),
        (Matcher::Scheme("HTTPS".to_owned()), true),
        (Matcher::Scheme("http".to_owned()), false),
        (Matcher::Listener(vec![1, 3]), true),
        (Matcher::Listener(vec![1]), false),
    ] {
        assert_eq!(takes(matcher.clone(), &request), matches, "{matcher:?}");
    }
}

#[test]
fn nesting() {
    let request = get("a", "/x");
    for (matcher, matches) in [
        (Matcher::All(Vec::new()), true),
        (not(Matcher::Always), false),
        (not(host("b")), true),
        (all([host("a"), not(under("/x"))]), false),
        (any([host("b"), all([host("a"), under("/x")])]), true),
        (not(any([host("b"), under("/y")])), true),
        (all([host("a"), host("b")]), false),
        (all([under("/x"), not(not(exact("/x")))]), true),
    ] {
        assert_eq!(takes(matcher.clone(), &request), matches, "{matcher:?}");
    }
}

#[test]
fn no_routes() {
    let router = router([]);
    assert!(router.is_empty());
    assert_eq!(find(&router, &get("x", "/")), None);
    assert!(router.explain(&get("x", "/").view(), 10).is_empty());
    assert!(router.unreachable().is_empty());
}

#[test]
fn more_lists_than_are_gathered_at_once() {
    // Each prefix of the path is a place with a candidate that needs evaluation, under several wildcards.
    let deny = || header("x-no", ValueTest::Present);
    let mut matchers = Vec::new();
    let mut path = String::new();
    for _ in 0..60 {
        path.push('/');
        path.push('a');
        for name in ["*.a.a.a", "*.a.a", "*.a"] {
            matchers.push(all([host(name), begins(&path), deny()]));
        }
    }
    let last = matchers.len();
    matchers.push(all([
        host("*.a.a"),
        begins(&path),
        header("x-yes", ValueTest::Present),
    ]));
    let router = router(matchers);
    let request = get("b.a.a.a", &path).header("x-yes", "1");
    assert_eq!(find(&router, &request), Some(last));
    assert_eq!(find(&router, &request.header("x-no", "1")), Some(0));
}

#[test]
fn workers_share_a_router() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&router([]));
}
