//! Connect: a new connection to one of a server's addresses.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use keel_observe::ServerMetrics;
use keel_upstream::{Connection, Pool, start_connect};

use crate::error::Kind;
use crate::snapshot::RoutePlan;
use crate::walk::Walk;

/// Connects to the server's addresses in turn until one takes the connection.
pub(crate) async fn connect(
    walk: &mut Walk<'_>,
    route: &RoutePlan,
    pool: &Pool,
    server: usize,
    metrics: &ServerMetrics,
) -> Result<Connection, Kind> {
    let addresses = pool
        .servers
        .get(server)
        .ok_or(Kind::Internal)?
        .resolved
        .load_full();
    let start = walk.worker.clock.tick();
    let due_ms = start / 1000 + route.timeouts.connect_ms.unwrap_or(pool.connect_timeout_ms);
    let mut last = Kind::Unresolved;
    let first = walk.worker.random() as usize % addresses.len().max(1);
    for position in 0..addresses.len() {
        let Some(&address) = addresses.get((first + position) % addresses.len()) else {
            break;
        };
        walk.ex.record.server_address = Some(address);
        let mut connected = connect_to(walk, address, due_ms).await;
        if matches!(connected, Err(Kind::Exhausted)) {
            // Idle connections hold what is missing here.
            walk.worker.idle.clear();
            connected = connect_to(walk, address, due_ms).await;
        }
        match connected {
            Ok(connection) => {
                let took = walk.worker.clock.tick().saturating_sub(start);
                walk.ex.record.connect_us = Some(took);
                metrics.connected(took);
                return Ok(connection);
            }
            Err(kind @ (Kind::ConnectTimeout | Kind::DrainTimeout)) => return Err(kind),
            Err(kind) => last = kind,
        }
    }
    Err(last)
}

async fn connect_to(
    walk: &mut Walk<'_>,
    address: SocketAddr,
    due_ms: u64,
) -> Result<Connection, Kind> {
    let connecting = start_connect(address).map_err(|error| connect_kind(&error))?;
    let mut connecting = pin!(connecting);
    let stream = std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(|error| connect_kind(&error)));
        }
        walk.poll_overdue(cx, due_ms, Kind::ConnectTimeout).map(Err)
    })
    .await?;
    Ok(Connection {
        stream,
        address,
        requests: 0,
        idle_since_ms: 0,
    })
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
