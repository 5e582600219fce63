//! The curves and their points, as data.

use serde_json::{Value, json};

use crate::bed::Origins;
use crate::process::raise_file_limit;
use crate::proxy::Setup;

const ROUTES: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const SERVERS: [usize; 4] = [1, 10, 100, 1_000];
const CONNECTIONS: [usize; 5] = [64, 256, 1_000, 4_000, 10_000];
const WORKERS: [usize; 2] = [1, 2];
/// Active connections where another number grows.
const ACTIVE: usize = 64;
/// Descriptors of a process for other things than connections.
const SPARE_FILES: u64 = 512;

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Curve {
    /// Routes, 1 to 10,000.
    Routes,
    /// Servers in the pool, 1 to 1,000, for each algorithm.
    Servers,
    /// Open connections, 64 to 10,000, of which 64 are active.
    Idle,
    /// Open connections, 64 to 10,000, all active.
    Active,
    /// Workers, 1 and 2.
    Workers,
}

/// An algorithm of evenkeel and how to ask for it.
struct Algorithm {
    name: &'static str,
    balance: fn() -> Value,
    weighted: bool,
}

const fn algorithm(name: &'static str, balance: fn() -> Value) -> Algorithm {
    Algorithm {
        name,
        balance,
        weighted: false,
    }
}

const ALGORITHMS: &[Algorithm] = &[
    algorithm("round_robin", || json!("round_robin")),
    Algorithm {
        weighted: true,
        ..algorithm("weighted", || json!("weighted"))
    },
    Algorithm {
        weighted: true,
        ..algorithm(
            "weighted_burst",
            || json!({ "algorithm": "weighted", "burst": true }),
        )
    },
    algorithm("random", || json!("random")),
    Algorithm {
        weighted: true,
        ..algorithm("weighted_random", || json!("weighted_random"))
    },
    algorithm("least_conn", || json!("least_conn")),
    algorithm(
        "least_conn_rotate",
        || json!({ "algorithm": "least_conn", "tie": "rotate" }),
    ),
    algorithm("least_time", || json!("least_time")),
    algorithm("power_of_two", || json!("power_of_two")),
    algorithm("ip_hash", || json!("ip_hash")),
    algorithm(
        "ip_hash_modulo",
        || json!({ "algorithm": "ip_hash", "mode": "modulo" }),
    ),
    algorithm(
        "hash_ring",
        || json!({ "algorithm": "hash", "key": "path", "scheme": "ring" }),
    ),
    algorithm(
        "hash_rendezvous",
        || json!({ "algorithm": "hash", "key": "path", "scheme": "rendezvous" }),
    ),
    algorithm(
        "hash_maglev",
        || json!({ "algorithm": "hash", "key": "path", "scheme": "maglev" }),
    ),
    algorithm(
        "hash_bounded",
        || json!({ "algorithm": "hash", "key": "path", "scheme": "ring", "bounded_load": 1.25 }),
    ),
];

/// Names of the algorithms that have a curve.
pub fn algorithm_names() -> Vec<&'static str> {
    ALGORITHMS.iter().map(|algorithm| algorithm.name).collect()
}

/// One size on a curve.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) size: usize,
    pub(super) active: usize,
    pub(super) idle: usize,
    pub(super) servers: usize,
    pub(super) workers: usize,
    pub(super) routes: usize,
    pub(super) balance: Option<Value>,
    pub(super) weighted: bool,
}

impl Point {
    fn plain(size: usize) -> Point {
        Point {
            size,
            active: ACTIVE,
            idle: 0,
            servers: 3,
            workers: 1,
            routes: 0,
            balance: None,
            weighted: false,
        }
    }

    pub(super) fn setup(&self, origins: &Origins) -> Setup {
        let mut setup = Setup::plain(&origins.addresses[..self.servers]);
        setup.workers = self.workers;
        setup.features.routes = self.routes;
        setup.balance.clone_from(&self.balance);
        setup.weighted = self.weighted;
        setup.connections_max = (self.active + self.idle + 64).max(1024);
        setup.pool_idle_max = (self.active + 64).max(self.servers * 4).max(1024);
        setup
    }
}

/// Connections from all of 64 client addresses and for 1,024 different paths, so that hashes have something to spread.
pub(super) const KEYS: usize = 1024;
/// See [`KEYS`].
pub(super) const CLIENT_ADDRESSES: u8 = 64;

/// A named curve.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) about: &'static str,
    pub(super) points: Vec<Point>,
    /// Largest growth of the cost that we want, as a share; `None` where throughput is looked at.
    pub(super) goal: Option<f64>,
}

pub(super) fn series(curve: Curve, algorithms: &[String]) -> Vec<Series> {
    let one = |name: &str, about, goal, points| {
        vec![Series {
            name: name.into(),
            about,
            points,
            goal,
        }]
    };
    let connections_max = ((raise_file_limit() - SPARE_FILES) / 2) as usize;
    match curve {
        Curve::Routes => {
            let point = |n| Point {
                routes: n,
                ..Point::plain(n)
            };
            one("routes", "routes", Some(0.05), ROUTES.map(point).to_vec())
        }
        Curve::Servers => {
            let wanted =
                |a: &&Algorithm| algorithms.is_empty() || algorithms.iter().any(|n| n == a.name);
            ALGORITHMS
                .iter()
                .filter(wanted)
                .map(server_series)
                .collect()
        }
        Curve::Idle => {
            let point = |n: usize| Point {
                idle: n - ACTIVE,
                ..Point::plain(n)
            };
            let about = "open connections, 64 of them active";
            one("idle", about, Some(0.20), CONNECTIONS.map(point).to_vec())
        }
        Curve::Active => {
            let size = |n: usize| n.min(connections_max);
            let point = |n: usize| Point {
                active: size(n),
                ..Point::plain(size(n))
            };
            let about = "open connections, all with a request in flight";
            one("active", about, Some(0.20), CONNECTIONS.map(point).to_vec())
        }
        Curve::Workers => {
            let point = |n| Point {
                workers: n,
                active: 128,
                ..Point::plain(n)
            };
            one("workers", "workers", None, WORKERS.map(point).to_vec())
        }
    }
}

fn server_series(algorithm: &Algorithm) -> Series {
    let point = |n| Point {
        servers: n,
        balance: Some((algorithm.balance)()),
        weighted: algorithm.weighted,
        ..Point::plain(n)
    };
    Series {
        name: format!("servers/{}", algorithm.name),
        about: "servers in the pool",
        points: SERVERS.map(point).to_vec(),
        goal: Some(0.05),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_begins_at_its_smallest_size() {
        for curve in [
            Curve::Routes,
            Curve::Servers,
            Curve::Idle,
            Curve::Active,
            Curve::Workers,
        ] {
            for series in series(curve, &[]) {
                assert!(
                    series
                        .points
                        .windows(2)
                        .all(|pair| pair[0].size <= pair[1].size)
                );
                assert!(series.points.iter().all(|point| point.servers >= 1));
            }
        }
        assert_eq!(series(Curve::Servers, &["random".into()]).len(), 1);
    }
}
