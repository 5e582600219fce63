//! Names of servers are looked up at the start and again from time to time; the last good answer is
//! kept. A name that does not resolve costs nobody but its own server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::pool::Server;

/// How often names that resolved are asked again.
const REFRESH: Duration = Duration::from_secs(30);
/// How often names that did not are.
const RETRY: Duration = Duration::from_secs(3);
/// How long one look-up may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a name gave no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveFault {
    /// The resolver said no.
    #[error("{name} does not resolve ({cause})")]
    Failed {
        /// The name and port that were asked for.
        name: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The resolver knows the name but no address for it.
    #[error("{0} resolves to no address")]
    Empty(String),
    /// The resolver did not answer in time.
    #[error("{0} does not resolve: no answer within 5 s")]
    Timeout(String),
}

/// Looks a server's name up and, when it has addresses, publishes them. Gives whether they changed.
pub async fn resolve(server: &Server) -> Result<bool, ResolveFault> {
    let name = || server.address.to_string();
    let asked = (server.address.host.clone(), server.address.port);
    let answer = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(asked))
        .await
        .map_err(|_| ResolveFault::Timeout(name()))?
        .map_err(|cause| ResolveFault::Failed {
            name: name(),
            cause,
        })?;
    let mut addresses: Vec<SocketAddr> = answer.collect();
    if addresses.is_empty() {
        return Err(ResolveFault::Empty(name()));
    }
    // The order of an answer rotates by itself; sorted, an unchanged set stays unchanged.
    addresses.sort_unstable();
    addresses.dedup();
    let changed = **server.resolved.load() != addresses;
    if changed {
        server.resolved.store(Arc::new(addresses));
    }
    Ok(changed)
}

/// Keeps the names of servers resolved. Servers given by address are left alone.
#[derive(Debug)]
pub struct Resolver {
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    server: Arc<Server>,
    failing: bool,
}

impl Resolver {
    /// A resolver for those of `servers` that are names.
    pub fn new(servers: impl IntoIterator<Item = Arc<Server>>) -> Resolver {
        let names = servers.into_iter().filter(|server| server.is_name());
        let names = names.map(|server| Name {
            server,
            failing: false,
        });
        Resolver {
            names: names.collect(),
        }
    }

    /// Looks all names up once, at the same time. Gives whether each has an address, new or old. What
    /// begins to fail is warned of once.
    pub async fn look_up(&mut self) -> bool {
        let mut lookups = JoinSet::new();
        for (position, name) in self.names.iter().enumerate() {
            let server = name.server.clone();
            lookups.spawn(async move { (position, resolve(&server).await) });
        }
        while let Some(looked_up) = lookups.join_next().await {
            let Ok((position, outcome)) = looked_up else {
                continue;
            };
            if let Some(name) = self.names.get_mut(position) {
                name.note(outcome);
            }
        }
        let known = |name: &Name| !name.server.resolved.load().is_empty();
        self.names.iter().all(known)
    }

    /// Looks them up again and again, until dropped. Cancel-safe.
    pub async fn keep(mut self, mut all_known: bool) {
        while !self.names.is_empty() {
            tokio::time::sleep(if all_known { REFRESH } else { RETRY }).await;
            all_known = self.look_up().await;
        }
    }
}

impl Name {
    fn note(&mut self, outcome: Result<bool, ResolveFault>) {
        let server = &self.server.name;
        match outcome {
            Ok(true) => {
                tracing::info!(%server, addresses = ?self.server.resolved.load(), "resolved");
            }
            Ok(false) => {}
            Err(fault) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%server, "{fault}");
                }
                return;
            }
        }
        self.failing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::ServerAddress;

    #[tokio::test]
    async fn localhost_resolves_and_nonsense_keeps_the_last_answer() {
        let address = ServerAddress {
            host: "localhost".into(),
            port: 80,
        };
        let server = Server::new("a".into(), address);
        assert!(server.is_name() && server.resolved.load().is_empty());
        assert!(resolve(&server).await.expect("localhost resolves"));
        assert!(!resolve(&server).await.expect("localhost resolves"));
        assert!(
            server
                .resolved
                .load()
                .iter()
                .all(|at| at.ip().is_loopback())
        );
        let nonsense = ServerAddress {
            host: "no-such-name.invalid".into(),
            port: 80,
        };
        let server = Server::new("b".into(), nonsense);
        assert!(resolve(&server).await.is_err());
    }
}
