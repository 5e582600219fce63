//! Run-time changes: an overlay on the model of the file, by the names of pools and servers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use keel_config::model::{Discover, Endpoint, Model};

use crate::engine::{Engine, Refusal};
use crate::live::{Actor, Control, Held};
use crate::overlay::{Overlay, server_name};
use crate::start::StartFault;

/// A change of one pool's servers while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A server more.
    AddServer {
        /// Name of the pool.
        pool: String,
        /// The server.
        server: NewServer,
    },
    /// A server less. Its running requests end in their own time.
    RemoveServer {
        /// Name of the pool.
        pool: String,
        /// Name of the server.
        server: String,
    },
    /// Whether a server gets traffic.
    SetState {
        /// Name of the pool.
        pool: String,
        /// Name of the server.
        server: String,
        /// What it is to be.
        state: ServerState,
    },
    /// A server's share of the traffic.
    SetWeight {
        /// Name of the pool.
        pool: String,
        /// Name of the server.
        server: String,
        /// 0 to 65,535; 0 is no traffic.
        weight: u32,
    },
}

impl Change {
    /// Name of the pool that is changed.
    pub fn pool(&self) -> &str {
        match self {
            Change::AddServer { pool, .. }
            | Change::RemoveServer { pool, .. }
            | Change::SetState { pool, .. }
            | Change::SetWeight { pool, .. } => pool,
        }
    }
}

/// A server that is added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewServer {
    /// Name, unique in the pool; the address when `None`.
    pub name: Option<String>,
    /// Where it listens.
    pub address: Endpoint,
    /// 0 to 65,535; 1 when `None`.
    pub weight: Option<u32>,
    /// Requests at a time over all workers; 0 is no limit, and so is `None`.
    pub max_connections: Option<u32>,
    /// 0 is used first; 0 when `None`.
    pub tier: Option<u8>,
}

/// Whether a server gets traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// As its health allows.
    Ready,
    /// No new requests; sessions that are bound to it are handed on; running requests end in their
    /// time.
    Drain {
        /// After which running requests and tunnels are ended; `None` is never.
        limit: Option<Duration>,
    },
    /// Taken out, as with `down: true` in the file; running requests end in their time.
    Down,
}

/// A change that was done.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Number of the configuration that is served now.
    pub generation: u64,
    /// What was done, in words.
    pub what: String,
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeFault {
    /// No such pool.
    #[error("there is no pool `{0}`")]
    NoPool(String),
    /// No such server.
    #[error("pool `{pool}` has no server `{server}`; it has {}", .has.join(", "))]
    NoServer {
        /// The pool.
        pool: String,
        /// The name that was asked for.
        server: String,
        /// Names of the pool's servers.
        has: Vec<String>,
    },
    /// The name is taken.
    #[error("pool `{pool}` has a server `{server}` already")]
    Exists {
        /// The pool.
        pool: String,
        /// The name.
        server: String,
    },
    /// A value that no file may have either, or the last server of a pool.
    #[error("{0}")]
    Bad(String),
    /// What the change leads to does not work.
    #[error(transparent)]
    Start(#[from] StartFault),
    /// Too many changes wait for their turn.
    #[error("too many changes are waiting; try again in a moment")]
    Busy,
    /// The process is draining.
    #[error("the process is stopping; it takes no changes")]
    Stopping,
}

/// What discovery found for one entry of a pool's `servers`.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Name of the pool.
    pub pool: String,
    /// Position of the entry in the pool's list as the file has it.
    pub entry: usize,
    /// Name of the entry: a reload may have put another one at its place meanwhile.
    pub name: String,
    /// The servers that the entry stands for now; never empty (the last good answer is kept).
    pub servers: Vec<FoundServer>,
}

impl Found {
    /// Whether the file has the entry still.
    fn is_wanted(&self, file: &Model) -> bool {
        let pool = file.pools.iter().find(|it| it.name.value == self.pool);
        let entry = pool.and_then(|pool| pool.servers.get(self.entry));
        entry.is_some_and(|it| it.name.value == self.name && it.discover != Discover::One)
    }
}

/// One server that discovery found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundServer {
    /// Name, unique in the pool and the same for the same server in every answer.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// The host that the address was found for; certificates and `Host` are for that.
    pub host: String,
    /// 0 to 65,535; the entry's when `None`.
    pub weight: Option<u32>,
    /// The entry's when `None`.
    pub tier: Option<u8>,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The files that were changed; empty when there was nothing to write.
    pub files: Vec<PathBuf>,
    /// How many servers were written anew, added or taken out.
    pub servers: usize,
}

/// Why run-time changes were not written, or what is wrong with what was.
#[derive(Debug, thiserror::Error)]
pub enum SaveFault {
    /// `proxy` and `demo` are not started from a file.
    #[error("this process was not started from a file: there is none to write to")]
    NoFile,
    /// Somebody changed the file since it was read.
    #[error("{} is not what was loaded any more: reload first, then save", .0.display())]
    Changed(PathBuf),
    /// The lists in the file cannot be replaced.
    #[error("{0}")]
    Edit(String),
    /// The file cannot be written.
    #[error("cannot write {}: {cause}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Something was written, but is not served yet.
    #[error("{0}")]
    Written(String),
    /// Too many changes wait for their turn. Nothing was written.
    #[error("too many changes are waiting; try again in a moment")]
    Busy,
    /// The process is draining. Nothing was written.
    #[error("the process is stopping; it writes no changes")]
    Stopping,
}

impl Change {
    /// What is done, in words.
    fn words(&self) -> String {
        match self {
            Change::AddServer { pool, server } => {
                let (name, address) = (server_name(server), &server.address);
                format!("server `{name}` ({address}) added to pool `{pool}`")
            }
            Change::RemoveServer { pool, server } => {
                format!("server `{server}` removed from pool `{pool}`")
            }
            Change::SetState {
                pool,
                server,
                state,
            } => {
                let state = match state {
                    ServerState::Ready => "ready".to_owned(),
                    ServerState::Drain { limit: None } => "draining".to_owned(),
                    ServerState::Drain { limit: Some(limit) } => {
                        format!("draining, for {} s at most", limit.as_secs_f64())
                    }
                    ServerState::Down => "down".to_owned(),
                };
                format!("server `{server}` of pool `{pool}` is {state}")
            }
            Change::SetWeight {
                pool,
                server,
                weight,
            } => format!("server `{server}` of pool `{pool}` has weight {weight}"),
        }
    }
}

impl From<Refusal> for ChangeFault {
    fn from(refusal: Refusal) -> ChangeFault {
        match refusal {
            Refusal::Bad(found) => {
                ChangeFault::Bad(keel_config::render_all(&found, false).trim_end().to_owned())
            }
            Refusal::Start(fault) => ChangeFault::Start(fault),
        }
    }
}

impl Control {
    pub(crate) async fn change_now(
        &self,
        change: Change,
        by: &Actor,
    ) -> Result<Changed, ChangeFault> {
        let outcome = self.try_change(&change, by).await;
        self.0.tally.changed(outcome.is_ok());
        match &outcome {
            Ok(done) => {
                tracing::info!(%by, generation = done.generation, "changed: {}", done.what);
            }
            Err(fault) => tracing::warn!(%by, "change refused: {fault}"),
        }
        outcome
    }

    async fn try_change(&self, change: &Change, by: &Actor) -> Result<Changed, ChangeFault> {
        let engine = self.hold().await.ok_or(ChangeFault::Busy)?;
        if self.0.drain.is_draining() {
            return Err(ChangeFault::Stopping);
        }
        let mut overlay = engine.overlay.clone();
        let now_ms = engine.status.now_ms();
        overlay.change(change, &engine.status.model, (by, now_ms))?;
        let found = engine.found.clone();
        let engine = self.overlaid(engine, overlay, found).await?;
        engine.cut(change);
        Ok(Changed {
            generation: engine.status.generation,
            what: change.words(),
        })
    }

    /// Serves the file with another overlay or other servers found.
    pub(crate) async fn overlaid(
        &self,
        engine: Held,
        overlay: Overlay,
        found: Vec<Found>,
    ) -> Result<Held, Refusal> {
        let model = Engine::in_force(&engine.file, &overlay, &found);
        let (mut engine, prepared) = self.prepare(engine, model, overlay.clone()).await?;
        engine.overlay = overlay;
        engine.found = found;
        self.commit(&mut engine, prepared).await;
        Ok(engine)
    }

    pub(crate) async fn discovered_now(&self, news: Vec<Found>) {
        // One at a time comes from discovery, so it waits however many others do.
        let engine = self.turn().await;
        let mut found = engine.found.clone();
        let news = news.into_iter().filter(|it| it.is_wanted(&engine.file));
        for new in news {
            let same = |it: &&mut Found| {
                it.pool == new.pool && it.entry == new.entry && it.name == new.name
            };
            match found.iter_mut().find(same) {
                Some(known) => *known = new,
                None => found.push(new),
            }
        }
        if found == engine.found || self.0.drain.is_draining() {
            return;
        }
        let overlay = engine.overlay.clone();
        match self.overlaid(engine, overlay, found).await {
            Ok(engine) => {
                self.0.tally.discovered();
                let generation = engine.status.generation;
                tracing::info!(by = "dns", generation, "servers found by name changed");
            }
            Err(refusal) => {
                let fault = ChangeFault::from(refusal);
                tracing::error!(
                    by = "dns",
                    "servers found by name cannot be served: {fault}"
                );
            }
        }
    }
}
