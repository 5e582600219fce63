//! Plans, targets, and what a check came to.

use std::net::SocketAddr;
use std::sync::Arc;

use keel_balance::{CheckFault, CheckSettings};
use keel_testkit::Ca;
use keel_testkit::scratch::Scratch;
use keel_tls::{ClientSettings, Connector, Roots, ServerName};
use keel_upstream::check::{CheckPlan, Finding, Probe, Target};

/// A plan with a timeout of half a second.
pub fn plan(probe: Probe) -> CheckPlan {
    CheckPlan {
        probe,
        settings: CheckSettings {
            timeout_ms: 500,
            ..CheckSettings::default()
        },
        port: None,
        tls: None,
    }
}

pub fn target(address: SocketAddr) -> Target {
    Target {
        host: "localhost".to_owned(),
        authority: address.to_string(),
        addresses: vec![address],
    }
}

pub async fn run(probe: Probe, address: SocketAddr) -> Finding {
    plan(probe).run(&target(address)).await
}

/// The fault of a check that must fail, as text.
pub async fn fault(probe: Probe, address: SocketAddr) -> String {
    run(probe, address).await.result.unwrap_err().to_string()
}

pub async fn passes(probe: Probe, address: SocketAddr) {
    assert_eq!(run(probe, address).await.result, Ok::<(), CheckFault>(()));
}

/// An address on which nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A connector that trusts `ca` and offers these protocols.
pub fn connector(ca: &Ca, scratch: &Scratch, name: ServerName, alpn: &[&str]) -> Arc<Connector> {
    let settings = ClientSettings {
        roots: Roots::File(scratch.write("ca.pem", ca.pem())),
        server_name: name,
        alpn: alpn.iter().map(|one| one.as_bytes().to_vec()).collect(),
        ..ClientSettings::default()
    };
    Arc::new(Connector::new(settings).unwrap().0)
}
