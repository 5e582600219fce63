//! What an operator is told of each server and pool: its state, since when, why, and by whom.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keel_balance::{Balancer, Breaker, BreakerState, CheckFailure, Health, Transition};
use keel_l7::{PoolPlan, StickyPlan};
use keel_observe::metrics::{ConfigFigures, ErrorKind, ServerTotals};
use keel_types::ServerIndex;
use keel_upstream::check::CheckReport;
use serde_json::{Map, Value, json};

use crate::overlay::ServerOverlay;
use crate::status::Status;

/// What a server does, in one word, with its reason.
struct State {
    word: &'static str,
    /// On the workers' clocks; `None` when nobody knows.
    since_ms: Option<u64>,
    why: Option<String>,
    /// `check`, `traffic`, `configuration`, or who changed it.
    by: Option<String>,
}

impl State {
    fn new(word: &'static str, since_ms: Option<u64>) -> State {
        State {
            word,
            since_ms,
            why: None,
            by: None,
        }
    }

    fn why(mut self, why: String, by: &str) -> State {
        self.why = Some(why);
        self.by = Some(by.to_owned());
        self
    }
}

/// Adds the fields of a server.
pub(crate) fn server(
    status: &Status,
    plan: &PoolPlan,
    index: usize,
    fields: &mut Map<String, Value>,
) {
    let now_ms = status.now_ms();
    let ago = |at_ms: u64| seconds(now_ms.saturating_sub(at_ms));
    let (pool, balancer) = (&plan.pool, &plan.pool.balancer);
    let Some(server) = pool.servers.get(index) else {
        return;
    };
    let (spec, live) = (balancer.endpoint(index), balancer.state(index));
    let check = server.check.load_full().map(|it| it.report());
    let changed = status.changes.of(&pool.name, &server.name);
    let added_ms = status.added_ms.get(usize::from(pool.id.0));
    let added_ms = added_ms.and_then(|it| it.get(index)).copied().unwrap_or(0);
    let state = state(
        balancer,
        index,
        check.as_deref(),
        changed,
        (added_ms, now_ms),
    );
    let position = ServerIndex(u32::try_from(index).unwrap_or(u32::MAX));
    let totals = status.registry.server_totals(pool.id, position);
    let errors = totals
        .as_ref()
        .map_or(0, |it| it.errors.iter().sum::<u64>());
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("state", json!(state.word));
    add("state_seconds", json!(state.since_ms.map(ago)));
    let failed = server.failed.load();
    let why = match (&state.why, &*failed) {
        (Some(why), Some(failed)) if matches!(state.word, "resting" | "ejected") => {
            let ago_s = now_ms.saturating_sub(failed.at_ms) / 1000;
            Some(format!("{why} (last: {}, {ago_s} s ago)", failed.what))
        }
        (why, _) => why.clone(),
    };
    add("why", json!(why));
    add("by", json!(state.by));
    add("failures", json!(errors));
    add("failures_by_kind", kinds(totals.as_ref()));
    add("ejections", json!(live.tally().times()));
    add(
        "effective_weight",
        json!(effective(balancer, index, now_ms)),
    );
    add("tier", json!(tier(balancer, index)));
    add("max_connections", json!(spec.max_connections));
    if live.cut_at_ms() != 0 {
        let left = live.cut_at_ms().saturating_sub(now_ms);
        add("ends_in_seconds", json!(seconds(left)));
    }
    if let Some(breaker) = plan.server_breakers.get(index) {
        add("breaker", breaker_of(breaker, now_ms));
    }
    if let Some(StickyPlan::Table(table)) = &plan.sticky {
        add(
            "sticky_sessions",
            json!(table.bindings().count_of(&server.name)),
        );
    }
    if let Some(report) = check {
        add("check", checks(&report, now_ms));
    }
}

/// What its failures were: connect, timeout, reset, protocol.
fn kinds(totals: Option<&ServerTotals>) -> Value {
    let counts = totals.map_or([0; 4], |it| it.errors);
    let kinds = ErrorKind::ALL.into_iter().zip(counts);
    let kinds: Map<String, Value> = kinds
        .map(|(kind, count)| (kind.name().to_owned(), json!(count)))
        .collect();
    Value::Object(kinds)
}

fn state(
    balancer: &Balancer,
    index: usize,
    check: Option<&CheckReport>,
    changed: Option<&ServerOverlay>,
    (added_ms, now_ms): (u64, u64),
) -> State {
    let (spec, live) = (balancer.endpoint(index), balancer.state(index));
    let set = changed.filter(|it| it.state.is_some());
    let told = |word: &'static str, why: &str| {
        let at = State::new(word, set.map(|it| it.at_ms));
        at.why(why.to_owned(), set.map_or("configuration", |it| &it.by))
    };
    if spec.down {
        return told("disabled", "taken out");
    }
    if spec.weight == 0 {
        return told("draining", "no new requests");
    }
    let last = live.last_change();
    if let Some(report) = check.filter(|it| !it.usable) {
        let word = match report.health {
            Health::Unknown => "checking",
            _ => "down",
        };
        let why = match &report.last_failure {
            Some(failure) if word == "down" => failure.fault.to_string(),
            _ => "its first check is not done".to_owned(),
        };
        return State::new(word, Some(report.since_ms)).why(why, "check");
    }
    if live.is_down() {
        return State::new("down", last.map(|(_, at)| at));
    }
    if live.is_resting(now_ms) {
        let word = match live.tally().ejected_until_ms() > now_ms {
            true => "ejected",
            false => "resting",
        };
        let state = State::new(word, last.map(|(_, at)| at));
        return match last {
            Some((change, _)) => state.why(change.to_string(), "traffic"),
            None => state,
        };
    }
    let word = match warms_up(balancer, index, now_ms) {
        true => "slow_start",
        false => "up",
    };
    match last {
        Some((change @ (Transition::Recovered | Transition::Up), at)) => {
            let by = if change == Transition::Up {
                "check"
            } else {
                "traffic"
            };
            State::new(word, Some(at)).why(change.to_string(), by)
        }
        _ => State::new(word, Some(live.back_at_ms().max(added_ms))),
    }
}

fn warms_up(balancer: &Balancer, index: usize, now_ms: u64) -> bool {
    let back_at_ms = balancer.state(index).back_at_ms();
    let slow = balancer.rules().slow_start.as_ref();
    slow.is_some_and(|slow| back_at_ms != 0 && now_ms.saturating_sub(back_at_ms) < slow.duration_ms)
}

/// Its weight as slow start and reported load leave it.
fn effective(balancer: &Balancer, index: usize, now_ms: u64) -> f64 {
    let (spec, live) = (balancer.endpoint(index), balancer.state(index));
    let mut weight = f64::from(spec.weight);
    if let Some(slow) = balancer
        .rules()
        .slow_start
        .filter(|_| warms_up(balancer, index, now_ms))
    {
        weight *= slow.share(now_ms.saturating_sub(live.back_at_ms()));
    }
    if balancer.rules().follows_load {
        weight *= live.load_share(now_ms);
    }
    (weight * 100.0).round() / 100.0
}

fn tier(balancer: &Balancer, index: usize) -> u8 {
    let backup = u8::from(balancer.endpoint(index).backup);
    let tiers = &balancer.rules().tiers;
    tiers.get(index).copied().unwrap_or(backup)
}

fn checks(report: &CheckReport, now_ms: u64) -> Value {
    let ago = |at_ms: u64| seconds(now_ms.saturating_sub(at_ms));
    let failure =
        |it: &CheckFailure| json!({ "why": it.fault.to_string(), "seconds_ago": ago(it.at_ms) });
    let mut all = json!({
        "kind": report.kind,
        "check": report.check.as_ref(),
        "health": match report.health {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        },
        "passed": report.passed,
        "failed": report.failed,
        "last_failure": report.last_failure.as_ref().map(failure),
        "last": report.last.map(|last| json!({
            "passed": last.passed,
            "seconds_ago": ago(last.at_ms),
            "took_ms": last.took_us as f64 / 1000.0,
        })),
    });
    if let (Some(app), Some(fields)) = (&report.app, all.as_object_mut()) {
        let checks = app.checks.iter();
        let checks: Map<String, Value> = checks
            .map(|(name, says)| (name.clone(), json!(says)))
            .collect();
        let app = json!({
            "status": app.status,
            "version": app.version,
            "uptime_seconds": app.uptime_s,
            "checks": checks,
        });
        fields.insert("app".to_owned(), app);
    }
    all
}

fn breaker_of(breaker: &Breaker, now_ms: u64) -> Value {
    let (counts, slow) = breaker.counts(now_ms);
    let (word, tries_in) = match breaker.state() {
        BreakerState::Closed => ("closed", None),
        BreakerState::HalfOpen => ("half_open", None),
        BreakerState::Open { until_ms } => ("open", Some(seconds(until_ms.saturating_sub(now_ms)))),
    };
    json!({
        "state": word,
        "tries_in_seconds": tries_in,
        "requests": counts.total,
        "failures": counts.bad,
        "slow": slow,
    })
}

/// The pools, by name.
pub(crate) fn pools(status: &Status) -> Map<String, Value> {
    let plans = status.snapshot.pools.iter();
    plans
        .map(|plan| {
            (
                plan.pool.name.clone(),
                Value::Object(pool(plan, status.now_ms())),
            )
        })
        .collect()
}

fn pool(plan: &PoolPlan, now_ms: u64) -> Map<String, Value> {
    let balancer = &plan.pool.balancer;
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("servers", json!(balancer.len()));
    add("usable", json!(balancer.ready_count(now_ms)));
    if let Some(breaker) = &plan.breaker {
        add("breaker", breaker_of(breaker, now_ms));
    }
    if let Some(budget) = &plan.budget {
        add("retries_left", json!(budget.left(now_ms)));
    }
    if let Some(limiter) = &plan.limiter {
        let (limit, in_flight) = (limiter.limit(), limiter.in_flight());
        add(
            "concurrency",
            json!({ "limit": limit, "in_flight": in_flight }),
        );
    }
    if let Some(limits) = &plan.limits {
        let (requests, connections) = limits.taken();
        add(
            "taken",
            json!({ "requests": requests, "connections": connections }),
        );
    }
    if let Some(queue) = &plan.queue {
        let (waiting, most) = (queue.waiting(), queue.settings().len_max);
        add("queue", json!({ "waiting": waiting, "length": most }));
    }
    if let Some(hedger) = &plan.hedger {
        let due_ms = hedger.due_us(0).map(|us| us as f64 / 1000.0);
        add("hedge_after_ms", json!(due_ms));
    }
    match &plan.sticky {
        Some(StickyPlan::Table(table)) => {
            let (sessions, evicted) = (table.bindings().len(), table.bindings().evicted());
            add(
                "sticky",
                json!({ "by": "table", "sessions": sessions, "evicted": evicted }),
            );
        }
        Some(StickyPlan::Cookie(_)) => drop(add("sticky", json!({ "by": "cookie" }))),
        None => {}
    }
    fields
}

/// What the process does, and how it came to its configuration.
pub(crate) fn process(status: &Status) -> Value {
    let [reloads, refused] = status.tally.reloads();
    let [changes, changes_refused] = status.tally.changes();
    json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "generation": status.generation,
        "since": unix_seconds(status.published_at),
        "reloads": { "done": reloads, "refused": refused },
        "changes": { "done": changes, "refused": changes_refused },
        "changes_not_in_file": status.changes.count(),
        "last_reload": status.tally.last().map(|last| json!({
            "at": unix_seconds(last.at),
            "by": last.by,
            "result": if last.fault.is_none() { "done" } else { "refused" },
            "fault": last.fault,
        })),
    })
}

/// What a scrape shows of the configuration.
pub(crate) fn figures(status: &Status) -> ConfigFigures {
    let since = status.published_at.duration_since(UNIX_EPOCH);
    ConfigFigures {
        generation: status.generation,
        loaded_unix_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
        reloads: status.tally.reloads(),
        changes: status.tally.changes(),
        discoveries: status.tally.discoveries(),
        upgrades: status.tally.upgrades(),
    }
}

/// Seconds with three decimals.
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds(at: SystemTime) -> f64 {
    let since: Duration = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keel_balance::{
        Algorithm, EndpointSpec, EndpointState, Outcome, OutlierSettings, Passive, PoolRules,
        SlowStart,
    };

    use super::*;
    use crate::change::ServerState;

    fn balancer(rules: PoolRules, change: impl Fn(&mut EndpointSpec)) -> Balancer {
        let endpoints = ["a", "b", "c"].map(|name| {
            let mut spec = EndpointSpec::new(name);
            change(&mut spec);
            (spec, Arc::new(EndpointState::new()))
        });
        Balancer::with_rules(Algorithm::RoundRobin, endpoints.to_vec(), rules).expect("fine")
    }

    fn told(balancer: &Balancer, now_ms: u64) -> (&'static str, Option<u64>, Option<String>) {
        let state = state(balancer, 0, None, None, (3, now_ms));
        (state.word, state.since_ms, state.by)
    }

    fn plain() -> Balancer {
        balancer(PoolRules::default(), |_| {})
    }

    #[test]
    fn a_server_rests_and_comes_back() {
        let it = plain();
        assert_eq!(told(&it, 10), ("up", Some(3), None), "since it is there");
        it.report(0, Outcome::Failure, 1_000);
        let traffic = Some("traffic".to_owned());
        assert_eq!(told(&it, 2_000), ("resting", Some(1_000), traffic.clone()));
        let asked = keel_balance::Ask::at(12_000, 0);
        let tried = (0..3).filter_map(|_| it.select(&asked).ok());
        assert!(
            tried.into_iter().any(|it| it.index == 0),
            "it is tried again"
        );
        it.report(0, Outcome::Success, 12_001);
        assert_eq!(told(&it, 12_500), ("up", Some(12_001), traffic));
    }

    #[test]
    fn checks_and_outliers_are_told_apart() {
        let it = plain();
        it.checked(0, false, 500);
        assert_eq!(told(&it, 600), ("down", Some(500), None));
        let slow = PoolRules {
            slow_start: Some(SlowStart::default()),
            passive: Passive::Outlier(OutlierSettings::default()),
            ..PoolRules::default()
        };
        let it = balancer(slow, |_| {});
        it.checked(0, false, 500);
        it.checked(0, true, 700);
        let check = Some("check".to_owned());
        assert_eq!(told(&it, 800), ("slow_start", Some(700), check.clone()));
        assert!(effective(&it, 0, 800) < 0.2);
        assert_eq!(told(&it, 60_000), ("up", Some(700), check));
        for _ in 0..5 {
            it.report(0, Outcome::Failure, 61_000);
        }
        let state = state(&it, 0, None, None, (0, 61_500));
        assert_eq!((state.word, state.since_ms), ("ejected", Some(61_000)));
        assert_eq!(state.why.as_deref(), Some("5 failures in a row"));
    }

    #[test]
    fn what_was_set_says_who_set_it() {
        let down = balancer(PoolRules::default(), |spec| spec.down = true);
        let file = Some("configuration".to_owned());
        assert_eq!(told(&down, 10), ("disabled", None, file.clone()));
        let drained = balancer(PoolRules::default(), |spec| spec.weight = 0);
        assert_eq!(told(&drained, 10), ("draining", None, file));
        let overlay = ServerOverlay {
            state: Some(ServerState::Drain { limit: None }),
            by: "ops".to_owned(),
            at_ms: 7,
            ..ServerOverlay::default()
        };
        let state = state(&drained, 0, None, Some(&overlay), (0, 10));
        assert_eq!((state.word, state.since_ms), ("draining", Some(7)));
        assert_eq!(state.by.as_deref(), Some("ops"));
    }
}
