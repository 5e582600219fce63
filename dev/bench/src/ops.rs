//! The operations whose instructions are counted: head parse, framing, normalising, route, select, log line.
//!
//! Each one sets itself up and then does the same thing `count` times. Run with two counts under callgrind, the difference
//! is the cost of the operation alone, without start and set-up.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use keel_balance::{
    Algorithm, Ask, Balancer, EndpointSpec, EndpointState, HashScheme, IpHashMode,
    LEAST_TIME_PROBE_ONE_IN_DEFAULT, MAGLEV_TABLE_DEFAULT, Outcome, Selected, Tie, TimeFormula,
};
use keel_http::template::{Escape, Template, Var, Variables};
use keel_http::{
    HeadLimits, Method, NormalRequest, RequestHead, ResponseHead, frame_request, frame_response,
};
use keel_route::{Matcher, NoHeaders, PathPattern, RequestView, RouteSpec, Router};

use crate::document::Document;
use crate::wire;

/// The time at which everything happens, milliseconds.
const NOW_MS: u64 = 1_000;

/// An operation done so many times.
type Work = Box<dyn FnOnce(u64) -> Result<()>>;

const BROWSER: &[u8] = b"GET /assets/app.5f3a.js?v=12 HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\n\
    Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/\r\nConnection: keep-alive\r\n\
    Cookie: session=6c1e0b5a9d7f4e21; theme=dark\r\nSec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\n\
    Sec-Fetch-Site: same-origin\r\nCache-Control: no-cache\r\n\r\n";

/// Names of all operations, in the order of the table.
pub fn names() -> Vec<String> {
    all().into_iter().map(|(name, _)| name).collect()
}

/// Does one operation `count` times.
pub fn run(name: &str, count: u64) -> Result<()> {
    match all().into_iter().find(|(known, _)| known == name) {
        Some((_, work)) => work(count),
        None => bail!("no operation is called {name:?}"),
    }
}

fn all() -> Vec<(String, Work)> {
    let mut all: Vec<(String, Work)> = vec![
        named("head/parse/plain", |n| parse_request(&plain(), n)),
        named("head/parse/browser", |n| parse_request(BROWSER, n)),
        named("head/parse/answer", parse_answer),
        named("head/frame/browser", frame),
        named("head/frame/answer", frame_answer),
        named("head/normalise/browser", normalise),
        named("log/render", render_line),
        named("select/report", report),
    ];
    for routes in [1, 100, 10_000] {
        all.push((
            format!("route/find/{routes}"),
            Box::new(move |n| find_route(routes, n)),
        ));
    }
    for (name, algorithm) in algorithms() {
        for servers in [3, 1_000] {
            let work = move |n| select(algorithm, servers, n);
            all.push((format!("select/{name}/{servers}"), Box::new(work)));
        }
    }
    all
}

fn named(name: &str, work: impl FnOnce(u64) -> Result<()> + 'static) -> (String, Work) {
    (name.to_string(), Box::new(work))
}

fn plain() -> Vec<u8> {
    wire::get("/small", "bench.example", false)
}

fn parsed(bytes: &[u8]) -> Result<RequestHead> {
    let mut head = RequestHead::new();
    head.parse(bytes, &HeadLimits::default())?;
    Ok(head)
}

fn parse_request(bytes: &[u8], count: u64) -> Result<()> {
    let mut head = RequestHead::new();
    let limits = HeadLimits::default();
    for _ in 0..count {
        head.parse(black_box(bytes), &limits)?;
        black_box(&head);
    }
    Ok(())
}

fn parse_answer(count: u64) -> Result<()> {
    let bytes = Document::Small.answer();
    let mut head = ResponseHead::new();
    let limits = HeadLimits::default();
    for _ in 0..count {
        head.parse(black_box(&bytes), &limits)?;
        black_box(&head);
    }
    Ok(())
}

fn frame(count: u64) -> Result<()> {
    let head = parsed(BROWSER)?;
    for _ in 0..count {
        black_box(frame_request(black_box(&head), BROWSER)?);
    }
    Ok(())
}

fn frame_answer(count: u64) -> Result<()> {
    let bytes = Document::Small.answer();
    let mut head = ResponseHead::new();
    head.parse(&bytes, &HeadLimits::default())?;
    for _ in 0..count {
        black_box(frame_response(
            black_box(&head),
            &bytes,
            Method::Get,
            false,
        )?);
    }
    Ok(())
}

fn normalise(count: u64) -> Result<()> {
    let head = parsed(BROWSER)?;
    let mut normal = NormalRequest::new();
    for _ in 0..count {
        normal.read(black_box(&head), BROWSER)?;
        black_box(&normal);
    }
    Ok(())
}

/// Values as short as those of a small request.
struct Values;

impl Variables for Values {
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        let value: &[u8] = match var {
            Var::RemoteAddr => b"192.0.2.10",
            Var::TimeLocal => b"20/Nov/2026:12:00:00 +0000",
            Var::Request => b"GET /small HTTP/1.1",
            Var::Status => b"200",
            Var::BodyBytesSent => b"90",
            Var::Http(_) => b"keel-bench/0.1",
            _ => return false,
        };
        out.extend_from_slice(value);
        true
    }
}

fn render_line(count: u64) -> Result<()> {
    let text = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
                \"$http_referer\" \"$http_user_agent\"";
    let template = Template::parse(text)?;
    let mut out = Vec::with_capacity(1024);
    for _ in 0..count {
        out.clear();
        black_box(&template).render(&Values, &mut out, Escape::Log);
        black_box(&out);
    }
    Ok(())
}

fn find_route(routes: usize, count: u64) -> Result<()> {
    let spec = |route| {
        let path = format!("/svc-{route:05}/");
        let matcher = Matcher::Path(PathPattern::Prefix {
            path,
            segment: true,
        });
        RouteSpec {
            name: format!("svc-{route}"),
            matcher,
        }
    };
    let router = Router::compile((0..routes).map(spec).collect())
        .map_err(|faults| anyhow!("the routes do not compile: {faults:?}"))?;
    let paths: Vec<String> = (0..64)
        .map(|i| format!("/svc-{:05}/small", (i + 1) * routes / 64 % routes))
        .collect();
    for turn in 0..count {
        let view = RequestView {
            listener: 0,
            method: b"GET",
            scheme: "http",
            host: b"bench.example",
            port: None,
            path: paths[turn as usize % paths.len()].as_bytes(),
            query: None,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            headers: &NoHeaders,
        };
        if router.find(black_box(&view)).is_none() {
            bail!("a route was not found");
        }
    }
    Ok(())
}

fn algorithms() -> Vec<(&'static str, Algorithm)> {
    let hash = |scheme| Algorithm::Hash {
        scheme,
        bounded_load: None,
    };
    let (formula, probe_one_in) = (TimeFormula::default(), LEAST_TIME_PROBE_ONE_IN_DEFAULT);
    let maglev = HashScheme::Maglev {
        table_size: MAGLEV_TABLE_DEFAULT,
    };
    vec![
        ("round_robin", Algorithm::RoundRobin),
        ("weighted", Algorithm::WeightedRoundRobin { burst: false }),
        ("random", Algorithm::Random),
        ("weighted_random", Algorithm::WeightedRandom),
        (
            "least_conn",
            Algorithm::LeastConn {
                tie: Tie::default(),
            },
        ),
        (
            "least_time",
            Algorithm::LeastTime {
                formula,
                probe_one_in,
            },
        ),
        ("power_of_two", Algorithm::PowerOfTwo),
        ("ip_hash", Algorithm::IpHash(IpHashMode::Consistent)),
        ("ip_hash_modulo", Algorithm::IpHash(IpHashMode::Modulo)),
        ("hash_ring", hash(HashScheme::default())),
        ("hash_rendezvous", hash(HashScheme::Rendezvous)),
        ("hash_maglev", hash(maglev)),
        (
            "hash_bounded",
            Algorithm::Hash {
                scheme: HashScheme::default(),
                bounded_load: Some(1.25),
            },
        ),
    ]
}

/// A pool whose servers have been measured already.
fn pool(algorithm: Algorithm, servers: usize) -> Result<Balancer> {
    let weighted = matches!(
        algorithm,
        Algorithm::WeightedRoundRobin { .. } | Algorithm::WeightedRandom
    );
    let endpoint = |index: usize| {
        let weight = if weighted { (index % 5 + 1) as u32 } else { 1 };
        let spec = EndpointSpec::new(format!("10.0.{}.{}:80", index / 250, index % 250));
        (spec.weight(weight), Arc::new(EndpointState::new()))
    };
    let balancer = Balancer::new(algorithm, (0..servers).map(endpoint).collect())?;
    for index in 0..servers {
        balancer
            .state(index)
            .record_response(900 + index as u64 % 200, NOW_MS);
    }
    Ok(balancer)
}

/// A small generator of numbers, always the same.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Select and release, with 64 requests in flight as under load.
fn select(algorithm: Algorithm, servers: usize, count: u64) -> Result<()> {
    let balancer = pool(algorithm, servers)?;
    let mut in_flight: Vec<Option<Selected>> = (0..64).map(|_| None).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15;
    for turn in 0..count {
        next_random(&mut random);
        let ask = Ask {
            hash: Some(random.rotate_left(32)),
            client: Some(IpAddr::V4(Ipv4Addr::from(
                0x0a00_0000 | (random as u32 & 0xffff),
            ))),
            ..Ask::at(NOW_MS, random)
        };
        in_flight[turn as usize % 64] = Some(balancer.select(black_box(&ask))?);
    }
    Ok(())
}

/// What is noted after each answer.
fn report(count: u64) -> Result<()> {
    let balancer = pool(Algorithm::RoundRobin, 3)?;
    for turn in 0..count {
        let (index, now_ms) = (turn as usize % 3, NOW_MS + turn / 64);
        balancer
            .state(index)
            .record_response(black_box(900 + turn % 200), now_ms);
        black_box(balancer.report(index, Outcome::Success, now_ms));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_runs_and_has_a_name_of_its_own() {
        let names = names();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
            if !name.ends_with("/10000") {
                run(name, 100).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            }
        }
        assert!(run("no/such", 1).is_err());
    }
}
