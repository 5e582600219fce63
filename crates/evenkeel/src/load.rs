//! Reads and compiles a configuration, and prints what is wrong with it.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use keel_config::diagnostic::render_all;
use keel_config::{Diagnostic, Model, Source, Surroundings};
use keel_control::{Compiled, compile};

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

/// Files and variables of this machine.
struct Machine;

impl Surroundings for Machine {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(bytes_max)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        std::fs::File::open(path)?
            .take(limit)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.path().is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Loads a file.
pub fn from_file(file: &Path) -> Loaded {
    keel_config::load(Source::file(file, &Machine))
}

/// Loads a text that no file holds.
pub fn from_text(text: &str) -> Loaded {
    keel_config::load(Source::text(Path::new("(made here)"), text, &Machine))
}
