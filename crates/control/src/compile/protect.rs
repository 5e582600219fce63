//! What keeps a pool and its servers from harm: rules of its balancer, breakers, budgets, limits, queues.
//!
//! An object whose settings are the same is that of before: what it has counted goes on.

use std::sync::Arc;

use keel_balance::{
    Breaker, BreakerSettings, BudgetSettings, ConcurrencySettings, ErrorRate, FailureSet,
    HedgeSettings, Hedger, Limiter, OutlierSettings, Panic, PanicAction, Passive, PoolRules,
    QueueSettings, RetryBudget, SlowCalls, SlowStart, StatusSet, SuccessRate,
};
use keel_config::model::{self, HedgeAfter, MemoryLimit, Pool};
use keel_l7::{PoolLimits, PoolPlan, Queue, Shed};

use super::pools::ms;
use crate::ground::{Ground, PoolUnits, ServerUnit, kept};

/// The rules of a pool's balancer.
pub(super) fn rules(pool: &Pool) -> PoolRules {
    let outlier = pool.outlier.as_ref();
    // Two tiers are what `backup` says.
    let deep = pool.servers.iter().any(|server| server.tier > 1);
    PoolRules {
        passive: outlier.map_or(Passive::MaxFails, |it| Passive::Outlier(outlier_of(it))),
        panic: Panic {
            threshold: pool.panic.threshold,
            action: match pool.panic.action {
                model::PanicAction::Spread => PanicAction::SpreadOverAll,
                model::PanicAction::Refuse => PanicAction::FailClosed,
            },
        },
        slow_start: pool.slow_start.as_ref().map(|slow| SlowStart {
            duration_ms: ms(slow.time),
            exponent: slow.curve,
            share_min: slow.from,
        }),
        tiers: match deep {
            true => pool.servers.iter().map(|server| server.tier).collect(),
            false => Vec::new(),
        },
        follows_load: pool.load_report.is_some(),
    }
}

fn outlier_of(outlier: &model::Outlier) -> OutlierSettings {
    OutlierSettings {
        consecutive: outlier.consecutive,
        error_rate: outlier.error_rate.map(|share| ErrorRate {
            share,
            volume_min: outlier.error_volume.into(),
        }),
        success_rate: outlier.success_rate.as_ref().map(|rate| SuccessRate {
            deviations: rate.deviations,
            gap_min: rate.gap,
            servers_min: rate.servers as usize,
            volume_min: rate.volume.into(),
        }),
        window_ms: ms(outlier.window),
        ejection_ms: ms(outlier.ejection),
        ejection_max_ms: ms(outlier.ejection_max),
        ejected_share_max: outlier.ejected_max,
    }
}

/// What is held against a server.
pub(super) fn failures(pool: &Pool) -> FailureSet {
    let Some(outlier) = &pool.outlier else {
        return FailureSet::default();
    };
    FailureSet {
        connect: outlier.on.error,
        reset: outlier.on.error,
        protocol: outlier.on.error,
        timeout: outlier.on.timeout,
        statuses: StatusSet::of(outlier.on.statuses.codes()),
    }
}

fn breaker(breaker: &model::Breaker) -> BreakerSettings {
    BreakerSettings {
        window_ms: ms(breaker.window),
        volume_min: breaker.volume.into(),
        error_share: breaker.errors,
        slow: breaker.slow.as_ref().map(|slow| SlowCalls {
            over_ms: ms(slow.over),
            share: slow.share,
        }),
        open_ms: ms(breaker.open),
        open_max_ms: ms(breaker.open_max),
        probes: breaker.probes,
        ..BreakerSettings::default()
    }
}

/// The breaker of one server.
pub(super) fn server_breaker(pool: &Pool, before: Option<&ServerUnit>) -> Option<Arc<Breaker>> {
    let wanted = breaker(pool.server_breaker.as_ref()?);
    let before = before.and_then(|unit| unit.breaker.as_ref());
    Some(kept(before, Breaker::settings, wanted, Breaker::new))
}

fn hedge(hedge: &model::Hedge) -> HedgeSettings {
    let times = |percentile: f64, min_ms: u64, max_ms: u64| HedgeSettings {
        percentile,
        delay_min_ms: min_ms,
        delay_max_ms: max_ms,
        extra_max: hedge.extra,
        ..HedgeSettings::default()
    };
    match hedge.after {
        HedgeAfter::Percentile(share) => times(share, ms(hedge.min), ms(hedge.max)),
        // A delay between two equal bounds is that one; nothing has to be learnt first.
        HedgeAfter::Time(after) => HedgeSettings {
            samples_min: 0,
            ..times(0.5, ms(after), ms(after))
        },
    }
}

/// The live objects of a pool, into its plan.
pub(super) fn units(pool: &Pool, before: Option<&PoolUnits>, plan: &mut PoolPlan) {
    plan.budget = pool.retry.budget.as_ref().map(|budget| {
        let wanted = BudgetSettings {
            share: budget.share,
            per_second_min: budget.min,
            ..BudgetSettings::default()
        };
        let before = before.and_then(|it| it.budget.as_ref());
        kept(before, RetryBudget::settings, wanted, RetryBudget::new)
    });
    plan.breaker = pool.breaker.as_ref().map(|wanted| {
        let before = before.and_then(|it| it.breaker.as_ref());
        kept(before, Breaker::settings, breaker(wanted), Breaker::new)
    });
    plan.hedger = pool.hedge.as_ref().map(|wanted| {
        let before = before.and_then(|it| it.hedger.as_ref());
        kept(before, Hedger::settings, hedge(wanted), Hedger::new)
    });
    plan.limiter = pool.concurrency.as_ref().map(|it| {
        let wanted = ConcurrencySettings {
            limit_min: it.min,
            limit_max: it.max,
            tolerance: it.tolerance,
            ..ConcurrencySettings::default()
        };
        let before = before.and_then(|it| it.limiter.as_ref());
        kept(before, Limiter::settings, wanted, Limiter::new)
    });
    plan.limits = limits(&pool.limits, before);
    plan.queue = pool.queue.as_ref().map(|it| queue(it, before));
}

/// Limits count what is under way, so they are changed in place. Those of a pool that has none any
/// more are kept while requests of before count on them.
fn limits(wanted: &model::PoolLimits, before: Option<&PoolUnits>) -> Option<Arc<PoolLimits>> {
    let before = before.and_then(|it| it.limits.as_ref());
    // Limits that were are kept as none at all: whoever waits for a place there has to hear of it.
    if wanted.requests == 0 && wanted.connections == 0 && before.is_none() {
        return None;
    }
    Some(match before {
        Some(before) => before.clone(),
        None => Arc::new(PoolLimits::new(wanted.requests, wanted.connections)),
    })
}

/// Gives limits that go on their new numbers; at the swap, since they are in force.
pub(crate) fn retune(model: &model::Model, ground: &Ground) {
    super::sticky::retune(model, ground);
    for pool in &model.pools {
        let limits = ground.pools.get(&pool.name.value);
        if let Some(limits) = limits.and_then(|it| it.limits.as_ref()) {
            limits.set(pool.limits.requests, pool.limits.connections);
        }
    }
}

fn queue(wanted: &model::Queue, before: Option<&PoolUnits>) -> Arc<Queue> {
    let settings = QueueSettings {
        len_max: wanted.length as usize,
        wait_max_ms: ms(wanted.wait),
    };
    let header = wanted.priority.as_ref();
    let header = header.map(|name| name.value.to_ascii_lowercase());
    match before.and_then(|it| it.queue.as_ref()) {
        Some(before)
            if *before.settings() == settings && before.priority_header() == header.as_deref() =>
        {
            before.clone()
        }
        _ => Arc::new(Queue::new(settings, header)),
    }
}

/// What refuses requests for the whole process.
pub(super) fn shed(wanted: &model::Shed, before: &Ground) -> Option<(model::Shed, Arc<Shed>)> {
    if wanted.memory.is_none() && wanted.requests.is_none() {
        return None;
    }
    if let Some(before) = &before.shed
        && before.0 == *wanted
    {
        return Some(before.clone());
    }
    let memory = match wanted.memory {
        None => 0,
        Some(MemoryLimit::Bytes(bytes)) => bytes,
        Some(MemoryLimit::Share(share)) => {
            // A machine that does not tell has no limit that one could take a share of.
            crate::memory::available_bytes().map_or(0, |all| (all as f64 * share) as u64)
        }
    };
    let shed = Shed::new(wanted.requests.unwrap_or(0), memory);
    Some((wanted.clone(), Arc::new(shed)))
}
