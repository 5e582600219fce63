//! How the balancer fares, as the admin listener tells it: `/health`, `/stats`, `/metrics`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use keel_config::Model;
use keel_l7::{FixedAnswer, PoolPlan, Produce, Snapshot};
use keel_observe::metrics::{ScrapeSources, TEXT_FORMAT};
use keel_observe::{LogWriter, Registry};
use keel_types::{PoolId, ServerIndex};
use serde_json::{Map, Value, json};

use crate::compile::RuleSummary;
use crate::depend::Dependencies;
use crate::detail;
use crate::names::Names;
use crate::overlay::Overlay;
use crate::tally::Tally;
use crate::tls::TlsWatch;

/// One of our own pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Whether there is a healthy server; 503 when there is none.
    Health,
    /// Counters, servers and routes.
    Stats,
    /// Metrics in the text format of Prometheus.
    Metrics,
}

/// What can be asked of a running balancer. Cheap to ask; disturbs no worker.
pub struct Status {
    pub(crate) generation: u64,
    pub(crate) published_at: SystemTime,
    /// Since when there is each server, by pool.
    pub(crate) added_ms: Vec<Vec<u64>>,
    pub(crate) changes: Overlay,
    pub(crate) tally: Arc<Tally>,
    pub(crate) model: Arc<Model>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) registry: Registry,
    pub(crate) rules: Vec<RuleSummary>,
    pub(crate) logs: LogWriter,
    pub(crate) tls: Arc<TlsWatch>,
    pub(crate) names: Names,
    pub(crate) depends: Dependencies,
    pub(crate) base: Instant,
}

impl Status {
    /// Number of the configuration, counted from the start of the process; the first one is 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The model in force: the file, run-time changes and what discovery found.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What workers serve from.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The counters.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// When the process began, for times on the workers' clocks: milliseconds since then.
    pub fn base(&self) -> Instant {
        self.base
    }

    /// A page.
    pub fn page(&self, page: Page) -> FixedAnswer {
        match page {
            Page::Health => {
                let (healthy, total) = self.healthy();
                let (fields, passes) = self.health(healthy, total);
                let well = passes && (healthy > 0 || total == 0);
                json_answer(if well { 200 } else { 503 }, &fields)
            }
            Page::Stats => json_answer(200, &self.stats()),
            Page::Metrics => {
                let mut text = String::new();
                let tls = self.tls.figures();
                let up = |pool: PoolId, server: ServerIndex| self.is_up(pool, server);
                let checks = |pool: PoolId, server: ServerIndex| {
                    let plan = self.snapshot.pools.get(usize::from(pool.0))?;
                    let server = plan.pool.servers.get(server.0 as usize)?;
                    let report = server.check.load_full()?.report();
                    Some([report.passed, report.failed])
                };
                let sources = ScrapeSources {
                    logs: Some(&self.logs),
                    server_up: Some(&up),
                    tls: &tls,
                    allocations: Some(keel_sys::allocations()),
                    names: Some(self.names.figures()),
                    config: Some(detail::figures(self)),
                    server_checks: Some(&checks),
                };
                self.registry.render(&sources, &mut text);
                FixedAnswer {
                    status: 200,
                    content_type: TEXT_FORMAT.to_owned(),
                    headers: vec![("Cache-Control".to_owned(), "no-store".to_owned())],
                    body: text.into_bytes().into(),
                }
            }
        }
    }

    /// Every pool in order, with its servers: what `/stats` tells of each, and its name.
    pub fn pools(&self) -> Value {
        let plans = self.snapshot.pools.iter();
        let mut all = detail::pools(self);
        for plan in plans {
            let servers = self.servers_of(plan);
            if let Some(Value::Object(fields)) = all.get_mut(&plan.pool.name) {
                fields.insert("servers".to_owned(), Value::Array(servers));
            }
        }
        json!({ "process": detail::process(self), "pools": all })
    }

    /// The servers of a pool in order; `None` without such a pool.
    pub fn servers(&self, pool: &str) -> Option<Vec<Value>> {
        let mut plans = self.snapshot.pools.iter();
        plans
            .find(|plan| plan.pool.name == pool)
            .map(|plan| self.servers_of(plan))
    }

    fn servers_of(&self, plan: &PoolPlan) -> Vec<Value> {
        let servers = plan.pool.servers.iter().enumerate();
        servers
            .map(|(index, server)| {
                let mut fields = self.backend(&plan.pool, index);
                if let Some(fields) = fields.as_object_mut() {
                    fields.insert("name".to_owned(), json!(server.name));
                    detail::server(self, plan, index, fields);
                }
                fields
            })
            .collect()
    }

    /// Time of the workers' clocks, in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_up(&self, pool: PoolId, server: ServerIndex) -> bool {
        let Some(plan) = self.snapshot.pools.get(usize::from(pool.0)) else {
            return false;
        };
        let balancer = &plan.pool.balancer;
        let index = server.0 as usize;
        index < balancer.len()
            && balancer.endpoint(index).is_open()
            && !balancer.state(index).is_resting(self.now_ms())
    }

    /// Healthy servers and all servers.
    fn healthy(&self) -> (usize, usize) {
        let now_ms = self.now_ms();
        self.snapshot
            .pools
            .iter()
            .fold((0, 0), |(healthy, total), plan| {
                let balancer = &plan.pool.balancer;
                (
                    healthy + balancer.ready_count(now_ms),
                    total + balancer.len(),
                )
            })
    }

    /// 000-B34, with the fields of 003-15 when the configuration has a `health`; and whether no check
    /// of it fails.
    fn health(&self, healthy: usize, total: usize) -> (Value, bool) {
        let mut more = Map::new();
        let is_usable = |pool: PoolId| {
            let plan = self.snapshot.pools.get(usize::from(pool.0));
            plan.is_some_and(|plan| plan.pool.balancer.ready_count(self.now_ms()) > 0)
        };
        let uptime = self.base.elapsed();
        let passes = self.depends.tell(&mut more, uptime, is_usable);
        let totals = self.registry.totals();
        let mut fields = json!({
            "status": if healthy > 0 && passes { "healthy" } else { "unhealthy" },
            "backends": { "healthy": healthy, "total": total },
            "metrics": {
                "requests": totals.requests,
                "errors": totals.errors,
                "cache_hit_rate": 0,
            },
        });
        if let Some(fields) = fields.as_object_mut() {
            fields.append(&mut more);
        }
        (fields, passes)
    }

    /// 000-B35.
    fn stats(&self) -> Value {
        let totals = self.registry.totals();
        json!({
            "load_balancer": {
                "requests": totals.requests,
                "errors": totals.errors,
                "cache_hits": 0,
                "cache_misses": 0,
                "active_sessions": 0,
                "uptime_seconds": self.base.elapsed().as_secs(),
                "workers": self.registry.workers(),
            },
            "process": detail::process(self),
            "backends": Value::Object(self.backends()),
            "pools": Value::Object(detail::pools(self)),
            "routing_rules": self.rules.iter().map(|rule| json!({
                "name": rule.name,
                "strategy": rule.strategy,
                "pattern": rule.pattern,
                "backends": rule.backends,
            })).collect::<Vec<_>>(),
        })
    }

    /// Servers by name; by `pool/name` where two pools have a server of the same name.
    fn backends(&self) -> Map<String, Value> {
        let plans = &self.snapshot.pools;
        let servers = || plans.iter().flat_map(|plan| &plan.pool.servers);
        let mut times: HashMap<&str, u32> = HashMap::new();
        for server in servers() {
            *times.entry(&server.name).or_default() += 1;
        }
        let mut all = Map::new();
        for plan in plans {
            for (index, server) in plan.pool.servers.iter().enumerate() {
                let key = match times.get(server.name.as_str()) {
                    Some(1) => server.name.clone(),
                    _ => format!("{}/{}", plan.pool.name, server.name),
                };
                let mut fields = self.backend(&plan.pool, index);
                if let Some(fields) = fields.as_object_mut() {
                    detail::server(self, plan, index, fields);
                }
                all.insert(key, fields);
            }
        }
        all
    }

    fn backend(&self, pool: &keel_upstream::Pool, index: usize) -> Value {
        let position = ServerIndex(u32::try_from(index).unwrap_or(u32::MAX));
        let server = pool.servers.get(index);
        let address = server.map(|server| &server.address);
        let (spec, state) = (pool.balancer.endpoint(index), pool.balancer.state(index));
        let totals = self.registry.server_totals(pool.id, position);
        json!({
            "host": address.map(|at| at.host.as_str()),
            "port": address.map(|at| at.port),
            "health_status": if self.is_up(pool.id, position) { "healthy" } else { "unhealthy" },
            "active_connections": state.active(),
            "response_time_ms": f64::from(state.last_response_us()) / 1000.0,
            "pool": pool.name,
            "weight": spec.weight,
            "backup": spec.backup,
            "down": spec.down,
            "fails": state.fails(),
            "average_response_time_ms": f64::from(state.response_time_us()) / 1000.0,
            "requests": totals.as_ref().map_or(0, keel_observe::metrics::ServerTotals::finished),
            "resolved": server.map(|server| !server.resolved.load().is_empty()),
        })
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status")
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

fn json_answer(status: u16, value: &Value) -> FixedAnswer {
    FixedAnswer {
        status,
        content_type: "application/json".to_owned(),
        headers: vec![("Cache-Control".to_owned(), "no-store".to_owned())],
        body: format!("{value:#}\n").into_bytes().into(),
    }
}

/// The status, for pages that routes expose: they are compiled before there is one.
#[derive(Debug, Default)]
pub struct Handle {
    status: Mutex<Option<Arc<Status>>>,
}

impl Handle {
    /// The status that holds from now on.
    pub(crate) fn set(&self, status: Arc<Status>) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    fn get(&self) -> Option<Arc<Status>> {
        let status = self.status.lock();
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A page of it.
    pub(crate) fn page(self: &Arc<Self>, page: Page) -> Arc<dyn Produce> {
        Arc::new(Exposed {
            handle: self.clone(),
            page,
        })
    }
}

struct Exposed {
    handle: Arc<Handle>,
    page: Page,
}

impl Produce for Exposed {
    fn produce(&self) -> FixedAnswer {
        match self.handle.get() {
            Some(status) => status.page(self.page),
            None => FixedAnswer {
                status: 503,
                ..FixedAnswer::default()
            },
        }
    }
}
