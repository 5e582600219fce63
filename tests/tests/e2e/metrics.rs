//! Prometheus metrics, read by a strict reader of the text format.

use std::collections::{BTreeMap, BTreeSet};

use keel_testkit::wait::until_true;
use keel_testkit::{Ask, Origin, Proxy, get};

/// Samples by name with labels.
fn scrape(proxy: &Proxy) -> BTreeMap<String, f64> {
    let answer = get(proxy.admin(), "/metrics").expect(200);
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(
        kind.starts_with("text/plain") && kind.contains("0.0.4"),
        "{kind}"
    );
    parse(&answer.text())
}

/// Every sample belongs to a family with HELP and TYPE, names are legal, nothing comes twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(rest.split(' ').next()), "twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(families.insert(name, kind).is_none(), "twice: {line}");
            assert!(helped.contains(&Some(name)), "no HELP: {line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a sample and a value");
            let value: f64 = value
                .parse()
                .unwrap_or_else(|_| panic!("no number: {line}"));
            let name = series.split('{').next().unwrap_or_default();
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                "{line}"
            );
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| {
                    name.strip_suffix(end)
                        .filter(|name| families.get(name) == Some(&"histogram"))
                })
                .unwrap_or(name);
            assert!(families.contains_key(family), "no TYPE: {line}");
            assert!(
                samples.insert(series.to_owned(), value).is_none(),
                "twice: {line}"
            );
        }
    }
    samples
}

fn sum(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let mine = samples.iter().filter(|(series, _)| {
        series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
    });
    mine.map(|(_, value)| value).sum()
}

/// After the six requests of the test: metric, labels, value.
const COUNTED: &[(&str, &[&str], f64)] = &[
    (
        "evenkeel_route_requests_total",
        &["route=\"api\"", "class=\"2xx\""],
        2.0,
    ),
    (
        "evenkeel_route_requests_total",
        &["route=\"api\"", "class=\"4xx\""],
        1.0,
    ),
    (
        "evenkeel_route_requests_total",
        &["route=\"api\"", "class=\"5xx\""],
        1.0,
    ),
    (
        "evenkeel_route_requests_total",
        &["route=\"rest\"", "class=\"2xx\""],
        1.0,
    ),
    (
        "evenkeel_route_requests_total",
        &["route=\"\"", "class=\"4xx\""],
        1.0,
    ),
    (
        "evenkeel_server_requests_total",
        &["pool=\"app\"", "server=\"a\"", "class=\"2xx\""],
        3.0,
    ),
    ("evenkeel_request_errors_total", &[], 1.0),
    (
        "evenkeel_listener_connections_accepted_total",
        &["listener=\"web\""],
        6.0,
    ),
    (
        "evenkeel_route_request_duration_seconds_count",
        &["route=\"api\""],
        4.0,
    ),
    (
        "evenkeel_server_first_byte_duration_seconds_count",
        &["server=\"a\""],
        5.0,
    ),
];

#[test]
fn requests_are_counted_by_route_pool_server_and_class() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ name: api, match: {{ path: /status }}, pool: app }}, {{ name: rest, match: {{ path: /rest }}, pool: app }} ]\n\
         pools: {{ app: {{ servers: [ {{ name: a, address: \"{}\" }} ] }} }}\n",
        origin.address()
    ));
    for path in [
        "/status/200",
        "/status/200",
        "/status/404",
        "/status/500",
        "/rest",
        "/none",
    ] {
        proxy.get(path);
    }
    until_true("all are counted", || {
        sum(&scrape(&proxy), "evenkeel_requests_total", &[]) == 6.0
    });
    let samples = scrape(&proxy);
    for (name, labels, count) in COUNTED {
        assert_eq!(sum(&samples, name, labels), *count, "{name} {labels:?}");
    }
}

#[test]
fn in_flight_goes_up_and_comes_down() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let mut wire = proxy.wire();
    wire.send("GET /delay/500 HTTP/1.1\r\nHost: a\r\n\r\n");
    let in_flight = || {
        let samples = scrape(&proxy);
        let route = sum(&samples, "evenkeel_route_in_flight_requests", &[]);
        let server = sum(&samples, "evenkeel_server_in_flight_requests", &[]);
        let open = sum(
            &samples,
            "evenkeel_listener_open_connections",
            &["listener=\"web\""],
        );
        (route, server, open)
    };
    until_true("one is in flight", || in_flight() == (1.0, 1.0, 1.0));
    wire.answer().expect(200);
    drop(wire);
    until_true("none is in flight", || in_flight() == (0.0, 0.0, 0.0));
}

#[test]
fn bytes_are_counted() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    Ask::post(proxy.address(), "/", vec![b'x'; 100_000])
        .send()
        .expect(200);
    proxy.get("/bytes/200000").expect(200);
    until_true("bytes are counted", || {
        let samples = scrape(&proxy);
        let taken = sum(&samples, "evenkeel_route_request_bytes_total", &[]);
        let given = sum(&samples, "evenkeel_route_response_bytes_total", &[]);
        (100_000.0..110_000.0).contains(&taken) && (200_000.0..310_000.0).contains(&given)
    });
}

#[test]
fn what_clients_send_never_becomes_a_label() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    let before: Vec<String> = scrape(&proxy).into_keys().collect();
    for n in 0..20 {
        Ask::new(proxy.address(), &format!("M{n}"), &format!("/p{n}"))
            .host(&format!("h{n}.example"))
            .send();
    }
    until_true("all are counted", || {
        sum(&scrape(&proxy), "evenkeel_requests_total", &[]) == 20.0
    });
    let after: Vec<String> = scrape(&proxy).into_keys().collect();
    assert!(
        after.len() <= before.len() + 20,
        "{} series became {}",
        before.len(),
        after.len()
    );
    assert!(
        !after
            .iter()
            .any(|series| series.contains("h1.example") || series.contains("M1\""))
    );
}

#[test]
fn failures_of_a_server_are_counted_by_kind() {
    let mut origin = Origin::echo();
    let proxy = Proxy::before_with(&[origin.address()], "max_fails: 0", "");
    origin.stop();
    proxy.get("/");
    until_true("the failure is counted", || {
        sum(
            &scrape(&proxy),
            "evenkeel_server_errors_total",
            &["kind=\"connect\""],
        ) >= 1.0
    });
}

#[test]
fn histograms_are_cumulative() {
    let origin = Origin::echo();
    let proxy = Proxy::before(&[origin.address()]);
    proxy.get("/delay/30").expect(200);
    until_true("it is counted", || {
        sum(&scrape(&proxy), "evenkeel_requests_total", &[]) == 1.0
    });
    let samples = scrape(&proxy);
    let mut buckets: Vec<(f64, f64)> = samples
        .iter()
        .filter(|(series, _)| {
            series.starts_with("evenkeel_route_request_duration_seconds_bucket{route=\"all\"")
        })
        .map(|(series, count)| {
            let le = series
                .split("le=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            (
                le.and_then(|le| le.replace("+Inf", "inf").parse().ok())
                    .expect("a bound"),
                *count,
            )
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(
        buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
        "{buckets:?}"
    );
    assert_eq!(buckets.last().copied(), Some((f64::INFINITY, 1.0)));
    let below = buckets
        .iter()
        .filter(|(le, _)| *le < 0.029)
        .map(|(_, count)| *count)
        .sum::<f64>();
    assert_eq!(below, 0.0, "it took 30 ms: {buckets:?}");
}
