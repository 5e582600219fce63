//! Small files that are kept in the state folder, and reading files without trusting their size.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Reads a file of at most `max` bytes; a longer one is an error.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::other(format!("it is over {max} bytes")));
    }
    Ok(bytes)
}

/// Writes a file whole or not at all: into a new one (mode 0600), which then takes the place of the old one. Makes the
/// folder (mode 0700) when it is missing.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    static TURN: AtomicU32 = AtomicU32::new(0);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let new = folder.join(format!(".{name}.{}.{turn}", process::id()));
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, folder.join(name))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new); // It may not have been made at all.
    }
    written
}
