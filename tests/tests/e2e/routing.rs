//! Which route takes a request.

use keel_testkit::{Answer, Ask, Origin, Proxy};

/// A proxy whose routes answer with their own name; `rest` is the last one.
fn named_routes(matchers: &[(&str, &str)]) -> Proxy {
    named_routes_with(matchers, "")
}

fn named_routes_with(matchers: &[(&str, &str)], more: &str) -> Proxy {
    let mut config = "listeners: { web: { bind: \"127.0.0.1:0\" }, other: { bind: \"127.0.0.1:0\" } }\nroutes:\n".to_owned();
    for (name, matcher) in matchers {
        config.push_str(&format!(
            "  - {{ name: {name}, match: {matcher}, respond: {{ status: 200, body: {name} }} }}\n"
        ));
    }
    config.push_str("  - { name: rest, respond: { status: 200, body: rest } }\n");
    config.push_str(more);
    Proxy::start(&config)
}

#[track_caller]
fn takes(answer: Answer, route: &str) {
    assert_eq!(answer.expect(200).text(), route);
}

#[test]
fn hosts_exact_wildcard_and_with_any_port() {
    let proxy = named_routes(&[
        ("exact", "{ host: api.example.com }"),
        ("list", "{ host: [one.example, two.example] }"),
        ("wild", "{ host: \"*.example.com\" }"),
    ]);
    for (host, route) in [
        ("api.example.com", "exact"),
        ("API.Example.COM", "exact"),
        ("api.example.com:8443", "exact"),
        ("api.example.com.", "exact"),
        ("two.example", "list"),
        ("a.example.com", "wild"),
        ("a.b.example.com", "wild"),
        ("example.com", "rest"),
        ("evilexample.com", "rest"),
        ("api.example.com.evil", "rest"),
    ] {
        takes(proxy.ask("/").host(host).send(), route);
    }
}

#[test]
fn the_host_of_an_absolute_target_counts() {
    let proxy = named_routes(&[("api", "{ host: api.example.com }")]);
    takes(
        proxy
            .ask("http://api.example.com/x")
            .host("other.example")
            .send(),
        "api",
    );
    takes(
        proxy
            .ask("http://other.example/x")
            .host("api.example.com")
            .send(),
        "rest",
    );
}

#[test]
fn paths_by_segment_exact_glob_and_regex() {
    let proxy = named_routes(&[
        ("exact", "{ path: { exact: /api/exact } }"),
        ("glob", "{ path: { glob: \"/files/*/meta\" } }"),
        ("regex", "{ path: { regex: \"^/v[0-9]+/\" } }"),
        ("plain", "{ path: { prefix: /img, segment: false } }"),
        ("prefix", "{ path: /api }"),
        ("slash", "{ path: /static/ }"),
    ]);
    for (path, route) in [
        ("/api/exact", "exact"),
        ("/api/exact/", "prefix"),
        ("/api", "prefix"),
        ("/api/", "prefix"),
        ("/api/x?y", "prefix"),
        ("/apix", "rest"),
        ("/files/a/meta", "glob"),
        ("/files/a/b/meta", "rest"),
        ("/v12/x", "regex"),
        ("/x/v1/", "rest"),
        ("/imgx/a", "plain"),
        ("/static/a", "slash"),
        ("/staticx", "rest"),
    ] {
        takes(proxy.get(path), route);
    }
}

#[test]
fn paths_are_matched_in_normal_form() {
    let proxy = named_routes(&[("admin", "{ path: /admin/ }")]);
    for path in [
        "/admin/x",
        "/%61dmin/x",
        "/a/../admin/x",
        "/./admin/x",
        "//admin/x",
        "/admin//x",
    ] {
        takes(proxy.get(path), "admin");
    }
    takes(proxy.get("/x?/admin/"), "rest");
}

#[test]
fn paths_that_try_to_hide_are_refused() {
    let proxy = named_routes(&[("admin", "{ path: /admin/ }")]);
    for path in [
        "/x/..%2fadmin/",
        "/../x",
        "/x%00",
        "/x\\admin",
        "/%zz",
        "/%2e%2e/%2e%2e/x",
    ] {
        assert_eq!(proxy.get(path).status(), 400, "{path}");
    }
}

#[test]
fn methods_headers_cookies_and_query() {
    let proxy = named_routes(&[
        ("method", "{ method: [PUT, DELETE] }"),
        ("header", "{ header: { X-Tenant: acme } }"),
        ("present", "{ header: { X-Debug: { present: true } } }"),
        ("prefix", "{ header: { User-Agent: { prefix: Mobile } } }"),
        ("cookie", "{ cookie: { session: { regex: \"^adm\" } } }"),
        ("query", "{ query: { v: \"2\", mode: { contains: fast } } }"),
    ]);
    let address = proxy.address();
    takes(Ask::new(address, "DELETE", "/").send(), "method");
    takes(
        Ask::get(address, "/").with("x-tenant", "acme").send(),
        "header",
    );
    takes(
        Ask::get(address, "/").with("X-Tenant", "acme2").send(),
        "rest",
    );
    takes(Ask::get(address, "/").with("X-Debug", "").send(), "present");
    takes(
        Ask::get(address, "/")
            .with("User-Agent", "Mobile Safari")
            .send(),
        "prefix",
    );
    takes(
        Ask::get(address, "/")
            .with("Cookie", "a=b; session=admin")
            .send(),
        "cookie",
    );
    takes(
        Ask::get(address, "/")
            .with("Cookie", "a=session; b=admin")
            .send(),
        "rest",
    );
    takes(Ask::get(address, "/?v=2&mode=breakfast").send(), "query");
    takes(Ask::get(address, "/?v=2").send(), "rest");
}

#[test]
fn client_networks_and_listeners() {
    let more = "trusted_proxies: [127.0.0.0/8]\n";
    let proxy = named_routes_with(
        &[
            ("inside", "{ client: [10.0.0.0/8, \"2001:db8::/32\"] }"),
            ("second", "{ listener: other }"),
        ],
        more,
    );
    takes(
        proxy.ask("/").with("X-Forwarded-For", "10.1.2.3").send(),
        "inside",
    );
    takes(
        proxy.ask("/").with("X-Forwarded-For", "2001:db8::1").send(),
        "inside",
    );
    takes(
        proxy.ask("/").with("X-Forwarded-For", "11.1.2.3").send(),
        "rest",
    );
    takes(Ask::get(proxy.listener("other"), "/").send(), "second");
}

#[test]
fn all_any_and_not() {
    let proxy = named_routes(&[
        ("both", "{ all: [ { path: /a }, { header: { X: y } } ] }"),
        (
            "either",
            "{ any: [ { path: /b }, { query: { b: { present: true } } } ] }",
        ),
        ("neither", "{ path: /c, not: { header: { X: y } } }"),
    ]);
    takes(proxy.ask("/a").with("X", "y").send(), "both");
    takes(proxy.get("/a"), "rest");
    takes(proxy.get("/b"), "either");
    takes(proxy.get("/?b"), "either");
    takes(proxy.get("/c"), "neither");
    takes(proxy.ask("/c").with("X", "y").send(), "rest");
}

#[test]
fn the_first_route_of_the_file_wins() {
    let proxy = named_routes(&[
        ("first", "{ path: /a/b }"),
        ("second", "{ path: /a }"),
        ("third", "{ host: test.example }"),
        ("fourth", "{ path: /a/c }"),
    ]);
    takes(proxy.get("/a/b/c"), "first");
    takes(proxy.get("/a/c"), "second");
    takes(proxy.get("/b"), "third");
}

#[test]
fn ten_thousand_routes_are_told_apart() {
    let mut config = "listeners: { web: { bind: \"127.0.0.1:0\" } }\nroutes:\n".to_owned();
    for n in 0..10_000 {
        let (host, path) = (n % 100, n / 100);
        config.push_str(&format!(
            "  - {{ name: r{n}, match: {{ host: h{host}.example, path: /p{path}/ }}, respond: {{ body: \"{n}\" }} }}\n"
        ));
    }
    let proxy = Proxy::start(&config);
    for n in [0, 1, 99, 100, 5050, 9999] {
        let answer = proxy
            .ask(&format!("/p{}/x", n / 100))
            .host(&format!("h{}.example", n % 100));
        assert_eq!(answer.send().text(), n.to_string());
    }
    assert_eq!(proxy.get("/p1/x").status(), 404);
}

#[test]
fn pools_by_path_as_in_the_examples() {
    let [users, orders, files] = ["users", "orders", "static"].map(Origin::named);
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes:\n\
         \x20 - {{ match: {{ path: /api/users }}, pool: users }}\n\
         \x20 - {{ match: {{ path: /api/orders }}, pool: orders }}\n\
         \x20 - {{ match: {{ path: /static }}, pool: static }}\n\
         pools:\n\
         \x20 users: {{ servers: [\"{}\"] }}\n\x20 orders: {{ servers: [\"{}\"] }}\n\x20 static: {{ servers: [\"{}\"] }}\n",
        users.address(),
        orders.address(),
        files.address()
    ));
    for (path, origin) in [
        ("/api/users/7", "users"),
        ("/api/orders", "orders"),
        ("/static/a.css", "static"),
    ] {
        assert_eq!(proxy.get(path).expect(200).origin(), origin);
    }
    proxy.get("/api/other").expect_error(404, "No-Route");
}
