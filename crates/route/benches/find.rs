//! Hand-run: nanoseconds per `find` over growing route tables.
//!
//! `cargo bench -p keel-route`. Each cell is the best of several rounds over a few thousand different requests in random
//! order, most of which hit a route somewhere in the table; the linear column shows what trying all routes would cost.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use keel_route::{
    HeaderSource, HostPattern, Matcher, PathPattern, RequestView, RouteSpec, Router, ValueTest,
};

const SIZES: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const REQUESTS: usize = 4_096;
const ROUNDS: usize = 9;

/// A typical browser's worth of header fields, compared by name as a head does.
struct Headers {
    tenant: String,
}

impl HeaderSource for Headers {
    fn each(&self, name: &[u8], f: &mut dyn FnMut(&[u8]) -> bool) {
        const FIELDS: [(&[u8], &[u8]); 8] = [
            (b"Host", b"h1.example.com"),
            (
                b"User-Agent",
                b"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
            ),
            (
                b"Accept",
                b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            ),
            (b"Accept-Language", b"en-US,en;q=0.5"),
            (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
            (b"Connection", b"keep-alive"),
            (b"Cookie", b"session=abc123; theme=dark"),
            (b"Upgrade-Insecure-Requests", b"1"),
        ];
        for (field, value) in FIELDS {
            if field.eq_ignore_ascii_case(name) && f(value) {
                return;
            }
        }
        if name == b"x-tenant" {
            f(self.tenant.as_bytes());
        }
    }
}

/// The n-th of `size` routes and a request for it.
struct Mix {
    name: &'static str,
    route: fn(usize, usize) -> Matcher,
    host: fn(usize) -> String,
    path: fn(usize) -> String,
}

fn host(name: String) -> Matcher {
    Matcher::Host(if name.starts_with('*') {
        HostPattern::Wildcard(name)
    } else {
        HostPattern::Exact(name)
    })
}

fn under(path: String) -> Matcher {
    Matcher::Path(PathPattern::Prefix {
        path,
        segment: true,
    })
}

fn get() -> Matcher {
    Matcher::Method(vec!["GET".to_owned()])
}

fn tenant(at: usize) -> Matcher {
    let test = ValueTest::Exact(format!("tenant-{at}"));
    Matcher::Header {
        name: "X-Tenant".to_owned(),
        test,
    }
}

fn h(at: usize) -> String {
    format!("h{at}.example.com")
}

fn p(at: usize) -> String {
    format!("/service-{at}/v1")
}

/// Hosts, prefixes, wildcards, globs, expressions, methods and headers in turn.
fn mixed(at: usize) -> Matcher {
    match at % 8 {
        0 => host(h(at)),
        1 => Matcher::All(vec![host(h(at)), under(p(at))]),
        2 => Matcher::All(vec![host(format!("*.w{at}.example.com")), get()]),
        3 => under(p(at)),
        4 => Matcher::All(vec![under(p(at)), get(), tenant(at)]),
        5 => Matcher::Path(PathPattern::Regex(format!("^/service-{at}/v[0-9]+/"))),
        6 => Matcher::Path(PathPattern::Glob(format!("/service-{at}/*/x"))),
        _ => Matcher::All(vec![
            Matcher::Any(vec![host(h(at)), host(format!("www.{}", h(at)))]),
            Matcher::Not(Box::new(under("/internal".to_owned()))),
        ]),
    }
}

fn mixed_host(at: usize) -> String {
    if at % 8 == 2 {
        format!("a.w{at}.example.com")
    } else {
        h(at)
    }
}

fn one_host(_: usize) -> String {
    h(1)
}

fn deep_path(at: usize) -> String {
    format!("{}/x/y", p(at))
}

const MIXES: &[Mix] = &[
    Mix {
        name: "exact hosts",
        route: |at, _| host(h(at)),
        host: h,
        path: deep_path,
    },
    Mix {
        name: "prefixes, one host",
        route: |at, _| Matcher::All(vec![host(h(1)), under(p(at))]),
        host: one_host,
        path: deep_path,
    },
    Mix {
        name: "prefixes, no host",
        route: |at, _| under(p(at)),
        host: h,
        path: deep_path,
    },
    Mix {
        name: "wildcard hosts",
        route: |at, _| host(format!("*.h{at}.example.com")),
        host: |at| format!("a.b.h{at}.example.com"),
        path: deep_path,
    },
    Mix {
        name: "host+prefix+method",
        route: |at, _| Matcher::All(vec![host(h(at)), under(p(at)), get()]),
        host: h,
        path: deep_path,
    },
    Mix {
        name: "prefix+header present",
        route: |at, _| {
            let name = "Accept".to_owned();
            Matcher::All(vec![
                under(p(at)),
                Matcher::Header {
                    name,
                    test: ValueTest::Present,
                },
            ])
        },
        host: h,
        path: deep_path,
    },
    Mix {
        name: "tenant header",
        route: |at, _| tenant(at),
        host: h,
        path: deep_path,
    },
    Mix {
        name: "anchored regexes",
        route: |at, _| Matcher::Path(PathPattern::Regex(format!("^/service-{at}/v[0-9]+/"))),
        host: h,
        path: deep_path,
    },
    Mix {
        name: "all kinds",
        route: |at, _| mixed(at),
        host: mixed_host,
        path: deep_path,
    },
    Mix {
        name: "catch-all first",
        route: |at, _| if at == 0 { Matcher::Always } else { mixed(at) },
        host: mixed_host,
        path: deep_path,
    },
    Mix {
        name: "catch-all last",
        route: |at, size| {
            if at + 1 == size {
                Matcher::Always
            } else {
                mixed(at)
            }
        },
        host: mixed_host,
        path: deep_path,
    },
    Mix {
        name: "no route matches",
        route: |at, _| mixed(at),
        host: |_| "other.example.org".to_owned(),
        path: |_| "/service/none/of/them".to_owned(),
    },
    Mix {
        name: "unindexable (not)",
        route: |at, size| {
            if at + 1 == size {
                Matcher::Always
            } else {
                Matcher::Not(Box::new(Matcher::Any(vec![
                    under("/".to_owned()),
                    host(h(at)),
                ])))
            }
        },
        host: h,
        path: deep_path,
    },
];

struct Request {
    host: String,
    path: String,
    headers: Headers,
}

impl Request {
    fn view(&self) -> RequestView<'_> {
        RequestView {
            listener: 0,
            method: b"GET",
            scheme: "http",
            host: self.host.as_bytes(),
            port: None,
            path: self.path.as_bytes(),
            query: None,
            client: IpAddr::from([192, 0, 2, 1]),
            headers: &self.headers,
        }
    }
}

fn measure(requests: &[Request], find: impl Fn(&RequestView<'_>) -> Option<usize>) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for request in requests {
            black_box(find(black_box(&request.view())));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / requests.len() as f64);
    }
    best
}

fn main() {
    print!("{:<24}", "ns per find; routes:");
    SIZES.iter().for_each(|size| print!("{size:>9}"));
    println!("{:>12}{:>12}{:>8}", "linear 1k", "build 10k", "hit %");
    for mix in MIXES {
        print!("{:<24}", mix.name);
        let mut linear = 0.0;
        let mut built = 0.0;
        let mut hits = 0;
        for size in SIZES {
            let spec = |at| RouteSpec {
                name: String::new(),
                matcher: (mix.route)(at, size),
            };
            let specs: Vec<_> = (0..size).map(spec).collect();
            let start = Instant::now();
            let router = Router::compile(specs).expect("the routes of the bench are right");
            built = start.elapsed().as_secs_f64() * 1e3;
            // A full-period step spreads the requests over the table without an order that caches could follow.
            let requests: Vec<_> = (0..REQUESTS)
                .map(|at| at.wrapping_mul(2_654_435_761) % size)
                .map(|at| Request {
                    host: (mix.host)(at),
                    path: (mix.path)(at),
                    headers: Headers {
                        tenant: format!("tenant-{at}"),
                    },
                })
                .collect();
            let nanos = measure(&requests, |view| router.find(view));
            print!("{nanos:>9.0}");
            if size == 1_000 {
                linear = measure(&requests[..64], |view| router.find_linear(view));
            }
            hits = requests
                .iter()
                .filter(|request| router.find(&request.view()).is_some())
                .count();
        }
        println!("{linear:>12.0}{built:>9.0} ms{:>8}", hits * 100 / REQUESTS);
    }
}
