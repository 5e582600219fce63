//! Connect: a new connection to one of a server's addresses, with TLS and HTTP/2 where the pool has
//! them.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use keel_observe::ServerMetrics;
use keel_tls::{Alpn, Connector, Stream};
use keel_upstream::{Connection, ServerKey, start_connect};
use tokio::net::TcpStream;

use crate::error::Kind;
use crate::h2::{H2Call, H2Connections, Way, client_builder};
use crate::link::Link;
use crate::snapshot::{PoolPlan, RoutePlan, ServerProtocol};
use crate::walk::Walk;

/// Opens a way to the server: a connection of its own, or a place on a shared one.
pub(crate) async fn open(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    plan: &PoolPlan,
    server: usize,
    metrics: &ServerMetrics,
) -> Result<Link, Kind> {
    let timeout_ms = route
        .timeouts
        .connect_ms
        .unwrap_or(plan.pool.connect_timeout_ms);
    let start = walk.worker.clock.tick();
    let connect_ms = (start / 1000).saturating_add(timeout_ms);
    let due = match walk.ex.call {
        Some(call) if call.due_ms < connect_ms => (call.due_ms, Kind::DeadlinePassed),
        _ => (connect_ms, Kind::ConnectTimeout),
    };
    let link = match plan.protocol {
        ServerProtocol::Http1 => {
            let connection = connect(walk, plan, server, due).await?;
            Link::of(connection)
        }
        ServerProtocol::Http2 | ServerProtocol::Auto => {
            open_stream(walk, plan, server, due).await?
        }
    };
    let took = walk.worker.clock.tick().saturating_sub(start);
    walk.ex.record.connect_us = Some(took);
    metrics.connected(took);
    Ok(link)
}

/// A place on an HTTP/2 connection: on one that has room, on a new one, or on the one that another
/// request is just opening. A server that chooses HTTP/1.1 instead gives a connection of its own.
async fn open_stream(
    walk: &mut Walk<'_>,
    plan: &PoolPlan,
    server: usize,
    due: (u64, Kind),
) -> Result<Link, Kind> {
    let key = plan.pool.key(server).ok_or(Kind::Internal)?;
    let worker = walk.worker;
    let requests_max = plan.pool.keep_alive.requests_max;
    loop {
        match worker.h2.find(key, &plan.http2, requests_max) {
            Way::Call(call) => return Ok(link_on(walk, call).await),
            Way::Wait { changed, full } => {
                // A server whose streams are all taken has not failed.
                let overdue = match due.1 {
                    Kind::ConnectTimeout if full => Kind::AllFull,
                    kind => kind,
                };
                let mut changed = pin!(changed.notified());
                std::future::poll_fn(|cx| match changed.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Ok(())),
                    Poll::Pending => walk.poll_overdue(cx, due.0, overdue).map(Err),
                })
                .await?;
            }
            Way::Connect(connecting) => {
                let connection = connect(walk, plan, server, due).await?;
                let chosen = connection.stream.facts().and_then(|facts| facts.alpn);
                let plain = plan.protocol == ServerProtocol::Auto && chosen != Some(Alpn::H2);
                connecting.chose_http1(plain);
                if plain {
                    return Ok(Link::of(connection));
                }
                let call = start_h2(walk, plan, key, connection).await?;
                drop(connecting);
                return Ok(link_on(walk, call).await);
            }
        }
    }
}

/// A link on a shared connection. For a WebSocket a new server is given the time to say whether it
/// takes them: it must not be asked before.
async fn link_on(walk: &Walk<'_>, call: H2Call) -> Link {
    const WAIT: Duration = Duration::from_millis(10);
    const WAIT_MAX_MS: u64 = 1_000;

    while walk.ex.framing.upgrade && !call.takes_upgrades() && call.age_ms() < WAIT_MAX_MS {
        tokio::time::sleep(WAIT).await;
    }
    Link::on(call)
}

/// Begins HTTP/2 on a new connection; nothing is waited for, the server's settings come when they
/// come.
async fn start_h2(
    walk: &Walk<'_>,
    plan: &PoolPlan,
    key: ServerKey,
    connection: Connection,
) -> Result<H2Call, Kind> {
    let address = connection.address;
    let pair = client_builder(&plan.http2)
        .handshake::<_, bytes::Bytes>(connection.stream)
        .await
        .map_err(|_| Kind::ConnectFailed)?;
    let keep = &plan.pool.keep_alive;
    let worker = walk.worker;
    Ok(H2Connections::add(
        worker,
        key,
        &plan.http2,
        keep,
        pair,
        address,
    ))
}

/// Connects to the server's addresses in turn until one takes the connection.
async fn connect(
    walk: &mut Walk<'_>,
    plan: &PoolPlan,
    server: usize,
    due: (u64, Kind),
) -> Result<Connection, Kind> {
    let server = plan.pool.servers.get(server).ok_or(Kind::Internal)?;
    let addresses = server.resolved.load_full();
    let mut last = Kind::Unresolved;
    let first = walk.worker.random() as usize % addresses.len().max(1);
    for position in 0..addresses.len() {
        let Some(&address) = addresses.get((first + position) % addresses.len()) else {
            break;
        };
        walk.ex.record.server_address = Some(address);
        let mut connected = connect_to(walk, address, due).await;
        if matches!(connected, Err(Kind::Exhausted)) {
            // Idle connections hold what is missing here.
            walk.worker.idle.clear();
            connected = connect_to(walk, address, due).await;
        }
        let secured = match (connected, &plan.tls) {
            (Ok(stream), Some(tls)) => secure(walk, tls, &server.address.host, stream, due).await,
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
                });
            }
            Err(kind @ (Kind::ConnectTimeout | Kind::DeadlinePassed | Kind::DrainTimeout)) => {
                return Err(kind);
            }
            Err(kind) => last = kind,
        }
    }
    Err(last)
}

/// The TLS handshake with a server.
async fn secure(
    walk: &mut Walk<'_>,
    tls: &Connector,
    host: &str,
    stream: TcpStream,
    due: (u64, Kind),
) -> Result<Stream, Kind> {
    let mut shaking = pin!(tls.connect(host, stream));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = shaking.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(|fault| {
                let server = walk.ex.record.server_address.map(tracing::field::display);
                if tls.is_worth_telling(walk.worker.clock.now_ms()) {
                    tracing::warn!(server, host, "TLS handshake with a server failed: {fault}");
                } else {
                    tracing::debug!(server, host, "TLS handshake with a server failed: {fault}");
                }
                Kind::HandshakeFailed
            }));
        }
        walk.poll_overdue(cx, due.0, due.1).map(Err)
    })
    .await
}

async fn connect_to(
    walk: &mut Walk<'_>,
    address: SocketAddr,
    due: (u64, Kind),
) -> Result<TcpStream, Kind> {
    let connecting = start_connect(address).map_err(|error| connect_kind(&error))?;
    let mut connecting = pin!(connecting);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(|error| connect_kind(&error)));
        }
        walk.poll_overdue(cx, due.0, due.1).map(Err)
    })
    .await
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
