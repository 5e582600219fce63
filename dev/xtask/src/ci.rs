//! Running other commands: the CI script without its installing, and the bench.

use std::path::Path;
use std::process::{Command, ExitCode};

/// What CI runs, with what is installed here.
pub fn run(root: &Path) -> ExitCode {
    status(
        Command::new(root.join(".ci/run"))
            .arg("--no-install")
            .current_dir(root),
    )
}

/// The bench, which only means something in release mode.
pub fn bench(root: &Path, args: &[&str]) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--release", "--package", "keel-bench", "--"])
        .args(args);
    status(command.current_dir(root))
}

fn status(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("{}: {fault}", command.get_program().to_string_lossy());
            ExitCode::FAILURE
        }
    }
}
