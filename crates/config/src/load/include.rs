//! Finds and reads the files that `include` names.

use std::path::{Component, Path, PathBuf};

use super::{FILES_MAX, INCLUDE_DEPTH_MAX, Reader};
use crate::diagnostic::codes;
use crate::span::Span;

impl Reader<'_> {
    /// Reads the files that an `include` names.
    pub(super) fn include(&mut self, pattern: &str, span: Span) {
        let folder = self
            .folders
            .get(span.file.0 as usize)
            .cloned()
            .unwrap_or_default();
        let path = folder.join(pattern);
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let parent = path.parent().unwrap_or(Path::new("")).to_path_buf();
        if parent.to_string_lossy().contains(['*', '?']) {
            let what = format!("`{pattern}` has `*` or `?` before its last `/`");
            let report = self.report(&codes::INCLUDE_MISSING, Some(span), what);
            self.found
                .push(report.help("name each folder: `include: [a/*.yaml, b/*.yaml]`"));
            return;
        }
        let Some(name) = name.filter(|name| name.contains(['*', '?'])) else {
            self.include_one(&path, span);
            return;
        };
        match self.world.list(&parent) {
            Ok(mut names) => {
                names.retain(|file| wild(name.as_bytes(), file.as_bytes()));
                names.retain(|file| name.starts_with('.') || !file.starts_with('.'));
                names.sort_unstable();
                if names.is_empty() {
                    let what = format!("`{pattern}` matches no file");
                    let report = self.report(&codes::INCLUDE_EMPTY, Some(span), what);
                    self.found
                        .push(report.help("check the path, which is relative to this file"));
                }
                names
                    .iter()
                    .for_each(|file| self.include_one(&parent.join(file), span));
            }
            Err(error) => {
                self.partial = true;
                let what = format!("the folder `{}` cannot be read: {error}", parent.display());
                let report = self.report(&codes::INCLUDE_MISSING, Some(span), what);
                self.found
                    .push(report.help("check the path, which is relative to this file"));
            }
        }
    }

    fn include_one(&mut self, path: &Path, span: Span) {
        let path = normal(path);
        if let Some(at) = self.stack.iter().position(|open| *open == path) {
            let chain: Vec<String> = self.stack[at..]
                .iter()
                .chain([&path])
                .map(|p| format!("`{}`", p.display()))
                .collect();
            let what = format!(
                "`include` leads back to a file that is being read: {}",
                chain.join(" → ")
            );
            let report = self.report(&codes::INCLUDE_LOOP, Some(span), what);
            self.found
                .push(report.help("remove one of these `include`s"));
            return;
        }
        if let Some(first) = self.done.insert(path.clone(), span) {
            let what = format!("`{}` is included twice", path.display());
            let report = self.report(&codes::SET_IN_TWO_FILES, Some(span), what);
            self.found.push(
                report
                    .related(&self.sources, first, "first here")
                    .help("remove one of the two"),
            );
            return;
        }
        if self.sources.files().len() >= FILES_MAX || self.stack.len() >= INCLUDE_DEPTH_MAX {
            let what = format!(
                "`include` leads to more than {FILES_MAX} files, or is more than {INCLUDE_DEPTH_MAX} deep"
            );
            let report = self.report(&codes::INCLUDE_TOO_MANY, Some(span), what);
            self.found
                .push(report.help("join files, or check the pattern"));
            return;
        }
        self.file(&path, Some(span));
    }
}

/// A path without `.` and inner `..`, by its text alone.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Whether a name fits a pattern of `*` and `?`. Linear but for the last star: no blow-up.
pub(super) fn wild(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, at)) => {
                    star = Some((after, at + 1));
                    p = after;
                    n = at + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}
