//! Registry, handles and text format together.

use std::rc::Rc;

use keel_types::{ListenerId, PoolId, RouteId, ServerIndex};
use proptest::prelude::*;

use super::*;

fn names() -> Names {
    Names {
        listeners: vec!["web".into()],
        routes: vec!["api".into(), "rest".into()],
        pools: vec![
            PoolNames {
                name: "none".into(),
                servers: vec![],
            },
            PoolNames {
                name: "app".into(),
                servers: vec!["a".into(), "b".into()],
            },
            PoolNames {
                name: "other".into(),
                servers: vec!["a".into()],
            },
        ],
    }
}

fn rendered(registry: &Registry) -> String {
    let mut text = String::new();
    registry.render(&ScrapeSources::default(), &mut text);
    text
}

/// The value of one sample, by its whole name with labels.
fn sample(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(name).is_some_and(|v| v.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{name} in\n{text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn guards_hold_gauges_up_until_they_are_dropped() {
    let registry = Registry::new(&names(), 1);
    let worker = registry.worker(0);
    let route = worker.route(RouteId(0));
    let first = route.begin();
    let second = route.begin();
    let attempt = worker.server(PoolId(1), ServerIndex(1)).begin();
    let open = worker.listener(ListenerId(0)).accept();
    let text = rendered(&registry);
    assert_eq!(
        sample(&text, "evenkeel_route_in_flight_requests{route=\"api\"}"),
        2
    );
    assert_eq!(
        sample(
            &text,
            "evenkeel_server_in_flight_requests{pool=\"app\",server=\"b\"}"
        ),
        1
    );
    assert_eq!(
        sample(
            &text,
            "evenkeel_listener_open_connections{listener=\"web\"}"
        ),
        1
    );
    drop((first, attempt, open));
    assert_eq!(registry.route_totals(RouteId(0)).unwrap().in_flight, 1);
    drop(second);
    assert_eq!(registry.route_totals(RouteId(0)).unwrap().in_flight, 0);
    assert_eq!(
        registry
            .server_totals(PoolId(1), ServerIndex(1))
            .unwrap()
            .in_flight,
        0
    );
    let listener = registry.listener_totals(ListenerId(0)).unwrap();
    assert_eq!((listener.open, listener.accepted), (0, 1));
}

#[test]
fn abuse_of_http2_by_kind() {
    let registry = Registry::new(&names(), 2);
    for worker in 0..2 {
        let worker = registry.worker(worker);
        let abuse = keel_http2::H2Abuse::RapidReset;
        worker.listener(ListenerId(0)).http2_abuse(abuse);
    }
    let text = rendered(&registry);
    for (kind, count) in [("rapid_reset", 2), ("ping_flood", 0)] {
        let name = format!("evenkeel_http2_abuse_total{{listener=\"web\",kind=\"{kind}\"}}");
        assert_eq!(sample(&text, &name), count, "{name}");
    }
}

#[test]
fn what_is_counted_is_exported() {
    let registry = Registry::new(&names(), 2);
    let worker = registry.worker(1);
    worker.route(RouteId(1)).finish(200, 700);
    worker.route(RouteId(1)).finish(503, 40_000_000);
    worker.route(RouteId(1)).bytes(10, 20);
    worker.unrouted().finish(404, 1);
    let server = worker.server(PoolId(2), ServerIndex(0));
    server.connected(300);
    server.reused();
    server.answered(200, 600);
    server.failed(ErrorKind::Timeout);
    server.retried();
    server.bytes(1, 2);
    worker.pool(PoolId(0)).unavailable();
    worker.listener(ListenerId(0)).rejected(RejectReason::Limit);
    worker.listener(ListenerId(0)).request();
    worker.listener(ListenerId(0)).bad_request();
    worker.listener(ListenerId(0)).handshake(false);
    let text = rendered(&registry);
    let rows = [
        ("evenkeel_requests_total", 3),
        ("evenkeel_request_errors_total", 1),
        (
            "evenkeel_route_requests_total{route=\"rest\",class=\"2xx\"}",
            1,
        ),
        (
            "evenkeel_route_requests_total{route=\"rest\",class=\"5xx\"}",
            1,
        ),
        ("evenkeel_route_requests_total{route=\"\",class=\"4xx\"}", 1),
        (
            "evenkeel_route_requests_total{route=\"api\",class=\"2xx\"}",
            0,
        ),
        ("evenkeel_route_request_bytes_total{route=\"rest\"}", 10),
        ("evenkeel_route_response_bytes_total{route=\"rest\"}", 20),
        (
            "evenkeel_route_request_duration_seconds_bucket{route=\"rest\",le=\"0.0005\"}",
            0,
        ),
        (
            "evenkeel_route_request_duration_seconds_bucket{route=\"rest\",le=\"0.001\"}",
            1,
        ),
        (
            "evenkeel_route_request_duration_seconds_bucket{route=\"rest\",le=\"30\"}",
            1,
        ),
        (
            "evenkeel_route_request_duration_seconds_bucket{route=\"rest\",le=\"+Inf\"}",
            2,
        ),
        (
            "evenkeel_route_request_duration_seconds_count{route=\"rest\"}",
            2,
        ),
        ("evenkeel_pool_unavailable_requests_total{pool=\"none\"}", 1),
        (
            "evenkeel_server_requests_total{pool=\"other\",server=\"a\",class=\"2xx\"}",
            1,
        ),
        (
            "evenkeel_server_requests_total{pool=\"other\",server=\"a\",class=\"none\"}",
            1,
        ),
        (
            "evenkeel_server_errors_total{pool=\"other\",server=\"a\",kind=\"timeout\"}",
            1,
        ),
        (
            "evenkeel_server_connections_opened_total{pool=\"other\",server=\"a\"}",
            1,
        ),
        (
            "evenkeel_server_connections_reused_total{pool=\"other\",server=\"a\"}",
            1,
        ),
        (
            "evenkeel_server_retries_total{pool=\"other\",server=\"a\"}",
            1,
        ),
        (
            "evenkeel_server_response_bytes_total{pool=\"other\",server=\"a\"}",
            2,
        ),
        (
            "evenkeel_listener_connections_rejected_total{listener=\"web\",reason=\"limit\"}",
            1,
        ),
        ("evenkeel_listener_requests_total{listener=\"web\"}", 1),
        ("evenkeel_listener_bad_requests_total{listener=\"web\"}", 1),
        (
            "evenkeel_listener_handshakes_total{listener=\"web\",result=\"failed\"}",
            1,
        ),
        ("evenkeel_process_workers", 2),
    ];
    for (name, value) in rows {
        assert_eq!(sample(&text, name), value, "{name}");
    }
    assert!(text.contains("request_duration_seconds_sum{route=\"rest\"} 40.0007\n"));
    let totals = registry.server_totals(PoolId(2), ServerIndex(0)).unwrap();
    assert_eq!(
        (totals.finished(), totals.class(StatusClass::Success)),
        (2, 1)
    );
    assert_eq!(totals.first_byte.mean_us(), 600);
}

/// Names of the families in their order; fails on a line that stands in another family's.
fn families_of(text: &str) -> Vec<&str> {
    let mut families = Vec::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let metric = METRICS
                .iter()
                .find(|metric| metric.name == name)
                .expect(name);
            assert_eq!(metric.kind.name(), kind);
            families.push(name);
            current = name;
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name.starts_with(current), "{name} stands in {current}");
        }
    }
    families
}

#[test]
fn every_family_of_the_catalog_is_exported_once_and_well_formed() {
    let registry = Registry::new(&names(), 1);
    let logs = crate::log::LogWriter::start(Default::default(), Default::default()).unwrap();
    let up = |pool: PoolId, server: ServerIndex| (pool.0, server.0) == (1, 1);
    let sources = ScrapeSources {
        logs: Some(&logs),
        server_up: Some(&up),
        tls: &[TlsFigures {
            listener: "web".into(),
            expiries: vec![
                ("a.example".into(), 50),
                ("b\"".into(), -3),
                ("a.example".into(), 40),
            ],
            taken: 2,
            ocsp_failed: 1,
            ..TlsFigures::default()
        }],
        allocations: Some(7),
        config: Some(ConfigFigures {
            generation: 3,
            loaded_unix_ms: 1_700_000_000_250,
            reloads: [2, 1],
            changes: [4, 0],
            discoveries: 5,
            upgrades: [6, 8],
        }),
        server_checks: Some(&|_, server| (server.0 == 0).then_some([7, 2])),
        names: Some(NameFigures {
            answered: 9,
            failed: 4,
            names: 3,
            failing: 1,
        }),
    };
    let mut text = String::new();
    registry.render(&sources, &mut text);
    let families = families_of(&text);
    let expected: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(families, expected);
    assert!(text.contains("evenkeel_server_up{pool=\"app\",server=\"b\"} 1\n"));
    assert!(text.contains("evenkeel_server_up{pool=\"other\",server=\"a\"} 0\n"));
    let rows = [
        "evenkeel_config_generation 3\n",
        "evenkeel_config_loaded_timestamp_seconds 1700000000.250\n",
        "evenkeel_reloads_total{result=\"refused\"} 1\n",
        "evenkeel_changes_total{result=\"done\"} 4\n",
        "evenkeel_upgrades_total{result=\"failed\"} 8\n",
        "evenkeel_server_checks_total{pool=\"app\",server=\"a\",result=\"failed\"} 2\n",
        "evenkeel_tls_certificate_expiry_seconds{listener=\"web\",name=\"a.example\"} 40\n",
        "evenkeel_tls_certificate_expiry_seconds{listener=\"web\",name=\"b\\\"\"} -3\n",
        "evenkeel_tls_certificate_reloads_total{listener=\"web\",result=\"taken\"} 2\n",
        "evenkeel_tls_certificate_reloads_total{listener=\"web\",result=\"refused\"} 0\n",
        "evenkeel_tls_ocsp_fetches_total{listener=\"web\",result=\"failed\"} 1\n",
        "evenkeel_resolver_lookups_total{result=\"failed\"} 4\n",
        "evenkeel_resolver_names 3\n",
        "evenkeel_resolver_failing_names 1\n",
    ];
    for row in rows {
        assert!(text.contains(row), "{row}");
    }
    let mut seen = std::collections::HashSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            seen.insert(line.rsplit_once(' ').unwrap().0),
            "{line} twice"
        );
    }
}

#[test]
fn a_reload_carries_counts_of_names_that_stay() {
    let old = Registry::new(&names(), 1);
    let worker = old.worker(0);
    worker.route(RouteId(0)).finish(500, 1);
    worker.route(RouteId(1)).finish(200, 1);
    let in_flight = worker.route(RouteId(1)).begin();
    let mut changed = names();
    changed.routes = vec!["new".into(), "rest".into()];
    changed.pools.remove(0);
    let new = old.successor(&changed);
    assert_eq!(new.route_totals(RouteId(0)).unwrap().finished(), 0);
    assert_eq!(new.route_totals(RouteId(1)).unwrap().finished(), 1);
    assert_eq!(
        new.totals(),
        Totals {
            requests: 2,
            errors: 1
        }
    );
    // A request of the old configuration ends after the swap, on a worker that uses both.
    new.worker(0).route(RouteId(1)).finish(200, 1);
    worker.route(RouteId(1)).finish(200, 1);
    worker.server(PoolId(1), ServerIndex(0)).retried();
    drop(in_flight);
    let totals = new.route_totals(RouteId(1)).unwrap();
    assert_eq!((totals.finished(), totals.in_flight), (3, 0));
    assert_eq!(
        new.server_totals(PoolId(0), ServerIndex(0))
            .unwrap()
            .retries,
        1
    );
    assert_eq!(new.started_unix_ms(), old.started_unix_ms());
}

#[test]
fn unknown_positions_and_equal_names_are_harmless() {
    let mut doubled = names();
    doubled.routes = vec!["same".into(), "same".into()];
    let registry = Registry::new(&doubled, 1);
    let worker = registry.worker(0);
    worker.route(RouteId(0)).finish(200, 1);
    worker.route(RouteId(1)).finish(200, 1);
    worker.route(RouteId(7)).finish(200, 1);
    worker.server(PoolId(1), ServerIndex(2)).retried();
    worker.server(PoolId(9), ServerIndex(0)).retried();
    worker.listener(ListenerId(9)).request();
    worker.pool(PoolId(9)).unavailable();
    assert_eq!(registry.unrouted_totals().finished(), 1);
    assert_eq!(registry.route_totals(RouteId(1)).unwrap().finished(), 2);
    assert_eq!(registry.server_totals(PoolId(1), ServerIndex(2)), None);
    assert_eq!(
        registry
            .server_totals(PoolId(2), ServerIndex(0))
            .unwrap()
            .retries,
        0
    );
    let text = rendered(&registry);
    assert_eq!(
        text.matches("_in_flight_requests{route=\"same\"}").count(),
        1
    );
}

#[test]
fn large_families_export_only_what_was_used() {
    let mut many = names();
    many.routes = (0..2000).map(|n| format!("r{n}")).collect();
    let registry = Registry::new(&many, 1);
    registry.worker(0).route(RouteId(1234)).finish(200, 1);
    let text = rendered(&registry);
    let routes = text
        .lines()
        .filter(|l| l.starts_with("evenkeel_route_in_flight_requests{"));
    assert_eq!(routes.count(), 2);
    assert_eq!(
        sample(
            &text,
            "evenkeel_route_requests_total{route=\"r1234\",class=\"2xx\"}"
        ),
        1
    );
}

#[test]
fn handles_are_found_again() {
    let registry = Registry::new(&names(), 1);
    let worker = registry.worker(0);
    assert!(Rc::ptr_eq(
        worker.route(RouteId(1)),
        worker.route(RouteId(1))
    ));
    assert_eq!((worker.index(), worker.registry().workers()), (0, 1));
}

#[test]
fn classes_follow_the_status() {
    for (status, name) in [
        (0, "none"),
        (99, "none"),
        (101, "1xx"),
        (204, "2xx"),
        (304, "3xx"),
        (499, "4xx"),
        (599, "5xx"),
        (600, "none"),
        (u16::MAX, "none"),
    ] {
        assert_eq!(StatusClass::of(status).name(), name, "{status}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_bucket_is_the_first_whose_bound_is_not_below(us: u64, near in 0usize..15, by in -1i64..2) {
        for us in [us, us % 40_000_000, bucket_bounds_us()[near].saturating_add_signed(by)] {
            let expected = bucket_bounds_us().iter().position(|bound| us <= *bound);
            prop_assert_eq!(bucket_of_us(us), expected.unwrap_or(BUCKET_COUNT - 1));
        }
    }

    #[test]
    fn sums_are_those_of_all_workers(
        work in prop::collection::vec((0usize..3, 0u32..2, 0u16..700, 0u64..60_000_000), 0..200)
    ) {
        let registry = Registry::new(&names(), 3);
        std::thread::scope(|scope| {
            for n in 0..3 {
                let (registry, work) = (&registry, &work);
                scope.spawn(move || {
                    let worker = registry.worker(n);
                    for (_, route, status, us) in work.iter().filter(|(at, ..)| *at == n) {
                        let route = worker.route(RouteId(*route));
                        let _in_flight = route.begin();
                        route.finish(*status, *us);
                        route.bytes(*us, 1);
                    }
                });
            }
        });
        for route in 0..2 {
            let mine = work.iter().filter(|(_, r, ..)| *r == route);
            let totals = registry.route_totals(RouteId(route)).unwrap();
            let sum_us: u64 = mine.clone().map(|(.., us)| *us).sum();
            prop_assert_eq!(totals.finished(), mine.count() as u64);
            prop_assert_eq!(totals.duration.count(), totals.finished());
            prop_assert_eq!(totals.response_bytes, totals.finished());
            prop_assert_eq!((totals.duration.sum_us, totals.request_bytes), (sum_us, sum_us));
            prop_assert_eq!(totals.in_flight, 0);
        }
        let errors = work.iter().filter(|(_, _, status, _)| (500..600).contains(status)).count();
        prop_assert_eq!(
            registry.totals(),
            Totals { requests: work.len() as u64, errors: errors as u64 }
        );
    }

    #[test]
    fn label_values_never_break_the_line(name in "\\PC*|[\"\\\\\n\r{}]*") {
        let mut hostile = names();
        hostile.routes = vec![name.clone()];
        let registry = Registry::new(&hostile, 1);
        let text = rendered(&registry);
        let line = text.lines().find(|l| l.starts_with("evenkeel_route_in_flight_requests{route=") && !l.contains("route=\"\"}"));
        if name.is_empty() {
            prop_assert_eq!(line, None);
        } else {
            let value = line.unwrap().strip_prefix("evenkeel_route_in_flight_requests{route=\"").unwrap();
            let value = value.strip_suffix("\"} 0").unwrap();
            let mut back = String::new();
            let mut chars = value.chars();
            while let Some(c) = chars.next() {
                prop_assert_ne!(c, '"');
                back.push(match c {
                    '\\' => match chars.next().unwrap() { 'n' => '\n', other => other },
                    c => c,
                });
            }
            prop_assert_eq!(back, name);
        }
    }
}
