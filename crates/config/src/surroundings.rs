//! The world outside: files and the environment, handed in by the caller so that this crate stays pure.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What the loader asks of the world.
pub trait Surroundings {
    /// The bytes of a file. May stop reading after `bytes_max` + 1 bytes: the loader refuses what is longer.
    ///
    /// # Errors
    /// As the system reports them.
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// The names of the files (not of folders) in a folder, in any order.
    ///
    /// # Errors
    /// As the system reports them.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
}

/// Files and variables in memory: for tests, and for configurations that are made and not read.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    files: BTreeMap<PathBuf, Vec<u8>>,
    variables: BTreeMap<String, String>,
}

impl InMemory {
    /// A world without files and variables.
    pub fn new() -> Self {
        InMemory::default()
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), bytes.into());
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

impl Surroundings for InMemory {
    fn read(&self, path: &Path, _bytes_max: usize) -> io::Result<Vec<u8>> {
        let found = self.files.get(path).cloned();
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let inside = self
            .files
            .keys()
            .filter(|path| path.parent() == Some(folder));
        let names: Vec<String> = inside
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        if names.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such folder"));
        }
        Ok(names)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}
