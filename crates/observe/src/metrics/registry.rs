//! The registry: all series of one configuration, and the sums over all workers.
//!
//! Invariants: the number of workers is fixed for the life of the process. A registry is immutable;
//! a reload makes a [successor](Registry::successor) that shares the series of the names that stay.

use std::sync::Arc;

use keel_types::{ListenerId, PoolId, RouteId, ServerIndex};

use super::handles::{ListenerCells, PoolCells, RouteCells, ServerCells, StatusClass, TotalCells};
use super::histogram::Buckets;
use super::process::unix_ms;
use super::series::{Family, Series, label};
use super::worker::WorkerMetrics;

/// The names of a configuration, in the order of their ids. They become label values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Listeners by [`ListenerId`].
    pub listeners: Vec<String>,
    /// Routes by [`RouteId`].
    pub routes: Vec<String>,
    /// Pools by [`PoolId`].
    pub pools: Vec<PoolNames>,
}

/// A pool and its servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolNames {
    /// The pool's name.
    pub name: String,
    /// Its servers by [`ServerIndex`].
    pub servers: Vec<String>,
}

/// All series of one configuration. Cheap to clone; clones are the same registry.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    workers: usize,
    started_unix_ms: u64,
    totals: Arc<Series<TotalCells>>,
    unrouted: Arc<Series<RouteCells>>,
    routes: Family<RouteCells>,
    listeners: Family<ListenerCells>,
    pools: Family<PoolCells>,
    servers: Family<ServerCells>,
    /// Where each pool's servers begin in `servers`, and one past the last.
    pool_starts: Vec<usize>,
}

impl Registry {
    /// A registry for a process with `workers` worker threads (at least one).
    pub fn new(names: &Names, workers: usize) -> Registry {
        let workers = workers.max(1);
        Registry::build(names, workers, None)
    }

    /// The registry of a new configuration in the same process. Series whose labels stay run on;
    /// the others begin at zero or are no longer exported. Workers that still serve requests under
    /// the old configuration count into the shared series meanwhile.
    pub fn successor(&self, names: &Names) -> Registry {
        Registry::build(names, self.0.workers, Some(&self.0))
    }

    fn build(names: &Names, workers: usize, previous: Option<&Inner>) -> Registry {
        let routes = names.routes.iter().map(|name| label(&[("route", name)]));
        let listeners = names
            .listeners
            .iter()
            .map(|name| label(&[("listener", name)]));
        let pools = names
            .pools
            .iter()
            .map(|pool| label(&[("pool", &pool.name)]));
        let servers = names.pools.iter().flat_map(|pool| {
            pool.servers
                .iter()
                .map(|server| label(&[("pool", &pool.name), ("server", server)]))
        });
        let mut pool_starts = vec![0];
        let mut start = 0;
        for pool in &names.pools {
            start += pool.servers.len();
            pool_starts.push(start);
        }
        Registry(Arc::new(Inner {
            workers,
            started_unix_ms: previous.map_or_else(unix_ms, |previous| previous.started_unix_ms),
            totals: previous.map_or_else(
                || Arc::new(Series::new(String::new(), workers)),
                |previous| Arc::clone(&previous.totals),
            ),
            unrouted: previous.map_or_else(
                || Arc::new(Series::new(label(&[("route", "")]), workers)),
                |previous| Arc::clone(&previous.unrouted),
            ),
            routes: Family::build(routes, workers, previous.map(|inner| &inner.routes)),
            listeners: Family::build(listeners, workers, previous.map(|inner| &inner.listeners)),
            pools: Family::build(pools, workers, previous.map(|inner| &inner.pools)),
            servers: Family::build(servers, workers, previous.map(|inner| &inner.servers)),
            pool_starts,
        }))
    }

    /// The handles of one worker, from 0. Call it on the worker's own thread, and let one thread
    /// only count for one number: two threads under the same number would lose counts.
    ///
    /// # Panics
    /// When `worker` is not below the number of workers that the registry was made for.
    pub fn worker(&self, worker: usize) -> WorkerMetrics {
        assert!(
            worker < self.0.workers,
            "worker {worker} of {} does not exist",
            self.0.workers
        );
        WorkerMetrics::new(self.clone(), worker)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.0.workers
    }

    /// Requests and errors since the start, over all workers, routes and reloads.
    pub fn totals(&self) -> Totals {
        Totals {
            requests: self.0.totals.sum(|cells| cells.requests.read()),
            errors: self.0.totals.sum(|cells| cells.errors.read()),
        }
    }

    /// The sums of one route; `None` for an id of another snapshot.
    pub fn route_totals(&self, route: RouteId) -> Option<RouteTotals> {
        self.0
            .routes
            .at(route.0 as usize)
            .map(|series| RouteTotals::of(series))
    }

    /// The sums of requests that never reached a route.
    pub fn unrouted_totals(&self) -> RouteTotals {
        RouteTotals::of(&self.0.unrouted)
    }

    /// The sums of one server; `None` for ids of another snapshot.
    pub fn server_totals(&self, pool: PoolId, server: ServerIndex) -> Option<ServerTotals> {
        let at = self.server_position(pool, server)?;
        self.0.servers.at(at).map(|series| ServerTotals::of(series))
    }

    /// The sums of one listener; `None` for an id of another snapshot.
    pub fn listener_totals(&self, listener: ListenerId) -> Option<ListenerTotals> {
        self.0
            .listeners
            .at(usize::from(listener.0))
            .map(|series| ListenerTotals {
                open: series.sum(|cells| cells.open.read()),
                accepted: series.sum(|cells| cells.accepted.read()),
                rejected: series.sum(|cells| cells.rejected.iter().map(|cell| cell.read()).sum()),
                requests: series.sum(|cells| cells.requests.read()),
                bad_requests: series.sum(|cells| cells.bad_requests.read()),
            })
    }

    #[inline]
    pub(crate) fn server_position(&self, pool: PoolId, server: ServerIndex) -> Option<usize> {
        let pool = usize::from(pool.0);
        let end = *self.0.pool_starts.get(pool + 1)?;
        let at = self.0.pool_starts[pool] + server.0 as usize;
        (at < end).then_some(at)
    }

    /// The ids of a position in the family of servers.
    pub(crate) fn server_at(&self, position: usize) -> Option<(PoolId, ServerIndex)> {
        // The last pool that begins at or before the position; pools without servers are passed.
        let pool = self
            .0
            .pool_starts
            .partition_point(|start| *start <= position)
            .checked_sub(1)?;
        let server = position - self.0.pool_starts[pool];
        Some((
            PoolId(u16::try_from(pool).ok()?),
            ServerIndex(u32::try_from(server).ok()?),
        ))
    }

    /// When the first registry of the process was made, in milliseconds since the Unix epoch; what
    /// `evenkeel_process_start_time_seconds` and uptimes go by.
    pub fn started_unix_ms(&self) -> u64 {
        self.0.started_unix_ms
    }

    pub(crate) fn total_series(&self) -> &Arc<Series<TotalCells>> {
        &self.0.totals
    }

    pub(crate) fn unrouted(&self) -> &Arc<Series<RouteCells>> {
        &self.0.unrouted
    }

    pub(crate) fn routes(&self) -> &Family<RouteCells> {
        &self.0.routes
    }

    pub(crate) fn listeners(&self) -> &Family<ListenerCells> {
        &self.0.listeners
    }

    pub(crate) fn pools(&self) -> &Family<PoolCells> {
        &self.0.pools
    }

    pub(crate) fn servers(&self) -> &Family<ServerCells> {
        &self.0.servers
    }
}

/// Requests since the start, over all routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Finished requests.
    pub requests: u64,
    /// Of them, those answered with a 5xx.
    pub errors: u64,
}

/// The sums of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteTotals {
    /// Finished requests by class, in the order of [`StatusClass::ALL`].
    pub requests: [u64; 6],
    /// Requests in flight now.
    pub in_flight: u64,
    /// Bytes read from clients.
    pub request_bytes: u64,
    /// Bytes written to clients.
    pub response_bytes: u64,
    /// Total times.
    pub duration: Buckets,
}

impl RouteTotals {
    pub(crate) fn of(series: &Series<RouteCells>) -> RouteTotals {
        let mut totals = RouteTotals::default();
        for cells in series.each() {
            add_all(&mut totals.requests, &cells.requests);
            totals.in_flight = totals.in_flight.wrapping_add(cells.in_flight.read());
            totals.request_bytes += cells.request_bytes.read();
            totals.response_bytes += cells.response_bytes.read();
            cells.duration.add_to(&mut totals.duration);
        }
        totals
    }

    /// Finished requests of all classes.
    pub fn finished(&self) -> u64 {
        self.requests.iter().sum()
    }
}

/// The sums of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerTotals {
    /// Attempts by class of the answer, in the order of [`StatusClass::ALL`]; `None` means that no
    /// usable answer came.
    pub requests: [u64; 6],
    /// Errors by kind, in the order of [`ErrorKind::ALL`](super::ErrorKind::ALL).
    pub errors: [u64; 4],
    /// Attempts in flight now.
    pub in_flight: u64,
    /// Bytes written to the server.
    pub request_bytes: u64,
    /// Bytes read from the server.
    pub response_bytes: u64,
    /// Connections opened.
    pub opened: u64,
    /// Attempts over a kept connection.
    pub reused: u64,
    /// Attempts that were followed by another one.
    pub retries: u64,
    /// Times to connect.
    pub connect: Buckets,
    /// Times to the head of the answer.
    pub first_byte: Buckets,
}

impl ServerTotals {
    pub(crate) fn of(series: &Series<ServerCells>) -> ServerTotals {
        let mut totals = ServerTotals::default();
        for cells in series.each() {
            add_all(&mut totals.requests, &cells.requests);
            add_all(&mut totals.errors, &cells.errors);
            totals.in_flight = totals.in_flight.wrapping_add(cells.in_flight.read());
            totals.request_bytes += cells.request_bytes.read();
            totals.response_bytes += cells.response_bytes.read();
            totals.opened += cells.opened.read();
            totals.reused += cells.reused.read();
            totals.retries += cells.retries.read();
            cells.connect.add_to(&mut totals.connect);
            cells.first_byte.add_to(&mut totals.first_byte);
        }
        totals
    }

    /// Answers and failures of all classes.
    pub fn finished(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Answers of one class.
    pub fn class(&self, class: StatusClass) -> u64 {
        self.requests[class as usize]
    }
}

/// The sums of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenerTotals {
    /// Connections open now.
    pub open: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections not taken, for any reason.
    pub rejected: u64,
    /// Requests read.
    pub requests: u64,
    /// Requests refused before routing.
    pub bad_requests: u64,
}

fn add_all<const N: usize>(sums: &mut [u64; N], cells: &[super::cell::Cell; N]) {
    for (sum, cell) in sums.iter_mut().zip(cells) {
        *sum += cell.read();
    }
}
