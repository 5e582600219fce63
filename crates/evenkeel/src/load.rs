//! Reads and compiles a configuration, and prints what is wrong with it.

use std::io::IsTerminal;
use std::path::Path;

use keel_config::diagnostic::render_all;
use keel_config::{Diagnostic, Model, Source};
use keel_control::{Compiled, Machine, compile, load_file};

use crate::Failure;

/// What loading gave: the model with warnings, or what is wrong.
pub type Loaded = Result<(Model, Vec<Diagnostic>), Vec<Diagnostic>>;

/// Compiles what was loaded. Prints every finding; errors end the command.
pub fn compiled(loaded: Loaded) -> Result<(Model, Compiled), Failure> {
    let (model, mut warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(found) => {
            print(&found);
            return Err(Failure::Told);
        }
    };
    match compile(&model) {
        Ok(mut compiled) => {
            warnings.append(&mut compiled.warnings);
            print(&warnings);
            Ok((model, compiled))
        }
        Err(mut found) => {
            warnings.append(&mut found);
            print(&warnings);
            Err(Failure::Told)
        }
    }
}

fn print(found: &[Diagnostic]) {
    if !found.is_empty() {
        eprint!("{}", render_all(found, std::io::stderr().is_terminal()));
    }
}

/// Loads a file.
pub fn from_file(file: &Path) -> Loaded {
    load_file(file)
}

/// Loads a text that no file holds.
pub fn from_text(text: &str) -> Loaded {
    keel_config::load(Source::text(Path::new("(made here)"), text, &Machine))
}
