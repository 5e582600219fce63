//! Files and variables of this machine, for the configuration.

use std::io::{self, Read};
use std::path::Path;

use keel_config::{Diagnostic, Model, Source, Surroundings};

/// The machine that this runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

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

/// Loads a configuration file: the model with warnings, or what is wrong.
///
/// # Errors
/// All that is wrong with it, errors and warnings.
pub fn load_file(file: &Path) -> Result<(Model, Vec<Diagnostic>), Vec<Diagnostic>> {
    keel_config::load(Source::file(file, &Machine))
}
