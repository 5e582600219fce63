//! Looking for a route takes no memory from the heap.

use std::net::IpAddr;

use keel_route::{
    HeaderSource, HostPattern, Matcher, PathPattern, RequestView, RouteSpec, Router, ValueTest,
};

struct Headers;

impl HeaderSource for Headers {
    fn each(&self, name: &[u8], f: &mut dyn FnMut(&[u8]) -> bool) {
        match name {
            b"x-tenant" => drop(f(b"t7")),
            b"cookie" => drop(f(b"a=1; session=abc")),
            _ => {}
        }
    }
}

fn matchers() -> Vec<Matcher> {
    let value = |text: &str| ValueTest::Exact(text.to_owned());
    let mut matchers = Vec::new();
    for at in 0..200 {
        let path = format!("/a/{at}");
        let never = Matcher::Header {
            name: "x-no".to_owned(),
            test: ValueTest::Present,
        };
        matchers.push(Matcher::Header {
            name: "x-tenant".to_owned(),
            test: value(&format!("n{at}")),
        });
        matchers.push(Matcher::Cookie {
            name: "session".to_owned(),
            test: value(&format!("n{at}")),
        });
        matchers.push(Matcher::Query {
            name: "q".to_owned(),
            test: value(&format!("n {at}")),
        });
        matchers.push(Matcher::All(vec![
            Matcher::Host(HostPattern::Wildcard("*.example.com".to_owned())),
            Matcher::Path(PathPattern::Prefix {
                path,
                segment: true,
            }),
            never.clone(),
        ]));
        matchers.push(Matcher::All(vec![
            Matcher::Path(PathPattern::Regex(format!("^/a/{at}?[0-9]+/(b|c)$"))),
            never.clone(),
        ]));
        matchers.push(Matcher::All(vec![
            Matcher::Path(PathPattern::Glob(format!("/**/{at}/*"))),
            never,
        ]));
    }
    matchers.push(Matcher::Query {
        name: "q".to_owned(),
        test: ValueTest::Regex("^x y+".to_owned()),
    });
    matchers
}

#[test]
fn find_takes_no_memory() {
    let specs = matchers().into_iter().map(|matcher| RouteSpec {
        name: String::new(),
        matcher,
    });
    let router = Router::compile(specs.collect()).unwrap();
    for (path, query, found) in [
        (&b"/a/7/b"[..], Some(&b"q=x+y%79"[..]), true),
        (b"/a/7/b", None, false),
        (b"/elsewhere", Some(b"q=n"), false),
    ] {
        let view = RequestView {
            listener: 0,
            method: b"GET",
            scheme: "http",
            host: b"a.example.com",
            port: None,
            path,
            query,
            client: IpAddr::from([192, 0, 2, 1]),
            headers: &Headers,
        };
        let mut route = None;
        let counted = allocation_counter::measure(|| route = router.find(&view));
        assert_eq!(route.is_some(), found);
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
}
