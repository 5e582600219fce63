//! A connection of the load generator, in clear or over TLS, that never blocks.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::{ClientConfig, ClientConnection};

use crate::record::{self, Opener, Sealer};
use crate::tls;

/// Where connections lead.
#[derive(Debug)]
pub struct Target {
    /// The proxy.
    pub address: SocketAddr,
    /// Client addresses to spread connections over; 0 = the system's choice.
    pub client_addresses: u8,
    /// Settings for TLS; `None` = in clear.
    pub tls: Option<Arc<ClientConfig>>,
}

/// What a look at the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The socket was empty.
    Blocked,
    /// The peer has closed.
    Ended,
    /// The socket is empty now.
    Drained,
    /// There may be more.
    More,
}

#[derive(Debug)]
enum Layer {
    Clear,
    /// The handshake is under way.
    Opening(Box<ClientConnection>),
    Secure {
        sealer: Box<Sealer>,
        opener: Box<Opener>,
    },
    /// The handshake failed half-way.
    Broken,
}

/// A connection.
#[derive(Debug)]
pub struct Transport {
    stream: TcpStream,
    layer: Layer,
    /// Bytes of an unfinished record.
    carry: Vec<u8>,
    /// What the socket did not take yet.
    out: Vec<u8>,
}

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Transport {
    /// Begins to connect. Events come with the token `index`.
    pub fn open(index: usize, target: &Target, registry: &Registry) -> io::Result<Transport> {
        let mut stream = if target.client_addresses == 0 {
            TcpStream::connect(target.address)?
        } else {
            let last = 1 + (index % usize::from(target.client_addresses)) as u8;
            connect_from(Ipv4Addr::new(127, 0, 1, last), target.address)?
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(index), interest)?;
        // Else a request that follows the end of the handshake waits for the peer's delayed acknowledgement.
        stream.set_nodelay(true)?;
        let mut transport = Transport {
            stream,
            layer: Layer::Clear,
            carry: Vec::new(),
            out: Vec::new(),
        };
        if let Some(config) = &target.tls {
            let mut opening = tls::client(config).map_err(io::Error::other)?;
            write_out(&mut opening, &mut transport.out)?;
            transport.layer = Layer::Opening(Box::new(opening));
        }
        // On loopback the connection is made by now, and its first event is not needed.
        transport.flush()?;
        Ok(transport)
    }

    /// The handshake is done, where there is one, so that requests may be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.layer, Layer::Clear | Layer::Secure { .. })
    }

    /// Sends `bytes`, what the socket does not take later. To be called once the connection is open.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.layer {
            Layer::Secure { sealer, .. } => sealer.seal(bytes, &mut self.out)?,
            _ => self.out.extend_from_slice(bytes),
        }
        self.flush()
    }

    /// Sends what the socket did not take before.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if is_for_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..written);
        Ok(())
    }

    /// Looks at the socket once, with `buffer` for what arrives, and gives plain text to `take`. It may be called
    /// several times or not at all.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Received> {
        let kept = self.carry.len();
        buffer[..kept].copy_from_slice(&self.carry);
        let count = match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(Received::Ended),
            Ok(count) => count,
            Err(error) if is_for_later(&error) => return Ok(Received::Blocked),
            Err(error) => return Err(error),
        };
        self.carry.clear();
        let is_full = kept + count == buffer.len();
        self.digest(&mut buffer[..kept + count], take)?;
        Ok(if is_full {
            Received::More
        } else {
            Received::Drained
        })
    }

    fn digest(
        &mut self,
        bytes: &mut [u8],
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if matches!(self.layer, Layer::Clear) {
            return take(bytes);
        }
        let mut start = 0;
        while let Some(len) = record::whole(&bytes[start..])? {
            let record = &mut bytes[start..start + len];
            start += len;
            if let Layer::Secure { opener, .. } = &mut self.layer {
                match opener.open(record)? {
                    (record::DATA, plain) => take(plain)?,
                    // New tickets, which nobody here uses.
                    (record::HANDSHAKE, _) => {}
                    // The end of the stream, which the end of the connection tells too.
                    (record::ALERT, [_, 0]) => {}
                    (kind, _) => return Err(fault(&format!("an unexpected record, type {kind}"))),
                }
            } else {
                self.shake(record)?;
            }
        }
        self.carry.extend_from_slice(&bytes[start..]);
        if matches!(self.layer, Layer::Opening(_)) {
            return self.flush();
        }
        Ok(())
    }

    /// Gives a record to the handshake.
    fn shake(&mut self, record: &[u8]) -> io::Result<()> {
        let Layer::Opening(mut opening) = std::mem::replace(&mut self.layer, Layer::Broken) else {
            return Err(fault("the TLS handshake has failed"));
        };
        let mut rest = record;
        while !rest.is_empty() {
            opening.read_tls(&mut rest)?;
            opening.process_new_packets().map_err(io::Error::other)?;
        }
        write_out(&mut opening, &mut self.out)?;
        if opening.is_handshaking() {
            self.layer = Layer::Opening(opening);
            return Ok(());
        }
        // The last message of the handshake waits for the first request, to go with it.
        let secrets = opening.dangerous_extract_secrets();
        let secrets = secrets.map_err(io::Error::other)?;
        self.layer = Layer::Secure {
            sealer: Box::new(Sealer::new(secrets.tx)?),
            opener: Box::new(Opener::new(secrets.rx)?),
        };
        Ok(())
    }
}

/// The connection is not made yet, or the socket is full or empty.
fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
    )
}

fn write_out(opening: &mut ClientConnection, out: &mut Vec<u8>) -> io::Result<()> {
    while opening.wants_write() {
        opening.write_tls(out)?;
    }
    Ok(())
}

fn connect_from(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    match socket.connect(&target.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
