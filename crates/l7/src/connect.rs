//! Connect: a new connection to one of a server's addresses, with TLS and HTTP/2 where the pool has
//! them.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use keel_observe::{Refusal, ServerMetrics};
use keel_tls::{Alpn, Connector, Stream};
use keel_upstream::{Connection, ServerKey, start_connect};
use tokio::net::TcpStream;

use crate::error::Kind;
use crate::h2::{H2Call, H2Connections, Way};
use crate::link::Link;
use crate::protect::{RETRY_AFTER_S, refuse};
use crate::snapshot::{PoolPlan, RoutePlan, ServerProtocol};
use crate::walk::Walk;
use crate::worker::Worker;

/// Opens a way to the server: a connection of its own, or a place on a shared one.
pub(crate) async fn open(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    server: usize,
    metrics: &ServerMetrics,
) -> Result<Link, Kind> {
    let start = walk.worker.clock.tick();
    let connect_ms = connect_due_ms(walk, route, plan, start / 1000);
    let due = match walk.ex.call {
        Some(call) if call.due_ms < connect_ms => (call.due_ms, Kind::DeadlinePassed),
        _ => (connect_ms, Kind::ConnectTimeout),
    };
    let reach = Reach::new(walk.worker, plan, server, walk.ex.framing.upgrade);
    let mut reaching = pin!(reach.link());
    let linked = std::future::poll_fn(|cx| {
        if let Poll::Ready(linked) = reaching.as_mut().poll(cx) {
            return Poll::Ready(linked);
        }
        let overdue = match due.1 {
            Kind::ConnectTimeout => reach.overdue(),
            kind => kind,
        };
        walk.poll_overdue(cx, due.0, overdue).map(Err)
    })
    .await;
    walk.ex.record.server_address = reach.address.get();
    let link = match linked {
        Err(Kind::PoolLimit) => return Err(refuse(walk, plan, Refusal::Limit, RETRY_AFTER_S)),
        linked => linked?,
    };
    let took = walk.worker.clock.tick().saturating_sub(start);
    walk.ex.record.connect_us = Some(took);
    metrics.connected(took);
    Ok(link)
}

/// When a connect that begins now is overdue.
pub(crate) fn connect_due_ms(
    walk: &Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    now_ms: u64,
) -> u64 {
    let timeout_ms = route.timeouts.connect_ms;
    let timeout_ms = timeout_ms.unwrap_or(plan.pool.connect_timeout_ms);
    now_ms.saturating_add(timeout_ms.min(walk.try_ms))
}

/// The way to a server while it is sought. It has no deadline of its own.
pub(crate) struct Reach<'a> {
    worker: &'a Rc<Worker>,
    plan: &'a PoolPlan,
    server: usize,
    /// The request asks for a WebSocket.
    upgrade: bool,
    /// The address that was tried last.
    pub address: Cell<Option<SocketAddr>>,
    /// What would be wrong if it took too long now.
    overdue: Cell<Kind>,
    /// Another request opens the connection.
    waits_for_another: Cell<bool>,
}

impl<'a> Reach<'a> {
    pub fn new(
        worker: &'a Rc<Worker>,
        plan: &'a PoolPlan,
        server: usize,
        upgrade: bool,
    ) -> Reach<'a> {
        Reach {
            worker,
            plan,
            server,
            upgrade,
            address: Cell::new(None),
            overdue: Cell::new(Kind::ConnectTimeout),
            waits_for_another: Cell::new(false),
        }
    }

    /// What it means when the time to connect is over now: a server whose streams are all taken has
    /// not failed, nor has one whose pool has all the connections that it may have.
    pub fn overdue(&self) -> Kind {
        let limits = self.plan.limits.as_ref();
        match limits {
            Some(limits)
                if self.waits_for_another.get() && limits.connections().are_all_taken() =>
            {
                Kind::PoolLimit
            }
            _ => self.overdue.get(),
        }
    }

    /// The link, as the pool's protocol has it.
    pub async fn link(&self) -> Result<Link, Kind> {
        match self.plan.protocol {
            ServerProtocol::Http1 => Ok(Link::of(self.connect().await?)),
            ServerProtocol::Http2 | ServerProtocol::Auto => self.stream().await,
        }
    }

    /// A place on an HTTP/2 connection: on one that has room, on a new one, or on the one that
    /// another request is just opening. A server that chooses HTTP/1.1 instead gives a connection of
    /// its own.
    async fn stream(&self) -> Result<Link, Kind> {
        let key = self.plan.pool.key(self.server).ok_or(Kind::Internal)?;
        let requests_max = self.plan.pool.keep_alive.requests_max;
        let plan = self.plan;
        let mut ticket = None;
        loop {
            self.overdue.set(Kind::ConnectTimeout);
            self.waits_for_another.set(false);
            let found = self.worker.h2.find(key, &plan.http2, requests_max, ticket);
            match found {
                Way::Call(call) => return Ok(self.link_on(call).await),
                Way::Wait { ticket: mine, full } => {
                    self.waits_for_another.set(!full);
                    if full {
                        self.overdue.set(Kind::AllFull);
                    }
                    mine.told().await;
                    ticket = Some(mine);
                }
                Way::Connect(connecting) => {
                    let connection = self.connect().await?;
                    let chosen = connection.stream.facts().and_then(|facts| facts.alpn);
                    let plain = plan.protocol == ServerProtocol::Auto && chosen != Some(Alpn::H2);
                    connecting.chose_http1(plain);
                    if plain {
                        return Ok(Link::of(connection));
                    }
                    let call = self.start_h2(key, connection);
                    drop(connecting);
                    return Ok(self.link_on(call).await);
                }
            }
        }
    }

    /// A link on a shared connection. For a WebSocket a new server is given the time to say whether
    /// it takes them: it must not be asked before. What is closed meanwhile takes no stream.
    async fn link_on(&self, call: H2Call) -> Link {
        const WAIT: Duration = Duration::from_millis(10);
        const WAIT_MAX_MS: u64 = 1_000;

        let waits = || !call.has_settings() && call.is_open() && call.age_ms() < WAIT_MAX_MS;
        while self.upgrade && waits() {
            tokio::time::sleep(WAIT).await;
        }
        Link::on(call)
    }

    /// Begins HTTP/2 on a new connection; nothing is waited for, the server's settings come when they
    /// come.
    fn start_h2(&self, key: ServerKey, connection: Connection) -> H2Call {
        let (address, held) = (connection.address, connection.held);
        let http2 = &self.plan.http2;
        let keep = &self.plan.pool.keep_alive;
        let end = (address, held, self.plan.limits.clone());
        H2Connections::add(self.worker, key, http2, keep, connection.stream, end)
    }

    /// Connects to the server's addresses in turn until one takes the connection.
    async fn connect(&self) -> Result<Connection, Kind> {
        let servers = &self.plan.pool.servers;
        let server = servers.get(self.server).ok_or(Kind::Internal)?;
        let addresses = server.resolved.load_full();
        let mut last = Kind::Unresolved;
        let first = self.worker.random() as usize % addresses.len().max(1);
        let mut held = self.place().await;
        for position in 0..addresses.len() {
            let Some(&address) = addresses.get((first + position) % addresses.len()) else {
                break;
            };
            self.address.set(Some(address));
            let mut connected = connect_to(address).await;
            if matches!(connected, Err(Kind::Exhausted)) {
                // Idle connections hold what is missing here.
                self.worker.idle.clear();
                connected = connect_to(address).await;
            }
            let secured = match (connected, &self.plan.tls) {
                (Ok(stream), Some(tls)) => {
                    self.secure(tls, &server.address.host, stream, address)
                        .await
                }
                (Ok(stream), None) => Ok(Stream::from(stream)),
                (Err(kind), _) => Err(kind),
            };
            match secured {
                Ok(stream) => {
                    return Ok(Connection {
                        stream,
                        address,
                        requests: 0,
                        idle_since_ms: 0,
                        held: held.take(),
                    });
                }
                Err(kind) => last = kind,
            }
        }
        Err(last)
    }

    /// The place of a connection in the limit of the pool, which is waited for.
    async fn place(&self) -> Option<Box<dyn std::fmt::Debug>> {
        let connections = self.plan.limits.as_ref()?.connections();
        if let Some(place) = connections.try_take() {
            return Some(Box::new(place));
        }
        // From now on it is the limit that took the time, whatever comes.
        self.overdue.set(Kind::PoolLimit);
        let place = connections.take(|| {
            // One of this worker may go at once; others go when they come back.
            self.worker.free_connection(&self.plan.pool);
        });
        Some(Box::new(place.await))
    }

    /// The TLS handshake with a server.
    async fn secure(
        &self,
        tls: &Connector,
        host: &str,
        stream: TcpStream,
        server: SocketAddr,
    ) -> Result<Stream, Kind> {
        tls.connect(host, stream).await.map_err(|fault| {
            if tls.is_worth_telling(self.worker.clock.now_ms()) {
                tracing::warn!(%server, host, "TLS handshake with a server failed: {fault}");
            } else {
                tracing::debug!(%server, host, "TLS handshake with a server failed: {fault}");
            }
            Kind::HandshakeFailed
        })
    }
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, Kind> {
    let connecting = start_connect(address).map_err(|error| connect_kind(&error))?;
    connecting.await.map_err(|error| connect_kind(&error))
}

/// Whose fault a failed connect is: the server's, unless we ran out of something.
fn connect_kind(error: &std::io::Error) -> Kind {
    let ours =
        keel_net::is_exhaustion(error) || error.kind() == std::io::ErrorKind::AddrNotAvailable;
    if ours {
        Kind::Exhausted
    } else {
        Kind::ConnectFailed
    }
}
