//! What a process hands to the one that replaces it: run-time changes, what is known of servers, who is
//! bound to which of them. Counters are not handed over: those of the new process begin at 0, as a
//! restart's do.
//!
//! Everything goes by name, so the new process may have another configuration. Times are handed over
//! as spans, because each process has a clock of its own.

use std::net::IpAddr;
use std::time::Duration;

use keel_balance::Binding;
use keel_config::model::{Endpoint, EndpointHost};
use keel_l7::Snapshot;
use keel_upstream::{Known, ServiceRecord};
use serde::{Deserialize, Serialize};

use crate::change::{NewServer, ServerState};
use crate::ground::Ground;
use crate::live::Standstill;
use crate::overlay::{Overlay, PoolOverlay, ServerOverlay};
use crate::status::Status;

/// What is handed over. Fields that the other process does not know are passed over, and those that it
/// does not send are empty: versions may differ.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Carried {
    changes: Vec<PoolChanges>,
    away: Vec<Away>,
    bound: Vec<Bound>,
    names: Vec<Name>,
    /// Upgrades that were done and that failed since the first process.
    pub(crate) upgrades: [u64; 2],
}

/// Priority, weight and port of a record of a service, its target, and the addresses of that.
type Target = (u16, u16, u16, String, Option<Vec<IpAddr>>);

/// The last good answer of DNS to a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Name {
    Host(String, Vec<IpAddr>),
    /// Priority, weight, port, target and its addresses.
    Service(String, Vec<Target>),
}

/// Run-time changes of a pool.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct PoolChanges {
    pool: String,
    added: Vec<Added>,
    removed: Vec<String>,
    servers: Vec<Changes>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Added {
    name: String,
    host: String,
    port: u16,
    weight: Option<u32>,
    max_connections: Option<u32>,
    tier: Option<u8>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Changes {
    server: String,
    weight: Option<u32>,
    state: Option<State>,
    by: String,
    ago_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum State {
    Ready,
    Drain(Option<Duration>),
    Down,
}

/// A server that gets no traffic.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Away {
    pool: String,
    server: String,
    /// As the configuration had it; empty from a version that does not tell.
    #[serde(default)]
    address: String,
    /// For how long still; `None` while its checks fail.
    for_ms: Option<u64>,
}

/// The clients of a pool that are bound to servers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Bound {
    pool: String,
    /// Two halves of the client, the server, and for how long it was not used, in milliseconds.
    clients: Vec<[u64; 4]>,
}

impl Standstill {
    /// What the process that replaces this one wants to know.
    pub async fn carry(&self) -> Vec<u8> {
        let engine = &self.engine;
        let now_ms = now_ms(&engine.status);
        let carried = Carried {
            changes: changes(&engine.overlay, now_ms),
            away: away(&engine.status.snapshot, now_ms),
            bound: bound(engine.ground(), now_ms),
            names: engine.names.known().await.into_iter().map(name).collect(),
            upgrades: self.control.0.tally.upgrades(),
        };
        // Strings and numbers: nothing in it can fail.
        serde_json::to_vec(&carried).unwrap_or_default()
    }
}

fn now_ms(status: &Status) -> u64 {
    u64::try_from(status.base.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn changes(overlay: &Overlay, now_ms: u64) -> Vec<PoolChanges> {
    let added = |(name, server): &(String, NewServer)| Added {
        name: name.clone(),
        host: match &server.address.host {
            EndpointHost::Ip(ip) => ip.to_string(),
            EndpointHost::Name(name) => name.clone(),
        },
        port: server.address.port,
        weight: server.weight,
        max_connections: server.max_connections,
        tier: server.tier,
    };
    let server = |(name, change): (&String, &ServerOverlay)| Changes {
        server: name.clone(),
        weight: change.weight,
        state: change.state.map(|state| match state {
            ServerState::Ready => State::Ready,
            ServerState::Drain { limit } => State::Drain(limit),
            ServerState::Down => State::Down,
        }),
        by: change.by.clone(),
        ago_ms: now_ms.saturating_sub(change.at_ms),
    };
    let pools = overlay.pools.iter();
    pools
        .map(|(pool, changes)| PoolChanges {
            pool: pool.clone(),
            added: changes.added.iter().map(added).collect(),
            removed: changes.removed.iter().cloned().collect(),
            servers: changes.servers.iter().map(server).collect(),
        })
        .collect()
}

fn away(snapshot: &Snapshot, now_ms: u64) -> Vec<Away> {
    let mut all = Vec::new();
    for plan in &snapshot.pools {
        for (index, server) in plan.pool.servers.iter().enumerate() {
            let state = plan.pool.balancer.state(index);
            let for_ms = match state.is_down() {
                true => None,
                false => Some(state.rests_until_ms().saturating_sub(now_ms)),
            };
            if for_ms != Some(0) {
                all.push(Away {
                    pool: plan.pool.name.clone(),
                    server: server.name.clone(),
                    address: server.address_text.clone(),
                    for_ms,
                });
            }
        }
    }
    all
}

fn bound(ground: &Ground, now_ms: u64) -> Vec<Bound> {
    let client = |it: Binding| {
        let (high, low) = ((it.key >> 64) as u64, it.key as u64);
        [high, low, it.server, now_ms.saturating_sub(it.used_ms)]
    };
    let pools = ground.pools.iter();
    pools
        .filter_map(|(pool, units)| {
            let clients = units.bindings.as_ref()?.export();
            Some(Bound {
                pool: pool.clone(),
                clients: clients.into_iter().map(client).collect(),
            })
        })
        .collect()
}

fn name(known: Known) -> Name {
    match known {
        Known::Host(name, addresses) => Name::Host(name, addresses),
        Known::Service(name, records) => {
            let fields = |it: ServiceRecord| {
                let numbers = (it.priority, it.weight, it.port);
                (numbers.0, numbers.1, numbers.2, it.target, it.addresses)
            };
            Name::Service(name, records.into_iter().map(fields).collect())
        }
    }
}

impl Carried {
    /// What the process before has handed over. What cannot be read is as if it had not been.
    pub(crate) fn read(bytes: &[u8]) -> Carried {
        serde_json::from_slice(bytes).unwrap_or_else(|error| {
            tracing::warn!(
                "what the process before knows cannot be read ({error}): run-time changes, health and bound sessions begin anew"
            );
            Carried::default()
        })
    }

    /// The run-time changes.
    pub(crate) fn overlay(&self) -> Overlay {
        let pools = self.changes.iter().map(|changes| {
            let pool = PoolOverlay {
                added: changes.added.iter().map(Added::server).collect(),
                removed: changes.removed.iter().cloned().collect(),
                servers: changes.servers.iter().map(Changes::overlay).collect(),
            };
            (changes.pool.clone(), pool)
        });
        Overlay {
            pools: pools.collect(),
        }
    }

    /// What is known of names.
    pub(crate) fn names(&self) -> Vec<Known> {
        let record = |(priority, weight, port, target, addresses)| ServiceRecord {
            priority,
            weight,
            port,
            target,
            addresses,
        };
        let known = |name: Name| match name {
            Name::Host(name, addresses) => Known::Host(name, addresses),
            Name::Service(name, records) => {
                Known::Service(name, records.into_iter().map(record).collect())
            }
        };
        self.names.iter().cloned().map(known).collect()
    }

    /// Tells balancers and tables what the process before knew. Before the first check and the first
    /// request: those know better.
    pub(crate) fn restore(self, snapshot: &Snapshot, ground: &Ground, now_ms: u64) {
        for away in &self.away {
            let Some(plan) = snapshot.pools.iter().find(|it| it.pool.name == away.pool) else {
                continue;
            };
            let mut servers = plan.pool.servers.iter();
            let Some(index) = servers.position(|it| away.is_of(&it.name, &it.address_text)) else {
                continue;
            };
            let units = ground.pools.get(&away.pool);
            // Without checks nobody would bring it up again.
            let is_checked = units.is_some_and(|it| it.check.is_some());
            let _told = match away.for_ms {
                Some(span) => plan
                    .pool
                    .balancer
                    .rest(index, now_ms.saturating_add(span), now_ms),
                None if is_checked => plan.pool.balancer.checked(index, false, now_ms),
                None => None,
            };
        }
        for bound in self.bound {
            let units = ground.pools.get(&bound.pool);
            let Some(bindings) = units.and_then(|it| it.bindings.as_ref()) else {
                continue;
            };
            let clients = bound.clients.into_iter();
            let clients = clients.map(|[high, low, server, ago_ms]| Binding {
                key: (u128::from(high) << 64) | u128::from(low),
                server,
                used_ms: now_ms.saturating_sub(ago_ms),
            });
            bindings.import(clients, now_ms);
        }
    }
}

impl Away {
    /// Whether this is known of such a server: one that moved is another.
    fn is_of(&self, name: &str, address: &str) -> bool {
        self.server == name && (self.address.is_empty() || self.address == address)
    }
}

impl Added {
    fn server(&self) -> (String, NewServer) {
        let host = match self.host.parse::<IpAddr>() {
            Ok(ip) => EndpointHost::Ip(ip),
            Err(_) => EndpointHost::Name(self.host.clone()),
        };
        let server = NewServer {
            name: Some(self.name.clone()),
            address: Endpoint {
                host,
                port: self.port,
            },
            weight: self.weight,
            max_connections: self.max_connections,
            tier: self.tier,
        };
        (self.name.clone(), server)
    }
}

impl Changes {
    fn overlay(&self) -> (String, ServerOverlay) {
        let change = ServerOverlay {
            weight: self.weight,
            state: self.state.map(|state| match state {
                State::Ready => ServerState::Ready,
                State::Drain(limit) => ServerState::Drain { limit },
                State::Down => ServerState::Down,
            }),
            by: self.by.clone(),
            // The clock of this process has only begun.
            at_ms: 0,
        };
        (self.server.clone(), change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_overlay() -> Overlay {
        let server = |host: EndpointHost| NewServer {
            name: Some("new".to_owned()),
            address: Endpoint { host, port: 8080 },
            weight: Some(3),
            max_connections: None,
            tier: Some(1),
        };
        let change = |state| ServerOverlay {
            weight: Some(7),
            state: Some(state),
            by: "admin socket uid 0".to_owned(),
            at_ms: 0,
        };
        let limit = Some(Duration::from_millis(1500));
        let pool = |host| PoolOverlay {
            added: vec![("new".to_owned(), server(host))],
            removed: ["old".to_owned()].into(),
            servers: [
                ("a".to_owned(), change(ServerState::Drain { limit })),
                ("b".to_owned(), change(ServerState::Down)),
                ("c".to_owned(), change(ServerState::Ready)),
            ]
            .into(),
        };
        let address = EndpointHost::Ip("::1".parse().expect("an address"));
        Overlay {
            pools: [
                ("app".to_owned(), pool(address)),
                (
                    "api".to_owned(),
                    pool(EndpointHost::Name("app.internal".to_owned())),
                ),
            ]
            .into(),
        }
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let overlay = some_overlay();
        let at = |ip: &str| ip.parse().expect("an address");
        let record = |addresses| ServiceRecord {
            priority: 1,
            weight: 2,
            port: 3,
            target: "a.test".to_owned(),
            addresses,
        };
        let records = vec![record(None), record(Some(vec![at("::1")]))];
        let known = [
            Known::Host("a.test".to_owned(), vec![at("10.0.0.1"), at("::1")]),
            Known::Service("_app._tcp.test".to_owned(), records),
        ];
        let carried = Carried {
            changes: changes(&overlay, 5000),
            away: vec![Away {
                pool: "app".to_owned(),
                server: "a".to_owned(),
                address: "10.0.0.1:80".to_owned(),
                for_ms: None,
            }],
            bound: vec![Bound {
                pool: "app".to_owned(),
                clients: vec![[u64::MAX, 1, u64::MAX - 1, 77]],
            }],
            names: known.iter().cloned().map(name).collect(),
            upgrades: [3, 1],
        };
        let bytes = serde_json::to_vec(&carried).expect("strings and numbers");
        let read = Carried::read(&bytes);
        assert_eq!(read, carried);
        assert_eq!(read.overlay(), overlay);
        assert_eq!(read.names(), known);
    }

    #[test]
    fn what_is_known_of_a_server_is_not_of_one_at_another_address() {
        let of = |address: &str| Carried {
            away: vec![Away {
                pool: "app".to_owned(),
                server: "a".to_owned(),
                address: address.to_owned(),
                for_ms: Some(60_000),
            }],
            ..Carried::default()
        };
        let text = "listeners: { a: { bind: \":8001\" } }\nroutes: [ { pool: app } ]\n\
                    pools: { app: { servers: [ { name: a, address: \"10.0.0.1:80\" } ] } }\n";
        let (model, _) = keel_config::load_str(text).expect("a configuration");
        for (address, rests) in [("10.0.0.1:80", true), ("10.0.0.2:80", false), ("", true)] {
            let compiled = crate::compile::compile_on(&model, &Ground::default());
            let compiled = compiled.expect("compiles");
            of(address).restore(&compiled.snapshot, &compiled.ground, 1);
            let state = compiled.snapshot.pools[0].pool.balancer.state(0);
            assert_eq!(state.rests_until_ms() > 1, rests, "{address}");
            let told = away(&compiled.snapshot, 1);
            assert_eq!(
                told,
                if rests {
                    of("10.0.0.1:80").away
                } else {
                    vec![]
                }
            );
        }
    }

    #[test]
    fn another_version_may_say_more_or_less_and_nonsense_is_nothing() {
        let less = Carried::read(br#"{ "upgrades": [2, 0], "moon": "full" }"#);
        assert_eq!(less.upgrades, [2, 0]);
        assert_eq!(less.overlay(), Overlay::default());
        for nonsense in [&b""[..], b"[1", b"{ \"away\": 7 }", b"\xff\xff"] {
            assert_eq!(Carried::read(nonsense), Carried::default());
        }
    }
}
