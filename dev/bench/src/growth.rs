//! Growth curves: what a request costs as routes, servers, connections and workers become more.
//!
//! The points of a curve take turns within a round, as proxies do in a comparison, and each is compared with the first
//! point of its own round, so that a drift of the machine cancels out. A point gets a fresh proxy each time.

mod points;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bed::{self, Origins};
use crate::compare::{FOREIGN_MAX, Plan};
use crate::cores::Cores;
use crate::document::Document;
use crate::job::{LoadJob, LoadResult};
use crate::process::check_interrupt;
use crate::proxy::{ProxyKind, Running};
use crate::ratio::{Spread, pairwise};
use crate::table::Table;

use points::{CLIENT_ADDRESSES, KEYS, Point, Series, series};
pub use points::{Curve, algorithm_names};

/// More new connections to origins than this for 1,000 requests are told: they cost more than what is measured.
const OPENED_MAX: f64 = 2.0;
/// Warm-up between the opening of a point's connections and its measurement, milliseconds.
const RAMP_MS: u64 = 300;

/// What was measured at a point.
#[derive(Debug, Serialize)]
pub struct PointReport {
    /// The size.
    pub size: usize,
    /// CPU per request, microseconds.
    pub cpu_us: Option<Spread>,
    /// Requests per second.
    pub rate: Option<Spread>,
    /// 99th percentile of latency, microseconds.
    pub p99_us: Option<Spread>,
    /// CPU per request over the first point's of the same round.
    pub cost_ratio: Option<Spread>,
    /// Requests per second over the first point's of the same round.
    pub rate_ratio: Option<Spread>,
    /// Why rounds are void, and what the reader must know.
    pub notes: Vec<String>,
}

/// A whole curve.
#[derive(Debug, Serialize)]
pub struct CurveReport {
    /// Its name.
    pub curve: String,
    /// What grows.
    pub about: &'static str,
    /// Largest wanted growth of the cost, as a share.
    pub goal: Option<f64>,
    /// Its points.
    pub points: Vec<PointReport>,
}

/// Runs a curve, one report for each of its series; `shown` sees each report as soon as it is there.
pub fn run(
    curve: Curve,
    algorithms: &[String],
    kind: ProxyKind,
    plan: &Plan,
    shown: &mut dyn FnMut(&CurveReport),
) -> Result<Vec<CurveReport>> {
    let mut reports = Vec::new();
    for series in series(curve, algorithms) {
        let mut outcomes: Vec<Vec<Result<LoadResult, String>>> =
            series.points.iter().map(|_| Vec::new()).collect();
        for _ in 0..plan.rounds {
            for (point, rounds) in series.points.iter().zip(&mut outcomes) {
                check_interrupt()?;
                let outcome = measure(point, kind, plan);
                check_interrupt()?;
                rounds.push(outcome.map_err(|error| format!("{error:#}")));
            }
        }
        let report = assess(&series, &outcomes);
        shown(&report);
        reports.push(report);
    }
    Ok(reports)
}

fn measure(point: &Point, kind: ProxyKind, plan: &Plan) -> Result<LoadResult> {
    let cores = Cores::of_machine(point.workers);
    let mut origins = Origins::start(point.servers, &cores)?;
    let setup = point.setup(&origins);
    let running = Running::start(kind, &plan.programs, &setup, &cores.proxy)?;
    bed::check_same_work(&running, &setup, Document::Small)?;
    let is_keyed = point.balance.is_some();
    let paths = if is_keyed {
        (0..KEYS)
            .map(|key| format!("/key-{key:04}/{}", Document::Small.name()))
            .collect()
    } else {
        bed::paths(&setup, Document::Small)
    };
    let job = LoadJob {
        target: running.address,
        protocol: setup.protocol,
        streams: 1,
        active: point.active,
        idle: point.idle,
        paths,
        host: "bench.example".into(),
        body_bytes: Document::Small.bytes(),
        reconnect: false,
        client_addresses: if is_keyed { CLIENT_ADDRESSES } else { 0 },
        warm_up_ms: RAMP_MS,
        measure_ms: (plan.seconds * 1000.0) as u64,
        proxy_pid: running.pid(),
        origin_pid: origins.pid(),
    };
    prime(point, &job, plan, &cores).with_context(|| running.last_words())?;
    let before = origins.counts()?;
    let mut result = bed::run_load(&job, &cores).with_context(|| running.last_words())?;
    let after = origins.counts()?;
    result.origin_connections = after.connections - before.connections;
    let unequal = bed::unequal_work(&before, &after, &job);
    match result.void().or(unequal) {
        Some(why) => anyhow::bail!("{why}"),
        None => Ok(result),
    }
}

/// Warms the proxy up by a load of its own, so that the connections to origins are there before any is counted. The more
/// of them a point wants, the longer it takes.
fn prime(point: &Point, job: &LoadJob, plan: &Plan, cores: &Cores) -> Result<()> {
    let longer = 1.0 + point.servers as f64 / 500.0 + point.active as f64 / 2000.0;
    let time = plan.warm_up * longer * 1000.0;
    let job = LoadJob {
        idle: 0,
        warm_up_ms: 0,
        measure_ms: time as u64,
        ..job.clone()
    };
    bed::run_load(&job, cores).map(drop)
}

fn assess(series: &Series, outcomes: &[Vec<Result<LoadResult, String>>]) -> CurveReport {
    let values = |rounds: &[Result<LoadResult, String>], of: fn(&LoadResult) -> f64| {
        rounds
            .iter()
            .map(|round| round.as_ref().ok().map(of))
            .collect::<Vec<_>>()
    };
    let first = outcomes.first().map_or(&[][..], Vec::as_slice);
    let (first_cost, first_rate) = (
        values(first, LoadResult::cpu_us),
        values(first, LoadResult::rate),
    );
    let spread = |list: Vec<Option<f64>>| Spread::of(list.into_iter().flatten());
    let point = |(point, rounds): (&Point, &Vec<Result<LoadResult, String>>)| {
        let (cost, rate) = (
            values(rounds, LoadResult::cpu_us),
            values(rounds, LoadResult::rate),
        );
        let voids = rounds.iter().filter_map(|round| round.as_ref().err());
        let mut notes: Vec<String> = voids.map(|why| format!("VOID: {why}")).collect();
        notes.dedup();
        notes.extend(Cores::of_machine(point.workers).note);
        let opened = values(rounds, |r| {
            r.origin_connections as f64 * 1000.0 / r.requests as f64
        });
        let opened = opened.into_iter().flatten().fold(0.0, f64::max);
        if opened > OPENED_MAX {
            notes.push(format!(
                "{opened:.1} connections to origins were opened for 1,000 requests"
            ));
        }
        let foreign = values(rounds, LoadResult::foreign).into_iter().flatten();
        let foreign = foreign.fold(0.0, f64::max);
        if foreign > FOREIGN_MAX {
            let share = foreign * 100.0;
            notes.push(format!(
                "NOT QUIET: other processes used up to {share:.0} % of a core"
            ));
        }
        PointReport {
            size: point.size,
            cost_ratio: spread(pairwise(&cost, &first_cost)),
            rate_ratio: spread(pairwise(&rate, &first_rate)),
            cpu_us: spread(cost),
            rate: spread(rate),
            p99_us: spread(values(rounds, |result| result.p99_us)),
            notes,
        }
    };
    CurveReport {
        curve: series.name.clone(),
        about: series.about,
        goal: series.goal,
        points: series.points.iter().zip(outcomes).map(point).collect(),
    }
}

/// The report as text.
pub fn render(report: &CurveReport) -> String {
    let head = [
        report.about,
        "CPU us/req",
        "range",
        "vs first",
        "range",
        "req/s",
        "vs first",
        "p99 us",
    ];
    let mut table = Table::new(head);
    let number = |spread: Option<Spread>, digits: usize| {
        spread.map_or("-".into(), |s| format!("{:.digits$}", s.median))
    };
    let share = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
    let mut notes = Vec::new();
    for point in &report.points {
        let range = point
            .cpu_us
            .map_or("-".into(), |s| format!("{:.2}..{:.2}", s.min, s.max));
        let cost = point.cost_ratio;
        table.row([
            point.size.to_string(),
            number(point.cpu_us, 2),
            range,
            cost.map_or("-".into(), |s| share(s.median)),
            cost.map_or("-".into(), |s| {
                format!("{}..{}", share(s.min), share(s.max))
            }),
            number(point.rate, 0),
            point
                .rate_ratio
                .map_or("-".into(), |s| format!("x{:.2}", s.median)),
            number(point.p99_us, 0),
        ]);
        notes.extend(
            point
                .notes
                .iter()
                .map(|note| format!("  {}: {note}\n", point.size)),
        );
    }
    let worst = report
        .points
        .iter()
        .filter_map(|p| p.cost_ratio)
        .map(|s| s.median - 1.0);
    let worst = worst.fold(0.0, f64::max);
    let verdict = match report.goal {
        Some(goal) if worst <= goal => format!("  goal within {:.0} %: reached\n", goal * 100.0),
        Some(goal) => format!(
            "  goal within {:.0} %: exceeded, {:+.1} %\n",
            goal * 100.0,
            worst * 100.0
        ),
        None => "  goal: requests/s x 1.9 where the load allows\n".into(),
    };
    format!(
        "{}\n{}{verdict}{}",
        report.curve,
        table.render(),
        notes.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(cpu_us: f64) -> Result<LoadResult, String> {
        Ok(LoadResult {
            requests: 1_000_000,
            seconds: 1.0,
            cpu_seconds: cpu_us,
            ..LoadResult::default()
        })
    }

    #[test]
    fn deviation_is_from_the_first_point_of_the_same_round() {
        let series = &series(Curve::Workers, &[])[0];
        let outcomes = vec![
            vec![result(10.0), result(20.0), Err("broken".into())],
            vec![result(11.0), result(22.0), result(1.0)],
        ];
        let report = assess(series, &outcomes);
        let cost = report.points[1].cost_ratio.unwrap();
        assert!((cost.median - 1.1).abs() < 1e-9 && (cost.max - 1.1).abs() < 1e-9);
        assert!(render(&report).contains("VOID: broken"));
    }
}
