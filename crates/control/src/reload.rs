//! Reload: the file is read anew, and served whole or not at all.

use keel_config::{Diagnostic, render_all};

use crate::start::StartFault;

/// A reload that was done.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// Number of the configuration that is served now; the first one is 1.
    pub generation: u64,
    /// Warnings about the file.
    pub warnings: Vec<Diagnostic>,
    /// Keys that changed and mean something only after a restart or an upgrade, such as `workers`.
    pub after_restart: Vec<&'static str>,
}

/// Why a reload was refused. The configuration of before is served on, whole.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFault {
    /// `proxy` and `demo` are not started from a file.
    #[error(
        "this process was not started from a file: there is nothing to read anew; use `evenkeel run FILE`"
    )]
    NoFile,
    /// The file has errors.
    #[error("{}", render_all(.0, false).trim_end())]
    Bad(Vec<Diagnostic>),
    /// A listener, a log or a certificate does not work.
    #[error(transparent)]
    Start(#[from] StartFault),
    /// The process is draining.
    #[error("the process is stopping; it takes no new configuration")]
    Stopping,
}

impl ReloadFault {
    /// What is wrong with the file, where that is the reason; warnings are among them.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            ReloadFault::Bad(found) => found,
            _ => &[],
        }
    }
}
