//! Files of the configuration are put in the place of others: all of them, or none as far as can be.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use keel_config::edit::EditedFile;

use crate::change::SaveFault;

/// A new file beside the one that it is to replace; taken away again unless it did.
#[derive(Debug)]
struct Beside {
    /// As it was read, for messages.
    name: PathBuf,
    /// Without symbolic links.
    target: PathBuf,
    beside: PathBuf,
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Not there any more once it was put in place.
        let _ = std::fs::remove_file(&self.beside);
    }
}

/// Replaces files, so that nobody ever reads half of one. All that can fail for want of space or of
/// rights is done before the first is replaced. `is_as_loaded` is asked last.
///
/// # Errors
/// Nothing was replaced, but with [`SaveFault::Written`].
pub(crate) fn replace_all(
    edited: &[EditedFile],
    is_as_loaded: impl Fn(&Path) -> bool,
) -> Result<(), SaveFault> {
    let fault = |file: &Path, cause| SaveFault::Write {
        file: file.to_path_buf(),
        cause,
    };
    let mut all = Vec::with_capacity(edited.len());
    for one in edited {
        all.push(prepare(one).map_err(|cause| fault(&one.path, cause))?);
    }
    for one in &all {
        if !is_as_loaded(&one.name) {
            return Err(SaveFault::Changed(one.name.clone()));
        }
    }
    for (done, one) in all.iter().enumerate() {
        std::fs::rename(&one.beside, &one.target).map_err(|cause| match done {
            0 => fault(&one.name, cause),
            _ => SaveFault::Written(format!(
                "only a part is written: {} is as before ({cause})",
                one.name.display()
            )),
        })?;
    }
    for one in &all {
        let synced = File::open(folder(&one.target)).and_then(|it| it.sync_all());
        if let Err(cause) = synced {
            let file = one.name.display();
            tracing::warn!(%file, "written, but a crash of the machine may undo it: {cause}");
        }
    }
    Ok(())
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Writes the new file. The place behind a symbolic link is meant.
fn prepare(edited: &EditedFile) -> io::Result<Beside> {
    let target = std::fs::canonicalize(&edited.path)?;
    let before = std::fs::metadata(&target)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder(&target).join(format!(".{name}.{}", std::process::id()));
    // What another process of this number has left; never followed or written to.
    match std::fs::remove_file(&beside) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    // There may be secrets in it: nobody else reads it before it has the rights of the old one.
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let made = Beside {
        name: edited.path.clone(),
        target,
        beside,
    };
    // Only root can give it to another; whoever may write here may also own the file.
    if fchown(&file, Some(before.uid()), Some(before.gid())).is_err() {
        let _ = fchown(&file, None, Some(before.gid()));
    }
    file.write_all(edited.text.as_bytes())?;
    file.set_permissions(before.permissions())?;
    file.sync_all()?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use keel_testkit::scratch::Scratch;

    use super::*;

    fn edited(scratch: &Scratch, name: &str) -> EditedFile {
        EditedFile {
            path: scratch.path().join(name),
            text: format!("new {name}"),
        }
    }

    fn names(scratch: &Scratch) -> Vec<String> {
        let all = std::fs::read_dir(scratch.path()).expect("our own folder");
        let name = |it: io::Result<std::fs::DirEntry>| {
            it.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        };
        let mut names: Vec<String> = all.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_planted_link_is_not_followed_and_the_mode_stays() {
        let scratch = Scratch::new();
        for name in ["a", "victim"] {
            scratch.write(name, "old");
        }
        let [a, victim] = ["a", "victim"].map(|name| scratch.path().join(name));
        let mode = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&a, mode).expect("our own file");
        let planted = scratch.path().join(format!(".a.{}", std::process::id()));
        symlink(&victim, planted).expect("a link");
        replace_all(&[edited(&scratch, "a")], |_| true).expect("written");
        let text = |path| std::fs::read_to_string(path).expect("a file");
        assert_eq!((text(&a), text(&victim)), ("new a".into(), "old".into()));
        let mode = std::fs::symlink_metadata(&a).expect("a file");
        assert!(mode.is_file());
        assert_eq!(mode.permissions().mode() & 0o777, 0o640);
        assert_eq!(names(&scratch), ["a", "victim"]);
    }

    #[test]
    fn all_or_none_and_nothing_is_left_behind() {
        let scratch = Scratch::new();
        for name in ["a", "b"] {
            scratch.write(name, "old");
        }
        let [a, b, gone] = ["a", "b", "gone"].map(|name| edited(&scratch, name));
        let text = || std::fs::read_to_string(&a.path).expect("a file");
        let fault = replace_all(&[a.clone(), gone], |_| true).expect_err("there is no such file");
        assert!(matches!(fault, SaveFault::Write { .. }), "{fault}");
        assert_eq!(text(), "old");
        let both = [a.clone(), b.clone()];
        // Somebody has written to the second meanwhile.
        let fault = replace_all(&both, |path| path != b.path).expect_err("it changed");
        assert!(matches!(fault, SaveFault::Changed(path) if path == b.path));
        assert_eq!(text(), "old");
        replace_all(&both, |_| true).expect("written");
        assert_eq!(text(), "new a");
        assert_eq!(names(&scratch), ["a", "b"]);
    }
}
