//! One worker's view of the registry: handles by position, made at first use.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use keel_types::{ListenerId, PoolId, RouteId, ServerIndex};

use super::handles::{ListenerMetrics, PoolMetrics, RouteMetrics, ServerMetrics};
use super::registry::Registry;

/// The handles of one worker under one configuration. Cheap to clone; stays on its thread.
///
/// A position that the registry does not know (a mistake of the caller: an id from another
/// snapshot) gives the handle of requests without a route, or a handle that is counted nowhere.
///
/// ```compile_fail
/// fn moves_to_another_thread<T: Send>() {}
/// moves_to_another_thread::<keel_observe::WorkerMetrics>();
/// ```
#[derive(Debug, Clone)]
pub struct WorkerMetrics(Rc<Handles>);

#[derive(Debug)]
struct Handles {
    registry: Registry,
    worker: usize,
    unrouted: Rc<RouteMetrics>,
    routes: Box<[OnceCell<Rc<RouteMetrics>>]>,
    listeners: Box<[OnceCell<Rc<ListenerMetrics>>]>,
    pools: Box<[OnceCell<Rc<PoolMetrics>>]>,
    servers: Box<[OnceCell<Rc<ServerMetrics>>]>,
    stray_listener: Rc<ListenerMetrics>,
    stray_pool: Rc<PoolMetrics>,
    stray_server: Rc<ServerMetrics>,
}

impl WorkerMetrics {
    pub(crate) fn new(registry: Registry, worker: usize) -> WorkerMetrics {
        fn empty<T>(len: usize) -> Box<[OnceCell<T>]> {
            (0..len).map(|_| OnceCell::new()).collect()
        }
        let totals = registry.total_series().worker(worker);
        let unrouted = Rc::new(RouteMetrics::new(
            registry.unrouted().worker(worker),
            totals,
        ));
        WorkerMetrics(Rc::new(Handles {
            unrouted,
            routes: empty(registry.routes().len()),
            listeners: empty(registry.listeners().len()),
            pools: empty(registry.pools().len()),
            servers: empty(registry.servers().len()),
            stray_listener: Rc::new(ListenerMetrics::new(Arc::default())),
            stray_pool: Rc::new(PoolMetrics::new(Arc::default())),
            stray_server: Rc::new(ServerMetrics::new(Arc::default())),
            registry,
            worker,
        }))
    }

    /// The number of this worker, from 0.
    pub fn index(&self) -> usize {
        self.0.worker
    }

    /// The registry that the handles belong to.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The handle for a route.
    #[inline]
    pub fn route(&self, route: RouteId) -> &Rc<RouteMetrics> {
        let handles = &*self.0;
        match handles.routes.get(route.0 as usize) {
            Some(slot) => slot.get_or_init(|| handles.make_route(route.0 as usize)),
            None => &handles.unrouted,
        }
    }

    /// The handle for requests that never reached a route: refused before routing, or no match.
    /// They are exported with an empty `route` label.
    #[inline]
    pub fn unrouted(&self) -> &Rc<RouteMetrics> {
        &self.0.unrouted
    }

    /// The handle for a listener.
    #[inline]
    pub fn listener(&self, listener: ListenerId) -> &Rc<ListenerMetrics> {
        let handles = &*self.0;
        match handles.listeners.get(usize::from(listener.0)) {
            Some(slot) => slot.get_or_init(|| handles.make_listener(usize::from(listener.0))),
            None => &handles.stray_listener,
        }
    }

    /// The handle for a pool as a whole.
    #[inline]
    pub fn pool(&self, pool: PoolId) -> &Rc<PoolMetrics> {
        let handles = &*self.0;
        match handles.pools.get(usize::from(pool.0)) {
            Some(slot) => slot.get_or_init(|| handles.make_pool(usize::from(pool.0))),
            None => &handles.stray_pool,
        }
    }

    /// The handle for a server of a pool.
    #[inline]
    pub fn server(&self, pool: PoolId, server: ServerIndex) -> &Rc<ServerMetrics> {
        let handles = &*self.0;
        let position = handles.registry.server_position(pool, server);
        match position.and_then(|at| handles.servers.get(at).map(|slot| (at, slot))) {
            Some((at, slot)) => slot.get_or_init(|| handles.make_server(at)),
            None => &handles.stray_server,
        }
    }
}

impl Handles {
    #[cold]
    fn make_route(&self, at: usize) -> Rc<RouteMetrics> {
        let Some(series) = self.registry.routes().at(at) else {
            return Rc::clone(&self.unrouted);
        };
        let totals = self.registry.total_series().worker(self.worker);
        Rc::new(RouteMetrics::new(series.worker(self.worker), totals))
    }

    #[cold]
    fn make_listener(&self, at: usize) -> Rc<ListenerMetrics> {
        let series = self.registry.listeners().at(at);
        series.map_or_else(
            || Rc::clone(&self.stray_listener),
            |series| Rc::new(ListenerMetrics::new(series.worker(self.worker))),
        )
    }

    #[cold]
    fn make_pool(&self, at: usize) -> Rc<PoolMetrics> {
        let series = self.registry.pools().at(at);
        series.map_or_else(
            || Rc::clone(&self.stray_pool),
            |series| Rc::new(PoolMetrics::new(series.worker(self.worker))),
        )
    }

    #[cold]
    fn make_server(&self, at: usize) -> Rc<ServerMetrics> {
        let series = self.registry.servers().at(at);
        series.map_or_else(
            || Rc::clone(&self.stray_server),
            |series| Rc::new(ServerMetrics::new(series.worker(self.worker))),
        )
    }
}
