//! The idle connections of one worker, the most recently used first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::connect::Connection;
use crate::pool::KeepAlive;

/// Idle connections by server number (see `Pool::first_server`).
#[derive(Debug, Default)]
pub struct IdleConnections {
    servers: RefCell<Vec<VecDeque<Connection>>>,
    count: Cell<usize>,
}

impl IdleConnections {
    /// Nothing idle.
    pub fn new() -> IdleConnections {
        IdleConnections::default()
    }

    /// The most recently used connection to `server` that is alive and not too old.
    pub fn take(&self, server: usize, keep: &KeepAlive, now_ms: u64) -> Option<Connection> {
        let mut servers = self.servers.borrow_mut();
        let list = servers.get_mut(server)?;
        while let Some(mut connection) = list.pop_back() {
            self.count.set(self.count.get() - 1);
            let young = now_ms.saturating_sub(connection.idle_since_ms) < keep.idle_timeout_ms;
            if young && connection.stream.poll_alive() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange ended cleanly; closes it, or the one that idled
    /// longest, when a limit says so.
    pub fn keep(&self, server: usize, keep: &KeepAlive, mut connection: Connection, now_ms: u64) {
        if keep.connections_max == 0 || connection.requests >= keep.requests_max {
            return;
        }
        let mut servers = self.servers.borrow_mut();
        if servers.len() <= server {
            servers.resize_with(server + 1, VecDeque::new);
        }
        let Some(list) = servers.get_mut(server) else {
            return;
        };
        if list.len() >= keep.connections_max {
            list.pop_front();
            self.count.set(self.count.get() - 1);
        }
        connection.idle_since_ms = now_ms;
        list.push_back(connection);
        self.count.set(self.count.get() + 1);
    }

    /// Closes what idled too long or was closed by its server; `idle_timeout_ms` gives the limit of
    /// a server. Call it about once a second.
    pub fn sweep(&self, now_ms: u64, idle_timeout_ms: impl Fn(usize) -> u64) {
        let mut kept = 0;
        for (server, list) in self.servers.borrow_mut().iter_mut().enumerate() {
            let limit = idle_timeout_ms(server);
            list.retain_mut(|connection| {
                now_ms.saturating_sub(connection.idle_since_ms) < limit
                    && connection.stream.poll_alive()
            });
            kept += list.len();
        }
        self.count.set(kept);
    }

    /// Closes all of them.
    pub fn clear(&self) {
        self.servers.borrow_mut().clear();
        self.count.set(0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.get()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    const KEEP: KeepAlive = KeepAlive {
        connections_max: 2,
        idle_timeout_ms: 1000,
        requests_max: 10,
    };

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = ours.expect("connected");
        (
            Connection {
                stream: stream.into(),
                address,
                requests: 1,
                idle_since_ms: 0,
            },
            theirs.expect("accepted").0,
        )
    }

    #[tokio::test]
    async fn gives_the_latest_and_forgets_the_oldest() {
        let idle = IdleConnections::new();
        let mut far_ends = Vec::new();
        for port in 0..3 {
            let (mut connection, far) = pair().await;
            connection.requests = port;
            far_ends.push(far);
            idle.keep(4, &KEEP, connection, u64::from(port));
        }
        assert_eq!(idle.len(), 2);
        assert_eq!(idle.take(4, &KEEP, 10).map(|c| c.requests), Some(2));
        assert_eq!(idle.take(4, &KEEP, 10).map(|c| c.requests), Some(1));
        assert!(idle.take(4, &KEEP, 10).is_none());
        assert!(idle.take(3, &KEEP, 10).is_none());
    }

    #[tokio::test]
    async fn what_the_server_closed_or_spoke_into_is_not_reused() {
        for speaks in [false, true] {
            let idle = IdleConnections::new();
            let (connection, mut far) = pair().await;
            idle.keep(0, &KEEP, connection, 0);
            if speaks {
                far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
                    .await
                    .expect("written");
            } else {
                drop(far);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert!(idle.take(0, &KEEP, 1).is_none());
        }
    }

    #[tokio::test]
    async fn too_old_or_too_used_is_closed() {
        let idle = IdleConnections::new();
        let (mut connection, _far) = pair().await;
        connection.requests = 10;
        idle.keep(0, &KEEP, connection, 0);
        assert!(idle.is_empty());
        let (connection, _far) = pair().await;
        idle.keep(0, &KEEP, connection, 0);
        idle.sweep(999, |_| 1000);
        assert_eq!(idle.len(), 1);
        idle.sweep(1000, |_| 1000);
        assert!(idle.is_empty());
    }
}
