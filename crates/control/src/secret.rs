//! The secret that persistence is made with when the configuration has none: made once, and kept in
//! the state folder, so that cookies are still good after a restart.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use keel_tls::MacKey;

/// A secret of our own. Read or made when it is first asked for; only a process that serves writes it.
#[derive(Default)]
pub(crate) struct OwnSecret {
    secret: OnceLock<[u8; 32]>,
    /// There is nothing to write: it came from the file, or was written.
    is_kept: AtomicBool,
    /// Why the file could not be read; told by who serves, since a check may not even be allowed to.
    unread: OnceLock<String>,
}

impl std::fmt::Debug for OwnSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnSecret")
    }
}

impl OwnSecret {
    /// The key that it makes.
    ///
    /// # Errors
    /// When there is none and none can be made.
    pub(crate) fn key(&self, state: &Path) -> std::io::Result<MacKey> {
        if let Some(secret) = self.secret.get() {
            return Ok(MacKey::new(secret));
        }
        let read = MacKey::read_secret(state).unwrap_or_else(|error| {
            let _first = self.unread.set(error.to_string());
            None
        });
        let secret = match read {
            Some(secret) => secret,
            None => MacKey::random_secret()?,
        };
        self.is_kept.store(read.is_some(), Ordering::Relaxed);
        Ok(MacKey::new(self.secret.get_or_init(|| secret)))
    }

    /// Keeps it for the processes that follow, when it was asked for.
    pub(crate) fn keep(&self, state: &Path) {
        let Some(secret) = self.secret.get() else {
            return;
        };
        if self.is_kept.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(error) = self.unread.get() {
            tracing::warn!(
                state = %state.display(),
                "the secret of sticky sessions cannot be read: {error}; another one is made, which binds \
                 clients anew"
            );
        }
        if let Err(error) = MacKey::keep_secret(state, secret) {
            tracing::warn!(
                state = %state.display(),
                "the secret of sticky sessions cannot be kept: {error}; after a restart clients are bound \
                 anew, unless `secret` is set"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_by_who_serves_and_found_by_the_next() {
        let state = std::env::temp_dir().join(format!("keel-secret-{}", std::process::id()));
        let tag = |secret: &OwnSecret| secret.key(&state).expect("random numbers").tag(&[b"x"]);
        let looked = OwnSecret::default();
        looked.keep(&state);
        assert!(!state.exists(), "nobody asked for it");
        let first = tag(&looked);
        assert!(!state.exists(), "a check writes nothing");
        looked.keep(&state);
        assert_eq!(tag(&OwnSecret::default()), first);
        std::fs::remove_dir_all(&state).expect("ours");
        assert_ne!(tag(&OwnSecret::default()), first);
    }
}
