//! Every file of `examples` compiles, without a warning.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keel_config::{Source, Surroundings, load, render_all};
use keel_control::compile;

/// The disk, and the one variable that an example names.
struct Disk;

impl Surroundings for Disk {
    fn read(&self, path: &Path, _bytes_max: usize) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?;
        entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "ORDERS_ADDRESS" => Some("10.4.0.1:8080".to_owned()),
            "ADMIN_TOKEN" => Some("0123456789abcdef".repeat(4)),
            _ => None,
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let entries = fs::read_dir(&folder).expect("the folder of examples");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.push(folder.join("split/main.yaml"));
    files
}

#[test]
fn every_example_compiles_without_a_warning() {
    let files = files();
    assert!(files.len() > 10, "only {} examples", files.len());
    for file in files {
        let name = file.display();
        let (model, warnings) = load(Source::file(&file, &Disk))
            .unwrap_or_else(|found| panic!("{name}:\n{}", render_all(&found, false)));
        let compiled = compile(&model)
            .unwrap_or_else(|found| panic!("{name}:\n{}", render_all(&found, false)));
        let found = [warnings, compiled.warnings].concat();
        assert!(found.is_empty(), "{name}:\n{}", render_all(&found, false));
        let snapshot = &compiled.snapshot;
        assert_eq!(snapshot.pools.len(), model.pools.len(), "{name}");
        let routes = compiled.routes_before + model.routes.len();
        // One more stands for requests that no route takes.
        assert_eq!(snapshot.routes.len(), routes + 1, "{name}");
        assert_eq!(snapshot.router.len(), routes, "{name}");
        assert_eq!(compiled.names.routes.len(), routes, "{name}");
        assert_eq!(compiled.logs.len(), model.access_logs.len(), "{name}");
    }
}
