//! Names of servers are looked up at the start and again from time to time; the last good answer is
//! kept. A name that does not resolve costs nobody but its own server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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

/// Keeps the names of `servers` resolved until dropped. Servers given by address are left alone.
pub async fn keep_resolving(servers: Vec<Arc<Server>>) {
    let names: Vec<_> = servers
        .into_iter()
        .filter(|server| server.is_name())
        .collect();
    if names.is_empty() {
        return;
    }
    loop {
        let mut all_known = true;
        for server in &names {
            match resolve(server).await {
                Ok(true) => {
                    tracing::info!(server = %server.name, addresses = ?server.resolved.load(), "resolved")
                }
                Ok(false) => {}
                Err(fault) => {
                    let known = !server.resolved.load().is_empty();
                    all_known &= known;
                    tracing::warn!(server = %server.name, known, "{fault}");
                }
            }
        }
        tokio::time::sleep(if all_known { REFRESH } else { RETRY }).await;
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
