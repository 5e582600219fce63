//! Memory per connection, and what slow clients do to others.
//!
//! Each row gets a fresh proxy with its defaults. Growth is resident memory (exact, by `smaps_rollup`, all processes of the
//! proxy) over that after a few normal requests, at its highest while the connections are held, divided by their number.
//! Memory of the kernel's sockets is not in it; what a proxy spools to unlinked files is shown beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bed::Origins;
use crate::client::Peer;
use crate::cores::Cores;
use crate::cpu;
use crate::hold::{Held, HoldKind};
use crate::process::{check_interrupt, pause};
use crate::proxy::{Programs, ProxyKind, Purpose, Running, Setup};
use crate::ratio::Spread;
use crate::table::Table;

/// Between two normal requests.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// A normal request that takes longer was not served.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// Between the opening of the held connections and the first normal request beside them.
const SETTLE: Duration = Duration::from_secs(1);
/// Normal requests before memory is first read.
const WARM_REQUESTS: usize = 200;
/// Parts of a period in which a share of the connections drips, so that drips do not come in bursts.
const SLICES: usize = 20;

/// The rows of the table, in its order.
pub const ROWS: [HoldKind; 8] = [
    HoldKind::Idle,
    HoldKind::TlsIdle,
    HoldKind::H2Idle,
    HoldKind::SlowHead,
    HoldKind::SlowBody,
    HoldKind::SlowRead,
    HoldKind::SlowLargeRead,
    HoldKind::H2NoWindow,
];
/// Connections with a window of 0.
const NO_WINDOW: usize = 20;

/// What to hold, and how long.
#[derive(Debug, Clone, Copy)]
pub struct MemoryPlan {
    /// Idle connections, of each protocol.
    pub idle: usize,
    /// Slow connections of each kind.
    pub slow: usize,
    /// Seconds to hold them; below the ten seconds after which proxies end slow heads.
    pub hold_seconds: f64,
}

impl MemoryPlan {
    /// How long the opening of the connections is felt: the first third of the time that they are held.
    fn burst(&self) -> Duration {
        Duration::from_secs_f64(self.hold_seconds / 3.0)
    }
}

/// One row of one proxy.
#[derive(Debug, Serialize)]
pub struct MemoryRow {
    /// Which proxy.
    pub proxy: ProxyKind,
    /// What was held.
    pub kind: HoldKind,
    /// How many.
    pub connections: usize,
    /// Resident memory after start, MiB.
    pub start_mib: f64,
    /// Growth for each connection, KiB.
    pub growth_kib: f64,
    /// The same at its highest, which is while they are opened, KiB.
    pub burst_kib: f64,
    /// Spooled to files for each connection, KiB.
    pub spooled_kib: f64,
    /// Connections that the proxy had not ended when memory was last read.
    pub still_open: usize,
    /// Median of normal requests before, milliseconds.
    pub before_ms: f64,
    /// Median of normal requests meanwhile, milliseconds.
    pub meanwhile_ms: f64,
    /// Share of normal requests served meanwhile.
    pub served: f64,
}

/// Latencies of normal requests; `None` for one that was not served.
type Latencies = Vec<Option<f64>>;

/// A thread that sends a normal request each half second.
struct Prober {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Latencies>,
}

impl Prober {
    fn start(peer: Peer) -> Prober {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut latencies = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let answer = peer.fetch("/small", PROBE_PATIENCE);
                let good = answer.ok().filter(|answer| answer.status == 200);
                latencies.push(good.map(|answer| answer.took.as_secs_f64() * 1e3));
                thread::sleep(PROBE_EVERY);
            }
            latencies
        });
        Prober { stop, thread }
    }

    fn finish(self) -> Result<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .ok()
            .context("the normal requests' thread ended early")
    }
}

fn median(latencies: &Latencies) -> f64 {
    Spread::of(latencies.iter().copied().flatten()).map_or(f64::NAN, |spread| spread.median)
}

fn share_served(latencies: &Latencies) -> f64 {
    let served = latencies.iter().flatten().count();
    served as f64 / latencies.len().max(1) as f64
}

/// Measures one row.
pub fn measure(
    kind: ProxyKind,
    hold: HoldKind,
    plan: &MemoryPlan,
    programs: &Programs,
    cores: &Cores,
) -> Result<MemoryRow> {
    let origins = Origins::start(3, cores)?;
    let mut setup = Setup::plain(&origins.addresses);
    setup.purpose = Purpose::Patience;
    setup.protocol = hold.protocol();
    let running = Running::start(kind, programs, &setup, &cores.proxy)?;
    pause(Duration::from_millis(300))?;
    let start_kib = cpu::resident_kib(running.pid())?;
    for _ in 0..WARM_REQUESTS {
        running.peer().fetch("/small", PROBE_PATIENCE)?;
    }
    let prober = Prober::start(running.peer());
    pause(Duration::from_secs_f64(plan.hold_seconds / 2.0))?;
    let before = prober.finish()?;
    let base_kib = cpu::resident_kib(running.pid())?;

    let count = match hold {
        HoldKind::Idle | HoldKind::TlsIdle | HoldKind::H2Idle => plan.idle,
        HoldKind::H2NoWindow => NO_WINDOW,
        // The kernel's share of these is 4 MiB each.
        HoldKind::SlowLargeRead => plan.slow.div_ceil(5),
        _ => plan.slow,
    };
    let (peak, meanwhile) = keep(hold, count, plan, &running)?;
    Ok(MemoryRow {
        proxy: kind,
        kind: hold,
        connections: count,
        start_mib: start_kib as f64 / 1024.0,
        growth_kib: peak.resident_kib.saturating_sub(base_kib) as f64 / count as f64,
        burst_kib: peak.burst_kib.saturating_sub(base_kib) as f64 / count as f64,
        spooled_kib: peak.spooled_kib as f64 / count as f64,
        still_open: peak.still_open,
        before_ms: median(&before),
        meanwhile_ms: median(&meanwhile),
        served: share_served(&meanwhile),
    })
}

#[derive(Debug, Default)]
struct Peak {
    /// The most once the burst of their opening is over.
    resident_kib: u64,
    /// The most at any time.
    burst_kib: u64,
    spooled_kib: u64,
    still_open: usize,
}

/// Opens the connections, drips, and watches the proxy's memory. Normal requests begin when the opening has settled.
fn keep(
    hold: HoldKind,
    count: usize,
    plan: &MemoryPlan,
    running: &Running,
) -> Result<(Peak, Latencies)> {
    let mut held = Vec::with_capacity(count);
    for index in 0..count {
        check_interrupt()?;
        let opened = Held::open(hold, running.address);
        held.push(opened.with_context(|| format!("connection {index}"))?);
    }
    let mut peak = Peak::default();
    let opened = Instant::now();
    let mut prober = None;
    let mut slice = 0;
    // The origins pass 4 GiB to the kernel first, on the core that the normal requests' client has too.
    let settle = match hold {
        HoldKind::H2NoWindow => Duration::from_secs_f64(plan.hold_seconds / 2.0),
        _ => SETTLE,
    };
    while opened.elapsed().as_secs_f64() < plan.hold_seconds {
        if prober.is_none() && opened.elapsed() > settle {
            prober = Some(Prober::start(running.peer()));
        }
        for connection in held.iter_mut().skip(slice % SLICES).step_by(SLICES) {
            connection.drip();
        }
        if slice % SLICES == SLICES / 2 {
            let resident_kib = cpu::resident_kib(running.pid())?;
            peak.burst_kib = peak.burst_kib.max(resident_kib);
            if opened.elapsed() > plan.burst() {
                peak.resident_kib = peak.resident_kib.max(resident_kib);
            }
            peak.spooled_kib = peak.spooled_kib.max(cpu::spooled_kib(running.pid())?);
            peak.still_open = held
                .iter()
                .filter(|connection| connection.is_open())
                .count();
        }
        slice += 1;
        pause(hold.period() / SLICES as u32)?;
    }
    let latencies = prober.map_or(Ok(Vec::new()), Prober::finish)?;
    Ok((peak, latencies))
}

/// Rows as text; a failed one says why.
pub fn render(rows: &[(ProxyKind, HoldKind, Result<MemoryRow>)]) -> String {
    let head = [
        "held",
        "proxy",
        "count",
        "KiB each",
        "in the burst",
        "all MiB",
        "on disk KiB",
        "still open",
        "before ms",
        "meanwhile ms",
        "served",
        "start MiB",
    ];
    let mut table = Table::new(head);
    let mut failures = String::new();
    for (proxy, hold, row) in rows {
        match row {
            Ok(row) => table.row([
                hold.about().to_string(),
                proxy.name().to_string(),
                row.connections.to_string(),
                format!("{:.2}", row.growth_kib),
                format!("{:.2}", row.burst_kib),
                format!("{:.1}", row.growth_kib * row.connections as f64 / 1024.0),
                format!("{:.1}", row.spooled_kib),
                row.still_open.to_string(),
                format!("{:.2}", row.before_ms),
                format!("{:.2}", row.meanwhile_ms),
                format!("{:.0} %", row.served * 100.0),
                format!("{:.1}", row.start_mib),
            ]),
            Err(error) => {
                failures.push_str(&format!(
                    "  NOT RUN {}, {}: {error:#}\n",
                    proxy.name(),
                    hold.about()
                ));
            }
        }
    }
    format!("{}{failures}", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unserved_requests_lower_the_share_and_not_the_median() {
        let latencies = vec![Some(1.0), None, Some(3.0), Some(2.0)];
        assert_eq!(median(&latencies), 2.0);
        assert_eq!(share_served(&latencies), 0.75);
        assert_eq!(share_served(&Vec::new()), 0.0);
    }
}
