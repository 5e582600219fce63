//! The command line of the bench.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use keel_bench::callgrind::{self, Baseline, Counts};
use keel_bench::compare::{self, Plan};
use keel_bench::cores::Cores;
use keel_bench::floor::{self, Order};
use keel_bench::growth::{self, Curve};
use keel_bench::hold::HoldKind;
use keel_bench::memory::{self, MemoryPlan};
use keel_bench::process::{self, Farewell};
use keel_bench::proxy::{Programs, ProxyKind};
use keel_bench::{load, ops, origin, scenario, stalls, whole};
use serde::Serialize;

/// Compares evenkeel with other proxies by CPU time per request, and measures how its costs grow.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Build evenkeel first: cargo build --release -p evenkeel"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// CPU per request, requests/s and latency of all proxies in turn, with ratios to the best peer.
    Compare(CompareArgs),
    /// Cost per request as routes, servers, connections and workers become more.
    Growth(GrowthArgs),
    /// What the kernel alone costs as servers become more, without any proxy.
    Floor(FloorArgs),
    /// Memory per idle and per slow connection, and how normal requests fare meanwhile.
    Memory(MemoryArgs),
    /// Seconds until stalling connections are ended.
    Stalls(StallsArgs),
    /// Instructions per operation of the pure cores under callgrind, against the baseline.
    Callgrind(CallgrindArgs),
    /// One operation, so many times.
    #[command(hide = true)]
    Op { name: String, count: u64 },
    /// The origins' process.
    #[command(hide = true)]
    Origin {
        #[arg(long)]
        servers: usize,
    },
    /// A load process; the job comes on standard input.
    #[command(hide = true)]
    Load,
    /// Pins itself and becomes another program.
    #[command(hide = true)]
    Exec {
        #[arg(long)]
        farewell: String,
        #[arg(long)]
        cores: String,
        #[arg(long)]
        parent: u32,
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
}

/// What all measurements share.
#[derive(Debug, Args)]
struct Common {
    /// Proxies, by comma; those not installed are left out and named.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = ProxyKind::ALL)]
    proxies: Vec<ProxyKind>,
    /// Our binary.
    #[arg(long, default_value = "target/release/evenkeel")]
    evenkeel: PathBuf,
    /// Also write everything as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How long to measure.
#[derive(Debug, Args)]
struct Timing {
    /// Rounds; 3 or more for a result that is worth telling.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds measured in each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of warm-up before each measurement.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Scenarios by name, by comma; all when none is named.
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Only list the scenarios.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct GrowthArgs {
    /// Curves, by comma.
    #[arg(long, value_enum, value_delimiter = ',',
          default_values_t = [Curve::Routes, Curve::Servers, Curve::Idle, Curve::Active, Curve::Workers])]
    curves: Vec<Curve>,
    /// Algorithms of the servers' curves, by comma; all when none is named.
    #[arg(long, value_delimiter = ',')]
    algorithms: Vec<String>,
    /// Whose curves. Others than evenkeel know no algorithm but round robin.
    #[arg(long, value_enum, default_value_t = ProxyKind::Evenkeel)]
    proxy: ProxyKind,
    #[command(flatten)]
    timing: Timing,
    /// Our binary.
    #[arg(long, default_value = "target/release/evenkeel")]
    evenkeel: PathBuf,
    /// Also write everything as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct FloorArgs {
    /// Orders in which servers are chosen, by comma.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Order::InTurn, Order::Random, Order::Bursts])]
    orders: Vec<Order>,
    /// Rounds of each curve.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds measured at each point.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

#[derive(Debug, Args)]
struct MemoryArgs {
    /// Rows, by comma.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = memory::ROWS)]
    rows: Vec<HoldKind>,
    /// Idle connections, of each protocol.
    #[arg(long, default_value_t = 5000)]
    idle: usize,
    /// Slow connections of each kind; a fifth of it for 8 MiB.
    #[arg(long, default_value_t = 500)]
    slow: usize,
    /// Seconds to hold them.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct StallsArgs {
    /// Ways of stalling, by comma.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = stalls::STALLS)]
    rows: Vec<HoldKind>,
    /// Longest time to wait, seconds.
    #[arg(long, default_value_t = 75)]
    limit: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct CallgrindArgs {
    /// Only operations whose name begins so; the baseline is then only compared for these.
    #[arg(long, default_value = "")]
    only: String,
    /// Our binary, for whole requests.
    #[arg(long, default_value = "target/release/evenkeel")]
    evenkeel: PathBuf,
    /// The baseline; fails when an operation costs more than its tolerance allows.
    #[arg(long, default_value_os_t = callgrind::baseline_file())]
    baseline: PathBuf,
    /// Write what was counted as the new baseline instead of comparing.
    #[arg(long)]
    write_baseline: bool,
    /// Also write the comparison as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("keel-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Origin { servers } => origin::serve(servers).map(|()| ExitCode::SUCCESS),
        Command::Load => load::serve().map(|()| ExitCode::SUCCESS),
        Command::Exec {
            farewell,
            cores,
            parent,
            program,
        } => {
            let farewell = if farewell == "terminate" {
                Farewell::Terminate
            } else {
                Farewell::Kill
            };
            let cores: Result<Vec<usize>, _> = cores
                .split(',')
                .filter(|core| !core.is_empty())
                .map(str::parse)
                .collect();
            process::become_program(&program, &cores?, farewell, parent)?;
            Ok(ExitCode::FAILURE)
        }
        Command::Compare(args) => compare_proxies(&args),
        Command::Growth(args) => grow(&args),
        Command::Floor(args) => {
            prepare(1)?;
            floor::run(&args.orders, args.rounds, args.seconds).map(|()| ExitCode::SUCCESS)
        }
        Command::Memory(args) => measure_memory(&args),
        Command::Op { name, count } => ops::run(&name, count).map(|()| ExitCode::SUCCESS),
        Command::Callgrind(args) => count_instructions(&args),
        Command::Stalls(args) => measure_stalls(&args),
    }
}

/// Pins this process to the load's cores, as every measurement wants it, and says how the machine is shared.
fn prepare(workers: usize) -> Result<Cores> {
    process::watch_interrupts()?;
    process::raise_file_limit();
    let cores = Cores::of_machine(workers);
    process::pin(&cores.load)?;
    match &cores.note {
        Some(note) => println!("{note}"),
        None => println!(
            "proxy on core {:?}, load and origins on core {:?}",
            cores.proxy, cores.load
        ),
    }
    Ok(cores)
}

/// The proxies that are there, with their versions printed; the others are named.
fn installed(wanted: &[ProxyKind], programs: &Programs) -> Result<Vec<ProxyKind>> {
    let mut there = Vec::new();
    for kind in wanted {
        match programs.version(*kind) {
            Some(version) => {
                println!("{}: {version}", kind.name());
                there.push(*kind);
            }
            None => println!("{}: not installed, left out", kind.name()),
        }
    }
    if there.is_empty() {
        bail!("no proxy to measure");
    }
    println!();
    Ok(there)
}

fn write_json(file: Option<&Path>, value: &impl Serialize) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, serde_json::to_string_pretty(value)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))
}

fn compare_proxies(args: &CompareArgs) -> Result<ExitCode> {
    if args.list {
        for scenario in scenario::SCENARIOS {
            println!(
                "{:<9} {} (goal {:.2})",
                scenario.name, scenario.about, scenario.goal
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = match scenario::select(&args.scenarios) {
        Ok(scenarios) => scenarios,
        Err(name) => bail!("no scenario is called {name:?}; --list shows their names"),
    };
    let cores = prepare(1)?;
    let programs = Programs::new(&args.common.evenkeel);
    let plan = plan(
        installed(&args.common.proxies, &programs)?,
        &args.timing,
        programs,
    );
    let mut reports = Vec::new();
    for scenario in &scenarios {
        let report = compare::run(scenario, &plan, &cores)?;
        println!("{}", compare::render(&report, scenario.reference_us));
        reports.push(report);
        // Written after each, so that an interrupt loses one scenario and not all.
        write_json(args.common.json.as_deref(), &reports)?;
    }
    let flawed = reports.iter().any(compare::Report::is_flawed);
    Ok(if flawed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn plan(proxies: Vec<ProxyKind>, timing: &Timing, programs: Programs) -> Plan {
    let Timing {
        rounds,
        seconds,
        warm_up,
    } = *timing;
    Plan {
        proxies,
        rounds,
        seconds,
        warm_up,
        programs,
    }
}

fn grow(args: &GrowthArgs) -> Result<ExitCode> {
    let known = growth::algorithm_names();
    if let Some(name) = args
        .algorithms
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        bail!(
            "no algorithm is called {name:?}; there are {}",
            known.join(", ")
        );
    }
    prepare(1)?;
    let programs = Programs::new(&args.evenkeel);
    let plan = plan(installed(&[args.proxy], &programs)?, &args.timing, programs);
    let mut reports = Vec::new();
    for curve in &args.curves {
        let mut show = |report: &growth::CurveReport| println!("{}", growth::render(report));
        reports.extend(growth::run(
            *curve,
            &args.algorithms,
            args.proxy,
            &plan,
            &mut show,
        )?);
        write_json(args.json.as_deref(), &reports)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_memory(args: &MemoryArgs) -> Result<ExitCode> {
    let cores = prepare(1)?;
    let programs = Programs::new(&args.common.evenkeel);
    let proxies = installed(&args.common.proxies, &programs)?;
    let plan = MemoryPlan {
        idle: args.idle,
        slow: args.slow,
        hold_seconds: args.seconds,
    };
    let mut rows = Vec::new();
    for &hold in &args.rows {
        for proxy in &proxies {
            let row = memory::measure(*proxy, hold, &plan, &programs, &cores);
            process::check_interrupt()?;
            rows.push((*proxy, hold, row));
        }
    }
    print!("{}", memory::render(&rows));
    let good: Vec<_> = rows
        .iter()
        .filter_map(|(_, _, row)| row.as_ref().ok())
        .collect();
    write_json(args.common.json.as_deref(), &good)?;
    Ok(if good.len() == rows.len() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure_stalls(args: &StallsArgs) -> Result<ExitCode> {
    let cores = prepare(1)?;
    let programs = Programs::new(&args.common.evenkeel);
    let proxies = installed(&args.common.proxies, &programs)?;
    let limit = Duration::from_secs(args.limit);
    let found = stalls::run(&proxies, &args.rows, &programs, &cores, limit)?;
    print!("{}", stalls::render(&found, &proxies, &args.rows, limit));
    write_json(args.common.json.as_deref(), &found.stalls)?;
    Ok(if found.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn count_instructions(args: &CallgrindArgs) -> Result<ExitCode> {
    prepare(1)?;
    if args.write_baseline && !args.only.is_empty() {
        bail!("a baseline is written whole, without --only");
    }
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let programs = Programs::new(&args.evenkeel);
    let has_binary = programs.find(ProxyKind::Evenkeel).is_some();
    let is_wanted = |name: &str| name.starts_with(&args.only);
    let mut counts = Counts::new();
    for name in ops::names().into_iter().filter(|name| is_wanted(name)) {
        let count = callgrind::count(&name, scratch.path())?;
        counts.insert(name, callgrind::rounded(count));
    }
    if has_binary && whole::names().iter().any(|name| is_wanted(name)) {
        let whole = whole::count(&programs, scratch.path())?;
        counts.extend(whole.into_iter().filter(|(name, _)| is_wanted(name)));
    }
    if !has_binary {
        println!(
            "{} is not built: whole requests and head writing are left out",
            args.evenkeel.display()
        );
    }
    let mut baseline = Baseline::read(&args.baseline)?;
    if let Some(baseline) = &mut baseline {
        let is_left_out = |name: &str| !has_binary && whole::names().iter().any(|w| w == name);
        baseline
            .instructions
            .retain(|name, _| is_wanted(name) && !is_left_out(name));
    }
    let lines = callgrind::compare(&counts, baseline.as_ref());
    print!("{}", callgrind::render(&lines));
    write_json(args.json.as_deref(), &lines)?;
    if args.write_baseline {
        let baseline = Baseline {
            tolerance_percent: 10.0,
            instructions: counts,
        };
        write_json(Some(&args.baseline), &baseline)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if callgrind::is_failure(&lines) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
