//! Checks by the gRPC health protocol.

use keel_testkit::{H2Origin, H2Reply, Origin};
use keel_upstream::check::Probe;

use crate::tools::{fault, passes};

fn probe(service: &str) -> Probe {
    Probe::Grpc {
        service: service.to_owned(),
        host: None,
    }
}

fn answer(status: u8) -> H2Reply {
    H2Reply::new(200)
        .with("content-type", "application/grpc")
        .body([0, 0, 0, 0, 2, 8, status])
        .trailers(&[("grpc-status", "0")])
}

fn health_of(answer: impl Fn(&str) -> H2Reply + Send + Sync + 'static) -> Origin {
    H2Origin::new("grpc").answering(move |seen| {
        assert_eq!(seen.path(), "/grpc.health.v1.Health/Check");
        assert_eq!(seen.method(), "POST");
        assert_eq!(seen.header("te").as_deref(), Some("trailers"));
        assert_eq!(
            seen.header("content-type").as_deref(),
            Some("application/grpc")
        );
        let service = seen.body.get(7..).unwrap_or_default();
        answer(std::str::from_utf8(service).unwrap())
    })
}

#[tokio::test]
async fn serving_passes_and_all_else_fails() {
    let origin = health_of(|service| match service {
        "" | "app.Orders" => answer(1),
        "app.Stopped" => answer(2),
        "app.Odd" => answer(0).body([0, 0, 0, 0, 0]),
        "app.Cut" => answer(1).body([0, 0, 0, 0, 9, 8, 1]),
        "app.Silent" => answer(1).trailers(&[]),
        _ => H2Reply::new(200)
            .with("content-type", "application/grpc")
            .with("grpc-status", "5")
            .with("grpc-message", "unknown%20service"),
    });
    for service in ["", "app.Orders"] {
        passes(probe(service), origin.address()).await;
    }
    for (service, says) in [
        ("app.Stopped", "gRPC health is 2, not SERVING"),
        ("app.Odd", "gRPC health is 0, not SERVING"),
        (
            "app.Cut",
            "the answer is not of the protocol: it is no HealthCheckResponse",
        ),
        (
            "app.Silent",
            "the answer is not of the protocol: it has no grpc-status",
        ),
        (
            "app.Other",
            "the answer is not of the protocol: grpc-status 5 (not_found): unknown service",
        ),
    ] {
        assert_eq!(
            fault(probe(service), origin.address()).await,
            says,
            "{service}"
        );
    }
}

#[tokio::test]
async fn a_server_of_something_else_fails() {
    let other = H2Origin::new("web").answering(|_| H2Reply::new(404));
    assert_eq!(
        fault(probe(""), other.address()).await,
        "status 404 is not one of those expected"
    );
}
