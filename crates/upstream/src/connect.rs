//! One connection to a backend, and how it is made.

use keel_tls::Stream;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpSocket, TcpStream};

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    /// The stream, in clear or in TLS.
    pub stream: Stream,
    /// The address it is connected to.
    pub address: SocketAddr,
    /// Requests that it has carried.
    pub requests: u32,
    /// Since when it idles, in milliseconds of the worker's clock.
    pub idle_since_ms: u64,
    /// What it holds while it is open (its place in a limit); given back on drop.
    pub held: Option<Box<dyn std::fmt::Debug>>,
}

/// Begins to connect. The future resolves when the connection stands; it has no deadline of its own
/// and closes the socket when dropped.
pub fn start_connect(
    address: SocketAddr,
) -> io::Result<impl Future<Output = io::Result<TcpStream>>> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A request goes out in one or two writes; waiting to fill a segment would only delay it.
    socket.set_nodelay(true)?;
    Ok(socket.connect(address))
}
