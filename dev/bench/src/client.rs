//! A blocking client for single requests: checks before a run, and the normal requests beside slow clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::h2;
use crate::protocol::Protocol;
use crate::tls::{HOST, Stream};
use crate::wire;

/// A proxy, and what it is spoken to in.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Where it serves.
    pub address: SocketAddr,
    /// What clients speak to it.
    pub protocol: Protocol,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code; 0 for one that has no place in HPACK's static table.
    pub status: u16,
    /// Its head; empty over HTTP/2.
    pub head: Vec<u8>,
    /// Its body.
    pub body: Vec<u8>,
    /// From before the connection to the last byte.
    pub took: Duration,
}

impl Peer {
    /// A GET on a connection of its own. Over TLS it fails unless the handshake leads to TLS 1.3, the wanted protocol and
    /// the bench's own certificate.
    pub fn fetch(self, path: &str, patience: Duration) -> Result<Answer> {
        let began = Instant::now();
        let tcp = TcpStream::connect_timeout(&self.address, patience).context("cannot connect")?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(patience))?;
        tcp.set_write_timeout(Some(patience))?;
        let mut stream = Stream::open(tcp, self.protocol)?;
        if self.protocol == Protocol::Http2 {
            let (status, body) = h2::client::get(&mut stream, path, HOST)?;
            return Ok(Answer {
                status,
                head: Vec::new(),
                body,
                took: began.elapsed(),
            });
        }
        stream
            .write_all(&wire::get(path, HOST, true))
            .context("cannot send")?;
        let mut bytes = Vec::new();
        stream
            .read_to_end(&mut bytes)
            .context("the answer does not end")?;
        let took = began.elapsed();
        let head = wire::answer_head(&bytes)
            .ok()
            .flatten()
            .context("the answer has no head")?;
        let body = bytes.split_off(head.len);
        Ok(Answer {
            status: head.status,
            head: bytes,
            body,
            took,
        })
    }
}
