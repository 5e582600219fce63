//! The comparisons with other proxies, as data: one row of the table for each.
//!
//! A new row needs a line here and no code. Not there yet: rate limits in the full-features row (the proxies' own limits
//! differ in kind; the row has room for one more [`Features`] field), and the rows over TCP.

use crate::document::Document;
use crate::protocol::Protocol;
use crate::proxy::{Features, ProxyKind};

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Name to select it by.
    pub name: &'static str,
    /// What it is, in words.
    pub about: &'static str,
    /// What clients speak.
    pub protocol: Protocol,
    /// Active connections.
    pub connections: usize,
    /// Requests under way on each of them; 1 unless over HTTP/2.
    pub streams: usize,
    /// What is asked for.
    pub document: Document,
    /// A new connection for every request.
    pub reconnect: bool,
    /// Work besides forwarding.
    pub features: Features,
    /// CPU per request of nginx, HAProxy and Envoy on the reference machine, 2026-11, microseconds.
    pub reference_us: &'static str,
    /// Largest ratio that we want to reach.
    pub goal: f64,
    /// Whom the goal is compared with; `None` = the best peer.
    pub goal_peer: Option<ProxyKind>,
}

/// What rows are unless they say otherwise.
const PLAIN: Scenario = Scenario {
    name: "",
    about: "",
    protocol: Protocol::Http1,
    connections: 64,
    streams: 1,
    document: Document::Small,
    reconnect: false,
    features: Features {
        routes: 0,
        header_edits: false,
        access_log: false,
        metrics: false,
    },
    reference_us: "",
    goal: 1.0,
    goal_peer: None,
};

/// All rows, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "small",
        about: "h1, 64 keep-alive connections, 90 bytes of JSON",
        reference_us: "13.4 / 15.2 / 32",
        goal: 0.88,
        ..PLAIN
    },
    Scenario {
        name: "many",
        about: "h1, 512 keep-alive connections, 90 bytes of JSON",
        connections: 512,
        reference_us: "15 / 21 / 56",
        goal: 0.85,
        ..PLAIN
    },
    Scenario {
        name: "log",
        about: "h1, 64 keep-alive connections, 90 bytes of JSON, access log on",
        features: Features {
            access_log: true,
            ..PLAIN.features
        },
        reference_us: "14.4 / 21 / 34",
        goal: 0.88,
        ..PLAIN
    },
    Scenario {
        name: "10k",
        about: "h1, 64 keep-alive connections, 10 KiB",
        document: Document::TenKib,
        reference_us: "19.5 / 21.9 / 35.6",
        goal: 0.85,
        ..PLAIN
    },
    Scenario {
        name: "1m",
        about: "h1, 16 keep-alive connections, 1 MiB",
        connections: 16,
        document: Document::OneMib,
        reference_us: "549 / 644 / 364",
        goal: 0.95,
        ..PLAIN
    },
    Scenario {
        name: "connect",
        about: "h1, a new connection for each request, 64 in flight, 90 bytes of JSON",
        reconnect: true,
        reference_us: "33 / 43 / 57",
        goal: 0.90,
        ..PLAIN
    },
    Scenario {
        name: "full",
        about: "h1, 64 connections, 1,000 routes, header edits, access log, metrics (no rate limit yet)",
        features: Features {
            routes: 1000,
            header_edits: true,
            access_log: true,
            metrics: true,
        },
        reference_us: "not measured",
        goal: 0.90,
        ..PLAIN
    },
    Scenario {
        name: "tls",
        about: "h1 over TLS 1.3, 64 keep-alive connections, 90 bytes of JSON",
        protocol: Protocol::Tls,
        reference_us: "17.2 / 20.2 / 36.9",
        goal: 0.90,
        goal_peer: Some(ProxyKind::Nginx),
        ..PLAIN
    },
    Scenario {
        name: "tls-1m",
        about: "h1 over TLS 1.3, 16 keep-alive connections, 1 MiB",
        protocol: Protocol::Tls,
        connections: 16,
        document: Document::OneMib,
        reference_us: "711 / 1093 / 579",
        goal: 0.80,
        goal_peer: Some(ProxyKind::Nginx),
        ..PLAIN
    },
    Scenario {
        name: "handshake",
        about: "TLS 1.3, a full handshake, one h1 request of 90 bytes and the end, 32 in flight",
        protocol: Protocol::Tls,
        connections: 32,
        reconnect: true,
        reference_us: "227 / 258 / 280",
        goal: 0.90,
        goal_peer: Some(ProxyKind::Nginx),
        ..PLAIN
    },
    Scenario {
        name: "h2",
        about: "h2 over TLS 1.3, 16 connections x 16 streams, 90 bytes of JSON",
        protocol: Protocol::Http2,
        connections: 16,
        streams: 16,
        reference_us: "14.3 / 16.4 / 57",
        goal: 0.75,
        goal_peer: Some(ProxyKind::Nginx),
        ..PLAIN
    },
    Scenario {
        name: "h2-10k",
        about: "h2 over TLS 1.3, 16 connections x 16 streams, 10 KiB",
        protocol: Protocol::Http2,
        connections: 16,
        streams: 16,
        document: Document::TenKib,
        reference_us: "26.8 / 21.6 / 64",
        goal: 0.90,
        goal_peer: Some(ProxyKind::Nginx),
        ..PLAIN
    },
];

/// The rows with these names, in the order of the table; all when none is named. The error is a name that is unknown.
pub fn select(names: &[String]) -> Result<Vec<Scenario>, String> {
    let known = |name: &String| SCENARIOS.iter().any(|scenario| scenario.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(unknown.clone());
    }
    let is_wanted = |s: &&Scenario| names.is_empty() || names.iter().any(|name| name == s.name);
    Ok(SCENARIOS.iter().filter(is_wanted).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select_in_table_order() {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let chosen = select(&names(&["1m", "small"])).unwrap();
        assert_eq!(
            chosen.iter().map(|s| s.name).collect::<Vec<_>>(),
            ["small", "1m"]
        );
        assert_eq!(select(&[]).unwrap().len(), SCENARIOS.len());
        assert_eq!(select(&names(&["smal"])).unwrap_err(), "smal");
    }

    #[test]
    fn names_are_unique() {
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            assert!(
                SCENARIOS[..index]
                    .iter()
                    .all(|other| other.name != scenario.name)
            );
        }
    }

    #[test]
    fn only_http2_has_streams_and_it_keeps_its_connections() {
        for scenario in SCENARIOS {
            let is_h2 = scenario.protocol == Protocol::Http2;
            assert_eq!(scenario.streams > 1, is_h2, "{}", scenario.name);
            assert!(!(is_h2 && scenario.reconnect), "{}", scenario.name);
        }
    }
}
