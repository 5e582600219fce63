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
    let mut known = Known(None);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let model = control.status().model.clone();
        if !model.process.watch {
            known = Known(None);
            continue;
        }
        let now = Look::at(&model);
        if !known.is_news(&now) {
            continue;
        }
        let now = settled(&model, now).await;
        let was_read = control.reload_if_changed(&Actor::new("file watch")).await;
        known.looked(now, was_read);
    }
}

/// What was looked at and taken or refused; `None` while there is nothing of the kind: what changed
/// since the start is found too, since equal files change nothing.
#[derive(Debug)]
struct Known(Option<Look>);

impl Known {
    fn is_news(&self, now: &Look) -> bool {
        self.0.as_ref() != Some(now)
    }

    /// What nobody came to read is looked at again.
    fn looked(&mut self, now: Look, was_read: bool) {
        self.0 = was_read.then_some(now);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_news_again() {
        let look = |size| Look(vec![("a".into(), Some((1, 2, size, None, 3)))]);
        let mut known = Known(None);
        assert!(known.is_news(&look(1)));
        known.looked(look(1), true);
        assert!(!known.is_news(&look(1)) && known.is_news(&look(2)));
        known.looked(look(2), false);
        assert!(known.is_news(&look(2)) && known.is_news(&look(1)));
    }
}
