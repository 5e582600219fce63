//! The idle connections of one worker, the most recently used first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use crate::connect::Connection;
use crate::pool::{KeepAlive, Server, ServerKey};

/// Idle connections by the server's key.
///
/// Only servers that [`IdleConnections::serve`] named have any: a request of an older snapshot finds
/// nothing here for a server that is gone, and leaves nothing.
#[derive(Debug, Default)]
pub struct IdleConnections {
    slots: RefCell<Vec<Slot>>,
    count: Cell<usize>,
}

/// The idle connections of one server, by its key's slot.
#[derive(Debug, Default)]
struct Slot {
    /// The server's id; 0 when nobody has the slot.
    id: u64,
    idle_timeout_ms: u64,
    /// The server, when what its name stands for may change.
    named: Option<Arc<Server>>,
    list: VecDeque<Connection>,
}

impl IdleConnections {
    /// No servers, nothing idle.
    pub fn new() -> IdleConnections {
        IdleConnections::default()
    }

    /// These are the servers from now on, each with how long its connections may idle, in
    /// milliseconds. Connections to all others are closed.
    pub fn serve<'a>(&self, servers: impl IntoIterator<Item = (&'a Arc<Server>, u64)>) {
        let mut slots = self.slots.borrow_mut();
        let mut before = std::mem::take(&mut *slots);
        for (server, idle_timeout_ms) in servers {
            let key = server.key;
            let position = key.slot as usize;
            if slots.len() <= position {
                slots.resize_with(position + 1, Slot::default);
            }
            let list = match before.get_mut(position) {
                Some(slot) if slot.id == key.id => std::mem::take(&mut slot.list),
                _ => VecDeque::new(),
            };
            if let Some(slot) = slots.get_mut(position) {
                *slot = Slot {
                    id: key.id,
                    idle_timeout_ms,
                    named: server.is_name().then(|| server.clone()),
                    list,
                };
            }
        }
        self.count
            .set(slots.iter().map(|slot| slot.list.len()).sum());
    }

    /// The most recently used connection to `server` that is alive and not too old.
    pub fn take(&self, server: ServerKey, keep: &KeepAlive, now_ms: u64) -> Option<Connection> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(server.slot as usize)?;
        if slot.id != server.id {
            return None;
        }
        while let Some(mut connection) = slot.list.pop_back() {
            self.count.set(self.count.get() - 1);
            let young = now_ms.saturating_sub(connection.idle_since_ms) < keep.idle_timeout_ms;
            if young && connection.stream.poll_alive() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange ended cleanly; closes it, or the one that idled
    /// longest, when a limit says so, and in any case when its server is gone.
    pub fn keep(
        &self,
        server: ServerKey,
        keep: &KeepAlive,
        mut connection: Connection,
        now_ms: u64,
    ) {
        if keep.connections_max == 0 || connection.requests >= keep.requests_max {
            return;
        }
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(server.slot as usize) else {
            return;
        };
        if slot.id != server.id {
            return;
        }
        if slot.list.len() >= keep.connections_max {
            slot.list.pop_front();
            self.count.set(self.count.get() - 1);
        }
        connection.idle_since_ms = now_ms;
        slot.list.push_back(connection);
        self.count.set(self.count.get() + 1);
    }

    /// Closes what idled too long, was closed by its server, or goes to an address that the server's
    /// name does not stand for any more. Call it about once a second.
    pub fn sweep(&self, now_ms: u64) {
        let mut kept = 0;
        for slot in self.slots.borrow_mut().iter_mut() {
            if slot.list.is_empty() {
                continue;
            }
            let limit = slot.idle_timeout_ms;
            let named = slot.named.as_ref();
            slot.list.retain_mut(|connection| {
                let stays = named.is_none_or(|it| it.resolved.load().contains(&connection.address));
                stays
                    && now_ms.saturating_sub(connection.idle_since_ms) < limit
                    && connection.stream.poll_alive()
            });
            kept += slot.list.len();
        }
        self.count.set(kept);
    }

    /// Closes the connection to any of these servers that has idled longest; false when there is none.
    pub fn close_one(&self, servers: impl IntoIterator<Item = ServerKey>) -> bool {
        let mut slots = self.slots.borrow_mut();
        let mut oldest = None;
        for key in servers {
            let position = key.slot as usize;
            let slot = slots.get(position).filter(|slot| slot.id == key.id);
            if let Some(first) = slot.and_then(|slot| slot.list.front())
                && oldest.is_none_or(|(_, since_ms)| first.idle_since_ms < since_ms)
            {
                oldest = Some((position, first.idle_since_ms));
            }
        }
        let closed = oldest.and_then(|(position, _)| slots.get_mut(position)?.list.pop_front());
        self.count
            .set(self.count.get() - usize::from(closed.is_some()));
        closed.is_some()
    }

    /// Closes all of them.
    pub fn clear(&self) {
        for slot in self.slots.borrow_mut().iter_mut() {
            slot.list.clear();
        }
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

    const A: ServerKey = ServerKey { slot: 4, id: 7 };
    const B: ServerKey = ServerKey { slot: 4, id: 8 };

    /// A server with this key, at an address that says nothing.
    fn of(key: ServerKey) -> Arc<Server> {
        let address = crate::ServerAddress {
            host: "192.0.2.1".to_owned(),
            port: 80,
        };
        Arc::new(Server::new(key, "a".to_owned(), address))
    }

    fn serving(server: ServerKey) -> IdleConnections {
        let idle = IdleConnections::new();
        idle.serve([(&of(server), 1000)]);
        idle
    }

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
                held: None,
            },
            theirs.expect("accepted").0,
        )
    }

    #[tokio::test]
    async fn gives_the_latest_and_forgets_the_oldest() {
        let idle = serving(A);
        let mut far_ends = Vec::new();
        for port in 0..3 {
            let (mut connection, far) = pair().await;
            connection.requests = port;
            far_ends.push(far);
            idle.keep(A, &KEEP, connection, u64::from(port));
        }
        assert_eq!(idle.len(), 2);
        assert_eq!(idle.take(A, &KEEP, 10).map(|c| c.requests), Some(2));
        assert_eq!(idle.take(A, &KEEP, 10).map(|c| c.requests), Some(1));
        assert!(idle.take(A, &KEEP, 10).is_none());
        assert!(idle.take(B, &KEEP, 10).is_none());
    }

    #[tokio::test]
    async fn what_the_server_closed_or_spoke_into_is_not_reused() {
        for speaks in [false, true] {
            let idle = serving(A);
            let (connection, mut far) = pair().await;
            idle.keep(A, &KEEP, connection, 0);
            if speaks {
                far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
                    .await
                    .expect("written");
            } else {
                drop(far);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert!(idle.take(A, &KEEP, 1).is_none());
        }
    }

    #[tokio::test]
    async fn too_old_or_too_used_is_closed() {
        let idle = serving(A);
        let (mut connection, _far) = pair().await;
        connection.requests = 10;
        idle.keep(A, &KEEP, connection, 0);
        assert!(idle.is_empty());
        let (connection, _far) = pair().await;
        idle.keep(A, &KEEP, connection, 0);
        idle.sweep(999);
        assert_eq!(idle.len(), 1);
        idle.sweep(1000);
        assert!(idle.is_empty());
    }

    #[tokio::test]
    async fn a_server_that_is_gone_has_no_connections_and_gets_none() {
        let idle = serving(A);
        let (first, _far) = pair().await;
        idle.keep(A, &KEEP, first, 0);
        idle.serve([(&of(A), 1000)]);
        assert_eq!(idle.len(), 1, "a server that stays keeps its own");
        idle.serve([(&of(B), 1000)]);
        assert!(idle.is_empty(), "another server in the same slot");
        let (late, _far) = pair().await;
        idle.keep(A, &KEEP, late, 0);
        assert!(idle.is_empty(), "a request of an older snapshot ended");
        let (other, _far) = pair().await;
        idle.keep(B, &KEEP, other, 0);
        assert!(idle.take(A, &KEEP, 1).is_none());
        idle.serve([]);
        assert!(idle.is_empty());
        assert!(idle.take(B, &KEEP, 1).is_none());
    }

    #[tokio::test]
    async fn an_address_that_the_name_left_is_left() {
        let address = crate::ServerAddress {
            host: "app.internal".to_owned(),
            port: 80,
        };
        let server = Arc::new(Server::new(A, "a".to_owned(), address));
        let idle = IdleConnections::new();
        idle.serve([(&server, 1000)]);
        let (first, _far) = pair().await;
        let (second, _other_far) = pair().await;
        let stays = second.address;
        server.resolved.store(Arc::new(vec![first.address, stays]));
        idle.keep(A, &KEEP, first, 0);
        idle.keep(A, &KEEP, second, 0);
        idle.sweep(1);
        assert_eq!(idle.len(), 2);
        server.resolved.store(Arc::new(vec![stays]));
        idle.sweep(2);
        assert_eq!(idle.len(), 1);
        assert_eq!(idle.take(A, &KEEP, 3).map(|it| it.address), Some(stays));
    }
}
