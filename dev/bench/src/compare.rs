//! Scenarios against other proxies: the proxies in turn, round after round, and the table of ratios.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::bed::{self, Origins};
use crate::cores::Cores;
use crate::job::{LoadJob, LoadResult};
use crate::origin::OriginCounts;
use crate::process::{check_interrupt, pause};
use crate::proxy::{Programs, ProxyKind, Running, Setup};
use crate::ratio::{Spread, lowest_median, pairwise};
use crate::scenario::Scenario;
use crate::table::Table;

/// Origins in the pool of every scenario.
const ORIGINS: usize = 3;
/// Time for the last lines of a log to be written.
const LOG_PATIENCE: Duration = Duration::from_millis(1500);
/// Above this share of a core used by others the machine was not quiet.
pub const FOREIGN_MAX: f64 = 0.05;
/// Below this share of its core the proxy was waiting for the load.
const BUSY_MIN: f64 = 0.85;

/// How long and with whom.
#[derive(Debug)]
pub struct Plan {
    /// Proxies, in turn.
    pub proxies: Vec<ProxyKind>,
    /// Rounds.
    pub rounds: usize,
    /// Seconds measured in a round.
    pub seconds: f64,
    /// Seconds of warm-up before each measurement.
    pub warm_up: f64,
    /// Programs to run.
    pub programs: Programs,
}

/// One measurement; void when `void` says why.
#[derive(Debug, Serialize)]
pub struct Round {
    /// What was measured.
    pub result: LoadResult,
    /// CPU time of the proxy per request, microseconds.
    pub cpu_us: Option<f64>,
    /// Why it counts for nothing.
    pub void: Option<String>,
}

impl Round {
    fn new(result: LoadResult, unequal: Option<String>) -> Round {
        let void = result.void().or(unequal);
        let cpu_us = void.is_none().then(|| result.cpu_us());
        Round {
            result,
            cpu_us,
            void,
        }
    }
}

/// All rounds of one proxy in one scenario.
#[derive(Debug, Serialize)]
pub struct ProxyRow {
    /// Which proxy.
    pub proxy: ProxyKind,
    /// Its rounds.
    pub rounds: Vec<Round>,
    /// CPU per request, microseconds.
    pub cpu_us: Option<Spread>,
    /// Requests per second.
    pub rate: Option<Spread>,
    /// Median latency, microseconds.
    pub p50_us: Option<Spread>,
    /// 99th percentile, microseconds.
    pub p99_us: Option<Spread>,
    /// Share of the measured time on a CPU.
    pub busy: Option<Spread>,
    /// Share of one core that processes outside the bench used.
    pub foreign: Option<Spread>,
    /// CPU per request over the best peer's in the same round, round by round.
    pub ratios: Vec<Option<f64>>,
    /// Their median and range.
    pub ratio: Option<Spread>,
}

/// One scenario.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The peer with the lowest median CPU per request.
    pub best_peer: Option<ProxyKind>,
    /// Largest ratio that we want to reach.
    pub goal: f64,
    /// Whom it is compared with.
    pub goal_peer: Option<ProxyKind>,
    /// Our ratio to that one, median over the rounds.
    pub goal_ratio: Option<f64>,
    /// Proxies.
    pub rows: Vec<ProxyRow>,
    /// Proxies that did not start or do other work than asked for, and why.
    pub failures: BTreeMap<String, String>,
}

impl Report {
    /// Any proxy failed or any round is void.
    pub fn is_flawed(&self) -> bool {
        let is_void = |row: &ProxyRow| row.rounds.iter().any(|round| round.void.is_some());
        !self.failures.is_empty() || self.rows.iter().any(is_void)
    }
}

/// A proxy in a scenario.
struct Entrant {
    running: Running,
    rounds: Vec<Round>,
    /// Requests that the origins have seen from it in all rounds.
    requests: u64,
}

impl Entrant {
    /// Voids all rounds of a proxy whose log does not have a line for each request: it did less work.
    fn check_log(&mut self) -> Result<()> {
        let lines = self.running.logged_lines()?;
        // Requests under way when a load ends may be logged or not.
        let wanted = self.requests.saturating_sub(self.requests / 1000 + 500);
        if lines < wanted {
            let why = format!("{lines} lines logged for {} requests", self.requests);
            for round in &mut self.rounds {
                round.cpu_us = None;
                round.void.get_or_insert_with(|| why.clone());
            }
        }
        Ok(())
    }
}

/// Runs one scenario.
pub fn run(scenario: &Scenario, plan: &Plan, cores: &Cores) -> Result<Report> {
    let mut origins = Origins::start(ORIGINS, cores)?;
    let mut setup = Setup::plain(&origins.addresses);
    setup.features = scenario.features;
    setup.protocol = scenario.protocol;
    let mut failures = BTreeMap::new();
    let mut field: Vec<Entrant> = Vec::new();
    for kind in &plan.proxies {
        match enter(*kind, plan, &setup, scenario, cores) {
            Ok(running) => field.push(Entrant {
                running,
                rounds: Vec::new(),
                requests: 0,
            }),
            Err(error) => {
                check_interrupt()?;
                failures.insert(kind.name().to_string(), format!("{error:#}"));
            }
        }
    }
    for _ in 0..plan.rounds {
        for entrant in &mut field {
            check_interrupt()?;
            let job = job(scenario, plan, &setup, &entrant.running, &origins);
            let before = origins.counts()?;
            let mut result = bed::run_load(&job, cores)?;
            let after: OriginCounts = origins.counts()?;
            result.origin_connections = after.connections - before.connections;
            entrant.requests += after.requests - before.requests;
            let unequal = bed::unequal_work(&before, &after, &job);
            entrant.rounds.push(Round::new(result, unequal));
        }
    }
    if scenario.features.access_log {
        pause(LOG_PATIENCE)?;
        for entrant in &mut field {
            entrant.check_log()?;
        }
    }
    let series = field
        .into_iter()
        .map(|entrant| (entrant.running.kind, entrant.rounds))
        .collect();
    Ok(assess(scenario, series, failures))
}

fn enter(
    kind: ProxyKind,
    plan: &Plan,
    setup: &Setup,
    scenario: &Scenario,
    cores: &Cores,
) -> Result<Running> {
    let running = Running::start(kind, &plan.programs, setup, &cores.proxy)?;
    bed::check_same_work(&running, setup, scenario.document)?;
    Ok(running)
}

fn job(
    scenario: &Scenario,
    plan: &Plan,
    setup: &Setup,
    running: &Running,
    origins: &Origins,
) -> LoadJob {
    LoadJob {
        target: running.address,
        protocol: scenario.protocol,
        streams: scenario.streams,
        active: scenario.connections,
        idle: 0,
        paths: bed::paths(setup, scenario.document),
        host: "bench.example".into(),
        body_bytes: scenario.document.bytes(),
        reconnect: scenario.reconnect,
        client_addresses: 0,
        warm_up_ms: (plan.warm_up * 1000.0) as u64,
        measure_ms: (plan.seconds * 1000.0) as u64,
        proxy_pid: running.pid(),
        origin_pid: origins.pid(),
    }
}

fn assess(
    scenario: &Scenario,
    series: Vec<(ProxyKind, Vec<Round>)>,
    failures: BTreeMap<String, String>,
) -> Report {
    let cpu_of = |rounds: &[Round]| rounds.iter().map(|round| round.cpu_us).collect::<Vec<_>>();
    let peers: Vec<(ProxyKind, Vec<Option<f64>>)> = series
        .iter()
        .filter(|(kind, _)| *kind != ProxyKind::Evenkeel)
        .map(|(kind, rounds)| (*kind, cpu_of(rounds)))
        .collect();
    let costs: Vec<_> = peers.iter().map(|(_, cpu)| cpu.clone()).collect();
    let best = lowest_median(&costs).map(|index| &peers[index]);
    let of = |wanted| peers.iter().find(|(kind, _)| *kind == wanted);
    let measure = scenario.goal_peer.map_or(best, of);
    let ours = series.iter().find(|(kind, _)| *kind == ProxyKind::Evenkeel);
    let goal_ratio = ours.zip(measure).and_then(|((_, rounds), (_, theirs))| {
        Spread::of(pairwise(&cpu_of(rounds), theirs).into_iter().flatten())
    });
    let (goal_peer, goal_ratio) = (
        measure.map(|(kind, _)| *kind),
        goal_ratio.map(|spread| spread.median),
    );
    let row = |(proxy, rounds): (ProxyKind, Vec<Round>)| {
        let ratios = best.map_or(vec![], |(_, theirs)| pairwise(&cpu_of(&rounds), theirs));
        let good = || {
            rounds
                .iter()
                .filter(|round| round.void.is_none())
                .map(|round| &round.result)
        };
        ProxyRow {
            proxy,
            cpu_us: Spread::of(good().map(LoadResult::cpu_us)),
            rate: Spread::of(good().map(LoadResult::rate)),
            p50_us: Spread::of(good().map(|result| result.p50_us)),
            p99_us: Spread::of(good().map(|result| result.p99_us)),
            busy: Spread::of(good().map(LoadResult::busy)),
            foreign: Spread::of(good().map(LoadResult::foreign)),
            ratio: Spread::of(ratios.iter().copied().flatten()),
            ratios,
            rounds,
        }
    };
    let best_peer = best.map(|(kind, _)| *kind);
    let rows = series.into_iter().map(row).collect();
    let Scenario {
        name, about, goal, ..
    } = *scenario;
    Report {
        scenario: name,
        about,
        best_peer,
        goal,
        goal_peer,
        goal_ratio,
        rows,
        failures,
    }
}

fn number(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("-".into(), |s| format!("{:.digits$}", s.median))
}

fn range(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("-".into(), |s| {
        format!("{:.digits$}..{:.digits$}", s.min, s.max)
    })
}

/// The report as text.
pub fn render(report: &Report, reference_us: &str) -> String {
    let best = report.best_peer.map_or("best peer", ProxyKind::name);
    let head = [
        "proxy",
        "CPU us/req",
        "range",
        "req/s",
        "p50 us",
        "p99 us",
        "busy",
    ];
    let tail = [
        format!("ratio to {best}"),
        "range".into(),
        "by round".into(),
    ];
    let mut table = Table::new(head.map(String::from).into_iter().chain(tail));
    for row in &report.rows {
        let each = |ratio: &Option<f64>| ratio.map_or("void".into(), |r| format!("{r:.3}"));
        table.row([
            row.proxy.name().to_string(),
            number(row.cpu_us, 2),
            range(row.cpu_us, 2),
            number(row.rate, 0),
            number(row.p50_us, 0),
            number(row.p99_us, 0),
            row.busy
                .map_or("-".into(), |busy| format!("{:.0} %", busy.median * 100.0)),
            number(row.ratio, 3),
            range(row.ratio, 3),
            row.ratios.iter().map(each).collect::<Vec<_>>().join(" "),
        ]);
    }
    let mut text = format!("{}: {}\n{}", report.scenario, report.about, table.render());
    for line in remarks(report, reference_us) {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn remarks(report: &Report, reference_us: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let goal = report.goal;
    let of = report.goal_peer.map_or("the best peer", ProxyKind::name);
    lines.push(match report.goal_ratio {
        Some(ratio) if ratio <= goal => format!("goal {goal:.2} of {of}: reached, {ratio:.3}"),
        Some(ratio) => format!("goal {goal:.2} of {of}: missed by {:.3}", ratio - goal),
        None => format!("goal {goal:.2} of {of}: not measured"),
    });
    lines.push(format!(
        "reference nginx / HAProxy / Envoy, us: {reference_us}"
    ));
    for row in &report.rows {
        let name = row.proxy.name();
        for (index, round) in row.rounds.iter().enumerate() {
            if let Some(why) = &round.void {
                lines.push(format!("VOID {name} round {}: {why}", index + 1));
            }
        }
    }
    let foreign = report
        .rows
        .iter()
        .filter_map(|row| row.foreign)
        .map(|spread| spread.max);
    let foreign = foreign.fold(0.0, f64::max);
    let lazy = report
        .rows
        .iter()
        .filter_map(|row| Some((row.proxy, row.busy?.median)));
    if foreign > FOREIGN_MAX {
        let share = foreign * 100.0;
        lines.push(format!(
            "NOT QUIET: other processes used up to {share:.0} % of a core meanwhile"
        ));
    } else {
        lines.extend(
            lazy.filter(|(_, busy)| *busy < BUSY_MIN)
                .map(|(proxy, busy)| {
                    let share = busy * 100.0;
                    format!(
                        "{} used {share:.0} % of its core: the load was the limit",
                        proxy.name()
                    )
                }),
        );
    }
    for (name, why) in &report.failures {
        lines.push(format!("NOT RUN {name}: {why}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    fn round(cpu_us: f64) -> Round {
        let result = LoadResult {
            requests: 1_000_000,
            seconds: 1.0,
            cpu_seconds: cpu_us,
            ..LoadResult::default()
        };
        Round::new(result, None)
    }

    #[test]
    fn ratios_are_to_the_best_peer_and_void_rounds_are_said() {
        let failed = Round::new(
            LoadResult {
                errors: 3,
                ..LoadResult::default()
            },
            None,
        );
        let series = vec![
            (
                ProxyKind::Nginx,
                vec![round(10.0), round(12.0), round(11.0)],
            ),
            (
                ProxyKind::Haproxy,
                vec![round(20.0), round(24.0), round(22.0)],
            ),
            (ProxyKind::Evenkeel, vec![round(8.0), failed, round(8.8)]),
        ];
        let report = assess(&SCENARIOS[0], series, BTreeMap::new());
        assert_eq!(report.best_peer, Some(ProxyKind::Nginx));
        let ours = &report.rows[2];
        assert!(ours.ratios[1].is_none());
        assert!((ours.ratio.unwrap().median - 0.8).abs() < 1e-9);
        assert!((report.rows[1].ratio.unwrap().median - 2.0).abs() < 1e-9);
        assert!(report.is_flawed());
        let text = render(&report, "x");
        assert!(text.contains("VOID evenkeel round 2: 3 errors"), "{text}");
        assert!(text.contains("goal 0.88 of nginx: reached"), "{text}");
    }

    #[test]
    fn a_goal_may_have_a_peer_of_its_own() {
        let scenario = Scenario {
            goal: 0.75,
            goal_peer: Some(ProxyKind::Nginx),
            ..SCENARIOS[0]
        };
        let series = vec![
            (ProxyKind::Nginx, vec![round(20.0)]),
            (ProxyKind::Haproxy, vec![round(10.0)]),
            (ProxyKind::Evenkeel, vec![round(14.0)]),
        ];
        let report = assess(&scenario, series, BTreeMap::new());
        assert_eq!(report.best_peer, Some(ProxyKind::Haproxy));
        assert!((report.rows[2].ratio.unwrap().median - 1.4).abs() < 1e-9);
        let text = render(&report, "x");
        assert!(
            text.contains("goal 0.75 of nginx: reached, 0.700"),
            "{text}"
        );
    }

    #[test]
    fn ours_is_never_its_own_peer() {
        let series = vec![(ProxyKind::Evenkeel, vec![round(8.0)])];
        let report = assess(&SCENARIOS[0], series, BTreeMap::new());
        assert_eq!((report.best_peer, report.rows[0].ratio), (None, None));
    }
}
