//! The comparisons with other proxies, as data: one row of the table for each.
//!
//! A new row needs a line here and no code. Not there yet: rate limits in the full-features row (the proxies' own limits
//! differ in kind; the row has room for one more [`Features`] field), and the rows over TLS, HTTP/2 and TCP.

use crate::document::Document;
use crate::proxy::Features;

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Name to select it by.
    pub name: &'static str,
    /// What it is, in words.
    pub about: &'static str,
    /// Active connections.
    pub connections: usize,
    /// What is asked for.
    pub document: Document,
    /// A new connection for every request.
    pub reconnect: bool,
    /// Work besides forwarding.
    pub features: Features,
    /// CPU per request of nginx, HAProxy and Envoy on the reference machine, 2026-11, microseconds.
    pub reference_us: &'static str,
    /// Largest ratio to the best peer that we want to reach.
    pub goal: f64,
}

const PLAIN: Features = Features {
    routes: 0,
    header_edits: false,
    access_log: false,
    metrics: false,
};

/// All rows, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "small",
        about: "h1, 64 keep-alive connections, 90 bytes of JSON",
        connections: 64,
        document: Document::Small,
        reconnect: false,
        features: PLAIN,
        reference_us: "13.4 / 15.2 / 32",
        goal: 0.88,
    },
    Scenario {
        name: "many",
        about: "h1, 512 keep-alive connections, 90 bytes of JSON",
        connections: 512,
        document: Document::Small,
        reconnect: false,
        features: PLAIN,
        reference_us: "15 / 21 / 56",
        goal: 0.85,
    },
    Scenario {
        name: "log",
        about: "h1, 64 keep-alive connections, 90 bytes of JSON, access log on",
        connections: 64,
        document: Document::Small,
        reconnect: false,
        features: Features {
            access_log: true,
            ..PLAIN
        },
        reference_us: "14.4 / 21 / 34",
        goal: 0.88,
    },
    Scenario {
        name: "10k",
        about: "h1, 64 keep-alive connections, 10 KiB",
        connections: 64,
        document: Document::TenKib,
        reconnect: false,
        features: PLAIN,
        reference_us: "19.5 / 21.9 / 35.6",
        goal: 0.85,
    },
    Scenario {
        name: "1m",
        about: "h1, 16 keep-alive connections, 1 MiB",
        connections: 16,
        document: Document::OneMib,
        reconnect: false,
        features: PLAIN,
        reference_us: "549 / 644 / 364",
        goal: 0.95,
    },
    Scenario {
        name: "connect",
        about: "h1, a new connection for each request, 64 in flight, 90 bytes of JSON",
        connections: 64,
        document: Document::Small,
        reconnect: true,
        features: PLAIN,
        reference_us: "33 / 43 / 57",
        goal: 0.90,
    },
    Scenario {
        name: "full",
        about: "h1, 64 connections, 1,000 routes, header edits, access log, metrics (no rate limit yet)",
        connections: 64,
        document: Document::Small,
        reconnect: false,
        features: Features {
            routes: 1000,
            header_edits: true,
            access_log: true,
            metrics: true,
        },
        reference_us: "not measured",
        goal: 0.90,
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
}
