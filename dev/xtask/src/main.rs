//! Chores of the project, run as `cargo xtask <chore>`.
//!
//! Each check returns what is wrong as lines that say what, where and how to mend it; an empty list is success. Nothing
//! here changes a file except `docs` without `--check` and `deps --table`, which prints.
#![forbid(unsafe_code)]

mod ci;
mod deps;
mod docs;
mod source;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <chore>

  deps            check all manifests against the tiers, and against the table in ARCHITECTURE.md
  deps --table    print that table as it would have to be now
  docs            write the generated pages again
  docs --check    fail when a generated page is stale
  tidy            check file and function lengths, headers, names, leftovers, where unsafe stands
  ci              run what CI runs, here, without installing anything
  bench [ARGS]    run the bench in release mode; ARGS go to it
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = root();
    let outcome = match words.as_slice() {
        ["deps"] => deps::check(&root),
        ["deps", "--table"] => deps::print_table(&root).map(|()| Vec::new()),
        ["docs"] => docs::write(&root).map(|()| Vec::new()),
        ["docs", "--check"] => docs::check(&root),
        ["tidy"] => tidy::check(&root),
        ["ci"] => return ci::run(&root),
        ["bench", rest @ ..] => return ci::bench(&root, rest),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    report(words.first().copied().unwrap_or_default(), outcome)
}

fn report(chore: &str, outcome: anyhow::Result<Vec<String>>) -> ExitCode {
    match outcome {
        Ok(wrong) if wrong.is_empty() => {
            println!("{chore}: ok");
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            for line in &wrong {
                eprintln!("{chore}: {line}");
            }
            eprintln!("{chore}: {} to mend", wrong.len());
            ExitCode::FAILURE
        }
        Err(fault) => {
            eprintln!("{chore}: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root folder of the repository, two above this package.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
