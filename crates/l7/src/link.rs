//! The way to a server for one exchange: a connection of its own, or a place on a shared one.

use std::net::SocketAddr;

use keel_upstream::Connection;

use crate::h2::{H2Body, H2Call};
use crate::io::Io;

/// The way to a server for one exchange.
#[derive(Debug)]
pub struct Link {
    /// What the request goes into and the answer comes out of.
    pub io: Io,
    /// The server's address.
    pub address: SocketAddr,
    /// Requests that the connection carried before this one.
    pub requests: u32,
    /// The place on a shared HTTP/2 connection.
    pub call: Option<H2Call>,
    /// What the connection holds while it is open.
    held: Option<Box<dyn std::fmt::Debug>>,
}

impl Link {
    /// A connection for this exchange alone.
    pub fn of(connection: Connection) -> Link {
        Link {
            io: Io::Bytes(connection.stream),
            address: connection.address,
            requests: connection.requests,
            call: None,
            held: connection.held,
        }
    }

    /// A place on a shared connection; its stream is opened when the head goes out.
    pub fn on(call: H2Call) -> Link {
        Link {
            io: Io::H2(H2Body::default()),
            address: call.address(),
            requests: call.requests_before(),
            call: Some(call),
            held: None,
        }
    }

    /// Takes the connection out, after this exchange went over it; a shared one is not ours to keep.
    pub fn take_connection(&mut self) -> Option<Connection> {
        match std::mem::replace(&mut self.io, Io::Away) {
            Io::Bytes(stream) => Some(Connection {
                stream,
                address: self.address,
                requests: self.requests + 1,
                idle_since_ms: 0,
                held: self.held.take(),
            }),
            Io::H2(_) | Io::Away => None,
        }
    }
}
