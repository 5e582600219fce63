//! The model in force: the file's, with the servers that were found by name and with what was changed
//! at run time.
//!
//! Changes are kept by the names of pools and servers, apart from the model: each new model is made of
//! the file's anew, so that there is never a replay of differences.

use std::collections::{BTreeMap, BTreeSet};

use keel_config::model::{Discover, Endpoint, EndpointHost, Model, Pool, Server};
use keel_config::{SERVERS_MAX, Spanned};

use crate::Actor;
use crate::change::{Change, ChangeFault, Found, NewServer, ServerState};

/// Largest weight, as in a file.
const WEIGHT_MAX: u32 = 65_535;
/// Longest name of a server that is added.
const NAME_BYTES_MAX: usize = 255;

/// Whether a pool has entries that stand for servers to be found by name.
pub(crate) fn has_entries(model: &Model) -> bool {
    let mut servers = model.pools.iter().flat_map(|pool| &pool.servers);
    servers.any(|server| server.discover != Discover::One)
}

/// The model with each entry that stands for several servers replaced by those that were found.
pub(crate) fn expanded(model: &Model, found: &[Found]) -> Model {
    let mut model = model.clone();
    for pool in &mut model.pools {
        let entries = std::mem::take(&mut pool.servers);
        for (position, entry) in entries.into_iter().enumerate() {
            if entry.discover == Discover::One {
                pool.servers.push(entry);
                continue;
            }
            let here = |it: &&Found| {
                let place = it.pool == pool.name.value && it.entry == position;
                place && it.name == entry.name.value
            };
            for server in found.iter().filter(here).flat_map(|it| &it.servers) {
                let taken = |it: &Server| it.name.value == server.name;
                if pool.servers.iter().any(taken) {
                    continue;
                }
                pool.servers.push(Server {
                    name: Spanned::new(server.name.clone(), entry.name.span),
                    address: Spanned::new(
                        Endpoint {
                            host: EndpointHost::Name(server.host.clone()),
                            port: server.address.port(),
                        },
                        entry.address.span,
                    ),
                    found_at: Some(server.address.ip()),
                    weight: server.weight.unwrap_or(entry.weight),
                    tier: server.tier.unwrap_or(entry.tier),
                    discover: Discover::One,
                    ..entry.clone()
                });
            }
        }
    }
    model
}

/// What was changed at run time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Overlay {
    /// By the pool's name.
    pub(crate) pools: BTreeMap<String, PoolOverlay>,
}

/// What was changed of one pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PoolOverlay {
    /// Servers that the file does not have, by name in the order in which they were added.
    pub(crate) added: Vec<(String, NewServer)>,
    /// Servers of the file that are taken out.
    pub(crate) removed: BTreeSet<String>,
    /// Changes of servers of the file and of added ones.
    pub(crate) servers: BTreeMap<String, ServerOverlay>,
}

/// What was changed of one server.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ServerOverlay {
    pub(crate) weight: Option<u32>,
    pub(crate) state: Option<ServerState>,
    /// Who changed its state last, and when, on the workers' clocks.
    pub(crate) by: String,
    pub(crate) at_ms: u64,
}

impl Overlay {
    /// The model with the changes. `model` has one server in each entry, and is made of `file`.
    pub(crate) fn apply(&self, mut model: Model, file: &Model) -> Model {
        for (pool, written) in model.pools.iter_mut().zip(&file.pools) {
            let Some(changes) = self.pools.get(&pool.name.value) else {
                continue;
            };
            let pattern = written.servers.first();
            pool.servers
                .retain(|server| !changes.removed.contains(&server.name.value));
            for (name, server) in &changes.added {
                if let Some(pattern) = pattern {
                    pool.servers.push(added(name, server, pattern));
                }
            }
            for server in &mut pool.servers {
                if let Some(change) = changes.servers.get(&server.name.value) {
                    change.apply(server);
                }
            }
        }
        model
    }

    /// Takes a change, by whom and when. `now` is the model in force.
    pub(crate) fn change(
        &mut self,
        change: &Change,
        now: &Model,
        (by, at_ms): (&Actor, u64),
    ) -> Result<(), ChangeFault> {
        let name = change.pool();
        let pool = now.pools.iter().find(|pool| pool.name.value == name);
        let pool = pool.ok_or_else(|| ChangeFault::NoPool(name.to_owned()))?;
        let has = |server: &str| pool.servers.iter().any(|it| it.name.value == server);
        let known = |server: &str| match has(server) {
            true => Ok(()),
            false => Err(ChangeFault::NoServer {
                pool: name.to_owned(),
                server: server.to_owned(),
                has: pool
                    .servers
                    .iter()
                    .map(|it| it.name.value.clone())
                    .collect(),
            }),
        };
        match change {
            Change::AddServer { server, .. } => self.add(pool, server)?,
            Change::RemoveServer { server, .. } => {
                known(server)?;
                self.remove(pool, server)?;
            }
            Change::SetState { server, state, .. } => {
                known(server)?;
                let changes = self.server(name, server);
                changes.state = Some(*state);
                changes.by = by.to_string();
                changes.at_ms = at_ms;
            }
            Change::SetWeight { server, weight, .. } => {
                known(server)?;
                check_weight(*weight)?;
                self.server(name, server).weight = Some(*weight);
            }
        }
        Ok(())
    }

    fn add(&mut self, pool: &Pool, server: &NewServer) -> Result<(), ChangeFault> {
        let (name, own) = (&pool.name.value, server_name(server));
        check_new(&own, server)?;
        if pool.servers.iter().any(|it| it.name.value == own) {
            return Err(ChangeFault::Exists {
                pool: name.clone(),
                server: own,
            });
        }
        if pool.servers.len() >= SERVERS_MAX {
            let what = format!("pool `{name}` has {SERVERS_MAX} servers, and no more are possible");
            return Err(ChangeFault::Bad(what));
        }
        let changes = self.pools.entry(name.clone()).or_default();
        changes.servers.remove(&own);
        changes.added.push((own, server.clone()));
        Ok(())
    }

    fn remove(&mut self, pool: &Pool, server: &str) -> Result<(), ChangeFault> {
        let name = &pool.name.value;
        if pool.servers.len() == 1 {
            let what = format!(
                "`{server}` is the only server of pool `{name}`: add another one first, or take it down"
            );
            return Err(ChangeFault::Bad(what));
        }
        let changes = self.pools.entry(name.clone()).or_default();
        let before = changes.added.len();
        changes.added.retain(|(own, _)| own != server);
        if changes.added.len() == before {
            changes.removed.insert(server.to_owned());
        }
        changes.servers.remove(server);
        Ok(())
    }

    fn server(&mut self, pool: &str, server: &str) -> &mut ServerOverlay {
        let pool = self.pools.entry(pool.to_owned()).or_default();
        pool.servers.entry(server.to_owned()).or_default()
    }

    /// Lets go of what a file that was just written says as well.
    pub(crate) fn saved(&mut self, file: &Model) {
        self.pools.retain(|name, changes| {
            let Some(pool) = file.pools.iter().find(|pool| pool.name.value == *name) else {
                return true;
            };
            let of = |server: &str| pool.servers.iter().find(|it| it.name.value == server);
            changes.added.retain(|(server, _)| of(server).is_none());
            changes.removed.retain(|server| of(server).is_some());
            changes.servers.retain(|server, change| {
                let drains = matches!(change.state, Some(ServerState::Drain { .. }));
                drains || of(server).is_none_or(|it| change.written(it) != *it)
            });
            *changes != PoolOverlay::default()
        });
    }

    /// Servers that are not as the file says.
    pub(crate) fn count(&self) -> usize {
        let of = |pool: &PoolOverlay| pool.added.len() + pool.removed.len() + pool.servers.len();
        self.pools.values().map(of).sum()
    }

    /// What was done to a server.
    pub(crate) fn of(&self, pool: &str, server: &str) -> Option<&ServerOverlay> {
        self.pools.get(pool)?.servers.get(server)
    }

    /// Lets go of what a new file makes pointless, and tells of each in words. Servers that are found
    /// by name come and go: changes of them stay as long as the pool has such an entry.
    pub(crate) fn fit(&mut self, file: &Model) -> Vec<String> {
        let mut dropped = Vec::new();
        self.pools.retain(|name, changes| {
            let Some(pool) = file.pools.iter().find(|pool| pool.name.value == *name) else {
                dropped.push(format!(
                    "pool `{name}` is gone, and all that was changed of it"
                ));
                return false;
            };
            let has = |server: &str| pool.servers.iter().any(|it| it.name.value == server);
            let finds = pool.servers.iter().any(|it| it.discover != Discover::One);
            changes.added.retain(|(server, _)| {
                if has(server) {
                    dropped.push(format!(
                        "server `{server}` of pool `{name}` was added, and is in the file now"
                    ));
                }
                !has(server)
            });
            changes.removed.retain(|server| has(server) || finds);
            let left = |it: &Server| !changes.removed.contains(&it.name.value);
            if !finds && changes.added.is_empty() && !pool.servers.iter().any(left) {
                dropped.push(format!(
                    "pool `{name}` has no other servers than those that were removed: they are back"
                ));
                changes.removed.clear();
            }
            let added: Vec<&String> = changes.added.iter().map(|(server, _)| server).collect();
            changes.servers.retain(|server, _| {
                let stays = has(server) || finds || added.contains(&server);
                if !stays {
                    dropped.push(format!(
                        "server `{server}` of pool `{name}` is gone, and what was changed of it"
                    ));
                }
                stays
            });
            *changes != PoolOverlay::default()
        });
        dropped
    }
}

impl ServerOverlay {
    /// The server as a file has it after this change. One that drains is taken out there, so that it
    /// keeps its weight for the day on which it comes back.
    pub(crate) fn written(&self, server: &Server) -> Server {
        let mut server = server.clone();
        match self.state {
            Some(ServerState::Drain { .. }) => {
                server.weight = self.weight.unwrap_or(server.weight);
                server.down = true;
            }
            _ => self.apply(&mut server),
        }
        server
    }

    fn apply(&self, server: &mut Server) {
        if let Some(weight) = self.weight {
            server.weight = weight;
        }
        match self.state {
            None => {}
            Some(ServerState::Ready) => server.down = false,
            Some(ServerState::Drain { .. }) => {
                server.down = false;
                server.weight = 0;
            }
            Some(ServerState::Down) => server.down = true,
        }
    }
}

/// The name that an added server has.
pub(crate) fn server_name(server: &NewServer) -> String {
    match &server.name {
        Some(name) => name.clone(),
        None => server.address.to_string(),
    }
}

/// What the request says nothing of is as for the pool's first server, but for weight and limits.
fn added(name: &str, server: &NewServer, pattern: &Server) -> Server {
    Server {
        name: Spanned::new(name.to_owned(), pattern.name.span),
        address: Spanned::new(server.address.clone(), pattern.address.span),
        weight: server.weight.unwrap_or(1),
        tier: server.tier.unwrap_or(0),
        discover: Discover::One,
        down: false,
        max_connections: server.max_connections.unwrap_or(0),
        ..pattern.clone()
    }
}

fn check_new(name: &str, server: &NewServer) -> Result<(), ChangeFault> {
    let bad = |what: String| Err(ChangeFault::Bad(what));
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        return bad(format!(
            "the name of a server has 1 to {NAME_BYTES_MAX} bytes and no control characters"
        ));
    }
    if server.address.port == 0 {
        return bad(format!(
            "{}: a server needs a port from 1 to 65535",
            server.address
        ));
    }
    check_weight(server.weight.unwrap_or(1))
}

fn check_weight(weight: u32) -> Result<(), ChangeFault> {
    match weight <= WEIGHT_MAX {
        true => Ok(()),
        false => Err(ChangeFault::Bad(format!(
            "a weight is 0 to {WEIGHT_MAX}, and {weight} is not"
        ))),
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test fails by panicking, its helpers too")]
mod tests {
    use super::*;

    fn model(servers: &str) -> Model {
        let text = format!(
            "listeners: {{ web: {{ bind: \":80\" }} }}\nroutes: [ {{ pool: app }} ]\npools: {{ app: {{ servers: [ {servers} ] }} }}\n"
        );
        let (model, _) = keel_config::load_str(&text)
            .unwrap_or_else(|found| panic!("{}", keel_config::render_all(&found, false)));
        model
    }

    fn names(model: &Model) -> Vec<&str> {
        let servers = model.pools[0].servers.iter();
        servers.map(|it| it.name.value.as_str()).collect()
    }

    const A: &str = "{ name: a, address: \"10.0.0.1:80\", weight: 3, max_fails: 7 }";
    const B: &str = "{ name: b, address: \"10.0.0.2:80\" }";
    const MANY: &str = "{ address: \"app.internal:80\", resolve: all }";

    fn new(name: &str) -> NewServer {
        NewServer {
            name: Some(name.to_owned()),
            address: model(B).pools[0].servers[0].address.value.clone(),
            weight: None,
            max_connections: None,
            tier: Some(2),
        }
    }

    fn add(name: &str) -> Change {
        Change::AddServer {
            pool: "app".to_owned(),
            server: new(name),
        }
    }

    fn remove(name: &str) -> Change {
        Change::RemoveServer {
            pool: "app".to_owned(),
            server: name.to_owned(),
        }
    }

    fn changed(file: &Model, changes: &[Change]) -> (Overlay, Model) {
        let mut overlay = Overlay::default();
        let by = Actor::new("a test");
        let mut now = overlay.apply(expanded(file, &[]), file);
        for change in changes {
            let done = overlay.change(change, &now, (&by, 0));
            done.unwrap_or_else(|fault| panic!("{fault}"));
            now = overlay.apply(expanded(file, &[]), file);
        }
        (overlay, now)
    }

    #[test]
    fn an_added_server_is_judged_as_its_pool_s_others() {
        let file = model(A);
        let (_, now) = changed(&file, &[add("c")]);
        let server = &now.pools[0].servers[1];
        assert_eq!((server.weight, server.tier, server.max_fails), (1, 2, 7));
        assert!(!server.down && server.max_connections == 0);
        // Nothing was found by name yet: what is added serves.
        let file = model(MANY);
        assert_eq!(names(&changed(&file, &[add("c")]).1), ["c"]);
    }

    #[test]
    fn what_was_removed_may_be_added_again() {
        let file = model(&format!("{A}, {B}"));
        let (overlay, now) = changed(&file, &[remove("a"), add("a"), remove("b")]);
        assert_eq!(names(&now), ["a"]);
        assert_eq!(
            now.pools[0].servers[0].address.value.to_string(),
            "10.0.0.2:80"
        );
        assert_eq!(overlay.count(), 3);
    }

    #[test]
    fn found_servers_stand_where_their_entry_stands() {
        let file = model(&format!("{A}, {MANY}, {B}"));
        let found = |name: &str| crate::change::FoundServer {
            name: name.to_owned(),
            address: ([10, 0, 0, 9], 80).into(),
            host: "app.test".to_owned(),
            weight: Some(9),
            tier: None,
        };
        let all = [Found {
            pool: "app".to_owned(),
            entry: 1,
            name: file.pools[0].servers[1].name.value.clone(),
            servers: vec![found("many@1"), found("many@2"), found("a")],
        }];
        let whole = expanded(&file, &all);
        assert_eq!(names(&whole), ["a", "many@1", "many@2", "b"]);
        assert_eq!(whole.pools[0].servers[1].weight, 9);
        assert!(!has_entries(&whole) && has_entries(&file));
        assert_eq!(names(&expanded(&file, &[])), ["a", "b"]);
    }

    #[test]
    fn a_pool_is_never_left_without_servers_by_what_was_removed() {
        let (mut overlay, _) = changed(&model(&format!("{A}, {B}")), &[remove("a")]);
        let file = model(A);
        let dropped = overlay.fit(&file);
        assert!(dropped[0].contains("they are back"), "{dropped:?}");
        assert_eq!(names(&overlay.apply(file.clone(), &file)), ["a"]);
        assert_eq!(overlay, Overlay::default());
    }
}
