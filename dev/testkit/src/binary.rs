//! Finding the binary under test.
//!
//! `EVENKEEL_BIN` names it. Without that it is built once per test process with the profile and the target folder of the test itself.
//! The build asks for the end-to-end test beside the binary and for the whole workspace's features, because that
//! is what `cargo test --workspace` has just built: every dependency is fresh and only the binary is linked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary under test; built on the first call when `EVENKEEL_BIN` does not name one.
pub fn evenkeel() -> &'static Path {
    // A failure is kept too, so that a broken tree is told about at once and not built anew by every test.
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| match std::env::var_os("EVENKEEL_BIN") {
        Some(path) if Path::new(&path).is_file() => Ok(PathBuf::from(path)),
        Some(path) => Err(format!(
            "EVENKEEL_BIN names {}, which is no file",
            path.display()
        )),
        None => build(),
    });
    found.as_deref().unwrap_or_else(|why| panic!("{why}"))
}

/// True when the binary under test is built with optimisations: only then do bounds on memory mean what they say, for
/// without them the state of a waiting task is several times as large.
pub fn is_optimised() -> bool {
    match std::env::var_os("EVENKEEL_BIN") {
        Some(path) => Path::new(&path)
            .components()
            .any(|part| part.as_os_str() == "release"),
        None => !cfg!(debug_assertions),
    }
}

/// The root folder of the repository.
pub fn repository() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors()
            .nth(2)
            .expect("this crate lies two folders below the root")
            .to_owned()
    })
}

/// A test binary is `<target>/<profile folder>/deps/<name>-<hash>`.
fn build() -> Result<PathBuf, String> {
    let test = std::env::current_exe().expect("the system knows our path");
    let profile_dir = test
        .ancestors()
        .nth(2)
        .expect("a test lies in <target>/<profile>/deps");
    let target_dir = profile_dir
        .parent()
        .expect("a profile folder lies in the target folder");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(repository())
        .args([
            "build",
            "--workspace",
            "--bin",
            "evenkeel",
            "--test",
            "e2e",
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .output()
        .expect("cargo can be started; set EVENKEEL_BIN where there is none");
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the binary does not build; cargo said:\n{said}"));
    }
    let path = profile_dir.join("evenkeel");
    match path.is_file() {
        true => Ok(path),
        false => Err(format!(
            "cargo built no {}; it said:\n{said}",
            path.display()
        )),
    }
}
