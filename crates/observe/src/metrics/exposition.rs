//! Prometheus' text format 0.0.4.
//!
//! Invariants: the lines of a family stand together after its HELP and TYPE; buckets are cumulative,
//! end with `+Inf`, and agree with `_count`.

use std::fmt::Write as _;

use keel_http2::H2Abuse;
use keel_types::{PoolId, ServerIndex};

use super::catalog::{self, Metric, seconds_of_us};
use super::handles::{ErrorKind, ListenerCells, RejectReason, StatusClass};
use super::histogram::{Buckets, bucket_bounds_us};
use super::process::ProcessReadings;
use super::registry::{Registry, RouteTotals, ServerTotals};
use super::series::{Family, label};
use crate::log::LogWriter;

/// The `Content-Type` of the text format.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A family with more series than this exports only those that were used.
const ZERO_SERIES_MAX: usize = 1000;

/// What a scrape shows besides the registry's own cells.
#[derive(Clone, Copy, Default)]
pub struct ScrapeSources<'a> {
    /// The writer of the access logs, for their figures.
    pub logs: Option<&'a LogWriter>,
    /// Whether a server may be chosen now.
    pub server_up: Option<&'a dyn Fn(PoolId, ServerIndex) -> bool>,
    /// Certificates of the listeners that have TLS.
    pub tls: &'a [TlsFigures],
    /// Heap allocations of the process so far, where they are counted.
    pub allocations: Option<u64>,
    /// Names of servers that are looked up.
    pub names: Option<NameFigures>,
    /// How the configuration came to be what it is.
    pub config: Option<ConfigFigures>,
    /// Checks of a server that passed and that failed; `None` for one that is not checked.
    pub server_checks: Option<&'a dyn Fn(PoolId, ServerIndex) -> Option<[u64; 2]>>,
}

/// What a scrape shows of the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConfigFigures {
    /// Its number, from 1.
    pub generation: u64,
    /// Since when it is served, in milliseconds since the Unix epoch.
    pub loaded_unix_ms: u64,
    /// Reloads that were done and refused.
    pub reloads: [u64; 2],
    /// Run-time changes that were done and refused.
    pub changes: [u64; 2],
    /// Times that the servers found by name changed.
    pub discoveries: u64,
    /// Upgrades to a new program that were done and that failed, over all processes.
    pub upgrades: [u64; 2],
}

/// What a scrape shows of names that are looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameFigures {
    /// Look-ups that gave an answer.
    pub answered: u64,
    /// Look-ups that gave none.
    pub failed: u64,
    /// Names that are kept.
    pub names: u64,
    /// Names whose last look-up failed.
    pub failing: u64,
}

/// What a scrape shows of the TLS of one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFigures {
    /// The listener's name.
    pub listener: String,
    /// First name of each certificate, and seconds until it expires. Names may occur several times.
    pub expiries: Vec<(String, i64)>,
    /// Changed files that were taken.
    pub taken: u64,
    /// Changed files that were refused.
    pub refused: u64,
    /// OCSP answers that were fetched.
    pub ocsp_fetched: u64,
    /// OCSP answers that could not be had.
    pub ocsp_failed: u64,
}

impl std::fmt::Debug for ScrapeSources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScrapeSources")
            .field("logs", &self.logs.is_some())
            .field("server_up", &self.server_up.is_some())
            .field("tls", &self.tls.len())
            .field("server_checks", &self.server_checks.is_some())
            .field("allocations", &self.allocations)
            .field("names", &self.names)
            .finish()
    }
}

/// The results of handshakes, in the order of their cells.
const HANDSHAKE_RESULTS: [&str; 2] = ["completed", "failed"];

impl Registry {
    /// Appends all metrics in the text format (`Content-Type`: [`TEXT_FORMAT`]). Takes time in
    /// proportion to series times workers; it disturbs no worker.
    pub fn render(&self, sources: &ScrapeSources<'_>, out: &mut String) {
        let mut text = Text { out, name: "" };
        self.render_process(sources, &mut text);
        render_config(sources.config, &mut text);
        self.render_listeners(&mut text);
        render_tls(sources.tls, &mut text);
        render_names(sources.names, &mut text);
        self.render_routes(&mut text);
        self.render_pools(sources, &mut text);
        self.render_servers(&mut text);
        if let Some(logs) = sources.logs {
            render_logs(logs, &mut text);
        }
    }

    fn render_process(&self, sources: &ScrapeSources<'_>, text: &mut Text<'_>) {
        let readings = ProcessReadings::take();
        text.family(&catalog::BUILD_INFO);
        text.value(&label(&[("version", env!("CARGO_PKG_VERSION"))]), 1);
        let start = self.started_unix_ms();
        text.single(
            &catalog::PROCESS_START,
            format_args!("{}.{:03}", start / 1000, start % 1000),
        );
        if let Some(us) = readings.cpu_us {
            text.single(&catalog::PROCESS_CPU, format_args!("{}", seconds_of_us(us)));
        }
        let gauges = [
            (&catalog::PROCESS_MEMORY, readings.resident_bytes),
            (&catalog::PROCESS_FDS, readings.open_descriptors),
            (&catalog::PROCESS_FDS_MAX, readings.descriptors_max),
            (&catalog::PROCESS_WORKERS, Some(self.workers() as u64)),
            (&catalog::PROCESS_ALLOCATIONS, sources.allocations),
            (&catalog::REQUESTS, Some(self.totals().requests)),
            (&catalog::REQUEST_ERRORS, Some(self.totals().errors)),
        ];
        for (metric, value) in gauges {
            if let Some(value) = value {
                text.single(metric, format_args!("{value}"));
            }
        }
    }

    fn render_listeners(&self, text: &mut Text<'_>) {
        type Figure = fn(&ListenerCells) -> u64;
        let plain: [(&Metric, Figure); 4] = [
            (&catalog::LISTENER_ACCEPTED, |cells| cells.accepted.read()),
            (&catalog::LISTENER_OPEN, |cells| cells.open.read()),
            (&catalog::LISTENER_REQUESTS, |cells| cells.requests.read()),
            (&catalog::LISTENER_BAD_REQUESTS, |cells| {
                cells.bad_requests.read()
            }),
        ];
        for (metric, figure) in plain {
            text.family(metric);
            for (_, series) in shown(self.listeners()) {
                text.value(&series.labels, series.sum(figure));
            }
        }
        text.family(&catalog::LISTENER_REJECTED);
        for (_, series) in shown(self.listeners()) {
            for reason in RejectReason::ALL {
                let count = series.sum(|cells| cells.rejected[reason as usize].read());
                text.labelled(&series.labels, "reason", reason.name(), count);
            }
        }
        text.family(&catalog::LISTENER_HANDSHAKES);
        for (_, series) in shown(self.listeners()) {
            for (at, result) in HANDSHAKE_RESULTS.into_iter().enumerate() {
                let count = series.sum(|cells| cells.handshakes[at].read());
                text.labelled(&series.labels, "result", result, count);
            }
        }
        text.family(&catalog::HTTP2_ABUSE);
        for (_, series) in shown(self.listeners()) {
            for kind in H2Abuse::ALL {
                let count = series.sum(|cells| cells.http2_abuse[kind.index()].read());
                text.labelled(&series.labels, "kind", kind.name(), count);
            }
        }
    }

    fn render_routes(&self, text: &mut Text<'_>) {
        let unrouted = (
            self.unrouted().labels.as_str(),
            RouteTotals::of(self.unrouted()),
        );
        let routes = shown(self.routes());
        let routes = routes.map(|(_, series)| (series.labels.as_str(), RouteTotals::of(series)));
        let routes: Vec<_> = std::iter::once(unrouted).chain(routes).collect();
        text.family(&catalog::ROUTE_REQUESTS);
        for (labels, totals) in &routes {
            text.classes(labels, &totals.requests);
        }
        type Figure = fn(&RouteTotals) -> u64;
        let plain: [(&Metric, Figure); 3] = [
            (&catalog::ROUTE_IN_FLIGHT, |totals| totals.in_flight),
            (&catalog::ROUTE_REQUEST_BYTES, |totals| totals.request_bytes),
            (&catalog::ROUTE_RESPONSE_BYTES, |totals| {
                totals.response_bytes
            }),
        ];
        for (metric, figure) in plain {
            text.family(metric);
            for (labels, totals) in &routes {
                text.value(labels, figure(totals));
            }
        }
        text.family(&catalog::ROUTE_DURATION);
        for (labels, totals) in &routes {
            text.histogram(labels, &totals.duration);
        }
    }

    fn render_pools(&self, sources: &ScrapeSources<'_>, text: &mut Text<'_>) {
        text.family(&catalog::POOL_UNAVAILABLE);
        for (_, series) in shown(self.pools()) {
            text.value(&series.labels, series.sum(|cells| cells.unavailable.read()));
        }
        let pools: Vec<_> = shown(self.pools()).map(|(_, series)| &**series).collect();
        super::protect::render(pools.into_iter(), text);
        let Some(server_up) = sources.server_up else {
            return;
        };
        text.family(&catalog::SERVER_UP);
        for (position, series) in self.servers().distinct() {
            if let Some((pool, server)) = self.server_at(*position) {
                text.value(&series.labels, u64::from(server_up(pool, server)));
            }
        }
        self.render_checks(sources, text);
    }

    /// Nothing is exported while no server is checked.
    fn render_checks(&self, sources: &ScrapeSources<'_>, text: &mut Text<'_>) {
        let Some(checks) = sources.server_checks else {
            return;
        };
        let mut begun = false;
        for (position, series) in self.servers().distinct() {
            let counts = self.server_at(*position);
            let Some(counts) = counts.and_then(|(pool, server)| checks(pool, server)) else {
                continue;
            };
            if !std::mem::replace(&mut begun, true) {
                text.family(&catalog::SERVER_CHECKS);
            }
            for (result, count) in ["passed", "failed"].into_iter().zip(counts) {
                text.labelled(&series.labels, "result", result, count);
            }
        }
    }

    fn render_servers(&self, text: &mut Text<'_>) {
        let servers = shown(self.servers());
        let servers: Vec<_> = servers
            .map(|(_, series)| (series.labels.as_str(), ServerTotals::of(series)))
            .collect();
        text.family(&catalog::SERVER_REQUESTS);
        for (labels, totals) in &servers {
            text.classes(labels, &totals.requests);
        }
        text.family(&catalog::SERVER_ERRORS);
        for (labels, totals) in &servers {
            for kind in ErrorKind::ALL {
                text.labelled(labels, "kind", kind.name(), totals.errors[kind as usize]);
            }
        }
        type Figure = fn(&ServerTotals) -> u64;
        let plain: [(&Metric, Figure); 6] = [
            (&catalog::SERVER_IN_FLIGHT, |totals| totals.in_flight),
            (&catalog::SERVER_REQUEST_BYTES, |totals| {
                totals.request_bytes
            }),
            (&catalog::SERVER_RESPONSE_BYTES, |totals| {
                totals.response_bytes
            }),
            (&catalog::SERVER_OPENED, |totals| totals.opened),
            (&catalog::SERVER_REUSED, |totals| totals.reused),
            (&catalog::SERVER_RETRIES, |totals| totals.retries),
        ];
        for (metric, figure) in plain {
            text.family(metric);
            for (labels, totals) in &servers {
                text.value(labels, figure(totals));
            }
        }
        type Times = fn(&ServerTotals) -> &Buckets;
        let times: [(&Metric, Times); 2] = [
            (&catalog::SERVER_CONNECT, |totals| &totals.connect),
            (&catalog::SERVER_FIRST_BYTE, |totals| &totals.first_byte),
        ];
        for (metric, times) in times {
            text.family(metric);
            for (labels, totals) in &servers {
                text.histogram(labels, times(totals));
            }
        }
    }
}

fn render_config(figures: Option<ConfigFigures>, text: &mut Text<'_>) {
    let Some(figures) = figures else {
        return;
    };
    text.single(
        &catalog::CONFIG_GENERATION,
        format_args!("{}", figures.generation),
    );
    let loaded = figures.loaded_unix_ms;
    text.single(
        &catalog::CONFIG_LOADED,
        format_args!("{}.{:03}", loaded / 1000, loaded % 1000),
    );
    let counted = [
        (&catalog::RELOADS, figures.reloads),
        (&catalog::CHANGES, figures.changes),
    ];
    for (metric, counts) in counted {
        text.family(metric);
        for (result, count) in ["done", "refused"].into_iter().zip(counts) {
            text.value(&label(&[("result", result)]), count);
        }
    }
    text.single(
        &catalog::DISCOVERIES,
        format_args!("{}", figures.discoveries),
    );
    text.family(&catalog::UPGRADES);
    for (result, count) in ["done", "failed"].into_iter().zip(figures.upgrades) {
        text.value(&label(&[("result", result)]), count);
    }
}

/// Nothing is exported while no listener has TLS.
fn render_tls(figures: &[TlsFigures], text: &mut Text<'_>) {
    if figures.is_empty() {
        return;
    }
    text.family(&catalog::TLS_EXPIRY);
    for listener in figures {
        let mut soonest: Vec<&(String, i64)> = listener.expiries.iter().collect();
        soonest.sort();
        soonest.dedup_by_key(|(name, _)| name.as_str());
        // A folder may hold any number: those that end first are the ones to know of.
        soonest.sort_by_key(|(_, seconds)| *seconds);
        for (name, seconds) in soonest.into_iter().take(ZERO_SERIES_MAX) {
            let labels = label(&[("listener", &listener.listener), ("name", name)]);
            text.value(&labels, *seconds);
        }
    }
    type Figure = fn(&TlsFigures) -> [(&'static str, u64); 2];
    let counted: [(&Metric, Figure); 2] = [
        (&catalog::TLS_RELOADS, |it| {
            [("taken", it.taken), ("refused", it.refused)]
        }),
        (&catalog::TLS_OCSP, |it| {
            [("fetched", it.ocsp_fetched), ("failed", it.ocsp_failed)]
        }),
    ];
    for (metric, figure) in counted {
        text.family(metric);
        for listener in figures {
            let labels = label(&[("listener", &listener.listener)]);
            for (result, count) in figure(listener) {
                text.labelled(&labels, "result", result, count);
            }
        }
    }
}

/// Nothing is exported while no server has a name.
fn render_names(figures: Option<NameFigures>, text: &mut Text<'_>) {
    let Some(figures) = figures.filter(|it| it.names > 0) else {
        return;
    };
    text.family(&catalog::NAME_LOOKUPS);
    for (result, count) in [("answered", figures.answered), ("failed", figures.failed)] {
        text.value(&label(&[("result", result)]), count);
    }
    text.single(&catalog::NAME_COUNT, format_args!("{}", figures.names));
    text.single(&catalog::NAME_FAILING, format_args!("{}", figures.failing));
}

fn render_logs(logs: &LogWriter, text: &mut Text<'_>) {
    let stats: Vec<_> = logs
        .stats()
        .into_iter()
        .map(|stats| (label(&[("destination", &stats.destination)]), stats))
        .collect();
    type Figure = fn(&crate::log::LogStats) -> u64;
    let plain: [(&Metric, Figure); 4] = [
        (&catalog::LOG_WRITTEN, |stats| stats.lines_written),
        (&catalog::LOG_DROPPED, |stats| stats.lines_dropped),
        (&catalog::LOG_TRUNCATED, |stats| stats.lines_truncated),
        (&catalog::LOG_ERRORS, |stats| stats.errors),
    ];
    for (metric, figure) in plain {
        text.family(metric);
        for (labels, stats) in &stats {
            text.value(labels, figure(stats));
        }
    }
}

/// The series to export: all, or in a large family those that were used.
fn shown<C: Default>(
    family: &Family<C>,
) -> impl Iterator<Item = &(usize, std::sync::Arc<super::series::Series<C>>)> {
    let all = family.len() <= ZERO_SERIES_MAX;
    family
        .distinct()
        .iter()
        .filter(move |(_, series)| all || series.is_used())
}

/// Writes lines. Writing to a `String` cannot fail, so results are let go.
pub(super) struct Text<'a> {
    out: &'a mut String,
    /// The name of the family that is being written.
    name: &'static str,
}

impl Text<'_> {
    /// Begins a family.
    pub(super) fn family(&mut self, metric: &Metric) {
        self.name = metric.name;
        let _ = writeln!(self.out, "# HELP {} {}", metric.name, metric.meaning);
        let _ = writeln!(self.out, "# TYPE {} {}", metric.name, metric.kind.name());
    }

    /// A family of one line without labels.
    fn single(&mut self, metric: &Metric, value: std::fmt::Arguments<'_>) {
        self.family(metric);
        let _ = writeln!(self.out, "{} {value}", metric.name);
    }

    pub(super) fn value(&mut self, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{}{{{labels}}} {value}", self.name);
    }

    /// A line with one more label, whose value is a fixed word.
    pub(super) fn labelled(&mut self, labels: &str, label: &str, word: &str, value: u64) {
        let _ = writeln!(
            self.out,
            "{}{{{labels},{label}=\"{word}\"}} {value}",
            self.name
        );
    }

    pub(super) fn classes(&mut self, labels: &str, counts: &[u64; 6]) {
        for (class, count) in StatusClass::ALL.into_iter().zip(counts) {
            self.labelled(labels, "class", class.name(), *count);
        }
    }

    pub(super) fn histogram(&mut self, labels: &str, buckets: &Buckets) {
        let name = self.name;
        let mut below = 0;
        for (us, count) in bucket_bounds_us().iter().zip(&buckets.counts) {
            below += count;
            let bound = seconds_of_us(*us);
            let _ = writeln!(self.out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let count = buckets.count();
        let sum = seconds_of_us(buckets.sum_us);
        let _ = writeln!(self.out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(self.out, "{name}_sum{{{labels}}} {sum}");
        let _ = writeln!(self.out, "{name}_count{{{labels}}} {count}");
    }
}
