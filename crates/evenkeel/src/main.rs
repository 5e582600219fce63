//! evenkeel: a load balancer and reverse proxy. The binary: command line, start, signals, wiring.
#![forbid(unsafe_code)]

mod admin;
mod cli;
mod client;
mod commands;
mod demo;
mod load;
mod parent;
mod privileges;
mod remote;
mod run;
mod service;
mod systemd;
mod table;
mod upgrade;
mod watchdog;

use std::process::ExitCode;

use clap::Parser;

/// Many small objects, allocated and freed on the same thread: what mimalloc is good at. Counted,
/// because a plain request must not allocate.
#[global_allocator]
static ALLOCATOR: keel_sys::Counting<mimalloc::MiMalloc> = keel_sys::Counting(mimalloc::MiMalloc);

/// Something did not work while running.
const EXIT_FAILURE: u8 = 1;
/// The command line or the configuration is wrong.
const EXIT_USAGE: u8 = 2;

/// Why the program ends without success.
enum Failure {
    /// The command line or the configuration is wrong; everything was told already.
    Told,
    /// The command line is wrong.
    Usage(String),
    /// Something did not work.
    Run(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Run(error)
    }
}

fn main() -> ExitCode {
    // First of all: it takes what is ours out of the environment, which needs the only thread.
    let parent = parent::Parent::take();
    let cli = cli::Cli::parse();
    log_to_stderr();
    let mut parent = match parent {
        Ok(parent) => parent,
        Err(error) if cli.command.serves() => {
            eprintln!("error: {error}");
            return ExitCode::from(EXIT_FAILURE);
        }
        Err(_) => parent::Parent::default(),
    };
    let ended = match cli.command {
        cli::Command::Run { file } => commands::run(&file, &mut parent),
        cli::Command::Check { file } => commands::check(&file),
        cli::Command::Proxy(proxy) => commands::proxy(&proxy, &mut parent),
        cli::Command::Explain(explain) => commands::explain(&explain),
        cli::Command::Schema => commands::schema(),
        cli::Command::Reload(target) => remote::reload(&target),
        cli::Command::Status { json, target } => remote::status(&target, json),
        cli::Command::Server { command, target } => remote::server(&target, &command),
        cli::Command::Save(target) => remote::save(&target),
        cli::Command::Drain(target) => remote::drain(&target),
        cli::Command::Upgrade(target) => remote::upgrade(&target),
        cli::Command::Demo(options) => demo::demo(&options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told) => {
            parent.refuse("its configuration has errors; they are in the log");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Usage(why)) => {
            eprintln!("error: {why}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Run(error)) => {
            parent.refuse(&format!("{error:#}"));
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// The process's own log: standard error, `info` and up, `RUST_LOG` for more.
fn log_to_stderr() {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// A line on standard output. A reader that went away (`| head`) has seen enough.
fn print_line(line: &str) {
    use std::io::Write;

    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
