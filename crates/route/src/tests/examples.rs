//! The worked examples of the requirements.

use super::*;

fn get(host: &str, target: &str) -> Request {
    Request::new("GET", host, target)
}

#[test]
fn pools_by_path_and_upgrade() {
    // 000-A7, 000-A8
    let router = router([
        header("Upgrade", ValueTest::Regex("(?i)^websocket$".to_owned())),
        under("/api/"),
        under("/static/"),
        under("/admin/"),
    ]);
    let chat = get("x", "/chat")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket");
    assert_eq!(find(&router, &chat), Some(0));
    let users = Request::new("POST", "x", "/api/users").header("Content-Type", "application/json");
    assert_eq!(find(&router, &users), Some(1));
    let image = get("x", "/static/image.jpg").header("User-Agent", "Mobile");
    assert_eq!(find(&router, &image), Some(2));
    let admin = get("x", "/admin/dashboard").header("Cookie", "session=admin");
    assert_eq!(find(&router, &admin), Some(3));
    assert_eq!(find(&router, &get("x", "/chat")), None);
}

#[test]
fn device_and_session_choose() {
    // 000-A8 with the device and the session as conditions.
    let router = router([
        all([
            under("/static/"),
            header("User-Agent", ValueTest::Contains("Mobile".to_owned())),
        ]),
        all([under("/admin/"), cookie("session", is("admin"))]),
        under("/"),
    ]);
    let image = get("x", "/static/image.jpg");
    assert_eq!(
        find(&router, &image.clone().header("User-Agent", "X Mobile/1")),
        Some(0)
    );
    assert_eq!(find(&router, &image.header("User-Agent", "X")), Some(2));
    let admin = get("x", "/admin/dashboard");
    assert_eq!(
        find(
            &router,
            &admin.clone().header("Cookie", "a=b; session=admin")
        ),
        Some(1)
    );
    assert_eq!(
        find(&router, &admin.header("Cookie", "session=guest")),
        Some(2)
    );
}

#[test]
fn patterns_match_from_the_start() {
    // 000-B14 to B17: rules in order; path, header and cookie patterns match from the start.
    let start = |pattern: &str| ValueTest::RegexStart(pattern.to_owned());
    let path = |pattern: &str| Matcher::Path(PathPattern::RegexStart(pattern.to_owned()));
    let router = router([
        path("/api/v[0-9]+/"),
        header("X-Version", start("v2")),
        cookie("group", start("beta|canary")),
        path("/a"),
    ]);
    assert_eq!(find(&router, &get("x", "/api/v12/users")), Some(0));
    assert_eq!(find(&router, &get("x", "/x/api/v12/users")), None);
    assert_eq!(
        find(&router, &get("x", "/b").header("X-Version", "v2.1")),
        Some(1)
    );
    assert_eq!(
        find(&router, &get("x", "/b").header("X-Version", "not v2")),
        None
    );
    assert_eq!(
        find(&router, &get("x", "/b").header("Cookie", "group=canary-7")),
        Some(2)
    );
    assert_eq!(
        find(&router, &get("x", "/b").header("Cookie", "group=xbeta")),
        None
    );
    assert_eq!(find(&router, &get("x", "/api/x")), Some(3));
}

#[test]
fn videos_and_billing() {
    // 002-2
    for router in [
        router([under("/videos/"), under("/billing/")]),
        router([glob("/videos/**"), glob("/billing/**")]),
    ] {
        assert_eq!(find(&router, &get("x", "/videos/1/play")), Some(0));
        assert_eq!(find(&router, &get("x", "/billing/invoice")), Some(1));
        assert_eq!(find(&router, &get("x", "/video")), None);
    }
}

#[test]
fn one_host_two_services() {
    // 002-8
    let router = router([
        all([host("api.example.com"), under("/orders/")]),
        all([host("api.example.com"), under("/users/")]),
    ]);
    assert_eq!(find(&router, &get("api.example.com", "/orders/7")), Some(0));
    assert_eq!(find(&router, &get("api.example.com", "/users/7")), Some(1));
    assert_eq!(find(&router, &get("www.example.com", "/users/7")), None);
}

#[test]
fn tenant_header_chooses() {
    // 002-9
    let tenants: Vec<_> = (0..100)
        .map(|at| header("tenant", is(&format!("t{at}"))))
        .collect();
    let router = router(tenants);
    for at in [0, 7, 99] {
        let request = get("x", "/").header("Tenant", &format!("t{at}"));
        assert_eq!(find(&router, &request), Some(at));
    }
    assert_eq!(find(&router, &get("x", "/").header("Tenant", "t100")), None);
    assert_eq!(find(&router, &get("x", "/")), None);
    let twice = get("x", "/").header("Tenant", "t9").header("tenant", "t3");
    assert_eq!(find(&router, &twice), Some(3));
}

#[test]
fn four_pools() {
    // 003-11
    let router = router([
        under("/api/users"),
        under("/api/orders"),
        under("/images"),
        under("/admin"),
    ]);
    for (path, route) in [
        ("/api/users", Some(0)),
        ("/api/users/7", Some(0)),
        ("/api/orders?sort=asc", Some(1)),
        ("/images/logo.png", Some(2)),
        ("/admin", Some(3)),
        ("/api", None),
        ("/administrator", None),
    ] {
        assert_eq!(find(&router, &get("x", path)), route, "{path}");
    }
}

#[test]
fn path_headers_method_and_query_decide() {
    // 004-4
    let router = router([
        all([
            under("/search"),
            query("q", ValueTest::Present),
            method(&["GET"]),
        ]),
        all([under("/search"), method(&["POST"])]),
        all([under("/search"), header("X-Debug", is("1"))]),
    ]);
    assert_eq!(find(&router, &get("x", "/search?q=a")), Some(0));
    assert_eq!(
        find(&router, &Request::new("POST", "x", "/search?q=a")),
        Some(1)
    );
    assert_eq!(
        find(&router, &get("x", "/search").header("x-debug", "1")),
        Some(2)
    );
    assert_eq!(find(&router, &get("x", "/search?p=a")), None);
}

#[test]
fn prefix_rules_in_order() {
    // 004-5
    let router = router([under("/api/users"), under("/api/orders"), under("/static")]);
    assert_eq!(find(&router, &get("x", "/api/users/1")), Some(0));
    assert_eq!(find(&router, &get("x", "/api/orders")), Some(1));
    assert_eq!(find(&router, &get("x", "/static/app.js")), Some(2));
    // T23: the sources' plain prefix would take this one.
    assert_eq!(find(&router, &get("x", "/api/usersettings")), None);
}

#[test]
fn prefixes_end_at_a_segment_border() {
    // T23
    for (matcher, path, matches) in [
        (under("/api"), "/api", true),
        (under("/api"), "/api/", true),
        (under("/api"), "/api/x", true),
        (under("/api"), "/apix", false),
        (under("/api"), "/ap", false),
        (under("/api/"), "/api/", true),
        (under("/api/"), "/api/x", true),
        (under("/api/"), "/api", false),
        (under("/api/"), "/apix", false),
        (under("/"), "/", true),
        (under("/"), "/x", true),
        (begins("/api"), "/apix", true),
        (begins("/api"), "/api", true),
        (begins("/api/"), "/api", false),
        (begins("/"), "/x", true),
    ] {
        assert_eq!(
            takes(matcher.clone(), &get("x", path)),
            matches,
            "{matcher:?} {path}"
        );
    }
}
