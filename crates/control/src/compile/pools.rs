//! Pools: servers, balancers, timeouts.

use std::sync::Arc;
use std::time::Duration;

use keel_balance::{
    Algorithm, Balancer, EndpointSpec, EndpointState, FailureSet, HashScheme, IpHashMode, Tie,
};
use keel_config::codes;
use keel_config::model::{self, EndpointHost, HostHeader, Pool};
use keel_http::grpc::Code;
use keel_l7::{HashKey, HostPlan, PoolPlan, RetryPlan};
use keel_types::PoolId;
use keel_upstream::{KeepAlive, Server, ServerAddress, ServerKey, ServerKeys};

use super::{Report, edits, http2, tls};

/// The plans of all pools; `None` when one cannot be made.
pub(super) fn plans(report: &mut Report<'_>) -> Option<Vec<PoolPlan>> {
    let mut keys = ServerKeys::new();
    let mut plans = Vec::with_capacity(report.model.pools.len());
    let mut whole = true;
    for (position, pool) in report.model.pools.iter().enumerate() {
        let id = PoolId(u16::try_from(position).unwrap_or(u16::MAX));
        match plan(report, id, pool, &mut keys) {
            Some(plan) => plans.push(plan),
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

fn plan(
    report: &mut Report<'_>,
    id: PoolId,
    pool: &Pool,
    keys: &mut ServerKeys,
) -> Option<PoolPlan> {
    let servers: Vec<Arc<Server>> = pool
        .servers
        .iter()
        .map(|it| Arc::new(server(it, keys.give())))
        .collect();
    let endpoints = pool
        .servers
        .iter()
        .map(|server| (endpoint(server), Arc::new(EndpointState::new())))
        .collect();
    let balancer = match Balancer::new(algorithm(pool), endpoints) {
        Ok(balancer) => balancer,
        Err(fault) => {
            report.add(
                &codes::BAD_BALANCE,
                pool.balance.span,
                fault.to_string(),
                "",
            );
            return None;
        }
    };
    Some(PoolPlan {
        pool: Arc::new(keel_upstream::Pool {
            id,
            name: pool.name.value.clone(),
            balancer,
            servers,
            keep_alive: KeepAlive {
                connections_max: pool.keepalive.connections as usize,
                idle_timeout_ms: ms(pool.keepalive.idle),
                requests_max: pool.keepalive.requests,
            },
            connect_timeout_ms: ms(pool.timeouts.connect),
            read_timeout_ms: ms(pool.timeouts.read),
            send_timeout_ms: ms(pool.timeouts.send),
        }),
        protocol: http2::protocol(pool.protocol),
        http2: http2::servers(&pool.http2),
        tls: tls::connector(report, pool),
        retry: RetryPlan {
            tries_max: pool.retry.tries,
            grpc: pool.retry.grpc.iter().map(grpc_code).collect(),
            ..RetryPlan::default()
        },
        budget: None,
        failures: FailureSet::default(),
        breaker: None,
        server_breakers: Vec::new(),
        limiter: None,
        limits: None,
        queue: None,
        hedger: None,
        load_report: None,
        hash_key: hash_key(pool),
        request_edits: edits::level(report, &pool.request_headers),
        host: Some(host(&pool.host)),
        tunnel_timeout_ms: ms(pool.timeouts.tunnel),
    })
}

fn grpc_code(status: &model::GrpcStatus) -> Code {
    match status {
        model::GrpcStatus::Cancelled => Code::Cancelled,
        model::GrpcStatus::Unknown => Code::Unknown,
        model::GrpcStatus::DeadlineExceeded => Code::DeadlineExceeded,
        model::GrpcStatus::ResourceExhausted => Code::ResourceExhausted,
        model::GrpcStatus::Aborted => Code::Aborted,
        model::GrpcStatus::Internal => Code::Internal,
        model::GrpcStatus::Unavailable => Code::Unavailable,
    }
}

fn server(server: &model::Server, key: ServerKey) -> Server {
    let address = &server.address;
    let host = match &address.host {
        EndpointHost::Ip(ip) => ip.to_string(),
        EndpointHost::Name(name) => name.clone(),
    };
    Server::new(
        key,
        server.name.value.clone(),
        ServerAddress {
            host,
            port: address.port,
        },
    )
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
            // As nginx: a weight that was written down counts.
            if equal {
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
