//! The watch over the configuration's files: a change of one is a reload.
//!
//! Looked at by name, so that a file that is put in another's place counts, and one behind symbolic
//! links that are swapped (as Kubernetes does with config maps). A change counts once nothing has
//! changed for a while: editors write in several steps.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use keel_config::Model;

use crate::live::{Actor, Control};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long nothing must have changed.
const SETTLE: Duration = Duration::from_millis(250);
/// Settling ends after so many looks, whatever goes on.
const LOOKS_MAX: usize = 20;

/// What tells a version of a file from another: device, inode, size, and when it was changed.
type Version = Option<(u64, u64, u64, Option<SystemTime>, i64)>;

/// What the files are, in the order of their names.
#[derive(Debug, PartialEq)]
struct Look(Vec<(PathBuf, Version)>);

impl Look {
    /// Looks at the files of a model, and at their folders: a file more in one may be an include.
    fn at(model: &Model) -> Look {
        let mut names: Vec<PathBuf> = Vec::new();
        for file in model.sources.files() {
            let path = PathBuf::from(&file.name);
            names.extend(
                path.parent()
                    .map(|folder| match folder.as_os_str().is_empty() {
                        true => PathBuf::from("."),
                        false => folder.to_path_buf(),
                    }),
            );
            names.push(path);
        }
        names.sort();
        names.dedup();
        let version = |name: PathBuf| {
            let of = std::fs::metadata(&name).ok();
            let of = of.map(|it| {
                (
                    it.dev(),
                    it.ino(),
                    it.size(),
                    it.modified().ok(),
                    it.ctime(),
                )
            });
            (name, of)
        };
        Look(names.into_iter().map(version).collect())
    }
}

/// Watches while the configuration in force asks for it.
pub(crate) async fn run(control: Control) {
    if control.file().is_none() {
        return;
    }
    let mut known: Option<Look> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let model = control.status().model.clone();
        if !model.process.watch {
            known = None;
            continue;
        }
        let now = Look::at(&model);
        match &known {
            // The first look: what changed since the start is found too, since equal files change nothing.
            None => {}
            Some(before) if *before == now => continue,
            Some(_) => {}
        }
        known = Some(settled(&model, now).await);
        control.reload_if_changed(&Actor::new("file watch")).await;
    }
}

async fn settled(model: &Model, mut last: Look) -> Look {
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(SETTLE).await;
        let now = Look::at(model);
        if now == last {
            break;
        }
        last = now;
    }
    last
}
