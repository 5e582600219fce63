//! Tests of the router as a whole.

mod examples;
mod explained;
mod faults;
mod oracle;
mod random;
mod request_form;
mod semantics;
mod shadowed;
mod tls_facts;

use std::net::IpAddr;

use crate::{
    HostPattern, Matcher, PathPattern, RequestView, RouteFault, RouteSpec, Router, ValueTest,
};

/// A request that owns its parts.
#[derive(Debug, Clone)]
struct Request {
    listener: u16,
    method: String,
    scheme: &'static str,
    host: String,
    path: String,
    query: Option<String>,
    client: IpAddr,
    headers: Vec<(String, String)>,
}

impl Request {
    fn new(method: &str, host: &str, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self {
            listener: 0,
            method: method.to_owned(),
            scheme: "http",
            host: host.to_owned(),
            path: path.to_owned(),
            query,
            client: IpAddr::from([192, 0, 2, 1]),
            headers: Vec::new(),
        }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn view(&self) -> RequestView<'_> {
        RequestView {
            listener: self.listener,
            method: self.method.as_bytes(),
            scheme: self.scheme,
            host: self.host.as_bytes(),
            port: None,
            path: self.path.as_bytes(),
            query: self.query.as_deref().map(str::as_bytes),
            client: self.client,
            headers: &self.headers,
        }
    }
}

fn host(name: &str) -> Matcher {
    Matcher::Host(if name.starts_with('*') {
        HostPattern::Wildcard(name.to_owned())
    } else {
        HostPattern::Exact(name.to_owned())
    })
}

fn exact(path: &str) -> Matcher {
    Matcher::Path(PathPattern::Exact(path.to_owned()))
}

/// Prefix up to a segment border.
fn under(path: &str) -> Matcher {
    Matcher::Path(PathPattern::Prefix {
        path: path.to_owned(),
        segment: true,
    })
}

/// Plain prefix.
fn begins(path: &str) -> Matcher {
    Matcher::Path(PathPattern::Prefix {
        path: path.to_owned(),
        segment: false,
    })
}

fn glob(source: &str) -> Matcher {
    Matcher::Path(PathPattern::Glob(source.to_owned()))
}

fn regex(source: &str) -> Matcher {
    Matcher::Path(PathPattern::Regex(source.to_owned()))
}

fn method(names: &[&str]) -> Matcher {
    Matcher::Method(names.iter().map(|name| (*name).to_owned()).collect())
}

fn header(name: &str, test: ValueTest) -> Matcher {
    Matcher::Header {
        name: name.to_owned(),
        test,
    }
}

fn cookie(name: &str, test: ValueTest) -> Matcher {
    Matcher::Cookie {
        name: name.to_owned(),
        test,
    }
}

fn query(name: &str, test: ValueTest) -> Matcher {
    Matcher::Query {
        name: name.to_owned(),
        test,
    }
}

fn is(text: &str) -> ValueTest {
    ValueTest::Exact(text.to_owned())
}

fn all<const N: usize>(parts: [Matcher; N]) -> Matcher {
    Matcher::All(parts.into())
}

fn any<const N: usize>(parts: [Matcher; N]) -> Matcher {
    Matcher::Any(parts.into())
}

fn not(part: Matcher) -> Matcher {
    Matcher::Not(Box::new(part))
}

fn compile(matchers: impl IntoIterator<Item = Matcher>) -> Result<Router, Vec<RouteFault>> {
    let specs = matchers.into_iter().enumerate();
    Router::compile(
        specs
            .map(|(at, matcher)| RouteSpec {
                name: format!("route-{at}"),
                matcher,
            })
            .collect(),
    )
}

fn router(matchers: impl IntoIterator<Item = Matcher>) -> Router {
    compile(matchers).unwrap()
}

/// The route that both ways of looking give.
fn find(router: &Router, request: &Request) -> Option<usize> {
    let found = router.find(&request.view());
    assert_eq!(found, router.find_linear(&request.view()), "{request:?}");
    found
}

/// One matcher alone takes the request.
fn takes(matcher: Matcher, request: &Request) -> bool {
    find(&router([matcher]), request) == Some(0)
}
