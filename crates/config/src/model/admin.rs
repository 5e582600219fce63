//! The admin API, and our own /health.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{BindAddress, Endpoint, Expected, ListenerTls, PoolRef};
use crate::Spanned;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The admin API.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// TCP addresses; empty = none.
    pub binds: Vec<Spanned<BindAddress>>,
    /// True when the file does not mention `admin`: a busy port is then a warning, not an error.
    pub defaulted: bool,
    /// The unix socket; `None` = none.
    pub socket: Option<Spanned<PathBuf>>,
    /// True when the file names no socket: one that cannot be made is then a warning, not an error.
    pub socket_defaulted: bool,
    /// Holders of this token may change things over TCP; `None` = nobody by token.
    pub token: Option<Spanned<Secret>>,
    /// TLS of the TCP addresses; a verified client certificate may change things. `None` = plain.
    pub tls: Option<Spanned<ListenerTls>>,
}

/// Free space of a disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DiskFree {
    /// Share of its size, 0.0 to 1.0.
    Share(f64),
    /// Bytes.
    Bytes(u64),
}

/// What our health depends on.
#[derive(Debug, Clone, PartialEq)]
pub enum Dependency {
    /// Something that takes connections.
    Tcp {
        /// Where.
        address: Spanned<Endpoint>,
        /// What is sent; may be empty.
        send: Vec<u8>,
        /// What must come back; `None` = connecting is enough.
        expect: Option<Expected>,
    },
    /// Free space of the disk that holds this path.
    Disk {
        /// The path.
        path: Spanned<PathBuf>,
        /// At least so much must be free; default 10 %.
        free: DiskFree,
    },
    /// A pool, which must have a usable server.
    Pool(PoolRef),
}

/// A check of `/health`.
#[derive(Debug, Clone, PartialEq)]
pub struct DependencyCheck {
    /// Name, unique.
    pub name: Spanned<String>,
    /// What is looked at.
    pub of: Dependency,
    /// From one look to the next; default 10 s. Pools are looked at when asked.
    pub every: Duration,
    /// How long one may take; default 2 s.
    pub timeout: Duration,
}

/// Our own `/health`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OwnHealth {
    /// Version that is told; `None` = ours.
    pub version: Option<String>,
    /// What it depends on, in file order.
    pub checks: Vec<DependencyCheck>,
}
