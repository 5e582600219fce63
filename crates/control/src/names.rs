//! Names of servers: which are kept resolved for a configuration, and what was found for it.

use std::time::Duration;

use keel_config::model::{self, Discover, EndpointHost, Model};
use keel_l7::Snapshot;
use keel_observe::metrics::NameFigures;
use keel_upstream::{
    AllOf, Discovery, Known, Place, ResolverSettings, ServerAddress, Service, Target,
};
use tokio::sync::mpsc;

use crate::change::{Found, FoundServer};

/// Keeps the names of servers resolved. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub struct Names {
    discovery: Discovery,
}

/// The sets that changed; see [`Names::start`].
#[derive(Debug)]
pub struct NameChanges {
    changes: mpsc::Receiver<Vec<keel_upstream::Found>>,
}

impl NameChanges {
    /// The next sets that changed, once a second at most; `None` when all [`Names`] are gone.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<Found>> {
        let found = self.changes.recv().await?;
        Some(found.into_iter().map(taken).collect())
    }
}

impl Names {
    /// Starts on the runtime that this is called on; keeps nothing yet. `known` is what the process
    /// before knew of names.
    pub fn start(known: Vec<Known>) -> (Names, NameChanges) {
        let (discovery, changes) = Discovery::start(known);
        (Names { discovery }, NameChanges { changes })
    }

    /// Before a configuration is compiled: looks up the entries of its pools that stand for several
    /// servers, and gives what all of them stand for. `snapshot` is what is served now; its names are
    /// kept meanwhile. Waits for the first look-ups, `resolver.timeout` at the longest.
    pub async fn find(&self, model: &Model, served: Option<(&Model, &Snapshot)>) -> Vec<Found> {
        let mut targets = found_by_name(model);
        if let Some((model, snapshot)) = served {
            let known: Vec<Place> = targets.iter().filter_map(Target::place).cloned().collect();
            let new = |it: &Target| it.place().is_none_or(|place| !known.contains(place));
            targets.extend(all(model, snapshot).into_iter().filter(new));
        }
        self.watch(model, targets).await
    }

    /// Keeps the names of a configuration from now on and no others: of the entries of `model`, which
    /// is what the file says, and of the servers in `snapshot`. Call it once the snapshot is compiled
    /// and before it is served: all its servers that can have addresses have them then.
    pub async fn settle(&self, model: &Model, snapshot: &Snapshot) -> Vec<Found> {
        self.watch(model, all(model, snapshot)).await
    }

    /// What is known of all names that are kept.
    pub async fn known(&self) -> Vec<Known> {
        self.discovery.known().await
    }

    /// How the look-ups went.
    pub fn figures(&self) -> NameFigures {
        let counts = self.discovery.counts();
        NameFigures {
            answered: counts.answered,
            failed: counts.failed,
            names: counts.names,
            failing: counts.failing,
        }
    }

    async fn watch(&self, model: &Model, targets: Vec<Target>) -> Vec<Found> {
        let found = self.discovery.watch(settings(model), targets).await;
        found.into_iter().map(taken).collect()
    }
}

/// How names are looked up, as a configuration says.
pub(crate) fn settings(model: &Model) -> ResolverSettings {
    /// So short a wait could not end well.
    const TIMEOUT_MIN: Duration = Duration::from_millis(100);

    let resolver = &model.resolver;
    ResolverSettings {
        servers: resolver.servers.iter().map(|it| it.value).collect(),
        ttl_min: resolver.ttl_min,
        ttl_max: resolver.ttl_max,
        timeout: resolver.timeout.max(TIMEOUT_MIN),
    }
}

fn all(model: &Model, snapshot: &Snapshot) -> Vec<Target> {
    let mut targets = found_by_name(model);
    let servers = snapshot.pools.iter().flat_map(|plan| &plan.pool.servers);
    let named = servers.filter(|server| server.is_name());
    targets.extend(named.cloned().map(Target::One));
    targets
}

/// Entries that stand for several servers.
fn found_by_name(model: &Model) -> Vec<Target> {
    let mut targets = Vec::new();
    for pool in &model.pools {
        for (entry, server) in pool.servers.iter().enumerate() {
            let EndpointHost::Name(host) = &server.address.value.host else {
                continue;
            };
            let place = Place {
                pool: pool.name.value.clone(),
                entry,
                name: server.name.value.clone(),
            };
            match server.discover {
                Discover::One => {}
                Discover::Addresses => targets.push(Target::All(AllOf {
                    place,
                    address: ServerAddress {
                        host: host.clone(),
                        port: server.address.value.port,
                    },
                    weight: server.weight,
                    tier: server.tier,
                })),
                Discover::Srv => targets.push(Target::Service(Service {
                    place,
                    name: host.clone(),
                    tier: server.tier,
                })),
            }
        }
    }
    targets
}

/// The names of entries that stand for several servers, by pool.
pub(crate) fn entries(model: &Model) -> Vec<Vec<String>> {
    let names = |pool: &model::Pool| {
        let entries = pool
            .servers
            .iter()
            .filter(|it| it.discover != Discover::One);
        entries.map(|it| it.name.value.clone()).collect()
    };
    model.pools.iter().map(names).collect()
}

fn taken(found: keel_upstream::Found) -> Found {
    let servers = found.servers.into_iter().map(|server| FoundServer {
        name: server.name,
        address: server.address,
        host: server.host,
        weight: Some(server.weight),
        tier: Some(server.tier),
    });
    Found {
        pool: found.place.pool,
        entry: found.place.entry,
        name: found.place.name,
        servers: servers.collect(),
    }
}
