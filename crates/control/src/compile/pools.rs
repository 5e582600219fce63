//! Pools: servers, balancers, timeouts.

use std::sync::Arc;
use std::time::Duration;

use keel_balance::{Algorithm, Balancer, EndpointSpec, EndpointState, HashScheme, IpHashMode, Tie};
use keel_config::codes;
use keel_config::model::{self, EndpointHost, HostHeader, Pool};
use keel_l7::{HashKey, HostPlan, PoolPlan};
use keel_tls::{ClientSettings, Connector};
use keel_types::PoolId;
use keel_upstream::{KeepAlive, Server, ServerAddress};

use super::{Report, edits, health, http2, protect, retry, sticky, tls};
use crate::ground::{Ground, PoolUnits, ServerUnit};

/// The plans of all pools, and their live state; `None` when one cannot be made.
pub(super) fn plans(report: &mut Report<'_>, next: &mut Ground) -> Option<Vec<PoolPlan>> {
    let mut plans = Vec::with_capacity(report.model.pools.len());
    let mut whole = true;
    for (position, pool) in report.model.pools.iter().enumerate() {
        let id = PoolId(u16::try_from(position).unwrap_or(u16::MAX));
        match plan(report, id, pool) {
            Some((plan, units)) => {
                plans.push(plan);
                next.pools.insert(pool.name.value.clone(), units);
            }
            None => whole = false,
        }
    }
    whole.then_some(plans)
}

/// Milliseconds of a duration.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What is sent as `Host`; `None` for "as the level outside says".
pub(super) fn host(header: &HostHeader) -> HostPlan {
    match header {
        HostHeader::Keep => HostPlan::Keep,
        HostHeader::Server => HostPlan::Server,
        HostHeader::Literal(host) => HostPlan::Literal(host.value.clone()),
    }
}

fn plan(report: &mut Report<'_>, id: PoolId, pool: &Pool) -> Option<(PoolPlan, PoolUnits)> {
    let before = report.ground.pools.get(&pool.name.value);
    let connector = tls::connector(report, pool, before);
    let (check, check_tls) = health::plan(report, pool, before);
    let servers = servers(report.ground, before, pool, connector.as_ref());
    let endpoints = pool.servers.iter().zip(&servers);
    let endpoints = endpoints.map(|(server, unit)| (endpoint(server), unit.state.clone()));
    let rules = protect::rules(pool);
    let balancer = match Balancer::with_rules(algorithm(pool), endpoints.collect(), rules) {
        Ok(balancer) => balancer,
        Err(fault) => {
            let what = fault.to_string();
            report.add(&codes::BAD_BALANCE, pool.balance.span, what, "");
            return None;
        }
    };
    let own = |unit: &ServerUnit| unit.breaker.clone();
    let mut plan = PoolPlan {
        pool: Arc::new(pool_of(id, pool, balancer, &servers)),
        protocol: http2::protocol(pool.protocol),
        http2: http2::servers(&pool.http2),
        tls: connector.as_ref().map(|(_, connector)| connector.clone()),
        retry: retry::plan(&pool.retry),
        budget: None,
        failures: protect::failures(pool),
        breaker: None,
        server_breakers: servers.iter().filter_map(own).collect(),
        limiter: None,
        limits: None,
        queue: None,
        sticky: None,
        hedger: None,
        load_report: pool
            .load_report
            .as_ref()
            .map(|name| name.value.to_ascii_lowercase()),
        hash_key: hash_key(pool),
        request_edits: edits::level(report, &pool.request_headers),
        host: Some(host(&pool.host)),
        tunnel_timeout_ms: ms(pool.timeouts.tunnel),
    };
    protect::units(pool, before, &mut plan);
    let bindings = sticky::plan(report, pool, before, &mut plan);
    let named = |unit: ServerUnit| (unit.server.name.clone(), unit);
    let units = PoolUnits {
        servers: servers.into_iter().map(named).collect(),
        protocol: Some(pool.protocol),
        connector,
        check,
        check_tls,
        budget: plan.budget.clone(),
        breaker: plan.breaker.clone(),
        limiter: plan.limiter.clone(),
        limits: plan.limits.clone(),
        queue: plan.queue.clone(),
        hedger: plan.hedger.clone(),
        bindings,
    };
    Some((plan, units))
}

fn pool_of(
    id: PoolId,
    pool: &Pool,
    balancer: Balancer,
    servers: &[ServerUnit],
) -> keel_upstream::Pool {
    keel_upstream::Pool {
        id,
        name: pool.name.value.clone(),
        balancer,
        servers: servers.iter().map(|unit| unit.server.clone()).collect(),
        keep_alive: KeepAlive {
            connections_max: pool.keepalive.connections as usize,
            idle_timeout_ms: ms(pool.keepalive.idle),
            requests_max: pool.keepalive.requests,
        },
        connect_timeout_ms: ms(pool.timeouts.connect),
        read_timeout_ms: ms(pool.timeouts.read),
        send_timeout_ms: ms(pool.timeouts.send),
    }
}

/// Live state of the servers. The state of a server goes on while its address is the same, its
/// connections while TLS and protocol are too.
fn servers(
    ground: &Ground,
    before: Option<&PoolUnits>,
    pool: &Pool,
    connector: Option<&(ClientSettings, Arc<Connector>)>,
) -> Vec<ServerUnit> {
    let settings = connector.map(|(settings, _)| settings);
    let same_link = before.is_some_and(|it| {
        it.protocol == Some(pool.protocol)
            && it.connector.as_ref().map(|(settings, _)| settings) == settings
    });
    let of = |server: &model::Server| {
        let address = address(server);
        let known = before.and_then(|it| it.servers.get(&server.name.value));
        let known = known.filter(|it| it.server.address == address);
        let mut unit = match known {
            Some(known) if same_link => known.clone(),
            Some(known) => {
                let mut unit = new_server(ground, server, address, known.state.clone());
                unit.added_ms = known.added_ms;
                unit.server
                    .resolved
                    .store(known.server.resolved.load_full());
                unit
            }
            None => {
                let state = Arc::new(EndpointState::new());
                // One that joins a pool that serves warms up like one that came back.
                if before.is_some() && pool.slow_start.is_some() {
                    state.begin_slowly(ground.now_ms);
                }
                new_server(ground, server, address, state)
            }
        };
        unit.breaker = protect::server_breaker(pool, known);
        unit
    };
    pool.servers.iter().map(of).collect()
}

fn new_server(
    ground: &Ground,
    server: &model::Server,
    address: ServerAddress,
    state: Arc<EndpointState>,
) -> ServerUnit {
    let key = ground.new_key();
    let name = server.name.value.clone();
    ServerUnit {
        server: Arc::new(match server.found_at {
            Some(at) => Server::found(key.key, name, address, at),
            None => Server::new(key.key, name, address),
        }),
        _key: key,
        state,
        breaker: None,
        added_ms: ground.now_ms,
    }
}

fn address(server: &model::Server) -> ServerAddress {
    let address = &server.address;
    ServerAddress {
        host: match &address.host {
            EndpointHost::Ip(ip) => ip.to_string(),
            EndpointHost::Name(name) => name.clone(),
        },
        port: address.port,
    }
}

fn endpoint(server: &model::Server) -> EndpointSpec {
    EndpointSpec {
        name: server.name.value.clone(),
        weight: server.weight,
        backup: server.tier > 0,
        max_connections: server.max_connections,
        max_fails: server.max_fails,
        fail_timeout_ms: ms(server.fail_timeout),
        down: server.down,
    }
}

fn algorithm(pool: &Pool) -> Algorithm {
    use model::Balance;
    match &pool.balance.value {
        Balance::RoundRobin => {
            let mut weights = pool.servers.iter().map(|server| server.weight);
            let first = weights.next();
            let equal = weights.all(|weight| Some(weight) == first);
            // As nginx: a weight that was written down counts; so does a load that servers report.
            if equal && pool.load_report.is_none() {
                Algorithm::RoundRobin
            } else {
                Algorithm::WeightedRoundRobin { burst: false }
            }
        }
        Balance::Weighted { burst } => Algorithm::WeightedRoundRobin { burst: *burst },
        Balance::Random => Algorithm::Random,
        Balance::WeightedRandom => Algorithm::WeightedRandom,
        Balance::LeastConn { tie } => Algorithm::LeastConn {
            tie: match tie {
                model::Tie::First => Tie::First,
                model::Tie::Rotate => Tie::Rotate,
            },
        },
        Balance::LeastTime { probe } => Algorithm::LeastTime {
            formula: keel_balance::TimeFormula::ActivePlusOne,
            probe_one_in: probe_one_in(*probe),
        },
        Balance::PowerOfTwo => Algorithm::PowerOfTwo,
        Balance::IpHash { mode } => Algorithm::IpHash(match mode {
            model::IpHashMode::Consistent => IpHashMode::Consistent,
            model::IpHashMode::Modulo => IpHashMode::Modulo,
        }),
        Balance::Hash {
            scheme,
            bounded_load,
            ..
        } => Algorithm::Hash {
            scheme: match scheme {
                model::HashScheme::Ring => HashScheme::default(),
                model::HashScheme::Rendezvous => HashScheme::Rendezvous,
                model::HashScheme::Maglev => HashScheme::Maglev {
                    table_size: keel_balance::MAGLEV_TABLE_DEFAULT,
                },
            },
            bounded_load: *bounded_load,
        },
    }
}

/// A share of requests as "one in so many".
fn probe_one_in(share: f64) -> u32 {
    if share <= 0.0 {
        0
    } else {
        (1.0 / share).round().clamp(1.0, f64::from(u32::MAX)) as u32
    }
}

fn hash_key(pool: &Pool) -> Option<HashKey> {
    let model::Balance::Hash { key, .. } = &pool.balance.value else {
        return None;
    };
    Some(match key {
        model::HashKey::ClientAddress => HashKey::ClientAddress,
        model::HashKey::Path => HashKey::Path,
        model::HashKey::Uri => HashKey::Uri,
        model::HashKey::TlsSession => HashKey::TlsSession,
        model::HashKey::Ja4 => HashKey::Ja4,
        model::HashKey::Header(name) => HashKey::Header(name.value.to_ascii_lowercase()),
        model::HashKey::Cookie(name) => HashKey::Cookie(name.value.clone()),
        model::HashKey::Query(name) => HashKey::Query(name.value.clone()),
    })
}
