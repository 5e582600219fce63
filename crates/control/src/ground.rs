//! Live state by name: what a configuration is compiled on, so that what stays is the same object.
//!
//! Invariant: a compile reads the ground and makes the next one; it changes nothing. One that fails is
//! dropped, and so are the keys that it gave to new servers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use keel_balance::{Breaker, EndpointState, Hedger, Limiter, RetryBudget};
use keel_config::model::{self, BindAddress, ClientCertificates, Listener, Model, VerifyClient};
use keel_l7::{Bindings, ListenerPlan, PoolLimits, PoolPlan, Queue, Shed, Snapshot, TlsPlan};
use keel_tls::{ClientSettings, Connector};
use keel_types::ListenerId;
use keel_upstream::check::{CheckPlan, PoolChecks};
use keel_upstream::{Server, ServerKey, ServerKeys};

use crate::compile::TlsStart;
use crate::secret::OwnSecret;
use crate::status::Handle;

/// What there is, by name. The default is that of a process that begins.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    keys: Keys,
    /// By name.
    pub(crate) pools: HashMap<String, PoolUnits>,
    /// By `ListenerId`.
    pub(crate) listeners: Vec<ListenerUnit>,
    /// What persistence is made with when the configuration has no secret.
    pub(crate) secret: Arc<OwnSecret>,
    /// With what it was made of.
    pub(crate) shed: Option<(model::Shed, Arc<Shed>)>,
    /// What workers serve from; `None` before the start.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// Answers the pages that routes expose.
    pub(crate) handle: Arc<Handle>,
    /// Time of the workers' clocks, in milliseconds.
    pub(crate) now_ms: u64,
}

/// Live state of a pool.
#[derive(Debug, Default)]
pub(crate) struct PoolUnits {
    /// By name.
    pub(crate) servers: HashMap<String, ServerUnit>,
    pub(crate) protocol: Option<model::ServerProtocol>,
    /// TLS towards its servers, with what it was made of.
    pub(crate) connector: Option<(ClientSettings, Arc<Connector>)>,
    /// How its servers are checked.
    pub(crate) check: Option<Arc<CheckPlan>>,
    /// TLS of checks, with what it was made of.
    pub(crate) check_tls: Option<(ClientSettings, Arc<Connector>)>,
    pub(crate) budget: Option<Arc<RetryBudget>>,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) limits: Option<Arc<PoolLimits>>,
    pub(crate) queue: Option<Arc<Queue>>,
    pub(crate) hedger: Option<Arc<Hedger>>,
    /// Who is bound to which server.
    pub(crate) bindings: Option<Arc<Bindings>>,
}

/// Live state of a server.
#[derive(Debug, Clone)]
pub(crate) struct ServerUnit {
    /// Held, so that it is taken back in time.
    pub(crate) _key: Arc<Key>,
    pub(crate) server: Arc<Server>,
    pub(crate) state: Arc<EndpointState>,
    pub(crate) breaker: Option<Arc<Breaker>>,
    /// Since when there is such a server, on the workers' clocks.
    pub(crate) added_ms: u64,
}

/// A place of a listener. Places are never taken out: ids are positions.
#[derive(Debug, Clone)]
pub(crate) struct ListenerUnit {
    pub(crate) name: String,
    pub(crate) binds: Vec<BindAddress>,
    /// What its connections were taken on.
    terms: Terms,
    /// No configuration has it any more.
    pub(crate) gone: bool,
    /// Nobody is connected to one that is gone: its place may be given to another.
    pub(crate) empty: bool,
    /// Its TLS, with what it was made of.
    pub(crate) tls: Option<(TlsStart, TlsPlan)>,
}

/// What a connection had to fulfil when it was taken. One that lives on must not pass for one that was
/// taken on other terms.
#[derive(Debug, Clone, Default, PartialEq)]
struct Terms {
    tls: bool,
    /// The CAs of clients' certificates, their revocation lists, and whether one is required.
    clients: Option<(PathBuf, Option<PathBuf>, VerifyClient)>,
}

impl Terms {
    fn of(listener: &Listener) -> Terms {
        let client = |it: &ClientCertificates| {
            let lists = it.crl.as_ref().map(|crl| crl.value.clone());
            (it.ca.value.clone(), lists, it.verify)
        };
        let tls = listener.tls.as_ref();
        Terms {
            tls: tls.is_some(),
            clients: tls.and_then(|tls| tls.client.as_ref()).map(client),
        }
    }
}

impl ListenerUnit {
    /// Whether this listener may have its id: nobody is connected on it, or nobody who came by an
    /// address or on terms that the listener does not have.
    fn goes_on_as(&self, listener: &Listener) -> bool {
        let has = |bind: &BindAddress| listener.binds.iter().any(|it| it.value == *bind);
        self.gone && self.empty || self.binds.iter().all(has) && self.terms == Terms::of(listener)
    }
}

/// Gives out the keys of servers.
#[derive(Debug, Clone, Default)]
struct Keys(Arc<Mutex<ServerKeys>>);

/// A server's key; taken back when nothing that is or may be served has it any more.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) key: ServerKey,
    keys: Keys,
}

impl Drop for Key {
    fn drop(&mut self) {
        self.keys.lock().take_back(self.key);
    }
}

impl Keys {
    fn lock(&self) -> std::sync::MutexGuard<'_, ServerKeys> {
        // Each call leaves the table whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ground {
    /// The ground that follows, still without pools and listeners.
    pub(crate) fn next(&self) -> Ground {
        Ground {
            keys: self.keys.clone(),
            handle: self.handle.clone(),
            secret: self.secret.clone(),
            ..Ground::default()
        }
    }

    /// A key for a server that is new.
    pub(crate) fn new_key(&self) -> Arc<Key> {
        Arc::new(Key {
            key: self.keys.lock().give(),
            keys: self.keys.clone(),
        })
    }

    /// How the pools of the snapshot of this ground are checked.
    pub(crate) fn checks(&self, snapshot: &Snapshot) -> Vec<PoolChecks> {
        let checks = |plan: &PoolPlan| PoolChecks {
            pool: plan.pool.clone(),
            plan: self
                .pools
                .get(&plan.pool.name)
                .and_then(|it| it.check.clone()),
        };
        snapshot.pools.iter().map(checks).collect()
    }

    /// Since when there is each server of a pool, in its order.
    pub(crate) fn added_ms(&self, pool: &PoolPlan) -> Vec<u64> {
        let units = self.pools.get(&pool.pool.name);
        let unit = |name: &str| units.and_then(|it| it.servers.get(name));
        let servers = pool.pool.servers.iter();
        let added = servers.map(|server| unit(&server.name).map_or(0, |it| it.added_ms));
        added.collect()
    }

    /// The TLS of checks, by the pools' names, in their order.
    pub(crate) fn check_tls(&self) -> Vec<(String, Arc<Connector>)> {
        let tls = self.pools.iter().filter_map(|(name, units)| {
            let (_, connector) = units.check_tls.as_ref()?;
            Some((name.clone(), connector.clone()))
        });
        let mut all: Vec<_> = tls.collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The TLS of the listener of this name, while it has one.
    pub(crate) fn tls(&self, listener: &str) -> Option<&(TlsStart, TlsPlan)> {
        // A place that is gone may have the name too.
        let is_it = |it: &&ListenerUnit| !it.gone && it.name == listener;
        let unit = self.listeners.iter().find(is_it)?;
        unit.tls.as_ref()
    }

    /// The plan of a listener that is gone: its connections end by it.
    pub(crate) fn last_plan(&self, id: usize) -> Option<&ListenerPlan> {
        self.snapshot.as_ref()?.listeners.get(id)
    }

    /// Ids for the listeners of a model, in its order, and all places as they are then. A name keeps
    /// its id. A new name that takes over the addresses of one that goes takes over its id too, and
    /// with it the sockets and what waits in them. Where an address was taken away or the terms are
    /// others, the listener gets another place: connections end by the plan that they came under.
    pub(crate) fn place(&self, model: &Model) -> (Vec<ListenerId>, Vec<ListenerUnit>) {
        let mut units = self.listeners.clone();
        let mut ids: Vec<Option<usize>> = Vec::with_capacity(model.listeners.len());
        for listener in &model.listeners {
            let same =
                |unit: &ListenerUnit| unit.name == listener.name.value && unit.goes_on_as(listener);
            let serves = units.iter().position(|unit| !unit.gone && same(unit));
            ids.push(serves.or_else(|| units.iter().position(same)));
        }
        for at in 0..ids.len() {
            let (Some(None), Some(listener)) = (ids.get(at), model.listeners.get(at)) else {
                continue;
            };
            let shares = |unit: &ListenerUnit| {
                !unit.gone && !unit.binds.is_empty() && unit.goes_on_as(listener)
            };
            let free = |id: &usize| !ids.contains(&Some(*id));
            let left = |test: &dyn Fn(&ListenerUnit) -> bool| {
                let all = units.iter().enumerate();
                let mut found = all.filter(|(_, unit)| test(unit)).map(|(id, _)| id);
                found.find(&free)
            };
            let id = left(&shares).or_else(|| left(&|unit| unit.gone && unit.empty));
            let id = id.unwrap_or_else(|| {
                units.push(ListenerUnit::default());
                units.len() - 1
            });
            if let Some(slot) = ids.get_mut(at) {
                *slot = Some(id);
            }
        }
        let mut after: Vec<ListenerUnit> = units;
        for (id, unit) in after.iter_mut().enumerate() {
            unit.gone = !ids.contains(&Some(id));
            // Put there by whoever makes it.
            unit.tls = None;
        }
        for (id, listener) in ids.iter().flatten().zip(&model.listeners) {
            if let Some(unit) = after.get_mut(*id) {
                unit.name.clone_from(&listener.name.value);
                unit.binds = listener.binds.iter().map(|it| it.value.clone()).collect();
                unit.terms = Terms::of(listener);
                unit.empty = false;
            }
        }
        let ids = ids.into_iter().flatten();
        let ids = ids.map(|id| ListenerId(u16::try_from(id).unwrap_or(u16::MAX)));
        (ids.collect(), after)
    }
}

impl Default for ListenerUnit {
    fn default() -> ListenerUnit {
        ListenerUnit {
            name: String::new(),
            binds: Vec::new(),
            terms: Terms::default(),
            gone: true,
            empty: true,
            tls: None,
        }
    }
}

/// The live object of before when its settings are those that are wanted, else a new one.
pub(crate) fn kept<T, S: PartialEq>(
    before: Option<&Arc<T>>,
    settings: impl FnOnce(&T) -> &S,
    wanted: S,
    make: impl FnOnce(S) -> T,
) -> Arc<T> {
    match before {
        Some(before) if *settings(before) == wanted => before.clone(),
        _ => Arc::new(make(wanted)),
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test fails by panicking, its helpers too")]
mod tests {
    use super::*;
    use crate::compile::compile_on;

    fn model(listeners: &str) -> Model {
        let text =
            format!("listeners: {{ {listeners} }}\nroutes: [ {{ respond: {{ status: 204 }} }} ]\n");
        let (model, _) = keel_config::load_str(&text)
            .unwrap_or_else(|found| panic!("{}", keel_config::render_all(&found, false)));
        model
    }

    /// The ground that follows when this is served, and the ids of its listeners.
    fn after(ground: &Ground, listeners: &str) -> (Ground, Vec<u16>) {
        let compiled = compile_on(&model(listeners), ground)
            .unwrap_or_else(|found| panic!("{}", keel_config::render_all(&found, false)));
        let mut next = compiled.ground;
        assert_eq!(compiled.snapshot.listeners.len(), next.listeners.len());
        for (unit, plan) in next.listeners.iter().zip(&compiled.snapshot.listeners) {
            assert_eq!((unit.gone, &unit.name), (plan.gone, &plan.name));
        }
        next.snapshot = Some(Arc::new(compiled.snapshot));
        (next, compiled.ids.iter().map(|id| id.0).collect())
    }

    const A: &str = "a: { bind: \":8001\" }";
    const B: &str = "b: { bind: \":8002\" }";

    #[test]
    fn names_keep_their_ids_and_places_are_never_taken_out() {
        let (ground, ids) = after(&Ground::default(), &format!("{A}, {B}"));
        assert_eq!(ids, [0, 1]);
        let (ground, ids) = after(&ground, B);
        assert_eq!(ids, [1]);
        assert!(ground.listeners[0].gone && !ground.listeners[1].gone);
        let c = "c: { bind: \":8003\" }";
        let (ground, ids) = after(&ground, &format!("{c}, {B}"));
        assert_eq!(ids, [2, 1], "connections of the one that went may live on");
        let (_, ids) = after(&ground, &format!("{A}, {B}"));
        assert_eq!(ids, [0, 1], "a name that comes back");
    }

    #[test]
    fn another_name_for_an_address_takes_over_its_id() {
        let (ground, _) = after(&Ground::default(), &format!("{A}, {B}"));
        let renamed = "z: { bind: [\":8004\", \":8001\"] }";
        let (ground, ids) = after(&ground, &format!("{renamed}, {B}"));
        assert_eq!(ids, [0, 1]);
        assert_eq!(ground.listeners[0].name, "z");
        // One that stays keeps its own, whatever addresses it takes over.
        let (_, ids) = after(&ground, "b: { bind: [\":8001\", \":8002\"] }");
        assert_eq!(ids, [1]);
    }

    #[test]
    fn an_id_does_not_pass_to_other_addresses_or_terms() {
        let (ground, ids) = after(&Ground::default(), "web: { bind: [\":8001\", \":8002\"] }");
        assert_eq!(ids, [0]);
        let split = "internal: { bind: \":8001\" }, public: { bind: \":8002\" }";
        let (split, ids) = after(&ground, split);
        assert_eq!(ids, [1, 2]);
        assert!(split.listeners[0].gone);
        let (less, ids) = after(&ground, "web: { bind: \":8001\" }");
        assert_eq!(ids, [1], "who came by the other address is no client of it");
        let (_, ids) = after(&less, "web: { bind: [\":8001\", \":8002\"] }");
        assert_eq!(ids, [1], "the one that serves goes on");

        let ca = "tls: { self_signed: true, client: { ca: /ca.pem, verify: VERIFY } }";
        let terms = [
            "",
            "tls: { self_signed: true }",
            &ca.replace("VERIFY", "required"),
            &ca.replace("VERIFY", "optional"),
        ];
        for of in &terms {
            for to in &terms {
                let ground = Ground {
                    listeners: places(&format!("web: {{ bind: \":8443\", {of} }}")),
                    ..Ground::default()
                };
                let to_model = model(&format!("web: {{ bind: \":8443\", {to} }}"));
                let (ids, _) = ground.place(&to_model);
                assert_eq!(ids[0].0 == 0, of == to, "{of} to {to}");
            }
        }
    }

    fn places(listeners: &str) -> Vec<ListenerUnit> {
        Ground::default().place(&model(listeners)).1
    }

    #[test]
    fn a_place_without_connections_is_used_again() {
        let (ground, _) = after(&Ground::default(), &format!("{A}, {B}"));
        let (mut ground, _) = after(&ground, B);
        ground.listeners[0].empty = true;
        let (ground, ids) = after(&ground, &format!("{B}, c: {{ bind: \":8003\" }}"));
        assert_eq!(ids, [1, 0]);
        assert_eq!(ground.listeners.len(), 2);
    }

    #[test]
    fn live_state_goes_on_while_its_settings_are_the_same() {
        let text = |pool: &str| {
            format!(
                "listeners: {{ {A} }}\nroutes: [ {{ pool: app }} ]\npools: {{ app: {{ {pool} }} }}\n"
            )
        };
        let compiled = |ground: &Ground, pool: &str| {
            let (model, _) = keel_config::load_str(&text(pool))
                .unwrap_or_else(|found| panic!("{}", keel_config::render_all(&found, false)));
            let compiled = compile_on(&model, ground);
            compiled
                .unwrap_or_else(|found| panic!("{}", keel_config::render_all(&found, false)))
                .ground
        };
        let of = |ground: &Ground, name: &str| ground.pools["app"].servers[name].clone();
        let breaker = "breaker: { errors: 40% }, limits: { requests: 9 }";
        let first = compiled(
            &Ground::default(),
            &format!("servers: [ {{ name: s, address: \"10.0.0.1:80\" }} ], {breaker}"),
        );
        let second = compiled(
            &first,
            &format!(
                "servers: [ {{ name: t, address: \"10.0.0.2:80\" }}, {{ name: s, address: \"10.0.0.1:80\", weight: 5 }} ], {breaker}"
            ),
        );
        let (before, same) = (of(&first, "s"), of(&second, "s"));
        assert!(Arc::ptr_eq(&before.server, &same.server));
        assert!(Arc::ptr_eq(&before.state, &same.state));
        let (old, new) = (&first.pools["app"], &second.pools["app"]);
        assert!(Arc::ptr_eq(
            old.breaker.as_ref().unwrap(),
            new.breaker.as_ref().unwrap()
        ));
        assert!(Arc::ptr_eq(
            old.limits.as_ref().unwrap(),
            new.limits.as_ref().unwrap()
        ));

        // Another protocol: other connections, the same health. Another address: another server.
        let third = compiled(
            &second,
            "servers: [ { name: s, address: \"10.0.0.1:80\" }, { name: t, address: \"10.0.0.3:80\" } ], protocol: http2, breaker: { errors: 60% }",
        );
        let linked = of(&third, "s");
        assert!(Arc::ptr_eq(&before.state, &linked.state));
        assert_ne!(before.server.key, linked.server.key);
        assert!(!Arc::ptr_eq(
            &of(&second, "t").state,
            &of(&third, "t").state
        ));
        let new = &third.pools["app"];
        assert!(!Arc::ptr_eq(
            old.breaker.as_ref().unwrap(),
            new.breaker.as_ref().unwrap()
        ));
        // Whoever waits for a place there hears that there is no limit any more.
        assert!(Arc::ptr_eq(
            old.limits.as_ref().unwrap(),
            new.limits.as_ref().unwrap()
        ));
    }

    #[test]
    fn keys_are_taken_back_with_the_last_that_has_them() {
        let ground = Ground::default();
        let first = ground.new_key();
        let (slot, id) = (first.key.slot, first.key.id);
        drop(first);
        let next = ground.next().new_key();
        assert_eq!(next.key.slot, slot, "the slot is used again");
        assert!(next.key.id > id, "the id never is");
    }
}
